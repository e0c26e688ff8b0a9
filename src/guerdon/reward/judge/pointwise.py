"""A judge that looks at one response at a time: P(yes), or the expected grade on a scale.

``score = sum_c w_c E_c[grade] / sum_c w_c`` over the criteria c of a rubric; a question or principles are one of them.
A response with a criterion that has no verdict is unscored, with the reason.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Text, as_pieces, as_text, image_of
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel
from guerdon.generate.pictures import open_picture
from guerdon.reward.base import Reward, Scores
from guerdon.reward.judge import templates
from guerdon.reward.judge.asking import Asker, total
from guerdon.reward.judge.standard import Criterion, Standard, WrittenStandard
from guerdon.reward.judge.templates import Question, Shown

SCALE = re.compile(r"(\d+)-(\d+)")


def grades(scale: str) -> tuple[list[str], np.ndarray]:
    """(labels, values) of ``yes-no`` (1 and 0) or of whole numbers such as ``1-5``, the worst first."""
    if scale == "yes-no":
        return ["no", "yes"], np.array([0.0, 1.0])
    match = SCALE.fullmatch(scale)
    if match is None or not 0 < int(match[2]) - int(match[1]) <= 100:
        raise ConfigError(f"scale={scale!r}: use yes-no, or whole numbers such as 1-5 (at most 101 grades)")
    values = range(int(match[1]), int(match[2]) + 1)
    return [str(v) for v in values], np.array(values, dtype=np.float64)


class PointwiseJudge(Reward):
    """Scores of a language model, one response at a time.

    Parameters
    ----------
    scale : yes-no (scores from 0 to 1) or whole numbers, e.g. 1-5
    settings : those of :class:`~guerdon.reward.judge.asking.Asker`
    """

    reads = ("criterion",)

    def __init__(
        self,
        model: LanguageModel,
        standard: Standard | WrittenStandard | None = None,
        *,
        scale: str = "yes-no",
        **settings: Any,
    ) -> None:
        self.asker = Asker(model, **settings)
        self.standard = standard or Standard.question()
        self.scale = scale
        self.labels, self.values = grades(scale)

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"judge-{self.fingerprint}"

    @property
    def sees(self) -> tuple[str, ...]:  # type: ignore[override]
        """What its language model sees."""
        return self.asker.model.sees

    @property
    def fingerprint(self) -> str:
        """Changes with the templates, the standard, the scale, how it asks, and the model."""
        return judge_fingerprint(self.asker, self.standard, self.scale)

    def question(
        self, ending: str, kind: str, criteria: tuple[Criterion, ...], blocks: list[tuple[str, Shown]]
    ) -> Question:
        """The question about one response, by some criteria; judges that ask in other words override it."""
        return templates.render("pointwise", ending, kind, criteria, blocks, self.labels, unsure=self.asker.unsure)

    def blocks(self, candidates: Candidates, i: int, responses: list[tuple[str, Text]]) -> list[tuple[str, Shown]]:
        """The named untrusted texts of question i; judges that show more override it."""
        return shown(candidates, i, responses, self.sees)

    def score(self, candidates: Candidates) -> Scores:
        """Scores on the scale. ``detail``: rationale, votes, mass, and each criterion's score of a rubric."""
        n = len(candidates)
        written = self.standard.each(candidates)
        # one question a criterion of a rubric, one for anything else
        parts: list[tuple[int, str, tuple[Criterion, ...]]] = []
        questions_of: list[slice] = []
        for i, standard in enumerate(written.standard):
            begin = len(parts)
            if standard is not None and standard.kind == "rubric":
                parts += [(i, standard.kind, (c,)) for c in standard.criteria]
            elif standard is not None:
                parts.append((i, standard.kind, standard.criteria))
            questions_of.append(slice(begin, len(parts)))
        views = [self.blocks(candidates, i, [("response", candidates.responses[i])]) for i in range(n)]

        def make(ending: str) -> list[Question]:
            return [self.question(ending, kind, part, views[i]) for i, kind, part in parts]

        said = self.asker.ask(make, self.labels)
        each = said.verdict(self.asker.rule) @ self.values
        weight = np.array([part[0].weight if kind == "rubric" else 1.0 for _, kind, part in parts])
        value, status, reason = np.full(n, np.nan), list(written.status), list(written.reason)
        for i, at in enumerate(questions_of):
            if at.start == at.stop:
                continue
            value[i] = weight[at] @ each[at] / weight[at].sum()
            # the first criterion without a verdict says why
            first = next((j for j in range(at.start, at.stop) if said.status[j] != "scored"), at.start)
            # how the standard was written may have something to say too
            status[i], reason[i] = said.status[first], said.reason[first] or reason[i]

        def column(values: list[Any]) -> list[Any]:
            out: list[Any] = []
            for at in questions_of:
                kinds = parts[at]
                if kinds and kinds[0][1] == "rubric":
                    out.append({part[0].name: v for (_, _, part), v in zip(kinds, values[at], strict=True)})
                else:
                    out.append(values[at.start] if kinds else None)
            return out

        detail: dict[str, Any] = {
            "rationale": column(said.rationale),
            "votes": column(said.votes.tolist()),
            "mass": column([None if np.isnan(m) else float(m) for m in said.mass]),
        }
        if any(kind == "rubric" for _, kind, _ in parts):
            detail["criteria"] = column([None if np.isnan(v) else float(v) for v in each])
        return Scores(value, status, reason, detail=detail, cost=total(written.cost, said.cost))


def untrusted(candidates: Candidates, i: int, responses: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    """The named texts of a question: request, reference and criterion where there are some, the responses."""
    return [(name, text) for name, text in shown(candidates, i, responses, ()) if isinstance(text, str)]


def shown(
    candidates: Candidates, i: int, responses: list[tuple[str, Any]], sees: tuple[str, ...]
) -> list[tuple[str, Shown]]:
    """:func:`untrusted`, where ``sees`` has ``image`` with images in their places; elsewhere texts name them.

    Raises
    ------
    FeedbackError
        naming row and file, if an image cannot be shown (:func:`~guerdon.generate.pictures.open_picture`)
    """
    images = "image" in sees

    def show(name: str, value: Text) -> Shown:
        pieces = as_pieces(value) if images and not isinstance(value, str) else []
        if all(isinstance(piece, str) for piece in pieces):
            return as_text(value)
        where = f"row {i + 1}, {name}"
        return tuple(p if isinstance(p, str) else open_picture(image_of(p) or "", where) for p in pieces)

    blocks: list[tuple[str, Shown]] = [("request", show("request", candidates.prompts[i]))]
    reference = candidates.reference[i] if candidates.reference is not None else None
    if reference is not None:
        chat = isinstance(reference, list) and all(isinstance(m, dict) and "role" in m for m in reference)
        blocks.append(("reference answer", show("reference answer", reference) if chat else _plain(reference)))
    criterion = candidates.criterion[i] if candidates.criterion is not None else None
    if criterion:
        blocks.append(("criterion", criterion))
    return blocks + [(name, show(name, response)) for name, response in responses]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def judge_fingerprint(asker: Asker, standard: Standard | WrittenStandard, *more: str) -> str:
    """A short name for what a judge computes."""
    said = [templates.fingerprint(), standard.identity, asker.settings, _identity(asker.model), more]
    said += [list(asker.model.sees), templates.PICTURED] if asker.model.sees else []
    return blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=6).hexdigest()


def _identity(model: LanguageModel) -> str:
    return getattr(model, "name", "") if not hasattr(model, "endpoint") else repr(model)

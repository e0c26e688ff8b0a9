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
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel
from guerdon.reward.base import Reward, Scores
from guerdon.reward.judge import templates
from guerdon.reward.judge.asking import Asker
from guerdon.reward.judge.standard import Standard
from guerdon.reward.judge.templates import Question

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
        self, model: LanguageModel, standard: Standard | None = None, *, scale: str = "yes-no", **settings: Any
    ) -> None:
        self.asker = Asker(model, **settings)
        self.standard = standard or Standard.question()
        self.scale = scale
        self.labels, self.values = grades(scale)

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"judge-{self.fingerprint}"

    @property
    def fingerprint(self) -> str:
        """Changes with the templates, the standard, the scale, how it asks, and the model."""
        return judge_fingerprint(self.asker, self.standard, self.scale)

    def score(self, candidates: Candidates) -> Scores:
        """Scores on the scale. ``detail``: rationale, votes, mass, and each criterion's score of a rubric."""
        n = len(candidates)
        whole = self.standard.kind != "rubric"
        parts = [self.standard.criteria] if whole else [(c,) for c in self.standard.criteria]
        weights = np.array([1.0 if whole else part[0].weight for part in parts])
        views = [untrusted(candidates, i, [("response", candidates.responses[i])]) for i in range(n)]

        def make(ending: str) -> list[Question]:
            kind, asker = self.standard.kind, self.asker
            return [
                templates.render("pointwise", ending, kind, part, view, self.labels, unsure=asker.unsure)
                for part in parts
                for view in views
            ]

        said = self.asker.ask(make, self.labels)
        by_votes = (said.votes > 0)[:, None]
        chance = np.where(by_votes, said.winner, said.chance) if self.asker.combine == "majority" else said.chance
        each = (chance @ self.values).reshape(len(parts), n)
        value = (weights / weights.sum()) @ each
        # the first criterion without a verdict says why
        first = [
            next((k * n + i for k in range(len(parts)) if said.status[k * n + i] != "scored"), i) for i in range(n)
        ]
        names = [c.name for c in self.standard.criteria]

        def column(values: list[Any]) -> list[Any]:
            if whole:
                return values
            return [{name: values[k * n + i] for k, name in enumerate(names)} for i in range(n)]

        detail: dict[str, Any] = {
            "rationale": column(said.rationale),
            "votes": column(said.votes.tolist()),
            "mass": column([None if np.isnan(m) else float(m) for m in said.mass]),
        }
        if not whole:
            detail["criteria"] = column([None if np.isnan(v) else float(v) for v in each.ravel()])
        return Scores(
            value, [said.status[j] for j in first], [said.reason[j] for j in first], detail=detail, cost=said.cost
        )


def untrusted(candidates: Candidates, i: int, responses: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    """The named texts of a question: request, reference and criterion where there are some, the responses."""
    blocks = [("request", as_text(candidates.prompts[i]))]
    reference = candidates.reference[i] if candidates.reference is not None else None
    if reference is not None:
        blocks.append(("reference answer", _plain(reference)))
    criterion = candidates.criterion[i] if candidates.criterion is not None else None
    if criterion:
        blocks.append(("criterion", criterion))
    return blocks + [(name, as_text(response)) for name, response in responses]


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(m, dict) and "role" in m for m in value):
        return as_text(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def judge_fingerprint(asker: Asker, standard: Standard, *more: str) -> str:
    """A short name for what a judge computes."""
    criteria = [[c.name, c.text, c.weight] for c in standard.criteria]
    said = [templates.fingerprint(), standard.kind, criteria, asker.settings, _identity(asker.model), more]
    return blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=6).hexdigest()


def _identity(model: LanguageModel) -> str:
    return getattr(model, "name", "") if not hasattr(model, "endpoint") else repr(model)

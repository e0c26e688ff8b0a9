r"""One schema for three verdicts: a rubric that describes each verdict on offer, and a judge that gives that kind.

    pointwise   a description of each grade 1 .. 5, one response   -> its grade
    pairwise    when response 1 is better, when response 2 is      -> 1 or 2, asked in both orders
    binary      when true, when false, one response                -> P(true)

The same task, input, responses and rubric go in, reasons and a score come out. The questions and what counts as an
answer are those of every judge (:mod:`.pointwise`, :mod:`.pairwise`); :func:`read_score` reads the
``{"explanation", "score"}`` of models that were trained to write it.

Reference: Anugraha et al. 2025, R3: Robust Rubric-Agnostic Reward Models, https://arxiv.org/abs/2505.13388.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel
from guerdon.reward.base import Reward, Scores
from guerdon.reward.judge.pairwise import PairwiseJudge
from guerdon.reward.judge.pointwise import PointwiseJudge
from guerdon.reward.judge.standard import Standard

FORMS = (
    'three forms are legal: descriptions of grades {"1": ..., "2": ...} for one response, '
    '{"response 1": ..., "response 2": ...} for two, {"true": ..., "false": ...} for one response'
)
_SCORE = re.compile(r"\bscore\b[\"'*_` ]*[:=][\"'*_` ]*(response [12]|true|false|-?\d+(?:\.\d+)?)(?![\w.]*\w)", re.I)


@dataclass(frozen=True)
class Described:
    """A rubric that describes each verdict; make one with :meth:`of`.

    kind   ``pointwise``, ``pairwise`` or ``binary``
    says   verdict on offer -> when it is given; grades from the worst
    """

    kind: str
    says: Mapping[str, str]

    @classmethod
    def of(cls, given: Mapping[Any, str]) -> Described:
        """The rubric of plain data, in one of the three forms; verdicts are compared without regard to case."""
        says = {str(k).strip().casefold(): str(v).strip() for k, v in given.items()}
        if len(says) < len(given) or not all(says.values()):
            raise ConfigError(f"rubric: a verdict twice, or without a description; {FORMS}")
        if set(says) == {"true", "false"}:
            return cls("binary", {k: says[k] for k in ("true", "false")})
        if set(says) == {"response 1", "response 2"}:
            return cls("pairwise", {k: says[k] for k in ("response 1", "response 2")})
        grades = sorted(int(k) for k in says) if all(re.fullmatch(r"\d{1,3}", k, re.A) for k in says) else []
        if len(grades) < 2 or grades != list(range(grades[0], grades[-1] + 1)):
            raise ConfigError(f"rubric: verdicts {', '.join(says)}; {FORMS}")
        return cls("pointwise", {str(k): says[str(k)] for k in grades})

    def standard(self, task: str = "") -> Standard:
        """As every judge reads it."""
        names = {"response 1": "A is better", "response 2": "B is better", "true": "yes", "false": "no"}
        lines = [f"{names.get(k, k)}: {text}" for k, text in self.says.items()]
        return Standard.question("\n".join(filter(None, [task.strip(), "The verdicts mean:", *lines])))


class DescribedJudge(Reward):
    """A judge by a rubric of any of the three forms.

    Parameters
    ----------
    task : what the responses were to do, before the rubric
    settings : those of :class:`~guerdon.reward.judge.asking.Asker`
    """

    reads = ("criterion",)

    def __init__(
        self, model: LanguageModel, rubric: Described | Mapping[Any, str], *, task: str = "", **settings: Any
    ) -> None:
        self.rubric = rubric if isinstance(rubric, Described) else Described.of(rubric)
        standard = self.rubric.standard(task)
        if self.rubric.kind == "pairwise":
            self.judge: Reward = PairwiseJudge(model, standard, **{"ties": False, **settings})
        else:
            said = list(self.rubric.says)
            scale = f"{said[0]}-{said[-1]}" if self.rubric.kind == "pointwise" else "yes-no"
            self.judge = PointwiseJudge(model, standard, scale=scale, **settings)

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.judge.name

    def score(self, candidates: Candidates) -> Scores:
        """Grades, or P(true); rubrics of pairs have none."""
        if self.rubric.kind == "pairwise":
            raise ConfigError(f"score: this rubric compares two responses; use prefer(), or another rubric: {FORMS}")
        return self.judge.score(candidates)

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a[i] preferred) by a rubric of pairs."""
        if self.rubric.kind != "pairwise":
            raise ConfigError(f"prefer: this rubric is about one response; use score(), or another rubric: {FORMS}")
        return self.judge.prefer(a, b)

    def rank(self, candidates: Candidates) -> Scores:
        """Scores, or a tournament by a rubric of pairs."""
        return self.judge.rank(candidates)


def read_score(text: str, rubric: Described) -> str | None:
    """The verdict of a reply ``{"explanation": ..., "score": ...}``, one of ``rubric.says``; None where there is none.

    What was thought before ``</think>`` does not count, and thinking that was not closed is no verdict. The last JSON
    object with a score is read first, the last ``score:`` of the text otherwise. 4.7 is no grade of 1 to 5: it is not
    cut to 4. Such a reply carries no code, so a judge that quotes can be made to say things: see :mod:`.verdicts`.
    """
    if "<think>" in text and "</think>" not in text:
        return None
    text = text.rpartition("</think>")[2]
    decoder = json.JSONDecoder()
    for place in reversed([m.start() for m in re.finditer(r"\{", text)][-200:]):
        try:
            found, _ = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            said = {str(k).strip().casefold(): v for k, v in found.items()}
            if "score" in said:
                return _offered(said["score"], list(rubric.says))
    matches = _SCORE.findall(text)
    return _offered(matches[-1], list(rubric.says)) if matches else None


def _offered(value: Any, offered: Sequence[str]) -> str | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    said = json.dumps(value) if isinstance(value, bool) else str(value).strip().casefold().rstrip(".")
    if re.fullmatch(r"\d+\.0+", said, re.A):
        said = said.partition(".")[0]
    return said if said in offered else None

r"""One schema for three verdicts: a rubric that describes each verdict on offer, and a judge that gives that kind.

    pointwise   a description of each grade 1 .. 5, one response   -> its grade
    pairwise    when response 1 is better, when response 2 is      -> 1 or 2, asked in both orders
    binary      when true, when false, one response                -> P(true)

The same task, input, responses and rubric go in, reasons and a score come out. The questions and what counts as an
answer are those of every judge (:mod:`.pointwise`, :mod:`.pairwise`), or, with ``how=native``, those of the models that
were trained on this schema (:mod:`.described_native`). ``judge:MODEL?by=described&rubric=FILE`` opens one.

Reference: Anugraha et al. 2025, R3: Robust Rubric-Agnostic Reward Models, https://arxiv.org/abs/2505.13388.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel
from guerdon.reward.base import Reward, Scores
from guerdon.reward.judge.described_native import NativeGrades, NativePairs
from guerdon.reward.judge.described_rubric import FORMS, Described, read_score
from guerdon.reward.judge.pairwise import PairwiseJudge
from guerdon.reward.judge.pointwise import PointwiseJudge

__all__ = ["Described", "DescribedJudge", "open_described", "read_score"]


class DescribedJudge(Reward):
    """A judge by a rubric of any of the three forms; one by a rubric of pairs compares, and has no scores.

    Parameters
    ----------
    task : what the responses were to do, before the rubric
    how : as of an Asker, or native: in the words that R3's models were trained on
    settings : those of :class:`~guerdon.reward.judge.asking.Asker`, and ``order`` and ``method`` for pairs
    """

    reads = ("criterion",)
    judge: PointwiseJudge | PairwiseJudge

    def __new__(
        cls, model: LanguageModel | None = None, rubric: Described | Mapping[Any, str] | None = None, **settings: Any
    ) -> DescribedJudge:
        """The kind that the rubric calls for: only one that grades has a ``score``."""
        if rubric is None:  # a copy of one that was made
            return object.__new__(cls)
        kind = (rubric if isinstance(rubric, Described) else Described.of(rubric)).kind
        return object.__new__(DescribedPairs if kind == "pairwise" else DescribedGrades)

    def __init__(
        self,
        model: LanguageModel,
        rubric: Described | Mapping[Any, str],
        *,
        task: str = "",
        how: str = "auto",
        **settings: Any,
    ) -> None:
        self.rubric = rubric if isinstance(rubric, Described) else Described.of(rubric)
        standard, pair = self.rubric.standard(task), self.rubric.kind == "pairwise"
        if how == "native":
            self.judge = (NativePairs if pair else NativeGrades)(model, self.rubric, task=task, **settings)
        elif pair:
            self.judge = PairwiseJudge(model, standard, **{"ties": False, "how": how, **settings})
        else:
            self.judge = PointwiseJudge(model, standard, scale=self.rubric.scale, how=how, **settings)

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.judge.name

    @property
    def sees(self) -> tuple[str, ...]:  # type: ignore[override]
        """What its language model sees; text only in R3's words."""
        return self.judge.sees

    @property
    def labels(self) -> list[str]:
        """The verdicts on offer."""
        return self.judge.labels


class DescribedGrades(DescribedJudge):
    """Grades, or P(true), of single responses."""

    def score(self, candidates: Candidates) -> Scores:
        """Grades of the rubric, or P(true)."""
        return self.judge.score(candidates)


class DescribedPairs(DescribedJudge):
    """Comparisons."""

    in_groups = True
    judge: PairwiseJudge

    @property
    def skew_symmetric(self) -> bool:
        """Whether P(a over b) + P(b over a) = 1, which takes both orders."""
        return self.judge.skew_symmetric

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a[i] preferred)."""
        return self.judge.prefer(a, b)

    def rank(self, candidates: Candidates, lists: Sequence[Any] | None = None) -> Scores:
        """A tournament."""
        return self.judge.rank(candidates, lists)

    def position_bias(self) -> Any:
        """Of all pairs asked in both orders so far."""
        return self.judge.position_bias()


def open_described(model: str, options: dict[str, str]) -> Reward:
    """``judge:MODEL?by=described&rubric=FILE&task=...``: the rubric is a JSON or YAML file, or a JSON object."""
    from guerdon.reward.judge.asking import Asker
    from guerdon.reward.judge.spec import keywords, model_of, taken

    given = options.pop("rubric", None)
    if given is None:
        raise ConfigError(f"judge: by=described needs rubric=FILE; {FORMS}")
    if "protocol" in options or "scale" in options:
        raise ConfigError("judge: by=described: the rubric tells the protocol and the scale; leave them out")
    rubric = Described.read(given)
    task = options.pop("task", "")
    kinds = (PairwiseJudge, Asker) if rubric.kind == "pairwise" else (Asker,)
    settings = taken(options, [name for kind in kinds for name in keywords(kind)])
    return DescribedJudge(model_of(model, options), rubric, task=task, **settings)

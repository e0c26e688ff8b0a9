"""Pairs judged criterion by criterion: a verdict on each, and a label where they agree.

A pairwise judge says for each criterion which response is better, in both orders. Every verdict is kept as a judgement
of its own (``criterion`` names it), since criteria can pull in opposite directions and a label alone hides which; the
*aggregate* judgement, without a criterion, is what the majority of the verdicts that are no ties says. Pairs whose
verdicts balance out have none, and are counted.

Reference: Zhang et al. 2025, RAG-Reward, https://arxiv.org/abs/2501.13264 (four criteria of answers from sources)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from guerdon.errors import FeedbackError
from guerdon.feedback.messages import Text
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.generate.base import LanguageModel
from guerdon.reward.judge.asking import total
from guerdon.reward.judge.pairwise import PairwiseJudge
from guerdon.reward.judge.standard import Standard

RAG: dict[str, str] = {
    "hallucination": "The better response claims less that the given sources do not bear out.",
    "comprehensiveness": "The better response uses more of what is relevant in the given sources.",
    "verbosity": "The better response says what it says without padding and repetition.",
    "attribution": "The better response cites the given sources, and cites them rightly.",
}
"""Name -> what the judge is asked; for answers from given sources, which must be part of the prompt."""


@dataclass(frozen=True)
class CriteriaVerdicts:
    """Verdicts on n pairs.

    value         float64 [n, k] P(first preferred) by criterion, NaN without a verdict
    inconsistent  share of the pairs in which the order decided, by criterion
    """

    criteria: tuple[str, ...]
    value: np.ndarray
    cost: dict[str, float]
    inconsistent: dict[str, float]

    @property
    def aggregate(self) -> np.ndarray:
        """float64 [n] what most of the verdicts that are no ties say: 1, 0, or NaN where they balance out."""
        votes = np.sign(np.nan_to_num(self.value - 0.5)).sum(1)
        return np.where(votes > 0, 1.0, np.where(votes < 0, 0.0, np.nan))


def judged(
    model: LanguageModel,
    prompts: Sequence[Text],
    first: Sequence[Text],
    second: Sequence[Text],
    criteria: Mapping[str, str] = RAG,
    **settings: object,
) -> CriteriaVerdicts:
    """What ``model`` says of each pair by each criterion; ``settings`` are a pairwise judge's.

    Raises
    ------
    FeedbackError
        if the columns are not equally long
    """
    if not len(prompts) == len(first) == len(second):
        raise FeedbackError(f"pairs: {len(prompts)} prompts, {len(first)} and {len(second)} responses; give as many")
    columns, cost, inconsistent = [], {}, {}
    for name, text in criteria.items():
        judge = PairwiseJudge(model, Standard.question(text), **settings)  # type: ignore[arg-type]
        said = judge.prefer(Candidates(prompts, first), Candidates(prompts, second))
        columns.append(said.value)
        cost = total(cost, said.cost)
        inconsistent[name] = judge.position_bias().inconsistent
    return CriteriaVerdicts(tuple(criteria), np.stack(columns, axis=1), cost, inconsistent)


def pairs(
    prompts: Sequence[Text], first: Sequence[Text], second: Sequence[Text], verdicts: CriteriaVerdicts
) -> tuple[Feedback, dict[str, int]]:
    """(judgements: one a verdict with its criterion, one an aggregate label; counts of what has none)."""
    label, rows = verdicts.aggregate, []
    counts = {"pairs": len(prompts), "ambiguous": int(np.isnan(label).sum()), "no verdict": 0}
    for i, prompt in enumerate(prompts):
        texts = (first[i], second[i])
        for k, name in enumerate(verdicts.criteria):
            p = float(verdicts.value[i, k])
            if np.isnan(p):
                counts["no verdict"] += 1
            else:
                rows.append(Judgement(prompt, texts, (p, 1 - p), criterion=name, source="model"))
        if not np.isnan(label[i]):
            rows.append(Judgement(prompt, texts, (float(label[i]), 1 - float(label[i])), source="model"))
    return Feedback.of(rows), counts

"""Which votes count: a Reward judges each vote, and the better ones are kept or count for more.

Of k votes on a question the ``ceil(keep k)`` that the meta reward scores highest are combined (DeepSeek-GRM's meta RM
keeps half). The meta reward sees the question as the prompt and the vote's whole reply, rationale and verdict, as the
response; it is never shown the right answer. Any Reward will do: a saved head on an encoder of texts, a classifier,
another judge.

Reference: Liu et al. 2025, Inference-Time Scaling for Generalist Reward Modeling, https://arxiv.org/abs/2504.02495.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Text
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward

THEN = ("mean", "majority")


@dataclass(frozen=True)
class MetaVote:
    """How votes are combined, with a reward's opinion of each: pass it as ``combine`` of a judge.

    reward  scores a vote; higher is more probably right
    keep    share of the votes of a question that count, above 0 and at most 1
    weigh   votes that are kept count as their score (a probability, or any number that is not negative), not alike
    then    ``mean`` or ``majority``, how those that count are combined
    """

    reward: Reward
    keep: float = 0.5
    weigh: bool = False
    then: str = "mean"

    def __post_init__(self) -> None:
        if not isinstance(self.reward, Reward):
            raise ConfigError(f"meta: a {type(self.reward).__name__} is no Reward; open one with guerdon.load")
        if not 0 < self.keep <= 1:
            raise ConfigError(f"keep={self.keep}: use a share above 0, at most 1")
        if self.then not in THEN:
            raise ConfigError(f"then={self.then!r}: use one of {', '.join(THEN)}")

    def __str__(self) -> str:
        return f"meta({self.reward.name}, keep={self.keep:g}, weigh={self.weigh}, then={self.then})"

    def weights(
        self, questions: Sequence[Text], replies: Sequence[str], groups: Sequence[int]
    ) -> tuple[np.ndarray, dict[str, float]]:
        """(float64 [m] how much each of m votes counts, costs). ``groups`` says which votes are on the same question.

        A vote that the meta reward cannot score does not count, unless it can score none of the question: then all
        count alike.
        """
        said = self.reward.score(Candidates(list(questions), list(replies)))
        return self.weights_of(said.value, groups), dict(said.cost)

    def weights_of(self, score: np.ndarray, groups: Sequence[int]) -> np.ndarray:
        """float64 [m] from the meta reward's scores [m], NaN where it has none."""
        rows: dict[int, list[int]] = {}
        for j, group in enumerate(groups):
            rows.setdefault(group, []).append(j)
        out = np.zeros(len(score))
        for votes in rows.values():
            known = [j for j in votes if np.isfinite(score[j])]
            best = sorted(known, key=lambda j: -score[j])[: math.ceil(self.keep * len(votes))]
            out[best or votes] = 1.0
            if self.weigh and best and max(score[best]) > 0:
                out[best] = np.maximum(score[best], 0.0)
        return out


def rule_of(combine: str | MetaVote) -> str:
    """``mean`` or ``majority``: how the votes that count are combined."""
    return combine.then if isinstance(combine, MetaVote) else combine


def said_of(value: Any) -> Any:
    """A setting as JSON takes it."""
    return str(value) if isinstance(value, MetaVote) else value

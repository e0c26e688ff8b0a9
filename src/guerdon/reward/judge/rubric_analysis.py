"""What each criterion of a rubric does by itself: how often it decides, how often it is right, what it adds.

Votes [r, n] are those of r criteria on n labelled pairs, each criterion alone: 1 for the chosen response, -1 for the
other one, 0 where it does not decide, NaN where it was not asked.

Reference: Xie et al. 2025, Auto-Rubric, https://arxiv.org/abs/2510.17314.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Effect:
    """Of one criterion; None where it cannot be said.

    coverage      share of the pairs in which it decides
    precision     share of those in which it is right
    contribution  accuracy of the majority of all criteria minus that of the others
    """

    coverage: float | None
    precision: float | None
    contribution: float | None


def effects(votes: np.ndarray) -> list[Effect]:
    """The effect of each criterion, from votes [r, n]."""
    whole = majority(votes)
    out = []
    for k, row in enumerate(votes):
        known = row[~np.isnan(row)]
        decided = known[known != 0]
        out.append(
            Effect(
                len(decided) / len(known) if len(known) else None,
                float(np.mean(decided > 0)) if len(decided) else None,
                _known(whole - majority(np.delete(votes, k, axis=0))),
            )
        )
    return out


def majority(votes: np.ndarray) -> float:
    """Accuracy of the majority of votes [r, n] on the pairs with any, a draw counting half; NaN without votes."""
    asked = ~np.isnan(votes).all(0) if len(votes) else np.zeros(votes.shape[1], dtype=bool)
    if not asked.any():
        return math.nan
    return float(np.mean((np.sign(np.nansum(votes[:, asked], 0)) + 1) / 2))


def log_odds(effects: Sequence[Effect], pairs: int) -> float:
    """Mean log odds of being right, each drawn to a coin's by one pair of each kind; at least 0.05.

    The weight of an independent voter that is right so often.
    """
    odds = []
    for effect in effects:
        n = pairs * (effect.coverage or 0.0)
        p = (n * (effect.precision or 0.0) + 1) / (n + 2)
        odds.append(math.log(p / (1 - p)))
    return max(float(np.mean(odds)), 0.05)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value

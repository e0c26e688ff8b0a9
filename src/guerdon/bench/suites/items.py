"""The items of a benchmark and what a reward earns on each.

A *duel* is a right response against a wrong one of the same judgement. An *item* is what the protocol counts: a duel,
or a judgement with all its duels. What an item earns (its credit, 0 to 1) follows from its duels by the protocol's
rule:

``strict``   1 if every duel is won; a tie is no win
``half``     mean over the duels, a tie is half of one
``share``    1 / k where the right response shares the top score with k - 1 others, 0 where another one is above it

Scores are compared as they are, never through a logistic, so that small and huge differences count.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np

from guerdon.bench.scoring import predict_items, predict_pairs
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.base import Reward

Rule = Literal["strict", "half", "share"]
RULES = ("strict", "half", "share")
Unit = Literal["judgement", "duel"]


@dataclass(frozen=True)
class Duels:
    """D duels: the judgement [D], the places of the right and the wrong response in it [D], their candidates [D]."""

    judgement: np.ndarray
    right_at: np.ndarray
    wrong_at: np.ndarray
    right: np.ndarray
    wrong: np.ndarray

    def __len__(self) -> int:
        return len(self.judgement)


@dataclass(frozen=True)
class Said:
    """``won`` float64 [D]: 1 won, 0.5 tied, 0 lost, NaN unscored; ``score`` [M] of judged responses where there are."""

    won: np.ndarray
    reasons: Counter[str]
    score: np.ndarray | None = None


def duels_of(feedback: Feedback) -> Duels:
    """Every response of a judgement against every other one with a lower grade, in the order of the judgements."""
    parts: list[np.ndarray] = []
    for size in np.unique(feedback.sizes):
        rows = np.flatnonzero(feedback.sizes == size)
        at = feedback.offsets[rows][:, None] + np.arange(size)  # [rows, size]
        grade = feedback.grades[at]
        better = grade[:, :, None] > grade[:, None, :]
        row, i, j = np.nonzero(better)
        parts.append(np.stack([rows[row], i, j, feedback.items[at[row, i]], feedback.items[at[row, j]]]))
    if not parts:
        none = np.zeros(0, dtype=np.int64)
        return Duels(none, none, none, none, none)
    table = np.concatenate(parts, axis=1).astype(np.int64)
    return Duels(*table[:, np.lexsort((table[2], table[1], table[0]))])


def ask(reward: Reward, feedback: Feedback, duels: Duels) -> Said:
    """What ``reward`` says of each duel. Each distinct candidate is scored once; a reward with a ``prefer`` of its own
    is asked for comparisons instead.
    """
    user, criterion = feedback.user[duels.judgement], feedback.criterion[duels.judgement]
    if type(reward).prefer is not Reward.prefer or hasattr(reward, "prefer_at"):
        one = np.ones(len(duels))
        pairs = Pairs(duels.right, duels.wrong, one, one, one, user, criterion, duels.judgement)
        found = predict_pairs(reward, feedback, pairs)
        return Said(_outcome(found.value - 0.5), found.reasons)
    n = len(duels)
    found = predict_items(
        reward,
        feedback,
        np.concatenate([duels.right, duels.wrong]),
        np.concatenate([user, user]),
        np.concatenate([criterion, criterion]),
        of_pairs=True,
    )
    score = np.full(len(feedback.items), np.nan)
    start = feedback.offsets[duels.judgement]
    score[start + duels.right_at] = found.value[:n]
    score[start + duels.wrong_at] = found.value[n:]
    return Said(_outcome(found.value[:n] - found.value[n:]), found.reasons, score)


def _outcome(gap: np.ndarray) -> np.ndarray:
    """1, 0.5, 0 or NaN by the sign of ``gap`` [D]; equal infinities are a tie."""
    return np.where(np.isnan(gap), np.nan, np.heaviside(gap, 0.5))


def credits(said: Said, duels: Duels, unit: Unit, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """(judgement of each item int [I], credit of each item float64 [I]); NaN where one of its duels is unscored."""
    if unit == "duel":
        won = said.won
        return duels.judgement, np.where(np.isnan(won), np.nan, won == 1) if rule == "strict" else won
    judgement, first = np.unique(duels.judgement, return_index=True)
    if not len(judgement):
        return judgement, np.zeros(0)
    missing = np.add.reduceat(np.isnan(said.won), first) > 0
    won = np.nan_to_num(said.won)
    least = np.minimum.reduceat(won, first)
    if rule == "strict":
        credit = (least == 1).astype(np.float64)
    elif rule == "half":
        credit = np.add.reduceat(won, first) / np.diff(np.r_[first, len(won)])
    else:
        ties = np.add.reduceat(won == 0.5, first)
        credit = np.where(least >= 0.5, 1 / (1 + ties), 0.0)
    return judgement, np.where(missing, np.nan, credit)


def by_chance(duels: Duels, unit: Unit, rule: Rule) -> np.ndarray:
    """float64 [I] what random scores without ties earn on each item in expectation."""
    if unit == "duel":
        return np.full(len(duels), 0.5)
    judgement, first = np.unique(duels.judgement, return_index=True)
    n = np.diff(np.r_[first, len(duels)])
    if rule == "half":
        return np.full(len(judgement), 0.5)
    right = np.array([len(np.unique(part)) for part in np.split(duels.right_at, first[1:])]) if len(n) else n
    wrong = n // np.maximum(right, 1)
    if (right * wrong == n).all():  # every right one above every wrong one: one order of (r + w)! / (r! w!)
        from scipy.special import comb

        return 1 / np.asarray(comb(right + wrong, right))
    return np.full(len(judgement), np.nan)

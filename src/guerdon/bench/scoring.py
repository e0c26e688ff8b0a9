"""What a reward says about feedback, asking it as little as possible.

A million comparisons over 900 candidates and 500 people hold at most 450,000 different questions, and 900 if the
reward does not depend on who asks. Each distinct (candidate, person, criterion) is scored once, in large batches, and
looked up from there. What a reward may offer to make it cheaper (duck-typed, all optional):

``reads``                                 the columns its scores depend on, ``()`` for a population reward
``score_table(candidates, users)``        float [c, u]: all candidates for all people at once
``prefer_at(candidates, a, b, users)``    float [n]: what ``prefer`` gives for the n comparisons of rows ``a`` and ``b``
                                          (int [n]) of the candidates, asked by ``users`` [n] (None = nobody)
``users``                                 the people it knows

A reward whose ``prefer`` is its own is asked by ``prefer`` (it knows better than the logistic of a difference); one
that only compares has the candidates of a list ranked by their expected number of wins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.base import Reward, Scores

ROWS = 65_536
"""Rows a batch of ``score`` or ``prefer``."""

CELLS = 4_000_000
"""Cells a call of ``score_table``."""


@dataclass(frozen=True)
class Said:
    """Values of n questions, NaN = unscored; ``reasons`` counts why questions stayed unscored."""

    value: np.ndarray
    reasons: Counter[str] = field(default_factory=Counter)


def known_people(reward: Reward) -> frozenset[str] | None:
    """The people a personal reward knows; None for a reward that keeps no people."""
    users = getattr(reward, "users", None)
    return None if users is None else frozenset(users)


def only_compares(reward: Reward) -> bool:
    """True if the reward implements ``prefer`` but not ``score``."""
    return type(reward).score is Reward.score


def predict_pairs(reward: Reward, feedback: Feedback, pairs: Pairs) -> Said:
    """P(a preferred to b) of each pair, in [0, 1]; NaN where either candidate is unscored."""
    if hasattr(reward, "prefer_at") and "criterion" not in reward.reads:
        return _prefer_at(reward, feedback, pairs)
    if type(reward).prefer is not Reward.prefer:
        return _prefer(reward, feedback, pairs)
    n = len(pairs)
    both = predict_items(
        reward,
        feedback,
        np.concatenate([pairs.a, pairs.b]),
        np.concatenate([pairs.user, pairs.user]),
        np.concatenate([pairs.criterion, pairs.criterion]),
        of_pairs=True,
    )
    return Said(logistic(both.value[:n] - both.value[n:]), both.reasons)


def predict_items(
    reward: Reward,
    feedback: Feedback,
    item: np.ndarray,
    user: np.ndarray,
    criterion: np.ndarray,
    *,
    of_pairs: bool = False,
) -> Said:
    """The score of each question (item, user, criterion), all int [n]: indices of ``feedback``'s tables, -1 = none.

    With ``of_pairs`` the questions are the two halves of n / 2 pairs, and ``reasons`` counts pairs.
    """
    user, criterion = _relevant(reward, user, criterion)
    key, inverse = distinct(item, user, criterion)
    rows_item, rows_user, rows_criterion = key
    if hasattr(reward, "score_table") and (rows_criterion < 0).all() and (rows_user >= 0).all():
        value, why = _by_table(reward, feedback, rows_item, rows_user), None
    else:
        value, why = _by_rows(reward.score, feedback, [rows_item], rows_user, rows_criterion)
    return Said(value[inverse], _reasons(value, why, inverse, halves=of_pairs))


def win_counts(probability: np.ndarray, slot_a: np.ndarray, slot_b: np.ndarray, n: int) -> np.ndarray:
    """float64 [n] expected wins of each of n listed responses; NaN where one of its comparisons is unscored.

    ``probability`` [m] of a, ``slot_a`` and ``slot_b`` int [m]: which listed responses each comparison is of.
    """
    wins = np.bincount(slot_a, weights=probability, minlength=n)
    return wins + np.bincount(slot_b, weights=1 - probability, minlength=n)


def logistic(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow; exactly 1/2 at 0."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


# ---------------------------------------------------------------------------------------------------- the asking


def _prefer(reward: Reward, feedback: Feedback, pairs: Pairs) -> Said:
    user, criterion = _relevant(reward, pairs.user, pairs.criterion)
    (a, b, rows_user, rows_criterion), inverse = distinct(pairs.a, pairs.b, user, criterion)
    value, why = _by_rows(reward.prefer, feedback, [a, b], rows_user, rows_criterion)
    return Said(value[inverse], _reasons(value, why, inverse))


def _prefer_at(reward: Any, feedback: Feedback, pairs: Pairs) -> Said:
    used, sides = np.unique(np.concatenate([pairs.a, pairs.b]), return_inverse=True)
    a, b = np.split(sides, 2)
    users = np.array([*feedback.users, None], dtype=object)[pairs.user]
    value = np.asarray(reward.prefer_at(feedback.candidates.take(used), a, b, users.tolist()), dtype=np.float64)
    return Said(value, _reasons(value, None, np.arange(len(pairs))))


def _by_rows(
    ask: Callable[..., Scores],
    feedback: Feedback,
    items: list[np.ndarray],
    user: np.ndarray,
    criterion: np.ndarray,
) -> tuple[np.ndarray, list[str | None]]:
    """Values of distinct questions, asked in batches; equal candidates are neighbours, so a batch repeats few texts."""
    n = len(user)
    value = np.empty(n)
    why: list[str | None] = [None] * n
    users = np.array([*feedback.users, None], dtype=object)
    criteria = np.array([*feedback.criteria, None], dtype=object)
    table = feedback.candidates
    for lo in range(0, n, ROWS):
        part = slice(lo, min(lo + ROWS, n))
        columns: dict[str, Any] = {}
        if (user[part] >= 0).any():
            columns["user"] = users[user[part]].tolist()
        if (criterion[part] >= 0).any():
            columns["criterion"] = criteria[criterion[part]].tolist()
        batches = []
        for item in items:
            index = item[part].tolist()
            prompts = [table.prompts[i] for i in index]
            batches.append(Candidates(prompts, [table.responses[i] for i in index], **columns))
        said = ask(*batches)
        value[part] = said.value
        for i in np.flatnonzero(np.isnan(said.value)).tolist():
            reason = said.reason[i]
            why[lo + i] = f"{said.status[i]}: {reason}" if reason else said.status[i]
    return value, why


def _by_table(reward: Any, feedback: Feedback, item: np.ndarray, user: np.ndarray) -> np.ndarray:
    """Values of distinct (item, user) questions from ``score_table``, in blocks of people that bound the memory."""
    value = np.empty(len(item))
    order = np.argsort(user, kind="stable")
    people, start = np.unique(user[order], return_index=True)
    block = max(1, CELLS // max(len(np.unique(item)), 1))
    ends = np.r_[start[1:], len(order)]
    for lo in range(0, len(people), block):
        hi = min(lo + block, len(people))
        rows = order[start[lo] : ends[hi - 1]]
        used, row_of = np.unique(item[rows], return_inverse=True)
        table = reward.score_table(feedback.candidates.take(used), [feedback.users[u] for u in people[lo:hi]])
        value[rows] = np.asarray(table, dtype=np.float64)[row_of, np.searchsorted(people[lo:hi], user[rows])]
    return value


def _relevant(reward: Reward, user: np.ndarray, criterion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The columns with everything the reward does not look at set to none, so that equal questions are asked once."""
    reads = reward.reads
    nothing = np.full(len(user), -1, dtype=np.int64)
    return user if "user" in reads else nothing, criterion if "criterion" in reads else nothing


def distinct(*columns: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """(distinct rows of int columns >= -1, sorted by the first column; int [n] index of each row among them)."""
    code = np.zeros(len(columns[0]), dtype=np.int64)
    room = 1
    for column in columns:
        base = int(column.max(initial=-1)) + 2
        if room > 2**62 // base:  # the product of the table sizes can exceed 64 bits, the number of rows cannot
            code = np.unique(code, return_inverse=True)[1].astype(np.int64)
            room = len(code)
        code, room = code * base + column + 1, room * base
    _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    return [np.asarray(c)[first].astype(np.int64) for c in columns], inverse


def _reasons(
    value: np.ndarray, why: list[str | None] | None, inverse: np.ndarray, halves: bool = False
) -> Counter[str]:
    """How many questions (pairs, if ``halves``) stayed unscored, by reason; a pair's first missing half counts."""
    missing = np.isnan(value)
    if not missing.any():
        return Counter()
    row = inverse
    if halves:
        left, right = np.split(inverse, 2)
        row = np.where(missing[left], left, right)
    counts = np.bincount(row[missing[row]], minlength=len(value))
    reasons: Counter[str] = Counter()
    for i in np.flatnonzero(counts).tolist():
        reasons[(why[i] if why else None) or "failed"] += int(counts[i])
    return reasons

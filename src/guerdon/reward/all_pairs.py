"""Every comparison among the responses to a prompt, of any reward, and the rankings that follow from them.

A list of m responses has m (m - 1) / 2 comparisons. A reward that scores is asked for m scores, and P(a over b) is the
logistic of their difference; one that embeds (``prefer_at``, see :mod:`guerdon.bench.scoring`) is asked for m
embeddings; one that can only be asked pair by pair is asked each pair once, the earlier response first.

A ranking takes the table P [m, m] of a list: ``borda`` the mean probability against the others, ``copeland`` the share
of the others that is beaten, ``von-neumann`` the weight in the mixture that no response beats
(:mod:`guerdon.reward.learned.tournament`). Where preferences are transitive all agree; where they run in a circle there
is no best response, and the mixture says which are in it. A comparison that failed is missing, not a draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores
from guerdon.reward.learned.tournament import borda, copeland, nash

METHODS = {"borda": borda, "copeland": copeland, "von-neumann": nash}
"""Rankings of a table by the name people type."""

AT_ONCE = 65_536
"""Comparisons a call of ``prefer``."""


@dataclass(frozen=True)
class Compared:
    """n comparisons: rows ``a`` and ``b`` int [n] of the candidates, and P(a preferred to b) as Scores."""

    a: np.ndarray
    b: np.ndarray
    said: Scores

    def table(self, rows: np.ndarray) -> np.ndarray:
        """float64 [m, m] P(i over j) of the candidates ``rows`` (ascending); NaN where missing, 1/2 on the diagonal."""
        mine = np.flatnonzero(np.isin(self.a, rows))
        i, j = np.searchsorted(rows, self.a[mine]), np.searchsorted(rows, self.b[mine])
        out = np.full((len(rows), len(rows)), np.nan)
        out[i, j], out[j, i] = self.said.value[mine], 1 - self.said.value[mine]
        np.fill_diagonal(out, 0.5)
        return out


def compare_all(reward: Reward, candidates: Candidates, lists: Sequence[int]) -> Compared:
    """All comparisons of candidates whose list, int [n], is the same; list after list, earlier candidates first."""
    sides = [np.zeros((0, 2), dtype=np.int64)]
    sides += [np.stack([rows[i] for i in np.triu_indices(len(rows), 1)], axis=1) for rows in members(lists)]
    a, b = np.concatenate(sides).T
    return Compared(a, b, _said(reward, candidates, a, b))


def _said(reward: Any, candidates: Candidates, a: np.ndarray, b: np.ndarray) -> Scores:
    if not len(a):
        return Scores(np.zeros(0))
    if type(reward).prefer is Reward.prefer:
        used, sides = np.unique(np.concatenate([a, b]), return_inverse=True)
        return _of_scores(reward.score(candidates.take(used)), *np.split(sides, 2))
    if not hasattr(reward, "prefer_at") or "criterion" in reward.reads:
        return _asked(reward, candidates, a, b)
    users = list(candidates.user) if candidates.user is not None else [None] * len(candidates)
    value = np.asarray(reward.prefer_at(candidates, a, b, [users[i] for i in a]), dtype=np.float64)
    missing = np.flatnonzero(np.isnan(value))
    if not len(missing):
        return Scores(value)
    why = _asked(reward, candidates, a[missing], b[missing])  # only prefer() says why
    status: list[str] = ["scored"] * len(value)
    reason: list[str | None] = [None] * len(value)
    for i, one, text in zip(missing, why.status, why.reason, strict=True):
        status[i], reason[i] = one if one != "scored" else "failed", text
    return Scores(value, status, reason)


def _asked(reward: Reward, candidates: Candidates, a: np.ndarray, b: np.ndarray) -> Scores:
    """What ``prefer`` says, so many comparisons at a time."""
    parts = [
        reward.prefer(candidates.take(a[lo : lo + AT_ONCE]), candidates.take(b[lo : lo + AT_ONCE]))
        for lo in range(0, len(a), AT_ONCE)
    ]
    std = None if any(p.std is None for p in parts) else np.concatenate([np.asarray(p.std) for p in parts])
    cost: dict[str, float] = {}
    for part in parts:
        cost = {k: cost.get(k, 0.0) + part.cost.get(k, 0.0) for k in cost | part.cost}
    return Scores(
        np.concatenate([p.value for p in parts]),
        [s for p in parts for s in p.status],
        [r for p in parts for r in p.reason],
        std,
        cost=cost,
    )


def _of_scores(scores: Scores, a: np.ndarray, b: np.ndarray) -> Scores:
    """What :meth:`Reward.prefer` says of the rows a and b of candidates whose scores are known."""
    value = 0.5 * (1.0 + np.tanh(0.5 * (scores.value[a] - scores.value[b])))
    said, why = list(scores.status), list(scores.reason)
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    std = None if scores.std is None else np.hypot(scores.std[a], scores.std[b]) * value * (1 - value)
    status = [said[i] if said[i] != "scored" else said[j] for i, j in pairs]
    return Scores(value, status, [why[i] or why[j] for i, j in pairs], std, cost=scores.cost)


def rank_lists(reward: Reward, candidates: Candidates, lists: Sequence[int]) -> Scores:
    """What the reward's own ``rank`` gives, list by list: its score, where it scores candidates alone.

    Raises
    ------
    TypeError
        if the reward only compares
    """
    if type(reward).rank is Reward.rank:
        return reward.score(candidates)
    rows = members(lists)
    if len(rows) == 1:
        return reward.rank(candidates)
    value = np.full(len(candidates), np.nan)
    status: list[str] = ["failed"] * len(candidates)
    reason: list[str | None] = [None] * len(candidates)
    cost: dict[str, float] = {}
    for mine in rows:
        said = reward.rank(candidates.take(mine))
        value[mine] = said.value
        for i, one, text in zip(mine, said.status, said.reason, strict=True):
            status[i], reason[i] = one, text
        cost = {k: cost.get(k, 0.0) + said.cost.get(k, 0.0) for k in cost | said.cost}
    return Scores(value, status, reason, cost=cost)


def members(lists: Sequence[int]) -> list[np.ndarray]:
    """The rows of each list, in the order the lists first come."""
    groups = np.asarray(lists, dtype=np.int64)
    return [np.flatnonzero(groups == group) for group in dict.fromkeys(groups.tolist())]


@dataclass(frozen=True)
class Standing:
    """How the responses of one list stand.

    value      float64 [m], higher is better; NaN where nothing is known
    ranking    the responses that have a value, best first
    condorcet  the response that beats every other, or None (also where that is not known)
    """

    value: np.ndarray
    ranking: list[int]
    condorcet: int | None = None

    @classmethod
    def of(cls, value: np.ndarray, condorcet: int | None = None, second: np.ndarray | None = None) -> Standing:
        """Of values [m], NaN = missing; of equals the one with the higher ``second`` [m] is first, then the earlier."""
        order = np.lexsort((np.arange(len(value)), -(value if second is None else second), -value))
        return cls(value, [int(i) for i in order if np.isfinite(value[i])], condorcet)


def standing(table: np.ndarray, by: str) -> Standing:
    """The standing that ``by`` (one of :data:`METHODS`) gives the table P [m, m]; NaN = a comparison that is missing.

    Borda and Copeland count over the comparisons that are there. The von Neumann winner is of the responses that have
    been compared at all (one of the winners, where draws leave several), and its equals, such as those without weight,
    are in Borda's order; where a comparison among these is missing there is no winner, and all values are missing.
    """
    m = len(table)
    others = ~np.eye(m, dtype=bool)
    known = others & ~np.isnan(table)
    here = np.flatnonzero(known.any(1)) if m > 1 else np.arange(m)
    mean = np.full(m, np.nan)
    mean[here] = np.where(known, table, 0.0).sum(1)[here] / np.maximum(known.sum(1)[here], 1)
    value = np.full(m, np.nan)
    small = table[np.ix_(here, here)]
    if len(here) and not np.isnan(small).any():
        value[here] = METHODS[by](small)
    elif by == "borda":
        value = mean
    elif by == "copeland":
        won = np.where(known, (table > 0.5) + 0.5 * (table == 0.5), 0.0)
        value[here] = won.sum(1)[here] / known.sum(1)[here]
    beaten = np.flatnonzero(((table > 0.5) | ~others).all(1))
    return Standing.of(value, int(beaten[0]) if m > 1 and len(beaten) else None, mean if m > 1 else None)

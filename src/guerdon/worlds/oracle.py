"""The truth of a simulated population as a reward: the ceiling of every personal model fitted to what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from guerdon.errors import FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores

if TYPE_CHECKING:
    from guerdon.worlds.people import Population


class Oracle(Reward):
    """True utility of candidates of the population's pool to the person in the column ``user``.

    A candidate asked for by nobody gets the mean utility over the population, and so does one asked for by somebody
    unknown, who is flagged. One that is not in the pool is unscored. Cyclic people have no utility: only :meth:`prefer`
    answers for them.
    """

    name = "oracle"

    def __init__(self, population: Population) -> None:
        self.population = population
        self._row = {user: row for row, user in enumerate(population.users)}

    @property
    def users(self) -> tuple[str, ...]:
        """The people it knows."""
        return self.population.users

    def score(self, candidates: Candidates) -> Scores:
        """True utilities [n]."""
        items, (people, reason) = self.population.pool.find(candidates), self._people(candidates)
        reason = [why if row >= 0 else "not in this pool" for row, why in zip(items, reason, strict=True)]
        value = np.full(len(items), np.nan)
        known = (people >= 0) & (items >= 0)
        if known.any():
            value[known] = self.population.utility_at(people[known], items[known][:, None])[:, 0]
        nobody = (people < 0) & (items >= 0)
        if nobody.any():
            total = sum(utility.sum(0) for _, utility in self.population.blocks(items[nobody]))
            value[nobody] = total / len(self.population)
        return _scores(value, reason)

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(the person says a is better) [n], in the person's own way of answering."""
        first, second = self.population.pool.find(a), self.population.pool.find(b)
        people, reason = self._people(a)
        if self._people(b)[0].tolist() != people.tolist():
            raise FeedbackError("oracle: the two sides of a comparison are asked for by different people")
        here = (first >= 0) & (second >= 0)
        reason = [why if ok else "not in this pool" for ok, why in zip(here, reason, strict=True)]
        value = np.full(len(first), np.nan)
        known = (people >= 0) & here
        if known.any():
            value[known] = self.population.preference(people[known], first[known], second[known])
        everybody = np.arange(len(self.population))
        for i in np.flatnonzero((people < 0) & here):
            left, right = np.full_like(everybody, first[i]), np.full_like(everybody, second[i])
            value[i] = self.population.preference(everybody, left, right).mean()
        return _scores(value, reason)

    def _people(self, candidates: Candidates) -> tuple[np.ndarray, list[str | None]]:
        """Row of each person, -1 for nobody and for somebody unknown; the reason names the latter."""
        names = candidates.user if candidates.user is not None else [None] * len(candidates)
        rows = np.array([-1 if name is None else self._row.get(name, -1) for name in names], dtype=np.int64)
        known = zip(names, rows, strict=True)
        return rows, [f"unknown person {name!r}" if name is not None and row < 0 else None for name, row in known]


def _scores(value: np.ndarray, reason: list[str | None]) -> Scores:
    return Scores(value, ["abstained" if missing else "scored" for missing in np.isnan(value)], reason)

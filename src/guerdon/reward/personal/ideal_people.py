"""People as mixtures of prototypes: solved from their votes, carried on by further ones, asked for scores.

A person is K logits with a Gaussian prior around the population's (:mod:`guerdon.reward.personal.ideal_weights`);
strangers have the population's. Where geometry and prior come from is a subclass's matter
(:mod:`guerdon.reward.personal.ideal_point`).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.special import softmax

from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Scores
from guerdon.reward.learned.fitted import FeatureReward
from guerdon.reward.personal.askers import Askers
from guerdon.reward.personal.ideal_geometry import Geometry
from guerdon.reward.personal.ideal_training import Points
from guerdon.reward.personal.ideal_weights import Placed, prior_precision, solve
from guerdon.reward.personal.people import ADAPT_PAIRS, PeopleTable
from guerdon.reward.personal.selection import pairs_of_people

if TYPE_CHECKING:
    import pyarrow as pa

NO_DIRECTION = "variant B: response or ideal has length zero, so there is no cosine"


class PrototypePeople(FeatureReward):
    """People known by weights over prototypes of one ``geometry``.

    mean         float64 [K] logits of the population
    trust        variance of a person's logits around them
    calibration  factor that turns utilities into log-odds
    people       the people known; their centers are logits
    """

    reads = ("user",)
    geometry: Geometry
    mean: np.ndarray
    trust: float
    calibration: float
    people: PeopleTable

    def points(self, x: np.ndarray) -> Points:
        """Candidates with scaled features x [n, d], as the geometry takes them."""
        raise TypeError(f"{type(self).__name__} does not implement points")

    @property
    def users(self) -> tuple[str, ...]:
        """The people this reward knows."""
        return self.people.users

    @property
    def population(self) -> np.ndarray:
        """float64 [K] the weights of somebody unknown: the mean over the people it was fitted to."""
        return softmax(self.mean / self.settings["temperature"])

    # ------------------------------------------------------------------ learning about people

    def _solve_people(self, feedback: Feedback, placed: Placed, known: PeopleTable | None = None) -> PeopleTable:
        """Weights of everybody in ``feedback``; people in ``known`` continue from what they said before."""
        s = self.settings
        pairs = pairs_of_people(feedback, ADAPT_PAIRS, s["seed"])
        codes, person = np.unique(pairs.user, return_inverse=True)
        users = tuple(feedback.users[c] for c in codes)
        k = len(self.mean)
        prior = prior_precision(self.trust, 1, k)[0]
        center, precision, votes = (known or PeopleTable.empty(k)).before(users, self.mean, prior)
        votes += np.bincount(person, minlength=len(users))
        if self.trust > 0:
            center, precision = solve(
                placed, pairs, person, mean=center, precision=precision, kind=s["loss"], temperature=s["temperature"]
            )
        return PeopleTable(users, softmax(center / s["temperature"], axis=1), center, precision, votes)

    def adapt(self, feedback: Feedback) -> Self:
        """A copy that also knows the people of ``feedback``, solved all at once; known people learn further."""
        other = copy(self)
        placed = self.points(self.x_of(feedback)).placed(self.geometry)
        other.people = self.people.merged(self._solve_people(feedback, placed, self.people))
        return other

    # ------------------------------------------------------------------ scoring

    def _place(self, candidates: Candidates) -> Placed:
        return self.points(self.x(candidates)).placed(self.geometry)

    def _asked(self, users: Sequence[str | None] | None, n: int) -> tuple[np.ndarray, np.ndarray, Askers]:
        """(weights [g, K] and covariances of logits [g, K, K] of the g distinct askers of n rows, the askers)."""
        askers, k = Askers.of(users, n, self.people.index), len(self.mean)
        nobody = _covariance(prior_precision(self.trust, 1, k))
        w, cov = np.tile(self.population, (len(askers.names), 1)), np.tile(nobody, (len(askers.names), 1, 1))
        for i in np.flatnonzero(askers.known):
            w[i] = self.people.weights[askers.row[i]]
            cov[i] = _covariance(self.people.precision[askers.row[i]])
        return w, cov, askers

    def score(self, candidates: Candidates) -> Scores:
        """Utility of each candidate to the person in ``user``; unscored where variant B finds no direction."""
        if not len(candidates):
            return Scores(np.zeros(0), std=np.zeros(0))
        w, cov, askers = self._asked(candidates.user, len(candidates))
        which = askers.which
        value, by_w = self._place(candidates).at(w, which)
        mine = w[which]
        slope = mine * (by_w - (by_w * mine).sum(1, keepdims=True)) / self.settings["temperature"]
        std = np.sqrt(np.maximum(np.einsum("nk,nkl,nl->n", slope, cov[which], slope, optimize=True), 0.0))
        bad = np.isnan(value)
        status = ["invalid" if b else "scored" for b in bad]
        reason = [NO_DIRECTION if b else r for b, r in zip(bad, askers.reason, strict=True)]
        return Scores(self.calibration * value, status, reason, self.calibration * std)

    def score_table(self, candidates: Candidates, users: list[str]) -> np.ndarray:
        """float64 [c, u]: utility of each candidate to each person (population where unknown)."""
        rows = [self.people.index.get(user, -1) for user in users]
        w = np.concatenate([self.people.weights, self.population[None]])[rows]
        return self.calibration * self._place(candidates).table(w)

    # ------------------------------------------------------------------ saving

    def people_table(self) -> pa.Table:
        """The people as an Arrow table: user, votes, weights, center (logits), precision."""
        return self.people.to_arrow()

    def restore_people(self, table: pa.Table) -> None:
        """Take the people back."""
        self.people = PeopleTable.from_arrow(table, len(self.mean))


def _covariance(precision: np.ndarray) -> np.ndarray:
    return np.linalg.inv(precision + 1e-6 * np.eye(precision.shape[-1]))

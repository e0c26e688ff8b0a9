"""People as weights of basis utilities: solved from their votes, carried on by further ones, asked for scores.

    utility(x, person) = f(x) + B(x) . w_person

A person's weights are the mode of a Gaussian prior and the logistic likelihood of their comparisons
(:mod:`guerdon.reward.personal.weights`), with Laplace's covariance; strangers have the prior's mean and covariance.
Where f, B and the prior come from is a subclass's matter (:mod:`guerdon.reward.personal.low_rank`).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.base import Scores
from guerdon.reward.learned.fitted import FeatureReward
from guerdon.reward.personal.askers import Askers
from guerdon.reward.personal.people import ADAPT_PAIRS, PeopleTable
from guerdon.reward.personal.selection import pairs_of_people, predict
from guerdon.reward.personal.weights import posterior, solve

if TYPE_CHECKING:
    import pyarrow as pa


class LinearPeople(FeatureReward):
    """People known by weights, constrained as ``settings["weights"]`` says.

    mean       float64 [k] the prior's mean
    precision  float64 [k, k] the prior's precision
    people     the people known
    """

    reads = ("user",)
    mean: np.ndarray
    precision: np.ndarray
    people: PeopleTable

    def utilities(self, candidates: Candidates) -> np.ndarray:
        """float64 [n, 1 + k]: population utility f in column 0, basis utilities B in the others."""
        raise TypeError(f"{type(self).__name__} does not implement utilities")

    @property
    def users(self) -> tuple[str, ...]:
        """The people this reward knows."""
        return self.people.users

    @property
    def width(self) -> int:
        """Number of basis utilities."""
        return len(self.mean)

    # ------------------------------------------------------------------ learning about people

    def _pairs(self, feedback: Feedback, most: int | None) -> Pairs:
        return pairs_of_people(feedback, most, self.settings["seed"])

    def _solve_people(self, feedback: Feedback, u: np.ndarray, known: PeopleTable | None = None) -> PeopleTable:
        """Weights of everybody in ``feedback``; people in ``known`` continue from what they said before."""
        pairs = self._pairs(feedback, ADAPT_PAIRS)
        codes, person = np.unique(pairs.user, return_inverse=True)
        users = tuple(feedback.users[c] for c in codes)
        n, k = len(users), self.width
        mean, precision, votes = (known or PeopleTable.empty(k)).before(users, self.mean, self.precision)
        z = u[pairs.a] - u[pairs.b]
        args: dict[str, Any] = {"offset": z[:, 0], "weight": pairs.weight, "mean": mean, "precision": precision}
        w, _ = solve(z[:, 1:], pairs.p, person, n, constraint=self.settings["weights"], **args)
        center, post = posterior(z[:, 1:], pairs.p, person, w, **args)
        return PeopleTable(users, w, center.reshape(n, k), post, votes + np.bincount(person, minlength=n))

    def adapt(self, feedback: Feedback) -> Self:
        """A copy that also knows the people of ``feedback``, all solved at once; known people learn further."""
        other = copy(self)
        items = feedback.used
        u = np.zeros((len(feedback.responses), 1 + self.width))
        u[items] = self.utilities(feedback.candidates.take(items))
        fresh = self._solve_people(feedback, u, self.people)
        other.people = self.people.merged(fresh)
        return other

    def update(self, user: str, a: Candidates, b: Candidates, preferred: float | np.ndarray = 1.0) -> None:
        """Add comparisons of one person in place (``preferred`` = P(a preferred)); unknown people are added."""
        z = self.utilities(a) - self.utilities(b)
        self.update_from_utilities(user, z, np.broadcast_to(np.asarray(preferred, dtype=float), len(z)))

    def update_from_utilities(self, user: str, z: np.ndarray, p: np.ndarray) -> None:
        """As :meth:`update`, from utility differences z [m, 1 + k]: the inner step, well under a millisecond."""
        j = self.people.index.get(user)
        center = self.mean if j is None else self.people.center[j]
        precision = self.precision if j is None else self.people.precision[j]
        person = np.zeros(len(z), dtype=np.int64)
        args: dict[str, Any] = {"offset": z[:, 0], "mean": center[None], "precision": precision[None]}
        w, _ = solve(z[:, 1:], p, person, 1, constraint=self.settings["weights"], tolerance=1e-6, **args)
        center, post = posterior(z[:, 1:], p, person, w, **args)
        if j is None:
            self.people = self.people.merged(PeopleTable((user,), w, center, post, np.array([len(z)])))
        else:
            self.people.weights[j], self.people.center[j], self.people.precision[j] = w[0], center[0], post[0]
            self.people.votes[j] += len(z)

    # ------------------------------------------------------------------ scoring

    def _asked(self, users: Sequence[str | None] | None, n: int) -> tuple[np.ndarray, np.ndarray, Askers]:
        """(weights [g, k] and covariances [g, k, k] of the g distinct askers of n rows, the askers)."""
        askers = Askers.of(users, n, self.people.index)
        g, k = len(askers.names), self.width
        w, cov = np.tile(self.mean, (g, 1)).reshape(g, k), np.tile(_inverse(self.precision), (g, 1, 1)).reshape(g, k, k)
        for i in np.flatnonzero(askers.known):
            w[i], cov[i] = self.people.weights[askers.row[i]], self._covariance(askers.row[i])
        return w, cov, askers

    def _covariance(self, j: int) -> np.ndarray:
        """Laplace covariance of one person's weights, within the face of the constraint set they lie on."""
        cov = _inverse(self.people.precision[j])
        if self.settings["weights"] == "free":
            return cov
        inside = self.people.weights[j] > 1e-6
        part = _inverse(self.people.precision[j][np.ix_(inside, inside)])
        if self.settings["weights"] == "simplex":
            ones = part.sum(1)
            part = part - np.outer(ones, ones) / max(ones.sum(), 1e-12)
        cov = np.zeros_like(cov)
        cov[np.ix_(inside, inside)] = part
        return cov

    def belief(self, user: str | None) -> tuple[np.ndarray, np.ndarray]:
        """(mean [k], covariance [k, k]) of what is known of a person's weights; the prior's of somebody unknown."""
        w, cov, _ = self._asked([user], 1)
        return w[0], cov[0]

    def score(self, candidates: Candidates) -> Scores:
        """Utility of each candidate to the person in ``user``, with posterior ``std``."""
        w, cov, askers = self._asked(candidates.user, len(candidates))
        value, variance = predict(self.utilities(candidates), w, cov, askers.which)
        return Scores(value, reason=askers.reason, std=np.sqrt(variance))

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a preferred to b) by the person in ``a.user``, integrated over what is not known about them."""
        w, cov, askers = self._asked(a.user, len(a))
        t, variance = predict(self.utilities(a) - self.utilities(b), w, cov, askers.which)
        p = _integrated(t, variance)
        return Scores(p, reason=askers.reason, std=np.sqrt(variance) * p * (1 - p))

    def prefer_at(self, candidates: Candidates, a: np.ndarray, b: np.ndarray, users: list[str | None]) -> np.ndarray:
        """float64 [n]: :meth:`prefer` of the rows a and b, int [n], of ``candidates``, asked by ``users`` [n].

        Utilities are computed once a candidate, however many comparisons there are (see guerdon.bench.scoring).
        """
        u = self.utilities(candidates)
        w, cov, askers = self._asked(users, len(a))
        return _integrated(*predict(u[a] - u[b], w, cov, askers.which))

    def score_table(self, candidates: Candidates, users: list[str]) -> np.ndarray:
        """float64 [c, u]: utility of each candidate to each person (population where unknown)."""
        u = self.utilities(candidates)
        w = np.array(
            [self.people.weights[self.people.index[x]] if x in self.people.index else self.mean for x in users]
        )
        return u[:, :1] + u[:, 1:] @ w.reshape(len(users), self.width).T

    # ------------------------------------------------------------------ saving

    def people_table(self) -> pa.Table:
        """The people as an Arrow table: user, votes, weights, center, precision."""
        return self.people.to_arrow()

    def restore_people(self, table: pa.Table) -> None:
        """Take the people back."""
        self.people = PeopleTable.from_arrow(table, self.width)


def _inverse(precision: np.ndarray) -> np.ndarray:
    """Covariance of a precision matrix that may be singular (no prior)."""
    return np.linalg.inv(precision + 1e-9 * np.eye(len(precision)))


def _integrated(t: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """[n] the logistic of utility differences ``t``, integrated over their Gaussian ``variance`` (MacKay 1992)."""
    return 0.5 * (1 + np.tanh(0.5 * t / np.sqrt(1 + np.pi * variance / 8)))

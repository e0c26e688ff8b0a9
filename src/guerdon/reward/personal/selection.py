"""How much structure the data support, asked of people held out: rank, penalties, and trust in a few votes.

Training people are divided into folds. With each setting a basis is learned on the other folds; every held-out person
then gives a few of their comparisons (3, 10 and 30), their weights are solved under the prior scaled by each ``trust``
on a grid, and what counts is the log-loss on the rest of their comparisons. For comparisons made from ratings the two
parts share no candidate. Trust is the reciprocal of the prior's precision multiplier: 0 means that votes never move a
person from the population.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.errors import FeedbackError
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.personal.basis import Basis
from guerdon.reward.personal.weights import solve

SHOTS = (3, 10, 30)
TRUST = (0.0, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.0)


def pairs_of_people(feedback: Feedback, most: int | None, seed: int) -> Pairs:
    """The comparisons that have a person, at most ``most`` of each, drawn with ``seed``.

    Raises FeedbackError where no comparison has one.
    """
    pairs = feedback.pairs(max_per_person=most, seed=seed)
    known = pairs.user >= 0
    if not known.any():
        raise FeedbackError(
            "a personal reward needs to know who judged: no comparison here has a user; "
            "name the column with --map user=COLUMN, or fit --model bradley-terry"
        )
    if most is not None:
        order = np.random.default_rng(seed).permutation(len(pairs))
        few = np.zeros(len(pairs), bool)
        few[order] = within_person(pairs.user[order]) < most
        known = known & few
    return pairs.take(known)


@dataclass(frozen=True)
class FewShot:
    """The few-shot task of a set of people: pairs to learn from (in order of drawing) and pairs to predict."""

    shots: Pairs
    tests: Pairs

    @classmethod
    def of(cls, feedback: Feedback, pairs: Pairs, seed: int, most_tests: int = 60) -> FewShot:
        """Split each person's pairs in two: by candidate where pairs come from ratings, else by judgement."""
        rng = np.random.default_rng(seed)
        rating = feedback.sizes[pairs.judgement] == 1
        # a random half per (person, candidate) and per (person, judgement)
        half_item = lambda item: _coin(pairs.user, item, seed)  # noqa: E731
        a, b = half_item(pairs.a), half_item(pairs.b)
        half = np.where(rating, np.where(a == b, a, -1), _coin(pairs.user, pairs.judgement, seed + 1))
        shots, tests = pairs.take(half == 0), pairs.take(half == 1)
        shots = shots.take(rng.permutation(len(shots)))
        tests = tests.take(rng.permutation(len(tests)))
        tests = tests.take(within_person(tests.user) < most_tests)
        return cls(shots, tests)

    def of_people(self, people: np.ndarray) -> FewShot:
        """The task of some people who have both shots and tests."""
        both = np.intersect1d(np.intersect1d(self.shots.user, self.tests.user), people)
        return FewShot(*(part.take(np.isin(part.user, both)) for part in (self.shots, self.tests)))


def _coin(user: np.ndarray, unit: np.ndarray, seed: int) -> np.ndarray:
    """A fair bit for each (user, unit), the same wherever the two meet."""
    h = user.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + unit.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    h ^= np.uint64((seed * 0x165667B19E3779F9 + 0x27D4EB2F165667C5) % 2**64)
    h ^= h >> np.uint64(31)
    h *= np.uint64(0xBF58476D1CE4E5B9)
    h ^= h >> np.uint64(29)
    return ((h * np.uint64(0x94D049BB133111EB)) >> np.uint64(63)).astype(np.int64)


def within_person(user: np.ndarray) -> np.ndarray:
    """int64 [n] how many earlier rows have the same user."""
    order = np.argsort(user, kind="stable")
    ordered = user[order]
    first = np.r_[True, ordered[1:] != ordered[:-1]] if len(user) else np.zeros(0, bool)
    start = np.maximum.accumulate(np.where(first, np.arange(len(user)), 0)) if len(user) else np.zeros(0, int)
    out = np.empty(len(user), dtype=np.int64)
    out[order] = np.arange(len(user)) - start
    return out


@dataclass(frozen=True)
class Trial:
    """Held-out log-loss of one setting: population [m] and adapted [trust, m] per held-out person, and accuracies."""

    people: np.ndarray
    population: np.ndarray
    adapted: np.ndarray
    population_accuracy: np.ndarray
    adapted_accuracy: np.ndarray


def few_shot_trial(
    basis: Basis, utilities: np.ndarray, task: FewShot, constraint: str, trusts: Iterable[float]
) -> Trial:
    """Log-loss and accuracy per held-out person, averaged over ``SHOTS``, at every trust."""
    people = np.unique(task.tests.user)
    shots = task.shots.take(np.isin(task.shots.user, people))
    position = within_person(shots.user)
    sp, tp = np.searchsorted(people, shots.user), np.searchsorted(people, task.tests.user)
    zs, zt = utilities[shots.a] - utilities[shots.b], utilities[task.tests.a] - utilities[task.tests.b]
    p = task.tests.p
    count = np.bincount(tp, minlength=len(people))

    def per_person(x: np.ndarray) -> np.ndarray:
        return np.bincount(tp, weights=x, minlength=len(people)) / count

    def figures(w: np.ndarray, cov: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        t, variance = predict(zt, w, cov, tp)
        t = t / np.sqrt(1 + np.pi * variance / 8)
        hit = np.where(t == 0, 0.5, (t > 0) == (p > 0.5))
        return per_person(np.logaddexp(0, -t) + (1 - p) * t), per_person(np.where(p == 0.5, 0.5, hit))

    inverse = np.linalg.inv(basis.spread)
    prior_w = np.tile(basis.mean, (len(people), 1))
    losses, hits = [], []
    base_loss, base_hit = figures(prior_w, np.zeros((len(people), *basis.spread.shape)))
    for trust in trusts:
        loss, hit = np.zeros(len(people)), np.zeros(len(people))
        for k in SHOTS:
            keep = position < k
            if trust == 0 or not len(basis.mean):  # nothing to adapt
                loss += base_loss / len(SHOTS)
                hit += base_hit / len(SHOTS)
                continue
            w, cov = solve(
                zs[keep, 1:], shots.p[keep], sp[keep], len(people), offset=zs[keep, 0], weight=shots.weight[keep],
                mean=basis.mean, precision=inverse / trust, constraint=constraint, tolerance=1e-5,
            )  # fmt: skip
            one_loss, one_hit = figures(w, cov)
            loss += one_loss / len(SHOTS)
            hit += one_hit / len(SHOTS)
        losses.append(loss)
        hits.append(hit)
    return Trial(people, base_loss, np.array(losses), base_hit, np.array(hits))


def predict(z: np.ndarray, w: np.ndarray, cov: np.ndarray, person: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Utility difference [n] and its posterior variance [n] for z [n, 1 + k], weights [u, k], covariances [u, k, k]."""
    t = z[:, 0] + np.einsum("nk,nk->n", z[:, 1:], w[person])
    variance = np.zeros(len(z))
    order = np.argsort(person, kind="stable")
    for block in np.array_split(order, max(1, len(order) // 20_000)):
        zb = z[block, 1:]
        variance[block] = np.einsum("nk,nkl,nl->n", zb, cov[person[block]], zb, optimize=True)
    return t, np.maximum(variance, 0.0)


def folds_of(user: np.ndarray, seed: int, most: int = 3, large: int = 600) -> list[np.ndarray]:
    """Held-out people of each fold: three folds of the people, one of them only where people are many."""
    people = np.random.default_rng(seed).permutation(np.unique(user))
    parts = [np.sort(part) for part in np.array_split(people, most)]
    return parts[:1] if len(people) >= large else parts


@dataclass(frozen=True)
class Evidence:
    """How one setting does on held-out people [m]: the best trust, its mean log-loss, and per-person figures there."""

    setting: dict[str, Any]
    trust: float
    loss: float
    accuracy: np.ndarray
    population_loss: float
    population_accuracy: np.ndarray

    @classmethod
    def of(cls, setting: dict[str, Any], trials: Sequence[Trial], trusts: Sequence[float]) -> Evidence:
        """The evidence of ``trials`` (one a fold) of ``setting``, at the trust with the lowest log-loss."""
        adapted = np.concatenate([t.adapted for t in trials], axis=1).mean(1)
        best = int(np.argmin(adapted))
        return cls(
            setting,
            trusts[best],
            float(adapted[best]),
            np.concatenate([t.adapted_accuracy[best] for t in trials]),
            float(np.concatenate([t.population for t in trials]).mean()),
            np.concatenate([t.population_accuracy for t in trials]),
        )

    def row(self) -> dict[str, Any]:
        """For the model's summary."""
        return {**self.setting, "population": self.population_loss, "adapted": self.loss, "trust": self.trust}


def gain(personal: Evidence, population: Evidence, seed: int = 0) -> tuple[float, float, float]:
    """(mean, low, high): accuracy gain of adapting over the best population, 95 % bootstrap over held-out people."""
    difference = personal.accuracy - population.population_accuracy
    draws = np.random.default_rng(seed).integers(0, len(difference), size=(1000, len(difference)))
    low, high = np.quantile(difference[draws].mean(1), [0.025, 0.975])
    return float(difference.mean()), float(low), float(high)

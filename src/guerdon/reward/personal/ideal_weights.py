r"""Simplex weights of people over fixed prototypes: all people at once, nothing else moves.

A person's logits v [K] (weights w = softmax(v / T)) minimise

    sum_i weight_i * loss(delta_i(w)) + (v - m)' L (v - m) / 2,

delta_i the utility difference of their comparison i. The problem has K unknowns a person and is not convex (an ideal
point may lie on either side), so every person starts from the prior mean and from near each prototype, each start runs
damped Gauss-Newton steps accepted person by person, and the best end wins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, softmax

from guerdon.feedback.star import Pairs
from guerdon.reward.personal.ideal_geometry import ZERO, Geometry

STEPS, ENOUGH = 30, 1e-6
"""Most steps of a descent; a person whose objective falls by less than this share has arrived."""

SHARPNESS = 10.0
"""The hinge is smoothed for people's weights: softplus(s (1 - delta)) / s."""

ROWS = 8192
"""Comparisons held at once while people are solved."""

Differences = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Weights of people [u, K] -> (utility differences [n], their derivatives by the weights [n, K])."""


def losses(kind: str, delta: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(loss, first and second derivative) [n] of differences ``delta`` [n] with P(a preferred) ``p`` [n]."""
    if kind == "logistic":
        s = expit(delta)
        return np.logaddexp(0, -delta) + (1 - p) * delta, s - p, s * (1 - s)
    left, right = SHARPNESS * (1 - delta), SHARPNESS * (1 + delta)
    loss = (p * np.logaddexp(0, left) + (1 - p) * np.logaddexp(0, right)) / SHARPNESS
    s, t = expit(left), expit(right)
    return loss, (1 - p) * t - p * s, SHARPNESS * (p * s * (1 - s) + (1 - p) * t * (1 - t))


@dataclass(frozen=True)
class Placed:
    """n candidates in preference space.

    y      float64 [n, q] projected responses, or [n, P, q] of P tokens each (variant A)
    share  float64 [P] what each token's utility counts, sum 1; None where a response is one point
    along  float64 [n, K] and gram [n, K, K]: inner products of the unit response with the K directions at its prompt,
           and of these with each other (variant B: nothing else of them counts)
    """

    geometry: Geometry
    y: np.ndarray | None = None
    along: np.ndarray | None = None
    gram: np.ndarray | None = None
    share: np.ndarray | None = None

    @classmethod
    def of(
        cls, geometry: Geometry, x: np.ndarray, prompts: np.ndarray | None, share: np.ndarray | None = None
    ) -> Placed:
        """Candidates with response features x [n, d] (or [n, P, d] with ``share`` [P]) and, in variant B, prompt
        features [n, d_prompt]."""
        y = geometry.project(x)
        if geometry.variant == "A" or prompts is None:
            return cls(geometry, y=y, share=share)
        if share is not None:
            y = np.einsum("npq,p->nq", y, share)  # the tokens' cosines are linear in their unit vectors
        along, gram = np.empty((len(y), geometry.k)), np.empty((len(y), geometry.k, geometry.k))
        for lo in range(0, len(y), ROWS):
            rows = slice(lo, lo + ROWS)
            table, at = np.unique(prompts[rows], axis=0, return_inverse=True)
            wanted = geometry.wanted(table)
            along[rows] = np.einsum("nq,nkq->nk", y[rows], wanted[at], optimize=True)
            gram[rows] = np.einsum("pkq,plq->pkl", wanted, wanted, optimize=True)[at]
        return cls(geometry, along=along, gram=gram)

    def take(self, rows: np.ndarray) -> Placed:
        """The candidates at ``rows``."""
        parts = {k: None if v is None else v[rows] for k, v in vars(self).items() if k not in ("geometry", "share")}
        return Placed(self.geometry, share=self.share, **parts)

    def at(self, w: np.ndarray, person: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(utilities [n], their derivatives by the weights [n, K]) to the people ``person`` [n] of weights w [u, K]."""
        scale = float(self.geometry.scale.detach())
        if self.y is not None:
            point, slope = self.geometry.ideal_points(w)
            off = self.y - (point[person] if self.share is None else point[person][:, None])
            if self.geometry.distance == "square":
                value, by_point = -(off**2).sum(-1), 2 * off
            else:
                r = np.sqrt((off**2).sum(-1))
                value, by_point = -r, off / np.maximum(r, ZERO)[..., None]
            if self.share is not None:
                value, by_point = value @ self.share, np.einsum("npq,p->nq", by_point, self.share)
            return scale * value, scale * (by_point[:, None] @ slope[person])[:, 0]
        assert self.along is not None
        assert self.gram is not None
        mine = w[person]
        turned = np.einsum("nkl,nl->nk", self.gram, mine)
        r, dot = self._length(np.einsum("nk,nk->n", turned, mine)), np.einsum("nk,nk->n", self.along, mine)
        return scale * dot / r, scale * (self.along / r[:, None] - (dot / r**3)[:, None] * turned)

    def table(self, w: np.ndarray) -> np.ndarray:
        """float64 [n, u] utilities of all candidates to all people of weights w [u, K]."""
        scale = float(self.geometry.scale.detach())
        if self.y is not None:
            point = self.geometry.ideal_points(w)[0]
            square = (self.y**2).sum(-1)[..., None] - 2 * self.y @ point.T + (point**2).sum(1)
            square = np.maximum(square, 0.0)
            away = square if self.geometry.distance == "square" else np.sqrt(square)
            return -scale * (away if self.share is None else np.einsum("npu,p->nu", away, self.share))
        assert self.along is not None
        assert self.gram is not None
        k = w.shape[1]
        both = (w[:, :, None] * w[:, None, :]).reshape(len(w), k * k)
        return scale * (self.along @ w.T) / self._length(self.gram.reshape(-1, k * k) @ both.T)

    @staticmethod
    def _length(square: np.ndarray) -> np.ndarray:
        """Lengths of mixed directions; NaN where they cancel, so that there is no cosine."""
        r = np.sqrt(np.maximum(square, 0.0))
        return np.where(r > ZERO, r, np.nan)

    def differences(self, pairs: Pairs, person: np.ndarray) -> Differences:
        """Of the comparisons ``pairs`` of these candidates by the people ``person`` [n]."""
        n, both, twice = len(pairs), self.take(np.concatenate([pairs.a, pairs.b])), np.tile(person, 2)

        def differences(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            value, slope = both.at(w, twice)
            return value[:n] - value[n:], slope[:n] - slope[n:]

        return differences


def prior_precision(trust: float, u: int, k: int) -> np.ndarray:
    """float64 [u, K, K] prior precision of logits: none at all for infinite trust, immovable for none."""
    return np.tile(np.eye(k) / max(trust, 1e-9), (u, 1, 1))


def solve(
    placed: Placed,
    pairs: Pairs,
    person: np.ndarray,
    *,
    mean: np.ndarray,
    precision: np.ndarray,
    kind: str = "logistic",
    temperature: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """(logits [u, K], Hessians [u, K, K] of the objective there) of u people.

    placed      the candidates that ``pairs`` index
    person      int [n] in 0..u-1 of each comparison of ``pairs``
    mean        [u, K] and ``precision`` [u, K, K]: the prior of the logits
    """
    u, k = mean.shape
    order = np.argsort(person, kind="stable")
    count = np.bincount(person, minlength=u)
    ends = np.cumsum(count)
    logits, hessian = np.empty((u, k)), np.empty((u, k, k))
    block = np.maximum(ends - 1, 0) // ROWS  # people of one block have at most about ROWS comparisons
    for number in np.unique(block):
        people = np.flatnonzero(block == number)
        rows = order[ends[people[0]] - count[people[0]] : ends[people[-1]]]
        local = person[rows] - people[0]
        part = _Block(
            placed.differences(pairs.take(rows), local), local, pairs.p[rows], pairs.weight[rows],
            mean[people], precision[people], kind, temperature,
        )  # fmt: skip
        logits[people], hessian[people] = part.best()
    return logits, hessian


class _Block:
    """Some people and their comparisons."""

    def __init__(
        self,
        differences: Differences,
        person: np.ndarray,
        p: np.ndarray,
        weight: np.ndarray,
        mean: np.ndarray,
        precision: np.ndarray,
        kind: str,
        temperature: float,
    ) -> None:
        self.differences, self.person, self.p, self.weight = differences, person, p, weight
        self.mean, self.precision, self.kind, self.temperature = mean, precision, kind, temperature

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """The best end over all starts."""
        k = self.mean.shape[1]
        starts = [self.mean]
        if k > 1:
            starts += [self.mean + 2.0 * self.temperature * np.eye(k)[j] for j in range(k)]
        v, value = self._descend(starts[0])
        for start in starts[1:]:
            other, reached = self._descend(start)
            better = reached < value - 1e-9
            v, value = np.where(better[:, None], other, v), np.where(better, reached, value)
        return v, self._at(v)[2]

    def _at(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(objective [u], gradient [u, K], Gauss-Newton Hessian [u, K, K])."""
        u, k = v.shape
        w = softmax(v / self.temperature, axis=1)
        delta, by_w = self.differences(w)
        mine = w[self.person]
        slope = mine * (by_w - (by_w * mine).sum(1, keepdims=True)) / self.temperature
        loss, first, second = losses(self.kind, delta, self.p)
        off = v - self.mean
        pull = np.einsum("ukl,ul->uk", self.precision, off)
        value = np.bincount(self.person, weights=self.weight * loss, minlength=u) + 0.5 * (pull * off).sum(1)
        gradient, hessian = pull.copy(), self.precision.copy()
        for i in range(k):
            gradient[:, i] += np.bincount(self.person, weights=self.weight * first * slope[:, i], minlength=u)
            for j in range(i, k):
                term = self.weight * second * slope[:, i] * slope[:, j]
                hessian[:, i, j] += np.bincount(self.person, weights=term, minlength=u)
                hessian[:, j, i] = hessian[:, i, j]
        return value, gradient, hessian

    def _descend(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        k = v.shape[1]
        value, gradient, hessian = self._at(v)
        damping, arrived = np.full(len(v), 1e-2), np.zeros(len(v), dtype=bool)
        for _ in range(STEPS):
            system = hessian + damping[:, None, None] * np.eye(k)
            step = -np.linalg.solve(system, gradient[:, :, None])[:, :, 0]
            step *= np.minimum(1.0, 3.0 * self.temperature / np.maximum(np.abs(step).max(1), ZERO))[:, None]
            trial = v + step
            reached, new_gradient, new_hessian = self._at(trial)
            good = reached <= value
            gained = np.where(good, value - reached, 0.0)
            v = np.where(good[:, None], trial, v)
            gradient = np.where(good[:, None], new_gradient, gradient)
            hessian = np.where(good[:, None, None], new_hessian, hessian)
            value = np.where(good, reached, value)
            damping = np.clip(np.where(good, damping / 5, damping * 4), 1e-8, 1e8)
            arrived |= (good & (gained <= ENOUGH * (1 + np.abs(value)))) | (damping > 1e5)
            if arrived.all():
                break
        return v, value

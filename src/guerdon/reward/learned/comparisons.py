"""Likelihoods of comparisons: Bradley-Terry with margin, soft labels, smoothing and ties; Luce; skew-symmetric; alone.

bradley-terry   log-odds d = u_a - u_b - margin * strength * (sign of the preference); how a comparison comes out
                given d is a rule of :mod:`guerdon.reward.learned.ties`
luce            d = s_a u_a - s_b u_b with scales s = beta, or beta / length: u is then the log-density that people
                choose by (:mod:`guerdon.reward.learned.choice`), not only a utility
skew-symmetric  d = sum over l of u_a[2l] u_b[2l + 1] - u_a[2l + 1] u_b[2l], u [C, 2k]: any preference, cycles too
classification  each response of a pair alone: -p log s(u_a + c) - (1 - p) log s(-u_a - c), the same for b with 1 - p

References: Bradley & Terry 1952; Luce 1959; Touvron et al. 2023, arXiv:2307.09288 (margin); Sun et al. 2025,
arXiv:2411.04991 (classification objective); Dumoulin et al. 2023, arXiv:2311.14115 (Luce, length-normalised Luce);
Zhang et al. 2024, arXiv:2410.02197 (skew-symmetric).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from scipy.special import expit

from guerdon.errors import ConfigError
from guerdon.feedback.star import Pairs
from guerdon.reward.learned.ties import TIES, softplus


def scatter(size: int, *parts: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """float64 [size]: sums of values at indices, over (index, value) parts."""
    out = np.zeros(size)
    for index, value in parts:
        out += np.bincount(index, weights=value, minlength=size)
    return out


@dataclass
class Comparisons:
    """What likelihoods of pairs share; see :class:`guerdon.reward.learned.likelihood.Likelihood`."""

    pairs: Pairs
    candidates: int

    width: ClassVar[int | None] = 1

    @property
    def theta0(self) -> np.ndarray:
        """float64 [t] start of the likelihood's own parameters."""
        return np.zeros(0)

    def __len__(self) -> int:
        return len(self.pairs)

    def take(self, index: np.ndarray) -> Self:
        return replace(self, pairs=self.pairs.take(index))

    def members(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        flat = np.stack([self.pairs.a, self.pairs.b], 1).ravel()
        return flat, np.arange(0, 2 * len(self) + 1, 2), self.pairs.weight

    def over(self, table: np.ndarray) -> Self:
        a, b = (np.searchsorted(table, i) for i in (self.pairs.a, self.pairs.b))
        return replace(self, pairs=replace(self.pairs, a=a, b=b), candidates=len(table))

    def verdicts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        q = self.pairs
        chosen, rejected = np.where(q.p > 0.5, q.a, q.b), np.where(q.p > 0.5, q.b, q.a)
        return chosen, rejected, np.where(q.p == 0.5, 0.0, q.weight)

    def answered(self, p: np.ndarray) -> Self:
        """The same questions with P(a preferred) ``p`` [n] as their answers."""
        return replace(self, pairs=replace(self.pairs, p=p))


@dataclass
class BradleyTerry(Comparisons):
    """Comparisons by utility differences.

    ``margin`` asks a preferred response to win by margin x strength; ``smoothing`` moves p to 1/2. ``ties``: ``half``
    (a tie is p = 1/2), ``davidson`` or ``rao-kupper`` (a tie is an outcome of its own, theta [1]).
    """

    margin: float = 0.0
    smoothing: float = 0.0
    ties: str = "half"

    def __post_init__(self) -> None:
        if self.ties not in TIES:
            raise ConfigError(f"ties={self.ties!r} is unknown; use one of {', '.join(TIES)}")

    @property
    def theta0(self) -> np.ndarray:
        return np.zeros(TIES[self.ties].parameters)

    def difference(self, u: np.ndarray) -> np.ndarray:
        """float64 [n] log-odds that a is better (without margin)."""
        return u[self.pairs.a] - u[self.pairs.b]

    def spread(self, u: np.ndarray, dd: np.ndarray) -> np.ndarray:
        """d loss / d u from d loss / d difference [n]."""
        return scatter(self.candidates, (self.pairs.a, dd), (self.pairs.b, -dd))

    def _shares(self, smoothing: float) -> np.ndarray:
        """float64 [m, n] of the outcomes a, b (and tie) that are said to have happened."""
        p = self.pairs.p * (1 - smoothing) + 0.5 * smoothing
        if not TIES[self.ties].tie:
            return np.stack([p, 1 - p])
        tie = self.pairs.p == 0.5
        return np.stack([np.where(tie, 0.0, p), np.where(tie, 0.0, 1 - p), tie.astype(float)])

    def __call__(self, u: np.ndarray, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        q = self.pairs
        d = self.difference(u)
        if self.margin:
            d = d - self.margin * q.strength * np.sign(2 * q.p - 1)
        weight = q.weight / q.weight.sum()
        logp, by_d, by_theta = TIES[self.ties].outcomes(d, theta)
        shares = self._shares(self.smoothing)
        loss = -float(weight @ _expected(shares, logp))
        dtheta = np.array([-np.sum(weight * shares * by_theta)][: len(theta)])
        return loss, self.spread(u, -weight * np.sum(shares * by_d, axis=0)), dtheta

    def log_prob(self, u: np.ndarray, theta: np.ndarray) -> np.ndarray:
        logp = TIES[self.ties].outcomes(self.difference(u), theta)[0]
        return _expected(self._shares(0.0), logp)

    def sample(self, u: np.ndarray, theta: np.ndarray, rng: np.random.Generator) -> Self:
        probability = np.exp(TIES[self.ties].outcomes(self.difference(u), theta)[0])
        outcome = np.sum(rng.random(len(self)) >= np.cumsum(probability, axis=0)[:-1], axis=0)
        return self.answered(np.array([1.0, 0.0, 0.5])[outcome])


def _expected(shares: np.ndarray, logp: np.ndarray) -> np.ndarray:
    """Sum over outcomes of share x log P; what did not happen adds nothing, however impossible.

    Labels corrected for noise (:mod:`guerdon.reward.learned.robust`) have negative shares.
    """
    return np.sum(np.where(shares != 0, shares * np.where(shares != 0, logp, 0.0), 0.0), axis=0)


@dataclass
class Luce(BradleyTerry):
    """Choices by an implicit density: log-odds ``scale_a u_a - scale_b u_b`` with u the log-density.

    scale  float64 [C]: beta for (tempered) Luce, beta / length for annotators who judge by the token
    """

    scale: np.ndarray | None = None

    def _scales(self) -> np.ndarray:
        return np.ones(self.candidates) if self.scale is None else self.scale

    def difference(self, u: np.ndarray) -> np.ndarray:
        v = self._scales() * u
        return v[self.pairs.a] - v[self.pairs.b]

    def spread(self, u: np.ndarray, dd: np.ndarray) -> np.ndarray:
        return self._scales() * super().spread(u, dd)

    def over(self, table: np.ndarray) -> Self:
        small = super().over(table)
        return small if self.scale is None else replace(small, scale=self.scale[table])


@dataclass
class SkewSymmetric(BradleyTerry):
    """General preference of embeddings u [C, 2k]; s(a, b) = -s(b, a) and s(a, a) = 0 by construction."""

    width: ClassVar[int | None] = None

    def difference(self, u: np.ndarray) -> np.ndarray:
        a, b = u[self.pairs.a], u[self.pairs.b]
        return np.sum(a[:, 0::2] * b[:, 1::2] - a[:, 1::2] * b[:, 0::2], axis=1)

    def spread(self, u: np.ndarray, dd: np.ndarray) -> np.ndarray:
        a, b = turned(u[self.pairs.b]) * dd[:, None], -turned(u[self.pairs.a]) * dd[:, None]
        columns = [
            scatter(self.candidates, (self.pairs.a, a[:, j]), (self.pairs.b, b[:, j])) for j in range(u.shape[1])
        ]
        return np.stack(columns, axis=1)


def turned(v: np.ndarray) -> np.ndarray:
    """[n, 2k]: every block (x, y) as (y, -x), so that v_a . turned(v_b) is the skew-symmetric score of a over b."""
    out = np.empty_like(v)
    out[:, 0::2], out[:, 1::2] = v[:, 1::2], -v[:, 0::2]
    return out


@dataclass
class Classification(Comparisons):
    """Each response of a pair on its own: preferred = 1, other = 0, with an intercept (theta = [c])."""

    @property
    def theta0(self) -> np.ndarray:
        return np.zeros(1)

    def _sides(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        return (self.pairs.a, self.pairs.p), (self.pairs.b, 1 - self.pairs.p)

    def __call__(self, u: np.ndarray, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        weight = self.pairs.weight / (2 * self.pairs.weight.sum())
        loss, grads, dtheta = 0.0, [], 0.0
        for index, p in self._sides():
            z = u[index] + theta[0]
            loss += float(weight @ (softplus(-z) + (1 - p) * z))
            dz = weight * (expit(z) - p)
            grads.append((index, dz))
            dtheta += dz.sum()
        return loss, scatter(self.candidates, *grads), np.array([dtheta])

    def log_prob(self, u: np.ndarray, theta: np.ndarray) -> np.ndarray:
        z = [(u[index] + theta[0], p) for index, p in self._sides()]
        return -sum((softplus(-v) + (1 - p) * v for v, p in z), np.zeros(len(self)))

    def sample(self, u: np.ndarray, theta: np.ndarray, rng: np.random.Generator) -> Self:
        """Verdicts of the two responses judged alone, drawn anew until they differ: P(a) = s(u_a - u_b)."""
        return self.answered((rng.random(len(self)) < expit(u[self.pairs.a] - u[self.pairs.b])).astype(float))

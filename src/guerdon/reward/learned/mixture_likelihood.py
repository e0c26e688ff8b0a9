r"""Comparisons by a mixture of K ways of choosing: each unit of data follows one of K utilities, nobody knows which.

    loss = - sum_units weight * log sum_k pi_k P_k(unit) / total,    P_k(unit) = prod_i s(u_ka - u_kb) over its verdicts

A unit is a comparison (MiCRo) or all comparisons of a person (a latent class of people). The mixture is over
*probabilities*: averaging the utilities inside the sigmoid would be one Bradley-Terry model again. Whatever decides the
weights is a router: theta holds logits [G, K] of G groups of units, so one group is a fixed mixture, a group a person
is a table of people, and the output of a network a prompt (or context) is routing by prompt: the likelihood returns
the gradient of the logits, which any router carries on. Gradients are those of soft EM, with responsibilities

    rho_uk ~ pi_k P_k(unit u)

References: Shen et al. 2025, MiCRo: Mixture Modeling and Context-aware Routing for Personalized Preference Learning,
https://arxiv.org/abs/2505.24846; Dumoulin et al. 2023, https://arxiv.org/abs/2311.14115 (mixtures of annotators).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from scipy.special import expit, log_softmax, softmax

from guerdon.errors import FeedbackError
from guerdon.feedback.star import Pairs
from guerdon.reward.learned.comparisons import Comparisons
from guerdon.reward.learned.ties import softplus


@dataclass
class Mixture(Comparisons):
    """Comparisons by one of ``components`` utilities u [C, K]; theta float64 [G * K] router logits, row by row.

    unit    int [n] which unit each comparison belongs to, ascending, 0 .. U - 1
    group   int [U] which row of the router's logits each unit reads
    outer   float64 [U] weight of each unit; the pairs' own weights count inside it
    """

    components: int
    groups: int
    unit: np.ndarray
    group: np.ndarray
    outer: np.ndarray

    width: ClassVar[int | None] = None

    @classmethod
    def by_comparison(
        cls, pairs: Pairs, candidates: int, components: int, group: np.ndarray | None = None, groups: int = 1
    ) -> Mixture:
        """Each comparison for itself, routed by ``group`` [n] of ``groups`` (by default all alike).

        A soft label p counts as a share p of a verdict for a and a share 1 - p of one for b.
        """
        group = np.zeros(len(pairs), np.int64) if group is None else np.asarray(group)
        rows = np.flatnonzero((pairs.p > 0) & (pairs.p < 1))
        order = np.argsort(np.r_[np.arange(len(pairs)), rows], kind="stable")
        source = np.r_[np.arange(len(pairs)), rows][order]
        second = np.r_[np.zeros(len(pairs), bool), np.ones(len(rows), bool)][order]
        share = np.where(second, 1 - pairs.p[source], np.where(pairs.p[source] > 0, pairs.p[source], 1.0))
        both = pairs.take(source)
        verdict = np.where(second | (both.p == 0), 0.0, 1.0)
        outer = both.weight * share
        both = replace(both, p=verdict, weight=np.ones(len(both)))
        return cls(both, candidates, components, groups, np.arange(len(both)), group[source], outer)

    @classmethod
    def by_person(cls, pairs: Pairs, candidates: int, components: int) -> Mixture:
        """All comparisons of a person follow one utility: a latent class of people. One group; weights count inside."""
        if not len(pairs) or (pairs.user < 0).any():
            raise FeedbackError("classes of people need a person for every comparison; fill the column 'user'")
        pairs = pairs.take(np.argsort(pairs.user, kind="stable"))
        users, unit = np.unique(pairs.user, return_inverse=True)
        return cls(pairs, candidates, components, 1, unit, np.zeros(len(users), np.int64), np.ones(len(users)))

    @property
    def theta0(self) -> np.ndarray:
        return np.zeros(self.groups * self.components)

    @property
    def total(self) -> float:
        """Sum of weights of comparisons."""
        return float(self.outer[self.unit] @ self.pairs.weight)

    def __len__(self) -> int:
        return len(self.group)

    def take(self, index: np.ndarray) -> Self:
        starts = np.searchsorted(self.unit, np.arange(len(self) + 1))
        size = np.diff(starts)[index]
        unit = np.repeat(np.arange(len(index)), size)
        rows = np.repeat(starts[:-1][index] - np.r_[0, np.cumsum(size)[:-1]], size) + np.arange(len(unit))
        return replace(self, pairs=self.pairs.take(rows), unit=unit, group=self.group[index], outer=self.outer[index])

    def members(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        flat = np.stack([self.pairs.a, self.pairs.b], 1).ravel()
        return flat, 2 * np.searchsorted(self.unit, np.arange(len(self) + 1)), self.outer

    def regrouped(self) -> tuple[Self, np.ndarray]:
        """(the same data with the groups it reads numbered 0 .. G' - 1, which those are): for minibatches."""
        used, group = np.unique(self.group, return_inverse=True)
        return replace(self, group=group, groups=len(used)), used

    def logits(self, theta: np.ndarray) -> np.ndarray:
        """float64 [U, K] of each unit."""
        return theta.reshape(self.groups, self.components)[self.group]

    def each(self, u: np.ndarray) -> np.ndarray:
        """float64 [U, K] log P of every unit under each utility."""
        d = u[self.pairs.a] - u[self.pairs.b]
        p = self.pairs.p[:, None]
        ell = -self.pairs.weight[:, None] * (softplus(-d) + (1 - p) * d)
        return np.stack([np.bincount(self.unit, ell[:, k], len(self)) for k in range(self.components)], axis=1)

    def responsibilities(self, u: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """float64 [U, K] posterior over the utilities of each unit."""
        return softmax(log_softmax(self.logits(theta), axis=1) + self.each(u), axis=1)

    def __call__(self, u: np.ndarray, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        log_pi = log_softmax(self.logits(theta), axis=1)
        joint = log_pi + self.each(u)
        value = np.logaddexp.reduce(joint, axis=1)
        rho = np.exp(joint - value[:, None])
        weight = self.outer / self.total
        d = u[self.pairs.a] - u[self.pairs.b]
        inner = (weight[self.unit] * self.pairs.weight)[:, None]
        dd = inner * rho[self.unit] * (expit(d) - self.pairs.p[:, None])
        du = np.zeros((self.candidates, self.components))
        np.add.at(du, self.pairs.a, dd)
        np.subtract.at(du, self.pairs.b, dd)
        dtheta = np.zeros((self.groups, self.components))
        np.add.at(dtheta, self.group, -weight[:, None] * (rho - np.exp(log_pi)))
        return -float(weight @ value), du, dtheta.ravel()

    def log_prob(self, u: np.ndarray, theta: np.ndarray) -> np.ndarray:
        return np.logaddexp.reduce(log_softmax(self.logits(theta), axis=1) + self.each(u), axis=1)

    def sample(self, u: np.ndarray, theta: np.ndarray, rng: np.random.Generator) -> Self:
        """Verdicts drawn anew: a utility for each unit, then each of its comparisons."""
        which = (self.logits(theta) + rng.gumbel(size=(len(self), self.components))).argmax(1)[self.unit]
        d = u[self.pairs.a, which] - u[self.pairs.b, which]
        return self.answered((rng.random(len(d)) < expit(d)).astype(float))

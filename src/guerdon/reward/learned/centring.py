"""Scores around a common zero: c (sum of the utilities of a datum)^2 beside any likelihood.

    L = L_preference + c mean over data of w (r+ + r-)^2

A preference loss sees differences within a prompt only, so that scores of different prompts have no common zero. With
the term they have one, halfway between the better and the worse, and a single threshold can filter data.

References
----------
Eisenstein et al. 2023. Helping or herding? https://arxiv.org/abs/2312.09244; TRL's ``center_rewards_coefficient``
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np

from guerdon.errors import ConfigError
from guerdon.reward.learned.likelihood import Likelihood


def centring(data: Likelihood, u: np.ndarray) -> np.ndarray:
    """float64 [C] gradient of the weighted mean over data of (sum of a datum's utilities)^2, u [C]."""
    flat, starts, weight = data.members()
    total = np.add.reduceat(u[flat], starts[:-1])
    grad = np.repeat(2 * total * weight / max(weight.sum(), 1e-12), np.diff(starts))
    return np.bincount(flat, weights=grad, minlength=len(u))


@dataclass
class Centred:
    """A likelihood of utilities u [C] with the term; in all else it is the likelihood it is made of."""

    data: Likelihood
    coefficient: float
    candidates: int = field(init=False)
    """C, the number of candidates"""

    width: ClassVar[int | None] = 1

    def __post_init__(self) -> None:
        self.candidates = self.data.candidates

    @property
    def theta0(self) -> np.ndarray:
        """float64 [t] start of the likelihood's own parameters."""
        return self.data.theta0

    def __len__(self) -> int:
        return len(self.data)

    def __call__(self, u: np.ndarray, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """(mean loss with the term, d loss / d u [C], d loss / d theta [t])."""
        loss, du, dtheta = self.data(u, theta)
        pull = centring(self.data, u)
        # the term is quadratic: its value is half of u . gradient
        return loss + self.coefficient * 0.5 * float(u @ pull), du + self.coefficient * pull, dtheta

    def log_prob(self, u: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """float64 [n] log-probability of each datum, which the term says nothing about."""
        return self.data.log_prob(u, theta)

    def sample(self, u: np.ndarray, theta: np.ndarray, rng: np.random.Generator) -> Self:
        """The same questions, answered anew."""
        return replace(self, data=self.data.sample(u, theta, rng))

    def take(self, index: np.ndarray) -> Self:
        """Some of the data."""
        return replace(self, data=self.data.take(index))

    def members(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(candidates of all data, where each datum starts, weights)."""
        return self.data.members()

    def over(self, table: np.ndarray) -> Self:
        """The same data with candidates counted by their place in ``table``."""
        return replace(self, data=self.data.over(table))

    def verdicts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(better, worse, weight) of comparisons."""
        return self.data.verdicts()


def centred(data: Likelihood, coefficient: float) -> Likelihood:
    """``data`` with the term, itself where the coefficient is 0.

    Raises
    ------
    ConfigError
        if the coefficient is negative, or the data have several utilities a candidate or none to compare
    """
    if not coefficient >= 0:
        raise ConfigError(f"center={coefficient}: use a number of at least 0, e.g. 0.01")
    if not coefficient:
        return data
    if data.width != 1 or np.any(np.diff(data.members()[1]) < 2):
        raise ConfigError(
            "center is for comparisons and rankings: single ratings have a zero of their own; leave it out"
        )
    return Centred(data, coefficient)

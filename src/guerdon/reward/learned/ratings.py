"""Absolute ratings by least squares: (u + c - z)^2 / 2 with z the standardised, person-centred grade."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from guerdon.errors import FeedbackError
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.comparisons import scatter


@dataclass
class Regression:
    """Ratings by least squares on standardised grades, each person's mean taken out (shrunk towards the mean of all).

    theta = [c], an intercept. Utilities are in units of the grades' standard deviation; as a probability model, the
    grades are normal around u + c with variance 1.
    """

    item: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    candidates: int

    width: ClassVar[int | None] = 1

    @property
    def theta0(self) -> np.ndarray:
        """float64 [1] start of the intercept."""
        return np.zeros(1)

    @classmethod
    def of(cls, feedback: Feedback) -> Regression:
        """Compile all graded responses on the scale ``rating``."""
        rating = np.repeat(feedback.scale == 2, feedback.sizes) & ~np.isnan(feedback.grades)
        judgement = np.repeat(np.arange(len(feedback)), feedback.sizes)[rating]
        grade, item = feedback.grades[rating], feedback.items[rating]
        if not len(grade):
            raise FeedbackError("regression needs ratings; this feedback has none: use --model bradley-terry")
        sd = grade.std()
        if sd == 0:
            raise FeedbackError("regression needs ratings that differ; here every rating is the same")
        z = (grade - grade.mean()) / sd
        person = feedback.user[judgement] + 1
        count = np.bincount(person)
        mean = np.bincount(person, weights=z) / (count + 5.0)  # as if five average ratings had been given before
        mean[0] = 0.0  # row 0 is "nobody in particular"
        return cls(item, z - mean[person], feedback.weight[judgement], len(feedback.responses))

    def __len__(self) -> int:
        return len(self.item)

    def take(self, index: np.ndarray) -> Self:
        return replace(self, item=self.item[index], target=self.target[index], weight=self.weight[index])

    def members(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.item, np.arange(len(self) + 1), self.weight

    def verdicts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        raise FeedbackError("ratings name no better and no worse response: use comparisons or rankings")

    def over(self, table: np.ndarray) -> Self:
        return replace(self, item=np.searchsorted(table, self.item), candidates=len(table))

    def __call__(self, u: np.ndarray, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        weight = self.weight / self.weight.sum()
        error = u[self.item] + theta[0] - self.target
        dz = weight * error
        return float(0.5 * weight @ error**2), scatter(self.candidates, (self.item, dz)), np.array([dz.sum()])

    def log_prob(self, u: np.ndarray, theta: np.ndarray) -> np.ndarray:
        return -0.5 * (u[self.item] + theta[0] - self.target) ** 2 - 0.5 * np.log(2 * np.pi)

    def sample(self, u: np.ndarray, theta: np.ndarray, rng: np.random.Generator) -> Self:
        return replace(self, target=u[self.item] + theta[0] + rng.normal(size=len(self)))

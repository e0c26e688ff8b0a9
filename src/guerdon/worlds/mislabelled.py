"""Comparisons with planted mistakes: which labels are wrong is known, and so is what should have been learned.

Every prompt has two responses with features x ~ N(0, I_d); the gold reward is a sum of tanh units,
``g(x) = tanh(x W) . v``, so that a linear model cannot have all of it. The better response wins, and a share ``flip``
of the comparisons then has its label turned round, however clear the case. Tests are comparisons without mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from guerdon.feedback.star import Feedback
from guerdon.worlds.pool import Pool


@dataclass(frozen=True, eq=False)
class Mislabelled:
    """n comparisons, some mislabelled; make one with :meth:`draw`.

    pool       2n candidates, the responses of prompt i at rows 2i and 2i + 1
    feedback   n judgements of two responses, in prompt order, grades (1, 0) or (0, 1)
    wrong      bool [n] whose label is turned round
    inner, outer  float64 [d, units], [units]: W and v of the gold reward
    test       float64 [m, 2, d] pairs of fresh responses
    """

    pool: Pool
    feedback: Feedback
    wrong: np.ndarray
    inner: np.ndarray
    outer: np.ndarray
    test: np.ndarray

    @classmethod
    def draw(
        cls, pairs: int = 2000, flip: float = 0.25, *, dim: int = 32, units: int = 8, tests: int = 2000, seed: int = 0
    ) -> Mislabelled:
        """A world of ``pairs`` comparisons; exactly the share ``flip`` of them is mislabelled."""
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(31,)))
        inner, outer = rng.normal(size=(dim, units)) * 1.5 / np.sqrt(dim), rng.normal(size=units)
        pool = Pool.planted(pairs, 2, dim, seed=seed)
        gold = (np.tanh(pool.features @ inner) @ outer).reshape(pairs, 2)
        first = gold[:, 0] > gold[:, 1]
        wrong = np.zeros(pairs, bool)
        wrong[rng.permutation(pairs)[: round(flip * pairs)]] = True
        says = first ^ wrong
        feedback = Feedback.from_columns(
            prompts=pool.prompts,
            responses=pool.responses,
            offsets=np.arange(pairs + 1) * 2,
            grades=np.stack([says, ~says], 1).ravel().astype(np.float64),
            source="human",
        )
        return cls(pool, feedback, wrong, inner, outer, rng.normal(size=(tests, 2, dim)))

    def gold(self, x: np.ndarray) -> np.ndarray:
        """Gold reward of features x [..., d]."""
        return np.tanh(x @ self.inner) @ self.outer

    def accuracy(self, values: np.ndarray) -> float:
        """Share of the test pairs that scores ``values`` [m, 2] of :attr:`test` put in the right order."""
        gold = self.gold(self.test)
        return float(np.mean((values[:, 0] > values[:, 1]) == (gold[:, 0] > gold[:, 1])))

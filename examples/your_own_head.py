"""Give a reward model a head of your own: utilities that bend (random Fourier features), fitted like any other.

    python examples/your_own_head.py

A head turns features into utilities and is fitted with the gradient that a likelihood gives with respect to
utilities, so it works with comparisons, rankings and ratings alike. To make it a model with a name, list it in
``guerdon.reward.learned.heads.HEADS`` and ``guerdon.reward.registry.MODELS``. A new head need not be better: this one
is measured beside the linear head on the same held-out prompts.
"""

from typing import Any

import numpy as np

from guerdon import RewardModel
from guerdon.bench.evaluate import evaluate
from guerdon.reward.learned.heads import LinearHead
from guerdon.testing import check_reward
from guerdon.worlds.example import example_feedback


class FourierHead:
    """u = [x, cos(x R + phase)] . w: a linear head on features that follow a Gaussian kernel (Rahimi & Recht 2007)."""

    def __init__(self, *, width: int = 128, bandwidth: float = 0.5, seed: int = 0) -> None:
        self.linear = LinearHead()
        self.width, self.bandwidth, self.seed = width, bandwidth, seed

    def lift(self, x: np.ndarray) -> np.ndarray:
        """[n, d] to [n, d + width]."""
        rng = np.random.default_rng(self.seed)
        directions = rng.normal(size=(x.shape[1], self.width)) / self.bandwidth
        phase = rng.uniform(0, 2 * np.pi, self.width)
        return np.hstack([x, np.sqrt(2 / self.width) * np.cos(x @ directions + phase)])

    def fit(self, x: np.ndarray, data: Any, held: Any, *, progress: bool = False) -> np.ndarray:
        """Fit on features x [C, d]; ``held`` chooses the ridge penalty."""
        return self.linear.fit(self.lift(x), data, held, progress=progress)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """float64 [n] utilities of features x [n, d]."""
        return self.linear(self.lift(x))

    def arrays(self) -> dict[str, np.ndarray]:
        """What was learned."""
        return self.linear.arrays()

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take it back."""
        self.linear.restore(arrays)


def main() -> None:
    train, test = example_feedback().split("prompt", holdout=0.25, seed=0)
    for head in (LinearHead(), FourierHead()):
        reward = RewardModel()
        reward.head = head
        reward.fit(train)
        result = evaluate(reward, test, baselines=("length",))
        print(f"{type(head).__name__:12s} accuracy on unseen prompts {result.overall['accuracy']}")
    report = check_reward(reward, save=False)  # the contract every reward keeps
    print(f"FourierHead keeps {len(report.passed)} rules of the contract")


if __name__ == "__main__":
    main()

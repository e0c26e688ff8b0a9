"""A linear head with an L1 penalty, for any likelihood: min over w of loss(x w) + l1 |w|_1, few weights not zero.

Accelerated proximal gradient (FISTA) with backtracking and restarts where the objective rises. Features may be sparse.

Reference: Beck & Teboulle (2009), A Fast Iterative Shrinkage-Thresholding Algorithm, https://doi.org/10.1137/080716542.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.reward.learned.likelihood import Likelihood


def check_l1(l1: float) -> None:
    """Refuse a penalty that is none."""
    if not (isinstance(l1, int | float) and l1 >= 0 and np.isfinite(l1)):
        raise ConfigError(f"l1={l1!r}: use a number >= 0")


def lasso(
    x: Any, data: Likelihood, l1: float, *, steps: int = 3000, tolerance: float = 1e-7
) -> tuple[np.ndarray, np.ndarray]:
    """(weights [d], the likelihood's own parameters [t], not penalised) on features x [C, d], an array or sparse."""
    d = x.shape[1]

    def smooth(z: np.ndarray) -> tuple[float, np.ndarray]:
        loss, du, dtheta = data(np.asarray(x @ z[:d]), z[d:])
        return loss, np.concatenate([np.asarray(x.T @ du), dtheta])

    def shrunk(z: np.ndarray, step: float) -> np.ndarray:
        return np.concatenate([np.sign(z[:d]) * np.maximum(np.abs(z[:d]) - step * l1, 0), z[d:]])

    now = np.concatenate([np.zeros(d), data.theta0])
    ahead, t, step = now, 1.0, 1.0
    value = smooth(now)[0] + l1 * np.abs(now[:d]).sum()
    for _ in range(steps):
        loss, grad = smooth(ahead)
        while True:
            new = shrunk(ahead - step * grad, step)
            move = new - ahead
            found = smooth(new)[0]
            if found <= loss + grad @ move + move @ move / (2 * step) + 1e-12 or step < 1e-12:
                break
            step /= 2
        total = found + l1 * np.abs(new[:d]).sum()
        if total > value + 1e-12 and t > 1:  # momentum overshot: go on from the best point without it
            ahead, t = now, 1.0
            continue
        faster = (1 + np.sqrt(1 + 4 * t**2)) / 2
        ahead, now, t = new + (t - 1) / faster * (new - now), new, faster
        if np.abs(move).max(initial=0.0) <= tolerance * max(1.0, np.abs(new).max(initial=0.0)):
            break
        value, step = total, step * 1.1
    return now[:d], now[d:]

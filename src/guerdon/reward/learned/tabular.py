"""Utilities of candidates without features: one number (or K numbers) each, straight from a likelihood.

What a comparison table says by itself, before any generalisation: for diagnostics, small worlds and as the naive twin
of heads on features. With features the same routine fits linear utilities.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from guerdon.reward.learned.likelihood import Likelihood


def fit_table(
    data: Likelihood,
    *,
    width: int | None = None,
    x: np.ndarray | None = None,
    l2: float = 1e-9,
    noise: float = 0.5,
    starts: int = 1,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """(utilities [C] or [C, width], theta) of least loss plus ``l2 / 2`` times the squared parameters, by L-BFGS.

    width   K for likelihoods of several utilities, None for one
    x       float64 [C, d]: utilities are linear in these features instead of free
    noise   sd of the random start where ``width`` is given (equal utilities are a saddle); the best of ``starts`` wins
    """
    shape = (data.candidates if x is None else x.shape[1], *(() if width is None else (width,)))
    size = int(np.prod(shape))

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        w = z[:size].reshape(shape)
        loss, du, dtheta = data(w if x is None else x @ w, z[size:])
        dw = du if x is None else x.T @ du
        return loss + 0.5 * l2 * float(z[:size] @ z[:size]), np.concatenate([dw.ravel() + l2 * z[:size], dtheta])

    rng = np.random.default_rng(seed)
    found = []
    for _ in range(starts if width is not None else 1):
        first = np.zeros(size) if width is None else noise * rng.normal(size=size)
        options = {"maxiter": 2000, "maxfun": 5000, "ftol": 1e-12, "gtol": 1e-8}
        z0 = np.concatenate([first, data.theta0])
        found.append(minimize(objective, z0, jac=True, method="L-BFGS-B", options=options))
    best = min(found, key=lambda result: float(result.fun)).x
    w = best[:size].reshape(shape)
    return (w if x is None else x @ w), best[size:]

"""How a comparison comes out, given the log-odds d that the first response is better: with ties, or without.

half        P(a) = s(d), P(b) = s(-d); a tie is no outcome of its own and counts half for either side
davidson    (a, b, tie) in proportion exp(d/2), exp(-d/2), nu; theta = [log nu]
rao-kupper  P(a) = s(d - t), P(b) = s(-d - t), a tie is the rest; the threshold t = softplus(theta) >= 0

Two equal responses tie with probability nu / (2 + nu) under Davidson and tanh(t / 2) under Rao-Kupper.

References: Davidson 1970, https://doi.org/10.1080/01621459.1970.10481082; Rao & Kupper 1967,
https://doi.org/10.1080/01621459.1967.10482901
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

Outcomes = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(log P of each outcome [m, n], their derivatives by d [m, n], by theta [m, n]); outcomes are a, b and (m = 3) tie."""


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)) without overflow."""
    return np.logaddexp(0.0, x)


def half(d: np.ndarray, theta: np.ndarray) -> Outcomes:
    """Outcomes of comparisons without ties; d [n], theta [0]."""
    p = expit(d)
    return -np.stack([softplus(-d), softplus(d)]), np.stack([1 - p, -p]), np.zeros((2, len(d)))


def davidson(d: np.ndarray, theta: np.ndarray) -> Outcomes:
    """Outcomes with ties of strength nu = exp(theta); d [n], theta [1]."""
    z = np.stack([d / 2, -d / 2, np.broadcast_to(theta[0], d.shape)])
    logp = z - np.logaddexp(np.logaddexp(z[0], z[1]), z[2])
    share = np.exp(logp)
    slope = np.array([0.5, -0.5, 0.0])[:, None] - 0.5 * (share[0] - share[1])
    return logp, slope, np.array([0.0, 0.0, 1.0])[:, None] - share[2]


def rao_kupper(d: np.ndarray, theta: np.ndarray) -> Outcomes:
    """Outcomes with ties within a threshold t = softplus(theta) of log-odds; d [n], theta [1]."""
    t = softplus(theta[0])
    # log(exp(2 t) - 1), the share of ties between equals, without overflow at either end
    rest = 2 * t + np.log(-np.expm1(-2 * t)) if t > 0 else -np.inf
    win, lose = -softplus(t - d), -softplus(t + d)
    to_win, to_lose = expit(t - d), expit(t + d)
    slope = np.stack([to_win, -to_lose, to_win - to_lose])
    by_t = np.stack([-to_win, -to_lose, 2 / -np.expm1(-2 * t) - to_win - to_lose])
    return np.stack([win, lose, rest + win + lose]), slope, by_t * expit(theta[0])


@dataclass(frozen=True)
class TieRule:
    """What happens to a comparison: its outcomes, how many parameters they have, whether ties are one of them."""

    outcomes: Callable[[np.ndarray, np.ndarray], Outcomes]
    parameters: int
    tie: bool


TIES: dict[str, TieRule] = {
    "half": TieRule(half, 0, False),
    "davidson": TieRule(davidson, 1, True),
    "rao-kupper": TieRule(rao_kupper, 1, True),
}

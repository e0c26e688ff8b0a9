"""Exact policies over a finite set of responses: the optimum that training with KL control or uncertainty aims at.

Notation: n responses, reward r [n], reference policy p0 [n] (sums to 1), standard deviation s [n] of the reward.

tilt          p ∝ p0 exp(r / beta), the maximum of E_p[r] - beta KL(p | p0)
weighted_kl   the stationary point of E_p[r - beta w log(p / p0)] with a weight w [n] on each response's log-ratio:
              p = p0 exp((r - c) / (beta w) - 1), c from sum p = 1 (bisection)
steps         first-order updates d = p - p0 with sum d = 0: along r - mean(r), and along s^-2 (r - c) with c the
              precision-weighted mean, which maximises r'd where sum s^2 d^2 is bounded
risk          P(d'R < 0) of a step along a reward R^ ~ N(R, diag(s^2)): Phi(-|R|_{1/s^2}) for the variance-aware step,
              Phi(-|R|^2 / sqrt(sum s^2 R^2)) for the plain one (both uncentred); the first is never larger

**The weighted KL needs a floor.** It is no divergence: responses that lose mass are *rewarded* in proportion to their
variance, so with w = s^2 over orders of magnitude, at the same KL, the policy flees to the few responses of low
variance whatever their reward. :func:`kl_weights` floors it; :func:`weighted_kl` warns when this has happened.

Reference: Banerjee & Gopalan (2024), Towards Reliable Alignment: Uncertainty-aware RLHF,
https://arxiv.org/abs/2410.23726.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from guerdon.errors import ConfigError

SPREAD, SUPPORT = 10.0, 3.0
"""Above this ratio of weights, and below this number of effectively supported responses, a policy has collapsed."""


def kl(policy: np.ndarray, reference: np.ndarray) -> float:
    """KL(policy | reference) in nats."""
    live = policy > 0
    return float(np.sum(policy[live] * np.log(policy[live] / reference[live])))


def tilt(reward: np.ndarray, reference: np.ndarray, beta: float) -> np.ndarray:
    """[n] p0 exp(r / beta), normalised."""
    log = np.log(reference) + reward / beta
    return np.exp(log - np.logaddexp.reduce(log))


def kl_weights(variance: np.ndarray, floor: float = 0.5) -> np.ndarray:
    """[n] floor + (1 - floor) variance / mean variance: weights of mean 1 for :func:`weighted_kl`; floor 0 is none."""
    if not 0 <= floor <= 1:
        raise ConfigError(f"floor={floor}: use a share in [0, 1]")
    mean = float(variance.mean())
    if mean <= 0:
        raise ConfigError("the variance is zero everywhere: the members of the ensemble are identical")
    return floor + (1 - floor) * variance / mean


def weighted_kl(
    reward: np.ndarray, weight: np.ndarray, reference: np.ndarray, beta: float, *, warn: bool = True
) -> np.ndarray:
    """[n] the policy p0 exp((r - c) / (beta w) - 1); w = 1 is :func:`tilt`. Warns of a collapsed policy."""
    if not (weight > 0).all():
        raise ConfigError("weighted KL: every weight must be positive; floor them with kl_weights")
    base = np.log(reference) - 1

    def mass(c: float) -> float:
        return float(np.logaddexp.reduce(base + (reward - c) / (beta * weight)))

    # at the smallest r - beta w every exponent is >= 0 above the reference's log, at the largest every one is <= 0
    low, high = float(np.min(reward - beta * weight)), float(np.max(reward - beta * weight))
    c: Any = brentq(mass, low - 1e-9, high + 1e-9, xtol=1e-14)
    log = base + (reward - c) / (beta * weight)
    policy = np.exp(log - np.logaddexp.reduce(log))
    if warn and weight.max() > SPREAD * weight.min() and 1 / np.sum(policy**2) < SUPPORT:
        warnings.warn(
            f"weighted KL: weights differ {weight.max() / weight.min():.0f}-fold and the policy has collapsed onto "
            f"{1 / np.sum(policy**2):.1f} responses; floor the weights (kl_weights(variance, floor=0.5))",
            stacklevel=2,
        )
    return policy


def at_kl(solve: Callable[[float], np.ndarray], reference: np.ndarray, budget: float) -> np.ndarray:
    """The policy ``solve(beta)`` whose KL from the reference is ``budget`` nats: compare methods at equal KL only.

    Where no beta spends so much, the one that spends most; where none spends so little, the largest beta's (a weighted
    KL without a floor does not come back to the reference, however large beta is).
    """

    def over(log_beta: float) -> float:
        return kl(solve(float(np.exp(log_beta))), reference) - budget

    low, high = float(np.log(1e-4)), float(np.log(1e5))
    for end, outside in ((low, over(low) <= 0), (high, over(high) >= 0)):
        if outside:
            return solve(float(np.exp(end)))
    root: Any = brentq(over, low, high, xtol=1e-12)
    return solve(float(np.exp(root)))


def steps(reward: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(plain, variance-aware) directions [n] of change of a policy; each sums to zero."""
    precision = std**-2.0
    centre = np.sum(precision * reward) / np.sum(precision)
    return reward - reward.mean(), precision * (reward - centre)


def risk(truth: np.ndarray, std: np.ndarray) -> tuple[float, float]:
    """(plain, variance-aware) probability that an uncentred step along a noisy reward lowers the true reward [n]."""
    plain = np.sum(truth**2) / np.sqrt(np.sum(std**2 * truth**2))
    return float(ndtr(-plain)), float(ndtr(-np.sqrt(np.sum(truth**2 / std**2))))


def variance_slope(variance: np.ndarray, squared_error: np.ndarray) -> float:
    """Factor on an ensemble's variance [n] that fits squared errors [n] held out: least squares through the origin."""
    return float(variance @ squared_error / (variance @ variance))

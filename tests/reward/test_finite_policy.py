"""Exact policies: optimality against perturbation, limits, and the floor."""

import warnings

import numpy as np
import pytest

from guerdon.errors import ConfigError
from guerdon.reward.learned.finite_policy import (
    at_kl,
    kl,
    kl_weights,
    risk,
    steps,
    tilt,
    variance_slope,
    weighted_kl,
)

RNG = np.random.default_rng(0)
R, P0 = RNG.normal(size=8), RNG.dirichlet(np.ones(8))


def test_tilt_is_the_maximum() -> None:
    best = tilt(R, P0, 0.5)
    value = best @ R - 0.5 * kl(best, P0)
    for _ in range(50):
        other = RNG.dirichlet(20 * best + 1e-3)
        assert other @ R - 0.5 * kl(other, P0) <= value + 1e-12


def test_weighted_kl_is_stationary_and_tilts_at_equal_weights() -> None:
    w = np.exp(RNG.normal(size=8) * 0.3)
    p = weighted_kl(R, w, P0, 0.7)
    gradient = R - 0.7 * w * (np.log(p / P0) + 1)  # equal everywhere where the sum is fixed
    assert np.ptp(gradient) < 1e-8
    assert abs(p.sum() - 1) < 1e-12
    np.testing.assert_allclose(weighted_kl(R, np.ones(8), P0, 0.7), tilt(R, P0, 0.7), atol=1e-10)


def test_at_kl_spends_what_it_is_given() -> None:
    assert abs(kl(at_kl(lambda b: tilt(R, P0, b), P0, 0.3), P0) - 0.3) < 1e-6


def test_a_collapse_without_floor_is_announced() -> None:
    variance = np.array([1e-3, *np.full(7, 5.0)])
    uniform = np.full(8, 1 / 8)
    reward = np.array([-0.5, *np.linspace(0, 1, 7)])
    with pytest.warns(UserWarning, match="collapsed"):
        weighted_kl(reward, kl_weights(variance, 0.0), uniform, 8.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weighted_kl(reward, kl_weights(variance, 0.5), uniform, 8.0)


def test_steps_and_risk() -> None:
    std = np.exp(RNG.normal(size=8))
    plain, aware = steps(R, std)
    assert abs(plain.sum()) < 1e-9
    assert abs(aware.sum()) < 1e-9
    a, b = risk(R, std)
    assert b <= a
    a, b = risk(R, np.full(8, 0.3))
    assert abs(a - b) < 1e-12


def test_variance_slope_and_identical_members() -> None:
    v = np.array([1.0, 2.0, 3.0])
    assert abs(variance_slope(v, 4 * v) - 4) < 1e-12
    with pytest.raises(ConfigError, match="identical"):
        kl_weights(np.zeros(3))

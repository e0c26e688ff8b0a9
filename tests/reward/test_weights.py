"""Batched person weights against scipy, one person at a time."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from guerdon.reward.personal.weights import CONSTRAINTS, posterior, solve


def draw(people: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Comparisons z [n, k], verdicts [n] and persons [n]; between 1 and 30 a person."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), rng.integers(1, 31, people))
    z = 2 * rng.normal(size=(len(person), k))
    w = rng.dirichlet(np.full(k, 0.4), people)
    return z, (rng.random(len(person)) < expit(np.einsum("nk,nk->n", z, w[person]))).astype(float), person


def naive(z, p, offset, weight, mean, precision, constraint):
    """One person by scipy: the value of the objective at its minimum."""
    k = z.shape[1]

    def value(w):
        t = offset + z @ w
        return weight @ (np.logaddexp(0, -t) + (1 - p) * t) + 0.5 * (w - mean) @ precision @ (w - mean)

    if constraint == "free":
        return value, minimize(value, np.zeros(k), method="BFGS", options={"gtol": 1e-9}).fun
    sums = [{"type": "eq", "fun": lambda w: w.sum() - 1}] if constraint == "simplex" else []
    result = minimize(
        value, np.full(k, 1 / k), method="SLSQP", bounds=[(0, None)] * k, constraints=sums,
        options={"ftol": 1e-13, "maxiter": 500},
    )  # fmt: skip
    return value, result.fun


@pytest.mark.parametrize("constraint", CONSTRAINTS)
@pytest.mark.parametrize("k", [1, 3, 8])
def test_everybody_at_once_equals_one_by_one(constraint, k):
    people = 12
    z, p, person = draw(people, k, seed=k)
    rng = np.random.default_rng(5)
    offset, weight = rng.normal(size=len(z)), rng.random(len(z)) + 0.1
    mean, precision = np.full(k, 0.3), 0.5 * np.eye(k)
    w, _ = solve(
        z, p, person, people, offset=offset, weight=weight, mean=mean, precision=precision, constraint=constraint
    )
    for i in range(people):
        rows = person == i
        value, best = naive(z[rows], p[rows], offset[rows], weight[rows], mean, precision, constraint)
        assert value(w[i]) <= best + 1e-6
        if constraint != "free":
            assert w[i].min() >= 0
        if constraint == "simplex":
            assert w[i].sum() == pytest.approx(1)


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_somebody_who_said_nothing_is_the_prior(constraint):
    mean = np.array([0.2, 0.5, 0.3])
    z, p, person = draw(2, 3, seed=0)
    w, cov = solve(z, p, person, 4, mean=mean, precision=4 * np.eye(3), constraint=constraint)
    np.testing.assert_allclose(w[2:], [mean, mean], atol=1e-5)
    if constraint == "free":
        np.testing.assert_allclose(cov[3], np.eye(3) / 4, atol=1e-6)


def test_the_laplace_covariance_covers_the_truth():
    """Weights drawn from the prior lie within 1.96 posterior sd about 95 % of the time."""
    rng = np.random.default_rng(0)
    people, k, m = 2000, 2, 12
    truth = rng.normal(size=(people, k))
    person = np.repeat(np.arange(people), m)
    z = rng.normal(size=(people * m, k))
    p = (rng.random(len(z)) < expit(np.einsum("nk,nk->n", z, truth[person]))).astype(float)
    w, cov = solve(z, p, person, people, precision=np.eye(k))
    inside = np.abs(w - truth) < 1.96 * np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
    assert 0.92 < inside.mean() < 0.98


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_the_quadratic_summary_stands_in_for_the_votes(constraint):
    """Solving from the summary alone gives the same weights, and one more vote nearly the same as all votes again."""
    z, p, person = draw(20, 3, seed=9)
    args = {"mean": np.full((20, 3), 1 / 3), "precision": np.tile(np.eye(3), (20, 1, 1)), "offset": np.zeros(len(z))}
    w, _ = solve(z, p, person, 20, constraint=constraint, **args)
    center, post = posterior(z, p, person, w, **args)
    nothing = np.zeros((0, 3))
    again, _ = solve(nothing, np.zeros(0), np.zeros(0, int), 20, mean=center, precision=post, constraint=constraint)
    np.testing.assert_allclose(again, w, atol=1e-3)
    extra = np.ones((20, 3)) * [0.5, -0.2, 0.1]
    step, _ = solve(extra, np.ones(20), np.arange(20), 20, mean=center, precision=post, constraint=constraint)
    every, _ = solve(
        np.vstack([z, extra]), np.r_[p, np.ones(20)], np.r_[person, np.arange(20)], 20, constraint=constraint,
        mean=np.full(3, 1 / 3), precision=np.eye(3),
    )  # fmt: skip
    np.testing.assert_allclose(step, every, atol=0.05)

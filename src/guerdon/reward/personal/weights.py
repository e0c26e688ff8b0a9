r"""Weights of many people at once: the convex problem each new person poses, solved for all of them together.

Person i has m_i comparisons. Datum j has basis-utility differences z_j [k], a population difference o_j, a label
p_j = P(a preferred) and a weight. The weights w_i [k] minimise

    sum_j weight_j (softplus(-t_j) + (1 - p_j) t_j) + (w - mean)' precision (w - mean) / 2,   t_j = o_j + z_j . w

over R^k (``free``), the positive orthant (``nonnegative``) or the simplex (``simplex``). ``free`` is solved by Newton's
method with step halving; the constrained sets by a primal-dual interior-point method whose duality gap bounds the
error, so its answer is as exact as its tolerance (Boyd & Vandenberghe 2004, section 11.7). People are padded into
batches of similar length; all linear algebra is batched.

Both return the Laplace posterior covariance [k, k] of each person: the inverse Hessian, within the face of the set the
solution lies on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

CONSTRAINTS = ("free", "nonnegative", "simplex")


@dataclass(frozen=True)
class People:
    """The comparisons of people, padded: u people, at most m data each, k basis utilities.

    rows    int64 [u] which person (row of the caller's table)
    z       float64 [u, m, k];  offset, p, weight  float64 [u, m]; padding has weight 0
    """

    rows: np.ndarray
    z: np.ndarray
    offset: np.ndarray
    p: np.ndarray
    weight: np.ndarray


def batches(person: np.ndarray, people: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows [u], data index [u, m] with -1 for padding) of people with similar numbers of data."""
    order = np.argsort(person, kind="stable")
    count = np.bincount(person, minlength=people)
    start = np.concatenate([[0], np.cumsum(count)])
    size = np.where(count > 0, 2 ** np.ceil(np.log2(np.maximum(count, 1))).astype(int), 0)
    for width in np.unique(size):
        rows = np.flatnonzero(size == width)
        width = int(count[rows].max(initial=0))
        slot = np.arange(width)
        index = np.where(slot < count[rows][:, None], start[rows][:, None] + slot, -1)
        yield rows, np.where(index >= 0, order[np.minimum(index, max(len(order) - 1, 0))] if len(order) else -1, -1)


def gather(
    index: np.ndarray, rows: np.ndarray, z: np.ndarray, offset: np.ndarray, p: np.ndarray, weight: np.ndarray
) -> People:
    """Padded batch of flat data z [n, k], offset, p, weight [n] at ``index`` [u, m]."""
    safe = np.maximum(index, 0)
    return People(rows, z[safe], offset[safe], p[safe], np.where(index >= 0, weight[safe], 0.0))


def solve(
    z: np.ndarray,
    p: np.ndarray,
    person: np.ndarray,
    people: int,
    *,
    offset: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    mean: np.ndarray | None = None,
    precision: np.ndarray | None = None,
    constraint: str = "free",
    start: np.ndarray | None = None,
    tolerance: float = 1e-8,
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [u, k] and Laplace covariances [u, k, k] of ``people`` people.

    z [n, k], p [n], person [n] in 0..people-1, offset and weight [n]; the prior's mean [k] and precision [k, k] are one
    for all or [u, k] and [u, k, k]; ``start`` [u, k] warm starts the free problem. People without data get the prior
    (its mode within the set).
    """
    n, k = z.shape
    z = np.asarray(z, dtype=np.float64)
    offset = np.zeros(n) if offset is None else offset
    weight = np.ones(n) if weight is None else weight
    mean = np.zeros(k) if mean is None else mean
    precision = np.zeros((k, k)) if precision is None else precision
    mean = np.broadcast_to(mean, (people, k))
    precision = np.broadcast_to(precision + 1e-9 * np.eye(k), (people, k, k))
    w = np.empty((people, k))
    cov = np.empty((people, k, k))
    method = _newton if constraint == "free" else _interior
    for rows, index in batches(person, people):
        batch = gather(index, rows, z, offset, p, weight)
        first = None if start is None else start[rows]
        w[rows], cov[rows] = method(batch, mean[rows], precision[rows], constraint == "simplex", first, tolerance)
    return w, cov


def _value(b: People, w: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Objective [u] at w [u, k]."""
    t = b.offset + np.einsum("umk,uk->um", b.z, w)
    off = w - mean
    data = np.sum(b.weight * (np.logaddexp(0, -t) + (1 - b.p) * t), axis=1)
    return data + 0.5 * np.einsum("uk,uk->u", off, np.matmul(precision, off[:, :, None])[:, :, 0])


def _derivatives(b: People, w: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient [u, k] and Hessian [u, k, k] at w."""
    t = b.offset + np.matmul(b.z, w[:, :, None])[:, :, 0]
    s = expit(t)
    gradient = np.matmul((b.weight * (s - b.p))[:, None, :], b.z)[:, 0]
    gradient += np.matmul(precision, (w - mean)[:, :, None])[:, :, 0]
    hessian = np.matmul(np.swapaxes(b.z * (b.weight * s * (1 - s))[:, :, None], 1, 2), b.z) + precision
    return gradient, hessian


def _newton(
    b: People, mean: np.ndarray, precision: np.ndarray, simplex: bool, start: np.ndarray | None, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    w = mean.copy() if start is None else start.copy()
    value = _value(b, w, mean, precision)
    for _ in range(50):
        gradient, hessian = _derivatives(b, w, mean, precision)
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        decrement = np.einsum("uk,uk->u", gradient, step)
        if decrement.max(initial=0.0) < tolerance:
            break
        size = np.ones(len(w))
        for _ in range(30):  # Armijo, per person
            trial = w - size[:, None] * step
            trial_value = _value(b, trial, mean, precision)
            bad = trial_value > value - 1e-4 * size * decrement + 1e-12
            if not bad.any():
                break
            size = np.where(bad, size / 2, size)
        better = trial_value <= value
        w = np.where(better[:, None], trial, w)
        value = np.where(better, trial_value, value)
    _, hessian = _derivatives(b, w, mean, precision)
    return w, np.linalg.inv(hessian)


def _interior(
    b: People, mean: np.ndarray, precision: np.ndarray, simplex: bool, start: np.ndarray | None, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    u, k = len(b.rows), b.z.shape[2]
    w = np.full((u, k), 1.0 / k if simplex else 1.0)
    gradient, hessian = _derivatives(b, w, mean, precision)
    s = np.maximum(np.abs(gradient).mean(1, keepdims=True), 1e-2) * np.ones((u, k))  # multipliers of w >= 0
    for _ in range(60):
        gap = np.einsum("uk,uk->u", w, s)
        mu = 0.1 * gap / k
        system = hessian + (s / w)[:, :, None] * np.eye(k)
        rhs = -gradient + mu[:, None] / w
        if simplex:
            both = np.linalg.solve(system, np.stack([rhs, np.ones((u, k))], axis=2))
            nu = -both[:, :, 0].sum(1) / both[:, :, 1].sum(1)  # keeps sum(w) = 1
            dw = both[:, :, 0] + nu[:, None] * both[:, :, 1]
            dual = gradient - s + 0.0
            residual = np.abs(dual - dual.mean(1, keepdims=True)).max(1)
        else:
            dw = np.linalg.solve(system, rhs[:, :, None])[:, :, 0]
            residual = np.abs(gradient - s).max(1)
        if (np.maximum(gap, residual) < tolerance * (1 + np.abs(gradient).max(1))).all():
            break
        ds = (mu[:, None] - s * dw) / w - s
        with np.errstate(divide="ignore", invalid="ignore"):
            primal = np.min(np.where(dw < 0, -w / dw, np.inf), axis=1)
            dual_step = np.min(np.where(ds < 0, -s / ds, np.inf), axis=1)
        w = w + np.minimum(1.0, 0.99 * primal)[:, None] * dw
        s = s + np.minimum(1.0, 0.99 * dual_step)[:, None] * ds
        gradient, hessian = _derivatives(b, w, mean, precision)
    cov = np.linalg.inv(hessian + (s / w)[:, :, None] * np.eye(k))
    if simplex:
        ones = cov.sum(2)
        cov = cov - ones[:, :, None] * ones[:, None, :] / ones.sum(1)[:, None, None]
        w = w / w.sum(1, keepdims=True)
    return w, cov


def posterior(
    z: np.ndarray,
    p: np.ndarray,
    person: np.ndarray,
    w: np.ndarray,
    *,
    mean: np.ndarray,
    precision: np.ndarray,
    offset: np.ndarray,
    weight: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(center [u, k], precision [u, k, k]): a quadratic summary of each person's objective at the solution w [u, k].

    It stands in for the data when more votes come later. Where a constraint binds the gradient does not vanish, so the
    center of the quadratic lies outside the set and w is its constrained minimum.
    """
    k = z.shape[1]
    weight = np.ones(len(z)) if weight is None else weight
    center, post = np.empty_like(w), np.empty((len(w), k, k))
    for rows, index in batches(person, len(w)):
        batch = gather(index, rows, np.asarray(z, dtype=np.float64), offset, p, weight)
        gradient, hessian = _derivatives(batch, w[rows], mean[rows], precision[rows])
        inverse = np.linalg.inv(hessian + 1e-9 * np.eye(k))
        center[rows] = w[rows] - np.matmul(inverse, gradient[:, :, None])[:, :, 0]
        post[rows] = hessian
    return center, post

r"""Learning basis utilities and the spread of person weights together, from the comparisons of many people.

Candidate x has basis utilities B(x) [k] and a population utility f(x); person i values it at f(x) + B(x) . w_i. f is
the Bradley-Terry solution of everybody together, so that w = 0 is the best guess about a stranger; B is what people
differ in. Both are linear in features plus, where candidates recur between people, an effect of the candidate itself
("what text does not say"), each under a ridge penalty. Weights have the prior w_i ~ N(mean, I) (``free``), so that the
size of B *is* the size of disagreement, and are integrated out by Laplace's method: the expected loss of a datum with
weights N(w, S) is

    l(t) + l''(t) z' S z / 2,     t = f-difference + z . w,   z = B-difference.

The second term is what learns trust: without disagreement it shrinks B towards nothing. Two steps alternate:
person weights (``weights.solve``, all people at once) and L-BFGS on B. The start is spectral: the leading
directions of people's residual gradients under the population model, which are where people disagree.

With ``simplex`` or ``nonnegative`` weights there is no separate population utility (f = 0): the population is the mean
weight. LoRe (Bose et al. 2025, arXiv:2504.14439) is ``simplex`` without prior. The expected-loss form follows
variational treatments of logistic factor models (Jaakkola & Jordan 2000).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize
from scipy.special import expit

from guerdon.feedback.star import Pairs
from guerdon.reward.personal.weights import batches, solve


@dataclass
class Basis:
    """Learned basis utilities of C candidates with features x [C, d].

    feature  float64 [d, 1 + k]: column 0 is the population utility f, the others are B
    item     float64 [C, 1 + k]: effects of the candidates themselves (zero where not used)
    weights  float64 [u, k] of the training people; covariance float64 [u, k, k]
    mean     float64 [k] prior mean; spread float64 [k, k] prior covariance
    """

    feature: np.ndarray
    item: np.ndarray
    weights: np.ndarray
    covariance: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    trace: list[float] = field(default_factory=list)

    def utilities(self, x: np.ndarray) -> np.ndarray:
        """float64 [C, 1 + k] of the training candidates."""
        return x @ self.feature + self.item


@dataclass(frozen=True)
class Data:
    """Comparisons with a person each; per-person weights are scaled so that their sum is what counts."""

    a: np.ndarray
    b: np.ndarray
    p: np.ndarray
    weight: np.ndarray
    person: np.ndarray
    people: int
    candidates: int

    @classmethod
    def of(cls, pairs: Pairs, candidates: int, balance: bool = False) -> Data:
        """From pairs that all have a person; people are renumbered 0..u-1 in order of ``Pairs.user``.

        ``balance`` gives every person the same total weight (LoRe's per-user mean)."""
        _, person = np.unique(pairs.user, return_inverse=True)
        people = int(person.max(initial=-1)) + 1
        weight = pairs.weight
        if balance:
            total = np.bincount(person, weights=weight, minlength=people)
            weight = weight / total[person] * (len(weight) / people)
        return cls(pairs.a, pairs.b, pairs.p, weight, person, people, candidates)

    def difference(self, utilities: np.ndarray) -> np.ndarray:
        """[n, ...] utilities of a minus utilities of b."""
        return utilities[self.a] - utilities[self.b]

    @cached_property
    def incidence(self) -> sp.csr_array:
        """Sparse [C, n]: +1 where a datum's a is the candidate, -1 where its b is."""
        n = len(self.a)
        rows = np.concatenate([self.a, self.b])
        signs = np.concatenate([np.ones(n), -np.ones(n)])
        return sp.csr_array((signs, (rows, np.concatenate([np.arange(n)] * 2))), shape=(self.candidates, n))

    @cached_property
    def blocks(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The padded batches of people (``weights.batches``)."""
        return list(batches(self.person, self.people))


def quadratic(data: Data, z: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S z [n, k], z' S z [n]) with S the covariance of each datum's person."""
    sz = np.empty_like(z)
    for rows, index in data.blocks:
        mask = index >= 0
        block = np.matmul(z[np.maximum(index, 0)], covariance[rows])
        sz[index[mask]] = block[mask]
    return sz, np.einsum("nk,nk->n", z, sz)


def learn(
    data: Data,
    x: np.ndarray,
    *,
    rank: int,
    constraint: str = "free",
    prior: bool = True,
    l2: float = 1.0,
    l2_basis: float = 1.0,
    l2_item: float | None = None,
    reference: np.ndarray | None = None,
    reference_weight: float = 0.0,
    rounds: int = 20,
    steps: int = 8,
    seed: int = 0,
    fixed: bool = False,
) -> Basis:
    """Learn a basis of ``rank`` utilities on comparisons ``data`` over candidates with features x [C, d].

    l2, l2_basis  ridge on f and on B (sums of squares beside the summed loss)
    l2_item       ridge on candidate effects; None leaves them out
    reference     [d] direction every basis direction is drawn to, with ``reference_weight`` on 1 - cos
    fixed         x itself is the basis (k = d, B(x) = x): only the prior's mean and spread are learned
    """
    d, k = x.shape[1], x.shape[1] if fixed else rank
    population = constraint == "free" and not fixed
    basis = given_start(data, d) if fixed else spectral_start(data, x, k, constraint, l2, l2_item, seed)
    if k == 0:
        return basis
    w, cov, mean, spread = basis.weights, basis.covariance, basis.mean, basis.spread
    base = (x @ basis.feature[:, :1] + basis.item[:, :1])[:, 0]
    offset = data.difference(base)
    v, r = basis.feature[:, 1:], basis.item[:, 1:]
    previous = np.inf
    trace: list[float] = []
    for _ in range(rounds):
        w, cov = solve(
            data.difference(x @ v + r), data.p, data.person, data.people,
            offset=offset, weight=data.weight, mean=mean,
            precision=np.linalg.inv(spread) if prior else None,
            constraint=constraint, start=w if constraint == "free" else None, tolerance=1e-5,
        )  # fmt: skip
        if not prior:
            cov = np.zeros_like(cov)
        if not population:
            mean = w.mean(0)
            if prior:
                off = w - mean
                spread = (off.T @ off + cov.sum(0)) / data.people + 1e-6 * np.eye(k)
        if fixed:
            trace.append(float(np.trace(spread)))
            if len(trace) > 1 and abs(trace[-1] - trace[-2]) < 1e-3 * trace[-1]:
                break
            continue
        objective = expected_loss(data, x, offset, w, cov if prior else None, l2_basis, l2_item)
        if reference is not None and reference_weight:
            objective = drawn(objective, (d, k), reference, reference_weight)
        start = v.ravel() if l2_item is None else np.concatenate([v.ravel(), r.ravel()])
        result = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": steps})
        v = result.x[: d * k].reshape(d, k)
        if l2_item is not None:
            r = result.x[d * k :].reshape(-1, k)
        trace.append(float(result.fun) + (0.5 * float(np.sum(w**2)) if prior and population else 0.0))
        if previous - trace[-1] < 1e-4 * abs(trace[-1]):
            break
        previous = trace[-1]
    feature, item = np.hstack([basis.feature[:, :1], v]), np.hstack([basis.item[:, :1], r])
    return Basis(feature, item, w, cov, mean, spread, trace)


Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]


def expected_loss(
    data: Data,
    x: np.ndarray,
    offset: np.ndarray,
    weights: np.ndarray,
    covariance: np.ndarray | None,
    l2: float,
    l2_item: float | None,
) -> Objective:
    """The basis step's objective: loss and gradient in the flattened B = [v; r] (features, then candidate effects).

    weights [u, k] and covariance [u, k, k] (None = known exactly) are those of the people; offset [n] is the
    population's utility difference.
    """
    d, k = x.shape[1], weights.shape[1]
    w = weights[data.person]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        params = flat.reshape(-1, k)
        v, r = params[:d], params[d:]
        z = data.difference(x @ v if l2_item is None else x @ v + r)
        t = offset + np.einsum("nk,nk->n", z, w)
        s = expit(t)
        loss = data.weight * (np.logaddexp(0, -t) + (1 - data.p) * t)
        dt = data.weight * (s - data.p)
        if covariance is None:
            g = dt[:, None] * w
        else:
            h = data.weight * s * (1 - s)
            sz, q = quadratic(data, z, covariance)
            loss = loss + 0.5 * h * q
            g = (dt + 0.5 * h * (1 - 2 * s) * q)[:, None] * w + h[:, None] * sz
        du = data.incidence @ g
        total = float(loss.sum() + 0.5 * l2 * np.sum(v**2))
        dv = x.T @ du + l2 * v
        if l2_item is None:
            return total, dv.ravel()
        return total + 0.5 * l2_item * float(np.sum(r**2)), np.concatenate([dv.ravel(), (du + l2_item * r).ravel()])

    return objective


def drawn(objective: Objective, shape: tuple[int, int], reference: np.ndarray, weight: float) -> Objective:
    """``objective`` plus weight * mean_b (1 - cos(v_b, reference)) on its leading [d, k] parameters."""
    size = shape[0] * shape[1]

    def with_reference(flat: np.ndarray) -> tuple[float, np.ndarray]:
        total, gradient = objective(flat)
        penalty, slope = towards(flat[:size].reshape(shape), reference)
        gradient[:size] += weight * slope.ravel()
        return total + weight * penalty, gradient

    return with_reference


def towards(v: np.ndarray, reference: np.ndarray) -> tuple[float, np.ndarray]:
    """mean_b (1 - cos(v_b, reference)) over the columns of v [d, k], and its gradient."""
    ref = reference / np.linalg.norm(reference)
    norm = np.linalg.norm(v, axis=0) + 1e-12
    cos = ref @ v / norm
    return float(np.mean(1 - cos)), -(ref[:, None] / norm - v * (cos / norm**2)) / v.shape[1]


def given_start(data: Data, k: int) -> Basis:
    """A basis that is the features themselves; everybody starts at equal weights."""
    feature = np.hstack([np.zeros((k, 1)), np.eye(k)])
    mean = np.full(k, 1.0 / k)
    w = np.tile(mean, (data.people, 1))
    cov = np.tile(np.eye(k), (data.people, 1, 1))
    return Basis(feature, np.zeros((data.candidates, 1 + k)), w, cov, mean, np.eye(k))


def spectral_start(
    data: Data, x: np.ndarray, k: int, constraint: str, l2: float, l2_item: float | None, seed: int
) -> Basis:
    """Population utility by Bradley-Terry, basis from the leading directions of people's residual gradients."""
    d = x.shape[1]

    def population(flat: np.ndarray) -> tuple[float, np.ndarray]:
        v, r = flat[:d], flat[d:]
        t = data.difference(x @ v + (r if len(r) else 0.0))
        s = expit(t)
        du = data.incidence @ (data.weight * (s - data.p))
        loss = np.sum(data.weight * (np.logaddexp(0, -t) + (1 - data.p) * t)) + 0.5 * l2 * v @ v
        grad = x.T @ du + l2 * v
        if not len(r):
            return loss, grad
        assert l2_item is not None
        return loss + 0.5 * l2_item * r @ r, np.concatenate([grad, du + l2_item * r])

    size = d + (data.candidates if l2_item is not None else 0)
    flat = minimize(population, np.zeros(size), jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    f, r = flat[:d], flat[d:] if l2_item is not None else np.zeros(data.candidates)
    residual = data.weight * (data.p - expit(data.difference(x @ f + r)))
    n = len(data.a)
    people = sp.csr_array((residual, (data.person, np.arange(n))), shape=(data.people, n))
    g = (people @ data.incidence.T) @ x  # [u, d] each person's pull on the utility
    rng = np.random.default_rng(seed)
    if k:
        _, _, vt = np.linalg.svd(g - g.mean(0) if constraint != "free" else g, full_matrices=False)
        vt = vt[:k]
        if len(vt) < k:
            vt = np.vstack([vt, rng.normal(size=(k - len(vt), d)) / np.sqrt(d)])
    else:
        vt = np.zeros((0, d))
    size_f = max(float(np.linalg.norm(f)), 1.0)
    feature, item = np.zeros((d, 1 + k)), np.zeros((data.candidates, 1 + k))
    if constraint == "free":
        feature[:, 0], item[:, 0] = f, r
        feature[:, 1:] = vt.T * size_f * 0.3
        mean = np.zeros(k)
    else:
        # opposite ends of the directions of disagreement around the population, as many as there is room for
        signs = np.where(np.arange(k) % 2 == 0, 1.0, -1.0)
        half = vt[np.arange(k) // 2].T * signs
        feature[:, 1:] = f[:, None] + half * size_f
        item[:, 1:] = r[:, None]
        mean = np.full(k, 1.0 / max(k, 1))
    w = np.tile(mean, (data.people, 1))
    return Basis(feature, item, w, np.tile(np.eye(k), (data.people, 1, 1)), mean, np.eye(k))

"""How utilities of candidates explain what people said: one family, one interface.

A likelihood compiled on feedback is a function of the utilities ``u`` [C] of all candidates (and a few parameters of
its own, ``theta``) that returns the weighted mean negative log-likelihood with its gradients. Because the gradient is
taken with respect to utilities, every head (linear, MLP, a transformer) trains on the same code: a head only has to
carry ``du`` [C] back to its parameters.

bradley-terry
    pairs: -p log s(d) - (1 - p) log s(-d) with d = u_a - u_b - margin * strength * (sign of the preference);
    with ``ties="davidson"`` (Davidson 1970): logsumexp(d/2, -d/2, log nu) minus the logit of what happened.
plackett-luce
    judgements of n >= 2: for every response above the last level, logsumexp(u of all not better) - u.
classification
    each response of a pair alone: -p log s(u_a + c) - (1 - p) log s(-u_a - c), the same for b with 1 - p.
regression
    ratings: (u + c - z)^2 / 2 with z the standardised, person-centred grade.

References: Bradley & Terry 1952; Luce 1959; Plackett 1975; Davidson 1970 (ties); Touvron et al. 2023, arXiv:2307.09288
(margin); Sun et al. 2025, arXiv:2411.04991 (classification objective).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from scipy.special import expit

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.star import Feedback, Pairs


class Likelihood(Protocol):
    """A compiled likelihood over C candidates."""

    theta0: np.ndarray
    """float64 [t] start of the likelihood's own parameters."""

    def __len__(self) -> int:
        """Number of data (pairs, judgements or ratings)."""
        ...

    def __call__(self, u: np.ndarray, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """(weighted mean loss, d loss / d u [C], d loss / d theta [t])."""
        ...

    def take(self, index: np.ndarray) -> Likelihood:
        """The same likelihood on some of the data (minibatches)."""
        ...


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)) without overflow."""
    return np.logaddexp(0.0, x)


def scatter(size: int, *parts: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """float64 [size]: sums of values at indices, over (index, value) parts."""
    out = np.zeros(size)
    for index, value in parts:
        out += np.bincount(index, weights=value, minlength=size)
    return out


@dataclass
class BradleyTerry:
    """Comparisons. ``margin`` asks a preferred response to win by margin x strength; ``smoothing`` moves p to 1/2.

    ``davidson`` models ties as an outcome with strength nu (theta = [log nu]); otherwise a tie is p = 1/2.
    """

    pairs: Pairs
    candidates: int
    margin: float = 0.0
    smoothing: float = 0.0
    davidson: bool = False

    def __post_init__(self) -> None:
        self.theta0 = np.zeros(1 if self.davidson else 0)

    def __len__(self) -> int:
        return len(self.pairs)

    def take(self, index: np.ndarray) -> BradleyTerry:
        return BradleyTerry(self.pairs.take(index), self.candidates, self.margin, self.smoothing, self.davidson)

    def __call__(self, u: np.ndarray, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        q = self.pairs
        d = u[q.a] - u[q.b]
        if self.margin:
            d = d - self.margin * q.strength * np.sign(2 * q.p - 1)
        weight = q.weight / q.weight.sum()
        p = q.p * (1 - self.smoothing) + 0.5 * self.smoothing
        if self.davidson:
            # logits of (a wins, b wins, tie) are (d/2, -d/2, log nu)
            tie = (q.p == 0.5).astype(float)
            win = np.where(tie > 0, 0.0, p)
            lose = np.where(tie > 0, 0.0, 1 - p)
            z = np.stack([d / 2, -d / 2, np.broadcast_to(theta[0], d.shape)])
            total = np.logaddexp(np.logaddexp(z[0], z[1]), z[2])
            share = np.exp(z - total)
            loss = total - win * z[0] - lose * z[1] - tie * z[2]
            dd = weight * 0.5 * ((share[0] - win) - (share[1] - lose))
            dtheta = np.array([np.sum(weight * (share[2] - tie))])
        else:
            loss = softplus(-d) + (1 - p) * d
            dd = weight * (expit(d) - p)
            dtheta = np.zeros(0)
        return float(weight @ loss), scatter(self.candidates, (q.a, dd), (q.b, -dd)), dtheta


@dataclass
class Classification:
    """Each response of a pair on its own: preferred = 1, other = 0, with an intercept (theta = [c])."""

    pairs: Pairs
    candidates: int

    def __post_init__(self) -> None:
        self.theta0 = np.zeros(1)

    def __len__(self) -> int:
        return len(self.pairs)

    def take(self, index: np.ndarray) -> Classification:
        return Classification(self.pairs.take(index), self.candidates)

    def __call__(self, u: np.ndarray, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        q = self.pairs
        weight = q.weight / (2 * q.weight.sum())
        loss, grads, dtheta = 0.0, [], 0.0
        for index, p in ((q.a, q.p), (q.b, 1 - q.p)):
            z = u[index] + theta[0]
            loss += float(weight @ (softplus(-z) + (1 - p) * z))
            dz = weight * (expit(z) - p)
            grads.append((index, dz))
            dtheta += dz.sum()
        return loss, scatter(self.candidates, *grads), np.array([dtheta])


@dataclass
class PlackettLuce:
    """Rankings, best-of-n and comparisons as repeated choice.

    A judgement is a sequence of choices: each response above the lowest level is chosen from all that are not better
    than it (Breslow's treatment of tied grades). With n = 2 this is Bradley-Terry; with grades (1, 0, ..., 0) it is the
    softmax choice of card 047. Judgements whose grades are all equal say nothing here and are left out.
    """

    items: list[np.ndarray]
    """per size n: int32 [J_n, n] candidate indices, best first"""
    levels: list[np.ndarray]
    """per size n: int32 [J_n, n] position of the last response with an equal grade"""
    weights: list[np.ndarray]
    """per size n: float64 [J_n]"""
    candidates: int

    def __post_init__(self) -> None:
        self.theta0 = np.zeros(0)
        self.total = sum(w.sum() for w in self.weights)

    @classmethod
    def of(cls, feedback: Feedback) -> PlackettLuce:
        """Compile the judgements of two or more responses."""
        items, levels, weights = [], [], []
        for n in np.unique(feedback.sizes):
            if n < 2:
                continue
            rows = np.flatnonzero(feedback.sizes == n)
            flat = feedback.offsets[rows][:, None] + np.arange(n)
            grades = feedback.grades[flat]
            rows_ok = ~np.isnan(grades).any(1) & (grades.max(1) > grades.min(1))
            flat, grades, rows = flat[rows_ok], grades[rows_ok], rows[rows_ok]
            order = np.argsort(-grades, axis=1, kind="stable")
            grades = np.take_along_axis(grades, order, 1)
            last = np.empty(grades.shape, dtype=np.int32)
            last[:, -1] = n - 1
            for k in range(n - 2, -1, -1):
                last[:, k] = np.where(grades[:, k] == grades[:, k + 1], last[:, k + 1], k)
            items.append(np.take_along_axis(feedback.items[flat], order, 1))
            levels.append(last)
            weights.append(feedback.weight[rows])
        return cls(items, levels, weights, len(feedback.responses))

    def __len__(self) -> int:
        return sum(len(w) for w in self.weights)

    def take(self, index: np.ndarray) -> PlackettLuce:
        sizes = [len(w) for w in self.weights]
        start = np.concatenate([[0], np.cumsum(sizes)])
        local = [index[(index >= lo) & (index < hi)] - lo for lo, hi in pairwise(start)]
        parts = [(i[k], v[k], w[k]) for i, v, w, k in zip(self.items, self.levels, self.weights, local, strict=True)]
        return PlackettLuce([p[0] for p in parts], [p[1] for p in parts], [p[2] for p in parts], self.candidates)

    def __call__(self, u: np.ndarray, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        loss, du = 0.0, np.zeros(self.candidates)
        for items, last, weight in zip(self.items, self.levels, self.weights, strict=True):
            if not len(items):
                continue
            n = items.shape[1]
            v = u[items]
            # first position of each tied level: everything from there on is "not better"
            first = np.zeros_like(last)
            first[:, 1:] = np.where(last[:, 1:] == last[:, :-1], 0, np.arange(1, n))
            first = np.maximum.accumulate(first, axis=1)
            tail = np.logaddexp.accumulate(v[:, ::-1], axis=1)[:, ::-1]  # logsumexp of v[k:]
            rest = np.take_along_axis(tail, first, 1)
            chosen = last < n - 1
            w = (weight / self.total)[:, None] * chosen
            loss += float(np.sum(w * (rest - v)))
            # d/dv_j = sum over chosen i with first_i <= j of exp(v_j - rest_i), minus one where j itself is chosen
            shift = v.max(1, keepdims=True)
            starts = np.zeros_like(v)
            np.add.at(starts, (np.arange(len(v))[:, None], first), w * np.exp(shift - rest))
            grad = np.exp(v - shift) * np.cumsum(starts, axis=1) - w
            du += np.bincount(items.ravel(), weights=grad.ravel(), minlength=self.candidates)
        return loss, du, np.zeros(0)


@dataclass
class Regression:
    """Ratings by least squares on standardised grades, each person's mean taken out (shrunk towards the mean of all).

    theta = [c], an intercept. Utilities are in units of the grades' standard deviation.
    """

    item: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    candidates: int

    def __post_init__(self) -> None:
        self.theta0 = np.zeros(1)

    @classmethod
    def of(cls, feedback: Feedback) -> Regression:
        """Compile all graded responses on the scale ``rating``."""
        rating = np.repeat(feedback.scale == 2, feedback.sizes) & ~np.isnan(feedback.grades)
        judgement = np.repeat(np.arange(len(feedback)), feedback.sizes)[rating]
        grade, item = feedback.grades[rating], feedback.items[rating]
        if not len(grade):
            raise FeedbackError("regression needs ratings; this feedback has none: use --model bradley-terry")
        sd = grade.std()
        if sd == 0:
            raise FeedbackError("regression needs ratings that differ; here every rating is the same")
        z = (grade - grade.mean()) / sd
        person = feedback.user[judgement] + 1
        count = np.bincount(person)
        mean = np.bincount(person, weights=z) / (count + 5.0)  # as if five average ratings had been given before
        mean[0] = 0.0  # row 0 is "nobody in particular"
        return cls(item, z - mean[person], feedback.weight[judgement], len(feedback.responses))

    def __len__(self) -> int:
        return len(self.item)

    def take(self, index: np.ndarray) -> Regression:
        return Regression(self.item[index], self.target[index], self.weight[index], self.candidates)

    def __call__(self, u: np.ndarray, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        weight = self.weight / self.weight.sum()
        error = u[self.item] + theta[0] - self.target
        dz = weight * error
        return float(0.5 * weight @ error**2), scatter(self.candidates, (self.item, dz)), np.array([dz.sum()])


def _pairs(fb: Feedback, max_pairs: int | None, seed: int, ties: bool = True) -> Pairs:
    pairs = fb.pairs(ties=ties, max_per_person=max_pairs, seed=seed)
    if not len(pairs):
        raise FeedbackError(
            "this feedback implies no comparisons (every judgement has one response and no person rated two responses "
            "to the same prompt differently): use --model regression"
        )
    return pairs


def _plackett_luce(fb: Feedback, **_: object) -> PlackettLuce:
    compiled = PlackettLuce.of(fb)
    if not len(compiled):
        raise FeedbackError("plackett-luce needs judgements of two or more responses; use --model bradley-terry")
    return compiled


LIKELIHOODS: dict[str, Callable[..., Likelihood]] = {
    "bradley-terry": lambda fb, *, margin, smoothing, ties, max_pairs, seed: BradleyTerry(
        _pairs(fb, max_pairs, seed, ties != "drop"), len(fb.responses), margin, smoothing, ties == "davidson"
    ),
    "plackett-luce": _plackett_luce,
    "classification": lambda fb, *, max_pairs, seed, **_: Classification(
        _pairs(fb, max_pairs, seed), len(fb.responses)
    ),
    "regression": lambda fb, **_: Regression.of(fb),
}


def compile_likelihood(
    name: str,
    feedback: Feedback,
    *,
    margin: float = 0.0,
    smoothing: float = 0.0,
    ties: str = "half",
    max_pairs: int | None = None,
    seed: int = 0,
) -> Likelihood:
    """The likelihood called ``name`` on ``feedback``.

    ties: ``half`` (p = 1/2), ``drop``, or ``davidson``; max_pairs bounds pairs made from ratings, per person.
    """
    if name not in LIKELIHOODS:
        raise ConfigError(f"likelihood {name!r} is unknown; use one of {', '.join(LIKELIHOODS)}")
    if ties not in ("half", "drop", "davidson"):
        raise ConfigError(f"ties={ties!r} is unknown; use half, drop or davidson")
    return LIKELIHOODS[name](feedback, margin=margin, smoothing=smoothing, ties=ties, max_pairs=max_pairs, seed=seed)

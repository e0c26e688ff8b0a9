"""Likelihoods of judgements of n >= 2 responses: rankings as repeated choice, and best with worst.

plackett-luce  for every response above the last level, logsumexp(u of all not better) - u
best-worst     the best is chosen by exp(u), then the worst of the others by exp(-u)
maxdiff        best b and worst w at once: P(b, w) in proportion exp(u_b - u_w) over all ordered pairs

With n = 2 the first two are Bradley-Terry and the third is Bradley-Terry of twice the utility.

References: Luce 1959; Plackett 1975; Marley & Louviere 2005, https://doi.org/10.1016/j.jmp.2005.05.003 (best-worst,
maxdiff).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np

from guerdon.feedback.star import Feedback


def _by_size(feedback: Feedback) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Per size n >= 2: (items [J, n] best first, grades [J, n], weight [J]) of judgements that prefer anything."""
    out = []
    for n in np.unique(feedback.sizes):
        if n < 2:
            continue
        rows = np.flatnonzero(feedback.sizes == n)
        flat = feedback.offsets[rows][:, None] + np.arange(n)
        grades = feedback.grades[flat]
        said = ~np.isnan(grades).any(1) & (grades.max(1) > grades.min(1))
        flat, grades, rows = flat[said], grades[said], rows[said]
        order = np.argsort(-grades, axis=1, kind="stable")
        items = np.take_along_axis(feedback.items[flat], order, 1)
        out.append((items, np.take_along_axis(grades, order, 1), feedback.weight[rows]))
    return out


@dataclass
class Rankings:
    """What likelihoods of ordered responses share; see :class:`guerdon.reward.learned.likelihood.Likelihood`."""

    items: list[np.ndarray]
    """per size n: int32 [J_n, n] candidate indices, best first"""
    weights: list[np.ndarray]
    """per size n: float64 [J_n]"""
    candidates: int

    width: ClassVar[int | None] = 1

    @property
    def theta0(self) -> np.ndarray:
        """float64 [0]: no parameters of its own."""
        return np.zeros(0)

    @property
    def total(self) -> float:
        """Sum of all weights."""
        return float(sum(w.sum() for w in self.weights))

    def __len__(self) -> int:
        return sum(len(w) for w in self.weights)

    def _local(self, index: np.ndarray) -> list[np.ndarray]:
        """Per size, the rows that ``index`` (over all sizes one after the other) points to."""
        start = np.concatenate([[0], np.cumsum([len(w) for w in self.weights])])
        return [index[(index >= lo) & (index < hi)] - lo for lo, hi in pairwise(start)]

    def take(self, index: np.ndarray) -> Self:
        local = self._local(index)
        items, weights = ([v[k] for v, k in zip(part, local, strict=True)] for part in (self.items, self.weights))
        return replace(self, items=items, weights=weights)

    def members(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        flat = np.concatenate([i.ravel() for i in self.items])
        sizes = np.concatenate([np.full(len(i), i.shape[1]) for i in self.items])
        return flat, np.r_[0, np.cumsum(sizes)], np.concatenate(self.weights)

    def over(self, table: np.ndarray) -> Self:
        return replace(self, items=[np.searchsorted(table, i) for i in self.items], candidates=len(table))

    def verdicts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chosen, rejected = (np.concatenate([i[:, k] for i in self.items]) for k in (0, -1))
        return chosen, rejected, np.concatenate(self.weights)


@dataclass
class PlackettLuce(Rankings):
    """Rankings, best-of-n and comparisons as repeated choice.

    A judgement is a sequence of choices: each response above the lowest level is chosen from all that are not better
    than it (Breslow's treatment of tied grades). With n = 2 this is Bradley-Terry; with grades (1, 0, ..., 0) it is the
    softmax choice of card 047. Judgements whose grades are all equal say nothing here and are left out.
    """

    levels: list[np.ndarray]
    """per size n: int32 [J_n, n] position of the last response with an equal grade"""

    @classmethod
    def of(cls, feedback: Feedback) -> PlackettLuce:
        """Compile the judgements of two or more responses."""
        items, levels, weights = [], [], []
        for item, grades, weight in _by_size(feedback):
            n = item.shape[1]
            last = np.empty(grades.shape, dtype=np.int32)
            last[:, -1] = n - 1
            for k in range(n - 2, -1, -1):
                last[:, k] = np.where(grades[:, k] == grades[:, k + 1], last[:, k + 1], k)
            items.append(item)
            levels.append(last)
            weights.append(weight)
        return cls(items, weights, len(feedback.responses), levels)

    def take(self, index: np.ndarray) -> Self:
        levels = [v[k] for v, k in zip(self.levels, self._local(index), strict=True)]
        return replace(super().take(index), levels=levels)

    @staticmethod
    def _choices(v: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(logsumexp of what each response was chosen from [J, n], which were chosen, where their level starts)."""
        n = v.shape[1]
        first = np.zeros_like(last)
        first[:, 1:] = np.where(last[:, 1:] == last[:, :-1], 0, np.arange(1, n))
        first = np.maximum.accumulate(first, axis=1)
        tail = np.logaddexp.accumulate(v[:, ::-1], axis=1)[:, ::-1]  # logsumexp of v[k:]
        return np.take_along_axis(tail, first, 1), last < n - 1, first

    def __call__(self, u: np.ndarray, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        loss, du, total = 0.0, np.zeros(self.candidates), self.total
        for items, last, weight in zip(self.items, self.levels, self.weights, strict=True):
            if not len(items):
                continue
            v = u[items]
            rest, chosen, first = self._choices(v, last)
            w = (weight / total)[:, None] * chosen
            loss += float(np.sum(w * (rest - v)))
            # d/dv_j = sum over chosen i with first_i <= j of exp(v_j - rest_i), minus one where j itself is chosen
            shift = v.max(1, keepdims=True)
            starts = np.zeros_like(v)
            np.add.at(starts, (np.arange(len(v))[:, None], first), w * np.exp(shift - rest))
            grad = np.exp(v - shift) * np.cumsum(starts, axis=1) - w
            du += np.bincount(items.ravel(), weights=grad.ravel(), minlength=self.candidates)
        return loss, du, np.zeros(0)

    def log_prob(self, u: np.ndarray, theta: np.ndarray) -> np.ndarray:
        parts = [np.zeros(0)]
        for items, last in zip(self.items, self.levels, strict=True):
            rest, chosen, _ = self._choices(u[items], last)
            parts.append(np.sum((u[items] - rest) * chosen, axis=1))
        return np.concatenate(parts)

    def sample(self, u: np.ndarray, theta: np.ndarray, rng: np.random.Generator) -> Self:
        """Orders drawn anew (of u plus Gumbel noise); how many responses share each level stays as it is."""
        perceived = [u[i] + rng.gumbel(size=i.shape) for i in self.items]
        items = [np.take_along_axis(i, np.argsort(-v, axis=1), 1) for i, v in zip(self.items, perceived, strict=True)]
        return replace(self, items=items)


@dataclass
class BestWorst(Rankings):
    """The best and the worst of n; what lies between is not read. ``joint`` makes it maxdiff.

    Judgements without one best and one worst response say nothing here and are left out.
    """

    joint: bool = False

    @classmethod
    def of(cls, feedback: Feedback, *, joint: bool = False) -> BestWorst:
        """Compile the judgements of two or more responses that name a best and a worst."""
        items, weights = [], []
        for item, grades, weight in _by_size(feedback):
            clear = (grades[:, 0] > grades[:, 1]) & (grades[:, -2] > grades[:, -1])
            items.append(item[clear])
            weights.append(weight[clear])
        return cls(items, weights, len(feedback.responses), joint)

    def _value(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(log P [J], its gradient [J, n]) of utilities v [J, n], best first and worst last."""
        up, down = np.logaddexp.reduce(v, axis=1), np.logaddexp.reduce(-v, axis=1)
        if self.joint:
            # sum over i != j of exp(v_i - v_j) = exp(up + down) - n
            total = up + down + np.log1p(-v.shape[1] * np.exp(-up - down))
            value = v[:, 0] - v[:, -1] - total
            grad = np.exp(-v + (up - total)[:, None]) - np.exp(v + (down - total)[:, None])
        else:
            others = np.logaddexp.reduce(-v[:, 1:], axis=1)
            value = v[:, 0] - up - v[:, -1] - others
            grad = -np.exp(v - up[:, None])
            grad[:, 1:] += np.exp(-v[:, 1:] - others[:, None])
        grad[:, 0] += 1
        grad[:, -1] -= 1
        return value, grad

    def __call__(self, u: np.ndarray, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        loss, du, total = 0.0, np.zeros(self.candidates), self.total
        for items, weight in zip(self.items, self.weights, strict=True):
            if not len(items):
                continue
            value, grad = self._value(u[items])
            w = weight / total
            loss -= float(w @ value)
            du -= np.bincount(items.ravel(), weights=(w[:, None] * grad).ravel(), minlength=self.candidates)
        return loss, du, np.zeros(0)

    def log_prob(self, u: np.ndarray, theta: np.ndarray) -> np.ndarray:
        return np.concatenate([np.zeros(0), *(self._value(u[i])[0] for i in self.items)])

    def sample(self, u: np.ndarray, theta: np.ndarray, rng: np.random.Generator) -> Self:
        return replace(self, items=[self._drawn(i, u[i], rng) for i in self.items])

    def _drawn(self, items: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        j, n = v.shape
        if not j:
            return items
        if self.joint:
            both = v[:, :, None] - v[:, None, :] + np.where(np.eye(n) > 0, -np.inf, 0.0)
            pick = (both + rng.gumbel(size=both.shape)).reshape(j, -1).argmax(1)
            best, worst = pick // n, pick % n
        else:
            best = (v + rng.gumbel(size=v.shape)).argmax(1)
            away = np.where(np.arange(n) == best[:, None], -np.inf, -v + rng.gumbel(size=v.shape))
            worst = away.argmax(1)
        place = np.arange(n)
        key = np.where(place == best[:, None], -1, np.where(place == worst[:, None], n, place))
        return np.take_along_axis(items, np.argsort(key, axis=1), 1)

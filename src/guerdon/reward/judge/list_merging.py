"""The orders in which lists are shown, and one value a response from the verdicts on all of them.

Shapes: ``y`` float64 [k, n] what k verdicts say of n responses, NaN where a response was not shown; ``weight`` [k, n]
how much each counts, 0 where not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from guerdon.reward.judge.list_verdicts import ListVerdict
from guerdon.reward.judge.tournament import bradley_terry


def layouts(keys: Sequence[str], orders: int, window: int, seed: int) -> list[list[int]]:
    """The lists to show: numbers of responses in the order shown, from the responses' texts alone.

    Up to ``window`` responses: ``orders`` rotations of shuffled orders, evenly spaced. More: ``orders`` shuffled
    orders, each in windows that overlap by half, round in a circle.
    """
    n = len(keys)
    whole = blake2b("\0".join(sorted(keys)).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def shuffled(block: int) -> list[int]:
        def place(j: int) -> bytes:
            return blake2b(
                f"{seed}/{block}/{whole}/{keys[j]}".encode("utf-8", "surrogatepass"), digest_size=16
            ).digest()

        return sorted(range(n), key=place)

    out: list[list[int]] = []
    if n <= window:
        turns = min(orders, n)
        for r in range(orders if n > 1 else 1):
            base, shift = shuffled(r // turns), (r % turns) * n // turns
            out.append(base[shift:] + base[:shift])
        return out
    for r in range(orders):
        base = shuffled(r)
        out += [[base[(begin + k) % n] for k in range(window)] for begin in range(0, n, max(window // 2, 1))]
    return out


def value_of(verdict: ListVerdict, give: str) -> np.ndarray:
    """float64 [n] what a verdict says of each response: places in [0, 1], grades, or grades along the ranking."""
    if give == "grades" or verdict.ranking is None:
        return np.array(verdict.grades, dtype=np.float64)
    n = len(verdict.ranking)
    place = np.empty(n)
    place[verdict.ranking] = np.arange(n)
    if give == "ranking" or verdict.grades is None:
        return 1 - place / max(n - 1, 1)
    along = np.sort(np.array(verdict.grades, dtype=np.float64))[::-1]
    apart = np.array([np.flatnonzero(along == g).mean() for g in along]) - np.arange(n)
    return (along + apart / (2 * n))[place.astype(int)]


def contradictions(verdict: ListVerdict) -> int:
    """Pairs that are ranked one way and graded the other."""
    if verdict.grades is None or verdict.ranking is None:
        return 0
    along = np.array(verdict.grades)[verdict.ranking]
    return int(np.triu(along[:, None] < along[None, :], 1).sum())


def chance_among(y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """float64 [n] mean chance of each response against the others, from the orders within windows; y as in merging."""
    n = y.shape[1]
    played: list[tuple[int, int, float]] = []
    for row, w in zip(y, weight.max(1), strict=True):
        members = np.flatnonzero(np.isfinite(row)).tolist()
        if w > 0:
            played += [
                (i, j, 0.5 + 0.5 * float(np.sign(row[i] - row[j])))
                for a, i in enumerate(members)
                for j in members[a + 1 :]
            ]
    u = bradley_terry(n, played)
    chance = 0.5 * (1 + np.tanh(0.5 * (u[:, None] - u[None, :])))
    value = (chance.sum(1) - 0.5) / max(n - 1, 1)
    return np.where(np.isfinite(y).any(0), value, np.nan)


def on_one_scale(y: np.ndarray, weight: np.ndarray, ridge: float = 1.0) -> np.ndarray:
    """float64 [n] responses' parts of ``y[k, i] = response_i + window_k``, by weighted least squares.

    The windows' parts are shrunk by ``ridge`` and sum to zero, so that the mean grade stays what it is.
    """
    k, n = y.shape
    row, col = np.nonzero(np.isfinite(y) & (weight > 0))
    w = np.sqrt(weight[row, col])
    design = np.zeros((len(row) + k + 1, n + k))
    design[np.arange(len(row)), col] = w
    design[np.arange(len(row)), n + row] = w
    design[len(row) + np.arange(k), n + np.arange(k)] = np.sqrt(ridge)
    design[-1, n:] = 1e3
    target = np.concatenate([w * y[row, col], np.zeros(k + 1)])
    solved = np.linalg.lstsq(design, target, rcond=None)[0][:n]
    return np.where(np.isin(np.arange(n), col), solved, np.nan)


def weighted_mean(y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """float64 [n] mean of what the verdicts say; NaN where none does."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nansum(y * weight, axis=0) / weight.sum(0)

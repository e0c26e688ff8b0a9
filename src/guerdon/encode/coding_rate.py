"""How much room a set of vectors takes up, and a small core of it that takes up the most: maximal coding rate.

    R(X) = 1/2 log det(I + alpha X X'),   alpha = d / (n eps^2)

for unit vectors X [m, d]: the nats needed to code them up to an error eps. With ``n`` held fixed R is monotone and
submodular in the set, so adding the vector that raises R the most, again and again, is within 1 - 1/e of the best set
(Nemhauser et al. 1978). The gains are kept up to date by a Cholesky factor: O(n m^2) for m of n vectors, no determinant
is ever computed. Use it to choose rubrics, prompts, demonstrations or questions that are not all the same.

References: Ma et al. 2007, "Segmentation of multivariate mixed data via lossy data coding and compression"; Yu et al.
2020, arXiv:2006.08558 (maximal coding rate reduction); Xie et al. 2025, arXiv:2510.17314 (rubrics).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from guerdon.errors import BackendError, ConfigError

HOWS = ("greedy", "farthest", "random")


@dataclass(frozen=True)
class Core:
    """A chosen set.

    index  int64 [m] rows in the order in which they were chosen
    gain   float64 [m] nats that each added to the ones before it
    """

    index: np.ndarray
    gain: np.ndarray

    @property
    def rate(self) -> float:
        """R of the set, in nats."""
        return float(self.gain.sum())


def coding_rate(vectors: np.ndarray, *, eps: float = 0.1, n: int | None = None) -> float:
    """R of ``vectors`` [m, d] in nats; they are scaled to length 1. ``n`` None is m."""
    x = unit(vectors)
    if not len(x):
        return 0.0
    alpha = _alpha(x.shape[1], n or len(x), eps)
    return 0.5 * float(np.linalg.slogdet(np.eye(len(x)) + alpha * x @ x.T)[1])


def choose_core(
    vectors: np.ndarray,
    size: int,
    *,
    eps: float = 0.1,
    least: float = 0.0,
    how: str = "greedy",
    seed: int = 0,
) -> Core:
    """At most ``size`` of n vectors [n, d] that take up much room together. Rates and gains are those of n = ``size``.

    least  stop where the next one adds less than this share of what the first one added, 0 to 1
    how    greedy (exact), farthest (of a random 30% of the others the one farthest from the mean of the chosen: what
           the paper's code does for batches), or random
    seed   of the last two

    Raises :class:`~guerdon.errors.BackendError` for vectors of length zero (an encoder that failed).
    """
    if how not in HOWS:
        raise ConfigError(f"how={how!r}: use one of {', '.join(HOWS)}")
    if size < 1 or eps <= 0 or not 0 <= least <= 1:
        raise ConfigError(f"size={size}, eps={eps}, least={least}: use size >= 1, eps > 0 and least from 0 to 1")
    x = unit(vectors)
    if not len(x):
        return Core(np.zeros(0, np.int64), np.zeros(0))
    alpha = _alpha(x.shape[1], size, eps)  # of the size asked for, so that rates of smaller sets can be compared
    size = min(size, len(x))
    rng = np.random.default_rng(seed)
    # rows of `factor` are the columns L^-1 (alpha X_S x_c) of every candidate; `room` is det(S + c) / det(S)
    factor, room = np.zeros((size, len(x))), np.full(len(x), 1.0 + alpha)
    chosen: list[int] = []
    gain: list[float] = []
    for k in range(size):
        open_ = np.ones(len(x), dtype=bool)
        open_[chosen] = False
        at = _next(x, room, open_, chosen, how, rng)
        added = 0.5 * float(np.log(max(room[at], 1.0)))
        if k and added < least * gain[0]:
            break
        root = np.sqrt(room[at])
        new = (alpha * (x @ x[at]) - factor[:k].T @ factor[:k, at]) / root
        new[at] = root
        factor[k] = new
        room = room - new**2
        room[open_] = np.maximum(room[open_], 1.0)  # at least 1 but for rounding
        chosen.append(at)
        gain.append(added)
    return Core(np.array(chosen, dtype=np.int64), np.array(gain))


def unit(vectors: np.ndarray) -> np.ndarray:
    """float64 [n, d] of length 1; :class:`~guerdon.errors.BackendError` where a vector has no length."""
    x = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    bad = ~(np.isfinite(length) & (length > 1e-12))[:, 0]
    if bad.any():
        raise BackendError(
            f"{int(bad.sum())} of {len(x)} vectors have length zero or are not finite, first row "
            f"{int(np.flatnonzero(bad)[0])}: the encoder failed, or the texts are empty"
        )
    return x / length


def _next(
    x: np.ndarray, room: np.ndarray, open_: np.ndarray, chosen: list[int], how: str, rng: np.random.Generator
) -> int:
    rows = np.flatnonzero(open_)
    if how == "greedy":
        return int(rows[np.argmax(room[rows])])
    if how == "random" or not chosen:
        return int(rng.choice(rows))
    drawn = np.sort(rng.choice(rows, max(1, round(0.3 * len(rows))), replace=False))
    return int(drawn[np.argmax(np.linalg.norm(x[drawn] - x[chosen].mean(0), axis=1))])


def _alpha(d: int, n: int, eps: float) -> float:
    return d / (n * eps**2)

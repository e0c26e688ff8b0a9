"""The parts of :mod:`guerdon.reward.personal.components`: the decomposition, and what each person said, summed up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from guerdon.reward.learned.features import FeatureScaling

if TYPE_CHECKING:
    import pyarrow as pa


class OneScale(FeatureScaling):
    """Centres features and divides all of them by one number, so that the mean squared norm is 1.

    Components are directions of large variance: features standardised one by one would no longer say which those are.
    """

    def fit(self, x: np.ndarray, flag: np.ndarray | None = None) -> None:
        """Learn mean and scale from x [n, d]; one number for all features leaves nothing for ``flag`` to tell apart."""
        self.mean = x.mean(0, dtype=np.float64)
        total = float(np.sqrt(x.var(0, dtype=np.float64).sum()))
        self.scale = np.full(x.shape[1], 1.0 / total if total > 1e-6 else 0.0)


def principal(difference: np.ndarray, k: int, *, center: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """(unit components [d, k], largest variance first, and all d variances) of differences [n, d].

    Without centring the second moment is decomposed, in which the labels do not appear: (-D)(-D)' = D D'.
    """
    off = difference - difference.mean(0) if center else difference
    variance, vectors = np.linalg.eigh(off.T @ off / len(off))
    return vectors[:, ::-1][:, :k], np.maximum(variance[::-1], 0.0)


@dataclass(frozen=True)
class Standing:
    """What u people said, summed up so that more can be added; H = 1 + K heads before signs.

    votes int [u] comparisons; total, squares float [u, H] sums over their 2 x votes responses of each head's raw score
    and its square; loss float [u, 2 H] summed loss of each head, positive signs first
    """

    users: tuple[str, ...]
    votes: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    loss: np.ndarray

    COLUMNS = ("votes", "total", "squares", "loss")

    @cached_property
    def index(self) -> dict[str, int]:
        """Row of each person."""
        return {user: i for i, user in enumerate(self.users)}

    @classmethod
    def empty(cls, heads: int) -> Standing:
        """Nobody."""
        return cls((), np.zeros(0, np.int64), np.zeros((0, heads)), np.zeros((0, heads)), np.zeros((0, 2 * heads)))

    def take(self, rows: list[int]) -> Standing:
        """The people at ``rows``."""
        return Standing(tuple(self.users[i] for i in rows), *(getattr(self, name)[rows] for name in self.COLUMNS))

    def merged(self, other: Standing) -> Standing:
        """Everybody of both; rows of ``other`` win."""
        mine = self.take([i for i, user in enumerate(self.users) if user not in other.index])
        columns = [np.concatenate([getattr(mine, name), getattr(other, name)]) for name in self.COLUMNS]
        return Standing(mine.users + other.users, *columns)

    def to_arrow(self) -> pa.Table:
        """As an Arrow table."""
        import pyarrow as pa

        kind = pa.list_(pa.float64(), -1)
        columns = {name: pa.array(list(getattr(self, name)), kind) for name in self.COLUMNS[1:]}
        return pa.table({"user": pa.array(self.users, pa.string()), "votes": pa.array(self.votes), **columns})

    @classmethod
    def from_arrow(cls, table: pa.Table, heads: int) -> Standing:
        """From an Arrow table that :meth:`to_arrow` made of so many heads."""
        if not table.num_rows:
            return cls.empty(heads)
        columns = [np.array(table.column(name).to_pylist(), dtype=np.float64) for name in cls.COLUMNS[1:]]
        return cls(tuple(table.column("user").to_pylist()), np.array(table.column("votes").to_pylist(), int), *columns)

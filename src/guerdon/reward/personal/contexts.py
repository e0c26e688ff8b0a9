"""What people said as sets of comparisons: drawing contexts to train on, and keeping each person's.

A comparison becomes a token [chosen; rejected]: the order carries the verdict, whichever response was shown first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from guerdon.errors import ModelError
from guerdon.feedback.star import Pairs
from guerdon.reward.personal.selection import within_person

if TYPE_CHECKING:
    import pyarrow as pa


def chosen_first(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """(preferred candidate, other candidate) int [n] of comparisons without ties."""
    first = pairs.p > 0.5
    return np.where(first, pairs.a, pairs.b), np.where(first, pairs.b, pairs.a)


def question(pairs: Pairs) -> np.ndarray:
    """int64 [n] which two candidates each comparison is about, whichever came first."""
    low, high = np.minimum(pairs.a, pairs.b).astype(np.int64), np.maximum(pairs.a, pairs.b).astype(np.int64)
    return low * (int(high.max(initial=0)) + 1) + high


class ContextDraws:
    """Contexts of target comparisons: others by the same person, never one about the same two candidates.

    eligible  bool [n] which comparisons may stand in a context (a survey that many people answered, or all)
    """

    def __init__(self, pairs: Pairs, eligible: np.ndarray, seed: int) -> None:
        self.person = np.unique(pairs.user, return_inverse=True)[1]
        self.question, self.eligible = question(pairs), eligible
        position = within_person(pairs.user)
        width = int(position.max(initial=-1)) + 1
        self.table = np.full((int(self.person.max(initial=-1)) + 1, width), -1, dtype=np.int64)
        self.table[self.person, position] = np.arange(len(pairs))
        self.rng = np.random.default_rng(seed)

    def draw(self, targets: np.ndarray, most: int, empty: float) -> tuple[np.ndarray, np.ndarray]:
        """(comparisons int [b, most], which of them are there bool [b, most]) for ``targets`` [b].

        Lengths are uniform in 1..most; a share ``empty`` of the contexts has none.
        """
        here = self.table[self.person[targets]]
        barred = (here < 0) | ~self.eligible[here] | (self.question[here] == self.question[targets][:, None])
        key = np.where(barred, np.inf, self.rng.random(here.shape))
        most = min(most, here.shape[1])
        if most < here.shape[1]:
            least = np.argpartition(key, most - 1, axis=1)[:, :most]
        else:
            least = np.tile(np.arange(here.shape[1]), (len(here), 1))
        order = np.take_along_axis(least, np.argsort(np.take_along_axis(key, least, 1), axis=1), 1)
        length = self.rng.integers(1, most + 1, len(here)) * (self.rng.random(len(here)) >= empty)
        there = np.isfinite(np.take_along_axis(key, order, 1)) & (np.arange(most) < length[:, None])
        return np.where(there, np.take_along_axis(here, order, 1), 0), there


@dataclass(frozen=True)
class Posteriors:
    """What is known of u people: their embedded comparisons and the posterior that follows from them.

    mean, log_variance float64 [u, L]; votes int [u]; offsets int [u + 1]: person i owns ``tokens``
    [offsets[i]:offsets[i + 1]], float32 [m, width], oldest first. ``evidence`` float32 [u, b] of a bank of people
    (:mod:`.people_bank`), b = 0 where the posterior is the encoder's
    """

    users: tuple[str, ...]
    mean: np.ndarray
    log_variance: np.ndarray
    votes: np.ndarray
    offsets: np.ndarray
    tokens: np.ndarray
    evidence: np.ndarray

    @cached_property
    def index(self) -> dict[str, int]:
        """Row of each person."""
        return {user: i for i, user in enumerate(self.users)}

    @classmethod
    def empty(cls, latent: int, width: int, bank: int = 0) -> Posteriors:
        """Nobody."""
        none, tokens = np.zeros((0, latent)), np.zeros((0, width), dtype=np.float32)
        evidence = np.zeros((0, bank), dtype=np.float32)
        return cls((), none, none, np.zeros(0, np.int64), np.zeros(1, np.int64), tokens, evidence)

    def take(self, rows: np.ndarray) -> Posteriors:
        """The people at ``rows``."""
        size = np.diff(self.offsets)[rows]
        ends = np.concatenate([[0], np.cumsum(size)])
        flat = np.repeat(self.offsets[:-1][rows] - ends[:-1], size) + np.arange(ends[-1])
        users = tuple(self.users[i] for i in rows)
        columns = (self.mean[rows], self.log_variance[rows], self.votes[rows])
        return Posteriors(users, *columns, ends, self.tokens[flat], self.evidence[rows])

    def merged(self, other: Posteriors) -> Posteriors:
        """Everybody of both; rows of ``other`` win."""
        mine = self.take(np.array([i for i, user in enumerate(self.users) if user not in other.index], dtype=np.int64))
        return Posteriors(
            mine.users + other.users,
            np.concatenate([mine.mean, other.mean]),
            np.concatenate([mine.log_variance, other.log_variance]),
            np.concatenate([mine.votes, other.votes]),
            np.concatenate([mine.offsets, mine.offsets[-1] + other.offsets[1:]]),
            np.concatenate([mine.tokens, other.tokens]),
            np.concatenate([mine.evidence, other.evidence]),
        )

    def to_arrow(self) -> pa.Table:
        """As an Arrow table: user, votes, mean, log_variance, tokens (flattened), evidence where there is some."""
        import pyarrow as pa

        def rows(values: np.ndarray, kind: pa.DataType) -> pa.ListArray:
            offsets = np.arange(len(values) + 1) * values.shape[1]
            return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values.ravel(), kind))

        flat = pa.array(self.offsets * self.tokens.shape[1], pa.int64())
        tokens = pa.LargeListArray.from_arrays(flat, pa.array(self.tokens.ravel(), pa.float32()))
        columns = {
            "user": pa.array(self.users, pa.string()),
            "votes": pa.array(self.votes, pa.int64()),
            "mean": rows(self.mean, pa.float64()),
            "log_variance": rows(self.log_variance, pa.float64()),
            "tokens": tokens,
        }
        if self.evidence.shape[1]:
            columns["evidence"] = rows(self.evidence, pa.float32())
        return pa.table(columns)

    @classmethod
    def from_arrow(cls, table: pa.Table, latent: int, width: int, bank: int = 0) -> Posteriors:
        """From a table that :meth:`to_arrow` made for these sizes."""
        n = table.num_rows

        def flat(name: str) -> np.ndarray:
            return np.array(table.column(name).combine_chunks().flatten().to_numpy(zero_copy_only=False))

        mean, log_variance, tokens = (flat(name) for name in ("mean", "log_variance", "tokens"))
        lengths = np.diff(table.column("tokens").combine_chunks().offsets.to_numpy())
        if len(mean) != n * latent or len(log_variance) != n * latent or (lengths % width).any():
            raise ModelError(f"people.parquet does not fit a reward of {latent} latent dimensions; save it again")
        offsets = np.concatenate([[0], np.cumsum(lengths // width)])
        evidence = flat("evidence") if bank and "evidence" in table.column_names else np.zeros(n * bank)
        if len(evidence) != n * bank:
            raise ModelError(f"people.parquet does not fit a reward with a bank of {bank} people; save it again")
        return cls(
            tuple(table.column("user").to_pylist()),
            mean.astype(np.float64).reshape(n, latent),
            log_variance.astype(np.float64).reshape(n, latent),
            np.array(table.column("votes").to_pylist(), dtype=np.int64),
            offsets,
            tokens.astype(np.float32).reshape(-1, width),
            evidence.astype(np.float32).reshape(n, bank),
        )


def padded(values: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """([u, C, w] zero-padded rows, bool [u, C] which are there) of ragged ``values`` [m, w]."""
    size = np.diff(offsets)
    mask = np.arange(int(size.max(initial=0))) < size[:, None]
    out = np.zeros((*mask.shape, values.shape[1]), dtype=values.dtype)
    out[mask] = values
    return out, mask


def blocks(offsets: np.ndarray, most: int) -> list[np.ndarray]:
    """Rows of people, int, in blocks whose padded sets have at most about ``most`` tokens; equal sizes together."""
    size = np.diff(offsets)
    order = np.argsort(size, kind="stable")
    return np.array_split(order, max(1, -(-len(size) * int(size.max(initial=1)) // most)))

"""The people a personal reward knows, and the keys by which it knows candidates again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from guerdon.errors import ModelError
from guerdon.feedback.messages import Text, as_messages, as_text, pack
from guerdon.feedback.schema import Candidates

if TYPE_CHECKING:
    import pyarrow as pa

ADAPT_PAIRS = 300
"""Most pairs made from one person's separate ratings when their weights are solved: more add time, not knowledge."""


class PeopleTable:
    """What is known of each person: a Gaussian summary of their votes and the weights that follow from it.

    users [u]; weights [u, k]; center [u, k] and precision [u, k, k] of the quadratic summary (for free weights the
    center is the weights); votes int [u]
    """

    def __init__(
        self, users: tuple[str, ...], weights: np.ndarray, center: np.ndarray, precision: np.ndarray, votes: np.ndarray
    ) -> None:
        self.users, self.weights, self.center, self.precision, self.votes = users, weights, center, precision, votes
        self.index = {user: i for i, user in enumerate(users)}

    @classmethod
    def empty(cls, k: int) -> PeopleTable:
        """Nobody."""
        return cls((), np.zeros((0, k)), np.zeros((0, k)), np.zeros((0, k, k)), np.zeros(0, dtype=np.int64))

    def merged(self, other: PeopleTable) -> PeopleTable:
        """Everybody of both; rows of ``other`` win."""
        keep = np.array([user not in other.index for user in self.users], dtype=bool)
        users = tuple(user for user, k in zip(self.users, keep, strict=True) if k) + other.users
        columns = [
            np.concatenate([getattr(self, name)[keep], getattr(other, name)])
            for name in ("weights", "center", "precision", "votes")
        ]
        return PeopleTable(users, *columns)

    def before(
        self, users: Sequence[str], mean: np.ndarray, precision: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(center [n, k], precision [n, k, k], votes [n]) of ``users`` before they say more: of people known here their
        summaries, of others the prior ``mean`` [k] and ``precision`` [k, k] and no votes.
        """
        n, k = len(users), len(mean)
        center, spread = np.empty((n, k)), np.empty((n, k, k))
        center[:], spread[:] = mean, precision
        votes = np.zeros(n, dtype=np.int64)
        row = np.array([self.index.get(user, -1) for user in users], dtype=np.int64)
        known = row >= 0
        center[known], spread[known] = self.center[row[known]], self.precision[row[known]]
        votes[known] = self.votes[row[known]]
        return center, spread, votes

    def to_arrow(self) -> pa.Table:
        """As an Arrow table."""
        import pyarrow as pa

        flat = self.precision.reshape(len(self.users), self.weights.shape[1] ** 2)
        columns = {
            name: list(a) for name, a in (("weights", self.weights), ("center", self.center), ("precision", flat))
        }
        kind = pa.list_(pa.float64())
        return pa.table(
            {
                "user": pa.array(self.users, pa.string()),
                "votes": pa.array(self.votes, pa.int64()),
                **{name: pa.array(column, kind) for name, column in columns.items()},
            }
        )

    @classmethod
    def from_arrow(cls, table: pa.Table, k: int) -> PeopleTable:
        """From an Arrow table that :meth:`to_arrow` made for rank k."""
        n = table.num_rows

        def matrix(name: str, width: int) -> np.ndarray:
            values = np.array(table.column(name).combine_chunks().flatten().to_numpy(zero_copy_only=False))
            if len(values) != n * width:
                raise ModelError(f"people.parquet: column {name!r} does not fit a reward of rank {k}; save it again")
            return values.astype(np.float64).reshape(n, width)

        return cls(
            tuple(table.column("user").to_pylist()),
            matrix("weights", k),
            matrix("center", k),
            matrix("precision", k * k).reshape(n, k, k),
            np.array(table.column("votes").to_pylist(), dtype=np.int64),
        )


def candidate_keys(candidates: Candidates) -> np.ndarray:
    """int64 [n] content hash of each (prompt, response); a chat of one message is its text."""
    out = np.empty(len(candidates), dtype=np.int64)
    for i, c in enumerate(candidates):
        prompt, response = _plain(c.prompt, "user"), _plain(c.response, "assistant")
        content = f"{pack(prompt)}\x1f{pack(response)}".encode("utf-8", "surrogatepass")
        out[i] = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)
    return out


def _plain(text: Text, role: str) -> Text:
    if isinstance(text, str):
        return text
    plain = as_text(text)
    return plain if text == as_messages(plain, role) else text

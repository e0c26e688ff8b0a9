"""Embeddings of candidates whose skew-symmetric form is a preference, and everything that is asked of them.

    s(a over b) = sum_l lambda_l(x) (v_a[2l] v_b[2l + 1] - v_a[2l + 1] v_b[2l]) / tau,     P = sigmoid(s)

s(a, a) = 0 and s(a, b) = -s(b, a) by construction; 2k numbers a candidate represent any preference of rank 2k, and
Bradley-Terry is the block v = (r, constant). n candidates are encoded n times for all n^2 comparisons. There is no
score of a candidate alone, only one against opponents: a stored pool, others given to :meth:`EmbeddedPreference.score`,
or the other responses to the same prompt in :meth:`EmbeddedPreference.rank`. A mean score against opponents is linear
in their embeddings, so of the pool only its mean is kept.

Where the embeddings come from is the business of who subclasses :class:`EmbeddedPreference`: frozen features
(:mod:`guerdon.reward.learned.general_preference`), or a transformer trained with its head
(:mod:`guerdon.reward.learned.backbone_preference`).

Reference: Zhang et al. 2024, General Preference Modeling with Preference Representations for Aligning Language Models,
https://arxiv.org/abs/2410.02197
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from guerdon.errors import ConfigError, ModelError
from guerdon.feedback.messages import pack
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores
from guerdon.reward.learned.tournament import WINNERS

METHODS = ("score", *WINNERS)


@dataclass(frozen=True)
class Embedded:
    """Embeddings v float64 [n, 2k] and scales [n, k] of n candidates, in units of 1 / tau; NaN: could not be read.

    ``status`` and ``reason`` [n] are as in ``Scores``; empty where all could be read.
    """

    v: np.ndarray
    scales: np.ndarray
    status: Sequence[str] = ()
    reason: Sequence[str | None] = ()

    def take(self, rows: np.ndarray) -> Embedded:
        """The candidates at ``rows``."""
        status, reason = ([column[i] for i in rows] if len(column) else () for column in (self.status, self.reason))
        return Embedded(self.v[rows], self.scales[rows], status, reason)  # type: ignore[arg-type]

    @property
    def readable(self) -> np.ndarray:
        """bool [n]: which have an embedding."""
        return np.asarray(np.isfinite(np.concatenate([self.v, self.scales], axis=1)).all(axis=1))

    @property
    def scaled(self) -> tuple[np.ndarray, np.ndarray]:
        """(even, odd) coordinates [n, k], each by the root of its scale: the form is then without scales."""
        root = np.sqrt(self.scales)
        return self.v[:, 0::2] * root, self.v[:, 1::2] * root

    def table(self, other: Embedded | None = None) -> np.ndarray:
        """float64 [n, m] scores of these over ``other`` (over each other: exactly antisymmetric)."""
        even, odd = self.scaled
        if other is None:
            half = even @ odd.T
            return half - half.T
        return even @ other.scaled[1].T - odd @ other.scaled[0].T

    def against(self, other: Embedded) -> np.ndarray:
        """float64 [n] score of each over its counterpart; exactly antisymmetric."""
        (even, odd), (even_b, odd_b) = self.scaled, other.scaled
        return np.sum(even * odd_b, axis=1) - np.sum(even_b * odd, axis=1)

    def against_mean(self, pooled: np.ndarray) -> np.ndarray:
        """float64 [n] mean score over opponents of the mean embedding ``pooled`` [2k], asked by one's own prompt."""
        even, odd = pooled[0::2], pooled[1::2]
        return np.sum(self.scales * (self.v[:, 0::2] * odd - self.v[:, 1::2] * even), axis=1)

    def scores(self, value: np.ndarray) -> Scores:
        """``value`` [n] as Scores that say what could not be read."""
        return Scores(value, self.status, self.reason)


class EmbeddedPreference(Reward):
    """A reward that compares by preference embeddings. Subclasses give :meth:`embed`, ``settings`` and ``pooled``."""

    settings: dict[str, Any]
    pooled: np.ndarray
    """float64 [2k] mean embedding of the stored pool of opponents; empty where none is kept"""

    @property
    def tau(self) -> float:
        """Temperature of the scores."""
        tau = self.settings["tau"]
        return float(tau) if tau != "auto" else 0.1 if self.settings["normalize"] else 1.0

    def embed(self, candidates: Candidates) -> Embedded:
        """Embeddings and scales of candidates, each encoded once."""
        raise TypeError(f"{type(self).__name__} does not implement embed")

    def table(self, candidates: Candidates) -> np.ndarray:
        """float64 [n, n] log-odds s(i over j) of all comparisons, from n encodings; exactly antisymmetric."""
        return self.embed(candidates).table()

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a[i] preferred to b[i])."""
        left, right = self.embed(a), self.embed(b)
        value = expit(left.against(right))
        if not len(left.status) and not len(right.status):
            return Scores(value)
        one, other = left.scores(left.against(left)), right.scores(right.against(right))
        status = [s if s != "scored" else t for s, t in zip(one.status, other.status, strict=True)]
        return Scores(value, status, [s or t for s, t in zip(one.reason, other.reason, strict=True)])

    def prefer_at(self, candidates: Candidates, a: np.ndarray, b: np.ndarray, users: list[str | None]) -> np.ndarray:
        """float64 [n]: :meth:`prefer` of the rows a and b, int [n], of ``candidates``; the same for everybody."""
        embedded = self.embed(candidates)
        return expit(embedded.take(a).against(embedded.take(b)))

    def score(self, candidates: Candidates, vs: Candidates | None = None) -> Scores:
        """Mean log-odds of each candidate against opponents: ``vs`` (those of its prompt, if any), or the stored pool.

        It orders candidates by how they do against these opponents; where preferences run in circles, others would
        order them otherwise.

        Raises
        ------
        ModelError
            without opponents: no ``vs`` given and no pool stored
        """
        if vs is None:
            if not len(self.pooled):
                raise ModelError(
                    "a general preference has no score of a candidate alone, only against others: give "
                    "score(candidates, vs=opponents), use prefer() or rank(), or fit with pool=512"
                )
            mine = self.embed(candidates)
            return mine.scores(mine.against_mean(self.pooled))
        mine, theirs = self.embed(candidates), self.embed(vs)
        known = theirs.readable
        if not known.any():
            raise ModelError("vs= holds no opponents; give at least one candidate")
        scores, asked = mine.table(theirs), np.array([pack(p) for p in vs.prompts], dtype=object)
        value = np.empty(len(candidates))
        for i, prompt in enumerate(candidates.prompts):
            same = known & (asked == pack(prompt))
            value[i] = scores[i, same if same.any() else known].mean()
        return mine.scores(value)

    def rank(self, candidates: Candidates) -> Scores:
        """By the setting ``method``, of each prompt's candidates among themselves: mean score against the others,
        or their probability in the von Neumann winner, their Borda or their Copeland score."""
        embedded, value = self.embed(candidates), np.full(len(candidates), np.nan)
        asked = np.unique(np.array([pack(p) for p in candidates.prompts], dtype=object), return_inverse=True)[1]
        known = embedded.readable
        for group in range(int(asked.max(initial=-1)) + 1):
            rows = np.flatnonzero((asked == group) & known)
            if not len(rows):
                continue
            table = embedded.take(rows).table()
            if self.settings["method"] == "score":
                value[rows] = table.sum(1) / max(len(rows) - 1, 1)
            else:
                value[rows] = WINNERS[self.settings["method"]](expit(table))
        return embedded.scores(value)


def check_embedding(dim: int, tau: Any, method: str) -> None:
    """Refuse settings that make no embedding, each with what to use instead."""
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < 2 or dim % 2:
        raise ConfigError(f"dim={dim}: preference embeddings come in blocks of two; use an even number >= 2")
    if tau != "auto" and not (isinstance(tau, int | float) and tau > 0):
        raise ConfigError(f"tau={tau!r}: use a number > 0 or 'auto'")
    if method not in METHODS:
        raise ConfigError(f"method={method!r} is unknown; use one of {', '.join(METHODS)}")

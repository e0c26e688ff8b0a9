"""Confidence intervals by the cluster bootstrap: whole prompts, or whole people, are drawn again with replacement.

Judgements of one prompt (or one person) resemble each other, so judgements are not the unit of chance: clusters are
[1]_. A figure here is a ratio of sums, ``sum_i num_i / sum_i den_i``. With the cluster sums N_c, D_c and the
multinomial counts W [r, c] of r replicates, all replicates are one matrix product: ``(W N) / (W D)``, milliseconds for
1,000 replicates whatever the number of judgements. One W serves every figure of an evaluation, so figures of two
rewards on the same pairs are compared replicate by replicate (a paired difference). Intervals are percentile intervals.

References
----------
.. [1] Field, Welsh. Bootstrapping clustered data. JRSS B 69 (2007). https://doi.org/10.1111/j.1467-9868.2007.00593.x
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.star import Feedback

By = Literal["auto", "prompt", "user", "judgement"]
UNITS = {"prompt": "prompts", "user": "people", "judgement": "judgements"}

FEWEST = 10
"""With fewer clusters than this a cluster bootstrap says nothing; judgements are drawn instead, with a note."""

MOST = 4096
"""More clusters than this are first pooled at random into so many groups: same interval, bounded time and memory."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure with its interval; all NaN where nothing could be measured.

    ``n`` is what it was measured on (pairs, lists, groups or people), ``clusters`` how many of the units that the
    bootstrap draws have a part in it. ``low`` and ``high`` are NaN with fewer than two clusters.
    """

    value: float
    low: float
    high: float
    n: int
    clusters: int

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "-"
        return f"{self.value:.3f}" if np.isnan(self.low) else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def to_dict(self) -> dict[str, float | int | None]:
        """JSON-ready; NaN becomes None."""
        number = {k: None if np.isnan(v) else float(v) for k in ("value", "low", "high") for v in [getattr(self, k)]}
        return {**number, "n": self.n, "clusters": self.clusters}


def wilson(rate: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a rate in [0, 1] seen in ``n`` independent trials, few or many.

    Wilson (1927), JASA 22: https://doi.org/10.1080/01621459.1927.10502953
    """
    if n < 1:
        return np.nan, np.nan
    z = NormalDist().inv_cdf(0.5 + level / 2)
    middle, half = rate + z * z / (2 * n), z * np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return float(max((middle - half) / scale, 0.0)), float(min((middle + half) / scale, 1.0))


class ClusterBootstrap:
    """Replicate weights of ``clusters`` clusters, drawn once and used for every figure.

    Parameters
    ----------
    clusters : how many clusters there are; units are given to the methods with cluster codes in [0, clusters)
    replicates : r, how many replicates
    seed : seeds the draw; the same seed gives the same intervals
    level : coverage of the intervals
    """

    def __init__(self, clusters: int, *, replicates: int = 1000, seed: int = 0, level: float = 0.95) -> None:
        if replicates < 0:
            raise ConfigError(f"bootstrap={replicates}: use a number of replicates >= 0 (0 = no intervals)")
        rng = np.random.default_rng(seed)
        self.clusters = clusters
        self.level = level
        self.seed = seed
        self.groups = min(clusters, MOST)
        self.group_of = rng.permutation(clusters) % self.groups if clusters > MOST else np.arange(clusters)
        # counts of a multinomial draw of size G over G cells: the same distribution as rng.multinomial, 10x faster
        self.weights = np.empty((replicates, self.groups), dtype=np.float64)
        for r in range(replicates):
            self.weights[r] = np.bincount(rng.integers(0, self.groups, self.groups), minlength=self.groups)

    def like(self, clusters: int) -> ClusterBootstrap:
        """Another of so many clusters with the same settings."""
        return ClusterBootstrap(clusters, replicates=len(self.weights), seed=self.seed, level=self.level)

    def sums(self, cluster: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(totals [k], replicate totals [r, k]) of ``values`` [n, k] whose units belong to ``cluster`` [n]."""
        group, present = self._groups_of(cluster)
        columns = [np.bincount(group, weights=column, minlength=len(present)) for column in values.T]
        return values.sum(0), self._weights_of(present) @ np.stack(columns, axis=1)

    def cell_sums(self, cluster: np.ndarray, cell: np.ndarray, cells: int, values: np.ndarray) -> np.ndarray:
        """Replicate totals [r, cells] of ``values`` [n] by the ``cell`` (int [n] in [0, cells)) of each unit."""
        group, present = self._groups_of(cluster)
        table = np.bincount(group * cells + cell, weights=values, minlength=len(present) * cells)
        return self._weights_of(present) @ table.reshape(len(present), cells)

    def _groups_of(self, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(dense codes [n], the drawn groups they stand for): parts of the data pay for their own clusters only."""
        group = self.group_of[cluster]
        present = np.flatnonzero(np.bincount(group, minlength=self.groups))
        if len(present) < self.groups:
            dense = np.zeros(self.groups, dtype=np.int64)
            dense[present] = np.arange(len(present))
            group = dense[group]
        return group, present

    def _weights_of(self, present: np.ndarray) -> np.ndarray:
        return self.weights if len(present) == self.groups else self.weights[:, present]

    def ratio(self, cluster: np.ndarray, numerator: np.ndarray, denominator: np.ndarray | None = None) -> Figure:
        """``sum(numerator) / sum(denominator)`` over units [n] with its interval; a mean without ``denominator``."""
        value, replicates, n, clusters = self._ratio(cluster, numerator, denominator)
        return self.figure(value, replicates, n, clusters)

    def difference(
        self, cluster: np.ndarray, first: np.ndarray, second: np.ndarray, denominator: np.ndarray | None = None
    ) -> Figure:
        """Paired difference ``first - second`` of two figures measured on the same units [n]."""
        return self.ratio(cluster, first - second, denominator)

    def figure(self, value: float, replicates: np.ndarray, n: int, clusters: int) -> Figure:
        """The figure ``value`` with the percentile interval of ``replicates`` [r]."""
        good = replicates[~np.isnan(replicates)]
        if clusters < 2 or not len(good):
            return Figure(float(value), np.nan, np.nan, n, clusters)
        tail = (1 - self.level) / 2
        low, high = np.quantile(good, [tail, 1 - tail])
        return Figure(float(value), float(low), float(high), n, clusters)

    def _ratio(
        self, cluster: np.ndarray, numerator: np.ndarray, denominator: np.ndarray | None
    ) -> tuple[float, np.ndarray, int, int]:
        bottom = np.ones(len(cluster)) if denominator is None else denominator.astype(np.float64)
        counted = bottom != 0
        total, again = self.sums(cluster, np.stack([numerator.astype(np.float64), bottom], axis=1))
        with np.errstate(invalid="ignore", divide="ignore"):
            value = total[0] / total[1] if total[1] else np.nan
            replicates = np.where(again[:, 1] != 0, again[:, 0] / again[:, 1], np.nan)
        present = np.zeros(self.clusters, dtype=bool)
        present[cluster[counted]] = True
        return float(value), replicates, int(counted.sum()), int(present.sum())


@dataclass(frozen=True)
class Clusters:
    """The unit of chance of an evaluation: ``code`` int64 [J] of each judgement, how many, their name, a remark."""

    code: np.ndarray
    count: int
    unit: str
    note: str | None = None


def cluster_options(feedback: Feedback, by: By = "auto") -> list[Clusters]:
    """Clusters of the judgements of ``feedback``: one, or for ``auto`` each that has ten clusters or more.

    by  ``prompt``, ``user`` (an anonymous judgement is a person of its own), ``judgement``, or ``auto``: prompts and
        people, of which the evaluation takes the one with the wider intervals. With fewer than ten clusters judgements
        are resampled instead, and the note says so.

    Raises
    ------
    ConfigError
        if ``by`` is unknown, or ``user`` of feedback that names nobody
    """
    if by not in ("auto", *UNITS):
        raise ConfigError(f"by={by!r}: intervals are over one of auto, {', '.join(UNITS)}")
    single = clusters_of(feedback, "judgement")
    if by == "judgement":
        return [single]
    named = bool((feedback.user >= 0).any())
    if by == "user" and not named:
        raise ConfigError("by='user': this feedback names no people; use by='prompt' or name the column of people")
    options, few = [], []
    for unit in ("prompt", "user"):
        if by not in ("auto", unit) or (unit == "user" and not named):
            continue
        clusters = clusters_of(feedback, unit)
        if clusters.count < FEWEST:
            few.append(f"{clusters.count} {clusters.unit}")
            continue
        if clusters.count < 3 * FEWEST:
            note = f"only {clusters.count} {clusters.unit}: intervals are likely too narrow"
            clusters = replace(clusters, note=note)
        options.append(clusters)
    if options:
        return options
    note = f"only {' and '.join(few)}: intervals are over judgements, as if these were independent, and too narrow"
    return [replace(single, note=note)]


def clusters_of(feedback: Feedback, unit: str) -> Clusters:
    """The judgements of ``feedback`` by ``prompt``, by ``user`` (anonymous ones apart), or each its own."""
    if unit == "judgement":
        return Clusters(np.arange(len(feedback)), len(feedback), UNITS[unit])
    codes = feedback.judgement_prompt if unit == "prompt" else _people(feedback)
    code = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    return Clusters(code, int(code.max(initial=-1)) + 1, UNITS[unit])


def _people(feedback: Feedback) -> np.ndarray:
    """Person codes [J]; every anonymous judgement is a person of its own."""
    own = len(feedback.users) + np.arange(len(feedback))
    return np.where(feedback.user >= 0, feedback.user, own)

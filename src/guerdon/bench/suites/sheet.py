"""The items of a suite by subset, what each earned, and the suite's own summary of it with intervals.

All figures of a suite are functions of its subsets' rates. One set of bootstrap replicates over whole prompts gives
replicate rates, the suite's own summary is applied to each replicate, and so weights, sections and matrices have
intervals without a formula of their own; the difference to a baseline is taken replicate by replicate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from guerdon.bench.intervals import ClusterBootstrap, Figure, wilson
from guerdon.bench.suites.result import Baseline
from guerdon.bench.suites.suite import FEW, Cells, Table


@dataclass(frozen=True)
class Sheet:
    """The items of a suite and what they earned: codes int [I], ``subset`` codes into ``names``, ``credit`` [I]."""

    cluster: np.ndarray
    subset: np.ndarray
    names: tuple[str, ...]
    credit: np.ndarray

    def cells(self, draw: ClusterBootstrap) -> Cells:
        """Row 0 what was earned, the others replicates; items without credit are left out."""
        counted = ~np.isnan(self.credit)
        cluster, subset, s = self.cluster[counted], self.subset[counted], len(self.names)
        both = []
        for values in (self.credit[counted], np.ones(int(counted.sum()))):
            once = np.bincount(subset, weights=values, minlength=s)[None]
            both.append(np.concatenate([once, draw.cell_sums(cluster, subset, s, values)]))
        return Cells(self.names, *both)

    def rates(self, draw: ClusterBootstrap, cells: Cells) -> dict[str, Figure]:
        """The mean credit of each subset by name; ``cells`` are those of this sheet by ``draw``."""
        rows = zip(self.names, cells.rate.T, strict=True)
        return {name: rate_of(draw, row, self, self.subset == i) for i, (name, row) in enumerate(rows)}

    def items(self, ids: Sequence[str]) -> dict[str, list[Any]]:
        """Every item with what it earned, as a result keeps it; ``ids`` [I]."""
        return {
            "id": list(ids),
            "subset": [self.names[k] for k in self.subset.tolist()],
            "prompt": self.cluster.tolist(),
            "credit": [None if np.isnan(c) else float(c) for c in self.credit],
        }


class Summed(Protocol):
    """Whatever sums up subsets: a suite, or a study."""

    @property
    def summary(self) -> Callable[[Cells], Table]:
        """Cells to the figures by name, the first one is the headline."""
        ...


def against(
    name: str,
    what: str,
    draw: ClusterBootstrap,
    suite: Summed,
    mine: Sheet,
    theirs: Sheet,
    rows: Mapping[str, np.ndarray],
) -> Baseline:
    """A baseline on the same items, with the differences to it replicate by replicate."""
    their_rows = suite.summary(theirs.cells(draw))
    figures = {k: figure_of(draw, row, theirs) for k, row in their_rows.items()}
    gap = {k: figure_of(draw, rows[k] - row, mine) for k, row in their_rows.items()}
    return Baseline(name, what, figures, gap)


def figure_of(draw: ClusterBootstrap, row: np.ndarray, sheet: Sheet, inside: np.ndarray | None = None) -> Figure:
    """A replicated figure of the items (those ``inside``) with its interval."""
    counted = ~np.isnan(sheet.credit) if inside is None else inside & ~np.isnan(sheet.credit)
    return draw.figure(float(row[0]), row[1:], int(counted.sum()), len(np.unique(sheet.cluster[counted])))


def rate_of(draw: ClusterBootstrap, row: np.ndarray, sheet: Sheet, inside: np.ndarray) -> Figure:
    """A subset's mean credit. Where it counts rights and wrongs of few prompts, or all are the same, it has Wilson's
    interval: a bootstrap's is too short there.
    """
    found = figure_of(draw, row, sheet, inside)
    credit = sheet.credit[inside]
    counts = bool(np.isin(credit[~np.isnan(credit)], (0.0, 1.0)).all())
    if not counts or not len(draw.weights) or not (found.clusters < FEW or found.value in (0.0, 1.0)):
        return found
    low, high = wilson(found.value, found.clusters, draw.level)
    return replace(found, low=low, high=high)

"""How much a judge of lists prefers places: what a response gets in a place, less what it gets on average.

Every response that was shown in several places is its own control: the residuals ``y - mean of the response`` against
its place, from 0 (first) to 1 (last), both centred within the response.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PlaceBias:
    """Sums over lists that were asked in several orders.

    lists         lists that were
    first, last   sum of residuals in the first and in the last place, and (``firsts``, ``lasts``) how many
    xx, yy, xy    sums of place^2, residual^2 and place x residual, all centred within a response
    """

    lists: float = 0
    first: float = 0.0
    firsts: float = 0
    last: float = 0.0
    lasts: float = 0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0

    def add(self, y: np.ndarray, shown: Sequence[Sequence[int]]) -> PlaceBias:
        """With one more list: ``y`` float64 [k, n] verdicts by response (NaN = not shown), ``shown`` as shown."""
        if len(shown) < 2 or y.shape[1] < 2:
            return self
        place = np.full_like(y, np.nan)
        for row, order in enumerate(shown):
            place[row, list(order)] = np.arange(len(order)) / max(len(order) - 1, 1)
        known = np.isfinite(y)
        count = np.maximum(known.sum(0), 1)
        dy = np.where(known, y - np.where(known, y, 0).sum(0) / count, 0.0)
        dx = np.where(known, place - np.where(known, place, 0).sum(0) / count, 0.0)
        first, last = known & (place == 0), known & (place == 1)
        more = (1, dy[first].sum(), first.sum(), dy[last].sum(), last.sum(), (dx**2).sum(), (dy**2).sum())
        sums = [a + float(b) for a, b in zip(vars(self).values(), (*more, (dx * dy).sum()), strict=True)]
        return PlaceBias(*sums)

    @property
    def at_first(self) -> float:
        """What the first place adds to a response's value, on the judge's scale; NaN without lists."""
        return self.first / self.firsts if self.firsts else math.nan

    @property
    def at_last(self) -> float:
        """What the last place adds."""
        return self.last / self.lasts if self.lasts else math.nan

    @property
    def towards_first(self) -> float:
        """In [-1, 1]: minus the correlation of a response's value with its place; 0 = no place is preferred."""
        if not self.lists:
            return math.nan
        return -self.xy / math.sqrt(self.xx * self.yy) if self.xx > 1e-12 and self.yy > 1e-12 else 0.0

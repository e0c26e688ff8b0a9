"""Several rewards on one suite, item by item: differences with intervals, adjusted for how many are compared.

A difference of headlines is taken within each bootstrap replicate of whole prompts, so that what makes a prompt easy
for both cancels. ``p`` is McNemar's exact test of the items that one of the two gets right and the other does not; with
unequal weights of subsets it can disagree with the difference, and then the difference is what the suite asks about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from guerdon.bench.intervals import ClusterBootstrap, Figure
from guerdon.bench.significance import detectable, holm, mcnemar
from guerdon.bench.suites.result import SuiteResult
from guerdon.bench.suites.sheet import Sheet, Summed
from guerdon.errors import ConfigError


@dataclass(frozen=True)
class Difference:
    """``first`` minus ``second``: of the headline with its interval, items won and lost, p as it is and adjusted."""

    first: str
    second: str
    headline: Figure
    wins: int
    losses: int
    p: float
    adjusted: float
    detectable: float

    @property
    def verdict(self) -> str:
        """Which one is better, if that can be said."""
        if self.adjusted < 0.05 and (self.headline.low > 0 or self.headline.high < 0):
            return self.first if self.headline.value > 0 else self.second
        return "cannot be told apart"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**vars(self), "headline": self.headline.to_dict(), "verdict": self.verdict}


def compare(
    suite: Summed, results: Sequence[SuiteResult], *, bootstrap: int = 1000, seed: int = 0
) -> tuple[list[SuiteResult], list[Difference]]:
    """(results, the best headline first; every two of them compared).

    Raises
    ------
    ConfigError
        if the results are not of the same suite and the same data, or two have the same name
    """
    if len(results) < 2:
        raise ConfigError("compare needs two results or more")
    first = results[0]
    for other in results[1:]:
        if other.suite != first.suite:
            raise ConfigError(f"{other.reward} was measured on {other.suite}, {first.reward} on {first.suite}")
        if other.settings.get("data") != first.settings.get("data"):
            raise ConfigError(f"{other.reward} and {first.reward} were measured on different data of {first.suite}")
    names = [r.reward for r in results]
    if len(set(names)) < len(names):
        raise ConfigError(f"two results are of a reward called {max(names, key=names.count)}; give them other names")
    ranked = sorted(results, key=lambda r: -np.nan_to_num(r.headline[1].value, nan=-np.inf))
    prompt = np.asarray(first.items["prompt"], dtype=np.int64)
    table, subset = np.unique(np.array(first.items["subset"], dtype=object).astype(str), return_inverse=True)
    draw = ClusterBootstrap(int(prompt.max(initial=-1)) + 1, replicates=bootstrap, seed=seed)
    credit = {r.reward: np.array([np.nan if c is None else c for c in r.items["credit"]]) for r in ranked}
    row = {}
    for name, mine in credit.items():
        summary = suite.summary(Sheet(prompt, subset, tuple(table.tolist()), mine).cells(draw))
        row[name] = next(iter(summary.values()))
    pairs = list(combinations([r.reward for r in ranked], 2))
    tests = [mcnemar(credit[a], credit[b]) for a, b in pairs]
    adjusted = holm(np.array([p for _, _, p in tests]))
    out = []
    for (a, b), (wins, losses, p), corrected in zip(pairs, tests, adjusted, strict=True):
        gap = row[a] - row[b]
        both = ~np.isnan(credit[a]) & ~np.isnan(credit[b])
        figure = draw.figure(float(gap[0]), gap[1:], int(both.sum()), len(np.unique(prompt[both])))
        least = detectable(float(np.nanstd(gap[1:]))) if len(gap) > 1 else np.nan
        out.append(Difference(a, b, figure, wins, losses, p, float(corrected), least))
    return ranked, out

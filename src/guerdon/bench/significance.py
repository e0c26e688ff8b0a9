"""Is one reward better than another on the same items? Paired tests, several comparisons at once, what could be seen.

``mcnemar``       exact test of the items that only one of two gets right (binomial, two-sided)
``holm``          p-values adjusted so that the chance of any false claim in the family stays below the level
``detectable``    smallest true difference that a comparison of this size finds with 80 % power

References
----------
McNemar 1947. Note on the sampling error of the difference between correlated proportions. Psychometrika 12.
Holm 1979. A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import binomtest, norm


def mcnemar(first: np.ndarray, second: np.ndarray) -> tuple[int, int, float]:
    """(items that only the first gets right, only the second, two-sided exact p) of credits [n]; NaN are left out.

    Credits between 0 and 1 count by which of the two is larger.
    """
    gap = (first - second)[~np.isnan(first) & ~np.isnan(second)]
    wins, losses = int((gap > 0).sum()), int((gap < 0).sum())
    if wins + losses == 0:
        return 0, 0, 1.0
    return wins, losses, float(binomtest(wins, wins + losses).pvalue)


def holm(p: np.ndarray) -> np.ndarray:
    """float64 [m] adjusted p-values, in the given order: ``max over smaller ones of (m - rank) p``, at most 1."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.minimum(np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]), 1.0)
    out = np.empty(len(p))
    out[order] = adjusted
    return out


def detectable(standard_error: float, level: float = 0.05, power: float = 0.8) -> float:
    """The true difference that a two-sided test at ``level`` finds with probability ``power``."""
    return float((norm.ppf(1 - level / 2) + norm.ppf(power)) * standard_error)

r"""Quality of a mixture of labels, predicted from how many human-labelled instances have each property.

``linear``     ridge on scaled counts, its penalty by leave-one-out error in closed form
``quadratic``  the same with squares and products of the counts
``boosted``    gradient-boosted trees (scikit-learn's, by histograms)
``auto``       whichever has the least error in five folds of the mixtures

What a human label is worth to an instance with properties e (its *gain*) is

    linear     sum_j coefficient_j e_j
    quadratic  f(e) - f(0)
    boosted    mean over mixtures c that were tried of f(c + s e) - f(c), s the standard deviations of the counts: trees
               are flat between their cuts, and one instance alone crosses none

Reference: Miranda et al. (2024), Hybrid Preferences, https://arxiv.org/abs/2410.19133 (linear, quadratic, LightGBM).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from guerdon.errors import ConfigError

PREDICTORS = ("linear", "quadratic", "boosted")
PENALTIES = tuple(10.0**k for k in np.arange(-3, 5.1, 0.5))
FOLDS = 5
REFERENCES = 40
"""Mixtures over which the gain of trees is averaged."""


class Predictor(Protocol):
    """Counts of properties to the quality of a mixture."""

    @property
    def kind(self) -> str:
        """One of ``PREDICTORS``."""
        ...

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """float64 [m] predicted quality of ``counts`` [m, J]."""
        ...

    def gain(self, has: np.ndarray) -> np.ndarray:
        """float64 [n] predicted gain of a human label for instances with properties ``has`` [n, J]."""
        ...


def fit_predictor(counts: np.ndarray, quality: np.ndarray, kind: str = "linear") -> Predictor:
    """From m mixtures: ``counts`` [m, J], ``quality`` [m].

    Raises
    ------
    ConfigError
        if the kind is unknown
    """
    if kind == "auto":
        kind = min(PREDICTORS, key=lambda k: _fold_error(counts, quality, k))
    if kind not in PREDICTORS:
        raise ConfigError(f"predictor={kind!r} is unknown; use one of {', '.join(PREDICTORS)}, or auto")
    return Boosted.fit(counts, quality) if kind == "boosted" else Ridge.fit(counts, quality, kind)


def _fold_error(counts: np.ndarray, quality: np.ndarray, kind: str) -> float:
    fold = np.random.default_rng(len(quality)).permutation(len(quality)) % FOLDS
    error = np.empty(len(quality))
    for f in range(FOLDS):
        here = fold == f
        error[here] = fit_predictor(counts[~here], quality[~here], kind)(counts[here]) - quality[here]
    return float(np.mean(error**2))


@dataclass(frozen=True)
class Ridge:
    """Ridge regression on scaled counts [J], or on them with squares and products."""

    kind: str
    mean: np.ndarray
    scale: np.ndarray
    coefficients: np.ndarray
    intercept: float
    l2: float

    @classmethod
    def fit(cls, counts: np.ndarray, quality: np.ndarray, kind: str = "linear") -> Ridge:
        """From m mixtures; the penalty by leave-one-out error, in closed form."""
        mean, sd = counts.mean(0), counts.std(0)
        scale = np.where(sd > 0, 1 / np.where(sd > 0, sd, 1.0), 0.0)
        x = _expand((counts - mean) * scale, kind)
        center = x.mean(0)
        u, s, vt = np.linalg.svd(x - center, full_matrices=False)
        y = quality - quality.mean()
        projected, best = u.T @ y, (np.inf, 1.0)
        for l2 in PENALTIES:
            shrink = s**2 / (s**2 + l2)
            left = 1 - (u**2 @ shrink) - 1 / len(y)
            error = float(np.mean(((y - u @ (shrink * projected)) / np.maximum(left, 1e-6)) ** 2))
            best = min(best, (error, l2))
        l2 = best[1]
        coefficients = vt.T @ (s / (s**2 + l2) * projected)
        return cls(kind, mean, scale, coefficients, float(quality.mean() - center @ coefficients), l2)

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """float64 [m] predicted quality of ``counts`` [m, J]."""
        return _expand((counts - self.mean) * self.scale, self.kind) @ self.coefficients + self.intercept

    def gain(self, has: np.ndarray) -> np.ndarray:
        """float64 [n] predicted gain of a human label for instances with properties ``has`` [n, J]."""
        rows, at = _distinct(has)
        return (self(rows) - self(np.zeros((1, has.shape[1]))))[at]


def _expand(x: np.ndarray, kind: str) -> np.ndarray:
    if kind == "linear":
        return x
    i, j = np.triu_indices(x.shape[1])
    return np.concatenate([x, x[:, i] * x[:, j]], 1)


def _distinct(has: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(distinct rows as float64, which of them each row is)."""
    rows, at = np.unique(has, axis=0, return_inverse=True)
    return rows.astype(np.float64), at.ravel()


@dataclass(frozen=True)
class Boosted:
    """Gradient-boosted trees on counts [J]; ``references`` [r, J] are mixtures that were tried, ``step`` [J] the sd."""

    model: Any
    references: np.ndarray
    step: np.ndarray
    kind: str = "boosted"

    @classmethod
    def fit(cls, counts: np.ndarray, quality: np.ndarray) -> Boosted:
        """From m mixtures; trees of at most 8 leaves, stopped on a tenth of the mixtures where there are 100."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        model = HistGradientBoostingRegressor(
            learning_rate=0.05,
            max_iter=300,
            max_leaf_nodes=8,
            min_samples_leaf=max(3, min(20, len(quality) // 20)),
            early_stopping=len(quality) >= 100,  # pyright: ignore[reportArgumentType]
            random_state=0,
        )
        some = np.random.default_rng(0).permutation(len(counts))[:REFERENCES]
        return cls(model.fit(counts, quality), counts[some], counts.std(0))

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """float64 [m] predicted quality of ``counts`` [m, J]."""
        return self.model.predict(counts)

    def gain(self, has: np.ndarray) -> np.ndarray:
        """float64 [n] predicted gain of a human label for instances with properties ``has`` [n, J]."""
        rows, at = _distinct(has)
        before = self(self.references).mean()
        out = np.empty(len(rows))
        size = max(1, 200_000 // len(self.references))
        for lo in range(0, len(rows), size):
            part = rows[lo : lo + size, None] * self.step + self.references[None]
            out[lo : lo + size] = self(part.reshape(-1, part.shape[2])).reshape(part.shape[:2]).mean(1) - before
        return out[at]

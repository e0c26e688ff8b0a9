"""Rates with intervals over prompts: bootstrap intervals, and exact ones where a rate is 0 or 1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from guerdon.bench.intervals import ClusterBootstrap, Figure


def rate(draw: ClusterBootstrap, cluster: np.ndarray, values: np.ndarray) -> Figure:
    """The mean of ``values`` [n], NaN left out; exact where it is 0 or 1."""
    counted = ~np.isnan(values)
    return exact(draw, draw.ratio(cluster, np.nan_to_num(values), counted.astype(np.float64)))


def exact(draw: ClusterBootstrap, figure: Figure) -> Figure:
    """A rate of 0 or 1 with the exact interval of so many prompts, every other figure as it is."""
    if figure.value not in (0.0, 1.0) or not figure.clusters or not len(draw.weights):
        return figure
    bound = 1 - ((1 - draw.level) / 2) ** (1 / figure.clusters)  # Clopper and Pearson of 0 in so many prompts
    low, high = (0.0, bound) if figure.value == 0 else (1 - bound, 1.0)
    return replace(figure, low=low, high=high)

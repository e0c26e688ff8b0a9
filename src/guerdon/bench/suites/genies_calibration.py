"""How far what is said of pairs is from what is so: RMS over bins of the probability, with replicates over prompts.

The order of every pair is thrown by the authors' seed, so that saying always yes is no calibration: with the throw l,
p = P(first preferred) is P(right preferred) or 1 less it. Over five bins b of p with at least 20 pairs

    RMS = sqrt(mean_b (mean l in b - mean p in b)^2)

``compat`` compares every bin with the mean throw of all pairs, as the authors' code does, which makes every sure and
right answer an error.

Reference: Clymer et al. 2023, Generalization Analogies, https://arxiv.org/abs/2311.07723
"""

from __future__ import annotations

import random

import numpy as np

from guerdon.bench.intervals import ClusterBootstrap

BINS, FEWEST, SEED = 5, 20, 42


def rms_calibration(right: np.ndarray, *, compat: bool = False) -> float:
    """The error of P(right response preferred) [D], NaN entries left out; NaN where no bin is full."""
    return float(replicated_rms(right, np.arange(len(right)), None, compat=compat)[0])


def replicated_rms(
    right: np.ndarray, cluster: np.ndarray, draw: ClusterBootstrap | None, *, compat: bool = False
) -> np.ndarray:
    """float64 [1 + r] the error of ``right`` [D], then of each replicate that draws whole ``cluster`` int [D]."""
    known = ~np.isnan(right)
    said, label = thrown(right[known])
    cluster = cluster[known]
    inside = np.minimum((said * BINS).astype(np.int64), BINS - 1)

    def sums(values: np.ndarray) -> np.ndarray:
        once = np.bincount(inside, weights=values, minlength=BINS)[None]
        return once if draw is None else np.concatenate([once, draw.cell_sums(cluster, inside, BINS, values)])

    count, so, p = sums(np.ones(len(said))), sums(label), sums(said)
    full = count >= FEWEST
    with np.errstate(invalid="ignore", divide="ignore"):
        truth = np.broadcast_to((so.sum(1) / count.sum(1))[:, None], so.shape) if compat else so / count
        gap = np.where(full, (truth - p / count) ** 2, 0.0)
        return np.where(full.any(1), np.sqrt(gap.sum(1) / full.sum(1)), np.nan)


def thrown(right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P(first preferred) [D], 1.0 where the first is the right one [D]) with the order thrown as the authors do."""
    draw = random.Random(SEED)
    label = np.array([draw.choice([0, 1]) for _ in right], dtype=np.float64)
    return np.where(label == 1, right, 1 - right), label

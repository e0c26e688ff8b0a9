"""Figures of merit of predicted preferences, vectorised.

Notation: n pairs; ``p`` [n] what people said, P(a preferred) in [0, 1], 1/2 = tie; ``q`` [n] what the reward says,
P(a preferred) in [0, 1]; ``w`` [n] >= 0 weights. Unscored pairs (NaN in ``q``) are taken out by the caller, who shows
their count; a NaN that gets here comes out as NaN.

Ties. A pair on which people tie is no question with a right answer: it is left out of accuracy (and counted), and
scored in log-loss, Brier and calibration with the outcome 1/2. A pair on which the reward ties (q = 1/2 exactly) is
half right.

Every figure except the calibration error is a ratio of sums; :func:`pair_terms` gives the terms, so that means,
intervals, groups and paired differences all come from the same numbers.

References
----------
.. [1] Brier. Verification of forecasts expressed in terms of probability. Monthly Weather Review 78 (1950).
.. [2] Nguyen, O'Connor. Posterior calibration and exploratory analysis (equal-mass bins). EMNLP 2015.
   https://arxiv.org/abs/1508.05154
.. [3] Kendall. The treatment of ties in ranking problems (tau-b). Biometrika 33 (1945).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EPSILON = 1e-12
"""Probabilities are kept this far from 0 and 1 in the log-loss: one certain mistake costs 27.6 nats, not infinity."""

PAIR_METRICS = ("accuracy", "log_loss", "brier")


def correct(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """float64 [n]: 1 where the reward prefers what people prefer, 1/2 where it ties, 0 else (true ties: 0)."""
    truth, said = np.sign(p - 0.5), np.sign(q - 0.5)
    return np.where(truth == 0, 0.0, np.where(said == 0, 0.5, (truth == said).astype(np.float64)))


def cross_entropy(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """float64 [n], nats: ``-p log q - (1 - p) log(1 - q)``."""
    safe = np.clip(q, EPSILON, 1 - EPSILON)
    return -(p * np.log(safe) + (1 - p) * np.log1p(-safe))


def pair_terms(p: np.ndarray, q: np.ndarray, w: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(numerator [n], denominator [n]) of accuracy, log_loss (nats) and brier; a figure is the ratio of the sums."""
    return {
        "accuracy": (w * correct(p, q), w * (p != 0.5)),
        "log_loss": (w * cross_entropy(p, q), w),
        "brier": (w * (q - p) ** 2, w),
    }


def ratio(terms: tuple[np.ndarray, np.ndarray]) -> float:
    """The figure of one entry of :func:`pair_terms`; NaN if nothing counts."""
    bottom = float(terms[1].sum())
    return float(terms[0].sum()) / bottom if bottom else float("nan")


# ---------------------------------------------------------------------------------------------------- calibration


def fold(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(outcome [n], confidence [n] in [1/2, 1]) seen from the side that the reward prefers.

    Which candidate is called a is arbitrary; folded, swapping a and b changes nothing. Where the reward ties, both
    orientations count half: the outcome is 1/2.
    """
    outcome = np.where(q > 0.5, p, np.where(q < 0.5, 1 - p, 0.5))
    return outcome, np.maximum(q, 1 - q)


def equal_mass_bins(confidence: np.ndarray, w: np.ndarray, bins: int = 15) -> np.ndarray:
    """int64 [n] bin of each confidence, ascending; bins hold about equal weight, equal confidences share a bin."""
    if not len(confidence):
        return np.zeros(0, dtype=np.int64)
    order = np.argsort(confidence, kind="stable")
    mass = np.cumsum(w[order])
    cuts = mass[-1] * np.arange(1, bins) / bins
    edges = np.unique(confidence[order][np.minimum(np.searchsorted(mass, cuts), len(order) - 1)])
    code = np.searchsorted(edges, confidence, side="left")
    return np.unique(code, return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class Calibration:
    """Bins of a reliability curve, ascending: weight, mean confidence and mean outcome of each [b]."""

    bin_of: np.ndarray
    weight: np.ndarray
    confidence: np.ndarray
    outcome: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: weighted mean absolute gap; NaN without data."""
        total = self.weight.sum()
        return float((self.weight * np.abs(self.outcome - self.confidence)).sum() / total) if total else float("nan")

    @property
    def bias(self) -> float:
        """Mean confidence minus mean outcome: > 0 is overconfident, < 0 underconfident."""
        total = self.weight.sum()
        return float((self.weight * (self.confidence - self.outcome)).sum() / total) if total else float("nan")


def calibration(p: np.ndarray, q: np.ndarray, w: np.ndarray, bins: int = 15) -> Calibration:
    """The reliability curve of folded predictions in equal-mass bins."""
    outcome, confidence = fold(p, q)
    code = equal_mass_bins(confidence, w, bins)
    count = int(code.max(initial=-1)) + 1
    weight = np.bincount(code, weights=w, minlength=count)
    safe = np.where(weight > 0, weight, 1.0)
    return Calibration(
        bin_of=code,
        weight=weight,
        confidence=np.bincount(code, weights=w * confidence, minlength=count) / safe,
        outcome=np.bincount(code, weights=w * outcome, minlength=count) / safe,
    )


# ---------------------------------------------------------------------------------------------------- groups of scores


def group_ranks(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """float64 [n] rank of each value within its group, from 1; equal values share their mean rank."""
    order = np.lexsort((values, group))
    v, g = values[order], group[order]
    new_group = np.r_[True, g[1:] != g[:-1]] if len(g) else np.zeros(0, bool)
    new_run = new_group | np.r_[True, v[1:] != v[:-1]] if len(g) else new_group
    position = np.arange(len(g))
    group_start = np.maximum.accumulate(np.where(new_group, position, 0))
    run = np.cumsum(new_run) - 1
    run_start = np.flatnonzero(new_run)
    run_end = np.r_[run_start[1:], len(g)] - 1
    out = np.empty(len(g))
    out[order] = (run_start[run] + run_end[run]) / 2 - group_start + 1
    return out


def spearman(score: np.ndarray, grade: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """float64 [groups] Spearman correlation of score and grade within each group.

    ``group`` int [n] in [0, groups). NaN where a group has fewer than three members or all its grades are equal
    (nothing to agree with); 0 where all its scores are equal (a constant reward knows no order).
    """
    x, y = group_ranks(score, group), group_ranks(grade, group)
    n = np.bincount(group, minlength=groups).astype(np.float64)
    centre = (n + 1) / 2
    dx, dy = x - centre[group], y - centre[group]
    xx, yy, xy = (np.bincount(group, weights=v, minlength=groups) for v in (dx * dx, dy * dy, dx * dy))
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.where(xx > 0, xy / np.sqrt(xx * yy), 0.0)
    return np.where((n >= 3) & (yy > 0), rho, np.nan)


def best_of_n(score: np.ndarray, grade: np.ndarray, group: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """(hit [groups], chance [groups]): does the top-scored candidate have the top grade?

    Candidates tied at the top share the choice: the hit is the share of them with the top grade. ``chance`` is the
    share of all candidates with the top grade, what a blind pick hits. NaN where all grades are equal.
    """
    top_score, top_grade = (_group_max(v, group, groups) for v in (score, grade))
    chosen = score == top_score[group]
    best = grade == top_grade[group]
    n = np.bincount(group, minlength=groups)
    good = np.bincount(group, weights=best, minlength=groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        hit = np.bincount(group, weights=chosen & best, minlength=groups) / np.bincount(group, chosen, groups)
        chance = good / n
    undecided = (good == n) | (n < 2)
    return np.where(undecided, np.nan, hit), np.where(undecided, np.nan, chance)


def kendall_tau(score_gap: np.ndarray, grade_gap: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """float64 [groups] Kendall's tau-b within each group from the signs of the gaps of all its pairs [n].

    NaN where all grades of a group are equal; 0 where all its scores are.
    """
    x, y = np.sign(score_gap), np.sign(grade_gap)
    s, nx, ny = (np.bincount(group, weights=v, minlength=groups) for v in (x * y, np.abs(x), np.abs(y)))
    with np.errstate(invalid="ignore", divide="ignore"):
        tau = np.where(nx > 0, s / np.sqrt(nx * ny), 0.0)
    return np.where(ny > 0, tau, np.nan)


def _group_max(values: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    out = np.full(groups, -np.inf)
    np.maximum.at(out, group, values)
    return out

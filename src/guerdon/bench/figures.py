"""Figures of merit with their intervals: where :mod:`metrics` and :mod:`intervals` meet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.bench.intervals import ClusterBootstrap, Figure
from guerdon.bench.metrics import PAIR_METRICS, calibration, fold, pair_terms


@dataclass(frozen=True)
class Answers:
    """n answered pairs: ``p`` what people said, ``q`` what a reward says, ``w`` weights, ``cluster`` codes; all [n]."""

    p: np.ndarray
    q: np.ndarray
    w: np.ndarray
    cluster: np.ndarray

    def __len__(self) -> int:
        return len(self.p)

    def take(self, rows: np.ndarray) -> Answers:
        """The answers at ``rows`` (indices or a mask)."""
        return Answers(self.p[rows], self.q[rows], self.w[rows], self.cluster[rows])


def pair_figures(
    bootstrap: ClusterBootstrap, answers: Answers, metrics: Iterable[str] = PAIR_METRICS
) -> dict[str, Figure]:
    """Accuracy, log-loss (nats) and Brier score with intervals, by name."""
    terms = pair_terms(answers.p, answers.q, answers.w)
    return {name: bootstrap.ratio(answers.cluster, *terms[name]) for name in metrics}


def pair_differences(
    bootstrap: ClusterBootstrap, answers: Answers, other: np.ndarray, metrics: Iterable[str] = PAIR_METRICS
) -> dict[str, Figure]:
    """Paired differences, figure of ``answers.q`` minus figure of ``other`` [n], on the same pairs, by name."""
    mine, theirs = (pair_terms(answers.p, q, answers.w) for q in (answers.q, other))
    return {m: bootstrap.difference(answers.cluster, mine[m][0], theirs[m][0], mine[m][1]) for m in metrics}


def calibration_figures(
    bootstrap: ClusterBootstrap, answers: Answers, bins: int = 15
) -> tuple[dict[str, Figure], list[dict[str, Any]]]:
    """(figures, reliability curve) of folded predictions in equal-mass bins.

    ``ece``             expected calibration error; an average of absolute values is never 0 in a finite sample, so
    ``ece_by_chance``   says what a perfectly calibrated reward would show here: the gaps' own sampling noise s_b gives
                        E|N(0, s_b)| = s_b sqrt(2 / pi), averaged like the error itself
    ``overconfidence``  mean confidence minus how often it is right; negative = underconfident

    The curve has one row a bin: ``confidence``, ``outcome``, ``low``, ``high`` (interval of the outcome), ``n``.
    """
    curve = calibration(answers.p, answers.q, answers.w, bins)
    b, n = len(curve.weight), len(answers)
    if not b:
        nothing = Figure(np.nan, np.nan, np.nan, 0, 0)
        return {"ece": nothing, "ece_by_chance": nothing, "overconfidence": nothing}, []
    outcome, confidence = fold(answers.p, answers.q)
    columns = (answers.w, answers.w * confidence, answers.w * outcome)
    weight, sum_confidence, sum_outcome = (
        bootstrap.cell_sums(answers.cluster, curve.bin_of, b, values) for values in columns
    )
    gap = sum_outcome - sum_confidence
    with np.errstate(invalid="ignore", divide="ignore"):
        total = weight.sum(1)
        ece = np.abs(gap).sum(1) / total
        over = -gap.sum(1) / total
        outcomes = sum_outcome / weight
        noise = np.nanstd(gap / weight, axis=0) if len(weight) else np.full(b, np.nan)
    clusters = len(np.unique(answers.cluster))
    share = curve.weight / curve.weight.sum()
    chance = float((share * noise).sum() * np.sqrt(2 / np.pi)) if clusters > 1 else np.nan
    figures = {
        "ece": bootstrap.figure(curve.ece, ece, n, clusters),
        "ece_by_chance": Figure(chance, np.nan, np.nan, n, clusters),
        "overconfidence": bootstrap.figure(curve.bias, over, n, clusters),
    }
    count = np.bincount(curve.bin_of, minlength=b)
    points = []
    for i in range(b):
        band = bootstrap.figure(curve.outcome[i], outcomes[:, i], int(count[i]), clusters)
        row = {"confidence": float(curve.confidence[i]), "outcome": band.value, "low": band.low, "high": band.high}
        points.append({**row, "n": int(count[i])})
    return figures, points

r"""How well scores rank the images (or responses) of one prompt by binary labels of several people, prompt by prompt.

The protocol of TIA2 [1]_: an item is positive where most of its raters say so, one who says nothing (NaN, -1 in the
published labels) among them; AUROC, area under precision and recall, precision of the first k, Spearman's and Kendall's
correlation within each prompt; the mean over the prompts that have both classes. Pooling the items of all prompts would
ask another question: scores of different prompts need not be comparable.

Raters: Fleiss' kappa [2]_ of the items that all of them labelled, and the ceiling, the AUROC of the other raters' mean
against each rater left out.

References
----------
.. [1] Kim et al. 2024. Confidence-aware reward optimization (TextNorm, TIA2). https://arxiv.org/abs/2404.01863
.. [2] Fleiss. 1971. Measuring nominal scale agreement among many raters. https://doi.org/10.1037/h0031619
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import kendalltau, rankdata, spearmanr

from guerdon.bench.judge_agreement import fleiss
from guerdon.errors import FeedbackError

FIRST = (5, 10, 25)
"""k of the precisions that TIA2 reports."""


def majority(labels: np.ndarray) -> np.ndarray:
    """bool [n] whether more than half of the raters of ``labels`` [n, raters] say yes; NaN is none."""
    labels = _labels(labels)
    return (labels == 1).sum(1) > labels.shape[1] / 2


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Share of (positive, negative) pairs in the right order, ties half; NaN where a class is missing."""
    positive = np.asarray(positive, dtype=bool)
    p, n = int(positive.sum()), int((~positive).sum())
    if not p or not n:
        return float("nan")
    return float((rankdata(score)[positive].sum() - p * (p + 1) / 2) / (p * n))


def auprc(score: np.ndarray, positive: np.ndarray) -> float:
    """Mean precision at the positives (average precision), items of equal score taken together; NaN without any."""
    score, positive = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=bool)
    if not positive.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])
    hits = np.cumsum(positive[order])[last]
    return float((np.diff(np.r_[0, hits]) * hits / (last + 1)).sum() / positive.sum())


def average_precision(score: np.ndarray, positive: np.ndarray, k: int) -> float:
    """AP@k: the mean of the precision at each positive among the first ``k``; 0 where there is none among them."""
    order = np.argsort(-np.asarray(score, dtype=np.float64), kind="stable")[:k]
    hit = np.asarray(positive, dtype=bool)[order]
    precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    return float(precision[hit].mean()) if hit.any() else 0.0


def within_prompts(score: np.ndarray, labels: np.ndarray, prompt: Sequence[str] | np.ndarray) -> dict[str, float]:
    """The means over prompts of each measure, and how many ``prompts`` they are of.

    score   float64 [n]
    labels  0, 1 or NaN [n, raters]
    prompt  [n] what an item belongs to; prompts whose items are all positive or all negative are left out

    Raises
    ------
    FeedbackError
        if a score is missing, or no prompt has both classes
    """
    score, positive = np.asarray(score, dtype=np.float64), majority(labels)
    if score.shape != positive.shape or len(prompt) != len(score):
        raise FeedbackError(f"{len(score)} scores, labels of {len(positive)} items, prompts of {len(prompt)}")
    if np.isnan(score).any():
        raise FeedbackError(f"{int(np.isnan(score).sum())} scores are missing; score those items or leave them out")
    measures: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"auroc": auroc, "auprc": auprc}
    measures |= {f"ap{k}": lambda s, p, k=k: average_precision(s, p, k) for k in FIRST}
    measures |= {"spearman": lambda s, p: _correlation(spearmanr, s, p)}
    measures |= {"kendall": lambda s, p: _correlation(kendalltau, s, p)}
    rows = []
    for _, at in _prompts(prompt):
        if 0 < positive[at].sum() < len(at):
            rows.append([measure(score[at], positive[at]) for measure in measures.values()])
    if not rows:
        raise FeedbackError("no prompt has both positive and negative items")
    return {**dict(zip(measures, np.mean(rows, axis=0).tolist(), strict=True)), "prompts": float(len(rows))}


def kappa(labels: np.ndarray) -> float:
    """Fleiss' kappa of the items of ``labels`` [n, raters] without NaN: agreement beyond chance, 1 is perfect.

    NaN where there is no such item, or all say the same.
    """
    labels = _labels(labels)
    labels = labels[~np.isnan(labels).any(1)]
    return fleiss(labels) if len(labels) and np.ptp(labels) else float("nan")


def ceiling(labels: np.ndarray, prompt: Sequence[str] | np.ndarray) -> float:
    """AUROC of the mean of the other raters for each rater, within prompts; mean over raters of means over prompts."""
    labels = _labels(labels)
    groups, means = _prompts(prompt), []
    for rater in range(labels.shape[1]):
        given = labels[:, rater]
        others = np.delete(labels, rater, axis=1)
        known = ~np.isnan(given) & ~np.isnan(others).all(1)
        others = np.nansum(others, axis=1) / np.maximum((~np.isnan(others)).sum(1), 1)
        found = np.array([auroc(others[at[known[at]]], given[at[known[at]]] == 1) for _, at in groups])
        means.append(found[~np.isnan(found)].mean() if not np.isnan(found).all() else np.nan)
    return float(np.mean(means))


def _prompts(prompt: Sequence[str] | np.ndarray) -> list[tuple[str, np.ndarray]]:
    names, code = np.unique(np.asarray(prompt), return_inverse=True)
    order = np.argsort(code, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(code))[:-1])
    return list(zip(names.tolist(), parts, strict=True))


def _correlation(of: Callable[..., Any], score: np.ndarray, positive: np.ndarray) -> float:
    """Equal scores rank nothing: their correlation is 0, not undefined."""
    return 0.0 if np.ptp(score) == 0 else float(of(score, positive)[0])


def _labels(labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels, dtype=np.float64)
    if labels.ndim != 2 or labels.shape[1] < 2 or not (np.isin(labels, (0.0, 1.0)) | np.isnan(labels)).all():
        raise FeedbackError(f"labels: expected 0, 1 or NaN of two raters or more, [items, raters]; got {labels.shape}")
    return labels

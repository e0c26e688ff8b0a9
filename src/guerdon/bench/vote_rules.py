r"""Scoring rules of multimodal reward benchmarks: K votes an item, and ties by a threshold.

*VL-RewardBench* [1]_ asks a judge K times an item, the answers' order drawn anew each time. More than half of the K
votes decide; otherwise the item is ``other``. ``official`` leaves those out; ``strict`` counts them as lost, and
``half`` as half, because leaving them out rewards a judge that refuses.

*Omni-RewardBench* [2]_ lets people say tie. A score says tie where the gap is at most a threshold. With ties: all
verdicts that agree over all items. Without: of the items whose label is no tie, agreements over all of them.

References
----------
.. [1] Li et al. 2024. VLRewardBench. https://arxiv.org/abs/2411.17451
.. [2] Jin et al. 2025. Omni-Reward. https://arxiv.org/abs/2510.23451
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guerdon.errors import FeedbackError

GROUPS = {
    "general": ("vlfeedback", "wildvision"),
    "hallucination": ("povid", "hallucination_", "rlaif-v", "rlhf-v"),
    "reasoning": ("mathverse", "mmmu"),
}
"""Group of VL-RewardBench -> what an item's id or source begins with."""


def group_of(name: str) -> str:
    """The group of an item by its id or source; ``hallucination_`` is POVID's.

    Raises
    ------
    FeedbackError
        if no group has it
    """
    small = name.lower()
    for group, starts in GROUPS.items():
        if small.startswith(starts):
            return group
    known = ", ".join(s for v in GROUPS.values() for s in v)
    raise FeedbackError(f"item {name[:60]!r}: of none of the sources {known}")


def verdicts(votes: np.ndarray) -> np.ndarray:
    """float64 [I] 1 right, 0 wrong, NaN other, of ``votes`` [I, K]: 1 right, 0 wrong, NaN not parsed."""
    votes = np.asarray(votes, dtype=np.float64)
    if votes.ndim != 2 or not votes.shape[1]:
        raise FeedbackError(f"votes: expected [items, votes], got {votes.shape}")
    half = votes.shape[1] / 2
    right, wrong = (votes == 1).sum(1) > half, (votes == 0).sum(1) > half
    return np.where(right, 1.0, np.where(wrong, 0.0, np.nan))


def accuracy(votes: np.ndarray, groups: Sequence[str]) -> dict[str, dict[str, float]]:
    """``official``, ``strict``, ``half``: accuracy of each group, ``overall`` over items, ``macro`` over groups."""
    said, label = verdicts(votes), np.array(groups, dtype=object)
    if len(label) != len(said):
        raise FeedbackError(f"votes of {len(said)} items, groups of {len(label)}")
    out = {}
    for name, credit in (("official", said), ("strict", np.nan_to_num(said)), ("half", np.nan_to_num(said, nan=0.5))):
        table = {str(g): _mean(credit[label == g]) for g in dict.fromkeys(groups)}
        out[name] = {**table, "overall": _mean(credit), "macro": float(np.mean(list(table.values())))}
    return out


def _mean(credit: np.ndarray) -> float:
    counted = credit[~np.isnan(credit)]
    return float(counted.mean()) if len(counted) else float("nan")


def with_ties(gap: np.ndarray, label: np.ndarray, threshold: float) -> float:
    """Share of items whose verdict is the label (1, 0 a tie, -1), a tie where ``|gap| <= threshold``."""
    said = np.where(np.abs(gap) <= threshold, 0.0, np.sign(gap))
    return float((said == label).mean())


def without_ties(gap: np.ndarray, label: np.ndarray, threshold: float = 0.0) -> float:
    """Of the items whose label is no tie, the share that is said rightly; a said tie is wrong."""
    strict = np.asarray(label) != 0
    if not strict.any():
        raise FeedbackError("without ties: every label is a tie")
    return with_ties(np.asarray(gap)[strict], np.asarray(label)[strict], threshold)


def best_threshold(gap: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """(threshold, accuracy with ties) that is highest on these items, by one sweep in order of ``|gap|``.

    Items of equal ``|gap|`` are called ties together. The smallest of equally good thresholds; -1 calls none a tie.
    """
    gap, label = np.asarray(gap, dtype=np.float64), np.asarray(label)
    if not len(gap) or np.isnan(gap).any():
        raise FeedbackError("threshold of ties: needs items, all of them scored")
    size = np.abs(gap)
    order = np.argsort(size, kind="stable")
    change = (label == 0).astype(int) - ((np.sign(gap) == label) & (gap != 0))
    first = int(((np.sign(gap) == label) & (gap != 0)).sum())  # at -1 an equal score is no verdict
    correct = first + np.cumsum(change[order])
    last = np.flatnonzero(np.r_[size[order][1:] != size[order][:-1], True])
    best = int(np.argmax(correct[last]))
    if first >= correct[last[best]]:
        return -1.0, first / len(gap)
    return float(size[order][last[best]]), float(correct[last[best]] / len(gap))


def cross_fitted(gap: np.ndarray, label: np.ndarray, *, folds: int = 5, seed: int = 0) -> float:
    """Accuracy with ties, each fold at the threshold that the other folds chose: not tuned on what it measures."""
    gap, label = np.asarray(gap, dtype=np.float64), np.asarray(label)
    if len(gap) < folds:
        raise FeedbackError(f"threshold of ties: {len(gap)} items are too few for {folds} folds")
    fold = np.random.default_rng(seed).permutation(len(gap)) % folds
    right = 0.0
    for k in range(folds):
        threshold, _ = best_threshold(gap[fold != k], label[fold != k])
        right += with_ties(gap[fold == k], label[fold == k], threshold) * (fold == k).sum()
    return right / len(gap)

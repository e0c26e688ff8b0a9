r"""Scoring rules of multimodal reward benchmarks: K votes an item, and ties by a threshold.

*VL-RewardBench* [1]_ asks a judge K times an item, the answers' order drawn anew each time. More than half of the K
votes decide; otherwise the item is ``other``. ``official`` leaves those out; ``strict`` counts them as lost, and
``half`` as half, because leaving them out rewards a judge that refuses. :func:`replayed` takes the votes from a log of
the published script.

*Omni-RewardBench* [2]_ lets people say tie. A score says tie where the gap is at most a threshold. With ties: all
verdicts that agree over all items. Without: of the items whose label is no tie, agreements over all of them.

References
----------
.. [1] Li et al. 2024. VLRewardBench. https://arxiv.org/abs/2411.17451
.. [2] Jin et al. 2025. Omni-Reward. https://arxiv.org/abs/2510.23451
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from guerdon.errors import FeedbackError

SOURCES = {
    "hallucination": "POVID",
    "rlaif": "RLAIF-V",
    "rlhf": "RLHF-V",
    "mathverse": "MathVerse",
    "mmmu": "MMMU-Pro",
    "wildvision": "WildVision",
}
"""What a VL-RewardBench item's id begins with, up to the first - or _ -> its source; all others are VLFeedback's, whose
ids begin with the names of its own sources."""
GROUPS = {
    "VLFeedback": "general",
    "WildVision": "general",
    "POVID": "hallucination",
    "RLAIF-V": "hallucination",
    "RLHF-V": "hallucination",
    "MathVerse": "reasoning",
    "MMMU-Pro": "reasoning",
}
"""Source of a VL-RewardBench item -> its group."""
VERDICT = re.compile(
    r"(?:Overall Judgment|Therefore)\s*.*\s*-*\s*Answer\s*(\d+)\s*is\s*(?:the\s*)?(?:slightly\s*)?better", re.IGNORECASE
)
"""How the published script finds a verdict in a reply without line breaks and asterisks."""


def source_of(name: str) -> str:
    """The source of an item by its id, as in the published script: ``hallucination_pair-3`` is POVID's."""
    return SOURCES.get(re.split("[-_]", name, maxsplit=1)[0].lower(), "VLFeedback")


def group_of(name: str) -> str:
    """The group of an item by its id: general, hallucination or reasoning."""
    return GROUPS[source_of(name)]


def replayed(rows: Sequence[Mapping[str, Any]], calls: int) -> tuple[np.ndarray, list[str]]:
    """(votes [I, calls] as :func:`verdicts` takes them, group of each item [I]) of a log of the published script.

    A row is one call: ``id, query, response, ranking`` (0 the better) and ``meta`` with ``random_number`` (1: the
    answers were shown swapped) and the reply ``filter_choice``. Ids repeat: an item is its id, query and responses.

    Raises
    ------
    FeedbackError
        if an item has fewer than ``calls`` rows; of more the first ones count
    """
    votes: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        votes.setdefault((row["id"], row["query"], *sorted(row["response"])), []).append(_vote(row))
    for key, found in votes.items():
        if len(found) < calls:
            raise FeedbackError(f"log: item {key[0]!r} has {len(found)} calls of {calls}; ask it again or take fewer")
    return np.array([found[:calls] for found in votes.values()]), [group_of(key[0]) for key in votes]


def _vote(row: Mapping[str, Any]) -> float:
    match = VERDICT.search(str(row["meta"]["filter_choice"]).replace("\n", "").replace("*", ""))
    if match is None:
        return np.nan
    worse_shown = list(row["ranking"]).index(0 if row["meta"]["random_number"] else 1) + 1
    return float(int(match[1]) != worse_shown)


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


def said_of(gap: np.ndarray, threshold: float) -> np.ndarray:
    """float64 [n] verdicts 1, 0 (a tie, where ``|gap| <= threshold``) or -1; NaN where there is no tie and no gap."""
    return np.where(np.abs(gap) <= threshold, 0.0, np.where(gap == 0, np.nan, np.sign(gap)))


def with_ties(gap: np.ndarray, label: np.ndarray, threshold: float) -> float:
    """Share of items whose verdict is the label (1, 0 a tie, -1), a tie where ``|gap| <= threshold``."""
    return float((said_of(np.asarray(gap), threshold) == label).mean())


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
    return float(cross_fitted_credit(gap, label, folds=folds, seed=seed).mean())


def cross_fitted_credit(gap: np.ndarray, label: np.ndarray, *, folds: int = 5, seed: int = 0) -> np.ndarray:
    """float64 [n] 1 where the verdict is the label, each fold at the threshold that the other folds chose."""
    gap, label = np.asarray(gap, dtype=np.float64), np.asarray(label)
    if len(gap) < folds:
        raise FeedbackError(f"threshold of ties: {len(gap)} items are too few for {folds} folds")
    fold = np.random.default_rng(seed).permutation(len(gap)) % folds
    credit = np.empty(len(gap))
    for k in range(folds):
        here = fold == k
        threshold, _ = best_threshold(gap[~here], label[~here])
        credit[here] = said_of(gap[here], threshold) == label[here]
    return credit

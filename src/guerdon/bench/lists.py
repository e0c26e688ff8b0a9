"""Figures of whole lists: best-of-n and Kendall's tau of judged lists, Spearman of one person's ratings of a prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from guerdon.bench.intervals import ClusterBootstrap, Clusters, Figure
from guerdon.bench.metrics import best_of_n, kendall_tau, spearman
from guerdon.bench.scoring import distinct, only_compares, predict_items, predict_pairs, win_counts
from guerdon.feedback.schema import SCALES
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.base import Reward


@dataclass(frozen=True)
class Lists:
    """The judged lists of three or more responses: ``row`` [l] judgement, figures [l] by list, NaN = not counted."""

    row: np.ndarray
    hit: np.ndarray
    chance: np.ndarray
    tau: np.ndarray
    scored: np.ndarray


def measure_lists(reward: Reward, feedback: Feedback, pairs: Pairs, q: np.ndarray) -> Lists:
    """Best-of-n and tau of each judgement of three or more responses; ``q`` [n] is what the reward says of ``pairs``.

    A list with an unscored response is unscored. A reward that only compares ranks by its expected number of wins.
    """
    row = np.flatnonzero(feedback.sizes >= 3)
    if not len(row):
        none = np.zeros(0)
        return Lists(row, none, none, none, none.astype(bool))
    own = feedback.take(row)
    group = np.repeat(np.arange(len(row)), own.sizes)
    list_of = np.full(len(feedback), -1)
    list_of[row] = np.arange(len(row))
    inside = list_of[pairs.judgement] >= 0
    mine, said = pairs.take(inside), q[inside]
    at = list_of[mine.judgement]
    if only_compares(reward):
        score = _tournament(reward, own, group)
    else:
        n = own.sizes
        score = predict_items(reward, feedback, own.items, np.repeat(own.user, n), np.repeat(own.criterion, n)).value
    missing = np.isnan(score) | np.isnan(own.grades)
    scored = np.bincount(group, weights=missing, minlength=len(row)) == 0
    hit, chance = best_of_n(np.where(missing, -np.inf, score), own.grades, group, len(row))
    tau = kendall_tau(said - 0.5, mine.p - 0.5, at, len(row))
    hit, chance, tau = (np.where(scored, v, np.nan) for v in (hit, chance, tau))
    return Lists(row, hit, chance, tau, scored)


def _tournament(reward: Reward, lists: Feedback, group: np.ndarray) -> np.ndarray:
    """float64 [m] expected wins of each listed response over all the others of its list, also where people made no
    difference between them (the rejected of a best-of-n): who is first is decided by all comparisons.
    """
    everything = replace(lists, scale=np.full(len(lists), SCALES.index("order"), dtype=np.int8))
    pairs = everything.pairs()
    pairs = pairs.take(pairs.a != pairs.b)
    said = predict_pairs(reward, everything, pairs).value
    width = len(lists.responses)
    keys = group * width + lists.items
    order = np.argsort(keys, kind="stable")
    slots = [order[np.searchsorted(keys[order], pairs.judgement * width + side)] for side in (pairs.a, pairs.b)]
    return win_counts(said, slots[0], slots[1], len(group))


def list_figures(draw: ClusterBootstrap, clusters: Clusters, lists: Lists) -> dict[str, Figure]:
    """best_of_n, best_of_n_by_chance (a blind pick) and tau: means over the lists that decide something."""
    figures = {}
    for name, values in (("best_of_n", lists.hit), ("best_of_n_by_chance", lists.chance), ("tau", lists.tau)):
        good = ~np.isnan(values)
        if good.any():
            figures[name] = draw.ratio(clusters.code[lists.row[good]], values[good])
    return figures


def rating_figures(
    draw: ClusterBootstrap, clusters: Clusters, reward: Reward, feedback: Feedback
) -> tuple[dict[str, Figure], dict[str, int]]:
    """(spearman: mean over each person's ratings of a prompt, counts of ratings and unscored ones)."""
    rows = np.flatnonzero(feedback.sizes == 1)
    if not len(rows) or only_compares(reward):
        return {}, {"ratings": len(rows)} if len(rows) else {}
    start = feedback.offsets[rows]
    item, grade = feedback.items[start], feedback.grades[start]
    user, criterion = feedback.user[rows], feedback.criterion[rows]
    score = predict_items(reward, feedback, item, user, criterion).value
    good = ~np.isnan(score) & ~np.isnan(grade)
    counts = {"ratings": len(rows), "ratings_unscored": int(np.isnan(score).sum())}
    (person, *_), group = distinct(user[good], feedback.prompt_of[item][good], criterion[good])
    rho = spearman(score[good], grade[good], group, len(person))
    counted = ~np.isnan(rho)
    if not counted.any():
        return {}, counts
    some = np.empty(len(person), dtype=np.int64)
    some[group] = rows[good]  # any judgement of a group names its cluster
    return {"spearman": draw.ratio(clusters.code[some[counted]], rho[counted])}, counts

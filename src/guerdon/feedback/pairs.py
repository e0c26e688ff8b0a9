"""Comparisons implied by judgements: one place that says what a grade means for a pair.

Within a judgement of n >= 2 responses, every two responses make a pair: P(a preferred) is 1, 0 or (tie) 1/2 by the
sign of the grade difference on the scales ``order`` and ``rating``, and the grade share on the scale ``probability``;
on the scale ``partial`` equal grades were never compared and make no pair.
Judgements of one response (ratings) make pairs with the other ratings of the same person, prompt and criterion.
Ratings without a person are pooled as one anonymous person. The strength of a pair is the difference of its grades,
unless its judgement says another one (``Judgement.strength``).
"""

from dataclasses import replace

import numpy as np

from guerdon.feedback.schema import SCALES
from guerdon.feedback.star import Feedback, Pairs

PROBABILITY, PARTIAL = SCALES.index("probability"), SCALES.index("partial")


def make_pairs(
    feedback: Feedback,
    *,
    ties: bool = True,
    min_gap: float = 0.0,
    max_per_person: int | None = None,
    seed: int = 0,
) -> Pairs:
    """All comparisons implied by ``feedback``.

    ties            keep pairs with equal grades (p = 1/2); pairs made from two separate ratings never keep them, since
                    equal coarse ratings are no statement about the pair
    min_gap         drop pairs whose grades differ by less than this (ties excepted)
    max_per_person  at most so many pairs made from separate ratings for one person, prompt and criterion, drawn with
                    ``seed``; None keeps all
    """
    within = _within(feedback)
    across = _across(feedback, max_per_person, seed, min_gap)
    pairs = Pairs.concatenate([within, across])
    tied = pairs.p == 0.5
    keep = np.where(tied, ties, pairs.strength >= min_gap) if len(pairs) else np.zeros(0, bool)
    pairs = pairs if keep.all() else pairs.take(keep.astype(bool))
    if feedback.strength is None:
        return pairs
    told = feedback.strength[pairs.judgement]
    return replace(pairs, strength=np.where(np.isnan(told), pairs.strength, told))


def _within(fb: Feedback) -> Pairs:
    """Pairs inside judgements of two or more responses, in judgement order, first response first."""
    parts = []
    for size in np.unique(fb.sizes):
        if size < 2:
            continue
        rows = np.flatnonzero(fb.sizes == size)
        first, second = np.triu_indices(size, 1)
        a = (fb.offsets[rows][:, None] + first).ravel()
        b = (fb.offsets[rows][:, None] + second).ravel()
        parts.append((np.repeat(rows, len(first)), a, b))
    if not parts:
        return _empty()
    row = np.concatenate([p[0] for p in parts])
    a = np.concatenate([p[1] for p in parts])
    b = np.concatenate([p[2] for p in parts])
    if len(parts) > 1:
        order = np.lexsort((b, a, row))
        row, a, b = row[order], a[order], b[order]
    gap = fb.grades[a] - fb.grades[b]
    p = np.where(gap > 0, 1.0, np.where(gap < 0, 0.0, 0.5))
    soft = fb.scale[row] == PROBABILITY
    if soft.any():
        total = fb.grades[a] + fb.grades[b]
        p = np.where(soft, fb.grades[a] / np.where(total > 0, total, 1.0), p)
    good = ~np.isnan(gap) & ~((fb.scale[row] == PARTIAL) & (gap == 0))
    pairs = _pairs(fb, row, fb.items[a], fb.items[b], p, np.abs(gap))
    return pairs if good.all() else pairs.take(good)


def _across(fb: Feedback, max_per_person: int | None, seed: int, min_gap: float) -> Pairs:
    """Pairs of separate single-response ratings by the same person of the same prompt and criterion, no ties."""
    rows = np.flatnonzero(fb.sizes == 1)
    if not len(rows):
        return _empty()
    start = fb.offsets[rows]
    item, grade = fb.items[start], fb.grades[start]
    prompt = fb.prompt_of[item]
    order = np.lexsort((rows, fb.criterion[rows], prompt, fb.user[rows]))
    rows, item, grade = rows[order], item[order], grade[order]
    keys = np.stack([fb.user[rows], fb.prompt_of[item], fb.criterion[rows]])
    starts = np.flatnonzero(np.r_[True, (np.diff(keys, axis=1) != 0).any(0)])
    rng = np.random.default_rng(seed)
    left, right = [], []
    for lo, hi in zip(starts, np.r_[starts[1:], len(rows)], strict=True):
        g = grade[lo:hi]
        n = hi - lo
        if n < 2:
            continue
        if max_per_person is not None and n * (n - 1) // 2 > 50 * max_per_person:  # too many to list: draw, then filter
            draw = rng.integers(0, n, size=(20 * max_per_person, 2))
            draw = np.unique(np.sort(draw, axis=1), axis=0)
            i, j = draw[:, 0], draw[:, 1]
        else:
            i, j = np.triu_indices(n, 1)
        gap = np.abs(g[i] - g[j])
        good = (gap > 0) & (gap >= min_gap)
        i, j = i[good], j[good]
        if max_per_person is not None and len(i) > max_per_person:
            chosen = np.sort(rng.choice(len(i), max_per_person, replace=False))
            i, j = i[chosen], j[chosen]
        left.append(i + lo)
        right.append(j + lo)
    if not left:
        return _empty()
    i, j = np.concatenate(left), np.concatenate(right)
    return _pairs(fb, rows[i], item[i], item[j], (grade[i] > grade[j]).astype(float), np.abs(grade[i] - grade[j]))


def _pairs(fb: Feedback, row: np.ndarray, a: np.ndarray, b: np.ndarray, p: np.ndarray, strength: np.ndarray) -> Pairs:
    return Pairs(
        a=a.astype(np.int32),
        b=b.astype(np.int32),
        p=p.astype(np.float64),
        strength=strength.astype(np.float64),
        weight=fb.weight[row],
        user=fb.user[row],
        criterion=fb.criterion[row],
        judgement=row.astype(np.int64),
    )


def _empty() -> Pairs:
    i, f = np.zeros(0, np.int32), np.zeros(0)
    return Pairs(i, i, f, f, f, i, i, np.zeros(0, np.int64))

"""Shots and test pairs of new people, drawn so that they share nothing.

Each person's judgements are split in two parts with a seed; shots come from one, test pairs from the other.

- Of a person who compared or ranked: no judgement, and no two candidates, are on both sides (a pair judged twice goes
  to one side with both its verdicts, and so does everything tied to it by a common judgement).
- Of a person who rated: the rated items are split, so that no candidate of the shots occurs in that person's test pairs
  (otherwise the rating of an item used in a shot would give away half of a test pair).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from guerdon.feedback.schema import SCALES
from guerdon.feedback.star import Feedback, Pairs

MIN_TEST = 5
"""A person needs at least so many decided test pairs to take part."""


@dataclass(frozen=True)
class Draw:
    """One draw: ``shots`` and ``test`` pairs, and ``turn`` [len(shots)], the position of a shot among its person's."""

    shots: Pairs
    turn: np.ndarray
    test: Pairs


def candidate_pairs(feedback: Feedback, people: np.ndarray, max_pairs: int, seed: int) -> Pairs:
    """The pairs of ``people`` (codes) that shots and tests are drawn from; ``judgement`` indexes ``feedback``.

    Of pairs made from ratings a quarter survives the split as test pairs, so four times ``max_pairs`` are drawn.
    """
    rows = np.flatnonzero(np.isin(feedback.user, people))
    pairs = feedback.take(rows).pairs(max_per_person=4 * max_pairs, seed=seed)
    pairs = replace(pairs, judgement=rows[pairs.judgement])
    return pairs.take(pairs.a != pairs.b)  # an item rated twice is no question


def draw(feedback: Feedback, pairs: Pairs, most: int, seed: int, max_test: int = 200, max_people: int = 1000) -> Draw:
    """Split each person's pairs without leakage; keep the people with ``most`` shots and ``MIN_TEST`` decided tests."""
    rng = np.random.default_rng(seed)
    raters = np.unique(feedback.user[feedback.sizes == 1])
    rated = np.isin(pairs.user, raters)
    side = np.full(len(pairs), -1, dtype=np.int8)  # 0 shot pool, 1 test, -1 neither
    side[rated] = _split_items(pairs.take(rated), rng)
    side[~rated] = _split_units(pairs.take(~rated), most, rng)
    pool = np.flatnonzero(side == 0)
    pool, turn = _turns(pairs.user, pool, rng)
    chosen, turn = pool[turn < most], turn[turn < most]
    test = np.flatnonzero(side == 1)
    test, place = _turns(pairs.user, test, rng)
    test = test[place < max_test]
    width = len(feedback.users)
    enough = np.bincount(pairs.user[chosen], minlength=width) >= most
    enough &= np.bincount(pairs.user[test][pairs.p[test] != 0.5], minlength=width) >= MIN_TEST
    fit = np.flatnonzero(enough)
    if len(fit) > max_people:  # by the person, not the draw: the same people in every draw as far as they are eligible
        fit = fit[np.argsort(np.random.default_rng(len(enough)).permutation(width)[fit])[:max_people]]
        enough = np.isin(np.arange(width), fit)
    chosen, turn = chosen[enough[pairs.user[chosen]]], turn[enough[pairs.user[chosen]]]
    return Draw(pairs.take(chosen), turn, pairs.take(np.sort(test[enough[pairs.user[test]]])))


def shot_feedback(feedback: Feedback, shots: Pairs) -> Feedback:
    """The shots as feedback of two-response judgements by those people only; the candidate table is shared."""
    n = len(shots)
    people, user = np.unique(shots.user, return_inverse=True)
    soft = ~np.isin(shots.p, (0.0, 0.5, 1.0))
    gap = np.where(soft, 1.0, shots.strength)
    grades = np.stack([np.where(soft | (shots.p > 0.5), gap, 0.0), np.where(soft | (shots.p < 0.5), gap, 0.0)], axis=1)
    grades[soft] = np.stack([shots.p, 1 - shots.p], axis=1)[soft]
    return replace(
        feedback,
        offsets=np.arange(n + 1, dtype=np.int64) * 2,
        items=np.stack([shots.a, shots.b], axis=1).ravel().astype(np.int32),
        grades=grades.ravel(),
        user=user.astype(np.int32),
        users=tuple(feedback.users[u] for u in people),
        criterion=shots.criterion.astype(np.int32),
        subset=np.full(n, -1, dtype=np.int32),
        source=feedback.source[shots.judgement],
        scale=np.where(soft, SCALES.index("probability"), SCALES.index("order")).astype(np.int8),
        weight=shots.weight,
        comment=None,
        id=None,
        time=None,
        notes=(),
        places=None,
    )


# ---------------------------------------------------------------------------------------------------- the two parts


def _split_items(pairs: Pairs, rng: np.random.Generator) -> np.ndarray:
    """int8 [n]: 0 both items in the person's first half, 1 both in the second, -1 one in each."""
    n = len(pairs)
    if not n:
        return np.zeros(0, dtype=np.int8)
    owner = np.concatenate([pairs.user, pairs.user]).astype(np.int64)
    item = np.concatenate([pairs.a, pairs.b]).astype(np.int64)
    distinct, code = np.unique(owner * (int(item.max()) + 1) + item, return_inverse=True)
    person = distinct // (int(item.max()) + 1)
    order = np.lexsort((rng.random(len(distinct)), person))
    start = np.flatnonzero(np.r_[True, np.diff(person[order]) != 0])
    rank = np.arange(len(order)) - np.repeat(start, np.diff(np.r_[start, len(order)]))
    half = np.empty(len(distinct), dtype=np.int8)
    half[order] = rank % 2
    left, right = np.split(half[code], 2)
    return np.where(left == right, left, -1).astype(np.int8)


def _split_units(pairs: Pairs, most: int, rng: np.random.Generator) -> np.ndarray:
    """int8 [n]: 0 for units drawn one after another until a person's shots are full, 1 for the person's other units.

    A unit is what hangs together: pairs of one judgement, and pairs of the same two candidates by the same person.
    """
    n = len(pairs)
    if not n:
        return np.zeros(0, dtype=np.int8)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    low, high = np.minimum(pairs.a, pairs.b).astype(np.int64), np.maximum(pairs.a, pairs.b).astype(np.int64)
    question = np.unique(low * (int(high.max()) + 1) + high, return_inverse=True)[1]
    asked = np.unique(pairs.user.astype(np.int64) * (int(question.max()) + 1) + question, return_inverse=True)[1]
    judged = np.unique(pairs.judgement, return_inverse=True)[1]
    q, j = int(asked.max()) + 1, int(judged.max()) + 1
    graph = coo_array((np.ones(n, dtype=np.int8), (asked, q + judged)), shape=(q + j, q + j))
    unit = connected_components(graph, directed=False)[1][asked]
    units, first, unit = np.unique(unit, return_index=True, return_inverse=True)
    size, person = np.bincount(unit), pairs.user[first].astype(np.int64)
    order = np.lexsort((rng.random(len(units)), person))
    before = np.cumsum(size[order]) - size[order]
    start = np.flatnonzero(np.r_[True, np.diff(person[order]) != 0])
    before -= np.repeat(before[start], np.diff(np.r_[start, len(order)]))
    late = np.empty(len(units), dtype=np.int8)
    late[order] = before >= most
    return late[unit]


def _turns(user: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(``rows`` shuffled within each person, person by person; position of each among its person's)."""
    order = np.lexsort((rng.random(len(rows)), user[rows]))
    rows = rows[order]
    if not len(rows):
        return rows, np.zeros(0, dtype=np.int64)
    start = np.flatnonzero(np.r_[True, np.diff(user[rows]) != 0])
    return rows, np.arange(len(rows)) - np.repeat(start, np.diff(np.r_[start, len(rows)]))

"""How far people agree with each other: what the votes of everybody else say about each vote.

For a comparison, the others are the other people's verdicts on the same two candidates and criterion; for a pair made
from two ratings of one person, the others' mean ratings of the two candidates (each person's ratings centred first).
The others' majority is no reward, but its accuracy tells what to expect of one: a population reward that has never seen
votes on these candidates rarely does better, and where one vote disagrees with the rest, that is noise or taste.
"""

from __future__ import annotations

import numpy as np

from guerdon.feedback.star import Feedback, Pairs


def majority_of_others(feedback: Feedback, pairs: Pairs) -> np.ndarray:
    """float64 [n] in [0, 1]: share of the other people's votes for a (1/2 = split); NaN where nobody else voted.

    For pairs of ratings the value is 1, 0 or 1/2 by the order of the others' mean ratings.
    """
    out = np.full(len(pairs), np.nan)
    rated = feedback.sizes[pairs.judgement] == 1
    for rows, method in ((~rated, _votes), (rated, _ratings)):
        if rows.any():
            out[rows] = method(feedback, pairs.take(rows))
    return out


def _votes(feedback: Feedback, pairs: Pairs) -> np.ndarray:
    swap = pairs.a > pairs.b
    low, high = np.minimum(pairs.a, pairs.b).astype(np.int64), np.maximum(pairs.a, pairs.b).astype(np.int64)
    for_low = np.where(swap, 1 - pairs.p, pairs.p)
    key = (low * len(feedback.responses) + high) * (len(feedback.criteria) + 1) + pairs.criterion + 1
    question = np.unique(key, return_inverse=True)[1]
    # an anonymous vote is a person of its own
    person = np.where(pairs.user >= 0, pairs.user, len(feedback.users) + np.arange(len(pairs))).astype(np.int64)
    rest_votes, rest_sum = _without_own(question, person, for_low, pairs.weight)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(rest_votes > 0, rest_sum / rest_votes, np.nan)
    return np.where(swap, 1 - share, share)


def _ratings(feedback: Feedback, pairs: Pairs) -> np.ndarray:
    rows = np.flatnonzero((feedback.sizes == 1) & (feedback.user >= 0))
    if not len(rows):
        return np.full(len(pairs), np.nan)
    user, criterion = feedback.user[rows].astype(np.int64), feedback.criterion[rows].astype(np.int64)
    grade, weight = feedback.grades[feedback.offsets[rows]], feedback.weight[rows]
    scale = np.unique(user * (len(feedback.criteria) + 1) + criterion + 1, return_inverse=True)[1]
    mean = np.bincount(scale, weights=grade) / np.bincount(scale)
    centred = grade - mean[scale]
    item = feedback.items[feedback.offsets[rows]].astype(np.int64)
    question = item * (len(feedback.criteria) + 1) + criterion + 1
    votes, total = _without_own(np.unique(question, return_inverse=True)[1], user, centred, weight)
    with np.errstate(invalid="ignore", divide="ignore"):
        others = np.where(votes > 0, total / votes, np.nan)
    # the others' mean of (person, item, criterion): look it up for both sides of each pair
    width = len(feedback.users)
    known, first = np.unique(question * width + user, return_index=True)

    def side(index: np.ndarray) -> np.ndarray:
        key = (index.astype(np.int64) * (len(feedback.criteria) + 1) + pairs.criterion + 1) * width + pairs.user
        at = np.minimum(np.searchsorted(known, key), len(known) - 1)
        return np.where((known[at] == key) & (pairs.user >= 0), others[first[at]], np.nan)

    # equal means differ by rounding: sums minus one's own, in another order
    return 0.5 + 0.5 * np.sign(np.round(side(pairs.a) - side(pairs.b), 9))


def _without_own(
    question: np.ndarray, person: np.ndarray, value: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(weight, weighted sum) [n] of everybody else's values on each row's question."""
    _, own = np.unique(question.astype(np.int64) * (int(person.max(initial=0)) + 1) + person, return_inverse=True)
    rest = []
    for v in (weight, weight * value):
        rest.append(np.bincount(question, weights=v)[question] - np.bincount(own, weights=v)[own])
    # sums of the same numbers in another order may leave 1e-16 where nobody else voted
    voters = np.bincount(question)[question] - np.bincount(own)[own]
    return np.where(voters > 0, rest[0], 0.0), rest[1]

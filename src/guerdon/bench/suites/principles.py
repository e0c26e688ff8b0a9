"""RABench: lists ranked under a principle that is given in words; the same responses under another one rank otherwise.

A list earns the weighted share of its pairs in the right order, ``1 - sum(w cost) / sum(w)`` over all pairs with
``w = 1 + |gap of the graded scores|``; a reversed pair costs 1, one that the reward ties 1/2, and one that is tied in
the grades nothing. The principle is the judgements' criterion: rewards that do not read it answer the same whatever it
says, and "both best, principles apart" is where that shows: two principles on the same responses whose best ones differ
count if both best ones are found.

References
----------
Yu et al. 2025. RewardAnything: Generalizable Principle-Following Reward Models. https://arxiv.org/abs/2506.03637
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench.suites.agreement import macro, rows_of, value_of
from guerdon.bench.suites.items import Duels, Said, duels_of
from guerdon.bench.suites.suite import Suite
from guerdon.errors import FeedbackError
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback

SUBSETS = ("category", "domain", "subset")


def lists(paths: Sequence[Path]) -> Feedback:
    """``principle, prompt, responses {name: text}`` and the grades ``scores {name: number}``.

    The grades may stand under ``scores``, or in ``ground_truth``, an object or its JSON text;
    a ranking ``best-to-worst`` alone gives grades n to 1.
    """
    judged = []
    for file, number, row in rows_of(paths):
        where = (file, number)
        responses = value_of(row, "responses", dict, where)
        grades = _grades(row, where)
        names = [n for n in responses if n in grades]
        if len(names) < 2:
            raise FeedbackError(
                f"{file}:{number}: scores: only {len(names)} of {len(responses)} responses have a grade; give each one"
            )
        label = next((str(row[k]) for k in SUBSETS if row.get(k)), None)
        judged.append(
            Judgement(
                row["prompt"] if isinstance(row.get("prompt"), list) else value_of(row, "prompt", str, where),
                tuple(str(responses[n]) for n in names),
                tuple(grades[n] for n in names),
                criterion=value_of(row, "principle", str, where),
                subset=label,
                id=str(row["id"]) if "id" in row else None,
            )
        )
    return Feedback.of(judged)


def _grades(row: Mapping[str, Any], where: tuple[str, int]) -> dict[str, float]:
    """The graded score of each response by name."""
    found: Any = row.get("ground_truth", row)
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError as error:
            raise FeedbackError(f"{where[0]}:{where[1]}: ground_truth: not JSON ({error}); mend the row") from None
    scores = found.get("scores") if isinstance(found, Mapping) else None
    ranking = found.get("best-to-worst") if isinstance(found, Mapping) else None
    if isinstance(scores, Mapping) and all(isinstance(v, int | float) for v in scores.values()):
        return {str(k): float(v) for k, v in scores.items()}
    if isinstance(ranking, list):
        return {str(name): float(len(ranking) - i) for i, name in enumerate(ranking)}
    raise FeedbackError(f"{where[0]}:{where[1]}: scores: expected an object of numbers by name; see the suite's source")


def weighted_order(feedback: Feedback, said: Said, judgement: np.ndarray, credit: np.ndarray) -> np.ndarray:
    """Credit [I] of each list: one minus its weighted cost."""
    duels = duels_of(feedback)
    weight = 1 + gaps(feedback, duels)
    lost = np.bincount(duels.judgement, weight * (1 - said.won), minlength=len(feedback))
    whole = np.bincount(duels.judgement, weight, minlength=len(feedback)) + _tied(feedback)
    return 1 - (lost / whole)[judgement]


def gaps(feedback: Feedback, duels: Duels) -> np.ndarray:
    """float64 [D] by how much the right response of each duel is graded above the wrong one."""
    start = feedback.offsets[duels.judgement]
    return feedback.grades[start + duels.right_at] - feedback.grades[start + duels.wrong_at]


def _tied(feedback: Feedback) -> np.ndarray:
    """How many pairs of each judgement have equal grades."""
    out = np.zeros(len(feedback))
    for j in range(len(feedback)):
        _, counts = np.unique(feedback.grades[feedback.offsets[j] : feedback.offsets[j + 1]], return_counts=True)
        out[j] = (counts * (counts - 1) / 2).sum()
    return out


def apart(feedback: Feedback, duels: Duels, said: Said) -> dict[str, float]:
    """Kendall's tau, and both best ones where two principles on the same responses want different ones."""
    n = len(feedback)
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = np.bincount(duels.judgement, minlength=n)
        tau = np.bincount(duels.judgement, 2 * said.won - 1, minlength=n) / pairs
    out = {"Kendall's tau over graded pairs": float(np.nanmean(tau))} if (pairs > 0).any() else {}
    best, found = _best(feedback, duels, said)
    # a candidate is a prompt and a response, so equal sets are equal lists
    same: dict[Any, list[int]] = defaultdict(
        list
    )  # a candidate is a prompt and a response, so equal lists are equal sets
    for j in np.flatnonzero(best >= 0).tolist():
        same[frozenset(feedback.items[feedback.offsets[j] : feedback.offsets[j + 1]].tolist())].append(j)
    both = [
        found[i] and found[j]
        for group in same.values()
        for i, j in combinations(group, 2)
        if best[i] != best[j] and feedback.criterion[i] != feedback.criterion[j]
    ]
    if both:
        out["both best, principles apart"] = float(np.mean(both))
        out["pairs of lists, principles apart"] = float(len(both))
    return out


def _best(feedback: Feedback, duels: Duels, said: Said) -> tuple[np.ndarray, np.ndarray]:
    """(candidate [J] that is each judgement's single best one, -1 where several are; whether it won all its duels)."""
    best, top = np.full(len(feedback), -1), np.zeros(len(feedback), dtype=np.int64)
    for j in range(len(feedback)):
        part = slice(feedback.offsets[j], feedback.offsets[j + 1])
        at = np.flatnonzero(feedback.grades[part] == feedback.grades[part].max())
        top[j] = at[0]
        if len(at) == 1:
            best[j] = feedback.items[part][at[0]]
    found = np.ones(len(feedback), dtype=bool)
    found[duels.judgement[(duels.right_at == top[duels.judgement]) & ~(said.won == 1)]] = False
    return best, found


RA_BENCH = Suite(
    name="rabench",
    what="RABench: lists ranked under principles given in words",
    source=(
        "get RABench from its authors (see https://github.com/zhuohaoyu/RewardAnything) and put it there as "
        "rabench.jsonl with principle, prompt, responses {name: text} and scores {name: number} (category or domain is "
        "the subset)"
    ),
    files=("rabench*.jsonl*|rabench*.json|rabench*.parquet",),
    read=lists,
    rule="half",
    credit=weighted_order,
    summary=macro,
    extra=apart,
    paper="arXiv:2506.03637",
)

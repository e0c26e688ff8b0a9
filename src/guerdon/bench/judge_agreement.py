"""How far a judge agrees with people, people with each other, and a judge with itself, from recorded verdicts.

A verdict is on two responses to one question: the first is better (1), the second (0), neither (1/2), or nothing was
said (NaN, left out). The order in which the two are named does not matter, so verdicts on (a, b) and on (b, a) meet.

``agreement``         a judge's verdict against each person's vote on the same two responses
``between``           every two people's votes on the same two responses
``self_consistency``  every two verdicts of one judge on the same two responses
``transitivity``      of three responses compared with each other, how often the verdicts fit some ranking
``position_bias``     verdicts in both orders: how often they fit together, and which place is preferred
``fleiss``            agreement of a fixed number of people beyond chance

``ties`` says what counts, as the protocols of published studies do:

``drop``   both decided, and the same way; anything with a tie is left out (MT-bench's setup S2)
``count``  the same of three outcomes (S1)
``half``   a tie against a decision is half, two ties are one

Intervals are bootstrap intervals over questions.

References
----------
Zheng et al. 2023. Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena. https://arxiv.org/abs/2306.05685
Fleiss 1971. Measuring nominal scale agreement among many raters. Psychological Bulletin 76.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np

from guerdon.bench.intervals import ClusterBootstrap, Figure
from guerdon.errors import ConfigError, FeedbackError

TIES = ("drop", "count", "half")
RANKINGS = frozenset(
    tuple(int(np.sign(level[i] - level[j])) for i, j in ((0, 1), (1, 2), (0, 2)))
    for level in product(range(3), repeat=3)
)
"""Signs (x over y, y over z, x over z) that some ranking of three, ties allowed, gives."""


@dataclass(frozen=True)
class Verdicts:
    """n verdicts: the question [n], the two responses [n], float64 [n] 1, 0, 1/2 or NaN, and whose it is [n]."""

    question: Sequence[Hashable]
    a: Sequence[str]
    b: Sequence[str]
    value: np.ndarray
    judge: Sequence[str]

    def __post_init__(self) -> None:
        value = np.asarray(self.value, dtype=np.float64)
        object.__setattr__(self, "value", value)
        n = len(value)
        for name in ("question", "a", "b", "judge"):
            if len(getattr(self, name)) != n:
                raise FeedbackError(f"verdicts: column {name!r} has {len(getattr(self, name))} rows, value has {n}")
        odd = ~np.isnan(value) & ~np.isin(value, (0.0, 0.5, 1.0))
        if odd.any():
            i = int(np.argmax(odd))
            raise FeedbackError(f"verdicts: row {i}: value {value[i]:g}; use 1, 0, 0.5 (neither) or NaN (not said)")

    @classmethod
    def of(cls, rows: Iterable[tuple[Hashable, str, str, float, str]]) -> Verdicts:
        """Rows of (question, a, b, value, judge)."""
        columns: list[Any] = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], [], []]
        return cls(columns[0], columns[1], columns[2], np.array(columns[3], dtype=np.float64), columns[4])

    def __len__(self) -> int:
        return len(self.value)


def agreement(judge: Verdicts, people: Verdicts, *, ties: str = "drop", bootstrap: int = 1000, seed: int = 0) -> Figure:
    """Share of (verdict, vote) pairs on the same two responses that agree; the figure's ``n`` is how many there are."""
    key, sign, question, count = _cells([judge, people])
    m = len(judge)
    first, second = _met(key[:m], key[m:])
    return _agreed(sign[:m][first], sign[m:][second], question[:m][first], count, ties, bootstrap, seed)


def between(
    people: Verdicts, *, ties: str = "drop", same_order: bool = False, bootstrap: int = 1000, seed: int = 0
) -> Figure:
    """Share of pairs of different people's votes on the same two responses that agree.

    same_order   only votes that name the two responses in the same order, as if (a, b) and (b, a) were two questions
    """
    return _within(people, ties, same_order, False, bootstrap, seed)


def self_consistency(judge: Verdicts, *, ties: str = "count", bootstrap: int = 1000, seed: int = 0) -> Figure:
    """Share of pairs of verdicts of one judge on the same two responses that agree (several draws, both orders)."""
    return _within(judge, ties, False, True, bootstrap, seed)


def transitivity(judge: Verdicts, *, bootstrap: int = 1000, seed: int = 0) -> Figure:
    """Share of triples of responses to a question, each compared with the others, whose verdicts fit some ranking.

    A judge's verdicts on one pair are summed up by the sign of their mean. A coin gives 3/4 without ties.
    """
    _, sign, question, count = _cells([judge])
    known = ~np.isnan(sign)
    table: dict[tuple[int, str], dict[tuple[str, str], list[float]]] = {}
    for i in np.flatnonzero(known).tolist():
        low, high = sorted((judge.a[i], judge.b[i]))
        table.setdefault((int(question[i]), judge.judge[i]), {}).setdefault((low, high), []).append(float(sign[i]))
    at, fits = [], []
    for (q, _), pairs in table.items():
        said = {pair: int(np.sign(np.mean(values))) for pair, values in pairs.items()}
        names = sorted({name for pair in said for name in pair})
        for x, y, z in combinations(names, 3):
            if (x, y) in said and (y, z) in said and (x, z) in said:
                at.append(q)
                fits.append((said[x, y], said[y, z], said[x, z]) in RANKINGS)
    return _draw(count, bootstrap, seed).ratio(np.array(at, dtype=np.int64), np.array(fits, dtype=np.float64))


@dataclass(frozen=True)
class Places:
    """Verdicts in both orders. ``consistent``: share that say the same of the responses (two ties too); ``first`` and
    ``second``: share in which that place won both times; ``mixed``: share with a tie in one order only."""

    consistent: Figure
    first: Figure
    second: Figure
    mixed: Figure


def position_bias(
    question: Sequence[Hashable], forward: np.ndarray, backward: np.ndarray, *, bootstrap: int = 1000, seed: int = 0
) -> Places:
    """``forward`` [n]: the verdict on (a, b), 1 if a wins; ``backward`` [n]: the verdict on (b, a), 1 if *b* wins."""
    forward, backward = np.asarray(forward, dtype=np.float64), np.asarray(backward, dtype=np.float64)
    if not len(question) == len(forward) == len(backward):
        raise FeedbackError(f"position bias: {len(question)} questions, {len(forward)} and {len(backward)} verdicts")
    known = ~np.isnan(forward) & ~np.isnan(backward)
    codes, count = _codes([question])
    at = codes[known]
    there, back = np.sign(forward[known] - 0.5), np.sign(backward[known] - 0.5)
    draw = _draw(count, bootstrap, seed)
    parts = (there == -back, (there > 0) & (back > 0), (there < 0) & (back < 0), (there == 0) != (back == 0))
    return Places(*(draw.ratio(at, part.astype(np.float64)) for part in parts))


def fleiss(ratings: np.ndarray) -> float:
    """Fleiss' kappa of labels [n, k] by k people: agreement beyond chance, 1 = always, 0 = as chance would."""
    ratings = np.asarray(ratings)
    if ratings.ndim != 2 or ratings.shape[1] < 2 or not len(ratings):
        raise FeedbackError("fleiss: give labels of at least two people, one row an item")
    labels = np.unique(ratings)
    counts = np.stack([(ratings == label).sum(1) for label in labels], axis=1)
    k = ratings.shape[1]
    observed = ((counts**2).sum(1) - k).mean() / (k * (k - 1))
    chance = float(((counts.sum(0) / ratings.size) ** 2).sum())
    return float((observed - chance) / (1 - chance)) if chance < 1 else 1.0


# ---------------------------------------------------------------------------------------------------- joining


def _codes(columns: Sequence[Sequence[Hashable]]) -> tuple[np.ndarray, int]:
    """(int64 codes of all columns one after the other, how many different values)."""
    seen: dict[Hashable, int] = {}
    codes = np.array([seen.setdefault(value, len(seen)) for column in columns for value in column], dtype=np.int64)
    return codes, len(seen)


def _cells(tables: Sequence[Verdicts]) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """(code of the question and its two responses, sign for the lesser name, code of the question, questions)."""
    question, count = _codes([t.question for t in tables])
    keys, signs = [], []
    for t in tables:
        for q, a, b, value in zip(t.question, t.a, t.b, t.value.tolist(), strict=True):
            keys.append((q, a, b) if a <= b else (q, b, a))
            signs.append(value - 0.5 if a <= b else 0.5 - value)
    return _codes([keys])[0], np.sign(np.array(signs, dtype=np.float64)), question, count


def _met(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (i, j) with ``left[i] == right[j]``."""
    order = np.argsort(right, kind="stable")
    begin = np.searchsorted(right[order], left, "left")
    size = np.searchsorted(right[order], left, "right") - begin
    first = np.repeat(np.arange(len(left)), size)
    within = np.arange(len(first)) - np.repeat(np.cumsum(size) - size, size)
    return first, order[np.repeat(begin, size) + within]


def _within(table: Verdicts, ties: str, same_order: bool, same_judge: bool, bootstrap: int, seed: int) -> Figure:
    key, sign, question, count = _cells([table])
    if same_order:
        key = _codes([list(zip(table.question, table.a, table.b, strict=True))])[0]
    judge, _ = _codes([table.judge])
    first, second = _met(key, key)
    kept = (first < second) & ((judge[first] == judge[second]) == same_judge)
    first, second = first[kept], second[kept]
    return _agreed(sign[first], sign[second], question[first], count, ties, bootstrap, seed)


def _agreed(
    x: np.ndarray, y: np.ndarray, question: np.ndarray, count: int, ties: str, bootstrap: int, seed: int
) -> Figure:
    if ties not in TIES:
        raise ConfigError(f"ties={ties!r}: use one of {', '.join(TIES)}")
    kept = ~np.isnan(x) & ~np.isnan(y)
    if ties == "drop":
        kept &= (x != 0) & (y != 0)
    x, y = x[kept], y[kept]
    same = (x == y).astype(np.float64)
    if ties == "half":
        same[(x == 0) != (y == 0)] = 0.5
    return _draw(count, bootstrap, seed).ratio(question[kept], same)


def _draw(count: int, bootstrap: int, seed: int) -> ClusterBootstrap:
    return ClusterBootstrap(max(count, 1), replicates=bootstrap, seed=seed)

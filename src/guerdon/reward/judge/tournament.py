"""Scores of n responses from O(n log n) comparisons: all prompts' tournaments at once, one batch of pairs a round.

``merge`` sorts by merging: at most n log2 n comparisons, the exact order where the judge is consistent; the score is
the place, 0 (last) to 1 (first), shared between neighbours that tie. ``swiss`` plays ceil(log2 n) + 1 rounds between
those with similar records and fits Bradley-Terry strengths (log-odds, mean 0, a standard normal prior): forgives
errors.

References: Bradley and Terry 1952; the Swiss system pairs equals, as in chess.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import numpy as np

METHODS = ("merge", "swiss")
Pair = tuple[int, int]
Play = Generator[list[Pair], list[float], np.ndarray]


@dataclass
class Table:
    """One tournament: ``value`` float64 [n], NaN for who has no answered comparison; the comparisons played."""

    value: np.ndarray
    played: list[tuple[int, int, float]] = field(default_factory=list)


def tournaments(
    sizes: Sequence[int], ask: Callable[[list[tuple[int, int, int]]], list[float]], how: str
) -> list[Table]:
    """Play tournaments of the given sizes.

    ask   (tournament, i, j) triples to P(i preferred to j), NaN = no verdict
    how   ``merge`` or ``swiss``
    """
    plays = [merge(n) if how == "merge" else swiss(n) for n in sizes]
    tables = [Table(np.full(n, np.nan)) for n in sizes]
    waiting: dict[int, list[Pair]] = {}
    for t, play in enumerate(plays):
        _step(play, None, t, waiting, tables)
    while waiting:
        asked = [(t, i, j) for t, pairs in waiting.items() for i, j in pairs]
        answers = dict(zip(asked, ask(asked), strict=True))
        now, waiting = waiting, {}
        for t, pairs in now.items():
            said = [answers[t, i, j] for i, j in pairs]
            tables[t].played += [(i, j, p) for (i, j), p in zip(pairs, said, strict=True)]
            _step(plays[t], said, t, waiting, tables)
    for table in tables:
        met = {k for i, j, p in table.played if not math.isnan(p) for k in (i, j)}
        for k in set(range(len(table.value))) - met:
            table.value[k] = np.nan
    return tables


def _step(play: Play, said: list[float] | None, t: int, waiting: dict[int, list[Pair]], tables: list[Table]) -> None:
    try:
        waiting[t] = next(play) if said is None else play.send(said)
    except StopIteration as end:
        tables[t].value = end.value


def merge(n: int) -> Play:
    """Merge sort, all merges of one level side by side; a missing verdict leaves the order as it is."""
    known: dict[Pair, float] = {}
    runs = [[k] for k in range(n)]
    while len(runs) > 1:
        jobs = [(runs[k], runs[k + 1]) for k in range(0, len(runs) - 1, 2)]
        rest = runs[-1:] if len(runs) % 2 else []
        done: list[list[int]] = [[] for _ in jobs]
        at = [[0, 0] for _ in jobs]
        while True:
            busy = [k for k, (a, b) in enumerate(jobs) if at[k][0] < len(a) and at[k][1] < len(b)]
            if not busy:
                break
            pairs = [(jobs[k][0][at[k][0]], jobs[k][1][at[k][1]]) for k in busy]
            said = yield pairs
            for k, pair, p in zip(busy, pairs, said, strict=True):
                known[pair] = p
                side = 1 if p < 0.5 else 0
                done[k].append(pair[side])
                at[k][side] += 1
        runs = [d + a[i:] + b[j:] for d, (a, b), (i, j) in zip(done, jobs, at, strict=True)] + rest
    order = runs[0] if runs else []
    value = np.empty(n)
    lo = 0
    while lo < n:
        hi = lo + 1
        while hi < n and known.get((order[hi - 1], order[hi]), known.get((order[hi], order[hi - 1]))) == 0.5:
            hi += 1
        value[order[lo:hi]] = 1 - (lo + hi - 1) / 2 / max(n - 1, 1)
        lo = hi
    return value


def swiss(n: int) -> Play:
    """Rounds between neighbours in the standings who have not met, then Bradley-Terry."""
    played: list[tuple[int, int, float]] = []
    wins = np.zeros(n)
    met: set[frozenset[int]] = set()
    for _ in range(math.ceil(math.log2(n)) + 1 if n > 1 else 0):
        order = sorted(range(n), key=lambda k: (-wins[k], k))
        pairs: list[Pair] = []
        while order:
            first = order.pop(0)
            other = next((k for k in order if frozenset((first, k)) not in met), None)
            if other is not None:
                order.remove(other)
                pairs.append((first, other))
                met.add(frozenset((first, other)))
        if not pairs:
            break
        said = yield pairs
        for (i, j), p in zip(pairs, said, strict=True):
            played.append((i, j, p))
            if not math.isnan(p):
                wins[i] += p
                wins[j] += 1 - p
    return bradley_terry(n, played)


def bradley_terry(n: int, played: Sequence[tuple[int, int, float]], precision: float = 1.0) -> np.ndarray:
    """float64 [n] strengths u that maximize sum p log s(u_i - u_j) + (1 - p) log s(u_j - u_i) - precision |u|^2 / 2."""
    from scipy.special import expit

    given = [(i, j, p) for i, j, p in played if not math.isnan(p)]
    u = np.zeros(n)
    if not given:
        return u
    i, j = np.array([g[0] for g in given]), np.array([g[1] for g in given])
    p = np.array([g[2] for g in given])
    for _ in range(100):  # Newton's method on a strictly concave function
        q = expit(u[i] - u[j])
        gradient = -precision * u
        np.add.at(gradient, i, p - q)
        np.add.at(gradient, j, q - p)
        hessian = precision * np.eye(n)
        w = q * (1 - q)
        np.add.at(hessian, (i, i), w)
        np.add.at(hessian, (j, j), w)
        np.add.at(hessian, (i, j), -w)
        np.add.at(hessian, (j, i), -w)
        step = np.linalg.solve(hessian, gradient)
        u += step
        if np.abs(step).max() < 1e-10:
            break
    return u

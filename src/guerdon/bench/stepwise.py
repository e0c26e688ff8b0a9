"""A reward asked some candidates at a time, so that it can be seen how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores

BATCH = 512


def in_steps(reward: Reward, progress: Callable[[int, int], None], *, batch: int = BATCH) -> Reward:
    """``reward``, asked ``batch`` rows at a time; ``progress(rows done, rows in all)`` is called after each."""
    if type(reward).score is Reward.score:
        kind = _Compares
    else:
        kind = _Scores if type(reward).prefer is Reward.prefer else _Both
    return kind(reward, progress, batch)


class _Scores(Reward):
    """A reward that scores."""

    def __init__(self, reward: Reward, progress: Callable[[int, int], None], batch: int) -> None:
        self.reward, self.progress, self.batch = reward, progress, batch
        self.name, self.reads, self.sees = reward.name, reward.reads, reward.sees

    def score(self, candidates: Candidates) -> Scores:
        """The reward's scores."""
        return self._asked(self.reward.score, candidates)

    def _asked(self, ask: Callable[..., Scores], *sides: Candidates) -> Scores:
        n = len(sides[0])
        if n <= self.batch:
            return ask(*sides)
        parts = []
        for lo in range(0, n, self.batch):
            rows = np.arange(lo, min(lo + self.batch, n))
            parts.append(ask(*(side.take(rows) for side in sides)))
            self.progress(int(rows[-1]) + 1, n)
        std = [part.std for part in parts]
        told: dict[str, Sequence[Any]] = {}
        for name in {name for part in parts for name in part.detail}:
            told[name] = [v for part in parts for v in part.detail.get(name, [None] * len(part.value))]
        return Scores(
            np.concatenate([part.value for part in parts]),
            [status for part in parts for status in part.status],
            [reason for part in parts for reason in part.reason],
            std=None if any(s is None for s in std) else np.concatenate(std),  # type: ignore[arg-type]
            detail=told,
        )


class _Both(_Scores):
    """A reward that knows better than the logistic of a difference."""

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """The reward's own P(a preferred)."""
        return self._asked(self.reward.prefer, a, b)


class _Compares(_Both):
    """A reward that only compares."""

    score = Reward.score

"""What every adapter shares: a reward, the columns bound to it, and what to do about the unscored."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Text
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores

log = logging.getLogger(__name__)

COLUMNS = ("user", "criterion", "reference")


class Rater:
    """What all adapters share: a reward with columns bound to it, one caller at a time, and a word on the unscored.

    Trainers call from many threads; tokenizers and torch modules are not made for that, hence the lock.
    """

    def __init__(self, reward: Reward, user: str | None, criterion: str | None, unscored: float = 0.0) -> None:
        if not isinstance(reward, Reward):
            raise ConfigError(f"expected a Reward, got {type(reward).__name__}; guerdon.load(spec) opens one")
        self.reward, self.bound, self.unscored = reward, {"user": user, "criterion": criterion}, float(unscored)
        self.warned = False
        self.lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:  # trainers ship functions to their workers; locks do not travel
        return {k: v for k, v in self.__dict__.items() if k != "lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, lock=threading.Lock())

    def scores(
        self, prompts: Sequence[Text], responses: Sequence[Text], rows: Sequence[Mapping[str, Any]], rank: bool = False
    ) -> Scores:
        """Scores of n candidates; ``rows`` [n] hold their columns, those without a name of ours become ``extra``."""
        names = {name: None for row in rows for name in row}
        columns: dict[str, Sequence[Any]] = {name: [row.get(name) for row in rows] for name in names}
        for name, value in self.bound.items():
            if value is not None:
                columns[name] = [value] * len(prompts)
            elif name in columns:  # data sets number their people; rewards know them by name
                columns[name] = [None if v is None else str(v) for v in columns[name]]
        known = {k: columns.pop(k) for k in COLUMNS if k in columns}
        candidates = Candidates(list(prompts), list(responses), **known, extra=columns)
        with self.lock:
            return self.reward.rank(candidates) if rank else self.reward.score(candidates)

    def filled(self, scores: Scores) -> np.ndarray:
        """float64 [n] values with ``unscored`` where there is none."""
        missing = ~np.isfinite(scores.value)
        if missing.any() and not self.warned:
            i = int(np.flatnonzero(missing)[0])
            log.warning(
                "%s: %d of %d completions unscored (%s: %s); they get %g from here on without another word",
                self.reward.name,
                missing.sum(),
                len(scores),
                scores.status[i],
                scores.reason[i] or "no reason given",
                self.unscored,
            )
            self.warned = True
        return np.where(missing, self.unscored, scores.value)

"""TRL's reward functions, in both directions.

Contract (TRL 1.16): ``f(prompts=, completions=, completion_ids=, trainer_state=, log_extra=, log_metric=, **columns)``
gives one float or ``None`` a completion; a row for which every function gives ``None`` has no advantage.
Reference: https://huggingface.co/docs/trl/grpo_trainer#using-a-custom-reward-function
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from guerdon.feedback.schema import Candidates
from guerdon.reward.adapters.rater import COLUMNS, Rater
from guerdon.reward.base import Reward, Scores


def for_trl(
    reward: Reward, *, user: str | None = None, criterion: str | None = None, name: str | None = None
) -> Callable[..., list[float | None]]:
    """``reward`` for ``GRPOTrainer(reward_funcs=...)`` or ``RLOOTrainer``, bound to a person or a criterion.

    A Reward can be passed to TRL as it is, too; the data set's columns ``user`` and ``criterion`` then say who asks.
    ``name`` is what TRL logs it under (default: the reward's name and what it is bound to). Completions without a
    score give ``None``, which TRL leaves out; their share is logged as ``<name>/unscored``.
    """
    rater = Rater(reward, user, criterion)
    label = name or ":".join([reward.name, *(v for v in (user, criterion) if v is not None)])

    def trl_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        kept = {k: v for k, v in columns.items() if isinstance(v, list | tuple) and len(v) == len(prompts)}
        rows = [dict(zip(kept, values, strict=True)) for values in zip(*kept.values(), strict=True)]
        value = rater.scores(prompts, completions, rows or [{}] * len(prompts)).value
        good = np.isfinite(value)
        if "log_metric" in columns and not good.all():
            columns["log_metric"](f"{label}/unscored", float(1 - good.mean()))
        return [float(v) if g else None for v, g in zip(value, good, strict=True)]

    trl_reward.__name__ = label
    return trl_reward


class FromTRL(Reward):
    """A TRL reward function ``f(prompts=, completions=, **columns) -> list[float | None]`` as a Reward."""

    def __init__(self, function: Callable[..., Sequence[float | None]], name: str | None = None) -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)

    def score(self, candidates: Candidates) -> Scores:
        """The function's values; ``None`` abstains."""
        columns: dict[str, Any] = {k: getattr(candidates, k) for k in COLUMNS if getattr(candidates, k) is not None}
        columns = {**candidates.extra, **columns}
        columns |= {"prompts": list(candidates.prompts), "completions": list(candidates.responses)}
        values = self.function(**columns)
        value = np.array([np.nan if v is None else float(v) for v in values])
        return Scores(value, ["abstained" if v is None else "scored" for v in values])

"""verl's ``compute_score``.

Contract (verl 0.7): ``compute_score(data_source=, solution_str=, ground_truth=, extra_info=)`` gives a float or a
dictionary with ``score``, one completion a call, from many threads; the batch form has plural names and gives a list.
Reference: https://verl.readthedocs.io/en/latest/preparation/reward_function.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Text
from guerdon.reward.adapters.rater import Rater
from guerdon.reward.base import Reward


def for_verl(
    reward: Reward,
    *,
    batch: bool = False,
    prompt_key: str = "prompt",
    user: str | None = None,
    criterion: str | None = None,
    unscored: float = 0.0,
) -> Callable[..., Any]:
    """``reward`` as verl's ``compute_score``; ``batch=True`` gives the form of ``reward_manager.name=batch``.

    In a file that ``custom_reward_function.path`` names: ``compute_score = for_verl(guerdon.load("my-reward"))``.
    verl does not pass the prompt: it is read from ``extra_info[prompt_key]`` (``question`` is tried as well), as are
    ``user`` and ``criterion``; ``ground_truth`` becomes the reference.

    Returns, a completion, ``{"score": float, "unscored": 0.0 | 1.0}``; verl logs both.
    """
    rater = Rater(reward, user, criterion, unscored)

    def row(source: Any, truth: Any, extra: Mapping[str, Any] | None) -> tuple[Text, dict[str, Any]]:
        extra = dict(extra or {})
        prompt = extra.pop(prompt_key, None)
        if prompt is None:
            prompt = extra.get("question")
        if prompt is None:
            raise ConfigError(
                f"verl gives reward functions no prompt and extra_info has no {prompt_key!r} (it has: "
                f"{', '.join(map(str, extra)) or 'nothing'}); write the prompt there, or name its key with prompt_key="
            )
        prompt = prompt.tolist() if isinstance(prompt, np.ndarray) else prompt
        return prompt, {"reference": truth, "data_source": source, **extra}

    def rate(sources: Any, solutions: Any, truths: Any, extras: Any) -> list[dict[str, float]]:
        n = len(solutions)
        extras = [None] * n if extras is None else extras
        pairs = [row(*parts) for parts in zip(sources, truths, extras, strict=True)]
        scores = rater.scores([p for p, _ in pairs], list(solutions), [r for _, r in pairs])
        missing = ~np.isfinite(scores.value)
        return [{"score": float(v), "unscored": float(m)} for v, m in zip(rater.filled(scores), missing, strict=True)]

    def compute_score(
        data_source: Any, solution_str: str, ground_truth: Any, extra_info: Any = None, **_: Any
    ) -> dict[str, float]:
        return rate([data_source], [solution_str], [ground_truth], [extra_info])[0]

    def compute_scores(
        data_sources: Any, solution_strs: Any, ground_truths: Any, extra_infos: Any = None, **_: Any
    ) -> list[dict[str, float]]:
        return rate(data_sources, solution_strs, ground_truths, extra_infos)

    return compute_scores if batch else compute_score

"""verifiers' reward functions.

Contract: async functions whose arguments are injected by name. Classic rubrics (``verifiers.Rubric``, up to 0.3) offer
``prompt``, ``completion``, ``answer``, ``info``, ``state`` and the data row's other columns (plural names for groups)
and turn exceptions into 0; v1 reward hooks (``verifiers.v1``, 0.4) offer ``task``, ``trace`` and ``runtime`` and take a
float or a mapping of scores.
Reference: https://docs.primeintellect.ai/verifiers
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from guerdon.reward.adapters.rater import Rater
from guerdon.reward.base import Reward


def for_verifiers(
    reward: Reward,
    *,
    group: bool = False,
    user: str | None = None,
    criterion: str | None = None,
    unscored: float = 0.0,
    name: str | None = None,
) -> Callable[..., Any]:
    """``reward`` as an async verifiers function; verifiers injects what it asks for by parameter name.

    Serves a classic ``Rubric(funcs=[...])`` (``prompt, completion, answer, info``) and a v1 reward hook
    (``task, trace``; plug it with ``[env.taskset.task.rewards]`` or return its result from a ``@vf.reward`` method).
    ``group=True`` gives a classic group function: all rollouts of one prompt scored together, with :meth:`Reward.rank`.
    ``user`` and ``criterion`` come from the data row or its ``info``. An exception would silently become 0 inside a
    classic rubric, so unscored rollouts get ``unscored`` and a warning here; v1 hooks record nothing for them.
    """
    rater = Rater(reward, user, criterion, unscored)
    label = name or reward.name

    def fields(answer: Any, info: Any, **named: Any) -> dict[str, Any]:
        row = dict(info) if isinstance(info, Mapping) else {}
        row |= {k: v for k, v in named.items() if v is not None}
        return {"reference": answer, **row}

    async def one(
        prompt: Any = None,
        completion: Any = None,
        answer: Any = None,
        info: Any = None,
        user: Any = None,
        criterion: Any = None,
        task: Any = None,
        trace: Any = None,
    ) -> Any:
        if trace is not None:
            prompt, completion, row = _from_trace(task, trace)
        else:
            row = fields(answer, info, user=user, criterion=criterion)
        scores = await asyncio.to_thread(rater.scores, [_plain(prompt)], [_plain(completion)], [row])
        if trace is not None and not np.isfinite(scores.value[0]):
            return {}
        return float(rater.filled(scores)[0])

    async def many(prompts: Any, completions: Any, answers: Any = None, infos: Any = None) -> list[float]:
        n = len(prompts)
        rows = [fields(a, i) for a, i in zip(answers or [None] * n, infos or [None] * n, strict=True)]
        texts = [_plain(p) for p in prompts], [_plain(c) for c in completions]
        scores = await asyncio.to_thread(rater.scores, *texts, rows, True)
        return [float(v) for v in rater.filled(scores)]

    function = many if group else one
    function.__name__ = label
    return function


def _from_trace(task: Any, trace: Any) -> tuple[Any, str, dict[str, Any]]:
    """(prompt, response, columns) of a verifiers v1 trace; ``task`` is its immutable data row."""
    data = task if task is not None else trace.task.data
    prompt = data.prompt if data.system_prompt is None else None
    if prompt is None:
        prompt = [m for m in ({"role": "system", "content": data.system_prompt},) if m["content"]]
        asked = data.prompt if not isinstance(data.prompt, str) else [{"role": "user", "content": data.prompt}]
        prompt += _plain(asked or [])
    names = {"user": "user", "criterion": "criterion", "answer": "reference", "reference": "reference"}
    row = {ours: getattr(data, theirs) for theirs, ours in names.items() if getattr(data, theirs, None) is not None}
    return prompt, trace.last_reply, row


def _plain(value: Any) -> Any:
    """Chat messages as dictionaries: verifiers' are pydantic models that answer to ``model_dump``."""
    if value is None or isinstance(value, str):
        return value or ""
    return [m.model_dump(exclude_none=True) if hasattr(m, "model_dump") else dict(m) for m in value]

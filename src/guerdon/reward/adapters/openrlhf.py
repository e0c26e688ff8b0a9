"""OpenRLHF's ``reward_func``.

Contract (OpenRLHF 0.10): ``reward_func(queries, prompts, labels)`` gives ``rewards`` for the advantages, ``scores`` in
[0, 1] for dynamic filtering, and ``extra_logs``. It is called with one completion at a time, from threads.
Reference: https://github.com/OpenRLHF/OpenRLHF/blob/main/examples/python/reward_func.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.reward.adapters.rater import COLUMNS, Rater
from guerdon.reward.base import Reward

CLOSING = re.compile(r"(?:<\|[^<>|]{1,40}\|>|</s>|<eos>|<end_of_turn>|<pad>|\[PAD\])\Z")
OPENING = re.compile(r"(?:\s*(?:<\|[^<>|]{1,40}\|>|<s>|<bos>|\[CLS\]|\ufffd))*")


def for_openrlhf(
    reward: Reward,
    *,
    bounded: bool = False,
    user: str | None = None,
    criterion: str | None = None,
    unscored: float = 0.0,
) -> Callable[..., dict[str, Any]]:
    """``reward`` as ``reward_func(queries, prompts, labels)``, for the file that ``--reward.remote_url`` names.

    A query is the decoded prompt with its response, special tokens included; the response is what follows the prompt,
    without the closing special tokens. A label that is a JSON object may hold ``prompt`` (the plain text, where the
    reward should not see the chat template), ``user``, ``criterion`` and ``reference``; other labels are references.

    Returns ``{"rewards": float32 [n], "scores": float32 [n] in [0, 1], "extra_logs": {"unscored": float32 [n]}}``.
    ``scores`` serve dynamic filtering: the rewards themselves if ``bounded`` (they lie in [0, 1]), else their logistic.
    """
    import torch

    rater = Rater(reward, user, criterion, unscored)

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **_: Any) -> dict[str, Any]:
        rows = [_label(label) for label in labels]
        responses = [_unclosed(_after(query, prompt)) for query, prompt in zip(queries, prompts, strict=True)]
        plain = [row.pop("prompt", prompt) for row, prompt in zip(rows, prompts, strict=True)]
        scores = rater.scores(plain, responses, rows)
        value = torch.tensor(rater.filled(scores), dtype=torch.float32)
        share = torch.tensor(~np.isfinite(scores.value), dtype=torch.float32)
        return {
            "rewards": value,
            "scores": value if bounded else torch.sigmoid(value),
            "extra_logs": {"unscored": share},
        }

    return reward_func


def _label(label: Any) -> dict[str, Any]:
    """Columns of an OpenRLHF label: a (JSON) object with names of ours, or the reference."""
    value = label
    if isinstance(label, str) and label.lstrip().startswith("{"):
        try:
            value = json.loads(label)
        except ValueError:
            value = label
    if isinstance(value, Mapping) and set(value) & {"prompt", *COLUMNS}:
        return dict(value)
    return {"reference": label}


def _after(query: str, prompt: str) -> str:
    """What follows ``prompt`` in ``query``; a long prompt may have lost its beginning to truncation."""
    at = query.find(prompt)
    if at >= 0:
        return query[at + len(prompt) :]
    start = OPENING.match(query).end()  # type: ignore[union-attr] - it matches nothing at all, if need be
    kept = _overlap(prompt, query[start : start + len(prompt)])
    if kept < min(len(prompt), 20):
        raise ConfigError(
            "a query does not contain its prompt, so its response cannot be told apart: the tokenizer does not decode "
            "what it encoded"
        )
    return query[start + kept :]


def _unclosed(text: str) -> str:
    """``text`` without the special tokens it ends with."""
    while closing := CLOSING.search(text.rstrip()):
        text = text[: closing.start()]
    return text


def _overlap(left: str, right: str) -> int:
    """Length of the longest suffix of ``left`` that is a prefix of ``right`` (the prefix function of Knuth et al.)."""
    text = [*right, None, *left]
    border = [0] * len(text)
    for i in range(1, len(text)):
        k = border[i - 1]
        while k and text[i] != text[k]:
            k = border[k - 1]
        border[i] = k + (text[i] == text[k])
    return border[-1]

"""Which tokens' hidden states make the vector of a text: one of them, their mean, or several side by side.

``tokens`` says which count: ``all`` that is read, or the ``response``'s alone, from the first token that holds any of
it. Of these, ``pooling`` takes

============  ======================================================================================================
``last``      the last one (a causal model has read everything there)
``first``     the first one (the mark that BERT-like models begin with)
``mean``      the mean of all
``weighted``  the mean with weights 1, 2, ...: later tokens have read more
a number      the one at that place, 0 the first, -1 the last, -2 the one before; of a text with fewer the nearest
============  ======================================================================================================

``positions=N`` keeps N states instead, evenly spread and ending at the last, side by side [N d]: for rewards that score
every token position and weigh the scores (ideal points). A text of fewer tokens repeats them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

POOLINGS = ("last", "mean", "weighted", "first")
TOKENS = ("all", "response")


class Ids(list[int]):
    """Token ids of one text; those from ``start`` on count."""

    start = 0


def read_pooling(text: str) -> str:
    """A pooling as people write it; ValueError where it is none."""
    if text in POOLINGS or re.fullmatch(r"-?\d{1,6}", text):
        return text
    raise ValueError(f"use one of {', '.join(POOLINGS)}, or the place of a token such as -2")


def start_of(spans: Sequence[tuple[int, int]], boundary: int) -> int:
    """The first token that holds anything behind the character ``boundary``; the last token where none does.

    spans   (first character, character behind the last) of each token; special tokens have (0, 0)
    """
    return next((i for i, (_, end) in enumerate(spans) if end > boundary), max(len(spans) - 1, 0))


def pool(states: torch.Tensor, lengths: torch.Tensor, pooling: str, starts: torch.Tensor | None = None) -> torch.Tensor:
    """[b, d] from hidden states [b, t, d] of texts padded on the right to t tokens.

    lengths  [b] tokens of each text;  starts [b] the first that counts, below its length (0 where not given)
    """
    import torch

    begin = torch.zeros_like(lengths) if starts is None else starts
    rows = torch.arange(len(states), device=states.device)
    if pooling in ("mean", "weighted"):
        place = torch.arange(states.shape[1], device=states.device)[None, :] - begin[:, None]
        weight = ((place >= 0) & (place < (lengths - begin)[:, None])).to(states.dtype)
        if pooling == "weighted":
            weight = weight * (place + 1)
        return (states * weight[:, :, None]).sum(1) / weight.sum(1, keepdim=True)
    place = {"first": 0, "last": -1}.get(pooling)
    place = int(pooling) if place is None else place
    at = begin + place if place >= 0 else lengths + place
    return states[rows, torch.minimum(torch.maximum(at, begin), lengths - 1)]


def spread(states: torch.Tensor, lengths: torch.Tensor, positions: int, starts: torch.Tensor) -> torch.Tensor:
    """[b, positions d] the states of ``positions`` tokens, evenly spread from ``starts`` on, the last one the last."""
    import torch

    share = torch.arange(1, positions + 1, device=states.device)[None, :]
    at = starts[:, None] + (share * (lengths - starts)[:, None] + positions - 1) // positions - 1
    rows = torch.arange(len(states), device=states.device)[:, None]
    return states[rows, at].flatten(1)

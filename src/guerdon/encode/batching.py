"""Which texts go through a model together: longest first, in batches of a bounded number of padded tokens.

Sorting by length makes padding nearly free, and the longest batch first means that what does not fit in memory fails
at once instead of at the end. Texts are tokenised in windows, so that memory stays bounded however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

WINDOW = 16_384


def length_batches(lengths: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Index arrays that cover 0..n-1 once, longest first, each of at most ``budget`` padded tokens (at least one text).

    lengths  int [n] tokens of each text
    """
    order = np.argsort(-lengths, kind="stable")
    at = 0
    while at < len(order):
        size = max(1, budget // max(int(lengths[order[at]]), 1))
        yield order[at : at + size]
        at += size


def encode_in_batches(
    units: Sequence[Any],
    rough_length: Callable[[Any], int],
    tokenize: Callable[[list[Any]], list[Any]],
    forward: Callable[[list[Any]], np.ndarray],
    budget: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Run ``units`` through a model; yields (positions, rows) as they are done.

    rough_length  a cheap length for the order of the windows (characters)
    tokenize      a window of units to one token list each (anything with a ``len``)
    forward       the token lists of one batch to float32 [b, d]
    """
    order = np.argsort(-np.array([rough_length(u) for u in units], dtype=np.int64), kind="stable")
    for lo in range(0, len(order), WINDOW):
        window = order[lo : lo + WINDOW]
        tokens = tokenize([units[i] for i in window])
        lengths = np.array([len(t) for t in tokens], dtype=np.int64)
        for batch in length_batches(lengths, budget):
            yield window[batch], forward([tokens[i] for i in batch])

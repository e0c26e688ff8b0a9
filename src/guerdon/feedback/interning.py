"""Columns of strings as integer codes and a table of the distinct strings, without a Python object per row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from guerdon.errors import FeedbackError


def number_candidates(
    prompt: np.ndarray, response: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """(items, prompt_of, response_of) of judged responses given by the codes of their two texts.

    ``response_of`` [C] is the response of each candidate, or None if candidate i is response i: so it is where no
    response answers two prompts, the usual case, and then no text is copied.
    """
    prompt_of = np.zeros(n, dtype=np.int32)
    prompt_of[response] = prompt
    if np.array_equal(prompt_of[response], prompt):
        return response, prompt_of, None
    key = prompt.astype(np.int64) * n + response
    encoded = pa.array(key).dictionary_encode()
    prompts, responses = np.divmod(np.asarray(encoded.dictionary), n)
    return np.asarray(encoded.indices, dtype=np.int32), prompts.astype(np.int32), responses


def intern(column: Any) -> tuple[np.ndarray, pa.LargeStringArray]:
    """(int32 codes, table of distinct strings) of a column of strings; null becomes -1."""
    array = column if isinstance(column, pa.Array | pa.ChunkedArray) else pa.array(column, type=pa.large_string())
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    if pa.types.is_dictionary(array.type):
        return _intern_dictionary(chunks)
    # one call for all chunks, so that they share one table; 64-bit offsets, because the table may pass 2 GB
    encoded = pa.chunked_array(chunks, array.type).cast(pa.large_string()).dictionary_encode()
    parts = [np.asarray(c.indices.fill_null(-1) if c.null_count else c.indices) for c in encoded.chunks]
    codes = np.concatenate(parts).astype(np.int32, copy=False) if parts else np.zeros(0, np.int32)
    return codes, encoded.chunk(0).dictionary if parts else pa.array([], pa.large_string())


def _intern_dictionary(chunks: list[Any]) -> tuple[np.ndarray, pa.LargeStringArray]:
    """The same for dictionary arrays, whose texts may repeat or go unused: only their dictionaries are looked at."""
    names, parts, used = [], [], 0
    for chunk in chunks:
        indices = np.asarray(chunk.indices.fill_null(-1), dtype=np.int64)
        parts.append(np.where(indices >= 0, indices + used, -1))
        names.append(chunk.dictionary.cast(pa.large_string()))
        used += len(chunk.dictionary)
    codes = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    if not used:
        return codes.astype(np.int32), pa.array([], pa.large_string())
    seen = np.unique(codes[codes >= 0])
    inner, table = intern(pa.chunked_array(names).take(pa.array(seen)))
    renumber = np.full(used + 1, -1, dtype=np.int32)
    renumber[seen] = inner
    return renumber[codes], table


def codes_of(value: Any, table: tuple[str, ...], n: int, name: str) -> np.ndarray:
    """int8 [n] index into ``table`` of one name for all, or of n names; null in ``source`` is unknown."""
    if isinstance(value, str):
        codes, names = np.zeros(n, np.int32), [value] if n else []
    else:
        codes, distinct = intern(value)
        names = distinct.to_pylist()
    for bad in set(names) - set(table):
        raise FeedbackError(f"{name}: unknown value {bad!r}; use one of {', '.join(table)}")
    if name != "source" and (codes < 0).any():
        raise FeedbackError(f"{name}: a value is missing; use one of {', '.join(table)}")
    return np.array([*(table.index(v) for v in names), 0], np.int8)[codes]


def text_or_none(column: Any) -> pa.LargeStringArray | None:
    if column is None:
        return None
    array = column if isinstance(column, pa.Array | pa.ChunkedArray) else pa.array(column, type=pa.large_string())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return None if array.null_count == len(array) else array.cast(pa.large_string())

"""Columns of chat messages to packed strings without a Python object per row.

A chat in Arrow is ``list<struct<role: string, content: string>>``; its packed string is the JSON that
``feedback.messages.pack`` writes: keys sorted, no spaces, nothing escaped that need not be. Only plain chats are done
here: complete roles and text contents, known roles, no further fields, no rare control characters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from guerdon.feedback.messages import MARK, ROLES

pc: Any = pyarrow.compute  # its functions are made at run time, unseen by type checkers

ESCAPES = (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))


def is_chat(kind: pa.DataType) -> bool:
    """True for a list of structs with a role and a content."""
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_struct(kind.value_type):
        return False
    fields = {f.name: f.type for f in kind.value_type}
    return all(pa.types.is_string(fields.get(n, pa.null())) for n in ("role", "content"))


def packed(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The packed strings of a column of chats, large_string; None if a chat is not plain."""
    chunks = []
    for chunk in column.chunks:  # a chunk at a time, so that the steps in between stay small
        done = _packed_chunk(chunk)
        if done is None:
            return None
        chunks.append(done)
    return pa.chunked_array(chunks, pa.large_string())


def _packed_chunk(chats: pa.Array) -> pa.Array | None:
    if not len(chats):
        return pa.array([], pa.large_string())
    if chats.null_count or pc.min(pc.list_value_length(chats)).as_py() < 1:
        return None
    messages = chats.flatten()
    columns = {f.name: messages.field(f.name) for f in messages.type}
    role, content = columns.pop("role"), columns.pop("content")
    if messages.null_count or role.null_count or content.null_count:
        return None
    if any(c.null_count < len(c) for c in columns.values()):
        return None
    if not pc.all(pc.is_in(role, value_set=pa.array(ROLES))).as_py():
        return None
    text = content.cast(pa.large_string())
    present = _special(text)
    if present - {plain for plain, _ in ESCAPES}:
        return None
    for plain, escaped in ESCAPES:
        if plain in present:
            text = pc.replace_substring(text, plain, escaped)
    role = role.cast(pa.large_string())
    objects = _joined('{"content":"', text, '","role":"', role, '"}')
    lengths = np.asarray(pc.list_value_length(chats)).astype(np.int64)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]))
    return _joined(MARK + "[", pc.binary_join(pa.LargeListArray.from_arrays(offsets, objects), _large(",")), "]")


def _special(text: pa.Array) -> set[str]:
    """The characters in a column of text (large_string) that JSON escapes."""
    offsets = np.frombuffer(text.buffers()[1], np.int64)[text.offset : text.offset + len(text) + 1]
    raw = np.frombuffer(text.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    found = {chr(c) for c in np.unique(raw[raw < 32])}
    return found | {c for c in '"\\' if (raw == ord(c)).any()}


def _joined(*parts: Any) -> pa.Array:
    """The parts (texts and columns of text) of each row, one after the other."""
    return pc.binary_join_element_wise(*(_large(p) if isinstance(p, str) else p for p in parts), _large(""))


def _large(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())


def first_roles(column: pa.ChunkedArray) -> set[str]:
    """The roles that the chats of a column begin with; none of them if a chat is empty."""
    roles: set[str] = set()
    for chunk in column.chunks:
        if len(chunk) and (pc.min(pc.list_value_length(chunk)).as_py() or 0) < 1:
            return set()
        starts = pc.list_element(chunk, 0)
        roles |= set(starts.field("role").unique().to_pylist())
    return roles


def longest(column: pa.ChunkedArray) -> int:
    """The largest number of messages of a chat."""
    return pc.max(pc.list_value_length(column)).as_py() or 0

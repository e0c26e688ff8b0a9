"""The rows of JSON lines and of JSON documents, one at a time."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from guerdon.errors import FeedbackError
from guerdon.feedback.readers.record import Record, kind_of

if TYPE_CHECKING:
    from guerdon.feedback.readers.containers import Container

PEEK = 1 << 16
"""Characters read at a time; more for a record that is larger."""


def jsonl_rows(container: Container) -> Iterator[Record]:
    """A row a line; blank lines are none."""
    with container.open() as stream:
        for number, line in enumerate(stream, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.isspace():
                continue
            try:
                raw = line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raw = line.decode("utf-8", "replace").rstrip("\r\n")
                yield Record(number, raw, None, f"not UTF-8 at byte {error.start + 1} of the line; save it as UTF-8")
                continue
            try:
                row = json.loads(raw)
            except ValueError as error:
                yield Record(number, raw, None, f"broken JSON: {error}; each line must be one JSON object")
                continue
            if isinstance(row, dict):
                yield Record(number, raw, row)
            else:
                yield Record(number, raw, None, f"expected a JSON object, got {kind_of(row)}")


def json_rows(container: Container) -> Iterator[Record]:
    """The items of an array, or the rows inside an object (see :func:`_rows_of_document`)."""
    with container.open() as binary, io.TextIOWrapper(binary, "utf-8-sig") as stream:
        try:
            first = stream.read(PEEK)
            if first.lstrip().startswith("["):
                items = _json_items(stream, first.lstrip()[1:])
            else:
                items = iter(_rows_of_document(json.loads(first + stream.read())))
            for number, item in enumerate(items, 1):
                if isinstance(item, dict):
                    yield Record(number, None, item)
                else:
                    yield Record(number, json.dumps(item), None, f"expected a JSON object, got {kind_of(item)}")
        except UnicodeDecodeError as error:
            raise FeedbackError(f"{container.name}: not UTF-8 ({error.reason}); save it as UTF-8") from None
        except ValueError as error:
            raise FeedbackError(f"{container.name}: broken JSON: {error}") from None


def _json_items(stream: IO[str], text: str) -> Iterator[Any]:
    """The items of a JSON array, decoded one at a time; ``text`` follows the opening bracket."""
    decoder, number = json.JSONDecoder(), 0
    while True:
        text = text.lstrip()
        while not text:
            text = stream.read(PEEK)
            if not text:
                raise ValueError(f"the closing ']' after record {number} is missing")
            text = text.lstrip()
        if text[0] == "]":
            return
        if number and text[0] != ",":
            raise ValueError(f"expected a comma or the closing ']' after record {number}")
        text, size, ended = text[1:] if number else text, PEEK, False
        number += 1
        while True:
            text = text.lstrip()
            try:
                item, end = decoder.raw_decode(text)
                if ended or text[end:].strip():  # what ends where the text ends may go on in what was not read yet
                    break
            except ValueError as error:
                if ended:
                    raise ValueError(f"record {number}: {error}") from None
            block = stream.read(size)
            ended, size = not block, size * 2  # doubling keeps a huge record from being parsed over and over
            text += block
        yield item
        text = text[end:]


def _rows_of_document(document: Any) -> list[Any]:
    """The rows inside a JSON object: its list of objects, its equally long columns, or the object itself."""
    if not isinstance(document, dict):
        return [document]
    lists = {k: v for k, v in document.items() if isinstance(v, list)}
    nested = {k: v for k, v in lists.items() if v and all(isinstance(x, dict) for x in v)}
    for key in ("data", "rows", "examples", "train", "judgements"):
        if key in nested:
            return nested[key]
    if len(nested) == 1 and len(lists) == 1 and "prompt" not in document:
        return next(iter(nested.values()))
    if lists and len(lists) == len(document) > 1 and len({len(v) for v in lists.values()}) == 1:
        return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
    return [document]


def jsonl_lines(container: Container) -> Iterator[Record]:
    """The lines of a JSONL container that are not blank, unparsed."""
    with container.open() as stream:
        for number, line in enumerate(stream, 1):
            if not line.isspace():
                yield Record(number, line.decode("utf-8", "replace").rstrip("\r\n"), None)

"""Rows of a file as candidates: what `guerdon score` and `guerdon best` read.

A row holds a prompt (``prompt``, ``messages``, ``question`` ...) and one ``response`` or a list of ``responses``; or
``messages`` alone, whose last message is the response. Columns ``user``, ``criterion`` and ``reference`` are used,
all others are handed to the reward as ``extra``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import Text, check_messages
from guerdon.feedback.readers.containers import containers_of, records
from guerdon.feedback.schema import Candidates

PROMPT = ("prompt", "messages", "question", "instruction", "query")
RESPONSE = ("response", "completion", "answer", "output")
RESPONSES = ("responses", "completions", "candidates", "answers", "outputs")
FIELDS = ("prompt", "response", "responses", "user", "criterion", "reference")


@dataclass
class Item:
    """One row: as it was found, and what it asks to be scored. ``error`` says why it cannot be."""

    row: dict[str, Any]
    prompt: Text = ""
    responses: list[Text] = field(default_factory=list)
    listed: bool = False
    """The row holds a list of responses (its scores are a list, too)."""
    columns: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


def mapping(texts: Iterable[str]) -> dict[str, str]:
    """``["prompt=question,response=text"]`` as ``{"prompt": "question", "response": "text"}`` (ours = the file's)."""
    out: dict[str, str] = {}
    for part in (part for text in texts for part in text.split(",")):
        ours, sep, theirs = (piece.strip() for piece in part.partition("="))
        if not sep or ours not in FIELDS or not theirs:
            raise ConfigError(f"--map {part!r}: write FIELD=COLUMN; the fields are {', '.join(FIELDS)}")
        out[ours] = theirs
    return out


def read_items(
    source: str,
    *,
    names: Mapping[str, str] | None = None,
    user: str | None = None,
    criterion: str | None = None,
    skip_bad: bool = False,
    images: bool = False,
) -> Iterator[Item]:
    """Every row of ``source`` in order. ``user`` and ``criterion`` override the columns of that name.

    images   a row whose images are no good files cannot be used, either

    Raises
    ------
    FeedbackError
        at the first row that cannot be used, with file, row, field and mend; with ``skip_bad`` the row is given with
        its ``error`` instead
    """
    bound = {k: v for k, v in {"user": user, "criterion": criterion}.items() if v is not None}
    for container in containers_of(source):
        flat = container.kind in ("csv", "tsv")
        for record in records(container):
            error = record.error
            item = Item(record.row if record.row is not None else {"row": record.number, "raw": record.raw})
            if record.row is not None:
                try:
                    item = _item(record.row, names or {}, bound, flat)
                    if images:
                        _check_images(item)
                except FeedbackError as problem:
                    error = str(problem)
            if error is not None:
                item.error = f"{container.where(record.number)}: {error}"
                if not skip_bad:
                    raise FeedbackError(f"{item.error} (--skip-bad marks such rows as invalid and goes on)")
            yield item


def _item(row: dict[str, Any], names: Mapping[str, str], bound: Mapping[str, Any], flat: bool) -> Item:
    prompt_name = _find(row, names, "prompt", PROMPT)
    one, many = _find(row, names, "response", RESPONSE), _find(row, names, "responses", RESPONSES)
    if prompt_name is None:
        raise FeedbackError(f"no prompt; the row has {_names(row)}: name it with --map prompt=COLUMN")
    prompt = _text(row[prompt_name], prompt_name, flat)
    if many is not None:
        values = _parsed(row[many]) if flat else row[many]
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise FeedbackError(f"{many}: expected a list of responses, got {_kind(values)}")
        responses = [_text(v, f"{many}[{i}]", flat) for i, v in enumerate(values)]
    elif one is not None:
        responses = [_text(row[one], one, flat)]
    elif isinstance(prompt, list) and prompt and prompt[-1].get("role") == "assistant":
        prompt, responses = prompt[:-1], [cast(Text, prompt[-1:])]
    else:
        raise FeedbackError(f"no response; the row has {_names(row)}: name it with --map response=COLUMN")
    columns = {k: v for k, v in row.items() if k not in (prompt_name, one, many)}
    for ours in ("user", "criterion", "reference"):
        if ours in names:
            columns[ours] = row.get(names[ours])
    for ours in ("user", "criterion"):
        if ours in columns:  # an empty cell of a CSV file is nobody
            columns[ours] = None if columns[ours] in (None, "") else str(columns[ours])
    return Item(row, prompt, responses, many is not None, {**columns, **bound})


def _check_images(item: Item) -> None:
    from guerdon.generate.pictures import check_file, images_in

    for name, text in (("prompt", item.prompt), *(("response", response) for response in item.responses)):
        for source in images_in(text):
            check_file(source, name)


def _find(row: Mapping[str, Any], names: Mapping[str, str], ours: str, usual: Sequence[str]) -> str | None:
    """The column that holds field ``ours``: the one the user named, or the first of the usual names with a value."""
    if ours in names:
        if names[ours] not in row:
            raise FeedbackError(f"no column {names[ours]!r} (--map {ours}={names[ours]}); the row has {_names(row)}")
        return names[ours]
    return next((name for name in usual if row.get(name) is not None), None)


def _text(value: Any, name: str, flat: bool) -> Text:
    """A prompt or response: text, or chat messages (a single message is a chat of one)."""
    if isinstance(value, str):
        return check_messages(_parsed(value), name) if flat and value.startswith('[{"') else value
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, list):
        return check_messages([_clean(message) for message in value], name)
    raise FeedbackError(f"{name}: expected text or chat messages, got {_kind(value)}")


def _clean(message: Any) -> Any:
    """Columnar files give every message every field; the empty ones were never there."""
    return {k: v for k, v in message.items() if v is not None} if isinstance(message, Mapping) else message


def _parsed(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r:.40}"


def _names(row: Mapping[str, Any]) -> str:
    return ", ".join(map(str, row)) or "no columns"


def batches(items: Iterable[Item], size: int, *, rescue: bool = False) -> Iterator[list[Item]]:
    """Consecutive rows with at least ``size`` candidates together (the last batch may have fewer).

    ``rescue`` gives the rows before an unusable one as a batch of their own before raising its error.
    """
    batch: list[Item] = []
    count = 0
    try:
        for item in items:
            batch.append(item)
            count += max(len(item.responses), 1)
            if count >= size:
                yield batch
                batch, count = [], 0
    except FeedbackError:
        if rescue and batch:
            yield batch
        raise
    if batch:
        yield batch


def to_candidates(items: Sequence[Item]) -> Candidates:
    """The candidates of ``items`` in order, flat; a column that only some rows have is None in the others."""
    rows = [(item, response) for item in items if item.error is None for response in item.responses]
    names = {name: None for item in items if item.error is None for name in item.columns}
    columns = {name: [item.columns.get(name) for item, _ in rows] for name in names}
    known = {name: columns.pop(name) for name in ("user", "criterion", "reference") if name in columns}
    return Candidates([item.prompt for item, _ in rows], [r for _, r in rows], **known, extra=columns)  # type: ignore[arg-type]

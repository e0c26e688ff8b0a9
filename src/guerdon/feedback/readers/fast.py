"""The fast path: whole columns through Arrow instead of rows through Python.

A format may state its meaning a second time for columns (:class:`Fast`). Whatever is not plain, complete and of one
type makes it step aside (:class:`NotFast`), and the rows are read one by one, which is exact about every mistake. So
the fast path never decides that something is wrong, it only has to be right when everything is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from guerdon.feedback.messages import MARK
from guerdon.feedback.readers import chats
from guerdon.feedback.readers.containers import Container
from guerdon.feedback.readers.formats import META, Sample, Tally
from guerdon.feedback.readers.mapping import Mapping as ColumnMapping
from guerdon.feedback.readers.table_rows import delimiter_of, tables
from guerdon.feedback.schema import SOURCES

pc: Any = pyarrow.compute  # its functions are made at run time, unseen by type checkers

BLOCK = 8 << 20
"""Bytes Arrow parses at a time; a line must fit."""


class NotFast(Exception):
    """These rows are not for the fast path."""


@dataclass(frozen=True)
class Fast:
    """The columns a format's fast path needs: ``texts`` must be there and be text or chats, ``numbers`` may be.

    ``columns`` returns the keyword arguments of ``Feedback.from_columns``; ``responses`` may be a tuple of k columns,
    the responses of every judgement in order.
    """

    texts: tuple[str, ...]
    numbers: tuple[str, ...]
    columns: Callable[[Columns], dict[str, Any]]
    also: tuple[str, ...] = ()
    """Further columns, of any type."""


class Columns:
    """The columns of a table with their types checked; anything odd raises :class:`NotFast`."""

    def __init__(self, table: pa.Table, tally: Tally, *, packed: bool = False) -> None:
        self.table, self.tally, self.packed = table, tally, packed

    def __len__(self) -> int:
        return self.table.num_rows

    def has(self, name: str) -> bool:
        """True if the column exists and is not empty throughout."""
        return name in self.table.column_names and self.table[name].null_count < self.table.num_rows

    def refuse(self, odd: bool) -> None:
        """Leave the fast path if something is ``odd``."""
        if odd:
            raise NotFast

    def text(self, name: str) -> pa.ChunkedArray:
        """A complete column of plain text, as large_string."""
        if name not in self.table.column_names:
            raise NotFast
        column = self.optional_text(name)
        self.refuse(column.null_count > 0)
        if not self.packed:
            self.refuse(bool(pc.any(pc.starts_with(column, MARK)).as_py()))
        return column

    def text_or_chat(self, name: str) -> pa.ChunkedArray:
        """A complete column of plain text or of plain chats, packed."""
        if name not in self.table.column_names or not chats.is_chat(self.table[name].type):
            return self.text(name)
        column = chats.packed(self.table[name])
        if column is None:
            raise NotFast
        return column

    def is_chat(self, name: str) -> bool:
        """True if the column holds chat messages."""
        return name in self.table.column_names and chats.is_chat(self.table[name].type)

    def forget(self, name: str) -> None:
        """Let go of a column that is not needed again, so that its memory is."""
        self.table = self.table.drop_columns([name])

    def optional_text(self, name: str) -> pa.ChunkedArray:
        """A column of text with nulls."""
        column = self.table[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        self.refuse(not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)))
        return column.cast(pa.large_string())

    def number(self, name: str) -> np.ndarray:
        """A complete column of numbers, float64."""
        column = self.table[name]
        self.refuse(
            column.null_count > 0 or not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type))
        )
        return np.asarray(column.cast(pa.float64()))

    def optional_number(self, name: str) -> np.ndarray:
        """A column of numbers, float64, NaN where there is none."""
        column = self.table[name]
        self.refuse(not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)))
        return np.asarray(column.cast(pa.float64()).fill_null(np.nan))

    def label(self, name: str, *, empty: bool = False) -> pa.ChunkedArray:
        """A column of names: text, or whole numbers as text; empty text is no name unless ``empty``."""
        column = self.table[name]
        if pa.types.is_integer(column.type):
            return column.cast(pa.large_string())
        column = self.optional_text(name)
        blank = pc.equal(column, "")
        if empty or not pc.any(blank).as_py():
            return column
        return pc.if_else(blank, pa.scalar(None, pa.large_string()), column)

    def meta(self, *targets: str) -> dict[str, Any]:
        """The columns ``targets`` of META (default all) that are there, as ``Row.meta`` takes them."""
        out: dict[str, Any] = {}
        for target in targets or META:
            present = [n for n in META[target] if self.has(n)]
            if not present:
                continue
            # rows may take the name from different columns only if the likeliest has gaps
            self.refuse(len(present) > 1 and self.table[present[0]].null_count > 0)
            name = present[0]
            if target == "weight":
                out[target] = self.number(name)
            elif target == "time":
                self.refuse(not _is_number(self.table[name].type))
                time = np.asarray(self.table[name].cast(pa.float64()).fill_null(np.nan))
                out[target] = np.where(time > 1e11, time / 1000, time)
            elif target == "source":
                self.refuse(not _is_text(self.table[name].type))
                known = pc.is_in(self.table[name], value_set=pa.array(SOURCES, self.table[name].type))
                if pc.any(known).as_py():
                    out[target] = pc.if_else(known, self.table[name], pa.scalar("unknown", self.table[name].type))
            elif target == "comment":
                out[target] = self.label(name) if _is_text(self.table[name].type) else self.refuse(True)
            else:
                out[target] = self.label(name)
        return out


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def load(container: Container, sample: Sample, fast: Fast, mapping: ColumnMapping) -> pa.Table:
    """The container as one table under its mapped names; raises :class:`NotFast`.

    Text columns are checked to be UTF-8.
    """
    for name in fast.texts:
        if not (sample.kinds(name) <= {str} or sample.kinds(name) <= {list}):
            raise NotFast
    renamed, constants = mapping.renamed(), mapping.constants()
    if renamed is None:
        raise NotFast
    original = {new: old for old, new in renamed.items()}
    sample = Sample(tuple(f for f in sample.fields if f not in constants), sample.rows)
    try:
        if container.kind == "jsonl":
            table = _load_jsonl(container, sample, fast, original)
        elif container.kind in ("csv", "tsv"):
            table = _load_csv(container, sample, fast, original)
        elif container.kind in ("parquet", "arrow", "table") and not isinstance(container.table, list):
            table = pa.concat_tables([t.select(_wanted(t.column_names, fast, original)) for t in tables(container)])
        else:
            raise NotFast
        if mapping:
            kept = [n for n in table.column_names if n in renamed or n not in mapping.targets]
            table = table.select(kept).rename_columns([renamed.get(n, n) for n in kept])
            for name, value in constants.items():
                table = table.append_column(name, pa.repeat(pa.scalar(value), table.num_rows))
        table.validate(full=True)
    except (pa.ArrowException, OSError, EOFError):
        raise NotFast from None
    return table


def _wanted(names: list[str], fast: Fast, original: Mapping[str, str]) -> list[str]:
    meta = {n for group in META.values() for n in group}
    wanted = {original.get(n, n) for n in {*fast.texts, *fast.numbers, *fast.also, *meta}}
    return [n for n in names if n in wanted]


def _load_jsonl(container: Container, sample: Sample, fast: Fast, original: Mapping[str, str]) -> pa.Table:
    """All columns are parsed, so that one which appears late in the file is not missed; only the wanted are kept."""
    import pyarrow.json as pj

    schema = []
    for name in sample.fields:
        kinds = sample.kinds(name)
        if kinds == {str}:
            schema.append((original.get(name, name), pa.string()))  # stated, lest dates be taken for timestamps
        elif name in fast.numbers and kinds <= {int, float}:
            schema.append((original.get(name, name), pa.float64()))
    options = pj.ParseOptions(explicit_schema=pa.schema(schema), unexpected_field_behavior="infer")
    with container.open() as stream:
        source = str(container.path) if container.compression is None and container.path else stream
        table = pj.read_json(source, read_options=pj.ReadOptions(block_size=BLOCK), parse_options=options)
    return table.select(_wanted(table.column_names, fast, original))


def _load_csv(container: Container, sample: Sample, fast: Fast, original: Mapping[str, str]) -> pa.Table:
    import pyarrow.csv as pv

    with container.open() as stream:
        header = stream.readline().decode("utf-8-sig")
    numbers = {*fast.numbers, "weight", *META["time"]}
    types = {original.get(n, n): pa.string() for n in sample.fields if n not in numbers}
    options = pv.ConvertOptions(
        column_types=types, include_columns=_wanted([original.get(n, n) for n in sample.fields], fast, original)
    )
    parse = pv.ParseOptions(delimiter=delimiter_of(container.kind, header), newlines_in_values=True)
    with container.open() as stream:
        return pv.read_csv(stream, convert_options=options, parse_options=parse)

"""Rows to files: JSON lines as they are made, and from them the finished JSONL, JSON, CSV or Parquet file.

Equal rows give equal bytes (no times inside gzip, columns in the order in which they first appear), and nothing is
ever held in memory beyond some thousand rows.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from guerdon.errors import ConfigError

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
CHUNK = 4096


def format_of(path: Path) -> str:
    """``jsonl``, ``json``, ``csv``, ``tsv`` or ``parquet`` by the file's name; the text formats may end in ``.gz``."""
    suffixes = [s.lower() for s in path.suffixes]
    zipped = bool(suffixes) and suffixes[-1] == ".gz"
    kind = FORMATS.get(suffixes[-2] if zipped and len(suffixes) > 1 else suffixes[-1] if suffixes else "")
    if kind is None or (zipped and kind == "parquet"):
        known = ", ".join(FORMATS)
        raise ConfigError(f"--out {path}: unknown kind of file; end it in {known} (all but .parquet also .gz)")
    return kind


def line(row: dict[str, Any]) -> bytes:
    """One JSON line; NaN and infinities become null, dates their ISO text."""
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=_default)
    except ValueError:
        text = json.dumps(_finite(row), ensure_ascii=False, allow_nan=False, default=_default)
    return text.encode("utf-8", "replace") + b"\n"


def _default(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def finish(part: Path, out: Path, source: Path | None = None, types: dict[str, str] | None = None) -> None:
    """Make ``out`` of the JSON lines in ``part``, in one step at the end.

    source   the Parquet file the rows came from, row for row: a Parquet ``out`` then keeps its columns exactly as they
             are and adds the new ones
    types    Arrow types of Parquet columns that hold nothing but null (text where not given)
    """
    kind = format_of(out)
    if kind == "jsonl" and out.suffix != ".gz":
        os.replace(part, out)
        return
    temp = out.with_name(f"{out.name}.{os.getpid()}.part")
    try:
        if kind == "parquet":
            _write_parquet(part, temp, source, types or {})
        elif kind in ("csv", "tsv"):
            _write_csv(part, temp, zipped=out.suffix == ".gz", delimiter="," if kind == "csv" else "\t")
        else:
            _write_json(part, temp, zipped=out.suffix == ".gz", array=kind == "json")
        os.replace(temp, out)
    finally:
        temp.unlink(missing_ok=True)


def write_rows(rows: Iterable[dict[str, Any]], out: Path) -> None:
    """Write rows to ``out`` in one step; a killed process leaves ``out`` as it was."""
    format_of(out)
    part = out.with_name(f"{out.name}.{os.getpid()}.rows.part")
    try:
        with part.open("wb") as file:
            file.writelines(line(row) for row in rows)
        finish(part, out)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written ({error.strerror})") from None
    finally:
        part.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------------- the formats


def _rows(part: Path) -> Iterator[dict[str, Any]]:
    with part.open("rb") as file:
        for text in file:
            yield json.loads(text)


def _chunks(part: Path) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for row in _rows(part):
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


@contextmanager
def _text(path: Path, zipped: bool) -> Iterator[TextIO]:
    with path.open("wb") as raw:
        binary: Any = gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) if zipped else raw
        with io.TextIOWrapper(binary, "utf-8", newline="") as text:
            yield text


def _write_json(part: Path, temp: Path, *, zipped: bool, array: bool) -> None:
    with _text(temp, zipped) as file, part.open("rb") as lines:
        if array:
            file.write("[")
        for number, text in enumerate(lines):
            row = text.decode("utf-8").rstrip("\n")
            file.write(f"{',' if number else ''}\n{row}" if array else f"{row}\n")
        if array:
            file.write("\n]\n")


def _write_csv(part: Path, temp: Path, *, zipped: bool, delimiter: str) -> None:
    columns = list({name: None for row in _rows(part) for name in row})
    with _text(temp, zipped) as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(row.get(name)) for name in columns] for row in _rows(part))


def _cell(value: Any) -> Any:
    """Text as it is, nothing as an empty cell, all else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _write_parquet(part: Path, temp: Path, source: Path | None, types: dict[str, str]) -> None:
    if source is None:
        schema, mixed = _schema(part, set(), types)
        with pq.ParquetWriter(temp, schema) as writer:
            for chunk in _chunks(part):
                writer.write_table(_table(chunk, schema, mixed))
        return
    with pq.ParquetFile(source) as file:
        old = file.schema_arrow
        schema, mixed = _schema(part, set(old.names), types)
        lines = _rows(part)
        with pq.ParquetWriter(temp, pa.unify_schemas([old.remove_metadata(), schema])) as writer:
            for batch in file.iter_batches(batch_size=CHUNK):
                table = pa.Table.from_batches([batch])
                added = _table([next(lines) for _ in range(table.num_rows)], schema, mixed)
                for column in added.column_names:
                    table = table.append_column(column, added.column(column))
                writer.write_table(table)


def _schema(part: Path, without: set[str], types: dict[str, str]) -> tuple[pa.Schema, set[str]]:
    """(one schema that fits all rows, the columns whose values do not fit one type and are stored as JSON text)."""
    found: dict[str, pa.DataType] = {}
    mixed: set[str] = set()
    for chunk in _chunks(part):
        for name in {name: None for row in chunk for name in row}:
            if name in mixed or name in without:
                continue
            try:
                kind = pa.array([row.get(name) for row in chunk]).type
                found[name] = pa.unify_schemas(
                    [pa.schema([(name, found.get(name, pa.null()))]), pa.schema([(name, kind)])],
                    promote_options="permissive",
                ).types[0]
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
                mixed.add(name)
                found[name] = pa.string()
    for name, kind in found.items():
        if pa.types.is_null(kind):
            found[name] = pa.type_for_alias(types.get(name, "string"))
    return pa.schema(list(found.items())), mixed


def _table(rows: list[dict[str, Any]], schema: pa.Schema, mixed: set[str]) -> pa.Table:
    columns = []
    for name, kind in zip(schema.names, schema.types, strict=True):
        values = [row.get(name) for row in rows]
        if name in mixed:
            values = [None if v is None else json.dumps(v, ensure_ascii=False) for v in values]
        columns.append(pa.array(values, type=kind))
    return pa.table(columns, schema=schema)

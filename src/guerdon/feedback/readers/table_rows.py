"""The rows of tables: CSV and TSV, Parquet, Arrow, and objects in memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from guerdon.errors import FeedbackError
from guerdon.feedback.readers.record import Record, kind_of

if TYPE_CHECKING:
    from guerdon.feedback.readers.containers import Container

BATCH = 1024
"""Rows of a columnar container that are held at a time."""


def csv_rows(container: Container) -> Iterator[Record]:
    """The rows under the header; their number is that of their first line."""
    csv.field_size_limit(max(csv.field_size_limit(), 1 << 30))  # the default of 128 KiB is shorter than long answers
    with container.open() as binary, io.TextIOWrapper(binary, "utf-8-sig", newline="") as stream:
        try:
            header_line = stream.readline()
            reader = csv.reader(stream, delimiter=delimiter_of(container.kind, header_line), strict=True)
            header = next(csv.reader([header_line], delimiter=delimiter_of(container.kind, header_line)), [])
            if len(set(header)) != len(header):
                twice = next(h for h in header if header.count(h) > 1)
                raise FeedbackError(f"{container.name}:1: column {twice!r} occurs twice; rename one")
            start = 2
            for cells in reader:
                number, start = start, reader.line_num + 2
                if not cells:
                    continue
                if len(cells) != len(header):
                    raw = ",".join(cells)
                    yield Record(number, raw, None, f"{len(cells)} cells in a table of {len(header)} columns")
                else:
                    yield Record(number, None, dict(zip(header, cells, strict=True)))
        except UnicodeDecodeError as error:
            raise FeedbackError(f"{container.name}: not UTF-8 ({error.reason}); save it as UTF-8") from None
        except csv.Error as error:
            raise FeedbackError(f"{container.name}: broken {container.kind.upper()}: {error}") from None


def delimiter_of(kind: str, header: str) -> str:
    """The character between the cells: a tab in TSV, else the most frequent of comma, semicolon and tab."""
    return "\t" if kind == "tsv" else max(",;\t", key=header.count)


def tables(container: Container) -> Iterator[pa.Table]:
    """The rows of a columnar container (parquet, arrow, table) as Arrow tables of some thousand rows each."""
    source = container.table
    if container.kind == "parquet":
        with _parquet_file(container) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                yield pa.Table.from_batches([batch])
    elif container.kind == "arrow":
        yield from (pa.Table.from_batches([b]) for b in _arrow_batches(container))
    elif isinstance(source, pa.Table):
        yield from (pa.Table.from_batches([b]) for b in source.to_batches(max_chunksize=BATCH))
    else:
        yield from source.with_format("arrow").iter(batch_size=BATCH)


def metadata(container: Container) -> dict[bytes, bytes]:
    """The metadata of the schema of a Parquet file; empty for everything else."""
    if container.kind != "parquet":
        return {}
    with _parquet_file(container) as file:
        return dict(file.schema_arrow.metadata or {})


def _parquet_file(container: Container) -> Any:
    import pyarrow.parquet as pq

    if container.compression is None:
        return pq.ParquetFile(container.path)
    with container.open() as stream:
        return pq.ParquetFile(io.BytesIO(stream.read()))


def _arrow_batches(container: Container) -> Iterator[pa.RecordBatch]:
    with container.open() as stream:
        if stream.read(6) == b"ARROW1":
            stream.seek(0)
            reader = pa.ipc.open_file(stream)
            yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            stream.seek(0)
            yield from pa.ipc.open_stream(stream)


def columnar_rows(container: Container) -> Iterator[Record]:
    """The rows of Parquet, Arrow, a pyarrow.Table or a datasets.Dataset."""
    number = 0
    for table in tables(container):
        for row in table.to_pylist():
            number += 1
            yield Record(number, None, row)


def object_rows(container: Container) -> Iterator[Record]:
    """The rows of an object in memory."""
    if not isinstance(container.table, list):
        yield from columnar_rows(container)
        return
    for number, row in enumerate(container.table, 1):
        if isinstance(row, dict):
            yield Record(number, None, row)
        else:
            yield Record(number, repr(row), None, f"expected a dict, got {kind_of(row)}")

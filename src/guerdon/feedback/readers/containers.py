"""Containers: what rows are stored in. Any source of rows, opened by content rather than by name, and streamed.

``container_of(source)`` says what a source is; ``rows(source)`` yields ``(number, row)`` with 1-based numbers: the line
for JSONL and CSV/TSV, the record for JSON documents, Parquet, Arrow and objects in memory. Nothing is held in memory
beyond one batch, except a JSON document whose top level is an object.

Sources: a path (``.jsonl .json .csv .tsv .parquet .arrow``, each also ``.gz``, ``.bz2`` or ``.zst``; other names are
recognised by content), a directory of such files, ``-`` (standard input), ``hf:org/name[/config][:split]`` (through
``datasets``), or an object: a ``pyarrow.Table``, a ``datasets.Dataset``, a pandas DataFrame, a list of dicts.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from guerdon.errors import FeedbackError, need
from guerdon.feedback.readers.json_rows import json_rows, jsonl_lines, jsonl_rows
from guerdon.feedback.readers.record import Record
from guerdon.feedback.readers.table_rows import columnar_rows, csv_rows, object_rows

KINDS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
ASIDE = ("dataset_info.json", "dataset_dict.json", "dataset_infos.json", "state.json", "config.json")
"""Files that lie beside data and are none."""

PEEK = 1 << 16


@dataclass
class Container:
    """One stream of rows. ``kind``: jsonl, json, csv, tsv, parquet, arrow or table (rows in memory)."""

    kind: str
    name: str
    """What messages call it."""
    path: Path | None = None
    compression: str | None = None
    table: Any = None
    """The object behind kind ``table``: a pyarrow.Table, a datasets.Dataset or a sequence of dicts."""
    stream: IO[bytes] | None = None
    """Standard input that has not been spooled yet."""
    _spool: Any = field(default=None, repr=False)

    def where(self, row: int) -> str:
        """``file:12`` for lines, ``file, record 12`` otherwise."""
        return f"{self.name}:{row}" if self.kind in ("jsonl", "csv", "tsv") else f"{self.name}, record {row}"

    def spooled(self) -> Container:
        """The same container on a seekable file: standard input is copied to a temporary file first."""
        if self.stream is None:
            return self
        self._spool = tempfile.NamedTemporaryFile(prefix="guerdon-stdin-")  # noqa: SIM115 - lives as long as self
        shutil.copyfileobj(self.stream, self._spool)
        self._spool.flush()
        self.path, self.stream = Path(self._spool.name), None
        return self

    def open(self) -> IO[bytes]:
        """The decompressed bytes."""
        raw: Any = self.stream or (self.path.open("rb") if self.path else io.BytesIO())
        if self.compression == "gzip":
            return io.BufferedReader(gzip.GzipFile(fileobj=raw), PEEK)  # type: ignore[arg-type]
        if self.compression == "bz2":
            return io.BufferedReader(bz2.BZ2File(raw), PEEK)  # type: ignore[arg-type]
        if self.compression == "zstd":
            return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd"), PEEK)  # type: ignore[arg-type]
        return raw


DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, pa.ArrowException)
"""What a truncated or garbled file raises while it is read."""


def rows(source: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """``(number, row)`` of every row of ``source``; numbers are 1-based and start again with each file of a directory.

    Raises :class:`FeedbackError` naming file, row and mend at the first row that cannot be read.
    """
    for container in containers_of(source):
        for record in records(container):
            if record.row is None:
                raise FeedbackError(f"{container.where(record.number)}: {record.error}")
            yield record.number, record.row


def container_of(source: Any) -> Container:
    """What ``source`` is. Raises :class:`FeedbackError` for several files, a missing or an empty file."""
    found = containers_of(source)
    if len(found) != 1:
        raise FeedbackError(f"{source}: {len(found)} data files in this directory; name one of them")
    return found[0]


def containers_of(source: Any) -> list[Container]:
    """The containers of ``source``: one, or for a directory all its data files in the order of their names."""
    if isinstance(source, Container):
        return [source]
    if not isinstance(source, str | os.PathLike):
        return [_of_object(source)]
    text = os.fspath(source)
    if text == "-":
        return [_of_stdin()]
    if text.startswith("hf:"):
        return [_of_hub(text[3:])]
    path = Path(text)
    if path.is_dir():
        files = data_files(path)
        if not files:
            raise FeedbackError(f"{path}: no data files here; looked for {', '.join(KINDS)} (also .gz, .bz2, .zst)")
        return [_of_file(f, str(f)) for f in files]
    return [_of_file(path, text)]


def data_files(directory: Path) -> list[Path]:
    """The data files below ``directory``, by suffix, without hidden ones, sorted."""
    out = []
    for path in sorted(directory.rglob("*")):
        parts = path.relative_to(directory).parts
        if path.name in ASIDE or any(p.startswith((".", "_")) for p in parts) or not path.is_file():
            continue
        if kind_by_name(path)[0]:
            out.append(path)
    return out


def kind_by_name(path: Path) -> tuple[str | None, str | None]:
    """(kind, compression) by the suffixes of a file name; None where they say nothing."""
    suffixes = [s.lower() for s in path.suffixes]
    compression = COMPRESSIONS.get(suffixes.pop()) if suffixes and suffixes[-1] in COMPRESSIONS else None
    return (KINDS.get(suffixes[-1]) if suffixes else None), compression


# ---------------------------------------------------------------------- what is it


def _of_file(path: Path, name: str) -> Container:
    try:
        with path.open("rb") as f:
            head = f.read(PEEK)
    except FileNotFoundError:
        raise FeedbackError(f"{name}: no such file or directory") from None
    except OSError as error:
        raise FeedbackError(f"{name}: cannot be read: {error.strerror}") from None
    if not head:
        raise FeedbackError(f"{name}: the file is empty")
    container = Container("", name, path=path)
    return _recognise(container, head, kind_by_name(path)[0])


def _of_stdin() -> Container:
    stream = io.BufferedReader(sys.stdin.buffer, PEEK)  # type: ignore[arg-type]
    head = stream.peek(PEEK)
    if not head:
        raise FeedbackError("standard input: nothing came; pipe a file into it")
    container = _recognise(Container("", "standard input", stream=stream), head, None)
    return container.spooled() if container.kind in ("parquet", "arrow", "json") else container


def _recognise(container: Container, head: bytes, by_name: str | None) -> Container:
    for magic, compression in MAGIC.items():
        if head.startswith(magic):
            container.compression = compression
            if container.stream is not None:
                container.spooled()
            head = _first_bytes(container)
    container.kind = _kind_by_content(head, by_name, container.name)
    return container


def _first_bytes(container: Container) -> bytes:
    try:
        with container.open() as stream:
            return stream.read(PEEK)
    except (*DAMAGED, OSError) as error:
        raise FeedbackError(f"{container.name}: damaged {container.compression} data: {error}") from None


def _kind_by_content(head: bytes, by_name: str | None, name: str) -> str:
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "arrow"
    if by_name in ("parquet", "arrow"):
        raise FeedbackError(f"{name}: this is not a {by_name} file; rename it or write it again")
    if b"\0" in head[:4096] and by_name is None:
        raise FeedbackError(f"{name}: binary data of an unknown kind; give JSONL, JSON, CSV, TSV or Parquet")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if by_name in ("csv", "tsv"):
        return by_name
    first, _, rest = text.partition(b"\n")
    if text.startswith(b"["):  # an array, unless it is a stray first line of JSONL
        return "jsonl" if by_name == "jsonl" and rest.strip() and _is_json(first) else "json"
    if text.startswith(b"{"):
        one = _is_json(first) and not (by_name == "json" and not rest.strip())
        return "jsonl" if one or by_name == "jsonl" else "json"
    if by_name is not None:  # .json or .jsonl that is neither: let the parser name the line
        return "jsonl"
    return "tsv" if first.count(b"\t") > first.count(b",") else "csv"


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _of_object(source: Any) -> Container:
    name = type(source).__name__
    if isinstance(source, pa.Table) or hasattr(source, "with_format"):
        return Container("table", name, table=source)
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        return Container("table", name, table=pa.Table.from_pandas(source, preserve_index=False))
    if isinstance(source, Sequence) or hasattr(source, "__iter__"):
        return Container("table", "rows", table=list(source))
    raise FeedbackError(f"cannot read rows from a {name}; give a path, 'hf:org/name', a table or a list of dicts")


def _of_hub(spec: str) -> Container:
    """A data set of the Hugging Face hub, or one saved on disk, through ``datasets``."""
    name, _, split = spec.partition(":")
    try:
        import datasets
    except ImportError:
        raise need("datasets", "tune") from None
    parts = name.split("/")
    on_disk = Path(name).exists()
    config = parts[2] if len(parts) == 3 and not on_disk else None
    repository = "/".join(parts[:2]) if config else name
    try:
        if on_disk and any((Path(name) / f).exists() for f in ("state.json", "dataset_dict.json")):
            found = datasets.load_from_disk(name)
        else:
            found = datasets.load_dataset(repository, config) if config else datasets.load_dataset(repository)
    except (OSError, ValueError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FeedbackError(f"hf:{spec}: cannot be loaded: {why}") from None
    if isinstance(found, dict):
        found = {str(k): v for k, v in found.items()}
        known = ", ".join(found)
        if split and split not in found:
            raise FeedbackError(f"hf:{spec}: no split {split!r}; it has: {known}")
        if not split and len(found) > 1 and "train" not in found:
            raise FeedbackError(f"hf:{spec}: say which split, e.g. hf:{name}:{next(iter(found))}; it has: {known}")
        split = split or ("train" if "train" in found else next(iter(found)))
        found = found[split]
        return Container("table", f"hf:{name}:{split}", table=found)
    return Container("table", f"hf:{spec}", table=found)


# ---------------------------------------------------------------------- the rows of it


def records(container: Container) -> Iterator[Record]:
    """Every row of ``container`` in order, unreadable ones with their error and raw text."""
    reader = {
        "jsonl": jsonl_rows,
        "json": json_rows,
        "csv": csv_rows,
        "tsv": csv_rows,
        "parquet": columnar_rows,
        "arrow": columnar_rows,
        "table": object_rows,
    }[container.kind]
    try:
        yield from reader(container)
    except DAMAGED as error:
        raise FeedbackError(f"{container.name}: damaged {container.kind} data: {error}") from None
    except OSError as error:
        raise FeedbackError(f"{container.name}: cannot be read: {error}") from None


def locate(container: Container, numbers: Sequence[int], *, counted: bool) -> dict[int, tuple[int, str | None]]:
    """``{number: (line or record number, raw text)}`` for some records, by reading the container again up to them.

    ``counted``: the given numbers count records (blank lines are none); otherwise they are line or record numbers.
    Records that cannot be found any more are left out.
    """
    if container.path is None or not container.path.exists():
        return {}
    wanted, last, out = set(numbers), max(numbers, default=0), {}
    for ordinal, record in enumerate(jsonl_lines(container) if container.kind == "jsonl" else records(container), 1):
        number = ordinal if counted else record.number
        if number in wanted:
            raw = record.raw if record.row is None else json.dumps(record.row, ensure_ascii=False, default=str)
            out[number] = (record.number, raw)
        if number >= last:
            break
    return out

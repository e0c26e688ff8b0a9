"""Writing feedback: guerdon's own format without loss, and the formats trainers read, saying what they cannot hold.

| format   | one row is                                  | for                                             |
|----------|---------------------------------------------|-------------------------------------------------|
| guerdon  | a judgement                                 | guerdon; nothing is lost                         |
| trl      | ``prompt, chosen, rejected[, margin]``      | TRL RewardTrainer and DPOTrainer, OpenRLHF       |
| kto      | ``prompt, completion, label``               | TRL KTOTrainer                                   |
| rated    | ``prompt, response, rating, user, ...``     | tables, spreadsheets                             |
| nemo-rl  | ``context, completions [{completion, rank}]`` | NeMo-RL DPO and reward models                  |
| verl     | ``prompt, chosen, rejected`` as plain text  | verl's RMDataset (Parquet)                       |
| verl-rl  | ``data_source, prompt, ability, ...``       | verl's RLHFDataset: the prompts to train on      |

References: https://huggingface.co/docs/trl/dataset_formats; https://docs.nvidia.com/nemo/rl/latest/guides/dpo.html;
https://verl.readthedocs.io/en/latest/preparation/prepare_data.html.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from guerdon.errors import ConfigError, FeedbackError, need
from guerdon.feedback import projections
from guerdon.feedback.projections import Projection

if TYPE_CHECKING:
    from datasets import Dataset

    from guerdon.feedback.star import Feedback

FORMATS: dict[str, Callable[[Feedback], Projection]] = {
    "guerdon": projections.guerdon,
    "trl": projections.trl,
    "kto": projections.kto,
    "rated": projections.rated,
    "nemo-rl": projections.nemo_rl,
    "verl": projections.verl,
    "verl-rl": projections.verl_rl,
}
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
DEFAULT = {".csv": "trl", ".tsv": "trl"}
BATCH = 10_000


def write(
    feedback: Feedback,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> list[str]:
    """Write to ``path`` and return sentences on what the format could not hold.

    path    ``.jsonl``, ``.json`` (an array), ``.csv``, ``.tsv`` or ``.parquet``; text formats also ``.gz``
    format  a name of the table above; None is ``guerdon``, for CSV and TSV ``trl``, or ``rated`` for ratings
    columns further columns [J] beside the judgements (guerdon's own format only); reading passes over them

    The file appears whole or not at all.
    """
    path = Path(path)
    suffixes = [s.lower() for s in path.suffixes]
    zipped = bool(suffixes) and suffixes[-1] == ".gz"
    suffix = (suffixes[-2:-1] if zipped else suffixes[-1:]) or [""]
    if suffix[0] not in SUFFIXES or (zipped and suffix[0] == ".parquet"):
        raise ConfigError(f"{path}: write to one of {', '.join(SUFFIXES)}; the first four also with .gz")
    if format is None:
        format = DEFAULT.get(suffix[0], "guerdon")
        format = "rated" if format == "trl" and bool((feedback.sizes == 1).all()) else format
    if format not in FORMATS:
        raise ConfigError(f"format {format!r} cannot be written; use one of {', '.join(FORMATS)}")
    if columns and format != "guerdon":
        raise ConfigError(f"{path}: further columns need guerdon's own format: write .jsonl, .json or .parquet")
    projection = FORMATS[format](feedback)
    if columns:
        projection = replace(projection, rows=lambda rows=projection.rows: _beside(rows(), columns))
    if not projection.n:
        raise FeedbackError(f"{path}: nothing to write as {format}; " + "; ".join(projection.drops))
    if suffix[0] in (".csv", ".tsv") and projection.nested:
        raise ConfigError(f"{path}: {format} holds lists, which a table of text cannot; write .jsonl or .parquet")
    with replacing(path) as temporary:
        if suffix[0] == ".parquet":
            _parquet(projection, temporary, packed=format == "guerdon", columns=columns or {})
        else:
            with _text(temporary, zipped) as stream:
                {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _tsv}[suffix[0]](projection, stream)
    return projection.drops


def to_trl(feedback: Feedback) -> Dataset:
    """A ``datasets.Dataset`` of ``prompt, chosen, rejected`` (and ``margin`` where strengths differ)."""
    try:
        from datasets import Dataset
    except ImportError:
        raise need("datasets", "tune") from None
    return Dataset.from_list(list(projections.trl(feedback).rows()))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place if nothing goes wrong, and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # as a file that was simply opened would have
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _text(path: Path, zipped: bool) -> Iterator[IO[str]]:
    with path.open("wb") as raw:
        if not zipped:
            with io.TextIOWrapper(raw, "utf-8", newline="") as stream:
                yield stream
        else:  # no time and no name inside, so that equal feedback gives equal bytes
            with (
                gzip.GzipFile("", "wb", 6, raw, mtime=0) as inner,
                io.TextIOWrapper(inner, "utf-8", newline="") as stream,
            ):
                yield stream


def _jsonl(projection: Projection, stream: IO[str]) -> None:
    for row in projection.rows():
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def _json(projection: Projection, stream: IO[str]) -> None:
    stream.write("[")
    for i, row in enumerate(projection.rows()):
        stream.write((",\n" if i else "\n") + json.dumps(row, ensure_ascii=False))
    stream.write("\n]\n")


def _csv(projection: Projection, stream: IO[str], delimiter: str = ",") -> None:
    writer: Any = None
    for row in projection.rows():
        if writer is None:
            writer = csv.DictWriter(stream, list(row), delimiter=delimiter, lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)


def _tsv(projection: Projection, stream: IO[str]) -> None:
    _csv(projection, stream, "\t")


def _beside(rows: Iterable[dict[str, Any]], columns: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for row, *more in zip(rows, *columns.values(), strict=True):
        yield row | {name: value for name, value in zip(columns, more, strict=True) if value is not None}


def _parquet(
    projection: Projection, path: Path, *, packed: bool, columns: Mapping[str, Sequence[Any]] | None = None
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if packed:
        table = projections.guerdon_table(projection.feedback)
        for name, values in (columns or {}).items():
            table = table.append_column(name, pa.array(values))
        pq.write_table(table, path, compression="zstd")
        return
    tables = [pa.Table.from_pylist(batch) for batch in _batches(projection.rows())]
    # a chat further on may hold a field that the first do not: the schema is the union of all
    table = pa.concat_tables(tables, promote_options="permissive")
    pq.write_table(table, path, compression="zstd")


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch

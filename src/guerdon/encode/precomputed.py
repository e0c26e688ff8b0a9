"""Features that something else computed, looked up in a file: ``file:PATH``.

=============== ======================================= ====================================================
file            features float [n, d]                   names of the rows
=============== ======================================= ====================================================
``.npz``        array ``features``                      string arrays ``prompt`` + ``response``, ``text``, ``id``
``.npy``        the array                               a file beside it: see below
``.safetensors`` tensor ``features``                    JSON lists of the same names in the metadata, or a file
``.parquet``    column ``features`` (lists of floats)   string columns of the same names
=============== ======================================= ====================================================

Rows are named by candidate (``prompt`` and ``response``), by text (``text``, or ``response`` alone), or by ``id``; an
id is looked up in the candidates' column ``id`` where they have one, else the response itself is the id. Names may also
lie in a file of their own (``ids=FILE``, or ``PATH`` + ``.ids.txt|.ids.json|.ids.jsonl``): one id a line, a JSON list,
or one JSON object a line with the columns above. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.encode.source import file_digest
from guerdon.encode.template import PlainTemplate, Unit, clean
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import Text, as_text, pack, unpack

SUFFIXES = (".npz", ".npy", ".safetensors", ".parquet")
KEYS = ("prompt", "response", "text", "id")
BESIDE = (".ids.txt", ".ids.json", ".ids.jsonl")


@dataclass(frozen=True)
class Table:
    """What a features file holds: ``features`` [n, d], the columns that name its rows, who computed it if it says."""

    features: np.ndarray
    columns: dict[str, list[str]]
    encoder: str | None = None


class FileTexts:
    """Rows of a features file as a text encoder.

    path     the file
    ids      the file with the rows' names, where they are not in ``path``
    by       ``candidate``, ``text`` or ``id``; None takes the first of these that the file has
    encoder  the fingerprint that the file must say it was computed by
    dim      the number of features that it must have
    """

    kind = "file"
    cached = False

    def __init__(
        self,
        path: Path,
        *,
        ids: Path | None = None,
        by: str | None = None,
        encoder: str | None = None,
        dim: int | None = None,
    ) -> None:
        if not path.is_file():
            raise ConfigError(f"features file {path} does not exist")
        if path.suffix not in SUFFIXES:
            raise ConfigError(f"features file {path}: use one of {', '.join(SUFFIXES)}")
        self.path = path.resolve()
        self.ids = None if ids is None else ids.resolve()
        self._wanted = {"by": by, "encoder": encoder, "dim": dim}

    @cached_property
    def table(self) -> Table:
        """The file's content, checked."""
        table = read_table(self.path, self.ids)
        n, d = table.features.shape
        for name, column in table.columns.items():
            if len(column) != n:
                raise FeedbackError(f"{self.path}: {n} rows of features but {len(column)} values of {name!r}")
        if not table.columns:
            raise FeedbackError(
                f"{self.path}: nothing names its rows; add {', '.join(KEYS)}, or give ids=FILE (one id a line)"
            )
        wanted = self._wanted["dim"]
        if wanted is not None and wanted != d:
            raise FeedbackError(f"{self.path}: {d} features a row, dim={wanted} was asked for")
        by = self._wanted["encoder"]
        if by is not None and by != table.encoder:
            raise FeedbackError(
                f"{self.path} was computed by {table.encoder or 'an encoder it does not name'}, not by {by}: compute "
                "it again with this encoder, template and length"
            )
        return table

    @cached_property
    def by(self) -> str:
        """How rows are named: ``candidate``, ``text`` or ``id``."""
        has = self.table.columns
        ways = {"candidate": {"prompt", "response"} <= has.keys(), "text": bool({"text", "response"} & has.keys())}
        ways["id"] = "id" in has
        possible = [way for way, there in ways.items() if there]
        wanted = self._wanted["by"]
        if wanted is not None and wanted not in possible:
            raise ConfigError(f"by={wanted}: {self.path} names its rows by {' or '.join(possible) or 'nothing usable'}")
        if not possible:
            raise FeedbackError(f"{self.path}: rows are named by {', '.join(has)} alone; add response, text or id")
        return wanted or possible[0]

    @property
    def by_id(self) -> bool:
        """Whether candidates are looked up by their column ``id``."""
        return self.by == "id"

    @property
    def default_features(self) -> str:
        """The feature map that takes the rows as they are."""
        return "joined" if self.by == "candidate" else "response"

    def check_map(self, name: str, needs: frozenset[str]) -> None:
        """:class:`ConfigError` where the file does not have what a feature map needs."""
        fits = needs <= ({"joined"} if self.by == "candidate" else {"prompt", "response"})
        if not fits or (self.by == "id" and "prompt" in needs):
            raise ConfigError(
                f"features={name}: {self.path} has one row a {self.by}; use features={self.default_features}"
            )

    @cached_property
    def template(self) -> PlainTemplate:
        """How candidates become names of rows."""
        return _IdTemplate() if self.by == "id" else PlainTemplate()

    @property
    def dim(self) -> int:
        """d, the number of features a row."""
        return self.table.features.shape[1]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The content of the files."""
        files = [self.path, *([self.ids] if self.ids else _beside(self.path))]
        return {"encoder": "file", "files": [file_digest(f) for f in files], "by": self.by}

    @cached_property
    def _rows(self) -> dict[Unit, int]:
        """Row number of each name."""
        columns = self.table.columns
        names: list[Any]
        if self.by == "candidate":
            names = list(zip(map(_text, columns["prompt"]), map(_text, columns["response"]), strict=True))
        elif self.by == "text":
            names = [_text(s) for s in columns["text" if "text" in columns else "response"]]
        else:
            names = columns["id"]
        rows: dict[Unit, int] = {}
        for i, name in enumerate(names):
            first = rows.setdefault(name, i)
            if first != i and not np.array_equal(self.table.features[first], self.table.features[i], equal_nan=True):
                raise FeedbackError(
                    f"{self.path}: rows {first} and {i} are both {_show(name)} but differ; keep one of them"
                )
        return rows

    def batches(self, units: Sequence[Unit]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(positions, rows) of ``units``; :class:`FeedbackError` naming what is missing or not finite."""
        at = np.array([self._rows.get(unit, -1) for unit in units], dtype=np.int64)
        missing = np.flatnonzero(at < 0)
        if len(missing):
            raise FeedbackError(
                f"{self.path} has no features for {len(missing)} of {len(units)} {self.by}s: "
                f"{', '.join(_show(units[i]) for i in missing[:3])}{', ...' if len(missing) > 3 else ''}"
            )
        rows = np.asarray(self.table.features[at], dtype=np.float32)
        bad = np.flatnonzero(~np.isfinite(rows).all(1))
        if len(bad):
            named = ", ".join(f"row {at[i]} ({_show(units[i])})" for i in bad[:3])
            raise FeedbackError(f"{self.path}: {len(bad)} rows hold NaN or infinity: {named}; compute them again")
        yield np.arange(len(units)), rows


class _IdTemplate(PlainTemplate):
    def single(self, text: Text, role: str) -> Unit:
        return text if isinstance(text, str) else as_text(text)


def read_table(path: Path, ids: Path | None = None) -> Table:
    """Read a features file; :class:`FeedbackError` saying what is wrong with it."""
    readers = {".npz": _npz, ".npy": _npy, ".safetensors": _safetensors, ".parquet": _parquet}
    try:
        table = readers[path.suffix](path)
        for file in [ids] if ids else _beside(path):
            table.columns.update(_names(file))
    except (OSError, ValueError, KeyError) as error:
        raise FeedbackError(f"{path} cannot be read as {path.suffix} features: {str(error).splitlines()[0]}") from None
    if table.features.ndim != 2 or table.features.dtype.kind not in "fiu":
        raise FeedbackError(
            f"{path}: features are {table.features.dtype} {table.features.shape}, expected float [n, d]"
        )
    return table


def write_features(
    path: str | Path,
    features: np.ndarray,
    *,
    prompts: Sequence[Text] | None = None,
    responses: Sequence[Text] | None = None,
    ids: Sequence[str] | None = None,
    encoder: str | None = None,
) -> Path:
    """Write features [n, d] with the names of their rows, for ``file:PATH``.

    prompts, responses, ids  the columns that name the rows, those that are known
    encoder                  the fingerprint of what computed them
    The suffix of ``path`` is ``.npz``, ``.safetensors`` or ``.parquet``. Whole or not at all.
    """
    import os

    path = Path(path)
    given = {"prompt": prompts, "response": responses, "id": ids}
    columns = {k: [pack(x) if k != "id" else str(x) for x in v] for k, v in given.items() if v is not None}
    for name, column in columns.items():
        if len(column) != len(features):
            raise FeedbackError(f"{len(features)} rows of features but {len(column)} values of {name!r}")
    if not columns:
        raise FeedbackError("the rows need names: give responses (and prompts), or ids")
    features = np.ascontiguousarray(features, dtype=np.float32)
    part = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        if path.suffix == ".npz":
            arrays: dict[str, Any] = {k: np.array(v, dtype=np.str_) for k, v in columns.items()}
            np.savez(part, features=features, encoder=np.array(encoder or "", dtype=np.str_), **arrays)
        elif path.suffix == ".safetensors":
            from safetensors.numpy import save_file

            meta = {k: json.dumps(v) for k, v in columns.items()}
            save_file({"features": features}, part, {**meta, "encoder": encoder or ""})
        elif path.suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            rows = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
            table = pa.table({**{k: pa.array(v, pa.large_string()) for k, v in columns.items()}, "features": rows})
            pq.write_table(table.replace_schema_metadata({"encoder": encoder or ""}), part)
        else:
            raise ConfigError(f"{path}: write features as .npz, .safetensors or .parquet")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _npz(path: Path) -> Table:
    with np.load(path, allow_pickle=False) as file:
        columns = {k: [str(x) for x in file[k].ravel()] for k in file.files if k in KEYS}
        return Table(file["features"], columns, str(file["encoder"]) or None if "encoder" in file.files else None)


def _npy(path: Path) -> Table:
    return Table(np.load(path, mmap_mode="r", allow_pickle=False), {})


def _safetensors(path: Path) -> Table:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            meta = file.metadata() or {}
            columns = {k: [str(x) for x in json.loads(meta[k])] for k in KEYS if k in meta}
            return Table(file.get_tensor("features"), columns, meta.get("encoder") or None)
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    columns = {k: [str(x) for x in table[k].to_pylist()] for k in KEYS if k in table.column_names}
    rows = table["features"].combine_chunks()
    if not pa.types.is_list(rows.type) and not pa.types.is_large_list(rows.type) and not pa.types.is_fixed_size_list(
        rows.type
    ):  # fmt: skip
        raise ValueError(f"column 'features' is {rows.type}, expected lists of floats")
    widths = rows.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    if len(set(widths.tolist())) > 1:
        usual = int(np.median(widths))
        row = int(np.flatnonzero(widths != usual)[0])
        raise ValueError(f"row {row} has {int(widths[row])} features, others {usual}")
    flat = rows.flatten().fill_null(float("nan")).to_numpy(zero_copy_only=False)
    encoder = (table.schema.metadata or {}).get(b"encoder", b"").decode()
    return Table(flat.reshape(len(rows), -1) if len(rows) else np.zeros((0, 0)), columns, encoder or None)


def _beside(path: Path) -> list[Path]:
    found = [path.with_name(path.name + end) for end in BESIDE]
    return [p for p in found if p.is_file()][:1]


def _names(path: Path) -> dict[str, list[str]]:
    """Columns that name rows, from a file of names."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        values = json.loads(text)
    elif path.suffix == ".jsonl":
        values = [json.loads(line) for line in text.splitlines() if line.strip()]
    else:
        return {"id": text.splitlines()}
    if isinstance(values, dict):
        return {k: [str(x) for x in v] for k, v in values.items() if k in KEYS}
    if all(isinstance(v, dict) for v in values):
        keys = [k for k in KEYS if values and all(k in v for v in values)]
        return {k: [v[k] if isinstance(v[k], str) else pack(v[k]) if k != "id" else str(v[k]) for v in values]
                for k in keys}  # fmt: skip
    return {"id": [str(v) for v in values]}


def _text(stored: str) -> str:
    return clean(as_text(unpack(stored)))


def _show(unit: Any) -> str:
    text = unit if isinstance(unit, str) else unit[-1]
    return repr(text if len(text) <= 60 else text[:57] + "...")

"""Curated feedback on disk: the judgements with who decided what beside each, and the decisions, to undo them later.

``OUT`` (.jsonl, .json or .parquet, the first two also .gz) is feedback in guerdon's own format; every row also says
``action``, ``decided_by``, ``decided_with``, ``why`` and ``confidence``, which reading passes over.
``OUT.decisions.parquet`` is the table of :mod:`guerdon.curate.step`; its metadata hold the report and the digest of
the file it belongs to. Both appear whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from guerdon.curate.step import PROVENANCE, Curated, undo
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.star import Feedback
from guerdon.feedback.writers import replacing, write

SUFFIX = ".decisions.parquet"
KEY = b"guerdon curated"
ENDINGS = (".jsonl", ".json", ".parquet", ".jsonl.gz", ".json.gz")


def decisions_path(out: Path) -> Path:
    """Where the decisions about ``out`` lie."""
    return out.with_name(out.name + SUFFIX)


def check_out(out: Path) -> None:
    """Refuse a path that curated feedback cannot be written to, before the work and not after it."""
    if not out.name.endswith(ENDINGS):
        raise ConfigError(f"{out}: curated feedback is written to one of {', '.join(ENDINGS)}")
    if out.is_dir() or (out.parent.exists() and not out.parent.is_dir()):
        raise ConfigError(f"{out} is no place for a file; give another one")


def save(curated: Curated, out: Path) -> None:
    """Write the feedback with its provenance columns to ``out`` and the decisions beside it."""
    check_out(out)
    if not len(curated.feedback):
        raise FeedbackError(f"{out}: no judgement is left to write; every one was dropped: use milder settings")
    table = curated.decisions.filter(curated.decisions["out_row"].is_valid())
    order = np.argsort(table["out_row"].to_numpy())
    columns = {name: table[name].take(pa.array(order)).to_pylist() for name in PROVENANCE}
    try:
        with replacing(decisions_path(out)) as decisions:
            write_as = out.with_name(f".{decisions.name}-{out.name}")
            try:
                write(curated.feedback, write_as, "guerdon", columns=columns)
                about = {"report": curated.report, "sha256": digest(write_as), "judgements": len(curated.feedback)}
                meta = {KEY: json.dumps(about, ensure_ascii=False, allow_nan=False).encode()}
                pq.write_table(curated.decisions.replace_schema_metadata(meta), decisions, compression="zstd")
                write_as.replace(out)
            finally:
                write_as.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror})") from error


def load(out: Path) -> tuple[pa.Table, dict[str, Any]]:
    """(decisions, report) about the curated feedback at ``out``, which must be as it was written."""
    path = decisions_path(out)
    if not out.is_file():
        raise FeedbackError(f"{out}: no such file; give the file that guerdon curate --out wrote")
    if not path.is_file():
        raise FeedbackError(f"{path} is missing; it was written beside {out.name} and is needed to undo it")
    try:
        table = pq.read_table(path)
        about = json.loads((table.schema.metadata or {})[KEY])
    except (pa.ArrowInvalid, KeyError, ValueError, OSError) as error:
        raise FeedbackError(f"{path} is damaged or no table of decisions; run guerdon curate again") from error
    if digest(out) != about["sha256"]:
        raise FeedbackError(f"{out} has changed since guerdon curate wrote it; undo needs the file as it was written")
    return table, about["report"]


def restore(out: Path) -> Feedback:
    """The input of the step that wrote ``out``, judgement for judgement."""
    decisions, _ = load(out)
    return undo(Feedback.read(out, format="guerdon"), decisions)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

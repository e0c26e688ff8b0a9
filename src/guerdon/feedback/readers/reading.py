"""``read``: from a source to validated feedback, saying what was recognised."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from guerdon.errors import FeedbackError
from guerdon.feedback.places import Places
from guerdon.feedback.readers import fast, own
from guerdon.feedback.readers.containers import Container, containers_of, records
from guerdon.feedback.readers.formats import Format, Row, Sample
from guerdon.feedback.readers.gather import Reading, gather
from guerdon.feedback.readers.layouts import File, Layout
from guerdon.feedback.readers.mapping import Mapping
from guerdon.feedback.readers.registry import FORMATS, LAYOUTS
from guerdon.feedback.star import Feedback

SAMPLE = 100
"""Rows looked at to recognise a format."""


def read(
    source: Any,
    *,
    format: str | None = None,
    map: Any = None,
    items: Any = None,
    skip_bad: str | Path | None = None,
    user: str | None = None,
    source_kind: str | None = None,
    notes: Iterable[str] = (),
    allow: Iterable[str] = (),
) -> Feedback:
    """Read feedback from ``source``, validated; what was recognised is in ``Feedback.notes``.

    source       a path, a directory, ``-``, ``hf:org/name[/config][:split]``, a table, a list of dicts, or a list of
                 paths; see :mod:`guerdon.feedback.readers.containers`
    format       the name of a format or layout of :mod:`guerdon.feedback.readers.registry`; None recognises it
    map          other names of fields, ``{"prompt": "question"}`` or ``"prompt=question,chosen=good"``; see
                 :mod:`guerdon.feedback.readers.mapping`
    items        a table of item texts, where ``source`` is a table of user x item x rating
    skip_bad     a path: broken rows are set aside there as JSONL instead of being refused
    user         who judged, where a row does not say
    source_kind  ``human``, ``model`` or ``rule``: what judged, where a row does not say
    allow        codes of problems (``empty-response``, ``identical-responses``, ...) that are taken as they are:
                 published benchmarks have such rows and count them

    Raises :class:`FeedbackError` listing the first mistakes with file, row, field and mend.
    """
    reading = Reading(
        user=user,
        source_kind=source_kind,
        skip_bad=None if skip_bad is None else Path(skip_bad),
        said=list(notes),
        allow=frozenset(allow),
    )
    check_name(format)
    sources = list(source) if is_several(source) else [source]
    by_source = [containers_of(s) for s in sources]
    found = [c for containers in by_source for c in containers]
    files = files_of([*found, *(containers_of(items) if items is not None else ())], Mapping.of(map))
    folder = any(isinstance(s, str | os.PathLike) and os.path.isdir(s) for s in sources)
    if items is not None or folder or len(files) > 1 or format in {x.name for x in LAYOUTS}:
        whole = _read_layout(files, format, items is not None, reading)
        if whole is not None:
            return reading.finish(whole)
    parts = []
    for containers in by_source:  # each source may be of a format of its own, the files of a directory are of one
        mine = [f for f in files if any(f.container is c for c in containers)]
        parts.append(_read_files(mine, format, reading))
    return reading.finish(Feedback.concatenate(parts))


def is_several(source: Any) -> bool:
    """True for a list of paths (a list of dicts is one source: rows)."""
    return isinstance(source, list | tuple) and bool(source) and all(isinstance(s, str | os.PathLike) for s in source)


def check_name(format: str | None) -> None:
    """Raise if there is no format or layout of this name."""
    known = [x.name for x in (*FORMATS, *LAYOUTS)]
    if format is not None and format not in known:
        raise FeedbackError(f"format {format!r} is unknown; use one of {', '.join(known)}")


def files_of(containers: Iterable[Container], mapping: Mapping) -> list[File]:
    """The containers with their first rows under their mapped names; each mapped column must be in one of them."""
    raw = [(c, first_rows(c)) for c in (c.spooled() for c in containers)]
    fields = [list(dict.fromkeys(str(k) for row in rows for k in row)) for _, rows in raw]
    mapping.check([(c.name, f) for (c, _), f in zip(raw, fields, strict=True)])
    files = []
    for (container, rows), known in zip(raw, fields, strict=True):
        own_part = mapping.within(known)
        mapped = [own_part.row(row) for row in rows]
        names = tuple(dict.fromkeys(str(k) for row in mapped for k in row))
        files.append(File(container, Sample(names, tuple(mapped)), own_part))
    return files


def first_rows(container: Container) -> list[dict[str, Any]]:
    """The first readable rows of a container; an error if there is none."""
    rows, error = [], None
    for record in records(container):
        if record.row is None:
            error = error or f"{container.where(record.number)}: {record.error}"
            continue
        rows.append(record.row)
        if len(rows) >= SAMPLE:
            break
    if not rows:
        raise FeedbackError(error or f"{container.name}: there are no rows")
    return [own.unpacked(row) for row in rows] if own.is_packed(container) else rows


def _read_layout(files: Sequence[File], format: str | None, must: bool, reading: Reading) -> Feedback | None:
    found = _layout(files, format)
    if found is None:
        if must:
            raise FeedbackError(
                f"{files[0].container.name}: --items needs a table of user, item and rating, and an item table that "
                f"shares the item column; found {', '.join(files[0].sample.fields)}"
            )
        return None
    layout, roles = found
    reading.said.append(f"recognised {layout.says} in {', '.join(f.container.name for f in roles.values())}")
    others = [f.container.name for f in files if not any(f is role for role in roles.values())]
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        reading.said.append(f"left out: {', '.join(others[:3])}{more}")
    return reading.judged_by(layout.read(roles, reading), layout.source)


def _layout(files: Sequence[File], format: str | None) -> tuple[Layout, dict[str, File]] | None:
    for layout in LAYOUTS:
        if format not in (None, layout.name):
            continue
        roles = layout.match(files)
        if roles is not None:
            return layout, roles
        if format == layout.name:
            known = "; ".join(f"{f.container.name} ({', '.join(f.sample.fields)})" for f in files)
            raise FeedbackError(f"{layout.name} needs {' and '.join(layout.needs)}; found {known}")
    return None


def _read_files(files: Sequence[File], format: str | None, reading: Reading) -> Feedback:
    """All files of one format, one after the other."""
    chosen: list[tuple[File, Format]] = []
    others: list[File] = []
    for file in files:
        found = next((f for f in FORMATS if f.name == format), None) if format else recognised(file.sample)
        if format and found and len(files) > 1 and not found.fits(file.sample):
            found = None
        if found is None:
            others.append(file)
        else:
            chosen.append((file, found))
    names = list(dict.fromkeys(f.name for _, f in chosen))
    if not names:
        raise unrecognised(files[0])
    if len(names) > 1:
        which = "; ".join(f"{n}: {sum(f.name == n for _, f in chosen)}" for n in names)
        raise FeedbackError(
            f"files of several formats here ({which}); choose with --format {names[0]}, or name the file"
        )
    for file in others:
        reading.said.append(f"{file.container.name} is not of this format: left out")
    one = chosen[0][1]
    where = chosen[0][0].container.name if len(chosen) == 1 else f"{len(chosen)} files"
    reading.said.append(f"recognised {one.says} in {where}" if format is None else f"read {where} as {one.says}")
    parts = [_read_file(file, one, reading) for file, _ in chosen]
    names = [_part_name(file.container) for file, _ in chosen]
    if len(set(names)) > 1:
        parts = [_subset_by_file(part, name) for part, name in zip(parts, names, strict=True)]
    return reading.judged_by(Feedback.concatenate(parts), one.source)


def _read_file(file: File, format: Format, reading: Reading) -> Feedback:
    """The fast path where the format has one and the rows allow it, the exact path otherwise."""
    container = file.container
    missing = [n for n in format.needs if not file.sample.has(n)]
    if missing and not format.fits(file.sample):
        raise FeedbackError(
            f"{container.name}: {format.name} needs {', '.join(format.needs)}; {missing[0]!r} is missing among "
            f"{', '.join(file.sample.fields)}; name its column with --map {missing[0]}=COLUMN"
        )
    packed = own.is_packed(container)
    if format.fast is not None:
        try:
            table = fast.Columns(
                fast.load(container, file.sample, format.fast, file.mapping), reading.tally, packed=packed
            )
            columns = format.fast.columns(table)
        except (fast.NotFast, pa.ArrowException):  # also what Arrow cannot do with these types: rows can be
            pass
        else:
            places = Places.of(container, np.arange(1, len(columns["offsets"])), counted=True)
            del table  # what the star does not keep is freed here
            return Feedback.from_columns(places=places, **columns)

    def judge(row: Row) -> Iterable[Any]:
        return format.judgements(Row(own.unpacked(dict(row.data)), row.tally) if packed else row)

    return gather(container, judge, reading, file.mapping)


def _part_name(container: Container) -> str:
    """What the files of a directory are told apart by: their names, without shard numbers; else their folders'."""
    path = Path(container.name)
    stem = re.sub(r"-\d{5}-of-\d{5}$", "", path.name.split(".")[0])
    return path.parent.name if stem == "data" else stem


def _subset_by_file(fb: Feedback, part: str) -> Feedback:
    """Judgements of one of several files get the file's name as subset, in front of the one they have."""
    if not (fb.subset < 0).any() and all(part in name for name in fb.subsets):
        return fb
    names = (*(f"{part}/{name}" for name in fb.subsets), part)
    subset = np.where(fb.subset < 0, len(fb.subsets), fb.subset).astype(np.int32)
    return replace(fb, subsets=names, subset=subset)


def recognised(sample: Sample) -> Format | None:
    """The first format that fits."""
    return next((f for f in FORMATS if f.fits(sample)), None)


def unrecognised(file: File) -> FeedbackError:
    """The error that names the fields found, the formats that come nearest, and a mapping that may help."""
    fields = file.sample.fields
    close = {need: _like(need, fields) for f in FORMATS for need in f.needs}

    def share(one: Format) -> float:
        return sum(close[n] is not None for n in one.needs) / len(one.needs)

    usual = ("trl", "guerdon", "rated")
    ranked = sorted((f for f in FORMATS if share(f) >= 0.5), key=share, reverse=True)[:3]
    ranked = ranked or [f for f in FORMATS if f.name in usual]
    nearest = "; ".join(f"{f.name} ({', '.join(f.needs)})" for f in ranked)
    guess = {n: close[n] or "COLUMN" for n in ranked[0].needs if n not in fields}
    mend = ",".join(f"{k}={v}" for k, v in guess.items()) or "prompt=COLUMN"
    return FeedbackError(
        f"{file.container.name}: no known format has the fields {', '.join(fields)}; nearest: {nearest}; "
        f"name the columns, e.g. --map {mend}"
    )


def _like(need: str, fields: Sequence[str]) -> str | None:
    """The field that may be meant by ``need``: the same, one that holds the word, or one spelled nearly so."""
    holding = [f for f in fields if f == need or need in re.split(r"[^a-zA-Z0-9]+", f.lower())]
    return next(iter(holding or difflib.get_close_matches(need, fields, 1, 0.8)), None)

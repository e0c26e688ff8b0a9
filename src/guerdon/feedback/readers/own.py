"""guerdon's own format: one judgement a line, nothing lost.

``prompt`` and ``responses`` (texts or chat messages), ``grades`` (one a response), and optionally ``user``,
``criterion``, ``subset``, ``source``, ``scale``, ``weight``, ``comment``, ``id``, ``time``, ``strength``. In Parquet
and CSV-like tables texts are packed strings (see ``feedback.messages``) and the file says so in its metadata.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from guerdon.feedback.messages import MARK, unpack
from guerdon.feedback.readers.containers import Container
from guerdon.feedback.readers.fast import Columns, Fast
from guerdon.feedback.readers.formats import Format, Row, RowError, Sample, as_number
from guerdon.feedback.readers.table_rows import metadata
from guerdon.feedback.schema import SCALES, SOURCES, Judgement

pc: Any = pyarrow.compute  # its functions are made at run time, unseen by type checkers

NAMES = ("user", "criterion", "subset", "comment", "id")


def judgements(row: Row) -> Iterable[Judgement]:
    """The one judgement of the row."""
    responses = row.texts("responses")
    grades = row.value("grades")
    if not isinstance(grades, list):
        raise RowError("mixed-types", "grades", f"expected a list of numbers, got {grades!r:.40}", "write [1, 0]")
    if len(grades) != len(responses):
        n, m = len(responses), len(grades)
        raise RowError("bad-grade", "grades", f"{m} grades for {n} responses", "give one grade a response")
    if not responses:
        raise RowError("missing-field", "responses", "is an empty list", "give at least one response")
    numbers = tuple(float("nan") if g is None else as_number(g, f"grades[{i}]") for i, g in enumerate(grades))
    yield Judgement(
        row.text("prompt"),
        tuple(responses),
        numbers,
        source=_one_of(row, "source", SOURCES),
        scale=_one_of(row, "scale", SCALES),
        **{name: row.name(name) for name in NAMES if name in row},
        **row.meta("weight", "time"),
        strength=row.number("strength") if row.data.get("strength") is not None else None,
    )


def _one_of(row: Row, name: str, known: tuple[str, ...]) -> str:
    value = row.data.get(name)
    if value is None:
        return known[0]
    if value not in known:
        raise RowError("unknown-value", name, f"unknown value {value!r:.40}", f"use one of {', '.join(known)}")
    return value


def columns(table: Columns) -> dict[str, object]:
    """``judgements`` for whole columns of plain text."""
    lists, grades = table.table["responses"], table.table["grades"]
    kinds = (pa.types.is_list, pa.types.is_large_list)
    table.refuse(not any(k(lists.type) for k in kinds) or not any(k(grades.type) for k in kinds))
    sizes = np.asarray(pc.list_value_length(lists).fill_null(-1))
    table.refuse(not np.array_equal(sizes, np.asarray(pc.list_value_length(grades).fill_null(-2))))
    table.refuse(bool((sizes < 1).any()))
    flat, numbers = pc.list_flatten(lists), pc.list_flatten(grades)
    inner = Columns(pa.table({"responses": flat, "grades": numbers}), table.tally, packed=table.packed)
    out = table.meta("weight", "time")
    if table.has("strength"):
        out["strength"] = table.optional_number("strength")
    out |= {name: table.label(name, empty=True) for name in NAMES if table.has(name)}
    for name, known in (("source", SOURCES), ("scale", SCALES)):
        if table.has(name):
            column = table.optional_text(name).fill_null(known[0])
            table.refuse(not pc.all(pc.is_in(column, value_set=pa.array(known, pa.large_string()))).as_py())
            out[name] = column
    return {
        "prompts": table.text("prompt"),
        "responses": inner.text("responses"),
        "offsets": np.concatenate([[0], np.cumsum(sizes)]),
        "grades": inner.number("grades"),
        **out,
    }


def unpacked(row: dict[str, object]) -> dict[str, object]:
    """A row of a table whose texts are packed strings, with the texts as values."""
    out = dict(row)
    if isinstance(out.get("prompt"), str):
        out["prompt"] = unpack(str(out["prompt"]))
    if isinstance(out.get("responses"), list):
        out["responses"] = [unpack(r) if isinstance(r, str) and r.startswith(MARK) else r for r in out["responses"]]  # type: ignore[union-attr]
    return out


def _fits(sample: Sample) -> bool:
    return sample.has("prompt", "responses", "grades")


GUERDON = Format(
    "guerdon",
    "guerdon judgements: prompt, responses, grades",
    ("prompt", "responses", "grades"),
    _fits,
    judgements,
    fast=Fast(("prompt",), (), columns, also=("responses", "grades", "source", "scale", "strength")),
)


def is_packed(container: Container) -> bool:
    """True for a Parquet or Arrow file of guerdon's own, whose texts are packed strings."""
    return container.kind in ("parquet", "arrow") and b"guerdon" in metadata(container)

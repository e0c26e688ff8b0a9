"""The exact path: rows one by one into judgements, every mistake with its row; and what reading ends with.

:class:`Reading` holds the options of one call of ``read`` and collects problems and sentences; :func:`gather` turns the
rows of a container into feedback; :meth:`Reading.finish` validates, refuses or sets aside, and says what happened.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from guerdon.errors import FeedbackError
from guerdon.feedback.messages import pack
from guerdon.feedback.places import Places
from guerdon.feedback.readers.containers import Container, records
from guerdon.feedback.readers.formats import Row, RowError, Tally
from guerdon.feedback.readers.mapping import Mapping as ColumnMapping
from guerdon.feedback.schema import SOURCES, Judgement
from guerdon.feedback.star import Feedback
from guerdon.feedback.validate import Problem, summary, suspicions, validate

CHUNK = 20_000
"""Judgements held as Python objects before they become Arrow columns."""


@dataclass
class Reading:
    """One call of ``read``: its options, and what it has found so far."""

    user: str | None = None
    source_kind: str | None = None
    skip_bad: Path | None = None
    allow: frozenset[str] = frozenset()
    tally: Tally = field(default_factory=Tally)
    said: list[str] = field(default_factory=list)
    problems: list[tuple[Problem, str | None]] = field(default_factory=list)
    """Problems met while reading, with the raw text of their rows."""

    def problem(self, container: Container, number: int, raw: str | None, error: RowError) -> None:
        """Note one broken row."""
        found = Problem("error", error.code, container.name, number, error.field, error.message, error.mend)
        self.problems.append((found, raw))

    def judged_by(self, feedback: Feedback, source: str) -> Feedback:
        """``feedback`` with the judgements of nobody given to ``user``, those of unknown source to ``source``."""
        source = self.source_kind or source
        if source not in SOURCES:
            raise FeedbackError(f"source_kind={source!r}: use one of {', '.join(SOURCES)}")
        if source != "unknown":
            known = np.where(feedback.source == 0, SOURCES.index(source), feedback.source)
            feedback = replace(feedback, source=known.astype(np.int8))
        if self.user is not None and (feedback.user < 0).any():
            users = feedback.users if self.user in feedback.users else (*feedback.users, self.user)
            filled = np.where(feedback.user < 0, users.index(self.user), feedback.user)
            feedback = replace(feedback, users=users, user=filled.astype(np.int32))
        return feedback

    def finish(self, feedback: Feedback) -> Feedback:
        """Validate; raise with the first problems, or set the broken rows aside; add the sentences."""
        problems = list(self.problems)
        late = [p for p in validate(feedback, warnings=False) if p.code not in self.allow]
        if late:
            raw: list[str | None] = [None] * len(late)
            if self.skip_bad is not None and feedback.places is not None:
                raw = [text for _, _, text in feedback.places.found([int(p.judgement or 0) for p in late])]
            problems += zip(late, raw, strict=True)
            keep = np.ones(len(feedback), bool)
            keep[[p.judgement for p in late if p.judgement is not None]] = False
            feedback = feedback.take(keep)
        if problems and self.skip_bad is None:
            raise FeedbackError(_refusal([p for p, _ in problems]))
        if self.skip_bad is not None:
            self.said.append(set_aside(problems, self.skip_bad))
        if not len(feedback):
            raise FeedbackError("no judgement is left after reading; " + "; ".join(self.sentences()))
        self.said += suspicions(feedback)
        return replace(feedback, notes=tuple(self.sentences()))

    def sentences(self) -> list[str]:
        """All that is worth saying, in order."""
        return [*self.said, *self.tally.sentences()]


def each_row(container: Container, work: Callable[[Row, int], None], reading: Reading, mapping: ColumnMapping) -> None:
    """Call ``work(row, number)`` for every row, fields under their mapped names; mistakes become problems."""
    for record in records(container):
        if record.row is None:
            error = RowError("broken-row", "row", record.error or "cannot be read", "repair or remove it")
            reading.problem(container, record.number, record.raw, error)
            continue
        try:
            work(Row(mapping.row(record.row), reading.tally), record.number)
        except RowError as error:
            raw = record.raw or json.dumps(record.row, ensure_ascii=False, default=str)
            reading.problem(container, record.number, raw, error)


def gather(
    container: Container, judge: Callable[[Row], Iterable[Judgement]], reading: Reading, mapping: ColumnMapping
) -> Feedback:
    """The judgements that ``judge`` finds in the rows of ``container``; a row with a mistake gives none."""
    builder = Builder()

    def work(row: Row, number: int) -> None:
        for judgement in list(judge(row)):  # all of a row or nothing
            builder.add(judgement, number)

    each_row(container, work, reading, mapping)
    return builder.feedback(container)


class Builder:
    """Judgements into columns, a chunk at a time, so that not every row stays a Python object."""

    TEXTS = ("user", "criterion", "subset", "comment", "id", "source", "scale")

    def __init__(self) -> None:
        self._judgements: list[Judgement] = []
        self._records: list[int] = []
        self._chunks: dict[str, list[Any]] = {k: [] for k in ("prompts", "responses", *self.TEXTS)}
        names = ("sizes", "grades", "weight", "time", "strength", "record")
        self._numbers: dict[str, list[np.ndarray]] = {k: [] for k in names}

    def add(self, judgement: Judgement, record: int) -> None:
        """One more judgement, read from ``record``."""
        self._judgements.append(judgement)
        self._records.append(record)
        if len(self._judgements) >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        rows, text = self._judgements, pa.large_string()
        self._chunks["prompts"].append(pa.array([pack(r.prompt) for r in rows], text))
        self._chunks["responses"].append(pa.array([pack(x) for r in rows for x in r.responses], text))
        for name in self.TEXTS:
            self._chunks[name].append(pa.array([getattr(r, name) for r in rows], text))
        numbers = self._numbers
        numbers["sizes"].append(np.array([len(r.responses) for r in rows], np.int64))
        numbers["grades"].append(np.array([g for r in rows for g in r.grades], np.float64))
        numbers["weight"].append(np.array([r.weight for r in rows], np.float64))
        for name in ("time", "strength"):
            values = [getattr(r, name) for r in rows]
            numbers[name].append(np.array([np.nan if v is None else v for v in values], np.float64))
        numbers["record"].append(np.array(self._records, np.int64))
        self._judgements, self._records = [], []

    def feedback(self, container: Container) -> Feedback:
        """All that was added, as feedback read from ``container``."""
        self._flush()
        numbers = {k: np.concatenate(v) for k, v in self._numbers.items()}
        texts = {k: pa.chunked_array(v, pa.large_string()) for k, v in self._chunks.items()}
        return Feedback.from_columns(
            offsets=np.concatenate([[0], np.cumsum(numbers["sizes"])]),
            grades=numbers["grades"],
            weight=numbers["weight"],
            time=numbers["time"],
            strength=numbers["strength"],
            places=Places.of(container, numbers["record"], counted=False),
            **texts,
        )


def _refusal(problems: list[Problem]) -> str:
    n = len(problems)
    total = "1 problem" if n == 1 else f"{n:,} problems"
    return f"{summary(problems)}\n{total}; mend the file, or set such rows aside with --skip-bad FILE"


def set_aside(problems: list[tuple[Problem, str | None]], path: Path) -> str:
    """Write the broken rows to ``path`` as JSONL (file, row, field, reason, line) and say how many there are.

    A row with several problems, or several broken judgements, is written once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    seen: dict[tuple[str, int | None], Mapping[str, Any]] = {}
    for problem, raw in problems:
        key = (problem.file, problem.row)
        reason = f"{problem.message}; {problem.mend}"
        seen.setdefault(
            key, {"file": problem.file, "row": problem.row, "field": problem.field, "reason": reason} | {"line": raw}
        )
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}-", delete=False, encoding="utf-8"
    ) as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in seen.values())
    os.replace(out.name, path)
    codes = ", ".join(f"{n:,} {code}" for code, n in Counter(p.code for p, _ in problems).most_common())
    return f"{len(seen):,} broken rows set aside in {path}" + (f" ({codes})" if codes else "")

"""`guerdon score`: the rows of a file, in their order, with a score added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from guerdon.cli.candidates import Item
    from guerdon.feedback.schema import Candidates
    from guerdon.reward.base import Scores


def score(
    reward: str = typer.Argument(..., help="A saved reward, hf:org/name, rule:length, or package.module:object."),
    candidates: str = typer.Argument(..., help="JSONL, JSON, CSV or Parquet (also .gz), a directory, or - for stdin."),
    user: str = typer.Option(None, "--user", help="Score everything for this person."),
    criterion: str = typer.Option(None, "--criterion", help="Score everything by this criterion."),
    out: str = typer.Option(None, "--out", help="Write here (.jsonl .json .csv .parquet); resumes after a kill."),
    batch: int = typer.Option(256, "--batch", min=1, help="Candidates scored at a time."),
    names: list[str] = typer.Option([], "--map", help="FIELD=COLUMN, e.g. prompt=question,response=text."),
    column: str = typer.Option("score", "--column", help="Name of the added column (and prefix of the others)."),
    skip_bad: bool = typer.Option(False, "--skip-bad", help="Mark unusable rows as invalid instead of stopping."),
    json_out: bool = typer.Option(False, "--json", help="One JSON document on stdout: the counts, and the rows."),
) -> None:
    """Add a score to every row of CANDIDATES, in order.

    Rows hold a prompt and a response, or a prompt and a list of responses (then `scores` is a list). Without --out the
    rows go to stdout as JSON lines. A row that cannot be scored has a null score, a status and a reason.
    """
    from pathlib import Path

    from guerdon.cli.candidates import batches, mapping, read_items
    from guerdon.cli.console import emit, say
    from guerdon.errors import ConfigError
    from guerdon.reward.base import Reward
    from guerdon.reward.load import fingerprint, load

    judge = load(reward)
    if type(judge).score is Reward.score:
        raise ConfigError(f"{judge.name} compares responses but does not score them; use guerdon best")
    columns = Columns(column)
    options = {"names": mapping(names), "user": user, "criterion": criterion, "skip_bad": skip_bad}
    work = Work(
        items=lambda: read_items(candidates, **options, images="image" in judge.sees),
        groups=lambda items, rescue: batches(items, batch, rescue=rescue),
        rows=lambda items, counts: score_rows(judge.score, items, columns, counts),
    )
    if out is None:
        counts = to_stdout(work, document=(lambda counts: {"counts": counts}) if json_out else None)
    else:
        key = {"reward": fingerprint(reward), "options": {**options, "columns": columns.one}, "batch size": batch}
        counts = to_file(work, key, candidates, Path(out), columns.types)
        if json_out:
            emit({"out": out, "counts": dict(counts)})
    say(summary(counts) + (f" -> {out}" if out else ""))


class Columns:
    """The names of the added columns. With the plain name ``score`` they are score, status, reason and std.

    ``details`` are columns of the scores' ``detail`` that are added too.
    """

    def __init__(self, name: str, details: Sequence[str] = ()) -> None:
        prefix = "" if name == "score" else f"{name}_"
        plain = (name, *(f"{prefix}{part}" for part in ("status", "reason", "std", *details)))
        self.one = plain
        self.many = (f"{name}s", *(f"{prefix}{part}" for part in ("statuses", "reasons", "stds")), *plain[4:])
        self.details = tuple(details)
        self.types = {self.one[0]: "float64", self.one[3]: "float64"}  # in Parquet, should all of them be null


@dataclass(frozen=True)
class Work:
    """What a command does with its input, one batch after the other.

    items    the rows of the input, from the first
    groups   (rows, rescue) to batches, as :func:`guerdon.cli.candidates.batches`
    rows     (batch, counts) to the rows of the output, one each; ``counts`` is added to
    """

    items: Callable[[], Iterator[Item]]
    groups: Callable[[Iterable[Item], bool], Iterator[list[Item]]]
    rows: Callable[[list[Item], Counter[str]], Iterable[dict[str, Any]]]


def to_stdout(work: Work, document: Callable[[Counter[str]], dict[str, Any]] | None = None) -> Counter[str]:
    """Rows on stdout as they are made: JSON lines, or one document ``{"rows": [...], **document(counts)}``."""
    import json
    import sys
    from collections import Counter

    from guerdon.cli.output import line

    counts: Counter[str] = Counter()
    stdout = sys.stdout.buffer
    separator = b'{"rows": [\n' if document else b""
    for items in ticking(work.groups(work.items(), True)):
        for row in work.rows(items, counts):
            text = line(row)
            stdout.write(separator + (text[:-1] if document else text))
            separator = b",\n" if document else b""
        stdout.flush()
    if document:
        start = b"" if counts["rows"] else separator
        rest = b", ".join(f"{json.dumps(k)}: {json.dumps(v)}".encode() for k, v in document(counts).items())
        stdout.write(start + b"\n], " + rest + b"}\n")
        stdout.flush()
    return counts


def to_file(
    work: Work,
    key: dict[str, Any],
    source: str,
    out: Path,
    types: dict[str, str],
    resumed: Callable[[Counter[str]], None] | None = None,
    *,
    alike: bool = True,
) -> Counter[str]:
    """Rows into ``out``, resuming what a killed run left (see :mod:`guerdon.cli.journal`).

    key      what the output depends on besides the input ``source``
    types    Arrow types of columns that may be all null
    resumed  is told what was counted before the kill
    alike    the rows of ``out`` are those of ``source`` with columns added (a Parquet file keeps its types)
    """
    from collections import Counter
    from itertools import islice

    from guerdon.cli.console import say
    from guerdon.cli.journal import Journal, chain
    from guerdon.cli.output import finish, format_of, line
    from guerdon.encode.encoder import all_or_nothing
    from guerdon.errors import ConfigError

    format_of(out)
    journal = Journal(out, plain_key(key))
    if journal.notice:
        say(journal.notice)
    try:
        items = work.items()
        if journal.rows:
            seen = chain("", (line(item.row) for item in islice(items, journal.rows)))
            if seen != journal.digest:
                if source == "-":
                    raise ConfigError(f"the input differs from the one {journal.part} was begun with; delete that file")
                say("the input has changed since; starting anew")
                journal.restart()
                items = work.items()
            elif resumed is not None:
                resumed(journal.counts)
        for group in ticking(work.groups(items, False), journal.rows):
            counts: Counter[str] = Counter()
            read = [line(item.row) for item in group]
            with all_or_nothing():
                lines = b"".join(line(row) for row in work.rows(group, counts))
            journal.write(lines, read, counts)
        if not journal.rows:
            raise ConfigError(f"{source} has no rows")
        finish(journal.part, out, parquet_of(source) if alike and out.suffix == ".parquet" else None, types)
    except BaseException:
        if journal.rows:
            journal.close()
            say(f"{journal.rows:,} rows are done and kept in {journal.part}; run the same command again to go on")
        else:
            journal.done()
        raise
    journal.done()
    return journal.counts


def score_rows(
    assess: Callable[[Candidates], Scores], items: list[Item], columns: Columns, counts: Counter[str]
) -> Iterator[dict[str, Any]]:
    """The rows of ``items`` with their results added; ``counts`` counts rows and each status."""
    import numpy as np

    from guerdon.cli.candidates import to_candidates
    from guerdon.errors import ConfigError
    from guerdon.reward.base import Scores

    candidates = to_candidates(items)
    scores = assess(candidates) if len(candidates) else Scores(np.zeros(0))
    values = [v if np.isfinite(v) else None for v in scores.value.tolist()]
    status = [s if v is not None or s != "scored" else "failed" for v, s in zip(values, scores.status, strict=True)]
    std = None if scores.std is None else [s if np.isfinite(s) else None for s in scores.std.tolist()]
    at = 0
    for item in items:
        names = columns.many if item.listed and item.error is None else columns.one
        taken = [name for name in names if name in item.row]
        if taken:
            raise ConfigError(f"the rows already have {', '.join(taken)}; name the new column with --column NAME")
        counts["rows"] += 1
        if item.error is not None:
            counts["invalid"] += 1
            yield {**item.row, names[0]: None, names[1]: "invalid", names[2]: item.error}
            continue
        part = slice(at, at + len(item.responses))
        at = part.stop
        counts.update(status[part])
        row = {**item.row, names[0]: values[part], names[1]: status[part]}
        if any(scores.reason[part]):
            row[names[2]] = list(scores.reason[part])
        if std is not None:
            row[names[3]] = std[part]
        for name, detail in zip(names[4:], columns.details, strict=True):
            if detail in scores.detail:
                row[name] = list(scores.detail[detail][part])
        if not item.listed:
            row |= {name: row[name][0] for name in names if name in row}
        yield row


def summary(counts: Counter[str]) -> str:
    """One line on what was scored and what was not, and why."""
    from guerdon.reward.base import STATUSES

    missing = {s: counts[s] for s in STATUSES if s != "scored" and counts[s]}
    text = f"{counts['rows']:,} rows, {counts['scored']:,} candidates scored"
    if missing:
        text += f", {sum(missing.values()):,} not ({', '.join(f'{s} {n:,}' for s, n in missing.items())})"
    return text


def ticking(groups: Iterable[list[Item]], done: int = 0) -> Iterator[list[Item]]:
    """The batches, with a counter on stderr when somebody is watching and it takes a while."""
    import time

    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    from guerdon.cli.console import err

    text = TextColumn("{task.completed:,.0f} rows, {task.fields[speed]:,.0f} a second")
    start = time.monotonic()
    with Progress(text, TimeElapsedColumn(), console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("", total=None, completed=done, speed=0.0)
        made = 0
        for group in groups:
            yield group
            made += len(group)
            progress.update(task, completed=done + made, speed=made / max(time.monotonic() - start, 1e-9))


def plain_key(key: dict[str, Any]) -> dict[str, Any]:
    """The key as it reads back from JSON, so that it compares equal."""
    import json

    return json.loads(json.dumps(key))


def parquet_of(source: str) -> Path | None:
    """The source's path if it is one Parquet file, whose column types the output then keeps."""
    from guerdon.feedback.readers.containers import containers_of

    if source == "-":
        return None
    found = containers_of(source)
    return found[0].path if len(found) == 1 and found[0].kind == "parquet" and not found[0].compression else None

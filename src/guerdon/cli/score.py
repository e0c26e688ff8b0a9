"""`guerdon score`: the rows of a file, in their order, with a score added."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from guerdon.cli.candidates import Item
    from guerdon.reward.base import Reward


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

    from guerdon.cli.candidates import mapping
    from guerdon.cli.console import say
    from guerdon.errors import ConfigError
    from guerdon.reward.base import Reward
    from guerdon.reward.load import load

    judge = load(reward)
    if type(judge).score is Reward.score:
        raise ConfigError(f"{judge.name} compares responses but does not score them; use guerdon best")
    columns = Columns(column)
    options = {"names": mapping(names), "user": user, "criterion": criterion, "skip_bad": skip_bad}
    if out is None:
        counts = to_stdout(judge, candidates, options, columns, batch, document=json_out)
    else:
        counts = to_file(judge, reward, candidates, options, columns, batch, Path(out))
        if json_out:
            from guerdon.cli.console import emit

            emit({"out": out, "counts": dict(counts)})
    say(summary(counts) + (f" -> {out}" if out else ""))


class Columns:
    """The names of the added columns. With the plain name ``score`` they are score, status, reason and std."""

    def __init__(self, name: str) -> None:
        prefix = "" if name == "score" else f"{name}_"
        self.one = (name, f"{prefix}status", f"{prefix}reason", f"{prefix}std")
        self.many = (f"{name}s", f"{prefix}statuses", f"{prefix}reasons", f"{prefix}stds")
        self.types = {self.one[0]: "float64", self.one[3]: "float64"}  # in Parquet, should all of them be null


def to_stdout(
    judge: Reward, source: str, options: dict[str, Any], columns: Columns, batch: int, *, document: bool
) -> Counter[str]:
    """Rows on stdout as they are scored: JSON lines, or one document ``{"rows": [...], "counts": {...}}``."""
    import json
    import sys
    from collections import Counter

    from guerdon.cli.candidates import batches, read_items
    from guerdon.cli.output import line

    counts: Counter[str] = Counter()
    stdout = sys.stdout.buffer
    separator = b'{"rows": [\n' if document else b""
    for items in ticking(batches(read_items(source, **options), batch, rescue=True)):
        for row in score_rows(judge, items, columns, counts):
            text = line(row)
            stdout.write(separator + (text[:-1] if document else text))
            separator = b",\n" if document else b""
        stdout.flush()
    if document:
        start = b"" if counts["rows"] else separator
        stdout.write(start + b'\n], "counts": ' + json.dumps(dict(counts)).encode() + b"}\n")
        stdout.flush()
    return counts


def to_file(
    judge: Reward,
    spec: str,
    source: str,
    options: dict[str, Any],
    columns: Columns,
    batch: int,
    out: Path,
) -> Counter[str]:
    """Rows into ``out``, resuming what a killed run left (see :mod:`guerdon.cli.journal`)."""
    from collections import Counter
    from itertools import islice

    from guerdon.cli.candidates import batches, read_items
    from guerdon.cli.console import say
    from guerdon.cli.journal import Journal, chain
    from guerdon.cli.output import finish, format_of, line
    from guerdon.encode.encoder import all_or_nothing
    from guerdon.errors import ConfigError
    from guerdon.reward.load import fingerprint

    format_of(out)
    key = {"reward": fingerprint(spec), "options": {**options, "columns": columns.one}, "batch size": batch}
    journal = Journal(out, plain_key(key))
    if journal.notice:
        say(journal.notice)
    try:
        items = read_items(source, **options)
        if journal.rows:
            seen = chain("", (line(item.row) for item in islice(items, journal.rows)))
            if seen != journal.digest:
                if source == "-":
                    raise ConfigError(f"the input differs from the one {journal.part} was begun with; delete that file")
                say("the input has changed since; starting anew")
                journal.restart()
                items = read_items(source, **options)
        for group in ticking(batches(items, batch), journal.rows):
            counts: Counter[str] = Counter()
            read = [line(item.row) for item in group]
            with all_or_nothing():
                lines = b"".join(line(row) for row in score_rows(judge, group, columns, counts))
            journal.write(lines, read, counts)
        if not journal.rows:
            raise ConfigError(f"{source} has no rows")
        finish(journal.part, out, parquet_of(source) if out.suffix == ".parquet" else None, columns.types)
    except BaseException:
        if journal.rows:
            journal.close()
            say(f"{journal.rows:,} rows are done and kept in {journal.part}; run the same command again to go on")
        else:
            journal.done()
        raise
    journal.done()
    return journal.counts


def score_rows(judge: Reward, items: list[Item], columns: Columns, counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """The rows of ``items`` with their results added; ``counts`` counts rows and each status."""
    import numpy as np

    from guerdon.cli.candidates import to_candidates
    from guerdon.errors import ConfigError
    from guerdon.reward.base import Scores

    candidates = to_candidates(items)
    scores = judge.score(candidates) if len(candidates) else Scores(np.zeros(0))
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

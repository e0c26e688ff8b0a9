"""`guerdon compare`: how likely each response to a prompt is preferred to each other one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from guerdon.cli.candidates import Item
    from guerdon.cli.judge import Tally
    from guerdon.feedback.schema import Candidates


def compare(
    reward: str = typer.Argument(..., help="A saved reward, hf:org/name, rule:length, or package.module:object."),
    candidates: str = typer.Argument(..., help="JSONL, JSON, CSV or Parquet (also .gz), a directory, or - for stdin."),
    user: str = typer.Option(None, "--user", help="Compare for this person."),
    criterion: str = typer.Option(None, "--criterion", help="Compare by this criterion."),
    out: str = typer.Option(None, "--out", help="Write here (.jsonl .json .csv .parquet); resumes after a kill."),
    batch: int = typer.Option(256, "--batch", min=1, help="Responses read at a time; lists stay whole."),
    names: list[str] = typer.Option([], "--map", help="FIELD=COLUMN, e.g. prompt=question,response=text."),
    skip_bad: bool = typer.Option(False, "--skip-bad", help="Mark unusable rows as invalid instead of stopping."),
    json_out: bool = typer.Option(False, "--json", help="One JSON document on stdout: the counts, and the rows."),
) -> None:
    """Compare every two responses to each prompt of CANDIDATES: the probability that the first is preferred.

    Rows hold a prompt and a list of responses, or one response each; then rows of the same prompt (user, criterion)
    that follow each other belong together. The output has one row a pair: the places a and b of the two in their list,
    their texts, and the probability that a is preferred. A reward that scores is asked once a response, one that only
    compares once a pair.
    """
    lists = Lists(candidates, names, user, criterion, skip_bad)

    def rows(items: list[Item], counts: Counter[str], tally: Tally) -> Iterator[dict[str, Any]]:
        return compare_rows(items, counts, tally)

    run(lists, rows, reward, batch, out, json_out, {"probability": "float64"}, what="comparisons")


class Lists:
    """The input of `guerdon compare` and `guerdon rank`: rows of responses, and how they were asked for."""

    def __init__(
        self, source: str, names: Sequence[str], user: str | None, criterion: str | None, skip_bad: bool
    ) -> None:
        from guerdon.cli.candidates import mapping

        self.source = source
        self.options = {"names": mapping(names), "user": user, "criterion": criterion, "skip_bad": skip_bad}
        self.seen: set[str] = set()
        self.apart = 0
        """Lists whose prompt (of that person and criterion) was there before, other rows between: nothing joins them"""

    def items(self) -> Iterator[Item]:
        """The rows of the input, from the first."""
        from guerdon.cli.candidates import read_items
        from guerdon.cli.judge import same_list
        from guerdon.feedback.messages import pack

        before = None
        self.seen, self.apart = set(), 0
        for item in read_items(self.source, **self.options):  # type: ignore[arg-type]
            if item.error is None and not item.listed and (before is None or not same_list(before, item)):
                key = pack(item.prompt) + "\n".join(str(item.columns.get(k)) for k in ("", "user", "criterion"))
                self.apart += key in self.seen
                self.seen.add(key)
            before = item
            yield item


def run(
    lists: Lists,
    rows: Callable[[list[Item], Counter[str], Tally], Iterable[dict[str, Any]]],
    spec: str,
    batch: int,
    out: str | None,
    json_out: bool,
    types: dict[str, str],
    *,
    what: str,
    key: dict[str, Any] | None = None,
) -> None:
    """Read lists, write ``rows`` of them to stdout or to a file that resumes, and say what there was.

    ``what`` names what is counted; ``key`` is what the output depends on besides reward, input and options.
    """
    from pathlib import Path

    from guerdon.cli.console import emit, say
    from guerdon.cli.judge import Tally, whole_lists
    from guerdon.cli.score import Work, to_file, to_stdout
    from guerdon.reward.load import fingerprint, load

    tally = Tally(load(spec))
    work = Work(
        items=lists.items,
        groups=lambda items, rescue: whole_lists(items, batch, rescue),
        rows=lambda items, counts: rows(items, counts, tally),
    )
    if out is None:
        counts = to_stdout(work, document=tally.document if json_out else None)
    else:
        found = {"reward": fingerprint(spec), "options": lists.options, "batch size": batch, **(key or {})}
        counts = to_file(work, found, lists.source, Path(out), types, tally.charge, alike=False)
        if json_out:
            emit({"out": out, **tally.document(counts)})
    say(summary(counts, what) + (f" -> {out}" if out else ""))
    for text in tally.lines(counts):
        say(text)
    if lists.apart:
        say(
            f"careful: {lists.apart:,} times a prompt comes back after other rows; only rows that follow each other "
            "are compared (sort the file by prompt)"
        )


def compare_rows(items: list[Item], counts: Counter[str], tally: Tally) -> Iterator[dict[str, Any]]:
    """One row a pair of responses to the same prompt."""
    from guerdon.cli.candidates import to_candidates
    from guerdon.cli.judge import lists
    from guerdon.reward.all_pairs import compare_all

    candidates, groups = to_candidates(items), lists(items)
    compared = compare_all(tally.reward, candidates, groups)
    said = compared.said
    tally.count(said, counts)
    counts.update(said.status)
    counts["lists"] += len(set(groups))
    yield from invalid_rows(items, counts)
    first = {group: groups.index(group) for group in dict.fromkeys(groups)}
    for n, (a, b) in enumerate(zip(compared.a.tolist(), compared.b.tolist(), strict=True)):
        counts["rows"] += 1
        start, value = first[groups[a]], float(said.value[n])
        row: dict[str, Any] = {**asked(candidates, a), "a": a - start, "b": b - start}
        row |= {"response_a": candidates.responses[a], "response_b": candidates.responses[b]}
        row |= {"probability": value if value == value else None, "status": said.status[n]}
        if said.reason[n]:
            row["reason"] = said.reason[n]
        if said.std is not None and said.std[n] == said.std[n]:
            row["std"] = float(said.std[n])
        yield row


def asked(candidates: Candidates, i: int) -> dict[str, Any]:
    """What the candidate was an answer to: prompt, and user and criterion where given."""
    out: dict[str, Any] = {"prompt": candidates.prompts[i]}
    for name, column in (("user", candidates.user), ("criterion", candidates.criterion)):
        if column is not None and column[i] is not None:
            out[name] = column[i]
    return out


def invalid_rows(items: list[Item], counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """The rows that cannot be used, as they were found, with why."""
    for item in items:
        if item.error is not None:
            counts["invalid"] += 1
            yield {**item.row, "status": "invalid", "reason": item.error}


def summary(counts: Counter[str], what: str) -> str:
    """One line on what was compared and what was not, and why."""
    from guerdon.reward.base import STATUSES

    missing = {s: counts[s] for s in STATUSES if s != "scored" and counts[s]}
    text = f"{counts['lists']:,} prompts, {counts['scored']:,} {what}"
    if missing:
        text += f", {sum(missing.values()):,} not ({', '.join(f'{s} {n:,}' for s, n in missing.items())})"
    return text

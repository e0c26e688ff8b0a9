"""`guerdon data`: what is in this feedback, is anything wrong with it, and the same in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from guerdon.cli.reading import Format, Items, Map, SkipBad, Sources, Where

ALWAYS = ("judgements", "prompts", "candidates")
SHOWN = 4
"""Names of a kind (subsets, criteria) that are listed."""


def data(
    feedback: Sources,
    to: Annotated[
        Path | None, typer.Option(help="Write the feedback to this file (.jsonl, .json, .csv, .tsv, .parquet; .gz).")
    ] = None,
    to_format: Annotated[
        str | None, typer.Option(help="As: guerdon, trl, kto, rated, nemo-rl, verl or verl-rl.", metavar="NAME")
    ] = None,
    format: Format = None,
    map: Map = None,
    items: Items = None,
    where: Where = None,
    skip_bad: SkipBad = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Describe feedback, validate it, and convert it to another format."""
    from guerdon.cli.console import emit, say
    from guerdon.cli.reading import read_feedback
    from guerdon.errors import ConfigError
    from guerdon.feedback.validate import validate

    if to_format is not None and to is None:
        raise ConfigError("--to-format needs --to FILE")
    found = read_feedback(feedback, format=format, map=map, items=items, where=where, skip_bad=skip_bad)
    figures = found.describe()
    problems = validate(found, limit=20)
    drops = found.write(to, format=to_format) if to is not None else []
    if not json:
        _show(figures)
    if to is not None:
        say(f"written to {to}")
        for sentence in drops:
            say(f"  {sentence}")
    if json:
        written = {"path": str(to), "format": to_format, "drops": drops} if to is not None else None
        emit(
            {
                "feedback": figures,
                "notes": list(found.notes),
                "problems": [p.as_dict() for p in problems],
                "written": written,
            }
        )


def _show(figures: dict[str, Any]) -> None:
    from guerdon.cli.console import say

    def line(name: str, value: Any) -> None:
        say(f"  {name.replace('_', ' '):<38}{value}")

    say()
    for name in (*ALWAYS, "people", "anonymous_judgements", "comparisons", "ties", "comments"):
        if figures[name] or name in ALWAYS:
            line(name, f"{figures[name]:,}")
    for name in ("kinds", "sources", "criteria", "subsets"):
        if figures[name]:
            line(name, _list(figures[name]))
    for name in ("grades", "prompt_characters", "response_characters", "judgements_a_person"):
        if figures[name]:
            low, middle, high = (f"{round(figures[name][k], 2):,.10g}" for k in ("min", "median", "max"))
            line(name, f"{low} to {high}, median {middle}")
    if figures["longer_preferred"] is not None:
        line("longer response preferred", f"{figures['longer_preferred']:.3f} of strict comparisons")
    agreement = figures["agreement"]
    if agreement:
        line("pairs judged by several people", f"{agreement['pairs']:,}")
        line("  two of them agree", _share(agreement["between_people"]))
        line("  agreement with the rest", _share(agreement["with_majority"]))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _list(counts: dict[str, int]) -> str:
    shown = [f"{name} {n:,}" for name, n in sorted(counts.items(), key=lambda item: -item[1])[:SHOWN]]
    more = len(counts) - SHOWN
    return ", ".join(shown) + (f", and {more:,} more" if more > 0 else "")

"""The options that every command reading feedback has, and the reading itself.

A command declares its parameters with these types, so that the same option means the same everywhere::

    def fit(feedback: Sources, format: Format = None, map: Map = None, items: Items = None,
            where: Where = None, skip_bad: SkipBad = None) -> None:
        data = read_feedback(feedback, format=format, map=map, items=items, where=where, skip_bad=skip_bad)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from guerdon.feedback.star import Feedback

Sources = Annotated[
    list[str],
    typer.Argument(help="Files, directories, - for standard input, or hf:org/name[:split].", metavar="FEEDBACK"),
]
Format = Annotated[str | None, typer.Option(help="What the feedback is; recognised if not given.", metavar="NAME")]
Map = Annotated[
    list[str] | None,
    typer.Option(help="Other names of columns, e.g. prompt=question,chosen=good.", metavar="FIELD=COLUMN"),
]
Items = Annotated[
    str | None, typer.Option(help="The texts of the items, where FEEDBACK is a table of ratings.", metavar="FILE")
]
Where = Annotated[
    list[str] | None,
    typer.Option(help="Keep only this user, criterion, subset or source; repeat for several.", metavar="KEY=VALUE"),
]
SkipBad = Annotated[
    Path | None, typer.Option(help="Set broken rows aside in this JSONL file instead of stopping.", metavar="FILE")
]


def read_feedback(
    sources: Sequence[str],
    *,
    format: str | None = None,
    map: Sequence[str] | None = None,
    items: str | None = None,
    where: Sequence[str] | None = None,
    skip_bad: Path | None = None,
    quiet: bool = False,
) -> Feedback:
    """The feedback of all ``sources`` together; what was recognised is said on stderr unless ``quiet``."""
    from guerdon.cli.console import say
    from guerdon.feedback.readers import read

    source = sources[0] if len(sources) == 1 else list(sources)
    feedback = read(source, format=format, map=",".join(map) if map else None, items=items, skip_bad=skip_bad)
    if not quiet:
        for note in feedback.notes:
            say(note)
    kept: dict[str, Any] = conditions(where or ())
    return feedback.where(**kept) if kept else feedback


def conditions(where: Sequence[str]) -> dict[str, list[str]]:
    """``["user=ann", "user=bob", "subset=x"]`` as ``{"user": ["ann", "bob"], "subset": ["x"]}``."""
    from guerdon.errors import ConfigError

    out: dict[str, list[str]] = {}
    for pair in where:
        key, sep, value = pair.partition("=")
        if not sep or key not in ("user", "criterion", "subset", "source"):
            raise ConfigError(f"--where {pair!r}: write KEY=VALUE with user, criterion, subset or source as KEY")
        out.setdefault(key, []).append(value)
    return out

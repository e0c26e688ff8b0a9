"""What commands print: text and tables for people on stderr, one JSON document for machines on stdout."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from guerdon.errors import ConfigError

err = Console(stderr=True, highlight=False)


def say(text: str = "") -> None:
    """One line for people (stderr)."""
    err.print(text, markup=False, soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, text: Sequence[str] = ()) -> None:
    """A table for people (stderr); floats with three decimals, None as a dash.

    The first column and those named in ``text`` are set flush left, the others flush right.
    """
    out = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        out.add_column(column, justify="left" if i == 0 or column in text else "right", overflow="fold")
    for row in rows:
        cells = ["-" if v is None else f"{v:.3f}" if isinstance(v, float) else str(v) for v in row]
        out.add_row(*cells)
    err.print(out, markup=False)


def emit(document: Any) -> None:
    """One JSON document on stdout; NaN becomes null so that the output is valid JSON."""
    json.dump(_clean(document), sys.stdout, ensure_ascii=False, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    elif hasattr(value, "tolist"):
        return _clean(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def settings(pairs: Iterable[str]) -> dict[str, Any]:
    """``["rank=4", "weights=simplex"]`` as ``{"rank": 4, "weights": "simplex"}``; values are JSON where they parse."""
    out: dict[str, Any] = {}
    for pair in pairs:
        key, sep, text = pair.partition("=")
        if not sep or not key:
            raise ConfigError(f"--set {pair!r}: write KEY=VALUE, e.g. --set rank=4")
        try:
            out[key] = json.loads(text)
        except json.JSONDecodeError:
            out[key] = {"True": True, "False": False, "None": None}.get(text, text)
    return out


@contextmanager
def steps() -> Iterator[Callable[[str, int, int], None]]:
    """A context that gives ``tick(what, done, of)``: a bar for each step, gone when all is done.

    Nothing is drawn before the first tick, so that a command that only may be slow leaves other bars alone.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=err, transient=True)
    tasks: dict[str, TaskID] = {}
    with ExitStack() as drawn:

        def tick(what: str, done: int, of: int) -> None:
            if not tasks:
                drawn.enter_context(bar)
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=of)
            bar.update(tasks[what], completed=done, total=of)

        yield tick

"""Figures, tables and facts as HTML. Facts are escaped here; cells of tables are HTML that the caller has escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

from guerdon.bench.cautions import plain_zero
from guerdon.bench.intervals import Figure

DASH = "\u2060–\u2060"
"""An en dash at which no line breaks."""

LONGEST = 160
"""Characters of a value that is not text; the whole of it is in the model's config.json."""


def percent(value: float) -> str:
    """``0.6694`` as ``66.9 %`` (with a space that does not break)."""
    return "–" if np.isnan(value) else f"{100 * value:.1f}&nbsp;%"


def interval(figure: Figure, share: bool = True) -> str:
    """``64.3–76.2 %``, or ``0.479–0.693`` unless it is a share."""
    if np.isnan(figure.low):
        return "no interval"
    if share:
        return f"{100 * figure.low:.1f}{DASH}{100 * figure.high:.1f}&nbsp;%"
    dash = "&nbsp;to " if figure.low < 0 else DASH
    return f"{figure.low:.3f}{dash}{figure.high:.3f}".replace("-", "−")


def share_of(figure: Figure) -> str:
    """``5.7 %, 4.8–6.7 %``: a share and its interval."""
    return percent(figure.value) + ("" if np.isnan(figure.low) else f", {interval(figure)}")


def points(figure: Figure) -> str:
    """The interval of a difference of shares in points, ``−3.5 to +7.2``."""
    if np.isnan(figure.low):
        return "none"
    return f"{pt(figure.low)} to {pt(figure.high)}"


def pt(value: float) -> str:
    """A difference of shares in points, ``+1.7``."""
    return f"{plain_zero(100 * value, 1):+.1f}".replace("-", "−")


def count(n: int, one: str, many: str | None = None) -> str:
    """``1 prompt``, ``2 prompts``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def cell(figure: Figure, share: bool) -> str:
    """A figure over its interval, as a share (per cent) or as it is."""
    if np.isnan(figure.value):
        return "–"
    number = percent(figure.value) if share else f"{figure.value:.3f}"
    return number + ("" if np.isnan(figure.low) else f"<small>{interval(figure, share)}</small>")


def gap_cell(figure: Figure, share: bool, higher: bool) -> tuple[str, str]:
    """(HTML, class) of a difference; the class says for whom it speaks if its interval excludes zero."""
    if np.isnan(figure.value):
        return "–", ""
    if share:
        text, span = f"{pt(figure.value)}&nbsp;pt", points(figure)
    else:
        text, low, high = (f"{plain_zero(v, 3):+.3f}" for v in (figure.value, figure.low, figure.high))
        span = f"{low} to {high}"
    kind = ""
    if figure.low > 0 or figure.high < 0:
        kind = "good" if (figure.value > 0) == higher else "bad"
    small = "" if np.isnan(figure.low) else f"<small>{span}</small>"
    return (text + small).replace("-", "−"), kind


def table(head: Sequence[str], rows: Iterable[Sequence[str | tuple[str, str]]]) -> str:
    """A table of ready HTML cells, or (HTML, class)."""
    top = "".join(f"<th>{name}</th>" for name in head)
    body = []
    for row in rows:
        cells = [c if isinstance(c, tuple) else (c, "") for c in row]
        body.append("<tr>" + "".join(f'<td class="{k}">{t}</td>' if k else f"<td>{t}</td>" for t, k in cells) + "</tr>")
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def fact_list(facts: Iterable[tuple[str, Any]]) -> str:
    """Names and values as a definition list; values that are not text are shown as JSON."""
    items = []
    for name, value in facts:
        text = f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else None
        if text is None:
            text = json.dumps(value, ensure_ascii=False, default=str)
            text = text if len(text) <= LONGEST else text[:LONGEST] + " …"
        # our own percentages carry a non-breaking space; everything else is escaped
        items.append(f"<dt>{escape(str(name))}</dt><dd>{escape(text).replace('&amp;nbsp;', '&nbsp;')}</dd>")
    return f"<dl>{''.join(items)}</dl>"

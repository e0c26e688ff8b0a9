"""Robustness as rows for the terminal, as a section of an HTML page and as Markdown, from its JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from guerdon.bench.intervals import Figure
from guerdon.bench.markup import cell, gap_cell, percent, table
from guerdon.bench.suites.result import figure_from
from guerdon.generate.rewordings.transform import FAMILIES

HEAD = ("rewording", "family", "items", "before", "after", "drop", "flips", "shift")


def _drawn(effect: Mapping[str, Any]) -> dict[str, Figure]:
    """Before, after and drop of the headline; empty where there is none."""
    first = next(iter(effect["figures"].values()), {})
    return {k: figure_from(f) for k, f in first.items()}


def _sorted(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The largest drop first, inert transforms last."""

    def order(effect: Mapping[str, Any]) -> tuple[bool, float]:
        drawn = _drawn(effect)
        drop = drawn["drop"].value if drawn else np.nan
        return effect["inert"], -(0.0 if np.isnan(drop) else drop)

    return sorted(document["transforms"], key=order)


def rows(document: Mapping[str, Any]) -> list[list[Any]]:
    """Cells of :data:`HEAD`, the largest drop first."""
    out = []
    for effect in _sorted(document):
        drawn = _drawn(effect)
        figures = [drawn["before"].value, drawn["after"].value, str(drawn["drop"])] if drawn else ["-"] * 3
        flips = "inert" if effect["inert"] else figure_from(effect["flips"]).value
        out.append([effect["name"], effect["family"], f"{effect['items']:,}", *figures, flips, effect["shift"]])
    return out


def lines(document: Mapping[str, Any]) -> list[str]:
    """The mean drops and the worst case, a line each."""
    out = [f"mean drop, {name}: {figure_from(f)}" for name, f in document["families"].items()]
    worst = {k: figure_from(f) for k, f in document["worst case"].items()}
    if worst:
        out.append(f"worst case of every item: {worst['after']}, from {worst['before'].value:.3f}")
    return [*out, *document["notes"]]


def markdown(document: Mapping[str, Any]) -> list[str]:
    """Lines of a table for a model card."""
    out = ["### Rewordings that keep the right response right", "", "| " + " | ".join(HEAD) + " |"]
    out.append("|---" * len(HEAD) + "|")
    for row in rows(document):
        cells = ["-" if c is None else f"{c:.3f}" if isinstance(c, float) else str(c) for c in row]
        out.append("| " + " | ".join(cells) + " |")
    return [*out, "", *(f"- {line}" for line in lines(document)), ""]


def section(document: Mapping[str, Any]) -> str:
    """A section of an HTML page."""
    body = []
    for effect in _sorted(document):
        drawn = _drawn(effect)
        cells: list[Any] = [f'<span title="{escape(effect["what"])}">{escape(effect["name"])}</span>']
        cells += [escape(effect["family"]), f"{effect['items']:,}"]
        if drawn:
            cells += [cell(drawn["before"], True), cell(drawn["after"], True), gap_cell(drawn["drop"], True, False)]
        else:
            cells += ["–"] * 3
        cells.append("inert" if effect["inert"] else percent(figure_from(effect["flips"]).value))
        cells.append("–" if effect["shift"] is None else f"{effect['shift']:.2f}")
        body.append(cells)
    worst = {k: figure_from(f) for k, f in document["worst case"].items()}
    lead = ""
    if worst:
        lead = (
            f"An item's worst case, as it is or under any of these, is right in <b>{percent(worst['after'].value)}</b> "
            f"(as it is: {percent(worst['before'].value)}). "
        )
    families = ", ".join(
        f"{escape(k)} {percent(figure_from(f).value)}"
        for k, f in document["families"].items()
        if k in (*FAMILIES, "all")
    )
    notes = "".join(f'<p class="note">{escape(n)}</p>' for n in document["notes"])
    return (
        f"<section><h2>Rewordings</h2><p>The same items in other words, the right response still right. {lead}"
        f"Mean drop: {families}. Flips: duels that come out otherwise; shift: mean change of a score in standard "
        "deviations; inert: the reward cannot see the change.</p>"
        f"{table(HEAD, body)}{notes}</section>"
    )

"""The list of papers and the figures of a claim: as text, as JSON, and as the docs page."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from guerdon.papers.frame import Claim, Row
from guerdon.papers.index import PAPERS
from guerdon.papers.record import State, read, state


def states() -> dict[str, State]:
    """State of each of the 119, in order."""
    claims = read()
    return {slug: state(paper, claims) for slug, paper in PAPERS.items()}


def document() -> list[dict[str, Any]]:
    """One JSON-ready object a paper; ``claim`` is the recorded run, where there is one."""
    return [
        {
            "number": paper.number,
            "slug": paper.slug,
            "name": paper.name,
            "title": paper.title,
            "year": paper.year,
            "url": paper.url,
            "room": paper.room,
            "mechanism": paper.mechanism,
            "state": found.state,
            "why": found.why,
            "claim": None if found.claim is None else found.claim.as_json(),
        }
        for paper, found in zip(PAPERS.values(), states().values(), strict=True)
    ]


def summary(found: dict[str, State]) -> str:
    """``119 papers: 1 works, 2 partial, 116 planned``."""
    counts = Counter(s.state for s in found.values())
    parts = [f"{counts[name]} {name}" for name in ("works", "partial", "planned")]
    return f"{len(found)} papers: {', '.join(parts)}"


def number(value: float) -> str:
    """A figure in three decimals, or as a power of ten where those would show nothing."""
    if math.isnan(value):
        return "-"
    return f"{value:.1e}" if 0 < abs(value) < 5e-4 else f"{value:.3f}"


def figures(row: Row) -> list[tuple[str, str, str]]:
    """(figure, mean, range over seeds) of each figure of a check."""
    out = []
    for name, values in row.figures.items():
        spread = f"{number(min(values))} to {number(max(values))}" if len(set(values)) > 1 else ""
        out.append((name, number(row.mean(name)), spread))
    return out


def heading(row: Row) -> str:
    """What a check is, in which unit, over how many seeds."""
    seeds = f"{row.seeds} seed{'s' if row.seeds > 1 else ''}"
    return f"{row.check} ({row.unit}, {seeds})" if row.unit else f"{row.check} ({seeds})"


def report(claim: Claim) -> str:
    """The figures of a claim as aligned text: a block a check, its bounds and whether they hold below."""
    lines = []
    for row in claim.rows:
        lines.append(heading(row))
        cells = figures(row)
        width = max(len(name) for name, _, _ in cells)
        lines += [f"  {name:<{width}}  {mean:>9}  {spread}".rstrip() for name, mean, spread in cells]
        lines += [f"  {'holds' if bound.holds(row.figures) else 'FAILS'}  {bound}" for bound in row.bounds]
        lines.append("")
    return "\n".join([*lines, *remarks(claim)])


def remarks(claim: Claim) -> list[str]:
    """What has to be said beside the figures: thresholds that differ from the card, notes, what is left out."""
    out = [f"{row.check}: {row.note}" for row in claim.rows if row.note]
    for row in claim.rows:
        changed = [bound for bound in row.bounds if bound.was is not None]
        out += [f"{row.check}: the card asks for {b.was:g} where {b} is asked here: {b.why}" for b in changed]
    return [*out, *([claim.note] if claim.note else []), *(f"left: {what}" for what in claim.left)]


def markdown() -> str:
    """The docs page: the table of all papers, then the recorded figures of those that have a check."""
    found = states()
    lines = [
        "# The papers",
        "",
        "<!-- written by `guerdon papers --markdown`; do not edit -->",
        "",
        f"{summary(found)}. *Works*: every check of its card was run here and holds, at the stated seeds. *Partial*: "
        "some of it was run and the rest is named. *Planned*: not here yet. States and figures come from recorded runs "
        "of `guerdon reproduce SLUG --record`.",
        "",
        "| # | paper | slug | what it does | room | state |",
        "|--:|---|---|---|---|---|",
    ]
    for paper in PAPERS.values():
        title = f"[{_cell(paper.name)}]({paper.url})" if paper.url else _cell(paper.name)
        year = f" ({paper.year})" if paper.year else ""
        at = found[paper.slug]
        slug = f"[`{paper.slug}`](#{paper.slug})" if at.claim else f"`{paper.slug}`"
        word = at.state if at.state != "planned" else f"planned: {at.why}"
        cells = (str(paper.number), title + year, slug, _cell(paper.mechanism), paper.room, _cell(word))
        lines.append(f"| {' | '.join(cells)} |")
    for slug, at in found.items():
        if at.claim is not None:
            lines += ["", *_section(slug, at)]
    return "\n".join(lines) + "\n"


def _section(slug: str, at: State) -> list[str]:
    claim = at.claim
    assert claim is not None
    paper = PAPERS[slug]
    lines = [f"## {paper.name} {{#{slug}}}", "", f"*{paper.title}*" + (f" ({paper.year})." if paper.year else ".")]
    lines += ["", f"`guerdon reproduce {slug}`: **{at.state}**{', ' + at.why if at.why else ''}.", ""]
    lines += ["| check | figure | mean | over seeds |", "|---|---|--:|---|"]
    for row in claim.rows:
        head = f"**{_cell(heading(row))}**"
        for cells in figures(row):
            lines.append(f"| {head} | {' | '.join(_cell(cell) for cell in cells)} |")
            head = ""
        for bound in row.bounds:
            lines.append(f"| {'holds' if bound.holds(row.figures) else '**fails**'} | {_cell(str(bound))} | | |")
    lines += ["", *(f"- {remark}" for remark in remarks(claim))]
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")

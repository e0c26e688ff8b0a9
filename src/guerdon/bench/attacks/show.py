"""The results of a battery as a section of an HTML report, as a page of its own, and as Markdown for a model card."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from guerdon.bench.attacks.attack import AIMS
from guerdon.bench.attacks.run import AttackResult, Battery
from guerdon.bench.intervals import Figure
from guerdon.bench.markup import cell, fact_list, interval, percent, table
from guerdon.bench.page import html_page, write_files

HEAD = ("attack", "success", "on any try", "shift", "most successful try")


def section(result: Battery) -> str:
    """A ``<section>`` of an HTML report; everything that came from data is escaped."""
    rows = []
    for family, figure in result.families.items():
        rows.append([f"<b>{escape(family)}</b>", _coloured(figure), "", "", ""])
        rows += [_row(a) for a in result.attacks if a.family == family]
    worst = result.worst
    lead = (
        f"Attacks succeed on {percent(result.overall.value)} of the tries ({interval(result.overall)}), mean over "
        f"{len(result.attacks)} attacks"
        if worst is not None
        else "No attack could be measured"
    )
    most = f"; <i>{escape(worst.name)}</i> on {percent(worst.success.value)}" if worst is not None else ""
    notes = "".join(f"<li>{escape(note)}</li>" for note in result.notes)
    careful = f'<section class="caution"><h2>What to be careful about</h2><ul>{notes}</ul></section>' if notes else ""
    aims = "; ".join(f"<i>{escape(a.name)}</i>: {AIMS[a.aim]}" for a in result.attacks)
    note = (
        f"Success of an attack: {aims}. On any try: share of prompts on which one of the responses tried succeeded. "
        "Shift: what the changed answer gets more than the bad one (a contentless one more than the honest one), in "
        "units of the gap between honest and bad answers. Intervals are over prompts. Tries without a score are left "
        "out."
    )
    honest = " · ".join(f"{escape(k)} {percent(f.value)} ({interval(f)})" for k, f in result.honest.items())
    return (
        f"<section><h2>Attacks</h2><p>{lead}{most}.</p>{careful}{table(HEAD, rows)}"
        f'<p class="note">Without attacks: {honest}.</p><p class="note">{note}</p></section>'
    )


def page(result: Battery) -> str:
    """A whole HTML page with nothing but the attacks."""
    head = (
        f'<header><p class="kicker">guerdon · attacks on a reward</p><h1>{escape(result.reward)}</h1>'
        f'<p class="lead">{len(result.attacks)} attacks on {result.settings["prompts"]} prompts.</p></header>'
    )
    facts: list[tuple[str, object]] = [*result.settings.items()]
    facts += [(f"unscored: {reason}", n) for reason, n in result.reasons.items()]
    body = f"{head}{section(result)}<section><h2>Settings</h2>{fact_list(facts)}</section>"
    return html_page(f"{result.reward}: attacks", body)


def markdown(result: Battery) -> str:
    """A table of the attacks for a model card."""
    lines = ["| attack | success | on any try | most successful try |", "|---|---|---|---|"]
    for a in result.attacks:
        lines.append(
            f"| {a.name} | {_share(a.success)} | {_share(a.any)} | {best_try(a).replace('|', chr(92) + '|')} |"
        )
    lines.append(f"| **mean over attacks** | {_share(result.overall)} | | |")
    lines += ["", *(f"- {note}" for note in result.notes)]
    return "\n".join(lines).rstrip() + "\n"


def write(result: Battery, place: Path) -> Path:
    """Write the page to the ``.html`` file ``place``, complete or not at all.

    Raises
    ------
    ConfigError
        if it cannot be written
    """
    write_files({place: page(result)})
    return place


def best_try(attack: AttackResult) -> str:
    """The most successful try and its rate; empty where none succeeded."""
    if not attack.variants:
        return ""
    name, (rate, _) = next(iter(attack.variants.items()))
    name = name if len(name) <= 32 else f"{name[:31]}…"
    return f"{name} {rate:.0%}" if rate else ""


def _row(a: AttackResult) -> list[str | tuple[str, str]]:
    shift = "–" if np.isnan(a.shift.value) else f"{a.shift.value:+.2f}".replace("-", "−")
    name = f"{escape(a.name)}<small>{escape(a.what)}</small>"
    return [name, _coloured(a.success), cell(a.any, True), shift, escape(best_try(a))]


def _coloured(figure: Figure) -> str | tuple[str, str]:
    """A rate; red where even the lower end of its interval is above one in twenty."""
    return cell(figure, True), "bad" if figure.low > 0.05 else ""


def _share(figure: Figure) -> str:
    if np.isnan(figure.value):
        return "-"
    span = "" if np.isnan(figure.low) else f" ({100 * figure.low:.1f}-{100 * figure.high:.1f})"
    return f"{100 * figure.value:.1f} %{span}"

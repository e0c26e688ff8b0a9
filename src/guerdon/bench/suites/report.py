"""A result of a suite as files: one self-contained HTML page, Markdown for a model card, RewardBench's JSON.

``result.json`` holds every item's credit and is what ``guerdon bench compare`` reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench import plots
from guerdon.bench import robustness_report as show
from guerdon.bench.markup import cell, count, fact_list, gap_cell, interval, percent, table
from guerdon.bench.page import html_page, write_files
from guerdon.bench.suites.compare import Difference
from guerdon.bench.suites.result import SuiteResult, items_of
from guerdon.bench.suites.run import MATCHED
from guerdon.bench.suites.study import Study
from guerdon.bench.suites.suite import Suite

MOST_BARS = 80
"""Subsets in the picture; the table below it has all."""


def write(result: SuiteResult, suite: Suite | Study, folder: str | Path, more: Sequence[str] = ()) -> Path:
    """``report.html``, ``result.json``, ``report.md`` and ``rewardbench.json`` in ``folder``; the path of the page.

    more   further sections of the page, as HTML (of attacks: :func:`guerdon.bench.attacks.show.section`)

    Raises
    ------
    BackendError
        if matplotlib is not installed
    ConfigError
        if the folder cannot be written
    """
    place = Path(folder)
    texts = {
        "report.html": html(result, suite, more),
        "report.md": markdown(result, suite),
        "result.json": _json(result.to_dict()),
        "rewardbench.json": _json(reward_bench_json(result)),
    }
    write_files({place / name: text for name, text in texts.items()})
    return place / "report.html"


def _json(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def reward_bench_json(result: SuiteResult, model_type: str = "guerdon") -> dict[str, Any]:
    """What RewardBench's leaderboard reads: accuracy by subset, the model's name and kind."""
    scores = {name: float(f.value) for name, f in result.subsets.items() if not np.isnan(f.value)}
    return {**scores, "model": result.reward, "model_type": model_type, "chat_template": "none"}


def markdown(result: SuiteResult, suite: Suite | Study) -> str:
    """A section for a model card."""
    names = [b.name for b in result.baselines]
    lines = [
        f"## {suite.name}",
        "",
        f"{suite.what} ({suite.paper}). {_counts(result)}",
        "",
        "| figure | value | 95 % interval |" + "".join(f" {n} |" for n in names),
        "|---|---|---|" + "---|" * len(names),
    ]
    for name, figure in result.figures.items():
        span = "" if np.isnan(figure.low) else f"{figure.low:.3f} to {figure.high:.3f}"
        others = "".join(f" {b.figures[name].value:.3f} |" for b in result.baselines)
        lines.append(f"| {name} | {figure.value:.3f} | {span} |{others}")
    lines += [f"| {k} | {v:.4g} | |" + " |" * len(names) for k, v in result.extra.items()]
    if result.robustness:
        lines += ["", *show.markdown(result.robustness)]
    return "\n".join([*lines, "", *(f"- {note}" for note in result.notes), ""])


def _counts(result: SuiteResult) -> str:
    facts = result.facts
    over = _over(result)
    text = f"{count(facts['items'], 'item')} of {facts[over]:,} {over}"
    if "duels" not in facts:
        return f"{text}."
    return f"{text}; {facts['tied duels']} of {facts['duels']} duels tied, {facts['unscored duels']} unscored."


def html(result: SuiteResult, suite: Suite | Study, more: Sequence[str] = ()) -> str:
    """The page; ``more`` are further sections of it, as HTML."""
    parts = [
        _header(result, suite),
        _figures(result),
        _facts("More", result.extra),
        _styles(result, getattr(suite, "matrix", ())),
        _best_of_n(result) if result.settings.get("curve") else _subsets(result),
        _lengths(result),
        show.section(result.robustness) if result.robustness else "",
        *more,
        _facts("Unscored", result.reasons),
        _notes(result),
        _facts("Method", result.settings),
    ]
    return html_page(f"{result.reward}: {suite.name}", "\n".join(part for part in parts if part))


# ---------------------------------------------------------------------------------------------------- sections


def _section(heading: str, body: str) -> str:
    return f"<section><h2>{heading}</h2>{body}</section>"


def _facts(heading: str, facts: Mapping[str, Any]) -> str:
    return _section(heading, fact_list(facts.items())) if facts else ""


def _over(result: SuiteResult) -> str:
    """What the intervals are over."""
    return str(result.settings.get("over", "prompts"))


def _header(result: SuiteResult, suite: Suite | Study) -> str:
    name, figure = result.headline
    return (
        f'<header><p class="kicker">guerdon · {escape(suite.name)}</p><h1>{escape(result.reward)}</h1>'
        f'<p class="lead">{escape(suite.what)}. {escape(name)}: <b>{percent(figure.value)}</b> '
        f"({interval(figure)}, over {escape(_over(result))}). {_counts(result)}</p></header>"
    )


def _figures(result: SuiteResult) -> str:
    heads = ["figure", "this reward", *(escape(b.name) for b in result.baselines)]
    rows = []
    for key, mine in result.figures.items():
        others = [gap_cell(b.difference[key], True, higher=True) for b in result.baselines]
        rows.append([escape(key), cell(mine, True), *others])
    note = (
        "<p>Columns of baselines are this reward minus the baseline, on the same items; coloured where the interval "
        "leaves out zero.</p>"
    )
    return _section("Figures", note + table(heads, rows))


def _styles(result: SuiteResult, styles: Sequence[str]) -> str:
    if not styles:
        return ""
    grid = [[result.figures.get(f"{a} over {b}") for b in styles] for a in styles]
    values = np.array([[np.nan if f is None else f.value for f in row] for row in grid])
    return _section(
        "Styles",
        f"<figure>{plots.matrix(styles, values, 'Right over wrong by style')}<figcaption>"
        "How often the right response wins, by its style and the wrong one's; below the diagonal the right one is "
        "the more elaborate (easy), above it the wrong one (hard).</figcaption></figure>",
    )


def _best_of_n(result: SuiteResult) -> str:
    counts = result.settings["curve"]
    lines = [(result.reward, [result.subsets[f"n={n}"] for n in counts])]
    lines += [(b.name, [b.figures[f"n={n}"] for n in counts]) for b in result.baselines]
    return _section(
        "Best of n",
        f"<figure>{plots.best_of_n(counts, lines)}<figcaption>Expected true value of "
        "the response with the highest score among n; the band is a 95&nbsp;% interval over prompts.</figcaption>"
        "</figure>",
    )


def _subsets(result: SuiteResult) -> str:
    drawn = [(k, f) for k, f in result.subsets.items() if not np.isnan(f.value)]
    if len(drawn) < 2:
        return ""
    name, figure = result.headline
    chance = next((b.figures[name].value for b in result.baselines if b.name == "random"), 0.5)
    picture = plots.figures(drawn[:MOST_BARS], figure.value, "subsets", "Figure by subset", chance=chance)
    rows = [[escape(k), items_of(f), cell(f, True)] for k, f in result.subsets.items()]
    return _section(
        "By subset",
        f"<figure>{picture}<figcaption>Dashed: {escape(name)}; dotted: chance. "
        f"Bars are 95&nbsp;% intervals over {escape(_over(result))}.</figcaption></figure>"
        f"{table(['subset', 'items', 'figure'], rows)}",
    )


def _lengths(result: SuiteResult) -> str:
    if not result.confounds:
        return ""
    rows = [[escape(k), f"{f.n:,}", cell(f, True)] for k, f in result.confounds.items()]
    return _section(
        "Does length decide?",
        "<p>How often the right response of a duel is the longer one, and this reward where the two are equally long "
        f"(within a factor of {MATCHED[0]:g} to {MATCHED[1]:g}).</p>{table(['duels', 'n', 'share'], rows)}",
    )


def _notes(result: SuiteResult) -> str:
    return _section("Notes", "".join(f"<p>{escape(n)}</p>" for n in result.notes)) if result.notes else ""


# ------------------------------------------------------------------------------------------- several rewards


def leaderboard(suite: Suite | Study, ranked: Sequence[SuiteResult], differences: Sequence[Difference]) -> str:
    """Several rewards on one page of Markdown: their figures, and which can be told apart."""
    figures = list(ranked[0].figures)
    lines = [f"## {suite.name}: {suite.what}", "", "| reward |" + "".join(f" {f} |" for f in figures)]
    lines.append("|---|" + "---|" * len(figures))
    for result in ranked:
        lines.append(f"| {result.reward} |" + "".join(f" {result.figures[f]} |" for f in figures))
    lines += ["", "| | difference | items won, lost | p (Holm) | detectable | better |", "|---|---|---|---|---|---|"]
    for d in differences:
        lines.append(
            f"| {d.first} - {d.second} | {d.headline} | {d.wins}, {d.losses} | {d.p:.3g} ({d.adjusted:.3g}) "
            f"| {d.detectable:.3f} | {d.verdict} |"
        )
    return "\n".join([*lines, ""])

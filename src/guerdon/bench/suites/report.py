"""A result of a suite as files: one self-contained HTML page, Markdown for a model card, RewardBench's JSON.

``result.json`` holds every item's credit and is what ``guerdon bench compare`` reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from guerdon.bench import plots
from guerdon.bench import robustness_report as show
from guerdon.bench.markup import cell, count, fact_list, gap_cell, interval, percent, table
from guerdon.bench.suites.compare import Difference
from guerdon.bench.suites.run import SuiteResult, items_of
from guerdon.bench.suites.study import Study
from guerdon.bench.suites.suite import Suite
from guerdon.errors import ConfigError


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
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            temporary = place / f".{name}.tmp"
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, place / name)
    except OSError as error:
        raise ConfigError(
            f"report {place}: cannot be written ({error.strerror or error}); name another place"
        ) from None
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
    lines += [f"| {k} | {v:.3f} | |" + " |" * len(names) for k, v in result.extra.items()]
    if result.robustness:
        lines += ["", *show.markdown(result.robustness)]
    return "\n".join([*lines, "", *(f"- {note}" for note in result.notes), ""])


def _counts(result: SuiteResult) -> str:
    facts = result.facts
    over = result.settings.get("over", "prompts")
    text = f"{count(facts['items'], 'item')} of {facts[over]:,} {over}"
    if "duels" not in facts:
        return f"{text}."
    return f"{text}; {facts['tied duels']} of {facts['duels']} duels tied, {facts['unscored duels']} unscored."


def html(result: SuiteResult, suite: Suite | Study, more: Sequence[str] = ()) -> str:
    """The page; ``more`` are further sections of it, as HTML."""
    name, figure = result.headline
    over = escape(str(result.settings.get("over", "prompts")))
    heads = ["figure", "this reward", *(escape(b.name) for b in result.baselines)]
    rows = []
    for key, mine in result.figures.items():
        others = [gap_cell(b.difference[key], True, higher=True) for b in result.baselines]
        rows.append([escape(key), cell(mine, True), *others])
    chance = next((b.figures[name].value for b in result.baselines if b.name == "random"), 0.5)
    drawn = [(k, f) for k, f in result.subsets.items() if not np.isnan(f.value)]
    subsets = [[escape(k), items_of(f), cell(f, True)] for k, f in result.subsets.items()]
    confounds = [[escape(k), f"{f.n:,}", cell(f, True)] for k, f in result.confounds.items()]
    parts = [
        f'<header><p class="kicker">guerdon · {escape(suite.name)}</p><h1>{escape(result.reward)}</h1>'
        f'<p class="lead">{escape(suite.what)}. {escape(name)}: <b>{percent(figure.value)}</b> '
        f"({interval(figure)}, over {over}). {_counts(result)}</p></header>",
        "<section><h2>Figures</h2><p>Columns of baselines are this reward minus the baseline, on the same items; "
        f"coloured where the interval leaves out zero.</p>{table(heads, rows)}</section>",
    ]
    if result.extra:
        parts.append(f"<section><h2>More</h2>{fact_list(result.extra.items())}</section>")
    styles = getattr(suite, "matrix", ())
    if styles:
        grid = [[result.figures.get(f"{a} over {b}") for b in styles] for a in styles]
        values = np.array([[np.nan if f is None else f.value for f in row] for row in grid])
        parts.append(
            f"<section><h2>Styles</h2><figure>{plots.matrix(styles, values, 'Right over wrong by style')}<figcaption>"
            "How often the right response wins, by its style and the wrong one's; below the diagonal the right one is "
            "the more elaborate (easy), above it the wrong one (hard).</figcaption></figure></section>"
        )
    counts = result.settings.get("curve")
    if counts:
        lines = [(result.reward, [result.subsets[f"n={n}"] for n in counts])]
        lines += [(b.name, [b.figures[f"n={n}"] for n in counts]) for b in result.baselines]
        parts.append(
            f"<section><h2>Best of n</h2><figure>{plots.best_of_n(counts, lines)}<figcaption>Expected true value of "
            "the response with the highest score among n; the band is a 95&nbsp;% interval over prompts.</figcaption>"
            "</figure></section>"
        )
    elif len(drawn) > 1:
        picture = plots.figures(drawn[:80], figure.value, "subsets", "Figure by subset", chance=chance)
        parts.append(
            f"<section><h2>By subset</h2><figure>{picture}<figcaption>Dashed: {escape(name)}; dotted: chance. "
            f"Bars are 95&nbsp;% intervals over {over}.</figcaption></figure>"
            f"{table(['subset', 'items', 'figure'], subsets)}</section>"
        )
    if result.confounds:
        parts.append(
            "<section><h2>Does length decide?</h2><p>How often the right response of a duel is the longer one, and "
            "this reward where the two are equally long (within a factor of 0.8 to 1.25).</p>"
            f"{table(['duels', 'n', 'share'], confounds)}</section>"
        )
    if result.robustness:
        parts.append(show.section(result.robustness))
    parts += more
    if result.reasons:
        parts.append(f"<section><h2>Unscored</h2>{fact_list(result.reasons.items())}</section>")
    if result.notes:
        parts.append("<section><h2>Notes</h2>" + "".join(f"<p>{escape(n)}</p>" for n in result.notes) + "</section>")
    parts.append(f"<section><h2>Method</h2>{fact_list(result.settings.items())}</section>")
    template = Template(files("guerdon.bench").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(title=escape(f"{result.reward}: {suite.name}"), body="\n".join(parts))


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

"""An evaluation as one self-contained HTML file: no script, no link, nothing loaded from anywhere.

Everything that came from data (names, reasons, notes) is escaped. The page follows the reader's light or dark setting
and prints on paper. Most people read two things, so they come first: the figures and what to be careful about.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench import plots
from guerdon.bench.cautions import plain_zero
from guerdon.bench.evaluate import Evaluation
from guerdon.bench.groups import Group
from guerdon.bench.markup import cell, count, fact_list, gap_cell, interval, percent, points, pt, share_of, table
from guerdon.bench.page import html_page, write_files

KINDS = {
    "subset": ("By subset", "subset"),
    "criterion": ("By criterion", "criterion"),
    "person": ("People it knows and people it does not", "people"),
    "people": ("By how much people said", "people, by judgements given"),
    "length": ("By length", "pairs in which"),
}
"""Heading and first column of the groups of each kind."""


def write_report(result: Evaluation, place: str | Path) -> Path:
    """Write the report to ``place`` (an ``.html`` file, or a directory: ``report.html`` and ``evaluation.json``).

    Returns the path of the HTML file. Files appear complete or not at all.

    Raises
    ------
    BackendError
        if matplotlib is not installed
    ConfigError
        if the place cannot be written
    """
    path = Path(place)
    single = path.suffix.lower() in (".html", ".htm")
    target = path if single else path / "report.html"
    texts = {target: render(result)}
    if not single:
        document = json.dumps(result.to_dict(), ensure_ascii=False, indent=2, allow_nan=False)
        texts[path / "evaluation.json"] = document + "\n"
    write_files(texts)
    return target


def render(result: Evaluation) -> str:
    """The report's HTML."""
    parts = [
        _header(result),
        _tiles(result),
        _cautions(result),
        _baselines(result),
        _shots(result),
        _calibration(result),
        _groups(result),
        _people(result),
        _data(result),
        _reward(result),
        _method(result),
    ]
    return html_page(f"{result.reward}: evaluation", "\n".join(p for p in parts if p))


# ---------------------------------------------------------------------------------------------------- sections


def _header(result: Evaluation) -> str:
    counts, accuracy = result.counts, result.overall["accuracy"]
    people = f" by {count(counts['people'], 'person', 'people')}" if counts["people"] else ""
    if np.isnan(accuracy.value):
        verdict = "Accuracy could not be measured."
    else:
        verdict = f"It is right on <b>{percent(accuracy.value)}</b> of {accuracy.n:,} decided comparisons"
        verdict += f" (95&nbsp;% interval {interval(accuracy)} over {escape(result.settings['intervals_over'])})."
    best = _hardest(result)
    return (
        f'<header><p class="kicker">guerdon · evaluation of a reward</p><h1>{escape(result.reward)}</h1>'
        f'<p class="lead">Measured on {count(counts["judgements"], "judgement")}{people} about '
        f"{count(counts['candidates'], 'response')} to {count(counts['prompts'], 'prompt')}. {verdict}{best}"
        f"{_adapted(result)}</p></header>"
    )


def _hardest(result: Evaluation) -> str:
    """One sentence on the strongest baseline."""
    rows = [b for b in result.baselines if b.name != "random" and not np.isnan(b.figures["accuracy"].value)]
    if not rows:
        return ""
    best = max(rows, key=lambda b: b.figures["accuracy"].value)
    gap = best.difference["accuracy"]
    where = "" if best.answered > 0.999 else f", on the {best.answered:.0%} of the pairs that this one answers"
    much = f"{abs(100 * gap.value):.1f}"
    if much == "0.0":
        verdict = "the same as"
    else:
        verdict = f"{much} points {'better' if gap.value > 0 else 'worse'} than"
    return (
        f" That is {verdict} the strongest baseline, <i>{escape(best.name)}</i> ({escape(best.what)}){where}; "
        f"interval of the difference {points(gap)} points."
    )


def _adapted(result: Evaluation) -> str:
    """One sentence on what the largest number of shots is worth."""
    if result.shots is None:
        return ""
    last = result.shots.points[-1]
    gain = last.gain["accuracy"]
    return (
        f" {last.shots} comparisons of their own change it by {pt(gain.value)} points for people it had never seen "
        f"({points(gain)})."
    )


def _tiles(result: Evaluation) -> str:
    overall = result.overall
    wanted = [
        ("accuracy", "accuracy", True, "right on decided pairs"),
        ("best_of_n", "best of n", True, "best-scored is the best"),
        ("spearman", "rank correlation", False, "Spearman, within a person and prompt"),
        ("log_loss", "log-loss", False, "nats; 0.693 is a coin"),
        ("brier", "Brier score", False, "0.25 is a coin"),
        ("ece", "calibration error", False, "expected, equal-mass bins"),
        ("accuracy_people", "accuracy per person", True, "mean over people"),
        ("tau", "Kendall's tau", False, "within lists"),
    ]
    tiles = []
    for key, name, share, what in wanted:
        figure = overall.get(key)
        if figure is None or np.isnan(figure.value):
            continue
        number = percent(figure.value) if share else f"{figure.value:.3f}"
        if key == "best_of_n":
            what += f"; a blind pick: {percent(overall['best_of_n_by_chance'].value)}"
        if key == "ece" and not np.isnan(overall["ece_by_chance"].value):
            what = f"a calibrated reward would show {overall['ece_by_chance'].value:.3f}"
        span = "" if np.isnan(figure.low) else f"{interval(figure, share)} · "
        tiles.append(f'<div class="tile"><span>{name}</span><b>{number}</b><span>{span}{what}</span></div>')
    counts = result.counts
    rows = [
        ("pairs", counts["pairs"], None),
        ("people tie", counts["ties"], overall["ties"]),
        ("the reward ties", counts["predicted_ties"], overall["predicted_ties"]),
        ("unscored", counts["unscored"], overall["unscored"]),
    ]
    text = " · ".join(
        f"{name} {n:,}" + (f" ({share_of(figure)})" if figure is not None and n else "") for name, n, figure in rows
    )
    text += ". Unscored pairs are left out of every figure."
    return f'<div class="tiles">{"".join(tiles)}</div><p class="note">{text}</p>'


def _cautions(result: Evaluation) -> str:
    if not result.cautions:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in result.cautions)
    return f'<section class="caution"><h2>What to be careful about</h2><ul>{items}</ul></section>'


def _baselines(result: Evaluation) -> str:
    if not result.baselines:
        return ""
    rows = []
    for b in result.baselines:
        gap = b.difference
        rows.append(
            [
                f"{escape(b.name)}<small>{escape(b.what)}</small>",
                percent(b.answered) if not np.isnan(b.answered) else "–",
                cell(b.figures["accuracy"], True),
                gap_cell(gap["accuracy"], True, higher=True),
                cell(b.figures["log_loss"], False),
                gap_cell(gap["log_loss"], False, higher=False),
            ]
        )
    head = ["baseline", "answers", "its accuracy", "this reward: difference", "its log-loss", "difference"]
    note = (
        "Differences are this reward minus the baseline on the pairs that both answer, with paired intervals: coloured "
        "where the interval excludes zero. Higher accuracy and lower log-loss are better."
    )
    others = ""
    if result.agreement:
        crowd, mine = result.agreement["others"], result.agreement["reward"]
        others = (
            f'<p class="note">For scale: the majority of the other people is right on '
            f"{percent(crowd.value)} ({interval(crowd)}) of the {crowd.n:,} pairs that others judged too; this reward "
            f"on {percent(mine.value)}.</p>"
        )
    return f'<section><h2>Against baselines</h2>{table(head, rows)}<p class="note">{note}</p>{others}</section>'


def _shots(result: Evaluation) -> str:
    curve = result.shots
    if curve is None:
        return ""
    rows = []
    for point in curve.points:
        gain = point.gain
        rows.append(
            [
                str(point.shots),
                cell(point.people["accuracy"], True),
                gap_cell(gain["accuracy"], True, higher=True) if point.shots else "–",
                cell(point.pairs["accuracy"], True),
                cell(point.people["log_loss"], False),
                gap_cell(gain["log_loss"], False, higher=False) if point.shots else "–",
                f"{100 * point.helped:+.0f} %" if point.shots else "–",
                f"{1000 * point.seconds:,.0f} ms" if point.shots else "–",
            ]
        )
    head = ["shots", "accuracy, people", "gain", "accuracy, pairs", "log-loss", "gain", "helped − hurt", "adapting all"]
    notes = "".join(f" {escape(note)}." for note in curve.notes)
    caption = (
        f"{curve.n_people:,} people that the reward had never seen, {curve.draws} draws of shots, intervals over "
        f"people. Each person's judgements are split: shots come from one part, the tests from the other, the same at "
        f"every number of shots.{notes}"
    )
    return (
        f"<section><h2>People it has never seen</h2><figure>{plots.shots(curve)}<figcaption>{caption}</figcaption>"
        f"</figure>{table(head, rows)}</section>"
    )


def _calibration(result: Evaluation) -> str:
    if not result.reliability:
        return ""
    over = result.overall["overconfidence"]
    caption = (
        "Pairs in bins of equal size by how sure the reward is of the side it prefers; vertical bars are intervals of "
        "how often it is right; dashed: calibrated. On average it is "
        f"{plain_zero(over.value, 3):+.3f} ({interval(over, False)}) surer than right.".replace("-", "−")
    )
    figure = plots.reliability(result.reliability)
    return _figure_section("Is it as sure as it should be?", figure, caption)


def _groups(result: Evaluation) -> str:
    kinds = [k for k in KINDS if any(g.kind == k for g in result.groups)]
    if not kinds:
        return ""
    out = ["<section><h2>Where it is right</h2>"]
    for kind in kinds:
        parts = [g for g in result.groups if g.kind == kind]
        drawn = [g for g in parts if not np.isnan(g.figures["accuracy"].value)]
        heading, column = KINDS[kind]
        out.append(f"<h3>{heading}</h3>")
        if len(drawn) > 1:
            out.append(f"<figure>{plots.groups(drawn, result.overall['accuracy'].value)}</figure>")
        figures = _group_table(column, parts, result.settings["intervals_over"])
        out.append(f"<details><summary>figures</summary>{figures}</details>")
    note = "Dashed line: all pairs; dotted line: a coin."
    if any(g.over != result.settings["intervals_over"] for g in result.groups):
        note += (
            f" * too few {result.settings['intervals_over']} in this part: its intervals are over people or judgements."
        )
    out.append(f'<p class="note">{escape(note)}</p></section>')
    return "".join(out)


def _group_table(column: str, parts: Sequence[Group], over: str) -> str:
    names = {"accuracy": True, "best_of_n": True, "log_loss": False, "brier": False, "ece": False}
    names |= {"ties": True, "unscored": True}
    present = [k for k in names if any(k in g.figures for g in parts)]
    rows = []
    for g in parts:
        cells = [cell(g.figures[k], names[k]) if k in g.figures else "–" for k in present]
        rows.append([escape(g.name) + ("" if g.over == over else " *"), f"{g.pairs:,}", *cells])
    titles = {"best_of_n": "best of n", "log_loss": "log-loss", "brier": "Brier", "ece": "calibration error"}
    return table([column, "pairs", *[titles.get(k, k) for k in present]], rows)


def _people(result: Evaluation) -> str:
    deciles = result.people.get("deciles")
    if not deciles:
        return ""
    caption = (
        f"{result.people['count']:,} people sorted by the accuracy that each of them sees, in tenths. Dashes: what the "
        "tenths would look like by the luck of few judgements if everybody were served equally well."
    )
    figure = plots.people(deciles)
    return (
        f"<section><h2>For whom it is right</h2><figure>{figure}<figcaption>{caption}</figcaption></figure></section>"
    )


def _data(result: Evaluation) -> str:
    counts, data = result.counts, result.data
    facts: list[tuple[str, Any]] = [(k.replace("_", " "), f"{v:,}") for k, v in counts.items() if v]
    sizes = data.get("responses_per_judgement", {})
    facts.append(("responses a judgement", ", ".join(f"{k}: {v:,} times" for k, v in sizes.items())))
    for key, title in (("criteria", "criteria"), ("subsets", "subsets")):
        if data.get(key):
            facts.append((title, ", ".join(data[key])))
    if data.get("share_by_model"):
        facts.append(("judged by a model", percent(data["share_by_model"])))
    for key, value in data.get("overlap", {}).items():
        facts.append((f"seen in training: {key.replace('_', ' ')}", percent(value)))
    if result.unscored:
        facts.append(("why unscored", "; ".join(f"{n:,} × {why}" for why, n in result.unscored.items())))
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in data.get("notes", []))
    return f"<section><h2>What it was measured on</h2>{fact_list(facts)}{notes}</section>"


def _reward(result: Evaluation) -> str:
    facts = []
    for key, value in result.facts.items():
        if isinstance(value, dict):
            facts += [(f"{key}: {k}", v) for k, v in value.items()]
        else:
            facts.append((key, value))
    return f"<section><h2>The reward</h2>{fact_list(facts)}</section>"


def _method(result: Evaluation) -> str:
    s = result.settings
    lines = [
        f"Intervals: {s['level']:.0%} percentile intervals of a cluster bootstrap with {s['bootstrap']:,} replicates "
        f"over {s['clusters']:,} {escape(s['intervals_over'])}, seed {s['seed']}.",
        "Ties: pairs on which people tie are left out of accuracy and count as 1/2 elsewhere; a tie of the reward is "
        "half right.",
        "Calibration error: expected, folded to the side that the reward prefers, equal-mass bins; "
        "“would show” is what a perfectly calibrated reward gets from sampling alone.",
        f"Pairs from separate ratings: of one person and prompt, unequal ratings, at most {s['max_pairs']:,}.",
        *[escape(note) + "." for note in result.notes],
    ]
    items = "".join(f"<li>{line}</li>" for line in lines)
    return f'<section><h2>How it was measured</h2><ul class="note">{items}</ul></section>{_footer()}'


def _footer() -> str:
    from guerdon import __version__

    return f"<footer>Made by guerdon {escape(__version__)} with <code>guerdon eval</code>.</footer>"


def _figure_section(heading: str, figure: str, caption: str) -> str:
    return f"<section><h2>{heading}</h2><figure>{figure}<figcaption>{caption}</figcaption></figure></section>"

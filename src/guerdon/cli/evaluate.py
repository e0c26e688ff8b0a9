"""`guerdon eval`: how right a reward is on feedback, against baselines, with intervals, and where to be careful."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from guerdon.cli.reading import Format, Items, Map, SkipBad, Sources, Where

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guerdon.bench.evaluate import Evaluation
    from guerdon.bench.groups import Group
    from guerdon.bench.shots import ShotCurve

NAMES = {
    "accuracy": "accuracy (decided pairs)",
    "accuracy_people": "accuracy, mean over people",
    "log_loss": "log-loss (nats)",
    "brier": "Brier score",
    "ece": "calibration error",
    "ece_by_chance": "  of a calibrated reward",
    "overconfidence": "overconfidence",
    "best_of_n": "best of n",
    "best_of_n_by_chance": "  of a blind pick",
    "tau": "Kendall's tau (lists)",
    "spearman": "Spearman (ratings)",
    "ties": "share: people tie",
    "predicted_ties": "share: the reward ties",
    "unscored": "share: unscored",
}
MOST_ROWS = 25
"""Rows of a table of groups on the terminal; the report and --json have all."""


def evaluate(
    reward: Annotated[
        str,
        typer.Argument(help="A saved reward, hf:org/name, rule:length, or package.module:object.", metavar="REWARD"),
    ],
    feedback: Sources,
    shots: Annotated[
        list[str] | None,
        typer.Option(help="Adapt to unseen people with so many comparisons each, e.g. 2,5,10,20.", metavar="K"),
    ] = None,
    train: Annotated[
        list[str] | None,
        typer.Option(help="The feedback it was fitted to: more baselines, and overlap.", metavar="FEEDBACK"),
    ] = None,
    report: Annotated[
        str | None, typer.Option(help="Write an HTML report: a directory, or FILE.html.", metavar="PLACE")
    ] = None,
    by: Annotated[str, typer.Option(help="What intervals are over: auto, prompt, user or judgement.")] = "auto",
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="Only these: length, majority, population, as-nobody, random.", metavar="NAME"),
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="Bootstrap replicates; 0 = no intervals.")] = 1000,
    max_pairs: Annotated[int, typer.Option(min=1, help="Most pairs made of one person's ratings.")] = 200,
    draws: Annotated[int, typer.Option(min=1, help="How many times shots are drawn.")] = 3,
    seed: Annotated[int, typer.Option(help="Seeds draws and bootstrap.")] = 0,
    format: Format = None,
    map: Map = None,
    items: Items = None,
    where: Where = None,
    skip_bad: SkipBad = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Measure REWARD on FEEDBACK: accuracy, log-loss, calibration, per subset, criterion and people, with intervals.

    Every figure has a bootstrap interval over whole prompts or people. Baselines are measured on the same pairs. With
    --shots, people the reward does not know give a few comparisons and are tested on the rest of theirs. Reading
    options hold for --train as well, but --where does not.
    """
    from guerdon.bench.baselines import BASELINES
    from guerdon.bench.evaluate import evaluate as measure
    from guerdon.cli.console import emit, say
    from guerdon.cli.reading import read_feedback
    from guerdon.errors import ConfigError
    from guerdon.reward.load import load

    counts = parse_shots(shots or ())
    wanted = [name.strip() for text in baseline or () for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in BASELINES:
            raise ConfigError(f"--baseline {name!r} is unknown; use some of {', '.join(BASELINES)}")
    if report is not None:
        check_report()
    judge = load(reward)
    options: dict[str, Any] = {"format": format, "map": map, "items": items}
    test = read_feedback(feedback, where=where, skip_bad=skip_bad, **options)
    learned = None
    if train:
        say("training feedback:")
        aside = None if skip_bad is None else skip_bad.with_name(f"{skip_bad.stem}.train{skip_bad.suffix}")
        learned = read_feedback(train, skip_bad=aside, **options)
    say()
    result = measure(
        judge,
        test,
        shots=counts,
        by=by,  # type: ignore[arg-type]  # checked where it is used
        train=learned,
        baselines=tuple(wanted) or None,
        seed=seed,
        bootstrap=bootstrap,
        max_pairs=max_pairs,
        draws=draws,
    )
    show(result)
    if report is not None:
        from guerdon.bench.report import write_report

        say(f"report: {write_report(result, report)}")
    if json:
        emit(result.to_dict())


def parse_shots(texts: Iterable[str]) -> list[int]:
    """``["2,5", "10"]`` as ``[2, 5, 10]``."""
    from guerdon.errors import ConfigError

    counts = []
    for part in (piece.strip() for text in texts for piece in text.split(",")):
        if not part.isdecimal():
            raise ConfigError(f"--shots {part!r}: write whole numbers, e.g. --shots 2,5,10,20")
        counts.append(int(part))
    return sorted(set(counts))


def check_report() -> None:
    """Fail before the work rather than after it if the report cannot be drawn."""
    from importlib.util import find_spec

    from guerdon.errors import need

    if find_spec("matplotlib") is None:
        raise need("matplotlib", "plot")


def show(result: Evaluation) -> None:
    """The evaluation for people, on stderr, 80 columns wide; what to be careful about comes last, where the eye is."""
    from guerdon.bench.cautions import signed
    from guerdon.cli.console import say, table

    counts, settings = result.counts, result.settings
    people = f" by {counts['people']} people" if counts["people"] else ""
    say(
        f"{result.reward} on {counts['judgements']} judgements{people}: {counts['candidates']} candidates, "
        f"{counts['prompts']} prompts, {counts['pairs']} pairs"
    )
    say(f"[intervals: {settings['level']:.0%}, over {settings['clusters']} {settings['intervals_over']}]")
    say()
    rows = [[NAMES[k], str(result.overall[k]), result.overall[k].n] for k in NAMES if k in result.overall]
    table("", ["figure", "value", "measured on"], rows)
    if result.baselines:
        say()
        rows = []
        for b in result.baselines:
            gaps = [signed(b.difference[k]) for k in ("accuracy", "log_loss")]
            accuracy = b.figures["accuracy"].value if b.answered else "-"
            rows.append([b.name, f"{b.answered:.0%}", accuracy, *gaps])
        table("", ["baseline", "answers", "accuracy", "reward minus it", "log-loss minus its"], rows)
    if result.agreement:
        say(f"the majority of the other people, where there is one: {result.agreement['others']}")
    for kind in dict.fromkeys(g.kind for g in result.groups):
        groups = [g for g in result.groups if g.kind == kind]
        say()
        group_table(kind, groups[:MOST_ROWS], settings["intervals_over"])
        if len(groups) > MOST_ROWS:
            say(f"... and {len(groups) - MOST_ROWS} more (--json, --report)")
    if result.shots is not None:
        show_shots(result.shots)
    notes = [note for note in result.notes if not any(note in caution for caution in result.cautions)]
    if notes or result.cautions:
        say()
    for note in notes:
        say(f"note: {note}")
    for caution in result.cautions:
        say(f"careful: {caution}")


def show_shots(curve: ShotCurve) -> None:
    """Accuracy on unseen people against the number of shots."""
    from guerdon.bench.cautions import signed
    from guerdon.cli.console import say, table

    say()
    rows = []
    for p in curve.points:
        gain = signed(p.gain["accuracy"]) if p.shots else None
        rows.append([p.shots, str(p.people["accuracy"]), gain, p.pairs["accuracy"].value, p.people["log_loss"].value])
    columns = ["shots", "accuracy, people", "gain", "accuracy, pairs", "log-loss"]
    table(f"{curve.n_people} people it had never seen ({curve.draws} draws)", columns, rows)
    for name, figure in curve.baselines.items():
        say(f"{name} on the same pairs: {figure}")
    for note in curve.notes:
        say(f"note: {note}")


def group_table(kind: str, groups: list[Group], over: str) -> None:
    """The figures of the groups of one kind, with the interval of the first."""
    from guerdon.cli.console import say, table

    titles = {"best_of_n": "best of n", "accuracy": "accuracy", "log_loss": "log-loss", "ece": "ECE"}
    names = [k for k in titles if any(k in g.figures for g in groups)]
    shares = [k for k in ("ties", "unscored") if any(g.figures[k].value > 0 for g in groups)]
    rows: list[list[Any]] = []
    for g in groups:
        figures = [g.figures.get(k) for k in names]
        cells = [None if f is None or f.value != f.value else f.value for f in figures]
        first = None if figures[0] is None else str(figures[0])
        name = (shortened(g.name) if kind in ("subset", "criterion") else g.name) + ("" if g.over == over else " *")
        rows.append([name, g.pairs, first, *cells[1:], *[f"{g.figures[k].value:.1%}" for k in shares]])
    table("", [kind, "pairs", *[titles[k] for k in names], *shares], rows)
    if any(g.over != over for g in groups):
        say(f"* too few {over} in this part: its interval is over people or judgements")


def shortened(name: str, most: int = 22) -> str:
    """A long name without its middle: names of one set often begin alike."""
    return name if len(name) <= most else f"{name[: most // 3]}…{name[len(name) - (most - most // 3 - 1) :]}"

"""`guerdon bench`: a reward on a published benchmark, and several rewards compared item by item."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guerdon.bench.suites.run import SuiteResult
    from guerdon.bench.suites.study import Study
    from guerdon.bench.suites.suite import Suite
    from guerdon.feedback.star import Feedback
    from guerdon.reward.base import Reward

USE = "use: guerdon bench REWARD SUITE, guerdon bench compare RESULT RESULT..., or guerdon bench suites"
MOST_ROWS = 30
"""Subsets on the terminal; the report and --json have all."""


def bench(
    words: Annotated[
        list[str],
        typer.Argument(help="REWARD SUITE; or compare and two or more result.json; or suites.", metavar="REWARD SUITE"),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="The suite's data: a folder, a file or hf:org/name[:split]; else GUERDON_DATA.", metavar="DIR"
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write report.html, report.md, result.json, rewardbench.json.", metavar="DIR")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call the reward in tables.")] = None,
    train: Annotated[
        list[str] | None,
        typer.Option(help="Feedback to fit the baselines majority and population to.", metavar="FEEDBACK"),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="Only these: length, random, majority, population, cross-fitted, none.", metavar="NAME"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many judgements, of all subsets.")] = None,
    reword: Annotated[
        list[str] | None,
        typer.Option(
            help="Also measure the items reworded so that the right response stays right: a transform, a family "
            "(controlled, natural, targeted), all, or package.module:object; repeat.",
            metavar="NAME",
        ),
    ] = None,
    paraphraser: Annotated[
        str | None,
        typer.Option(help="Language model for the rewordings that one writes: hf:PATH or http://...#MODEL."),
    ] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option(help="Also attack the reward on the suite's prompts: an attack, a family or all; repeat."),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Go on where expected subsets are missing.")] = False,
    set: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of a suite that has settings.")] = None,
    bootstrap: Annotated[int, typer.Option(min=0, help="Bootstrap replicates; 0 = no intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seeds the bootstrap, --limit and the random baseline.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout, every item in it.")] = False,
) -> None:
    """Measure REWARD on SUITE as its authors do, with intervals, baselines and what length alone would get.

    `guerdon bench suites` lists the suites and where their data come from. Scores are kept in the cache: a run that was
    interrupted goes on where it was.
    """
    from guerdon.cli.console import settings
    from guerdon.errors import ConfigError

    if words == ["suites"]:
        _suites(json)
        return
    if words[0] == "compare":
        _compare([Path(w) for w in words[1:]], report, bootstrap, seed, json)
        return
    if len(words) != 2:
        raise ConfigError(USE)
    import os

    from guerdon.bench.suites.registry import suite as find
    from guerdon.bench.suites.run import run
    from guerdon.bench.suites.study import Study
    from guerdon.reward.load import load

    suite = find(words[1])
    where = data or os.environ.get("GUERDON_DATA")
    if not where:
        raise ConfigError(f"suite {suite.name}: no data; {suite.source}, and name the folder with --data DIR")
    if report is not None:
        from guerdon.cli.evaluate import check_report

        check_report()
    if isinstance(suite, Study):
        options = settings(set or ())
        unknown = sorted(options.keys() - suite.settings.keys())
        given = {"--train": train, "--partial": partial, "--baseline": baseline, "--reword": reword}
        given |= {"--paraphraser": paraphraser, "--attack": attack}
        if unknown or any(given.values()):
            wrong = [f"--set {u}" for u in unknown] + [option for option, value in given.items() if value]
            known = "; ".join(f"{k}: {v}" for k, v in suite.settings.items()) or "none"
            raise ConfigError(f"suite {suite.name} knows no {wrong[0]}; settings: {known}")
        options |= {"limit": limit, "bootstrap": bootstrap, "seed": seed, "name": name}
        from guerdon.cli.console import err

        with err.status(f"measuring {words[0]} on {suite.name}"):
            result = suite.measure(suite, words[0], where, **options)
        _tell(result, suite, report, json)
        return
    if set:
        raise ConfigError(f"suite {suite.name} has no settings; leave out --set {set[0]}")
    if paraphraser is not None and not reword:
        raise ConfigError("--paraphraser writes rewordings; add --reword paraphrase, or all")
    if attack and report is None:
        raise ConfigError("--attack is a section of the report; add --report DIR, or use guerdon attack")
    named, cross_fit = _baselines(baseline)
    reward = load(words[0])
    feedback = suite.feedback(where)
    learned = None
    if train:
        from guerdon.cli.reading import read_feedback

        learned = read_feedback(train)
    if name:
        reward.name = name
    kept = _kept(reward, words[0])
    try:
        result = run(
            kept,
            suite,
            feedback,
            baselines=named,
            cross_fit=cross_fit,
            progress=True,
            train=learned,
            limit=limit,
            partial=partial,
            bootstrap=bootstrap,
            seed=seed,
        )
        result, more = _further(kept, suite, feedback, result, reword or (), paraphraser, attack or (), bootstrap)
    finally:
        _done(kept)
    _tell(result, suite, report, json, more)


def _baselines(wanted: list[str] | None) -> tuple[list[str] | None, bool]:
    """(names of the usual baselines, None for all; whether to cross-fit one)."""
    from guerdon.bench.baselines import BASELINES
    from guerdon.bench.suites.crossfitted import NAME
    from guerdon.errors import ConfigError

    if wanted is None:
        return None, True
    for name in wanted:
        if name not in (*BASELINES, NAME, "none"):
            raise ConfigError(f"--baseline {name}: use one of {', '.join((*BASELINES, NAME))}, or none")
    return [name for name in wanted if name in BASELINES], NAME in wanted


def _further(
    reward: Reward,
    suite: Suite,
    feedback: Feedback,
    result: SuiteResult,
    reword: Sequence[str],
    paraphraser: str | None,
    attack: Sequence[str],
    bootstrap: int,
) -> tuple[SuiteResult, list[str]]:
    """The result with what rewordings of its items do, and further sections of the report."""
    from dataclasses import replace

    from guerdon.bench.suites.run import some_of

    limit, seed = result.settings["limit"], result.settings["seed"]
    if limit is not None and limit < len(feedback):
        feedback = feedback.take(some_of(feedback, limit, seed))
    if reword:
        from guerdon.bench.robustness import measure
        from guerdon.generate.load import load_language_model
        from guerdon.generate.rewordings.registry import chosen

        model = None if paraphraser is None else load_language_model(paraphraser)
        found = measure(reward, suite, feedback, chosen(reword), language_model=model, bootstrap=bootstrap, seed=seed)
        result = replace(result, robustness=found.to_dict())
    if not attack:
        return result, []
    from guerdon.bench.attacks import show
    from guerdon.bench.attacks.prompts import from_feedback
    from guerdon.bench.attacks.registry import chosen as attacks
    from guerdon.bench.attacks.run import run

    battery = run(
        reward,
        from_feedback(feedback),
        attacks([] if "all" in attack else list(attack)),
        bootstrap=bootstrap,
        seed=seed,
    )
    return result, [show.section(battery)]


def _tell(result: SuiteResult, suite: Suite | Study, report: Path | None, json: bool, more: Sequence[str] = ()) -> None:
    """The result on the terminal, as a report, as JSON."""
    from guerdon.cli.console import emit, say

    _show(result, suite.what)
    if report is not None:
        from guerdon.bench.suites.report import write

        say(f"report: {write(result, suite, report, more)}")
    if json:
        emit(result.to_dict())


def _kept(reward: Reward, spec: str) -> Reward:
    """The reward with its scores kept on disk, and a bar."""
    from rich.progress import Progress

    from guerdon.bench.remembered import kept
    from guerdon.cli.console import err

    bar = Progress(console=err, transient=True)
    task = bar.add_task("scoring", total=None)

    def progress(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)

    found = kept(reward, spec, progress=progress)
    if found is not reward:
        bar.start()
        found.bar = bar  # type: ignore[attr-defined]
    return found


def _done(reward: Reward) -> None:
    bar = getattr(reward, "bar", None)
    if bar is not None:
        bar.stop()


def _suites(json: bool) -> None:
    from guerdon.bench.suites.registry import SUITES
    from guerdon.cli.console import emit, say

    if json:
        emit([{"name": s.name, "what": s.what, "source": s.source, "paper": s.paper} for s in SUITES])
        return
    for s in SUITES:
        say(f"{s.name}\n    {s.what} ({s.paper})\n    {s.source}")


def _compare(paths: list[Path], report: Path | None, bootstrap: int, seed: int, json: bool) -> None:
    import json as js

    from guerdon.bench.suites.compare import compare
    from guerdon.bench.suites.registry import suite as find
    from guerdon.bench.suites.report import leaderboard
    from guerdon.bench.suites.run import from_dict
    from guerdon.cli.console import emit, say, table
    from guerdon.errors import ConfigError

    results = []
    for path in paths:
        file = path / "result.json" if path.is_dir() else path
        try:
            document = js.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file} cannot be read: {error}") from None
        results.append(from_dict(document if isinstance(document, dict) else {}, str(file)))
    if len(results) < 2:
        raise ConfigError(USE)
    suite = find(results[0].suite)
    ranked, differences = compare(suite, results, bootstrap=bootstrap, seed=seed)
    names = list(ranked[0].figures)[:6]
    table(suite.what, ["reward", *names], [[r.reward, *(str(r.figures[n]) for n in names)] for r in ranked])
    rows = []
    for d in differences:
        won = f"{d.wins}/{d.losses}"
        rows.append([f"{d.first} - {d.second}", str(d.headline), won, f"{d.adjusted:.2g}", d.detectable, d.verdict])
    say()
    table("", ["difference", ranked[0].headline[0], "won/lost", "p (Holm)", "detectable", "better"], rows)
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
        (report / "compare.md").write_text(leaderboard(suite, ranked, differences), encoding="utf-8")
        say(f"report: {report / 'compare.md'}")
    if json:
        found = [d.to_dict() for d in differences]
        emit({"suite": suite.name, "ranked": [r.reward for r in ranked], "differences": found})


def _show(result: SuiteResult, what: str) -> None:
    from guerdon.bench.suites.run import items_of
    from guerdon.cli.console import say, table

    names = [b.name for b in result.baselines]
    rows = [
        [key, str(mine), *(f"{b.figures[key].value:.3f}" for b in result.baselines)]
        for key, mine in result.figures.items()
    ]
    table(f"{what}: {result.reward}", ["", "figure", *names], rows)
    for key, value in result.extra.items():
        say(f"  {key}: {value:.3f}")
    if len(result.subsets) > 1:
        say()
        shown = list(result.subsets.items())[:MOST_ROWS]
        table("", ["subset", "items", "figure"], [[k, items_of(f), str(f)] for k, f in shown])
        if len(result.subsets) > MOST_ROWS:
            say(f"  and {len(result.subsets) - MOST_ROWS} more: see --report or --json")
    say()
    facts, counted = result.facts, []
    for fact, count in facts.items():
        if fact != "unscored duels" and fact != "judgements":
            counted.append(f"{count:,} {fact}")
    say(", ".join(counted))
    if result.confounds:
        longer, even = result.confounds["longer wins"], result.confounds["duels of equal length"]
        say(f"the longer response is right in {longer}; this reward, where both are equally long: {even}")
    if facts.get("unscored duels"):
        why = ", ".join(f"{n} {reason}" for reason, n in result.reasons.items())
        say(f"unscored: {facts['unscored duels']} duels ({why})")
    for note in result.notes:
        say(note)
    if result.robustness:
        from guerdon.bench.robustness_report import HEAD, lines, rows

        say()
        table("reworded, the right response still right", HEAD, rows(result.robustness), text=("family",))
        for line in lines(result.robustness):
            say(line)

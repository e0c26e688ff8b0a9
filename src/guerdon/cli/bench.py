"""`guerdon bench`: a reward on a published benchmark, and several rewards compared item by item."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from guerdon.bench.suites.result import SuiteResult
    from guerdon.cli.measure import Options

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
    if words == ["suites"]:
        _suites(json)
    elif words[0] == "compare":
        _compare([Path(w) for w in words[1:]], report, bootstrap, seed, json)
    elif len(words) == 2:
        from guerdon.cli.measure import Options

        options = Options(
            report=report,
            name=name,
            train=train or (),
            baseline=baseline,
            limit=limit,
            reword=reword or (),
            paraphraser=paraphraser,
            attack=attack or (),
            partial=partial,
            set=set or (),
            bootstrap=bootstrap,
            seed=seed,
        )
        _measure(words[0], words[1], data, options, json)
    else:
        from guerdon.errors import ConfigError

        raise ConfigError(USE)


def _measure(spec: str, name: str, data: str | None, options: Options, json: bool) -> None:
    """Measure, and show the result on the terminal, as a report, as JSON."""
    import os
    from dataclasses import replace

    from guerdon.bench.suites.registry import suite as find
    from guerdon.bench.suites.study import Study
    from guerdon.cli.console import emit, say, table
    from guerdon.cli.measure import measure
    from guerdon.errors import ConfigError

    suite = find(name)
    data = data or os.environ.get("GUERDON_DATA")
    if not data:
        raise ConfigError(f"suite {suite.name}: no data; {suite.source}, and name the folder with --data DIR")
    if options.report is not None:
        from guerdon.cli.evaluate import check_report

        check_report()
    result, sections = measure(spec, suite, data, options)
    if name != suite.name:
        # where compare finds a suite of the user's own again
        result = replace(result, settings={**result.settings, "suite": name})
    against = suite.table(result) if isinstance(suite, Study) and suite.columns else None
    _show(result, suite.what, beside=against is None)
    if against is not None:
        say()
        table("", *against)
    if options.report is not None:
        from guerdon.bench.suites.report import write

        say(f"report: {write(result, suite, options.report, sections)}")
    if json:
        emit(result.to_dict())


def _suites(json: bool) -> None:
    from guerdon.bench.suites.registry import SUITES
    from guerdon.cli.console import emit, say

    if json:
        emit([{"name": s.name, "what": s.what, "source": s.source, "paper": s.paper} for s in SUITES])
        return
    for s in SUITES:
        say(f"{s.name}\n    {s.what} ({s.paper})\n    {s.source}")


def _compare(paths: list[Path], report: Path | None, bootstrap: int, seed: int, json: bool) -> None:
    from guerdon.bench.page import write_files
    from guerdon.bench.suites.compare import compare
    from guerdon.bench.suites.registry import suite as find
    from guerdon.bench.suites.report import leaderboard
    from guerdon.cli.console import emit, say, table
    from guerdon.errors import ConfigError

    results = [_result_in(path) for path in paths]
    if len(results) < 2:
        raise ConfigError(USE)
    suite = find(results[0].settings.get("suite", results[0].suite))
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
        file = report / "compare.md"
        write_files({file: leaderboard(suite, ranked, differences)})
        say(f"report: {file}")
    if json:
        found = [d.to_dict() for d in differences]
        emit({"suite": suite.name, "ranked": [r.reward for r in ranked], "differences": found})


def _result_in(path: Path) -> SuiteResult:
    """The result in a file, or in the folder of a report."""
    import json

    from guerdon.bench.suites.result import from_dict
    from guerdon.errors import ConfigError

    file = path / "result.json" if path.is_dir() else path
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    return from_dict(document if isinstance(document, dict) else {}, str(file))


def _show(result: SuiteResult, what: str, *, beside: bool = True) -> None:
    from guerdon.bench.suites.result import items_of
    from guerdon.cli.console import say, table

    others = result.baselines if beside else ()
    names = [b.name for b in others]
    rows = [[key, str(mine), *(f"{b.figures[key].value:.3f}" for b in others)] for key, mine in result.figures.items()]
    table(f"{what}: {result.reward}", ["", "figure", *names], rows)
    for key, value in result.extra.items():
        say(f"  {key}: {value:.4g}")
    if len(result.subsets) > 1:
        say()
        shown = list(result.subsets.items())[:MOST_ROWS]
        table("", ["subset", "items", "figure"], [[k, items_of(f), str(f)] for k, f in shown])
        if len(result.subsets) > MOST_ROWS:
            say(f"  and {len(result.subsets) - MOST_ROWS} more: see --report or --json")
    say()
    facts = result.facts
    say(", ".join(f"{n:,} {fact}" for fact, n in facts.items() if fact not in ("judgements", "unscored duels")))
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

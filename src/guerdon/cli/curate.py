"""`guerdon curate`: make, clean and label feedback by a step that says what it did, and can be undone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guerdon.cli.reading import Format, Items, Map, SkipBad, Where

if TYPE_CHECKING:
    from guerdon.curate.registry import Step

UNDO = "undo"


def curate(
    step: Annotated[
        str | None, typer.Argument(help="What to do, or undo; without it, the steps there are.", metavar="STEP")
    ] = None,
    feedback: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, directories, - for standard input, or hf:org/name[:split]; without it, the step's settings.",
            metavar="FEEDBACK",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the feedback here (.jsonl, .json, .parquet) and the decisions beside it."),
    ] = None,
    encoder: Annotated[str | None, typer.Option(help="What computes the features.", metavar="SPEC")] = None,
    set: Annotated[
        list[str] | None, typer.Option(help="A setting of the step, e.g. flip=0.1; repeat.", metavar="KEY=VALUE")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seeds whatever the step draws.")] = 0,
    report: Annotated[Path | None, typer.Option(help="Also write what changed to this JSON file.")] = None,
    format: Format = None,
    map: Map = None,
    items: Items = None,
    where: Where = None,
    skip_bad: SkipBad = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Change FEEDBACK by a STEP: every judgement gets a decision (who, with what, why), and nothing is lost.

    guerdon curate undo OUT --out ORIGINAL gives the input of the step back, judgement for judgement.
    """
    from guerdon.cli.console import emit, say, settings
    from guerdon.cli.reading import read_feedback
    from guerdon.curate.provenance import check_out, decisions_path, save
    from guerdon.curate.registry import STEPS
    from guerdon.curate.registry import step as registered
    from guerdon.errors import ConfigError

    if step is None:
        _list(list(STEPS.values()), json)
        return
    if step == UNDO:
        _undo(feedback, out, json)
        return
    chosen = registered(step)
    if not feedback:
        _describe(chosen, json)
        return
    if out is None:
        raise ConfigError("--out FILE is missing: where the curated feedback goes")
    check_out(out)
    if any(Path(source).resolve() == out.resolve() for source in feedback):
        raise ConfigError(f"--out {out} is the feedback itself; give another place, so that nothing is lost")
    parameters = settings(set or ())
    known = {name for name, _, _ in chosen.parameters()}
    if encoder is not None:
        parameters["encoder"] = encoder
    if "seed" in known:
        parameters.setdefault("seed", seed)
    data = read_feedback(feedback, format=format, map=map, items=items, where=where, skip_bad=skip_bad)
    curated = chosen(data, **parameters)
    save(curated, out)
    told = {**curated.report, "out": str(out), "decisions": str(decisions_path(out)), "notes": list(data.notes)}
    if report is not None:
        _write(report, told)
    _show(told)
    say(f"written: {out}, decisions in {decisions_path(out).name}; undo with: guerdon curate undo {out} --out FILE")
    if json:
        emit(told)


def _undo(sources: list[str] | None, out: Path | None, json: bool) -> None:
    from guerdon.cli.console import emit, say
    from guerdon.curate.provenance import check_out, restore
    from guerdon.errors import ConfigError

    if not sources or len(sources) != 1 or out is None:
        raise ConfigError("undo needs a curated file and a place for the original: guerdon curate undo OUT --out FILE")
    check_out(out)
    if out.resolve() == Path(sources[0]).resolve():
        raise ConfigError(f"--out {out} is the curated file itself; give another place")
    original = restore(Path(sources[0]))
    original.write(out, format="guerdon")
    say(f"undone: {len(original):,} judgements as they were before, in {out}")
    if json:
        emit({"out": str(out), "judgements": len(original)})


def _list(steps: list[Step], json: bool) -> None:
    from guerdon.cli.console import emit, say, table

    if json:
        emit([_as_json(s) for s in steps])
        return
    columns = ["step", "what it does", "papers"]
    table("Steps of curation", columns, [(s.name, s.mechanism, s.paper) for s in steps], text=columns)
    say(
        "\nguerdon curate STEP lists its settings, guerdon curate STEP FEEDBACK --out FILE runs it, undo takes it back."
    )


def _describe(step: Step, json: bool) -> None:
    from guerdon.cli.console import emit, say, table
    from guerdon.cli.models import shown

    if json:
        emit(_as_json(step))
        return
    say(f"{step.name}: {step.mechanism} (papers {step.paper})")
    columns = ["setting", "default", "what it is"]
    table("", columns, [(name, shown(default), text) for name, default, text in step.parameters()], text=columns)
    say(f"\nguerdon curate {step.name} FEEDBACK --out FILE --set NAME=VALUE")


def _as_json(step: Step) -> dict[str, Any]:
    parameters = [{"name": n, "default": d, "doc": text} for n, d, text in step.parameters()]
    return {"name": step.name, "mechanism": step.mechanism, "papers": step.paper, "settings": parameters}


def _show(told: dict[str, Any]) -> None:
    from guerdon.cli.console import say, table

    say(f"{told['step']}: {told['judgements_before']:,} judgements in, {told['judgements_after']:,} out")
    table("", ["action", "judgements"], [(action, f"{n:,}") for action, n in told["actions"].items()])
    for key, name in (("by_subset", "subset"), ("by_user", "person")):
        groups = told.get(key)
        if groups and any(set(counts) != {"kept"} for counts in groups.values()):
            actions = [a for a in told["actions"] if any(a in counts for counts in groups.values())]
            rows = [(group, *(f"{counts.get(a, 0):,}" for a in actions)) for group, counts in groups.items()]
            table("", [name, *actions], rows)
    if "agreement_before" in told:
        before, after = told["agreement_before"], told["agreement_after"]
        say(f"agreement with the labels: {before:.3f} before, {after:.3f} after")
    for voter in told.get("voters", ()):
        if not voter["counted"]:
            share = voter["position_inconsistent"]
            say(f"left out: {voter['voter']} follows the order of the responses in {share:.0%} of the verdicts")
    for caution in told.get("cautions", ()):
        say(f"careful: {caution}")


def _write(path: Path, document: dict[str, Any]) -> None:
    import json

    from guerdon.errors import ConfigError
    from guerdon.feedback.writers import replacing

    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--report {path}: cannot be written ({error.strerror})") from error

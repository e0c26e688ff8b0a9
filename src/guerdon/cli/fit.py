"""`guerdon fit`: from feedback to a saved reward model, measured on what it did not see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guerdon.cli.reading import Format, Items, Map, SkipBad, Sources, Where

if TYPE_CHECKING:
    from guerdon.bench.evaluate import Evaluation
    from guerdon.feedback.star import Feedback

SHOTS = (2, 5, 10, 20)
"""Comparisons that people held out give of themselves when a personal reward is measured on people."""


def fit(
    feedback: Sources,
    model: Annotated[str, typer.Option(help="What to fit; guerdon models lists them.", metavar="NAME")],
    out: Annotated[
        Path, typer.Option(help="Directory for the reward: new, empty, or holding an older guerdon reward.")
    ],
    encoder: Annotated[str | None, typer.Option(help="What computes the features.", metavar="SPEC")] = None,
    set: Annotated[
        list[str] | None, typer.Option(help="A parameter of the model, e.g. rank=4; repeat.", metavar="KEY=VALUE")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="What is held out whole: prompt, user, judgement or candidate; by default prompts where there are "
            "20, else people, else judgements.",
            metavar="UNIT",
        ),
    ] = None,
    holdout: Annotated[float, typer.Option(help="The share held out for measuring; 0 measures nothing.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seeds the split and the fit.")] = 0,
    report: Annotated[bool, typer.Option("--report", help="Also write DIR/report.html.")] = False,
    format: Format = None,
    map: Map = None,
    items: Items = None,
    where: Where = None,
    skip_bad: SkipBad = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Fit a reward model to FEEDBACK, measure it on a part held out, and save it with its model card."""
    from guerdon.cli.console import emit, err, say, settings
    from guerdon.cli.evaluate import check_report, show
    from guerdon.cli.reading import read_feedback
    from guerdon.errors import ConfigError
    from guerdon.reward.registry import model as registered
    from guerdon.reward.storage import check_place, plain

    if not 0 <= holdout < 1:
        raise ConfigError(f"--holdout {holdout}: use a share from 0 (measure nothing) to below 1, e.g. 0.1")
    chosen = registered(model)
    parameters = settings(set or ())
    known = {name for name, _, _ in chosen.parameters()}
    if encoder is not None:
        parameters["encoder"] = encoder
    if "seed" in known:
        parameters.setdefault("seed", seed)
    if "choose_by" in known and split is not None:
        parameters.setdefault("choose_by", split)  # choose for what will be asked of it
    reward = chosen.make(**parameters)
    check_place(out)
    if report:
        check_report()
    data = read_feedback(feedback, format=format, map=map, items=items, where=where, skip_bad=skip_bad)
    train, test, unit = parted(data, split, holdout, seed)
    if test is not None:
        say(f"held out: {len(test):,} of {len(data):,} judgements, whole {unit}s")
    say(f"fitting {chosen.name}: {chosen.mechanism}")
    reward = reward.fit(train, progress=err.is_terminal)
    if "chosen_among" in reward.summary:
        show_choice(reward.summary)
        chosen = registered(reward.name)
    reward.summary = {"sources": [Path(name).name for name in feedback], **reward.summary}
    reward.save(out)
    measured = None
    if test is not None:
        shots = SHOTS if unit == "user" and chosen.personal else ()
        measured = measure(reward, test, train, unit, shots, seed)
        reward.summary = {**reward.summary, "evaluation": figures(measured, unit, holdout)}
        reward.save(out)
        show(measured)
        if report:
            from guerdon.bench.report import write_report

            say(f"report: {write_report(measured, out / 'report.html')}")
    say(f"saved: {out}")
    if json:
        document: dict[str, Any] = {"out": str(out), "model": chosen.name, "params": plain(reward.params)}
        document["notes"] = list(data.notes)
        document["split"] = {"by": unit, "holdout": holdout, "seed": seed} if test is not None else None
        document |= {"train": len(train), "test": 0 if test is None else len(test), "summary": plain(reward.summary)}
        emit({**document, "evaluation": None if measured is None else measured.to_dict()})


def show_choice(summary: dict[str, Any]) -> None:
    """How the candidates of ``--model auto`` did on what was held out, and why the chosen one was chosen."""
    from guerdon.cli.console import say, table

    rows: list[list[Any]] = []
    for row in summary["chosen_among"]:
        if "failed" not in row:
            behind = f"{row['behind_best']:.4f} ± {row['standard_error']:.4f}"
            rows.append([row["model"], row["loss"], behind, row["accuracy"], f"{row['seconds']:.1f}"])
    table("candidates, simplest first", ["model", "held-out loss", "behind the best", "accuracy", "seconds"], rows)
    for row in summary["chosen_among"]:
        if "failed" in row:
            say(f"not {row['model']}: {row['failed']}")
    say(f"chosen: {summary['model_chosen']}: {summary['chosen_because']}")


def parted(data: Feedback, by: str | None, holdout: float, seed: int) -> tuple[Feedback, Feedback | None, str]:
    """(train, test or None, unit that is whole on one side)."""
    import numpy as np

    if by is None:
        prompts, people = len(np.unique(data.judgement_prompt)), len(np.unique(data.user[data.user >= 0]))
        by = "prompt" if prompts >= 20 else "user" if people >= 20 and (data.user >= 0).all() else "judgement"
    if holdout == 0:
        return data, None, by
    train, test = data.split(by, holdout, seed)  # type: ignore[arg-type]  # checked there
    return train, test, by


def measure(reward: Any, test: Feedback, train: Feedback, unit: str, shots: tuple[int, ...], seed: int) -> Evaluation:
    """The evaluation on the held-out part; personal rewards also on few comparisons of people they never saw."""
    from guerdon.bench.baselines import BASELINES
    from guerdon.bench.evaluate import evaluate

    # nobody in the training part saw a held-out prompt; and a model is no baseline for itself
    pointless = {"majority"} if unit == "prompt" else set()
    pointless |= {"population"} if reward.name == "bradley-terry" else set()
    names = tuple(name for name in BASELINES if name not in pointless)
    return evaluate(reward, test, train=train, baselines=names, shots=shots, seed=seed)


def figures(measured: Evaluation, unit: str, holdout: float) -> dict[str, Any]:
    """The figures that go into the model card, as text with intervals, and what to be careful about."""
    out: dict[str, Any] = {"held out": f"{holdout:.0%} of the {unit}s, {measured.counts['pairs']} pairs"}
    for name in ("accuracy", "accuracy_people", "log_loss", "brier", "ece", "best_of_n", "tau", "spearman"):
        if name in measured.overall:
            out[name] = str(measured.overall[name])
    out |= {f"accuracy of {b.name}": str(b.figures["accuracy"]) for b in measured.baselines}
    if measured.shots is not None:
        for point in measured.shots.points:
            out[f"accuracy after {point.shots} comparisons"] = str(point.people["accuracy"])
    if measured.cautions:
        out["careful"] = list(measured.cautions)
    return out

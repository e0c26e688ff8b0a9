"""`guerdon rubric learn`: a rubric from a few dozen comparisons, for `guerdon judge --rubric`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guerdon.cli.reading import Format, Items, Map, SkipBad, Sources, Where

if TYPE_CHECKING:
    from guerdon.reward.judge.learned_rubric import LearnedRubric

app = typer.Typer(help="Rubrics: what a judge judges by.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _rubric() -> None:
    """Rubrics: what a judge judges by."""


@app.command("learn")
def learn(
    feedback: Sources,
    lm: Annotated[str, typer.Option("--lm", help="http://HOST:PORT/v1#MODEL, or hf:PATH.")],
    out: Annotated[Path, typer.Option(help="Write the rubric here (.yaml or .json).")],
    max_pairs: Annotated[int, typer.Option(min=1, help="Most comparisons to learn from.")] = 200,
    themes: Annotated[int, typer.Option(min=1, help="Most themes of the rubric.")] = 5,
    encoder: Annotated[str, typer.Option(help="What compares criteria.", metavar="SPEC")] = "minilm",
    budget: Annotated[
        str | None, typer.Option(help="calls=N,tokens=N,money=X,price_in=X,price_out=X (per million).")
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            help="A setting of learning, the judge or the model, e.g. core_size=20; repeat.", metavar="KEY=VALUE"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seeds draws and the order of comparisons.")] = 0,
    report: Annotated[Path | None, typer.Option(help="Also write what happened to this JSON file.")] = None,
    format: Format = None,
    map: Map = None,
    items: Items = None,
    where: Where = None,
    skip_bad: SkipBad = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Learn a rubric from the comparisons of FEEDBACK: criteria that explain them, tried without the label.

    A server's replies are cached: after a kill or a spent budget the same command goes on, to the same bytes. The file
    says for each criterion which comparisons it comes from, how often it decides and is right, and what was dropped.
    Judge by it with guerdon judge --rubric OUT, or as judge:LM?by=rubric&rubric=OUT.
    """
    from guerdon.cli.console import emit, say, settings, steps
    from guerdon.cli.reading import read_feedback
    from guerdon.errors import ConfigError
    from guerdon.feedback.writers import replacing
    from guerdon.generate.load import load_language_model
    from guerdon.reward.judge.learned_rubric import check_out
    from guerdon.reward.judge.rubric_learning import RubricLearner, labelled_pairs
    from guerdon.reward.judge.spec import budget_of

    check_out(out)
    mine, others = _sorted_out(settings(set or ()))
    if budget is not None:
        others["budget"] = budget_of(budget)
    model = load_language_model(lm, **others)
    try:
        learner = RubricLearner(model, encoder=encoder, themes=themes, seed=seed, **mine)
    except TypeError as error:
        raise ConfigError(f"--set: {error}") from None
    data = read_feedback(feedback, format=format, map=map, items=items, where=where, skip_bad=skip_bad)
    pairs = labelled_pairs(data, max_pairs, seed)
    with steps() as tick:
        rubric = learner.learn(pairs, tick)
    rubric.write(out)
    told = {"out": str(out), **rubric.as_json(), "cost": rubric.cost}
    if report is not None:
        import json as text

        try:
            with replacing(report) as temporary:
                temporary.write_text(text.dumps(told, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--report {report}: cannot be written ({error.strerror})") from error
    _show(rubric)
    say(f"-> {out}; judge by it with: guerdon judge CANDIDATES --lm {lm} --rubric {out}")
    if json:
        emit(told)


def _sorted_out(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(settings of learning and of its judge, settings of the language model)."""
    import inspect

    from guerdon.reward.judge.asking import Asker
    from guerdon.reward.judge.pairwise import PairwiseJudge
    from guerdon.reward.judge.rubric_learning import RubricLearner

    known = {
        p.name
        for cls in (RubricLearner, PairwiseJudge, Asker)
        for p in inspect.signature(cls.__init__).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    }
    return {k: v for k, v in given.items() if k in known}, {k: v for k, v in given.items() if k not in known}


def _show(rubric: LearnedRubric) -> None:
    from guerdon.cli.console import say, table

    told = rubric.report
    rate = told["iterations"][-1]["coding_rate"] if told["iterations"] else 0.0
    say(
        f"{told['explained']} of {told['tried']} comparisons explained by {told['criteria']} criteria; "
        f"{told['kept']} kept (coding rate {rate:.1f} nats); stopped: {told['stopped']}"
    )
    parts = rubric.as_json()["rubric"]
    rows = [(c["name"], c["weight"], len(c["tips"]), c["coverage"], c["precision"]) for c in parts]
    table("", ["theme", "weight", "tips", "coverage", "precision"], rows)
    if told["majority_accuracy"] is not None:
        say(f"majority of the core on the comparisons: {told['majority_accuracy']:.3f} (each without its own)")
    for why, count in told["dropped"].items():
        say(f"dropped: {count} ({why})")
    for why, count in told["unanswered"].items():
        say(f"unanswered: {count} ({why})")
    for note in told["notes"]:
        say(f"careful: {note}")
    cost = rubric.cost
    names = ("calls", "cached", "prompt_tokens", "completion_tokens", "money")
    say("bill: " + ", ".join(f"{cost[name]:,.10g} {name.replace('_', ' ')}" for name in names if cost.get(name)))

"""`guerdon persona learn`: what a judge should be shown of a person, from the person's own choices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guerdon.cli.reading import Format, Items, Map, SkipBad, Sources, Where

if TYPE_CHECKING:
    from guerdon.reward.personal.in_context import PersonalPrompt

app = typer.Typer(help="Personas: what a judge is shown of a person.", no_args_is_help=True, rich_markup_mode=None)
MOST_SHOWN = 10
"""People whose personas are shown on the terminal; the file has all."""


@app.callback()
def _persona() -> None:
    """Personas: what a judge is shown of a person."""


@app.command("learn")
def learn(
    feedback: Sources,
    lm: Annotated[str, typer.Option("--lm", help="http://HOST:PORT/v1#MODEL, or hf:PATH.")],
    out: Annotated[Path, typer.Option(help="Write the personas here (.json); people in it already are kept.")],
    user: Annotated[list[str] | None, typer.Option(help="Only this person; repeat for more.", metavar="NAME")] = None,
    budget: Annotated[
        str | None, typer.Option(help="calls=N,tokens=N,money=X,price_in=X,price_out=X (per million).")
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(help="A setting of learning, the judge or the model, e.g. candidates=5.", metavar="KEY=VALUE"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how much it would ask, and stop.")] = False,
    format: Format = None,
    map: Map = None,
    items: Items = None,
    where: Where = None,
    skip_bad: SkipBad = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Learn a persona, and which of their own choices to show, for each person of FEEDBACK with four choices or more.

    The last third of a person's choices is held out, and what is shown is what makes the judge right about it. A
    server's replies are cached: after a kill or a spent budget the same command goes on. The file is text to be read
    and edited. Judge by it with judge:LM?by=persona&persona=OUT, or guerdon judge --by persona --set persona=OUT.
    """
    from guerdon.cli.console import emit, say, settings, steps
    from guerdon.cli.reading import read_feedback
    from guerdon.errors import ConfigError
    from guerdon.generate.load import load_language_model
    from guerdon.reward.judge.spec import budget_of
    from guerdon.reward.personal.in_context import read_personas, write_personas
    from guerdon.reward.personal.in_context_learning import FEWEST, PersonaLearner, choices_of

    known = read_personas(out) if out.exists() else {}
    mine, others = _sorted_out(settings(set or ()))
    if budget is not None:
        others["budget"] = budget_of(budget)
    data = read_feedback(feedback, format=format, map=map, items=items, where=where, skip_bad=skip_bad)
    if user:
        import numpy as np

        strange = [u for u in user if u not in data.users]
        if strange:
            raise ConfigError(
                f"--user {strange[0]}: not in the feedback; it has {', '.join(data.users[:5]) or 'nobody'}"
            )
        data = data.take(np.isin(data.user, [data.users.index(u) for u in user]))
    learner = PersonaLearner(load_language_model(lm, **others), **mine)
    ready = {u: c for u, c in choices_of(data).items() if len(c) >= FEWEST}
    count = sum(len(c) for c in ready.values())
    say(f"{len(ready):,} people, {count:,} choices: {learner.calls(ready):,} questions at most")
    if dry_run:
        return
    with steps() as tick:
        found = learner.learn(data, tick)
    write_personas(known | found.people, out)
    _show(found.people)
    silent = {u: why for u, why in found.left_out.items() if not user or u in user}
    for name, why in list(silent.items())[:MOST_SHOWN]:
        say(f"left out: {name}: {why}")
    if len(silent) > MOST_SHOWN:
        say(f"and {len(silent) - MOST_SHOWN} more")
    parts = [f"{value:,.10g} {name.replace('_', ' ')}" for name, value in found.cost.items() if value]
    say("bill: " + ", ".join(parts))
    say(f"-> {out} ({len(known | found.people):,} people)")
    if json:
        people = {name: prompt.as_json() for name, prompt in found.people.items()}
        emit({"out": str(out), "people": people, "left_out": silent, "cost": found.cost})


def _sorted_out(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(settings of learning and of its judge, settings of the language model)."""
    from guerdon.reward.judge.asking import Asker
    from guerdon.reward.judge.pairwise import PairwiseJudge
    from guerdon.reward.judge.spec import keywords
    from guerdon.reward.personal.in_context_learning import PersonaLearner

    known = {name for cls in (PersonaLearner, PairwiseJudge, Asker) for name in keywords(cls)}
    return {k: v for k, v in given.items() if k in known}, {k: v for k, v in given.items() if k not in known}


def _show(people: dict[str, PersonalPrompt]) -> None:
    from guerdon.cli.console import say

    for name, prompt in list(people.items())[:MOST_SHOWN]:
        told = prompt.report
        right = (
            f"{told['accuracy']:.0%} of {told['held_out']} held out (nothing shown: {told['accuracy_of_nothing']:.0%})"
        )
        say(f"{name}: {right}, {len(prompt.choices)} choices shown")
        say(f"    {prompt.persona or 'no persona was written'}")
    if len(people) > MOST_SHOWN:
        say(f"and {len(people) - MOST_SHOWN} more")

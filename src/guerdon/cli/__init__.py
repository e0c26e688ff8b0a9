"""The command line: one file a command, nothing heavy imported before a command runs.

A command module defines one function (its docstring is the help text) and imports what it needs inside it. It prints
results for people to stderr's console (``guerdon.cli.console.say``) and, with ``--json``, one JSON document to stdout.
"""

import os
import sys

import typer

from guerdon.cli import (
    adapt,
    attack,
    bench,
    best,
    compare,
    curate,
    data,
    demo,
    evaluate,
    fit,
    judge,
    models,
    papers,
    persona,
    rank,
    reproduce,
    rubric,
    score,
)
from guerdon.errors import GuerdonError

app = typer.Typer(
    name="guerdon",
    help="Rewards from people: read feedback, fit personal and population reward models, measure them, use them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("data")(data.data)
app.command("fit")(fit.fit)
app.command("eval")(evaluate.evaluate)
app.command("bench")(bench.bench)
app.command("score")(score.score)
app.command("judge")(judge.judge)
app.command("best")(best.best)
app.command("compare")(compare.compare)
app.command("rank")(rank.rank)
app.command("adapt")(adapt.adapt)
app.command("attack")(attack.attack)
app.add_typer(rubric.app, name="rubric")
app.add_typer(persona.app, name="persona")
app.command("curate")(curate.curate)
app.command("models")(models.models)
app.command("papers")(papers.papers)
app.command("reproduce")(reproduce.reproduce)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(version("guerdon"))
        raise typer.Exit()


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Rewards from people: read feedback, fit personal and population reward models, measure them, use them."""


def main() -> None:
    """Entry point: bad input is one clear line and exit code 2, an interruption is 130, a broken pipe is silent."""
    try:
        app()
    except GuerdonError as error:
        print(f"guerdon: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("guerdon: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)

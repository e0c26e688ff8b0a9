"""`guerdon models`: what can be fitted, and with which parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from guerdon.reward.registry import Model


def models(
    name: str = typer.Argument(None, help="One model; without it, all of them."),
    json_out: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """What can be fitted: name, mechanism, papers; with a NAME, its parameters too."""
    from guerdon.cli.console import emit, say, table
    from guerdon.reward.registry import MODELS, model

    if json_out:
        emit([describe(m) for m in ([model(name)] if name else MODELS.values())])
        return
    if name is None:
        rows = [(m.name, m.mechanism, "yes" if m.personal else "", m.paper) for m in MODELS.values()]
        columns = ["model", "mechanism", "personal", "papers"]
        table("What can be fitted", columns, rows, text=columns)
        say("\nguerdon models NAME lists its parameters; guerdon fit FEEDBACK --model NAME --out DIR fits it.")
        return
    chosen = model(name)
    say(f"{chosen.name}: {chosen.mechanism} (papers {chosen.paper}{', personal' if chosen.personal else ''})")
    columns = ["parameter", "default", "what it is"]
    table("", columns, [(p, shown(d), text) for p, d, text in chosen.parameters()], text=columns)
    say("\nSet them with guerdon fit --set NAME=VALUE, or as keyword arguments in Python.")


def describe(m: Model) -> dict[str, Any]:
    """A registry line as JSON."""
    parameters = [{"name": p, "default": d, "doc": text} for p, d, text in m.parameters()]
    return {
        "name": m.name,
        "mechanism": m.mechanism,
        "personal": m.personal,
        "papers": m.paper,
        "parameters": parameters,
    }


def shown(value: Any) -> str:
    """A default as it would be typed after --set."""
    import json

    return value if isinstance(value, str) else json.dumps(value, default=str)

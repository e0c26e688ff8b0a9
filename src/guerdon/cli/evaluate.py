"""`guerdon evaluate`."""

import typer


def evaluate() -> None:
    """(being written)"""
    raise typer.Exit(2)

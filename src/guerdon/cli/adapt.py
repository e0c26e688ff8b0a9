"""`guerdon adapt`."""

import typer


def adapt() -> None:
    """(being written)"""
    raise typer.Exit(2)

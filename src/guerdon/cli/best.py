"""`guerdon best`."""

import typer


def best() -> None:
    """(being written)"""
    raise typer.Exit(2)

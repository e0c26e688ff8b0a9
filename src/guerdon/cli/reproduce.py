"""`guerdon reproduce`."""

import typer


def reproduce() -> None:
    """(being written)"""
    raise typer.Exit(2)

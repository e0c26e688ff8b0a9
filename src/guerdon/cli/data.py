"""`guerdon data`."""

import typer


def data() -> None:
    """(being written)"""
    raise typer.Exit(2)

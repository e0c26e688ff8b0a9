"""`guerdon models`."""

import typer


def models() -> None:
    """(being written)"""
    raise typer.Exit(2)

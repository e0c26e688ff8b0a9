"""`guerdon papers`."""

import typer


def papers() -> None:
    """(being written)"""
    raise typer.Exit(2)

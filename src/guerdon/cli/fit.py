"""`guerdon fit`."""

import typer


def fit() -> None:
    """(being written)"""
    raise typer.Exit(2)

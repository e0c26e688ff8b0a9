"""`guerdon demo`."""

import typer


def demo() -> None:
    """(being written)"""
    raise typer.Exit(2)

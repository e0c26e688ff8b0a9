"""`guerdon reproduce`: run the check of one paper's claim."""

from pathlib import Path

import typer


def reproduce(
    slug: str = typer.Argument(..., help="Which paper (guerdon papers lists them)."),
    seeds: int | None = typer.Option(None, "--seeds", help="How many seeds; by default as many as the card asks for."),
    out: Path | None = typer.Option(None, "--out", help="Write the figures to this JSON file."),
    json: bool = typer.Option(False, "--json", help="The figures as one JSON document on stdout."),
    record: bool = typer.Option(
        False, "--record", help="Keep the figures beside the check: `guerdon papers` takes the state from them."
    ),
) -> None:
    """Rebuild a paper's claim from the library's parts and see whether it holds here.

    Prints the figures of the method and of its baselines with the bounds they must keep. Exit code 0: every check
    holds; 1: one does not; 2: there is no such paper, or it has no check yet.
    """
    from guerdon.cli.console import emit, say
    from guerdon.papers import page
    from guerdon.papers.frame import Budget, run
    from guerdon.papers.index import paper
    from guerdon.papers.record import save, write

    found = paper(slug)
    claim = run(slug, Budget(seeds))
    if out is not None:
        save(claim.as_json(), out)
    if record:
        write(claim)
    if json:
        emit(claim.as_json())
    else:
        say(f"{found.number:03} {found.title}")
        say()
        say(page.report(claim))
        say()
        say(f"{slug}: {claim.state}, {claim.seconds:.0f} s" if claim.holds else f"{slug}: {claim.why}")
    if not claim.holds:
        raise typer.Exit(1)

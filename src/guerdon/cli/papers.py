"""`guerdon papers`: the 119 systems and where each of them stands."""

import typer


def papers(
    json: bool = typer.Option(False, "--json", help="Everything about each paper as one JSON document on stdout."),
    markdown: bool = typer.Option(False, "--markdown", help="The docs page (docs/papers.md) on stdout."),
) -> None:
    """List the 119 papers: number, slug, name, room, state and mechanism.

    States come from recorded runs of `guerdon reproduce SLUG`, never by hand: works (every check holds), partial (and
    what is missing), planned (and what it waits for).
    """
    from guerdon.cli.console import emit, err, say
    from guerdon.papers import page

    if json:
        emit(page.document())
        return
    if markdown:
        typer.echo(page.markdown(), nl=False)
        return

    from textwrap import fill

    from guerdon.papers.index import PAPERS

    found = page.states()
    for paper in PAPERS.values():
        at = found[paper.slug]
        head = f"{paper.number:>3}  {paper.slug}  [{at.state}]  {paper.name}, {paper.room}"
        text = f"{paper.mechanism}." if not at.why else f"{paper.mechanism}. {at.state.capitalize()}: {at.why}."
        width = max(60, min(err.width, 120))
        say(head)
        say(fill(text, width, initial_indent=" " * 5, subsequent_indent=" " * 5))
    say()
    say(page.summary(found))

"""`guerdon rank`: the responses to each prompt in order, by all comparisons among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from guerdon.cli.candidates import Item
    from guerdon.cli.judge import Tally

RANKINGS = ("borda", "copeland", "von-neumann", "score")


def rank(
    reward: str = typer.Argument(..., help="A saved reward, hf:org/name, rule:length, or package.module:object."),
    candidates: str = typer.Argument(..., help="JSONL, JSON, CSV or Parquet (also .gz), a directory, or - for stdin."),
    by: str = typer.Option("borda", "--by", help=f"{', '.join(RANKINGS[:-1])}, or score (the reward's own order)."),
    user: str = typer.Option(None, "--user", help="Rank for this person."),
    criterion: str = typer.Option(None, "--criterion", help="Rank by this criterion."),
    out: str = typer.Option(None, "--out", help="Write here (.jsonl .json .csv .parquet); resumes after a kill."),
    batch: int = typer.Option(256, "--batch", min=1, help="Responses read at a time; lists stay whole."),
    names: list[str] = typer.Option([], "--map", help="FIELD=COLUMN, e.g. prompt=question,response=text."),
    skip_bad: bool = typer.Option(False, "--skip-bad", help="Mark unusable rows as invalid instead of stopping."),
    json_out: bool = typer.Option(False, "--json", help="One JSON document on stdout: the counts, and the rows."),
) -> None:
    """Rank the responses to each prompt of CANDIDATES by all comparisons among them.

    Input as in guerdon compare. borda is the mean probability of being preferred to the others, copeland the share of
    the others that is beaten, von-neumann the weight in the mixture of responses that none beats (where preferences
    run in a circle, several have some). The output has one row a prompt, best first; condorcet is the place of the
    response that beats every other one, null where none does.
    """
    from guerdon.cli.compare import Lists, run
    from guerdon.errors import ConfigError

    if by not in RANKINGS:
        raise ConfigError(f"--by {by}: use one of {', '.join(RANKINGS)}")
    lists = Lists(candidates, names, user, criterion, skip_bad)

    def rows(items: list[Item], counts: Counter[str], tally: Tally) -> Iterator[dict[str, Any]]:
        return rank_rows(items, counts, tally, by)

    what = "responses scored" if by == "score" else "comparisons"
    run(lists, rows, reward, batch, out, json_out, {"condorcet": "int64"}, what=what, key={"ranking": by})


def rank_rows(items: list[Item], counts: Counter[str], tally: Tally, by: str) -> Iterator[dict[str, Any]]:
    """One row a list of responses."""
    from guerdon.cli.candidates import to_candidates
    from guerdon.cli.compare import asked, invalid_rows
    from guerdon.cli.judge import lists
    from guerdon.errors import ConfigError
    from guerdon.reward.all_pairs import Standing, compare_all, members, rank_lists, standing
    from guerdon.reward.base import Reward

    candidates, groups = to_candidates(items), lists(items)
    kind = type(tally.reward)
    if by == "score":
        if kind.rank is Reward.rank and kind.score is Reward.score:
            raise ConfigError(f"{tally.reward.name} compares responses but does not score them; use --by borda")
        said = rank_lists(tally.reward, candidates, groups)
        standings = [Standing.of(said.value[rows]) for rows in members(groups)]
    else:
        compared = compare_all(tally.reward, candidates, groups)
        said = compared.said
        standings = [standing(compared.table(rows), by) for rows in members(groups)]
    tally.count(said, counts)
    counts.update(said.status)
    yield from invalid_rows(items, counts)
    for rows, found in zip(members(groups), standings, strict=True):
        counts["rows"] += 1
        counts["lists"] += 1
        row = {**asked(candidates, int(rows[0])), "by": by, "ranking": found.ranking}
        row["responses"] = [candidates.responses[int(rows[i])] for i in found.ranking]
        row["scores"] = [float(found.value[i]) for i in found.ranking]
        if by != "score":
            row["condorcet"] = found.condorcet
        yield {**row, "n": len(rows), "unscored": len(rows) - len(found.ranking)}

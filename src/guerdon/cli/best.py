"""`guerdon best`: the best response to each prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from guerdon.steer.best_of_n import Choice


def best(
    reward: str = typer.Argument(..., help="A saved reward, hf:org/name, rule:length, or package.module:object."),
    candidates: str = typer.Argument(..., help="JSONL, JSON, CSV or Parquet (also .gz), a directory, or - for stdin."),
    user: str = typer.Option(None, "--user", help="Choose for this person."),
    criterion: str = typer.Option(None, "--criterion", help="Choose by this criterion."),
    top: int = typer.Option(1, "-n", "--top", min=1, help="How many responses a prompt, best first."),
    out: str = typer.Option(None, "--out", help="Write here (.jsonl .json .csv .parquet) instead of stdout."),
    batch: int = typer.Option(256, "--batch", min=1, help="Candidates scored at a time."),
    names: list[str] = typer.Option([], "--map", help="FIELD=COLUMN, e.g. prompt=question,response=text."),
    skip_bad: bool = typer.Option(False, "--skip-bad", help="Leave unusable rows out instead of stopping."),
    json_out: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Choose the best response to each prompt of CANDIDATES.

    Rows hold a prompt and a list of responses, or a prompt and one response each, in any order. Rows that name a user
    or a criterion compete within it. The output has one row a prompt: the response, its score, its margin over the
    runner-up, and how many responses there were (and could not be scored).
    """
    import sys
    from pathlib import Path

    from guerdon.cli.candidates import batches, mapping, read_items, to_candidates
    from guerdon.cli.console import emit, say
    from guerdon.cli.output import format_of, line, write_rows
    from guerdon.cli.score import ticking
    from guerdon.errors import FeedbackError
    from guerdon.reward.load import load
    from guerdon.steer.best_of_n import BestOfN

    if out is not None:
        format_of(Path(out))
    chooser = BestOfN(load(reward), top=top)
    items = read_items(candidates, names=mapping(names), user=user, criterion=criterion, skip_bad=skip_bad)
    bad = 0
    for group in ticking(batches(items, batch)):
        bad += sum(item.error is not None for item in group)
        chooser.add(to_candidates(group))
    choices = chooser.choices()
    if not choices:
        raise FeedbackError(f"{candidates}: no candidates to choose from")
    rows = [row(choice, top) for choice in choices]
    if out is not None:
        write_rows(rows, Path(out))
    if json_out:
        emit({"out": out, "prompts": len(rows), "skipped": bad, **({} if out else {"choices": rows})})
    elif out is None:
        sys.stdout.buffer.writelines(line(r) for r in rows)
        sys.stdout.buffer.flush()
    say(summary(choices, bad) + (f" -> {out}" if out else ""))


def row(choice: Choice, top: int) -> dict[str, Any]:
    """One output row; with ``top`` > 1 it holds lists, best first."""
    out: dict[str, Any] = {"prompt": choice.prompt}
    out |= {k: v for k, v in {"user": choice.user, "criterion": choice.criterion}.items() if v is not None}
    if top == 1:
        out["response"] = choice.responses[0] if choice.responses else None
        out["score"] = choice.scores[0] if choice.scores else None
        out["index"] = choice.index[0] if choice.index else None
    else:
        out |= {"responses": choice.responses, "scores": choice.scores, "index": choice.index}
    return {**out, "margin": choice.margin, "n": choice.n, "unscored": choice.unscored}


def summary(choices: list[Choice], bad: int) -> str:
    """One line on what was chosen from what."""
    n, missing = sum(c.n for c in choices), sum(c.unscored for c in choices)
    without = sum(not c.responses for c in choices)
    text = f"{len(choices):,} prompts, {n:,} responses"
    text += f", {missing:,} of them unscored" if missing else ""
    text += f"; {without:,} prompts without any scored response" if without else ""
    return text + (f"; {bad:,} rows skipped" if bad else "")

"""What the demo shows: steps, command lines, and two people side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from guerdon.bench.intervals import Figure
from guerdon.cli.console import err, say
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward
from guerdon.steer.best_of_n import best_of_n
from guerdon.worlds.example import SHARED
from guerdon.worlds.people import Population
from guerdon.worlds.style import ATTRIBUTES

SHOWN = 6
"""How many prompts of the best-answer table are shown (all of them are counted)."""

ANSWERS = 4
"""Every prompt of the example has so many answers, next to each other."""


def step(number: int, title: str) -> None:
    """The heading of a step."""
    err.print(Text(f"\n{number}. {title}", style="bold"))


def run(*words: Any) -> None:
    """The command line that does what a step does."""
    err.print(Text("   $ " + " ".join(str(w) for w in words), style="cyan"), soft_wrap=True)


def snippet(text: Any, width: int) -> str:
    """The text in one line of at most ``width`` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def signed(figure: Figure) -> str:
    """A difference with its sign and interval."""
    return f"{figure.value:+.3f} [{figure.low:+.3f}, {figure.high:+.3f}]"


def opposites(people: Population, names: list[str]) -> tuple[str, str]:
    """The two people of ``names`` whose true tastes (beyond what everybody wants) are the most opposed."""
    tastes = _tastes(people, names)
    unit = tastes / np.linalg.norm(tastes, axis=1, keepdims=True)
    i, j = np.unravel_index(np.argmin(unit @ unit.T), (len(names), len(names)))
    return names[min(i, j)], names[max(i, j)]


def wants(people: Population, name: str) -> str:
    """What a person truly wants most and least beyond what everybody wants, e.g. ``wants warmth, not rigour``."""
    taste = _tastes(people, [name])[0]
    return f"wants {ATTRIBUTES[int(taste.argmax())]}, not {ATTRIBUTES[int(taste.argmin())]}"


def show_ranking(
    place: Path, reward: Reward, people: Population, candidates: Candidates, a: str, b: str
) -> dict[str, Any]:
    """The answers to the prompt on which the reward finds two people the most opposed, in both orders."""
    step(7, "Two opposite people, the same answers")
    for user in (a, b):
        run(
            "guerdon score", place / "adapted", place / "candidates.jsonl", "--user", user, "--out", place / _file(user)
        )
    scores = {user: reward.score(candidates.asked_by(user)) for user in (a, b)}
    value = np.stack([scores[user].value.reshape(-1, ANSWERS) for user in (a, b)])
    centred = value - value.mean(2, keepdims=True)
    prompt = int(np.argmin((centred[0] * centred[1]).sum(1)))
    rows = np.arange(ANSWERS) + ANSWERS * prompt
    orders = {user: rows[np.argsort(-scores[user].value[rows], kind="stable")] for user in (a, b)}
    say(f"   {candidates.prompts[rows[0]]}")
    out = _two_columns([f"{user} ({wants(people, user)})" for user in (a, b)])
    for position in range(ANSWERS):
        cells = []
        for user in (a, b):
            row = int(orders[user][position])
            std = scores[user].std
            score = f"{scores[user].value[row]:+.1f}" + (f" ± {std[row]:.1f}" if std is not None else "")
            cell = Text(f"{score} {candidates.extra['style'][row]}: ", style="bold")
            cells.append(cell.append(snippet(candidates.responses[row], 80), style="not bold"))
        out.add_row(*cells)
    err.print(out)
    say("   the style is what the author of the text intended; no reward is told it")
    document: dict[str, Any] = {"prompt": candidates.prompts[rows[0]], "people": {}}
    for user in (a, b):
        document["people"][user] = {
            "wants": wants(people, user),
            "ranking": [candidates.extra["style"][i] for i in orders[user]],
            "scores": [float(scores[user].value[i]) for i in orders[user]],
        }
    return document


def show_best(
    place: Path, reward: Reward, people: Population, candidates: Candidates, a: str, b: str
) -> dict[str, Any]:
    """The best answer to each prompt for two people; a star marks the person's true favourite."""
    step(8, "The best answer to prompts that nobody has judged")
    for user in (a, b):
        run("guerdon best", place / "adapted", place / "candidates.jsonl", "--user", user)
    rows = people.pool.rows(candidates).reshape(-1, ANSWERS)
    styles = np.array(candidates.extra["style"]).reshape(-1, ANSWERS)
    prompts = np.arange(len(rows))
    favourites = people.choices(people.test)
    choices, chosen, right = {}, {}, {}
    for user in (a, b):
        choices[user] = best_of_n(reward, candidates.asked_by(user))
        chosen[user] = np.array([choice.index[0] for choice in choices[user]])
        right[user] = rows[prompts, chosen[user]] == favourites[people.users.index(user)]
    out = _two_columns(["prompt", a, b])
    for i in range(SHOWN):
        cells = [Text(snippet(choices[a][i].prompt, 60))]
        for user in (a, b):
            cell = Text(styles[i, chosen[user][i]] + (" *" if right[user][i] else "") + ": ", style="bold")
            cells.append(cell.append(snippet(choices[user][i].responses[0], 60), style="not bold"))
        out.add_row(*cells)
    err.print(out)
    different = int((chosen[a] != chosen[b]).sum())
    say(f"   ... and {len(rows) - SHOWN} more: different answers to {different} of {len(rows)} prompts")
    say(f"   * = truly the person's favourite ({right[a].sum()} of {a}'s, {right[b].sum()} of {b}'s)")
    return {
        "people": [a, b],
        "prompts": len(rows),
        "different": different,
        "true_favourite": {user: int(right[user].sum()) for user in (a, b)},
        "choices": [
            {"prompt": choices[a][i].prompt, **{user: str(styles[i, chosen[user][i]]) for user in (a, b)}}
            for i in prompts.tolist()
        ],
    }


def _two_columns(titles: list[str]) -> Table:
    out = Table(box=None, pad_edge=True, padding=(0, 0, 0, 3), expand=True, header_style="bold")
    for title in titles:
        out.add_column(title, ratio=1)
    return out


def _file(user: str) -> str:
    return f"scored-{user}.jsonl"


def _tastes(people: Population, names: list[str]) -> np.ndarray:
    """float64 [n, 4] weights beyond what everybody wants."""
    rows = [people.users.index(name) for name in names]
    return people.weights[rows] - np.array([SHARED[a] for a in ATTRIBUTES])

"""Which demonstrations make a judge right about somebody: a random search, each candidate tried on choices held out.

A candidate is something to show (a :class:`~.in_context.PersonalPrompt`). Candidates are tried one after another, the
same number for all people at once, so that a hundred people cost as many rounds as one; a person is settled as soon as
a candidate is right often enough. The first of equals is kept. Candidates are made of two kinds of material: choices as
they were made (*labelled*), and choices with reasoning that led the judge to the person's choice (*verified*).

Reference: the random search over bootstrapped demonstrations of Khattab et al. 2023, DSPy,
https://arxiv.org/abs/2310.03714, as used by Ryan et al. 2025, https://arxiv.org/abs/2506.05598
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from guerdon.feedback.messages import Text, pack
from guerdon.feedback.schema import Candidates
from guerdon.reward.judge.asking import total
from guerdon.reward.personal.in_context import Choice, PersonalPrompt
from guerdon.reward.personal.in_context_judge import PersonalJudge

Make = Callable[[Mapping[str, PersonalPrompt]], PersonalJudge]
"""A judge for what is to be shown of people, by name."""


@dataclass(frozen=True)
class Answer:
    """What a judge said of one choice: whether it was the person's (None: no verdict), and why it said so."""

    right: bool | None
    reasoning: str


def ask(
    make: Make, rows: Sequence[tuple[PersonalPrompt, Choice]], cost: dict[str, float]
) -> tuple[list[Answer], dict[str, float]]:
    """What the judge says of each choice when it is shown the prompt beside it; all are asked at once.

    The chosen response is shown first or second by the content alone, so that its place tells nothing.
    """
    if not rows:
        return [], cost
    shown = {f"row {i}": prompt for i, (prompt, _) in enumerate(rows)}
    judge = make(shown)
    first = [chosen_first(choice) for _, choice in rows]
    users = list(shown)
    sides: list[list[Text]] = [[], []]
    for (_, choice), front in zip(rows, first, strict=True):
        pair = (choice.chosen, choice.other) if front else (choice.other, choice.chosen)
        sides[0].append(pair[0])
        sides[1].append(pair[1])
    requests = [choice.request for _, choice in rows]
    said = judge.prefer(Candidates(requests, sides[0], user=users), Candidates(requests, sides[1], user=users))
    why = said.detail.get("rationale", [None] * len(rows))
    out = []
    for i, front in enumerate(first):
        value = said.value[i]
        right = None if np.isnan(value) or value == 0.5 else bool((value > 0.5) == front)
        reasons = why[i] if isinstance(why[i], Sequence) and not isinstance(why[i], str) else [why[i]]
        out.append(Answer(right, next((str(r) for r in reasons if r), "")))
    return out, total(cost, said.cost)


def chosen_first(choice: Choice) -> bool:
    """Whether the chosen response is shown first: a coin made of the request and the two responses."""
    coin = blake2b("\0".join(_key(choice)).encode("utf-8", "surrogatepass"), digest_size=1).digest()[0] % 2 == 0
    return coin == (pack(choice.chosen) <= pack(choice.other))


def demonstrations(
    labelled: Sequence[Choice], verified: Sequence[Choice], *, candidates: int, most_labelled: int, seed: int
) -> list[tuple[str, tuple[Choice, ...]]]:
    """Named sets of choices to show, in the order in which they are tried.

    ``labelled`` some choices as they are; ``verified`` all verified ones in the order in which they were made; then
    ``candidates`` draws of a random number of verified ones. Sets with fewer than ``most_labelled`` verified choices
    are filled up with others as they are. Equal sets are tried once.
    """
    rng = random.Random(seed)
    place = {_key(c): i for i, c in enumerate(labelled)}

    def filled(chosen: Sequence[Choice]) -> tuple[Choice, ...]:
        taken = {_key(c) for c in chosen}
        others = [c for c in labelled if _key(c) not in taken]
        more = rng.sample(others, min(max(most_labelled - len(chosen), 0), len(others)))
        return tuple(sorted([*chosen, *more], key=lambda c: place[_key(c)]))  # as time went

    out = [("labelled", filled(()))]
    if verified:
        out.append(("verified", filled(verified)))
        for k in range(candidates):
            out.append((f"draw {k}", filled(rng.sample(list(verified), rng.randint(1, len(verified))))))
    distinct = {
        tuple((*_key(c), pack(c.chosen), c.reasoning) for c in chosen): (name, chosen) for name, chosen in reversed(out)
    }
    return [one for one in reversed(distinct.values()) if one[1]]


def _key(choice: Choice) -> tuple[str, ...]:
    """The same for the same two responses, whichever was chosen."""
    return pack(choice.request), *sorted([pack(choice.chosen), pack(choice.other)])


@dataclass
class Found:
    """The best candidate of one person so far, and the accuracy of every candidate that was tried."""

    best: PersonalPrompt
    accuracy: float
    table: dict[str, float]


def search(
    make: Make,
    people: Mapping[str, Sequence[tuple[str, PersonalPrompt]]],
    held_out: Mapping[str, Sequence[Choice]],
    *,
    stop_at: float,
    cost: dict[str, float],
    tick: Callable[[int], None] = lambda done: None,
) -> tuple[dict[str, Found], dict[str, float]]:
    """The best candidate of each person on choices held out; an answer that is no verdict is wrong."""
    found: dict[str, Found] = {}
    for turn in range(max((len(c) for c in people.values()), default=0)):
        still = [u for u, c in people.items() if turn < len(c) and not (u in found and found[u].accuracy >= stop_at)]
        rows = [(people[u][turn][1], choice) for u in still for choice in held_out[u]]
        answers, cost = ask(make, rows, cost)
        tick(len(rows))
        at = 0
        for user in still:
            name, prompt = people[user][turn]
            mine = answers[at : at + len(held_out[user])]
            at += len(mine)
            accuracy = sum(a.right is True for a in mine) / len(mine)
            known = found.setdefault(user, Found(prompt, -1.0, {}))
            known.table[name] = accuracy
            if accuracy > known.accuracy:
                known.best, known.accuracy = prompt, accuracy
    return found, cost

"""Histories of one person's choices, and a scripted reader of such choices."""

import json

import numpy as np

from guerdon.bench.suites.people_prompts import Shown
from guerdon.reward.personal.in_context import Choice
from guerdon.worlds.imitator import TEN, Imitator, rows
from guerdon.worlds.language.histories import Histories
from guerdon.worlds.reader import ATTRIBUTES, shown


def test_what_is_chosen_shows_the_favourite_that_writes_last() -> None:
    world = Histories()
    agree, long = [], 0
    for dialogue in world.dialogues(400, seed=0):
        counts = world.personas.counts([text for role, text in dialogue if role == "assistant"])
        long = max(long, len(counts))
        if len(counts) > 5:
            agree.append(counts[:-1].sum(0).argmax() == counts[-1].argmax())
    assert long == world.most + 1
    assert np.mean(agree) > 0.5  # a quarter by chance


def test_rows_are_different_requests_in_the_worlds_words() -> None:
    world = Histories()
    made = world.rows(50, 3, seed=1)
    assert len({row["prompt"] for row in made}) == 50
    words = {w for row in made for text in (row["prompt"], *row["responses"]) for w in str(text).split()}  # type: ignore[misc]
    assert words <= set(world.words)


def test_the_imitator_gives_what_was_chosen_and_not_what_was_not() -> None:
    likes, other = ATTRIBUTES["warning"][1][0], ATTRIBUTES["steps"][1][0]
    own = (Choice("How?", likes, other), Choice("Why?", f"{likes} {other}", other))
    winners = Shown(own).message("What?")[0]["content"]
    both = Shown(own, losers=True).message("What?")[0]["content"]
    imitator = Imitator(attributes=1)
    assert shown(imitator(winners)) == shown(imitator(both)) == {"warning"}
    offered = [other, likes, f"{likes} {other}"]
    told = Shown(own, losers=True).message("What?", offered)[0]["content"]
    assert json.loads(imitator(told))["choice"] == 2
    assert imitator(told) == imitator(told)


def test_responses_have_half_of_the_attributes() -> None:
    texts = [text for row in rows(60, 4, seed=0) for text in row["responses"]]  # type: ignore[union-attr]
    share = np.mean([[name in shown(text) for name in TEN] for text in texts], axis=0)
    assert (np.abs(share - 0.5) < 0.15).all()

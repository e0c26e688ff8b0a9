"""Best-of-n against the obvious loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fake_rewards
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Function
from guerdon.steer import BestOfN, best_of_n, pick

rows = st.lists(st.tuples(st.sampled_from("pqr"), st.text("ab banana!", max_size=8), st.sampled_from([None, "u"])))


def naive(candidates: Candidates, top: int) -> dict[tuple, tuple]:
    """Group, score one by one, sort."""
    groups: dict[tuple, list] = {}
    for i, c in enumerate(candidates):
        user = candidates.user[i] if candidates.user else None
        groups.setdefault((c.prompt, user), []).append(c.response)
    out = {}
    for (prompt, user), responses in groups.items():
        value = [float(fake_rewards.Picky("nan").score(Candidates([prompt], [r])).value[0]) for r in responses]
        order = sorted((i for i in range(len(value)) if not np.isnan(value[i])), key=lambda i: (-value[i], i))
        margin = value[order[0]] - value[order[1]] if len(order) > 1 else None
        missing = int(np.isnan(value).sum())
        best = order[:top]
        out[prompt, user] = ([responses[i] for i in best], [value[i] for i in best], best, margin, len(value), missing)
    return out


@given(rows, st.integers(1, 3), st.integers(1, 5))
def test_streaming_equals_the_obvious_loop(data: list, top: int, batch: int) -> None:
    candidates = Candidates([p for p, _, _ in data], [r for _, r, _ in data], user=[u for _, _, u in data])
    chooser = BestOfN(fake_rewards.Picky("nan"), top=top)
    for lo in range(0, len(data), batch):
        chooser.add(candidates.take(range(lo, min(lo + batch, len(data)))))
    got = {(c.prompt, c.user): (c.responses, c.scores, c.index, c.margin, c.n, c.unscored) for c in chooser.choices()}
    assert got == naive(candidates, top)
    assert list(got) == list(naive(candidates, top))


def test_rewards_that_look_at_all_responses_together() -> None:
    choices = best_of_n(fake_rewards.Duel(), [Candidates(["p", "q"], ["a!", "x"]), Candidates(["p"], ["b!!"])])
    assert [(c.prompt, c.responses, c.margin) for c in choices] == [("p", ["b!!"], 1.0), ("q", ["x"], None)]


def test_two_people_choose_differently() -> None:
    person = fake_rewards.tastes("ann", "bob")  # ann likes e, bob likes a
    assert pick(person, "p", ["aaa", "eee"], user="ann") == "eee"
    assert pick(person, "p", ["aaa", "eee"], user="bob") == "aaa"


def test_nothing_scored_is_nothing_chosen() -> None:
    assert pick(Function(lambda prompt, response: None), "p", ["a", "b"]) is None
    choice = best_of_n(fake_rewards.Picky(), Candidates(["p"] * 2, ["banana", "bananas"]))[0]
    assert (choice.responses, choice.margin, choice.n, choice.unscored) == ([], None, 2, 2)


def test_chats_compete_too() -> None:
    prompt = [{"role": "user", "content": "hi"}]
    answer = [{"role": "assistant", "content": "a longer one"}]
    choices = best_of_n(fake_rewards.Picky(), Candidates([prompt, prompt], ["short", answer]))
    assert len(choices) == 1
    assert choices[0].responses == [answer]


def test_at_least_one() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        BestOfN(fake_rewards.Picky(), top=0)

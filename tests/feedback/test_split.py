"""Splits: nothing leaks, the same seed gives the same split, and feedback that grows keeps its old units in order."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback import Feedback, Judgement


def many(n: int = 400, prompts: int = 20, people: int = 10, seed: int = 0) -> Feedback:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        p, u = rng.integers(prompts), rng.integers(people)
        a, b = rng.choice(6, 2, replace=False)
        rows.append(Judgement(f"p{p}", (f"r{a}", f"r{b}"), (1.0, 0.0), user=f"u{u}"))
    return Feedback.of(rows)


def keys(feedback: Feedback, by: str) -> set[Any]:
    judgements = list(feedback.judgements())
    return {
        "prompt": lambda: {j.prompt for j in judgements},
        "user": lambda: {j.user for j in judgements},
        "judgement": lambda: {(j.user, j.prompt, frozenset(j.responses)) for j in judgements},
        "candidate": lambda: {(j.prompt, r) for j in judgements for r in j.responses},
    }[by]()


@pytest.mark.parametrize("by", ["prompt", "user", "judgement", "candidate"])
def test_nothing_is_on_both_sides_and_little_is_lost(by: str) -> None:
    data = many()
    train, held = data.split(by=by, holdout=0.25, seed=3)
    assert not keys(train, by) & keys(held, by)
    units = len(keys(data, by))
    if by == "candidate":
        assert len(train) + len(held) < len(data)
        assert any(
            f"{len(data) - len(train) - len(held)} judgements that touch both sides dropped" in n for n in held.notes
        )
    else:
        assert len(train) + len(held) == len(data)
        assert len(keys(held, by)) == round(units / 4)


@pytest.mark.parametrize("by", ["prompt", "user", "judgement", "candidate"])
def test_the_seed_decides(by: str) -> None:
    data = many()
    first, second, other = (data.split(by=by, holdout=0.3, seed=s)[1] for s in (1, 1, 2))
    assert list(first.judgements()) == list(second.judgements())
    assert keys(first, by) != keys(other, by)


@pytest.mark.parametrize("by", ["prompt", "user", "judgement"])
def test_the_split_does_not_depend_on_the_order_of_rows(by: str) -> None:
    data = many()
    turned = Feedback.of(reversed(list(data.judgements())))
    assert keys(data.split(by=by, seed=5)[1], by) == keys(turned.split(by=by, seed=5)[1], by)


@settings(max_examples=30, deadline=None)
@given(st.integers(5, 60), st.integers(1, 40), st.floats(0.05, 0.9))
def test_more_prompts_do_not_reshuffle_the_old_ones(old: int, new: int, holdout: float) -> None:
    rows = [Judgement(f"p{i}", ("a", "b"), (1, 0)) for i in range(old + new)]
    before = keys(Feedback.of(rows[:old]).split(holdout=holdout, seed=1)[1], "prompt")
    after = keys(Feedback.of(rows).split(holdout=holdout, seed=1)[1], "prompt")
    known = {j.prompt for j in rows[:old]}
    # the held-out old prompts before and after are the first of one order: one set contains the other
    assert before <= after & known or after & known <= before


def test_shares_differ_by_seed_but_are_exact() -> None:
    data = many(prompts=40)
    for holdout in (0.1, 0.5, 0.9):
        assert len(keys(data.split(holdout=holdout)[1], "prompt")) == round(40 * holdout)


def test_at_least_one_unit_on_either_side() -> None:
    data = Feedback.of([Judgement(p, ("a", "b"), (1, 0)) for p in "qr"])
    for holdout in (0.01, 0.99):
        assert [len(side) for side in data.split(holdout=holdout)] == [1, 1]


def test_what_cannot_be_split_says_what_to_do() -> None:
    one = Feedback.of([Judgement("q", ("a", "b"), (1, 0), user=u) for u in ("ann", "bob")])
    with pytest.raises(FeedbackError, match=r"only one prompt .* use --split user or candidate"):
        one.split("prompt")
    nobody = Feedback.of([Judgement("q", ("a", "b"), (1, 0)), Judgement("r", ("a", "b"), (1, 0), user="ann")])
    with pytest.raises(FeedbackError, match=r"1 of 2 judgements do not say whose they are.*use --split prompt"):
        nobody.split("user")
    with pytest.raises(FeedbackError, match="only one user"):
        Feedback.of([Judgement("q", ("a", "b"), (1, 0), user="ann")] * 2).split("user")
    with pytest.raises(FeedbackError, match="no judgement compares"):
        Feedback.of([Judgement("q", ("a", "b"), (1, 0))]).split("candidate", holdout=0.5)
    with pytest.raises(FeedbackError, match="no judgements"):
        one.take(np.zeros(2, bool)).split("prompt")
    with pytest.raises(ConfigError, match="holdout=1: use a share"):
        one.split("user", holdout=1)
    with pytest.raises(ConfigError, match="split by 'people' is unknown"):
        one.split("people")  # type: ignore[arg-type]


def test_ratings_by_candidate_lose_nothing() -> None:
    rows = [Judgement("q", (f"r{i % 20}",), (float(i % 5),), user=f"u{i % 7}", scale="rating") for i in range(200)]
    train, held = Feedback.of(rows).split("candidate", holdout=0.25)
    assert len(train) + len(held) == 200
    assert len(keys(held, "candidate")) == 5

"""Pools of candidates: prompts and their responses whatever their order, planted features, and lookups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.encode.base import Encoder
from guerdon.errors import FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.worlds import Pool


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40))
def test_members_hold_every_candidate_once(prompt_of: list[int]) -> None:
    pool = Pool(
        Candidates([f"p{p}" for p in prompt_of], [f"r{i}" for i in range(len(prompt_of))]),
        np.zeros((len(prompt_of), 1)),
    )
    assert [pool.prompts[p] for p in pool.prompt_of] == [f"p{p}" for p in prompt_of]
    assert sorted(pool.members[pool.members >= 0]) == list(range(len(prompt_of)))
    for p, row in enumerate(pool.members):
        here = row[row >= 0]
        assert list(here) == [i for i, q in enumerate(pool.prompt_of) if q == p]
        assert len(here) == pool.count[p]
    np.testing.assert_array_equal(pool.rows(pool.candidates), np.arange(len(prompt_of)))


def test_planted_pools_repeat_and_their_encoder_is_an_encoder() -> None:
    pool, again, other = (Pool.planted(6, 3, 4, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(pool.features, again.features)
    encoder = pool.encoder()
    assert isinstance(encoder, Encoder)
    assert encoder.dim == 4
    assert encoder.spec == again.encoder().spec != other.encoder().spec
    x = encoder.encode(pool.candidates.take([7, 2, 7]))
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, pool.features[[7, 2, 7]], rtol=1e-6)
    with pytest.raises(FeedbackError, match="candidate 0"):
        encoder.encode(Candidates(["hello"], ["world"]))


def test_centre_makes_responses_to_one_prompt_alike() -> None:
    x = Pool.planted(50, 8, 10, centre=5.0).features.reshape(50, 8, 10)
    assert x.mean(1).std() > 4
    assert (x - x.mean(1, keepdims=True)).std() < 1.1


def test_splits_are_disjoint_and_stable() -> None:
    pool = Pool.planted(20, 2, 2)
    train, test = pool.split(0.25, seed=3)
    assert len(test) == 5
    assert sorted([*train, *test]) == list(range(20))
    assert (pool.split(0.25, seed=3)[1] == test).all()
    assert len(pool.split(0.0)[1]) == 0


def test_chats_are_candidates_too() -> None:
    chat = [{"role": "user", "content": "hi"}]
    pool = Pool(Candidates([chat, "hi"], ["hello", [{"role": "assistant", "content": "hello"}]]), np.eye(2))
    assert len(pool.prompts) == 2
    np.testing.assert_array_equal(pool.rows(pool.candidates), [0, 1])


def test_bad_pools_say_which_candidate() -> None:
    two = Candidates(["p", "p"], ["a", "a"])
    with pytest.raises(FeedbackError, match="candidates 0 and 1 are the same"):
        Pool(two, np.zeros((2, 1)))
    with pytest.raises(FeedbackError, match=r"candidate 1 .*no response"):
        Pool(Candidates(["p", "p"], ["a", ""]), np.zeros((2, 1)))
    with pytest.raises(FeedbackError, match="need features \\[2, d\\]"):
        Pool(two, np.zeros((3, 1)))
    with pytest.raises(FeedbackError, match="candidate 1 are not finite"):
        Pool(two, np.array([[0.0], [np.nan]]))

"""Maximal coding rate: the fast greedy choice against determinants, and what it is for."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.encode.coding_rate import choose_core, coding_rate
from guerdon.errors import BackendError, ConfigError


def vectors(n: int, d: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@given(seed=st.integers(0, 10**6), n=st.integers(2, 12), size=st.integers(1, 6), eps=st.floats(0.05, 2.0))
@settings(max_examples=60, deadline=None)
def test_each_choice_raises_the_determinant_most(seed: int, n: int, size: int, eps: float) -> None:
    x = vectors(n, 5, seed)
    core = choose_core(x, size, eps=eps)
    chosen: list[int] = []
    for at, gain in zip(core.index, core.gain, strict=True):
        before = coding_rate(x[chosen], eps=eps, n=size) if chosen else 0.0
        gains = {c: coding_rate(x[[*chosen, c]], eps=eps, n=size) - before for c in range(n) if c not in chosen}
        assert gain == pytest.approx(gains[at], abs=1e-8)
        assert gain >= max(gains.values()) - 1e-8
        chosen.append(int(at))
    assert core.rate == pytest.approx(coding_rate(x[chosen], eps=eps, n=size), abs=1e-7)
    assert (core.gain >= -1e-12).all()
    assert (np.diff(core.gain) <= 1e-9).all()  # submodular: ever less to gain


def test_three_of_ten_are_nearly_the_best_three() -> None:
    for seed in range(20):
        x = vectors(10, 6, seed)
        best = max(coding_rate(x[list(s)], n=3) for s in combinations(range(10), 3))
        assert choose_core(x, 3).rate >= 0.98 * best


def test_one_of_each_direction_before_a_second_of_any() -> None:
    basis = np.eye(8)[:4]
    crowd = np.concatenate([np.repeat(basis[:1], 50, 0), np.repeat(basis[1:2], 5, 0), basis[2:]])
    crowd = crowd + 0.01 * np.random.default_rng(0).normal(size=crowd.shape)
    picked = crowd[choose_core(crowd, 4).index]
    assert sorted(np.argmax(picked, 1)) == [0, 1, 2, 3]
    assert len(choose_core(crowd, 6, least=0.5).index) == 4


def test_vectors_of_an_encoder_that_failed_are_refused() -> None:
    with pytest.raises(BackendError, match="length zero"):
        choose_core(np.zeros((3, 4)), 2)
    with pytest.raises(ConfigError, match="how="):
        choose_core(np.eye(3), 2, how="best")


def test_fewer_than_asked_for_and_none() -> None:
    assert sorted(choose_core(np.eye(3), 9).index) == [0, 1, 2]
    assert len(choose_core(np.zeros((0, 3)), 2).index) == 0
    for how in ("farthest", "random"):
        first, again = (choose_core(vectors(30, 4, 1), 5, how=how, seed=3) for _ in range(2))
        assert first.index.tolist() == again.index.tolist()
        assert len(set(first.index.tolist())) == 5

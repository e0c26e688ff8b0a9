"""Winners of tables against closed forms and naive twins; self-play against what theory says of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from guerdon.errors import ConfigError
from guerdon.reward.learned.tournament import (
    WINNERS,
    borda,
    copeland,
    cyclic_share,
    exploitability,
    nash,
    self_play,
)


def circle(strength: float = 2.0) -> np.ndarray:
    """Three arms in a circle, a fourth that loses to all."""
    s = np.zeros((4, 4))
    for i, j in ((0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3)):
        s[i, j], s[j, i] = strength, -strength
    return s


@given(st.integers(1, 7), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_nobody_beats_the_von_neumann_winner(n, seed):
    s = np.random.default_rng(seed).normal(size=(n, n))
    p = expit(s - s.T)
    policy = nash(p)
    assert policy.sum() == pytest.approx(1)
    assert (policy >= 0).all()
    assert exploitability(p, policy) < 1e-7


def test_rock_paper_scissors_and_uneven_circles_are_the_closed_form():
    np.testing.assert_allclose(nash(expit(circle())), [1 / 3, 1 / 3, 1 / 3, 0], atol=1e-7)
    a, b, c = 0.4, 0.2, 0.1  # 0 beats 1 by a, 1 beats 2 by b, 2 beats 0 by c: weights are in proportion (b, c, a)
    p = 0.5 + np.array([[0, a, -c], [-a, 0, b], [c, -b, 0]])
    np.testing.assert_allclose(nash(p), np.array([b, c, a]) / (a + b + c), atol=1e-7)


def test_all_agree_where_utilities_exist():
    r = np.random.default_rng(0).normal(size=6)
    p = expit(r[:, None] - r)
    for name, winner in WINNERS.items():
        assert winner(p).argmax() == r.argmax(), name
    assert nash(p).max() == pytest.approx(1)
    assert (np.argsort(copeland(p)) == np.argsort(r)).all()
    assert cyclic_share(r[:, None] - r) == pytest.approx(0, abs=1e-12)
    assert cyclic_share(circle()[:3, :3]) == pytest.approx(1)


def test_borda_and_copeland_are_the_naive_ones():
    s = np.random.default_rng(1).normal(size=(5, 5))
    p = expit(s - s.T)
    for i in range(5):
        others = [j for j in range(5) if j != i]
        assert borda(p)[i] == pytest.approx(np.mean([p[i, j] for j in others]))
        assert copeland(p)[i] == pytest.approx(np.mean([p[i, j] > 0.5 for j in others]))
    assert borda(np.array([[0.5]]))[0] == copeland(np.array([[0.5]]))[0] == 0.5


def test_averages_and_optimistic_iterates_converge_and_last_ones_circle():
    score = circle()
    p = expit(score)
    start = np.array([0.6, 0.2, 0.1, 0.1])
    gap = {
        kind: exploitability(p, self_play(score, rounds=4000, iterate=kind, start=start))
        for kind in ("average", "last", "optimistic")
    }
    assert gap["average"] < 0.02
    assert gap["optimistic"] < 1e-6
    assert gap["last"] > 0.1


def test_one_step_is_the_exact_minimiser():
    """pi' ~ pi exp(s / beta), so log pi'/pi - s / beta is the same for every candidate."""
    score, start = circle(), np.array([0.4, 0.3, 0.2, 0.1])
    for payoff, game in (("score", score), ("probability", expit(score) - 0.5)):
        policy = self_play(score, beta=2.0, rounds=1, iterate="last", payoff=payoff, start=start)
        rest = np.log(policy / start) - game @ start / 2.0
        assert np.ptp(rest) == pytest.approx(0, abs=1e-12)
        assert start @ game @ start == pytest.approx(0, abs=1e-12)  # no normaliser needs to be subtracted


def test_wrong_options_say_so():
    with pytest.raises(ConfigError, match="average, last or optimistic"):
        self_play(circle(), iterate="best")
    with pytest.raises(ConfigError, match="score or probability"):
        self_play(circle(), payoff="odds")
    with pytest.raises(ConfigError, match="beta > 0"):
        self_play(circle(), beta=0.0)

"""Contexts seldom observed: the likelihood never falls, all rows help, full observation is plain regression."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from guerdon.errors import ConfigError, FeedbackError
from guerdon.reward.learned.context_em import LatentContexts


def world(n: int, seen: float, seed: int) -> tuple[np.ndarray, ...]:
    """Three topics with other shares of two opposed contexts: (prompts, differences, verdicts, contexts, truth)."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(3, size=n)
    shares = np.array([[0.8, 0.2], [0.5, 0.5], [0.2, 0.8]])
    z = (rng.random(n) < shares[topic, 1]).astype(int)
    taste = 3 * np.linalg.qr(rng.normal(size=(6, 2)))[0]
    d = rng.normal(size=(n, 6))
    won = (rng.random(n) < expit((d @ taste)[np.arange(n), z])).astype(float)
    return np.eye(3)[topic], d, won, np.where(rng.random(n) < seen, z, -1), taste


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.floats(0.1, 1.0))
def test_the_likelihood_never_falls(seed: int, seen: float) -> None:
    x, d, won, z, _ = world(80, seen, seed)
    if len(np.unique(z[z >= 0])) < 2 or z.max() < 1:
        return
    history = np.array(LatentContexts.fit(x, d, won, z, l2=0.03).history)
    assert (np.diff(history) > -1e-6).all()


def test_rows_without_a_context_help() -> None:
    better = 0
    for seed in range(5):
        x, d, won, z, taste = world(500, 0.15, seed)
        new = np.random.default_rng(99).normal(size=(400, 6))
        truth = (new @ taste) > 0
        all_rows = LatentContexts.fit(x, d, won, z, l2=0.01)
        some = z >= 0
        known = LatentContexts.fit(x[some], d[some], won[some], z[some], l2=0.01)
        right = [float(((m.given(new) > 0.5) == truth).mean()) for m in (all_rows, known)]
        better += right[0] > right[1] + 0.02
    assert better >= 4


def test_where_everything_is_observed_it_is_a_regression_a_context() -> None:
    x, d, won, z, _ = world(400, 1.0, 3)
    found = LatentContexts.fit(x, d, won, z, l2=0.02)
    for c in (0, 1):
        rows = z == c
        plain = LogisticRegression(C=1 / (0.02 * len(z)), fit_intercept=False, tol=1e-10).fit(d[rows], won[rows])
        assert found.weight[:, c] == pytest.approx(plain.coef_[0], abs=1e-3)
    assert found.prior(x).sum(1) == pytest.approx(np.ones(400))
    p = found.marginal(x, d)
    assert ((p > 0) & (p < 1)).all()
    assert found.marginal(x, -d) == pytest.approx(1 - p)


def test_a_context_never_seen_and_uneven_columns_are_refused() -> None:
    x, d, won, z, _ = world(50, 0.5, 4)
    with pytest.raises(FeedbackError, match=r"context 0 was never observed"):
        LatentContexts.fit(x, d, won, np.where(z == 0, -1, z))
    with pytest.raises(FeedbackError, match=r"no context was observed; name some comparisons' context"):
        LatentContexts.fit(x, d, won, np.full(50, -1))
    with pytest.raises(ConfigError, match=r"50, 50, 49 and 50 rows"):
        LatentContexts.fit(x, d, won[:-1], z)

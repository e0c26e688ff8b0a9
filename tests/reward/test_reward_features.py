"""Reward features: convex for new raters, a network where features are not linear, and plain words on misuse."""

import numpy as np
import pytest

import guerdon
from guerdon import Candidates
from guerdon.errors import ConfigError, FeedbackError
from guerdon.papers.lore import World
from guerdon.reward.personal.low_rank import LowRankReward
from guerdon.reward.personal.reward_features import RewardFeatures
from guerdon.testing import check_reward
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool


@pytest.fixture(scope="module")
def world() -> World:
    return World("signed:1", 0)


@pytest.fixture(scope="module")
def fitted(world) -> RewardFeatures:
    return RewardFeatures(encoder=world.pool.encoder(), rank=4, l2=1.0, l2_basis=1.0).fit(world.train)


def test_linear_features_are_the_low_rank_reward_at_fixed_trust(world, fitted):
    same = LowRankReward(
        encoder=world.pool.encoder(), rank=4, l2=1.0, l2_basis=1.0, prior=1.0, item_effects="none"
    ).fit(world.train)
    some = world.pool.candidates.take(range(20)).asked_by("u3")
    np.testing.assert_allclose(fitted.score(some).value, same.score(some).value, rtol=1e-6)


def test_strangers_by_ten_comparisons(world, fitted):
    none, ten = world.personal(fitted, [0, 10])
    assert none < 0.56
    assert ten > 0.8


def test_adapting_is_convex_scikit_learns_answer(world, fitted):
    """One rater alone: logistic regression on phi differences with prior N(mean, I), the population as offset."""
    from scipy.optimize import minimize

    shots = world.shots(12)
    model = fitted.adapt(shots)
    name = world.names[3]
    pairs = shots.where(user=name).pairs()
    phi = fitted.reward_features(shots.candidates)
    z = (phi[pairs.a] - phi[pairs.b]) * np.where(pairs.p > 0.5, 1, -1)[:, None]

    def objective(w: np.ndarray) -> float:
        off = w - fitted.mean
        return float(np.sum(np.logaddexp(0, -z[:, 0] - z[:, 1:] @ w)) + 0.5 * off @ fitted.precision @ off)

    rng = np.random.default_rng(0)
    answers = [minimize(objective, 5 * rng.normal(size=4), tol=1e-10).x for _ in range(2)]
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-4)
    np.testing.assert_allclose(model.people.weights[model.people.index[name]], answers[0], atol=1e-4)


def test_a_network_finds_features_that_are_not_linear():
    """People like or dislike |x_0|, x_1 x_2 and max(x_3, x_4): a linear phi cannot see them, one hidden layer can."""
    pool = Pool.planted(300, 6, 6, seed=0)
    x = pool.features
    wanted = np.stack([np.abs(x[:, 0]), x[:, 1] * x[:, 2], np.maximum(x[:, 3], x[:, 4])], axis=1)
    people = Population.simulate(
        "signed", pool, wanted, users=160, held_out=0.2, seed=0, annotators=Annotator.bradley_terry(4.0)
    )
    train, strangers = people.history(count=60, users=np.arange(120)), np.arange(120, 160)
    shots = people.history(count=20, users=strangers)
    test = people.history(count=60, users=strangers, held_out=True, annotator=Annotator.perfect(), seed=1)
    found = {}
    for hidden in (None, 64):
        model = RewardFeatures(
            encoder=pool.encoder(), rank=4, hidden=hidden, l2=1.0, l2_basis=1.0, epochs=40, learning_rate=1e-2
        ).fit(train)
        q = test.pairs(ties=False)
        table = model.adapt(shots).score_table(test.candidates, list(test.users))
        found[hidden] = float(np.mean((table[q.a, q.user] > table[q.b, q.user]) == (q.p > 0.5)))
    assert found[64] > found[None] + 0.1, found
    assert found[64] > 0.75


def test_no_prior_is_refused_where_weights_would_be_infinite(world):
    with pytest.raises(FeedbackError, match=r"lambda = 0.*infinite"):
        RewardFeatures(encoder=world.pool.encoder(), rank=8, prior="none", l2=1.0, l2_basis=1.0).fit(world.train)
    noisy = world.population.history(count=80, users=np.arange(60), annotator=Annotator.noisy(0.4))
    model = RewardFeatures(encoder=world.pool.encoder(), rank=1, prior="none", l2=1.0, l2_basis=1.0).fit(noisy)
    with pytest.raises(FeedbackError, match="infinite, first"):
        model.adapt(world.shots(1))


def test_what_cannot_be_identified_is_said(world, caplog):
    few = world.population.history(count=60, users=np.arange(4))
    model = RewardFeatures(encoder=world.pool.encoder(), rank=8).fit(few)
    assert "8 features but 4 raters" in model.summary["cautions"][0]
    assert "not identified" in caplog.text
    rows = np.arange(len(world.train))
    one = world.train.take(rows[(rows >= 40) | (rows == 0)])
    model = RewardFeatures(encoder=world.pool.encoder(), rank=2, l2=1.0, l2_basis=1.0).fit(one)
    assert any("1 of 150 raters gave a single comparison" in c for c in model.summary["cautions"])


def test_mistakes_are_named():
    for settings in ({"hidden": 0}, {"hidden": "wide"}, {"rank": 0}, {"prior": -1.0}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            RewardFeatures(**settings)


def test_the_network_keeps_the_contract_and_survives_saving(tmp_path):
    from guerdon.feedback.schema import Judgement
    from guerdon.feedback.star import Feedback

    rng = np.random.default_rng(0)
    rows = []
    for i in range(120):
        texts = tuple(" ".join(rng.choice(["rain", "roof", "apple", "pear"], 5)) + f" {i}{j}" for j in "ab")
        rows.append(Judgement(f"p{i % 30}", texts, (1.0, 0.0), user=f"u{i % 12}"))
    reward = RewardFeatures(encoder="hash:32", rank=2, hidden=8, l2=1.0, l2_basis=1.0, epochs=3).fit(Feedback.of(rows))
    assert "strangers" in check_reward(reward).passed
    again = guerdon.load(reward.save(tmp_path / "m"))
    c = Candidates(["p"] * 3, ["rain", "apple", "roof"], user=["u1", "u2", None])
    np.testing.assert_allclose(again.score(c).value, reward.score(c).value)
    assert again.params == reward.params  # type: ignore[attr-defined]

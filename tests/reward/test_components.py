"""Principal components of preference differences as heads: what they know, what they do not, and who they move."""

import numpy as np
import pytest

import guerdon
from guerdon import Candidates
from guerdon.errors import ConfigError, FeedbackError
from guerdon.papers import drm
from guerdon.reward.personal.components import ComponentsReward
from guerdon.reward.personal.standing import principal
from guerdon.testing import check_reward
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool


@pytest.fixture(scope="module")
def world() -> drm.World:
    return drm.World(0)


@pytest.fixture(scope="module")
def paper(world) -> ComponentsReward:
    return drm.drm(world.pool.encoder()).fit(world.train)


def differences(world) -> np.ndarray:
    pairs, x = world.train.pairs(ties=False), world.pool.encoder().encode(world.train.candidates).astype(float)
    return np.where(pairs.p > 0.5, 1.0, -1.0)[:, None] * (x[pairs.a] - x[pairs.b])


def test_components_are_scikit_learns(world):
    from sklearn.decomposition import PCA

    d = differences(world)
    ours, variance = principal(d, 6)
    theirs = PCA(6).fit(d)
    np.testing.assert_allclose(np.abs(np.sum(ours.T * theirs.components_, 1)), 1.0, atol=1e-6)
    np.testing.assert_allclose(variance[:6] / variance.sum(), theirs.explained_variance_ratio_, rtol=1e-6)


def test_uncentred_components_ignore_the_labels_exactly(world):
    """(-D)(-D)' = DD': what people chose cannot enter, however many comparisons there are. Centring lets it in."""
    d = differences(world)
    flipped = d * np.random.default_rng(1).choice([-1.0, 1.0], size=(len(d), 1))
    assert drm.angle(principal(d, 6, center=False)[0], principal(flipped, 6, center=False)[0]) < 1e-10
    assert drm.angle(principal(d, 6)[0], principal(flipped, 6)[0]) > 1e-3
    mean = d.mean(0) / np.linalg.norm(d.mean(0))
    spread = [float((x @ mean).var()) for x in (d, d - d.mean(0))]
    assert spread[0] == pytest.approx(spread[1])
    assert np.abs((d - d.mean(0)).mean(0)).max() < 1e-12, "centring removes the population's direction"


def naive_weights(model: ComponentsReward, s: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The published adaptation, head by head: s [2 m, 1 + K] scores of the pairs' a and b, p [m] 1 where a won."""
    loss = []
    for sign in (1, -1):
        for j in range(s.shape[1]):
            z = sign * (s[:, j] - s[:, j].mean()) / s[:, j].std()
            d = np.where(p == 1, 1, -1) * (z[: len(p)] - z[len(p) :])
            loss.append(np.sum(np.log1p(np.exp(-d))))
    loss = np.array(loss)
    loss[s.shape[1]] = np.inf  # the reward model's head keeps its sign
    w = np.exp(-(loss - loss.min()))
    return w / w.sum()


def test_weights_are_the_published_loop(world, paper):
    model = paper.adapt(world.shots)
    u = paper.utilities(world.shots.candidates)
    for name in world.names[:5]:
        pairs = world.shots.where(user=name).pairs()
        expected = naive_weights(paper, np.concatenate([u[pairs.a], u[pairs.b]]), pairs.p)
        np.testing.assert_allclose(model.weights()[model.people.index[name]], expected, atol=1e-10)
        # and the score is the weighted sum of heads normalised by the adaptation's own mean and deviation
        s = np.concatenate([u[pairs.a], u[pairs.b]])
        some = world.pool.candidates.take(range(7))
        z = (paper.utilities(some) - s.mean(0)) / s.std(0)
        k = z.shape[1]
        by_hand = z @ expected[:k] - z @ expected[k:]
        np.testing.assert_allclose(model.score(some.asked_by(name)).value, by_hand, atol=1e-8)


def test_reversed_verdicts_swap_the_two_signs(world, paper):
    model = drm.replaced_head(drm.drm(world.pool.encoder()).fit(world.train))
    said, unsaid = model.adapt(world.shots), model.adapt(drm.reversed_verdicts(world.shots))
    rows = [[m.people.index[name] for name in world.names] for m in (said, unsaid)]
    w, v = said.weights()[rows[0]], unsaid.weights()[rows[1]]
    k = w.shape[1] // 2
    np.testing.assert_allclose(w, np.hstack([v[:, k:], v[:, :k]]), atol=1e-12)
    np.testing.assert_allclose(w.sum(1), 1.0)


def test_without_normalisation_loud_heads_would_win(world, paper):
    """A head a thousand times as loud gets the same weight."""
    loud = paper.adapt(world.shots)
    other = paper.adapt(world.shots.take(np.arange(1)))
    other.directions = paper.directions * np.r_[1.0, 1000.0, np.ones(paper.directions.shape[1] - 2)]
    other.spread = paper.spread * np.r_[1.0, 1000.0, np.ones(paper.directions.shape[1] - 2)]
    other.people = type(other.people).empty(paper.directions.shape[1])
    again = other.adapt(world.shots)
    for name in world.names[:5]:
        a, b = loud.people.index[name], again.people.index[name]
        np.testing.assert_allclose(loud.weights()[a], again.weights()[b], atol=1e-9)


def test_strangers_find_their_attribute_and_the_default_too(world, paper):
    assert world.adapted(paper) > 0.9
    default = ComponentsReward(encoder=world.pool.encoder()).fit(world.train)
    assert default.summary["personal"]
    assert world.adapted(default) > 0.85
    stranger = world.pool.candidates.take(range(4)).asked_by("nobody known")
    nobody = default.score(world.pool.candidates.take(range(4)))
    np.testing.assert_array_equal(default.score(stranger).value, nobody.value)
    assert all("unknown person" in r for r in default.score(stranger).reason)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nobody_is_moved_where_people_agree(seed):
    pool = Pool.planted(200, 6, 16, seed=seed)
    people = Population.simulate("shared", pool, users=80, seed=seed, annotators=Annotator.bradley_terry(4.0))
    model = ComponentsReward(encoder=pool.encoder()).fit(people.history(count=30))
    some = pool.candidates.take(range(50))
    if not model.summary["personal"]:
        np.testing.assert_allclose(model.score(some.asked_by("u1")).value, model.score(some).value)
    assert model.summary["heldout_gain_loss"] < 0.01


def test_a_flat_spectrum_is_called_one(world, caplog):
    pool = Pool.planted(200, 6, 16, seed=0)
    people = Population.simulate("signed", pool, users=40, seed=0)
    model = ComponentsReward(encoder=pool.encoder(), temperature=1.0, gain=1.0).fit(people.history(count=40))
    assert "arbitrary" in model.summary["cautions"][0]
    assert "arbitrary" in caplog.text
    assert not ComponentsReward(encoder=world.pool.encoder()).fit(world.train).summary["cautions"]


def test_hedge_is_nearly_as_good_as_the_best_head():
    """The regret bound sqrt(n log H / 2) of Hedge with bounded losses, on verdicts without any pattern."""
    pool = Pool.planted(300, 2, 8, seed=3)
    people = Population.simulate("signed", pool, users=12, seed=3)
    train = people.history(count=40, users=np.arange(10))
    model = ComponentsReward(
        encoder=pool.encoder(), weighting="hedge", head="none", components=8, temperature=1.0, gain=1.0
    ).fit(train)
    asked = people.history(count=200, users=np.array([11]), seed=9)
    pairs, u = asked.pairs(ties=False), model.utilities(asked.candidates)
    z = (u[pairs.a] - u[pairs.b]) / model.spread * np.where(pairs.p > 0.5, 1, -1)[:, None]
    losses = np.hstack([1 / (1 + np.exp(s * z[:, 1:])) for s in (1, -1)])
    mine = 0.0
    for t in range(len(pairs)):
        w = np.full(16, 1 / 16)
        if t:
            known = model.adapt(asked.take(np.arange(t)))
            w = known.weights()[known.people.index["u11"]].reshape(2, 9)[:, 1:].ravel()
        mine += w @ losses[t]
    # the step falls with time: the anytime bound is twice that of a known horizon
    assert mine - losses.sum(0).min() <= 2 * np.sqrt(len(pairs) * np.log(16) / 2) + 1


def test_people_learn_further_and_a_head_that_does_not_vary_is_dropped(world, paper):
    first = world.shots.take(np.arange(len(world.shots)) % 15 < 8)
    rest = world.shots.take(np.arange(len(world.shots)) % 15 >= 8)
    grown = ComponentsReward(encoder=world.pool.encoder(), components=12, temperature=1.0, gain=1.0).fit(world.train)
    once, twice = grown.adapt(world.shots), grown.adapt(first).adapt(rest)
    some = world.pool.candidates.take(range(9)).asked_by(world.names[0])
    np.testing.assert_allclose(once.score(some).value, twice.score(some).value, atol=1e-9)
    flat = paper.adapt(world.shots.take(np.arange(1)))
    flat.directions = paper.directions.copy()
    flat.directions[:, 3] = 0.0
    adapted = flat.adapt(world.shots)
    w = adapted.weights()[adapted.people.index[world.names[1]]]
    assert w[3] == 0
    assert np.isfinite(w).all()


def test_contract_saving_and_explaining(world, paper, tmp_path):
    from guerdon.feedback.schema import Judgement
    from guerdon.feedback.star import Feedback

    rng = np.random.default_rng(0)
    rows = []
    for i in range(120):
        texts = tuple(" ".join(rng.choice(["rain", "roof", "apple", "pear"], 5)) + f" {i}{j}" for j in "ab")
        rows.append(Judgement(f"p{i % 30}", texts, (1.0, 0.0), user=f"u{i % 12}"))
    for name in ("components", "drm"):
        from guerdon.reward.registry import model

        reward = model(name).make(encoder="hash:32").fit(Feedback.of(rows))
        assert "strangers" in check_reward(reward).passed
        again = guerdon.load(reward.save(tmp_path / name))
        c = Candidates(["p"] * 3, ["rain", "apple", "roof"], user=["u1", "u2", None])
        np.testing.assert_allclose(again.score(c).value, reward.score(c).value)
        assert again.users == reward.users
    attribute = world.pool.features @ paper.directions[:, 1]
    about = paper.component(1, world.train, {"its own direction": attribute[world.pool.rows(world.train.candidates)]})
    assert about["correlation"]["its own direction"] == pytest.approx(1.0)
    with pytest.raises(ConfigError, match="components 1 to 12"):
        paper.component(13, world.train)


def test_mistakes_are_named(world):
    with pytest.raises(FeedbackError, match="at most 32 components, 40 are asked for"):
        ComponentsReward(encoder=world.pool.encoder(), components=40).fit(world.train)
    for settings in ({"components": 0}, {"temperature": -1.0}, {"gain": "much"}, {"head": "two"}, {"weighting": "x"}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            ComponentsReward(**settings)

"""Every token position scored: a naive twin, a world whose means say nothing, states of a language model, errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax

import guerdon
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.pal import strays
from guerdon.reward.learned.features import FeatureScaling
from guerdon.reward.personal.ideal_geometry import Geometry
from guerdon.reward.personal.ideal_point import IdealPointReward
from guerdon.reward.personal.ideal_weights import Placed
from guerdon.reward.personal.token_weights import share_scaling, shares
from guerdon.testing import check_reward
from tiny_models import tiny_causal_lm

QUICK: dict[str, Any] = {"epochs": 15, "starts": 1}


@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("weighting", ["mean", "cumulative", "last"])
@pytest.mark.parametrize("options", [{}, {"distance": "square", "mixing": "after"}, {"projector": "mlp"}])
def test_utilities_and_slopes_are_those_of_the_tokens_one_by_one(variant, weighting, options):
    rng = np.random.default_rng(1)
    geometry = Geometry(variant, 5, 3, 4, d_prompt=2, **options).double().eval()
    x, prompts, w = rng.normal(size=(6, 7, 5)), rng.normal(size=(6, 2)), softmax(rng.normal(size=(4, 3)), axis=1)
    asked, person, share = prompts if variant == "B" else None, np.array([0, 1, 2, 3, 0, 1]), shares(weighting, 7)
    weight = {"mean": np.full(7, 1 / 7), "cumulative": np.arange(1, 8) / 28, "last": np.eye(7)[6]}[weighting]
    placed = Placed.of(geometry, x, asked, share)
    value, slope = placed.at(w, person)
    expected, by_w, table = np.zeros(6), np.zeros((6, 3)), np.zeros((6, 4))
    for j in range(7):
        alone = Placed.of(geometry, x[:, j], asked)
        one = alone.at(w, person)
        expected += weight[j] * one[0]
        by_w += weight[j] * one[1]
        table += weight[j] * alone.table(w)
    np.testing.assert_allclose(value, expected, atol=1e-6)
    np.testing.assert_allclose(slope, by_w, atol=1e-6)
    np.testing.assert_allclose(placed.table(w), table, atol=1e-6)
    some = placed.take(np.array([4, 1])).at(w, person[[4, 1]])[0]
    np.testing.assert_allclose(some, value[[4, 1]], atol=1e-6)


def test_all_positions_share_one_scaling():
    rng = np.random.default_rng(0)
    x = rng.normal(rng.normal(size=(1, 8)) * 3, rng.random((1, 8)) + 0.5, size=(200, 8))
    x = np.concatenate([rng.normal(size=(200, 2)), x], axis=1)  # two columns of the prompt come first
    scaling, plain = FeatureScaling(), FeatureScaling()
    scaling.fit(x)
    plain.fit(x)
    share_scaling(scaling, np.arange(2, 10), 4)
    z = scaling(x) * np.sqrt(10)
    tokens = z[:, 2:].reshape(800, 2)
    np.testing.assert_allclose(tokens.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(tokens.std(0), 1)
    np.testing.assert_array_equal(z[:, :2], plain(x)[:, :2] * np.sqrt(10))
    whole = x[:, 2:].reshape(200, 4, 2)
    gaps = z[:, 2:].reshape(200, 4, 2)[:, 1:] - z[:, 2:].reshape(200, 4, 2)[:, :1]
    factor = (whole[:, 1:] - whole[:, :1]) / gaps
    np.testing.assert_allclose(
        factor, np.broadcast_to(factor[:1, :1], factor.shape), rtol=1e-6
    )  # distances between tokens keep their meaning


@pytest.fixture(scope="module")
def world():
    return strays(0)


def test_responses_that_stray_are_seen_by_their_tokens_alone(world):
    found = {
        name: world.personal(world.ideal(k=3, positions=6, token_weighting=name, **QUICK), 10)
        for name in ("cumulative", "last")
    }
    assert found["cumulative"] > found["last"] + 0.02


def test_more_shots_help_and_nothing_else_moves(world):
    model = world.ideal(k=3, positions=6, token_weighting="cumulative", **QUICK)
    before = {name: value.tobytes() for name, value in model.arrays().items()}
    adapted = model.adapt(world.shots(10))
    assert {name: value.tobytes() for name, value in adapted.arrays().items()} == before
    assert model.ideal_features().shape == (8,)  # of one token
    again = IdealPointReward(encoder=world.pool.encoder(), k=3, positions=6, token_weighting="cumulative")
    again.restore(model.arrays())
    texts = world.pool.candidates.take(np.arange(9))
    np.testing.assert_allclose(again.score(texts).value, model.score(texts).value, atol=1e-9)


def test_files_from_before_token_weights_still_open(world):
    model = world.ideal(k=1, prior=1.0, **QUICK)
    arrays = model.arrays()
    arrays["sizes"] = arrays["sizes"][:4]
    again = IdealPointReward(encoder=world.pool.encoder(), k=1)
    again.restore(arrays)
    texts = world.pool.candidates.take(np.arange(9))
    np.testing.assert_allclose(again.score(texts).value, model.score(texts).value, atol=1e-9)


# ------------------------------------------------------------------ states of a language model


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return tiny_causal_lm(tmp_path_factory.mktemp("lm") / "m", chat_template=False)


def said() -> Feedback:
    rng = np.random.default_rng(0)
    words = ["rain", "roof", "apple", "pear", "sky", "blue"]
    rows = []
    for i in range(240):
        texts = tuple(" ".join(rng.choice(words, rng.integers(2, 6))) for _ in range(2))
        like = "apple" if i % 12 < 6 else "rain"
        counts = [t.count(like) for t in texts]
        if counts[0] != counts[1]:
            rows.append(Judgement(f"p{i % 19}", texts, tuple(map(float, counts)), user=f"u{i % 12}"))
    return Feedback.of(rows)


@pytest.mark.parametrize(
    "settings", [{"variant": "A"}, {"variant": "A", "loss": "hinge", "distance": "square"}, {"variant": "B"}]
)
def test_on_a_language_models_token_states(lm: Path, tmp_path: Path, settings):
    spec = f"hf:{lm}?tokens=response&positions=4&cache=off"
    data = said()
    model = IdealPointReward(encoder=spec, k=2, prior=1.0, token_weighting="cumulative", **QUICK, **settings).fit(data)
    model.name = "ideal-point"
    assert model.positions == 4
    assert model.geometry.f(torch.zeros(1, 32, dtype=torch.float64)).shape[-1] == 32
    pairs, table = data.pairs(), model.score_table(data.candidates, list(data.users))
    right = (table[pairs.a, pairs.user] > table[pairs.b, pairs.user]) == (pairs.p > 0.5)
    assert np.mean(right) > 0.7
    assert "save and load" in check_reward(model, long=False).passed
    again = guerdon.load(model.save(tmp_path / "m"))
    assert again.params["token_weighting"] == "cumulative"  # type: ignore[attr-defined]
    c = Candidates(["p1"] * 2, ["apple rain", "sky"], user=["u1", "u7"])
    np.testing.assert_allclose(again.score(c).value, model.score(c).value, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "weighted", "-2"])
def test_pooled_token_states_need_nothing_new(lm: Path, pooling: str):
    spec = f"hf:{lm}?tokens=response&pooling={pooling}&cache=off"
    model = IdealPointReward(encoder=spec, k=1, prior=1.0, **QUICK).fit(said())
    assert model.positions is None
    assert np.isfinite(model.score(Candidates(["p"], ["apple"])).value).all()


# ------------------------------------------------------------------ bad input


def test_errors_say_what_to_do(lm: Path, world):
    with pytest.raises(ConfigError, match="token_weighting='some' is unknown; use one of none, mean"):
        IdealPointReward(token_weighting="some")
    with pytest.raises(ConfigError, match="positions=0"):
        IdealPointReward(token_weighting="mean", positions=0)
    with pytest.raises(ConfigError, match="gives one vector a response; use one that keeps several"):
        IdealPointReward(encoder="hash:16", token_weighting="mean", k=1).fit(said())
    with pytest.raises(ConfigError, match="48 features of a response are no states of 7 tokens"):
        world.ideal(k=1, positions=7, token_weighting="mean")
    mixed = f"hf:{lm}?tokens=response&positions=4&features=joined+surface&cache=off"
    with pytest.raises(ConfigError, match="not the features joined"):
        IdealPointReward(encoder=mixed, token_weighting="mean", k=1).fit(said())

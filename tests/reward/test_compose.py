"""Rewards made of rewards."""

import numpy as np
import pytest

import fake_rewards
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Function
from guerdon.reward.baselines import Length
from guerdon.reward.compose import (
    Abstaining,
    Affine,
    Gated,
    Minimum,
    Pessimistic,
    Product,
    WeightedSum,
    clipped,
    negated,
    normalized,
)
from guerdon.reward.load import load
from guerdon.testing import check_reward

TEXTS = Candidates(["p"] * 4, ["a", "bb", "a banana", "dddd"])


def test_a_sum_is_the_sum_of_its_parts() -> None:
    both = WeightedSum([Length(), fake_rewards.tastes()], [2.0, -1.0])
    expected = [2 * len(r) - (r.count("a") - 2 * r.count("e")) for r in TEXTS.responses]
    assert both.score(TEXTS).value.tolist() == expected
    assert both.score(TEXTS).detail["length"] == [1, 2, 8, 4]
    assert both.name == "length+tastes"


def test_missing_is_not_zero() -> None:
    scores = WeightedSum([Length(), fake_rewards.Picky()]).score(TEXTS)
    assert np.isnan(scores.value[2])
    assert (scores.status[2], scores.reason[2]) == ("abstained", "picky: it says banana")
    assert scores.status[0] == "scored"


def test_uncertainty_adds_up_where_all_parts_know_theirs() -> None:
    person = fake_rewards.tastes()
    std = WeightedSum([person, person], [3.0, 4.0]).score(TEXTS).std
    assert std is not None
    np.testing.assert_allclose(std, 2.5)
    assert WeightedSum([person, Length()]).score(TEXTS).std is None


def test_affine_changes() -> None:
    assert negated(Length()).score(TEXTS).value.tolist() == [-1, -2, -8, -4]
    assert clipped(Length(), 2, 4).score(TEXTS).value.tolist() == [2, 2, 4, 4]
    z = normalized(Length(), TEXTS).score(TEXTS).value
    np.testing.assert_allclose([z.mean(), z.std()], [0, 1], atol=1e-12)
    assert np.isnan(negated(fake_rewards.Picky()).score(TEXTS).value[2])


def test_nonsense_is_refused() -> None:
    for make in (
        lambda: WeightedSum([]),
        lambda: WeightedSum([Length()], [1, 2]),
        lambda: WeightedSum([Length()], [float("nan")]),
        lambda: Affine(Length(), scale=0),
        lambda: clipped(Length(), 2, 1),
        lambda: normalized(Length(), TEXTS.take([0])),
    ):
        with pytest.raises(ConfigError):
            make()


def test_they_keep_the_contract() -> None:
    check_reward(WeightedSum([Length(), fake_rewards.tastes("ann")], [0.5, 2]), save=False)
    check_reward(normalized(Length(), TEXTS))
    verified = load("rule:answer")
    asked = Candidates(["q"] * 3, ["#### 1", "#### 2", "#### 33"], reference=["1"] * 3)
    check_reward(Gated(verified, Length()), asked, save=False)
    check_reward(Minimum([Length(), fake_rewards.tastes("ann")]), save=False)
    check_reward(Pessimistic(fake_rewards.tastes("ann")), save=False)
    check_reward(Abstaining(fake_rewards.tastes("ann"), 10.0), save=False)


def test_the_worst_part_and_all_parts() -> None:
    parts = [Length(), Function(lambda p, r: float(r.count("a")), "as")]
    assert Minimum(parts).score(TEXTS).value.tolist() == [1, 0, 4, 0]
    assert Product(parts).score(TEXTS).value.tolist() == [1, 0, 32, 0]
    assert Product(parts).score(TEXTS).detail == {"length": [1, 2, 8, 4], "as": [1, 0, 4, 0]}
    for made in (Minimum, Product):
        missing = made([Length(), fake_rewards.Picky()]).score(TEXTS)
        assert np.isnan(missing.value[2])
        assert missing.status[2] == "abstained"
    with pytest.raises(ConfigError, match="-length scores below 0"):
        Product([Length(), negated(Length())]).score(TEXTS)


def test_the_std_of_a_product_is_that_of_draws() -> None:
    rng = np.random.default_rng(0)
    value, std = np.array([[0.8], [0.5]]), np.array([[0.05], [0.02]])
    drawn = np.prod(value + std * rng.normal(size=(2, 100_000)), axis=0).std()
    _, said = Product([Length(), Length()]).combine(value, std)
    assert said is not None
    np.testing.assert_allclose(said[0], drawn, rtol=0.02)


def test_a_gate_spares_the_reward_what_fails() -> None:
    seen: list[str] = []

    def costly(prompt: str, response: str) -> float:
        seen.append(response)
        return float(len(response))

    gate = Function(lambda p, r: None if r == "bb" else float("a" in r), "has-a")
    scores = Gated(gate, Function(costly), otherwise=-1.0).score(TEXTS)
    assert seen == ["a", "a banana"]
    assert scores.value[[0, 2, 3]].tolist() == [1, 8, -1]
    assert np.isnan(scores.value[1]), "a gate that cannot tell opens to nobody"
    assert scores.reason[3] == "has-a is below 0.5"
    unscored = Gated(gate, Length(), otherwise=None).score(TEXTS)
    assert unscored.status[3] == "abstained"


def test_pessimism_and_abstention() -> None:
    person = fake_rewards.tastes()
    inner = person.score(TEXTS)
    assert inner.std is not None
    np.testing.assert_allclose(Pessimistic(person, 2.0).score(TEXTS).value, inner.value - 2 * inner.std)
    assert np.isnan(Abstaining(person, 0.1).score(TEXTS).value).all()
    assert "is above 0.1" in str(Abstaining(person, 0.1).score(TEXTS).reason[0])
    with pytest.raises(ConfigError, match="does not say how sure it is"):
        Pessimistic(Length()).score(TEXTS)

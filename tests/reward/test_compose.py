"""Rewards made of rewards."""

import numpy as np
import pytest

import fake_rewards
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.reward.baselines import Length
from guerdon.reward.compose import Affine, WeightedSum, clipped, negated, normalized
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

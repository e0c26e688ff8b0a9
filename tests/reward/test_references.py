"""Comparisons as scores: fixed anchors, and a random member of the group."""

import numpy as np
import pytest

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores
from guerdon.reward.judge import AgainstReference, Anchors, GroupReference


class Oracle(Reward):
    """P(a preferred) from the numbers in the responses: 1, 0, or 1/2 where they are equal; NaN for "?"."""

    name = "oracle"

    def __init__(self, soft: bool = False) -> None:
        self.asked = 0
        self.soft = soft

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        self.asked += len(a)
        gap = np.array(
            [
                np.nan if "?" in str((x, y)) else float(x) - float(y)
                for x, y in zip(a.responses, b.responses, strict=True)
            ]
        )  # type: ignore[arg-type]
        return Scores(1 / (1 + np.exp(-gap)) if self.soft else 0.5 + 0.5 * np.sign(gap))


def group(*numbers: object, prompt: str = "x") -> Candidates:
    return Candidates([prompt] * len(numbers), [str(n) for n in numbers])


# ------------------------------------------------------------------ anchors


def test_an_anchor_belongs_to_its_prompt() -> None:
    anchors = Anchors(["x", "y"], ["2", "8"])
    both = Candidates(["x", "y", "z"], ["5", "5", "5"])
    scores = AgainstReference(Oracle(), anchors).score(both)
    assert scores.value[:2].tolist() == [1, 0]
    assert np.isnan(scores.value[2])
    assert (scores.status[2], scores.reason[2]) == ("invalid", "no anchor for this prompt")


def test_scales_of_the_chance() -> None:
    both = Candidates(["x"] * 4, ["3", "2", "99", "-99"], reference=["2"] * 4)
    chance = AgainstReference(Oracle(soft=True)).score(both).value
    assert chance[:2] == pytest.approx([1 / (1 + np.exp(-1)), 0.5])
    assert AgainstReference(Oracle(soft=True), on="centred").score(both).value == pytest.approx(chance - 0.5)
    odds = AgainstReference(Oracle(soft=True), on="log-odds").score(both).value
    assert odds == pytest.approx([1, 0, 4, -4]), "clipped, not infinite"
    with pytest.raises(ConfigError, match="on="):
        AgainstReference(Oracle(), on="stars")


def test_anchors_that_everything_beats_are_stale_until_they_are_replaced() -> None:
    anchors = Anchors(["x"], ["0"], memory=10)
    judge = AgainstReference(Oracle(), anchors)
    judge.score(group(*[-1] * 10))
    assert not anchors.stale
    judge.score(group(*[1] * 60))
    assert anchors.stale
    assert anchors.mean > 0.85
    anchors.refresh(["x"], ["5"])
    assert not anchors.stale
    assert judge.score(group(1)).value.tolist() == [0]
    with pytest.raises(FeedbackError):
        Anchors(["x"], [])


# ------------------------------------------------------------------ a member of the group


def test_signs_against_a_member_of_the_group_with_one_comparison_each() -> None:
    oracle = Oracle()
    scores = GroupReference(oracle, extreme=None).rank(group(1, 2, 3, 4, 5, 5))
    reference = scores.detail["reference"][0]
    assert scores.detail["reference"] == [reference] * 6
    truth = np.array([1, 2, 3, 4, 5, 5])
    assert scores.value.tolist() == np.sign(truth - truth[reference]).tolist()
    assert scores.reason[reference] == "the reference of its group"
    assert oracle.asked <= 5, "equal texts are asked once"


def test_the_reference_is_drawn_uniformly_and_the_signs_have_mean_zero() -> None:
    rng = np.random.default_rng(0)
    drawn, sums = [], []
    for step in range(600):
        numbers = rng.permutation(8)
        scores = GroupReference(Oracle(), extreme=None, seed=step).rank(group(*numbers))
        drawn.append(numbers[scores.detail["reference"][0]])
        sums.append(scores.value.mean())
    share = np.bincount(drawn, minlength=8) / 600
    assert abs(share - 1 / 8).max() < 0.05
    assert abs(np.mean(sums)) < 0.05


def test_the_order_of_rows_does_not_choose_the_reference() -> None:
    a = GroupReference(Oracle(), extreme=None).rank(group(1, 2, 3, 4))
    b = GroupReference(Oracle(), extreme=None).rank(group(4, 3, 2, 1))
    assert a.value.tolist() == b.value[::-1].tolist()


def test_extreme_references_are_drawn_again_and_then_dropped() -> None:
    seeds = range(40)
    kept = [GroupReference(Oracle(), seed=s).rank(group(1, 2, 3, 4)) for s in seeds]
    dropped = [scores for scores in kept if np.isnan(scores.value).any()]
    assert 10 < len(dropped) < 30, "two of four references are extreme"
    for scores in dropped:
        assert list(scores.status) == ["abstained"] * 4
        assert np.isnan(scores.value).all()
        assert "extreme" in str(scores.reason[0])
    again = [GroupReference(Oracle(), seed=s, redraw=3).rank(group(1, 2, 3, 4)) for s in seeds]
    assert all(np.isfinite(scores.value).all() for scores in again)
    for scores in again:
        truth = np.arange(1, 5)
        assert scores.value.tolist() == np.sign(truth - truth[scores.detail["reference"][0]]).tolist()


def test_a_verdict_that_is_missing_is_missing_and_a_group_of_one_says_why() -> None:
    scores = GroupReference(Oracle(), extreme=None, seed=3).rank(group(1, "?", 3, 4))
    missing = [i for i, v in enumerate(scores.value) if np.isnan(v)]
    assert missing
    assert all(scores.status[i] == "failed" for i in missing)
    alone = GroupReference(Oracle()).rank(Candidates(["x", "y"], ["1", "2"]))
    assert list(alone.status) == ["invalid"] * 2
    assert alone.reason[0] == "no other response in its group"
    with pytest.raises(TypeError):
        GroupReference(Oracle()).score(group(1, 2))


def test_it_is_a_reward_function_of_trl() -> None:
    found = GroupReference(Oracle(), extreme=None)(["x", "x", "x", "y"], ["1", "2", "3", "9"])
    assert found[3] is None
    assert sorted(v for v in found[:3] if v is not None) in ([-1, -1, 0], [-1, 0, 1], [0, 1, 1])

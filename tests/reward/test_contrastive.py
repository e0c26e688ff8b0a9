"""Shares among near misses of a prompt: what the response alone earns cancels."""

import logging
from itertools import product

import numpy as np
import pytest

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import Text, as_text
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Function, Reward, Scores
from guerdon.reward.contrastive import Contrastive, confidence, ensemble, spread
from guerdon.testing import check_reward

COLOURS = ("red", "green", "blue")


def near_misses(prompt: Text) -> list[Text]:
    return [colour for colour in COLOURS if colour != prompt]


class Seen(Reward):
    """Words of the prompt in the response, and ``like`` for each of its letters."""

    reads = ("user",)
    sees = ("image",)

    def __init__(self, like: float = 0.0, name: str = "seen") -> None:
        self.like, self.name = like, name

    def score(self, candidates: Candidates) -> Scores:
        texts = [(as_text(p), as_text(r)) for p, r in zip(candidates.prompts, candidates.responses, strict=True)]
        return Scores(np.array([float(p in r) + self.like * len(r) for p, r in texts]))


def batch() -> Candidates:
    both = list(product(COLOURS, ("red", "green and red", "a very long answer", "blue " * 30)))
    return Candidates([p for p, _ in both], [r for _, r in both])


def test_what_the_response_alone_earns_cancels() -> None:
    plain, biased = (Contrastive(Seen(like), near_misses, temperature=0.5).score(batch()).value for like in (0, 3.0))
    assert biased == pytest.approx(plain, abs=1e-9)
    assert ((plain > 0) & (plain < 1)).all()


def test_shares_are_those_of_the_formula_written_out() -> None:
    reward = Seen(0.1)
    found = Contrastive(reward, near_misses, temperature=0.7).score(batch())
    for prompt, response, value, raw in zip(
        batch().prompts, batch().responses, found.value, found.detail["seen"], strict=True
    ):
        asked = [prompt, *near_misses(prompt)]
        r = reward.score(Candidates(asked, [response] * 3)).value
        assert value == pytest.approx(np.exp(r[0] / 0.7) / np.exp(r / 0.7).sum())
        assert raw == pytest.approx(r[0])
        assert value == pytest.approx(confidence(r[:1], r[None, 1:], 0.7)[0])


def test_large_rewards_do_not_overflow() -> None:
    huge = Contrastive(Function(lambda p, r: 1e6 * (p in r)), near_misses, temperature=1e-3)
    assert huge.score(Candidates(["red", "blue"], ["red", "red"])).value == pytest.approx([1.0, 0.0])


def test_log_odds_are_comparable_between_prompts_with_different_numbers_of_contrasts() -> None:
    even = Function(lambda p, r: 0.0)
    some = Contrastive(even, lambda p: ["x"] if p == "a" else ["x", "y", "z"], scale="log-odds")
    assert some.score(Candidates(["a", "b"], ["", ""])).value == pytest.approx([0.0, 0.0])


def test_several_rewards_have_temperatures_of_their_own_and_a_penalty_on_disagreement() -> None:
    parts = [Seen(0.0, "one"), Function(lambda p, r: 100.0 * len(p), "two")]
    shares = np.stack([Contrastive(r, near_misses, temperature=t).score(batch()).value
                       for r, t in zip(parts, (0.5, 80.0), strict=True)])  # fmt: skip
    both = Contrastive(parts, near_misses, temperature=(0.5, 80.0), penalty=0.3)
    assert both.score(batch()).value == pytest.approx(ensemble(shares, 0.3))
    assert both.name == "contrastive one+two"
    assert both.sees == ("image",)
    assert both.reads == ("user",)


def test_the_prompt_itself_and_repeats_are_no_contrasts(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        reward = Contrastive(Seen(), lambda p: ["Red ", "blue", "blue"])
        found = reward.score(Candidates(["red"] * 2, ["red", "blue"]))
    assert found.detail["contrasts"] == [1, 1]
    assert found.value == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))])
    assert [r.getMessage() for r in caplog.records] == [
        "2 contrasts of 'red' are the prompt itself or repeats: left out"
    ]


def test_no_contrast_is_an_error_not_a_share_of_one() -> None:
    with pytest.raises(FeedbackError, match="no contrastive prompt for 'red': every share would be 1"):
        Contrastive(Seen(), lambda p: [p]).score(Candidates(["red"], ["red"]))


def test_settings_that_make_no_sense_are_refused() -> None:
    for how, said in (
        ({"temperature": 0.0}, "it is positive"),
        ({"temperature": (1.0, 1.0)}, "2 for 1 rewards"),
        ({"scale": "odds"}, "use one of share, log-odds"),
        ({"penalty": -1.0}, "at least 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            Contrastive(Seen(), near_misses, **how)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="needs a reward"):
        Contrastive([], near_misses)


def test_an_unscored_contrast_leaves_the_candidate_unscored() -> None:
    reward = Contrastive(
        Function(lambda p, r: None if p == "green" else 1.0), lambda p: ["green"] if p == "red" else ["x"]
    )
    found = reward.score(Candidates(["red", "blue"], ["a", "a"]))
    assert np.isnan(found.value).tolist() == [True, False]
    assert list(found.status) == ["failed", "scored"]
    assert found.reason[0] == "the reward gives it, or a contrast of it, no score"


def test_the_fair_temperature_is_the_spread_between_prompts() -> None:
    values = np.array([[1.0, 0, 0], [0, 0, 0]])
    found = spread(Seen(5.0), near_misses, Candidates(["red", "red"], ["red", "none"]))
    assert found == pytest.approx(np.sqrt(((values - values.mean(1, keepdims=True)) ** 2).mean()))
    with pytest.raises(ConfigError, match="alike whatever the prompt"):
        spread(Function(lambda p, r: float(len(r))), near_misses, Candidates(["red"], ["a"]))


def test_it_keeps_the_contract() -> None:
    check_reward(Contrastive(Seen(0.01), lambda p: ["another prompt", "and one more"]), save=False)

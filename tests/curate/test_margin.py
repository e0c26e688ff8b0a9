"""Agreement of judges as a margin or a soft label, with the order of the responses cancelled."""

from __future__ import annotations

import numpy as np
import pytest

from guerdon.curate.margin import agree, cast
from guerdon.curate.registry import step
from guerdon.curate.verdicts import Verdicts
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import as_text
from guerdon.feedback.pairs import make_pairs
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward, Scores
from guerdon.reward.learned.likelihood import compile_likelihood


class Letters(Reward):
    """Compares by the count of a letter; ``bias`` is added to whatever is shown first."""

    def __init__(self, letter: str, bias: float = 0.0, silent: str = "") -> None:
        self.name, self.letter, self.bias, self.silent = f"letters {letter}", letter, bias, silent
        self.asked = 0

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        self.asked += 1
        gap = [
            as_text(x).count(self.letter) - as_text(y).count(self.letter) + self.bias
            for x, y in zip(a.responses, b.responses, strict=True)
        ]
        value = 0.5 + 0.5 * np.sign(np.array(gap, dtype=float))
        mute = [bool(self.silent) and self.silent in as_text(p) for p in a.prompts]
        return Scores(np.where(mute, np.nan, value))


def feedback() -> Feedback:
    return Feedback.of(
        [
            Judgement("q0", ("aa", "b"), (1.0, 0.0)),
            Judgement("q1", ("b", "a"), (1.0, 0.0), user="ann"),
            Judgement("q2", ("bb", "aac"), (0.0, 1.0), weight=2.0),
            Judgement("q3", ("a", "b", "c"), (2.0, 1.0, 0.0)),
            Judgement("q4", ("a", "b"), (1.0, 1.0)),
        ]
    )


def test_margins_follow_the_agreement_with_the_label_and_may_be_negative() -> None:
    curated = step("margin")(feedback(), voters=[Letters("a"), Letters("a"), Letters("c")], scale=2.0)
    rows = list(curated.feedback.judgements())
    # q0: a, a say yes; c sees a tie (0): 2/3.  q1: -2/3.  q2: all three: 1
    assert [r.strength for r in rows] == pytest.approx([4 / 3, -4 / 3, 2.0, None, None])
    assert [r.grades for r in rows] == [j.grades for j in feedback().judgements()]  # labels stay
    assert curated.report["actions"] == {"kept": 2, "margin": 3}
    assert curated.report["agreement"]["reversed_share"] == pytest.approx(1 / 3, abs=1e-4)
    assert list(curated.undo().judgements()) == list(feedback().judgements())


def test_the_margin_is_subtracted_inside_the_sigmoid_whatever_side_was_chosen() -> None:
    curated = step("margin")(feedback(), voters=[Letters("a")])
    pairs = make_pairs(curated.feedback)
    assert pairs.strength[:3].tolist() == [1.0, -1.0, 1.0]
    u = np.random.default_rng(0).normal(size=len(curated.feedback.responses))
    for j in range(3):
        data = compile_likelihood("bradley-terry", curated.feedback.take(np.array([j])), margin=1.5)
        lo = curated.feedback.offsets[j]
        first, second = curated.feedback.items[lo : lo + 2]
        chosen, rejected = (first, second) if pairs.p[j] == 1 else (second, first)
        expected = -np.log(1 / (1 + np.exp(-(u[chosen] - u[rejected] - 1.5 * pairs.strength[j]))))
        assert data(u, data.theta0)[0] == pytest.approx(expected)


def test_contested_pairs_get_no_margin() -> None:
    curated = step("margin")(feedback(), voters=[Letters("a"), Letters("b")])
    strengths = [r.strength for r in curated.feedback.judgements()]
    assert strengths == [0.0, 0.0, 0.0, None, None]


def test_soft_labels_keep_the_shown_order_and_count_the_label_if_asked() -> None:
    voters = [Letters("a"), Letters("a"), Letters("b")]
    rows = list(step("margin")(feedback(), voters=voters, target="soft").feedback.judgements())
    assert rows[0].grades == pytest.approx((2 / 3, 1 / 3))
    assert rows[1].grades == pytest.approx((1 / 3, 2 / 3))
    assert rows[2].grades == pytest.approx((1 / 3, 2 / 3))
    assert (rows[2].scale, rows[2].weight) == ("probability", 2.0)
    rows = list(step("margin")(feedback(), voters=voters, target="soft", include_label=True).feedback.judgements())
    assert rows[1].grades == pytest.approx((0.5, 0.5))


def test_both_orders_are_asked_and_a_voter_that_follows_the_order_is_left_out() -> None:
    judge = Letters("a")
    ballot = cast("j", judge, Verdicts.of(feedback()))
    assert (judge.asked, ballot.inconsistent) == (2, 0.0)
    biased = Letters("a", bias=1.5)  # whatever comes first wins unless the other has two more
    ballot = cast("b", biased, Verdicts.of(feedback()))
    assert ballot.inconsistent == pytest.approx(1 / 3)
    assert np.isnan(ballot.votes).tolist() == [False, True, False]
    curated = step("margin")(feedback(), voters=[Letters("a"), biased])
    told = curated.report["voters"]
    assert [v["counted"] for v in told] == [True, False]
    assert told[1]["position_inconsistent"] == pytest.approx(0.3333)
    with pytest.raises(FeedbackError, match="follows the order"):
        step("margin")(feedback(), voters=[biased])
    # in one order only, the bias would have passed for an opinion
    assert step("margin")(feedback(), voters=[biased], orders="one").report["voters"][0]["agrees"] == 1.0


def test_missing_votes_are_not_zero_votes_and_too_many_are_refused() -> None:
    ballots = [
        cast("a", Letters("a", silent="q0"), Verdicts.of(feedback())),
        cast("b", Letters("a"), Verdicts.of(feedback())),
    ]
    agreement, count = agree(ballots)
    assert (agreement.tolist(), count.tolist()) == ([1.0, -1.0, 1.0], [1, 2, 2])
    curated = step("margin")(feedback(), voters=[Letters("a", silent="q0")])
    assert (curated.report["without_a_vote"], next(curated.feedback.judgements()).strength) == (1, 0.0)
    with pytest.raises(FeedbackError, match="100% of the verdicts got no vote"):
        step("margin")(feedback(), voters=[Letters("a", silent="q")])


def test_voters_are_whatever_guerdon_load_opens() -> None:
    curated = step("margin")(feedback(), voters="rule:length, fake_rewards:shouting", max_missing=1.0)
    assert [v["voter"] for v in curated.report["voters"]] == ["rule:length", "fake_rewards:shouting"]

    def longer(prompt: str, response: str) -> float:
        return len(response)

    assert step("margin")(feedback(), voters=[longer], repeats=2).report["voters"][1]["voter"] == "longer"


class Shouts(Letters):
    """No probability."""

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        return Scores(np.full(len(a), 7.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "no voters"),
        ({"voters": [Letters("a")], "target": "odd"}, "use margin or soft"),
        ({"voters": [Letters("a")], "scale": 0.0}, "positive scale"),
        ({"voters": ["nowhere"]}, "no reward at"),
        ({"voters": [Shouts("a")]}, "as a probability"),
    ],
)
def test_wrong_settings_are_one_clear_line(settings: dict, message: str) -> None:
    with pytest.raises((ConfigError, FeedbackError), match=message):
        step("margin")(feedback(), **settings)

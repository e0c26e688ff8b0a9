"""Strength by vote: low strength finds wrong labels, and what is done with it keeps to the paper's rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.curate.registry import step
from guerdon.curate.step import Changes
from guerdon.curate.verdicts import Verdicts
from guerdon.curate.vote import decide, folds_of, strengths, treat
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.likelihood import compile_likelihood
from guerdon.worlds.mislabelled import Mislabelled

QUICK = {"early_stopping": False, "epochs": 3, "hidden": [32], "dropout": 0.0, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def world() -> Mislabelled:
    return Mislabelled.draw(800, 0.2, dim=8, units=4, seed=1)


def auc(wrong: np.ndarray, suspicion: np.ndarray) -> float:
    """The slow way: over all pairs of a wrong and a right label."""
    return float(np.mean(suspicion[wrong][:, None] > suspicion[~wrong][None, :]))


def test_low_strength_finds_wrong_labels_and_flipping_mends_them(world: Mislabelled) -> None:
    curated = step("vote")(
        world.feedback, model="robust", encoder=world.pool.encoder(), settings=QUICK, flip=0.15, soften=0.1
    )
    d = curated.decisions
    mu = d["strength_mean"].to_numpy()
    assert auc(world.wrong, -mu) > 0.85
    action = np.array(d["action"].to_pylist())
    assert world.wrong[action == "flipped"].mean() > 0.7
    assert world.wrong[action == "margin"].mean() < 0.15
    report = curated.report
    assert report["votes_a_verdict"] == 2
    assert report["agreement_before"] < report["agreement_after"]
    assert report["settings"]["encoder"].startswith("planted:")
    assert list(curated.undo().judgements()) == list(world.feedback.judgements())


def test_memorised_voters_no_longer_see_mistakes_cross_fitted_ones_do() -> None:
    world = Mislabelled.draw(500, 0.2, dim=32, units=2, seed=0)
    verdicts, encoder = Verdicts.of(world.feedback), world.pool.encoder()
    long = {**QUICK, "epochs": 80, "hidden": [128], "weight_decay": 0.0}
    inside = strengths(verdicts, 3, 1, "robust", encoder, long, 0).mean(0)
    crossed = strengths(verdicts, 5, 5, "robust", encoder, QUICK, 0).mean(0)
    assert (inside > 0).mean() > 0.9  # nearly every label looks right
    assert auc(world.wrong, -inside) < auc(world.wrong, -crossed) - 0.05


def test_nobody_judges_a_prompt_that_was_trained_on(world: Mislabelled, monkeypatch: pytest.MonkeyPatch) -> None:
    from guerdon.reward.learned.robust import RobustReward

    fold = folds_of(world.feedback, 4, 0)
    seen: list[set[str]] = []
    asked: list[set[str]] = []

    def fit(self: RobustReward, feedback: Feedback, **_: object) -> RobustReward:
        seen.append({feedback.prompts[int(i)].as_py() for i in np.unique(feedback.judgement_prompt)})
        return self

    def score(self: RobustReward, candidates: object) -> object:
        from guerdon.reward.base import Scores

        asked.append(set(candidates.prompts))  # type: ignore[attr-defined]
        return Scores(np.zeros(len(candidates)))  # type: ignore[arg-type]

    monkeypatch.setattr(RobustReward, "fit", fit)
    monkeypatch.setattr(RobustReward, "score", score)
    strengths(Verdicts.of(world.feedback), 4, 4, "robust", world.pool.encoder(), {}, 0)
    assert len(seen) == 4
    for k in range(4):
        assert not seen[k] & asked[2 * k]
        assert asked[2 * k] == {f"planted prompt {i}" for i in np.flatnonzero(fold == k)}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=40), st.floats(0, 0.5), st.floats(0, 0.3), st.floats(0, 0.2))
def test_treatment_is_a_partition_in_the_order_of_strength_and_never_turns_what_is_supported(
    mu: list[float], drop: float, flip: float, soften: float
) -> None:
    values = np.array(mu)
    parts = treat(values, drop, flip, soften)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(mu)))
    touched = np.concatenate([parts["drop"], parts["flip"]]).astype(int)
    assert (values[touched] < 0).all()
    if len(parts["drop"]) and len(parts["flip"]):
        assert values[parts["drop"]].max() <= values[parts["flip"]].min()
    assert len(parts["soften"]) <= round((drop + flip + soften) * len(mu))


def judgements() -> Feedback:
    rows = [Judgement(f"q{i}", ("a", "b"), (1.0, 0.0) if i % 2 else (0.0, 1.0)) for i in range(5)]
    rows += [Judgement("t", ("a", "b"), (1.0, 1.0)), Judgement("r", ("a", "b", "c"), (2.0, 1.0, 0.0))]
    return Feedback.of(rows)


def test_each_treatment_writes_what_the_paper_trains_on() -> None:
    feedback = judgements()
    mu = np.array([-2.0, -1.0, 0.1, 0.5, 3.0])
    changes = Changes(feedback, by="x")
    curated = decide(changes, Verdicts.of(feedback), mu[None], drop=0.2, flip=0.2, soften=0.2, margin=True)
    rows = list(curated.feedback.judgements())
    assert [r.prompt for r in rows] == ["q1", "q2", "q3", "q4", "t", "r"]
    assert (rows[0].grades, rows[0].strength) == ((0.0, 1.0), 1.0)  # turned round, must win by -mu
    p = 1 / (1 + np.exp(-0.1))
    assert rows[1].grades == pytest.approx((1 - p, p))  # b was chosen: P(a) = 1 - sigmoid(mu)
    assert (rows[1].scale, rows[1].strength) == ("probability", 0.0)
    assert (rows[2].grades, rows[2].strength) == ((1.0, 0.0), 0.5)
    assert (rows[4].strength, rows[5].strength) == (None, None)
    # and the loss is -log s(d - mu): the margin is inside the sigmoid, and asks for more
    data = compile_likelihood("bradley-terry", curated.feedback.take(np.array([2])), margin=1.0)
    u = np.zeros(len(feedback.responses))
    assert data(u, data.theta0)[0] == pytest.approx(np.log1p(np.exp(0.5)))


def test_a_fixed_soft_label_smooths() -> None:
    feedback = judgements()
    settings_: dict[str, Any] = {"soften": 1.0, "soft_label": 0.9}
    curated = decide(Changes(feedback, by="x"), Verdicts.of(feedback), np.zeros((1, 5)), **settings_)
    assert list(curated.feedback.judgements())[1].grades == pytest.approx((0.9, 0.1))


def test_same_seed_same_result(world: Mislabelled) -> None:
    part = world.feedback.take(np.arange(200))
    runs = [step("vote")(part, model="robust", encoder=world.pool.encoder(), settings=QUICK, seed=3) for _ in range(2)]
    assert runs[0].decisions.equals(runs[1].decisions)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"models": 2}, "at least 3 models"),
        ({"models": 7}, "not a multiple"),
        ({"flip": 0.8, "soften": 0.8}, "use a share"),
        ({"soft_label": 0.2}, "probability in"),
        ({"nonsense": 1}, "has no setting"),
    ],
)
def test_wrong_settings_are_one_clear_line(world: Mislabelled, settings_: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        step("vote")(world.feedback, encoder=world.pool.encoder(), **settings_)


def test_voters_that_support_everything_in_sample_are_refused() -> None:
    clean = Mislabelled.draw(100, 0.1, dim=32, units=2, seed=0)
    settings_ = {**QUICK, "epochs": 60, "hidden": [128]}
    with pytest.raises(FeedbackError, match="memorised"):
        step("vote")(
            clean.feedback, models=3, folds=1, model="robust", encoder=clean.pool.encoder(), settings=settings_
        )


def test_feedback_without_verdicts_is_refused(world: Mislabelled) -> None:
    ratings = Feedback.of([Judgement("q", ("a",), (3.0,), scale="rating")] * 3)
    with pytest.raises(FeedbackError, match="nothing to weigh up"):
        step("vote")(ratings, encoder=world.pool.encoder())
    few = world.feedback.take(np.arange(3))
    with pytest.raises(FeedbackError, match="cannot be divided into 5 folds"):
        step("vote")(few, encoder=world.pool.encoder())


def test_several_people_get_a_caution() -> None:
    world = Mislabelled.draw(60, 0.0, dim=4, units=1, seed=0)
    rows = [
        Judgement(j.prompt, j.responses, j.grades, user=f"u{i % 3}") for i, j in enumerate(world.feedback.judgements())
    ]
    curated = step("vote")(Feedback.of(rows), models=5, model="robust", encoder=world.pool.encoder(), settings=QUICK)
    assert "whoever differs" in curated.report["cautions"][0]
    assert set(curated.report["by_user"]) == {"u0", "u1", "u2"}

"""Routed experts: capability stacks, routes and fallbacks, and labels that agree in both orders."""

from pathlib import Path

import numpy as np
import pytest

import guerdon
from guerdon.errors import FeedbackError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.experts import ExpertsReward, Router, keep_consistent
from guerdon.testing import check_reward

SMALL = {"hidden": 8, "epochs": 4}


def feedback(subsets: bool = True) -> Feedback:
    """Two tasks that want opposite words, two capabilities."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(480):
        task = i % 2
        words = [" ".join(rng.choice(["apple", "pear", "plum", "fig"], 4)) for _ in range(2)]
        criterion = [None, "apples", "pears"][(i // 2) % 3]
        counted = {"apples": "apple", "pears": "pear"}.get(criterion or "", ["apple", "pear"][task])
        grades = [float(w.count(counted)) for w in words]
        if words[0] == words[1]:
            continue
        prompt = f"{['sing a song', 'do the sum'][task]} {i}"
        subset = ["song", "sum"][task] if subsets else None
        rows.append(Judgement(prompt, tuple(words), tuple(grades), criterion=criterion, subset=subset))
    return Feedback.of(rows)


@pytest.fixture(scope="module")
def reward() -> ExpertsReward:
    return ExpertsReward(encoder="hash:64?features=joined", **SMALL).fit(feedback())  # type: ignore[arg-type]


def test_prompts_are_routed(reward: ExpertsReward, tmp_path: Path) -> None:
    asked = Candidates(["sing a song 7", "do the sum 8"] * 2, ["apple apple fig", "apple apple fig", "pear", "pear"])
    scores = reward.score(asked)
    assert list(scores.detail["category"]) == ["song", "sum", "song", "sum"]
    assert set(scores.detail) == {"category", "apples", "pears"}
    assert reward.summary["categories"]["router_accuracy"] > 0.9
    again = guerdon.load(reward.save(tmp_path / "m"))
    np.testing.assert_allclose(again.score(asked).value, scores.value, atol=1e-5)
    check_reward(reward)


def test_an_unseen_category_falls_back_and_says_so(reward: ExpertsReward) -> None:
    asked = Candidates(["x", "x"], ["apple", "pear"], extra={"category": ["poems", "song"]})
    scores = reward.score(asked)
    assert np.isfinite(scores.value).all()
    assert "poems" in str(scores.reason[0])
    assert scores.reason[1] is None
    plain = reward.shared(reward.x(asked))
    np.testing.assert_allclose(scores.value[0], plain[0], atol=1e-5)


@pytest.mark.parametrize("aggregator", ["scores", "scores-mlp", "hidden"])
def test_every_aggregator_learns(aggregator: str, tmp_path: Path) -> None:
    model = ExpertsReward(encoder="hash:64", route="none", aggregator=aggregator, hidden=8, epochs=10)
    model.fit(feedback(subsets=False))
    assert model.shared.kind == aggregator
    value = model.score(Candidates(["q"] * 2, ["fig fig", "fig apple"])).value
    again = guerdon.load(model.save(tmp_path / "m"))
    np.testing.assert_allclose(again.score(Candidates(["q"] * 2, ["fig fig", "fig apple"])).value, value)


def test_scarce_capabilities_are_left_out_and_named() -> None:
    model = ExpertsReward(encoder="hash:32", route="none", min_labels=100_000, **SMALL)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="left out"):
        model.fit(feedback())
    assert model.shared.kind == "base"


def test_human_comparisons_are_needed() -> None:
    data = feedback()
    with pytest.raises(FeedbackError, match="without a criterion"):
        ExpertsReward(encoder="hash:32", **SMALL).fit(data.take(data.criterion >= 0))  # type: ignore[arg-type]


def test_the_router_is_softmax_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 5)), rng.integers(3, size=300)
    x[np.arange(300), y] += 1.0
    router = Router(l2=0.01)
    router.fit(x, y, 3)
    other = LogisticRegression(C=1 / (0.01 * 300), tol=1e-8, max_iter=1000).fit(x, y)
    np.testing.assert_array_equal(router(x), other.predict(x))


def test_only_answers_that_survive_the_swap_are_kept() -> None:
    def asked(prompt: str, first: str, second: str, grades: tuple[float, float]) -> Judgement:
        return Judgement(prompt, (first, second), grades, criterion="logic")

    kept, report = keep_consistent(
        Feedback.of(
            [
                asked("1", "a", "b", (1, 0)), asked("1", "b", "a", (0, 1)),  # a twice: kept
                asked("2", "a", "b", (1, 0)), asked("2", "b", "a", (1, 0)),  # the first twice: dropped
                asked("3", "a", "b", (1, 0)),  # asked once
                asked("4", "a", "b", (1, 1)), asked("4", "b", "a", (0, 0)),  # a tie twice: kept
            ]
        )
    )  # fmt: skip
    assert [r.prompt for r in kept.judgements()] == ["1", "4"]
    assert (report.asked, report.kept, report.once) == (3, 2, 1)
    assert abs(report.discarded - 1 / 3) < 1e-12

"""Diagnostics of the choice rule: each sign is found where it was planted, and only there."""

import numpy as np
import pytest
from scipy.special import expit

from guerdon import Feedback, Judgement
from guerdon.errors import FeedbackError
from guerdon.papers.gpm import arms
from guerdon.reward.learned.misspecification import diagnose


def asked(score: np.ndarray, count: int, seed: int, people: int = 0) -> Feedback:
    """``count`` comparisons by scores [n, n], or [k, n, n] of which each person has one."""
    rng = np.random.default_rng(seed)
    kinds = score if score.ndim == 3 else score[None]
    n = kinds.shape[1]
    rows = []
    for i in range(count):
        a, b = rng.choice(n, 2, replace=False)
        person = i % people if people else 0
        first = rng.random() < expit(kinds[person % len(kinds), a, b])
        user = f"u{person}" if people else None
        texts = ("w " * int(a + 1) + f"{a}", "w " * int(b + 1) + f"{b}")
        rows.append(Judgement("p", texts, (float(first), float(not first)), user=user))
    return Feedback.of(rows)


def utilities(r: np.ndarray) -> np.ndarray:
    return r[:, None] - r


def test_one_luce_annotator_raises_no_alarm():
    alarms = 0
    for seed in range(10):
        r = np.random.default_rng(seed).permutation([-1.0, -0.5, 0.0, 0.5, 1.0])
        report = diagnose(asked(utilities(r), 800, seed, people=20), seed=seed)
        assert report.identified
        assert report.components == 1
        assert report.people == 20
        alarms += int(bool(report.several_annotators)) + int(report.fit_p is not None and report.fit_p < 0.01)
    assert alarms <= 2


def test_a_circle_fits_no_utilities():
    report = diagnose(asked(arms(), 2000, 0), lengths=None)
    assert report.fit_p is not None
    assert report.fit_p < 1e-6
    assert any("general-preference" in line for line in report.advice)
    assert report.several_annotators is None
    assert "cannot be told" in str(report)


def test_two_kinds_of_people_are_told_from_one():
    r = np.array([-1.5, -0.5, 0.0, 0.5, 1.5])
    report = diagnose(asked(np.stack([utilities(r), utilities(-r)]), 800, 1, people=20))
    assert report.several_annotators
    assert report.annotators_gain is not None
    assert report.annotators_gain > 0.02
    assert any("router=person" in line for line in report.advice)


def test_parts_that_never_meet_are_not_identified():
    rows = [
        Judgement("p", (x, y), (float(i % 2), float(1 - i % 2))) for i in range(8) for x, y in (("a", "b"), ("c", "d"))
    ]
    report = diagnose(Feedback.of(rows))
    assert not report.identified
    assert report.components == 2
    assert report.prompts == 1
    assert "not identified" in report.advice[0]
    assert "2 connected parts" in report.advice[0]
    apart = [Judgement(f"p{i % 2}", ("a", "b"), (float(i < 4), float(i >= 4))) for i in range(8)]
    assert diagnose(Feedback.of(apart)).identified  # two prompts need no comparisons between them


def test_who_always_wins_is_counted():
    rows = [Judgement("p", ("a", "b"), (1.0, 0.0)), Judgement("p", ("b", "c"), (1.0, 0.0))] * 3
    report = diagnose(Feedback.of(rows))
    assert report.separated == 2
    assert any("penalty" in line for line in report.advice)


def test_length_is_seen_and_lengths_may_be_given():
    r = np.arange(5) * 0.8
    feedback = asked(utilities(r), 400, 3)
    report = diagnose(feedback)
    assert report.longer_low is not None
    assert report.longer_low > 0.6
    assert report.length_correlation == pytest.approx(1.0)
    lengths = np.ones(len(feedback.responses))
    assert diagnose(feedback, lengths=lengths).longer_wins is None
    assert diagnose(feedback, lengths=None).length_correlation is None


def test_features_serve_where_candidates_do_not_recur():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(1200, 4))
    w = np.array([2.0, 0.0, 0.0, 0.0])
    rows = []
    for i in range(600):
        side = 1.0 if i % 12 < 6 else -1.0
        first = rng.random() < expit(side * (x[2 * i] - x[2 * i + 1]) @ w)
        rows.append(Judgement(f"p{i}", (f"a{i}", f"b{i}"), (float(first), float(not first)), user=f"u{i % 12}"))
    feedback = Feedback.of(rows)
    place = np.array([2 * int(str(r)[1:]) + (str(r)[0] == "b") for r in feedback.candidates.responses])
    report = diagnose(feedback, x[place])
    assert report.several_annotators
    assert report.fit_p is None


def test_without_comparisons_it_says_so():
    with pytest.raises(FeedbackError, match="no comparisons"):
        diagnose(Feedback.of([Judgement("p", ("a",), (3.0,), scale="rating")]))

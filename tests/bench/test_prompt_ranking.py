"""Rankings within prompts against scikit-learn and scipy, and what raters say."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from guerdon.bench.prompt_ranking import (
    auprc,
    auroc,
    average_precision,
    ceiling,
    kappa,
    majority,
    within_prompts,
)
from guerdon.errors import FeedbackError

NAN = np.nan


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_areas_are_those_of_scikit_learn_with_ties(rows: list[tuple[int, bool]]) -> None:
    score, positive = np.array([r[0] for r in rows], dtype=float), np.array([r[1] for r in rows])
    if positive.all() or not positive.any():
        assert np.isnan(auroc(score, positive))
        return
    assert auroc(score, positive) == pytest.approx(roc_auc_score(positive, score))
    assert auprc(score, positive) == pytest.approx(average_precision_score(positive, score))


def test_precision_of_the_first_k() -> None:
    score, positive = np.array([5.0, 4, 3, 2, 1]), np.array([True, False, True, False, True])
    assert average_precision(score, positive, 3) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(score, ~positive, 1) == 0.0


def test_figures_are_means_over_prompts_and_not_pooled() -> None:
    rng = np.random.default_rng(0)
    prompt = np.repeat([0, 1, 2], 20)
    labels = (rng.random((60, 3)) < 0.5).astype(float)
    labels[prompt == 2] = 1.0  # one class only: left out
    level = 10.0 * prompt  # scores of different prompts are not comparable
    score = majority(labels) + 0.7 * rng.normal(size=60) + level
    found = within_prompts(score, labels, prompt)
    parts = [prompt == p for p in (0, 1)]
    positive = majority(labels)
    assert found["prompts"] == 2
    assert found["auroc"] == pytest.approx(np.mean([roc_auc_score(positive[p], score[p]) for p in parts]))
    for name, of in (("spearman", spearmanr), ("kendall", kendalltau)):
        each: list[Any] = [of(score[p], positive[p]) for p in parts]
        assert found[name] == pytest.approx(np.mean([float(r.statistic) for r in each]))
    assert within_prompts(score - level, labels, prompt) == pytest.approx(found)
    assert within_prompts(np.zeros(60), labels, prompt)["spearman"] == 0.0


def test_who_says_nothing_is_no_vote_for_it() -> None:
    assert majority(np.array([[1, NAN, 1], [1, 0, NAN], [0, 0, 1], [1, 1, 0]])).tolist() == [True, False, False, True]


def test_kappa_is_fleiss_and_agreement_of_all_is_one() -> None:
    labels = np.array([[1, 1, 1], [0, 0, 1], [0, 0, 0], [1, 0, 1]])
    agree = np.mean([1, 1 / 3, 1, 1 / 3])
    chance = 0.5**2 + 0.5**2
    assert kappa(labels) == pytest.approx((agree - chance) / (1 - chance))
    assert kappa(np.array([[1, 1], [0, 0]])) == 1.0
    assert kappa(np.array([[1, 1], [0, 0], [1, NAN]])) == 1.0
    assert np.isnan(kappa(np.ones((3, 2))))


def test_the_ceiling_leaves_each_rater_out() -> None:
    labels = np.array([[1, 1], [0, 0], [1, 0], [0, 1]])
    assert ceiling(labels, ["a"] * 4) == 0.5
    assert ceiling(labels[:2], ["a"] * 2) == 1.0
    assert ceiling(np.vstack([labels[:2], [[NAN, 1]]]), ["a"] * 3) == 1.0


@pytest.mark.parametrize(
    ("score", "labels", "message"),
    [
        (np.zeros(2), np.ones((2, 1)), "two raters"),
        (np.zeros(2), np.full((2, 2), -1.0), "0, 1 or NaN"),
        (np.array([NAN, 1]), np.eye(2), "1 scores are missing"),
        (np.zeros(2), np.ones((2, 2)), "no prompt"),
        (np.zeros(3), np.ones((2, 2)), "3 scores"),
    ],
)
def test_what_cannot_be_measured_is_refused(score: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(FeedbackError, match=message):
        within_prompts(score, labels, ["a"] * 2)

"""K votes an item, and ties by a threshold: official and strict figures, sweeps against brute force."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.bench.vote_rules import (
    accuracy,
    best_threshold,
    cross_fitted,
    group_of,
    replayed,
    source_of,
    verdicts,
    with_ties,
    without_ties,
)
from guerdon.errors import FeedbackError
from guerdon.papers.vl_rewardbench import published_log

NAN = np.nan


def test_votes_need_more_than_half_of_all_and_refusing_does_not_pay() -> None:
    votes = np.array([[1, 1, 0], [0, 0, 1], [1, NAN, NAN], [NAN, NAN, NAN], [1, 1, 1]])
    assert np.array_equal(verdicts(votes), [1, 0, NAN, NAN, 1], equal_nan=True)
    found = accuracy(votes, ["general", "general", "general", "reasoning", "reasoning"])
    assert found["official"] == pytest.approx({"general": 0.5, "reasoning": 1.0, "overall": 2 / 3, "macro": 0.75})
    assert found["strict"] == pytest.approx({"general": 1 / 3, "reasoning": 0.5, "overall": 0.4, "macro": 5 / 12})
    assert found["half"]["overall"] == pytest.approx(0.6)


def test_groups_by_the_beginning_of_the_id() -> None:
    assert group_of("hallucination_pair-3") == group_of("RLAIF-V-9") == group_of("RLHF-V-31") == "hallucination"
    assert source_of("hallucination_pair-3") == "POVID"
    assert group_of("mathverse_1") == group_of("mmmu_pro_test_Electronics_6") == "reasoning"
    assert group_of("wildvision-battle-13") == "general"
    for name in ("LRVInstruction-000000007746", "jailbreak-Fraud-29", "svit-complex_reasoning-876", "politics-Gov-1"):
        assert source_of(name) == "VLFeedback"  # its ids are of its own sources
        assert group_of(name) == "general"


def row(vote: str, *, swapped: int = 0, ranking: tuple[int, int] = (0, 1), query: str = "q") -> dict[str, Any]:
    reply = f"So so.\n**Overall Judgment**: Answer {vote} is better." if vote else "No idea."
    meta = {"random_number": swapped, "filter_choice": reply}
    return {"id": "RLHF-V-1", "query": query, "response": ["a", "b"], "ranking": list(ranking), "meta": meta}


def test_a_log_says_which_answer_was_better_after_the_swap() -> None:
    rows = [row("1"), row("1", swapped=1), row("1", ranking=(1, 0)), row("2", swapped=1, ranking=(0, 1)), row("")]
    votes, groups = replayed(rows, 5)
    assert np.array_equal(votes, [[1, 0, 0, 1, NAN]], equal_nan=True)
    assert groups == ["hallucination"]


def test_equal_ids_of_different_questions_are_different_items() -> None:
    rows = [row("1"), row("2", query="other"), row("1"), row("2", query="other")]
    assert replayed(rows, 2)[0].tolist() == [[1, 1], [0, 0]]
    assert replayed(rows, 1)[0].tolist() == [[1], [0]]
    with pytest.raises(FeedbackError, match="2 calls of 3"):
        replayed(rows, 3)


def test_a_made_up_log_gives_what_the_published_script_says_of_it() -> None:
    row = published_log()
    assert row.holds, row.figures


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-1, 1)), min_size=1, max_size=20))
def test_the_sweep_is_brute_force_with_equal_gaps(rows: list[tuple[int, int]]) -> None:
    gap, label = np.array(rows, dtype=float).T
    threshold, found = best_threshold(gap, label)
    naive = max(with_ties(gap, label, t) for t in (0.0, 1.0, 2.0, 3.0))
    none = float(((np.sign(gap) == label) & (gap != 0)).mean())
    assert found == pytest.approx(max(naive, none))
    if threshold >= 0:
        assert with_ties(gap, label, threshold) == pytest.approx(found)


def test_cross_fitting_is_not_above_the_tuned_figure_and_near_the_optimum() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(-1, 2, 2000)
    gap = label + 0.5 * rng.normal(size=2000)
    tuned, crossed = best_threshold(gap, label)[1], cross_fitted(gap, label)
    assert tuned - 0.03 < crossed <= tuned
    assert without_ties(gap, label) > 0.95
    with pytest.raises(FeedbackError, match="every label"):
        without_ties(gap, np.zeros(2000))

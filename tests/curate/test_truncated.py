"""Openings as negatives: cut from real responses, never from short right answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.curate.truncated import first_sentence, frequent_openings, truncated, with_truncated
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("Let's see. It is 42.", "Let's see."),
        ("Thought process: first 3.5 times two", "Thought process:"),
        ("It costs 3.50 euros. Yes.", "It costs 3.50 euros."),
        ("Solution\nx = 2", "Solution"),
        ("解：二。三", "解："),
        ("no end", "no end"),
        ("", ""),
    ],
)
def test_first_sentence(text: str, opening: str) -> None:
    assert first_sentence(text) == opening


@given(st.text())
def test_an_opening_is_a_beginning(text: str) -> None:
    assert text.startswith(first_sentence(text))


def test_what_is_cut() -> None:
    texts = ["Well. It is 42.", "42", "42. That is it.", "Hm: 42", "Sure! 41", "  \n42"]
    candidates = Candidates(["q"] * 6, texts, user=list("abcdef"), reference=["42"] * 6)
    found = truncated(candidates, share=1.0)
    assert dict(zip(found.user or [], found.responses, strict=True)) == {"a": "Well.", "d": "Hm:", "e": "Sure!"}
    assert found.reference == ["42"] * 3
    assert len(truncated(candidates, share=0.17)) == 1
    assert truncated(candidates, share=0.5, seed=3) == truncated(candidates, share=0.5, seed=3)
    assert len(truncated(candidates.take([1]), share=1.0)) == 0
    with pytest.raises(ConfigError, match="share=0"):
        truncated(candidates, share=0)


def test_comparisons_with_openings() -> None:
    feedback = Feedback.of([Judgement(f"p{i}", (f"Bad {i}.", f"Good. Since {i}."), (0, 1)) for i in range(8)])
    grown = with_truncated(feedback, share=0.5)
    assert len(grown) == 12
    added = list(grown.judgements())[8:]
    assert all(j.responses[0].startswith("Good. Since") and j.responses[1] == "Good." for j in added)
    assert all(j.grades == (1.0, 0.0) and j.source == "rule" for j in added)
    assert len(with_truncated(feedback, cut=lambda text: text)) == 8


def test_openings_that_many_share() -> None:
    texts = ["Sure! a", "Sure! b", "Sure! c", "Okay: x", "Okay: y", "Once. z"]
    assert frequent_openings(texts) == ["Sure!", "Okay:"]
    assert frequent_openings(texts, most=1) == ["Sure!"]

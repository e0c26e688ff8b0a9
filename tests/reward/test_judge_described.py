"""One schema, three verdicts: rubrics that describe them, and the reading of what models trained so write."""

from __future__ import annotations

import pytest

from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.papers.r3 import BINARY, LIKERT, PAIR, TABLE
from guerdon.reward.judge.described import Described, DescribedJudge, read_score
from guerdon.worlds.judges import Asked, SimulatedJudge


def good(asked: Asked, text: str) -> float:
    assert "means" in asked.criteria[0][0] or "mean:" in asked.criteria[0][0]
    return float(text.split()[-1])


@pytest.mark.parametrize(("text", "kind", "expected"), TABLE)
def test_reads_the_score_that_was_given(text: str, kind: str, expected: str | None) -> None:
    assert read_score(text, Described.of({"likert": LIKERT, "pair": PAIR, "binary": BINARY}[kind])) == expected


def test_the_three_forms_give_three_verdicts() -> None:
    model = SimulatedJudge(good)
    shown = Candidates(["q"] * 2, ["is 0.2", "is 0.8"])
    assert DescribedJudge(model, LIKERT, task="Answer.").score(shown).value.tolist() == [2, 4]
    assert DescribedJudge(model, BINARY).score(shown).value.tolist() == [0, 1]
    assert DescribedJudge(model, PAIR).prefer(shown.take([0]), shown.take([1])).value.tolist() == [0]


def test_a_rubric_that_does_not_fit_says_which_forms_there_are() -> None:
    model = SimulatedJudge(good)
    shown = Candidates(["q"], ["is 0.2"])
    for bad in ({"1": "bad", "3": "good"}, {"A": "x", "B": "y"}, {"true": "x", "True": "y"}, {"1": "x", "2": " "}):
        with pytest.raises(ConfigError, match="three forms"):
            Described.of(bad)
    with pytest.raises(ConfigError, match="three forms"):
        DescribedJudge(model, LIKERT).prefer(shown, shown)
    with pytest.raises(ConfigError, match="three forms"):
        DescribedJudge(model, PAIR).score(shown)

"""Final answers: found where people write them, equal when they say the same, never evaluated as code."""

import gzip
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon import load
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.reward.verify.answers import equal_answers, final_answer
from guerdon.testing import check_reward


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so 3 + 4 = 7.\n#### 7", "7"),
        (r"Thus \boxed{\frac{1}{2}} and not \boxed{x_{12}}", "x_{12}"),
        ("The answer is 12 apples.", "12 apples"),
        ("He makes 9 * 2 = $18\nA: 18", "18"),
        ("He pays $1,234.50 in all, which is all there is", "$1,234.50"),
        ("It was 3 and then -4", "-4"),
        ("no idea", None),
    ],
)
def test_where_the_answer_stands(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


def test_a_box_that_is_cut_off_holds_no_answer() -> None:
    assert final_answer(r"\boxed{3", "boxed") is None


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("1/2", r"\frac{1}{2}"),
        ("0.5", r"\dfrac12"),
        ("50%", "0.5"),
        ("$1,234.50", "1234.5"),
        ("18 dollars", "18"),
        (r"2\sqrt{3}", "sqrt(12)"),
        (r"\sqrt[3]{8}", "2"),
        (r"\frac{3\pi}{2}", "1.5pi"),
        ("x = 5", "5"),
        ("2x + 4", "2(x+2)"),
        ("(1, 2)", r"\left( 1,\; \frac{4}{2} \right)"),
        ("{2, 1}", r"\{1, 2\}"),
        (r"\text{Monday}", "monday"),
        (r"90^\circ", "90"),
        ("1 1/2", "1.5"),
        ("1e3", "1000"),
    ],
)
def test_answers_that_say_the_same(a: str, b: str) -> None:
    assert equal_answers(a, b)
    assert equal_answers(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("1/2", "1/3"),
        ("(1, 2)", "(2, 1)"),
        ("(1, 2)", "[1, 2]"),
        ("x", "y"),
        ("2x", "x+1"),
        ("", "0"),
        ("monday", "tuesday"),
        ("1,2", "12"),
        ("{1, 1}", "{1, 2}"),
    ],
)
def test_answers_that_differ(a: str, b: str) -> None:
    assert not equal_answers(a, b)


def test_nothing_is_evaluated_as_code(tmp_path: Path) -> None:
    target = tmp_path / "made"
    attack = f"__import__('pathlib').Path('{target}').touch()"
    for text in (attack, f"(lambda: {attack})()", "9**9**9**9", "(" * 500 + ")" * 500, "1" * 5000):
        assert not equal_answers(text, "1")
    assert not target.exists()


@given(st.fractions(min_value=-1000, max_value=1000, max_denominator=60), st.integers(2, 9))
def test_fractions_in_every_dress(value: Fraction, times: int) -> None:
    n, d = value.numerator, value.denominator
    dresses = [f"{n}/{d}", rf"\frac{{{n}}}{{{d}}}", f"{n * times}/{d * times}", f"${n}/{d}$", f"{float(value)!r}"]
    for dress in dresses:
        assert equal_answers(dress, f"{n}/{d}"), dress
        assert not equal_answers(dress, f"{n + 1}/{d}"), dress


def test_the_reward(capsys: pytest.CaptureFixture[str]) -> None:
    reward = load("rule:answer")
    candidates = Candidates(["q"] * 4, ["#### 7", "#### 8", "dunno", "7"], reference=["So 7.\n#### 7", "7", "7", None])
    scores = reward.score(candidates)
    assert list(scores.value[:3]) == [1.0, 0.0, 0.0]
    assert np.isnan(scores.value[3])
    assert scores.status[3] == "invalid"
    assert scores.reason[2:] == ["no final answer found", "no reference answer; give a column 'reference'"]
    assert scores.detail["answer"][:2] == ["7", "8"]
    assert reward(["q"], ["#### 7"], reference=["7"]) == [1.0], "as TRL calls it"
    check_reward(reward, candidates.take([0, 1, 2]))
    with pytest.raises(ConfigError, match="extract='end'"):
        load("rule:answer?extract=end")
    with pytest.raises(ConfigError, match=r"has no option 'tolerence'; it has: extract, tolerance"):
        load("rule:answer?tolerence=0.1")


def test_exact_match() -> None:
    reward = load("rule:exact")
    candidates = Candidates(["q"] * 3, ["The  Cat.", "a dog", "x"], reference=["cat", ["dog", "hound"], None])
    assert list(reward.score(candidates).value[:2]) == [1.0, 1.0]
    assert list(load("rule:exact?normalize=false").score(candidates).value[:2]) == [0.0, 0.0]


def test_published_verdicts_on_grade_school_maths(shared_data: Path) -> None:
    """Four models' 1,319 solutions each: the verdict that was published with every one of them."""
    path = shared_data / "verifiable_bon" / "gsm8k_model_solutions.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    reward = load("rule:answer")
    for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
        texts = [row[model]["solution"] for row in rows]
        references = [row["ground_truth"] for row in rows]
        value = reward.score(Candidates([row["question"] for row in rows], texts, reference=references)).value
        assert [bool(v) for v in value] == [row[model]["is_correct"] for row in rows]

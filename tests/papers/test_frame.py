"""The frame of claims: bounds over seeds, rows that refuse nonsense, and a claim that survives JSON."""

import json
import math

import pytest

from guerdon.errors import ConfigError
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, run, within

FIGURES = {"LoRe": [0.85, 0.91], "BT": [0.70, 0.80], "chance": [0.5]}


@pytest.mark.parametrize(
    ("bound", "holds", "text"),
    [
        (at_least("LoRe", 0.88), True, "LoRe ≥ 0.88"),
        (at_least("LoRe", 0.88, each=True), False, "LoRe ≥ 0.88 (every seed)"),
        (at_least("LoRe", 0.13, over="BT"), True, "LoRe ≥ BT + 0.13"),
        (at_least("LoRe", 0.13, over="BT", each=True), False, "LoRe ≥ BT + 0.13 (every seed)"),
        (at_least("LoRe", -0.01, over="BT"), True, "LoRe ≥ BT - 0.01"),
        (at_least("LoRe", 0.0, over="BT"), True, "LoRe ≥ BT"),
        (at_most("BT", 0.75), True, "BT ≤ 0.75"),
        (at_most("BT", 0.74), False, "BT ≤ 0.74"),
        (at_most("BT", 0.26, over="chance"), True, "BT ≤ chance + 0.26"),
        (within("BT", 0.25, of="chance"), True, "BT = chance ± 0.25"),
        (within("BT", 0.25, of="chance", each=True), False, "BT = chance ± 0.25 (every seed)"),
        (within("BT", 0.1), False, "BT = 0 ± 0.1"),
        (at_least("LoRe", 0.8, was=0.9, why="smaller world"), True, "LoRe ≥ 0.8 [card: 0.9]"),
    ],
)
def test_bounds(bound, holds, text) -> None:
    assert bound.holds(FIGURES) is holds
    assert str(bound) == text


def test_a_difference_that_only_looks_smaller_still_holds() -> None:
    assert at_least("a", 0.08, over="b").holds({"a": [0.58], "b": [0.5]})


def test_a_missing_figure_never_holds() -> None:
    for bound in (at_least("a", -1e9), at_most("a", 1e9), within("a", 1e9)):
        assert not bound.holds({"a": [math.nan]})
        assert not bound.holds({"a": [0.0, math.nan]})


def test_a_changed_threshold_says_why() -> None:
    with pytest.raises(ConfigError, match="what it was and why"):
        at_least("a", 0.8, was=0.9)
    with pytest.raises(ConfigError, match="what it was and why"):
        at_least("a", 0.8, why="because")


def test_rows_refuse_nonsense() -> None:
    with pytest.raises(ConfigError, match="bound on 'b'"):
        Row("x", {"a": [1.0]}, [at_least("b", 1)])
    with pytest.raises(ConfigError, match="bound on 'b'"):
        Row("x", {"a": [1.0]}, [at_least("a", 1, over="b")])
    with pytest.raises(ConfigError, match="no value"):
        Row("x", {"a": []}, [at_least("a", 1)])
    with pytest.raises(ConfigError, match="one bound"):
        Row("x", {"a": [1.0]}, [])


def claim(threshold: float = 0.8, left: tuple[str, ...] = ()) -> Claim:
    rows = [
        Row("first", FIGURES, [at_least("LoRe", threshold)], unit="accuracy"),
        Row("second", {"a": [1.0, math.nan]}, [at_least("a", 0.5, was=0.7, why="fewer people")], note="noted"),
    ]
    return Claim("lore", rows[:1] if threshold else rows, left)


def test_works_needs_everything_to_hold_and_nothing_left() -> None:
    assert (claim().holds, claim().state, claim().why) == (True, "works", "")
    some = claim(left=("real data: not at hand",))
    assert (some.holds, some.state, some.why) == (True, "partial", "left: real data: not at hand")
    broken = claim(0.99)
    assert (broken.holds, broken.state) == (False, "partial")
    assert "does not hold: first" in broken.why
    assert not Claim("lore", []).holds


def test_claims_survive_json() -> None:
    before = claim(0.0)
    text = json.dumps(before.as_json(), allow_nan=False)
    after = Claim.from_json(json.loads(text))
    assert json.dumps(after.as_json()) == text
    assert math.isnan(after.rows[1].figures["a"][1])
    assert after.rows[1].bounds == before.rows[1].bounds
    assert not after.holds


def test_budget() -> None:
    assert list(Budget().seeds(3)) == [0, 1, 2]
    assert list(Budget(1).seeds(3)) == [0]
    with pytest.raises(ConfigError, match="--seeds 0"):
        Budget(0)


def test_running_a_paper_without_a_check_says_which_have_one() -> None:
    with pytest.raises(ConfigError, match="personalllm"):
        run("ui-genie")
    with pytest.raises(ConfigError, match="did you mean personalllm"):
        run("personallm")

"""Agreement of recorded verdicts: against loops that count, and against the figures that real sets are known for."""

from __future__ import annotations

import sys
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from guerdon.bench.judge_agreement import (
    RANKINGS,
    Verdicts,
    agreement,
    between,
    fleiss,
    position_bias,
    self_consistency,
    transitivity,
)
from guerdon.errors import ConfigError, FeedbackError

ROWS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([("x", "y"), ("y", "x"), ("x", "z"), ("z", "y")]),
        st.sampled_from([0.0, 0.5, 1.0, float("nan")]),
        st.sampled_from(["ann", "bob", "eve"]),
    ).map(lambda r: (r[0], *r[1], r[2], r[3])),
    max_size=14,
)


def credit(x: float, y: float, ties: str) -> float | None:
    """What two verdicts on the same order earn, the naive way; None is left out."""
    if x != x or y != y or (ties == "drop" and 0.5 in (x, y)):
        return None
    if ties == "half" and (x == 0.5) != (y == 0.5):
        return 0.5
    return float(x == y)


def aligned(row: Any) -> tuple[Any, float]:
    q, a, b, value, _ = row
    return (q, *sorted((a, b))), value if a <= b else 1 - value


def counted(pairs: Any, ties: str) -> tuple[float, int]:
    found = []
    for r, s in pairs:
        (cell, x), (other, y) = aligned(r), aligned(s)
        c = credit(x, y, ties) if cell == other else None
        if c is not None:
            found.append(c)
    return (float(np.mean(found)) if found else np.nan), len(found)


@settings(max_examples=150, deadline=None)
@given(ROWS, ROWS, st.sampled_from(["drop", "count", "half"]))
def test_against_counting(judge: list[Any], people: list[Any], ties: str) -> None:
    one, two = Verdicts.of(judge), Verdicts.of(people)
    found = agreement(one, two, ties=ties, bootstrap=0)
    assert (found.value, found.n) == pytest.approx(counted(product(judge, people), ties), nan_ok=True)
    found = between(two, ties=ties, bootstrap=0)
    others = [(r, s) for r, s in combinations(people, 2) if r[4] != s[4]]
    assert (found.value, found.n) == pytest.approx(counted(others, ties), nan_ok=True)
    same = [(r, s) for r, s in others if r[1:3] == s[1:3]]
    found = between(two, ties=ties, same_order=True, bootstrap=0)
    assert (found.value, found.n) == pytest.approx(counted(same, ties), nan_ok=True)
    found = self_consistency(two, ties=ties, bootstrap=0)
    own = [(r, s) for r, s in combinations(people, 2) if r[4] == s[4]]
    assert (found.value, found.n) == pytest.approx(counted(own, ties), nan_ok=True)


def test_what_fits_a_ranking() -> None:
    everything = set(product((-1, 0, 1), repeat=3))
    cyclic = {(1, 1, -1), (-1, -1, 1)}
    weak = {s for s in everything if s not in RANKINGS} - cyclic
    assert cyclic <= everything - RANKINGS
    assert len(RANKINGS) == 13, "the weak orders of three"
    assert (1, 1, 0) in weak, "x over y over z, and yet x like z"
    strict = [s for s in RANKINGS if 0 not in s]
    assert len(strict) == 6

    def judged(xy: float, yz: float, xz: float) -> Verdicts:
        return Verdicts.of([("q", "x", "y", xy, "j"), ("q", "z", "y", 1 - yz, "j"), ("q", "x", "z", xz, "j")])

    assert transitivity(judged(1, 1, 1)).value == 1
    assert transitivity(judged(1, 1, 0)).value == 0
    assert np.isnan(transitivity(Verdicts.of([("q", "x", "y", 1.0, "j"), ("q", "y", "z", 1.0, "j")])).value)


def test_a_judge_with_a_ranking_is_transitive_and_a_coin_is_three_times_in_four() -> None:
    rng = np.random.default_rng(0)
    rows, coin = [], []
    for q in range(300):
        level = rng.permutation(4)
        for i, j in combinations(range(4), 2):
            rows.append((q, f"{i}", f"{j}", float(level[i] > level[j]), "j"))
            coin.append((q, f"{j}", f"{i}", float(rng.integers(2)), "j"))
    assert transitivity(Verdicts.of(rows)).value == 1
    found = transitivity(Verdicts.of(coin))
    assert found.low < 0.75 < found.high
    assert found.n == 1200


def test_places() -> None:
    nan = float("nan")
    forward = np.array([1, 1, 0, 0.5, 0.5, 1, nan])
    backward = np.array([0, 1, 0, 0.5, 1, 0, 1])
    found = position_bias(list("abcdefg"), forward, backward)
    assert [f.value for f in (found.consistent, found.first, found.second, found.mixed)] == pytest.approx(
        [3 / 6, 1 / 6, 1 / 6, 1 / 6]
    )
    with pytest.raises(FeedbackError, match="2 questions, 1 and 1"):
        position_bias(["a", "b"], np.ones(1), np.ones(1))


def test_kappa() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, (4000, 2))
    labels[:2000, 1] = labels[:2000, 0]
    assert fleiss(labels) == pytest.approx(cohen_kappa_score(labels[:, 0], labels[:, 1]), abs=0.01)
    # Fleiss 1971: 10 subjects, 14 raters, 5 categories (the textbook table), 0.210
    counts = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]]
    counts += [[7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]
    table = np.array([np.repeat(np.arange(5), row) for row in counts])
    assert fleiss(table) == pytest.approx(0.210, abs=5e-4)
    assert fleiss(np.ones((3, 2))) == 1
    with pytest.raises(FeedbackError, match="two people"):
        fleiss(np.ones((3, 1)))


def test_intervals_are_over_questions() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 40)
    votes = [(q, "x", "y", float(truth[q]), f"p{i}") for q in range(40) for i in range(50)]
    judge = Verdicts.of([(q, "x", "y", float(rng.integers(2)), "j") for q in range(40)])
    found = agreement(judge, Verdicts.of(votes))
    assert found.clusters == 40
    assert found.high - found.low > 0.2, "2,000 votes on 40 questions are 40 questions"


def test_bad_input() -> None:
    with pytest.raises(FeedbackError, match=r"row 1: value 0\.3"):
        Verdicts.of([("q", "x", "y", 1.0, "j"), ("q", "x", "y", 0.3, "j")])
    with pytest.raises(FeedbackError, match="'judge' has 0 rows"):
        Verdicts(["q"], ["x"], ["y"], np.ones(1), [])
    with pytest.raises(ConfigError, match="ties='win'"):
        agreement(Verdicts.of([]), Verdicts.of([]), ties="win")
    assert np.isnan(agreement(Verdicts.of([]), Verdicts.of([])).value)


# ------------------------------------------------------------------ recorded verdicts


@pytest.fixture(scope="module")
def judges() -> Any:
    root = str(Path(__file__).resolve().parents[2])
    if root not in sys.path:
        sys.path.insert(0, root)
    import benchmarks.judges as module

    return module


def test_known_figures_come_out(shared_data: Path, judges: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """MT-bench 85.6 and 82.3, 38 win rates to two decimals, GSM8K 56.3 and 67.2, counts."""
    assert judges.main(["--data", str(shared_data)]) == 0
    said = capsys.readouterr()
    assert "missed" not in said.err
    for text in (
        "| MT-bench | GPT-4 with people, no ties (S2) | 85.6 %",
        "shown in the same order | 82.3 %",
        "| AlpacaEval | systems whose win rate is the leaderboard's | 38 |",
        "| AlpacaEval | NullModel | 76.92 %",
        "| GSM8K | 175b verification | 56.3 %",
        "| GSM8K | oracle best of 4 | 67.2 %",
    ):
        assert text in said.out, text


def test_without_data(judges: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert judges.main(["--data", str(tmp_path)]) == 0
    assert "left out: no" in capsys.readouterr().err
    wrong = judges.Line("x", "y", judges.number(0.5, 3), known=50.1)
    assert not wrong.holds

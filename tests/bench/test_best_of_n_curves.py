"""Best-of-n curves: exact expectations, ties, over-optimisation, the published data."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.bench.best_of_n import expected_best, kl, place_weights, powers
from guerdon.bench.suites.registry import suite
from guerdon.bench.suites.report import html
from guerdon.bench.suites.study import Study

GSM8K = suite("gsm8k-bon")
assert isinstance(GSM8K, Study)


def naive(score: np.ndarray, truth: np.ndarray, n: int) -> float:
    """Every draw of n, the best one taken, ties shared; NaN is below everything."""
    key = np.where(np.isnan(score), -np.inf, score)
    values = []
    for drawn in combinations(range(len(score)), n):
        rows = np.array(drawn)
        best = rows[key[rows] == key[rows].max()]
        values.append(truth[best].mean())
    return float(np.mean(values))


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.0, float("nan")]), st.floats(0, 1)), min_size=1, max_size=7))
def test_the_closed_form_is_the_mean_over_all_draws(rows: list[tuple[float, float]]) -> None:
    score, truth = np.array(rows).T
    counts = tuple(range(1, len(rows) + 1))
    found = expected_best(score, truth, counts)
    # ties share the mean of all that tie, as the mean over draws does for n = 1 and for distinct scores
    if len(set(score[~np.isnan(score)])) + (np.isnan(score).sum() > 0) == len(score):
        assert found == pytest.approx([naive(score, truth, n) for n in counts], abs=1e-9)
    assert found[0] == pytest.approx(truth.mean(), abs=1e-9)


def test_equal_scores_are_a_blind_pick_among_them() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(8)
    found = expected_best(np.array([1.0] * 4 + [0.0] * 4), truth, (1, 2, 4, 8))
    wanted = [naive(np.array([1.0] * 4 + [0.0] * 4), truth, n) for n in (1, 2, 4, 8)]
    assert found == pytest.approx(wanted, abs=1e-9)


def test_places_are_a_distribution_and_kl_is_that_of_the_bound() -> None:
    for n in (1, 3, 40, 900):
        weights = place_weights(900, n)
        assert weights.sum() == pytest.approx(1.0, abs=1e-9)
        assert (np.diff(weights) <= 1e-15).all()
    assert kl(1) == 0
    assert float(kl(4)) == pytest.approx(np.log(4) - 0.75)
    assert powers(38) == (1, 2, 4, 8, 16, 32, 38)
    assert powers(1) == (1,)
    assert np.isnan(expected_best(np.ones(3), np.ones(3), (4,))).all()


def write(folder: Path) -> Path:
    """Half right at random; the right answers are short, and a few very long wrong ones fool length."""
    rng = np.random.default_rng(1)
    rows = []
    for i in range(60):
        row: dict[str, object] = {"question": f"question {i}"}
        for k in range(8):
            right = bool(rng.random() < 0.5)
            row[f"model {k}"] = {"solution": "x" * int(rng.integers(1, 9)) + ("" if right else "y" * 40) + f"{i} {k}"}
            row[f"model {k}"]["is_correct"] = right  # type: ignore[index]
        rows.append(row)
    (folder / "gsm8k_model_solutions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return folder


def test_a_reward_that_is_fooled_falls_with_n_and_the_report_draws_it(tmp_path: Path) -> None:
    found = GSM8K.measure(GSM8K, "rule:length", write(tmp_path), bootstrap=100)
    assert found.headline[0] == "best of 8"
    assert found.extra["n where it is highest"] == 1
    assert found.figures["fall from the best n"].low > 0.3
    oracle = next(b for b in found.baselines if b.name == "oracle")
    assert oracle.figures["best of 8"].value > 0.95
    assert oracle.figures["fall from the best n"].value == 0
    page = html(found, GSM8K)
    assert "Best of n" in page
    assert "nats" in page


def test_published_anchors_are_met(shared_data: Path) -> None:
    found = GSM8K.measure(GSM8K, "rule:length", shared_data, bootstrap=0)
    oracle = next(b for b in found.baselines if b.name == "oracle")
    assert round(oracle.figures["best of 4"].value, 3) == 0.672
    alpaca = suite("alpaca-bon")
    some = alpaca.measure(alpaca, "rule:length", shared_data, limit=40, bootstrap=20)
    assert some.figures["gain over a blind pick"].low > 0  # the judge likes length
    captions = suite("captions-bon")
    funny = captions.measure(captions, "rule:length", shared_data, bootstrap=20)
    assert funny.figures["gain over a blind pick"].value < 0  # readers do not


def test_programs_are_run_against_their_tests(tmp_path: Path) -> None:
    problem = {
        "prompt": "def double(x):\n",
        "entry_point": "double",
        "test": "def check(f):\n    assert f(2) == 4\n    assert f(-1) == -2\n",
    }
    samples = ["    return 2 * x\n", "    return x + 2\n", "    while True: pass\n", "    return x + x\n"]
    (tmp_path / "humaneval.jsonl").write_text(json.dumps(problem) + "\n", encoding="utf-8")
    rows = {"prompt": problem["prompt"], "samples": samples}
    (tmp_path / "humaneval_samples.jsonl").write_text(json.dumps(rows) + "\n", encoding="utf-8")
    study = suite("humaneval-bon")
    found = study.measure(study, "rule:length", tmp_path, bootstrap=0)
    blind = next(b for b in found.baselines if b.name == "blind")
    assert blind.figures["best of 4"].value == 0.5

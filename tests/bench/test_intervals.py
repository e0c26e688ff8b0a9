"""The cluster bootstrap: coverage, pairing, units, speed."""

import time

import numpy as np
import pytest

from guerdon.bench.figures import Answers, calibration_figures, pair_differences
from guerdon.bench.intervals import MOST, ClusterBootstrap, cluster_options, wilson
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback


def clustered(rng: np.random.Generator, clusters: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """(cluster [n], right [n]) with strong dependence in clusters of different sizes; true mean 1/2."""
    size = rng.integers(1, 12, clusters)
    cluster = np.repeat(np.arange(clusters), size)
    chance = rng.choice([0.2, 0.8], clusters)
    return cluster, (rng.random(len(cluster)) < chance[cluster]).astype(float)


def test_intervals_cover_and_ignoring_clusters_does_not():
    rng = np.random.default_rng(0)
    covered, naive = 0, 0
    trials = 250
    for t in range(trials):
        cluster, right = clustered(rng)
        figure = ClusterBootstrap(60, replicates=300, seed=t).ratio(cluster, right)
        covered += figure.low <= 0.5 <= figure.high
        flat = ClusterBootstrap(len(right), replicates=300, seed=t).ratio(np.arange(len(right)), right)
        naive += flat.low <= 0.5 <= flat.high
    assert 0.89 <= covered / trials <= 0.99
    assert naive / trials < 0.85


def test_replicates_equal_slow_resampling():
    rng = np.random.default_rng(3)
    cluster, right = clustered(rng, 20)
    weight = rng.random(len(right))
    draw = ClusterBootstrap(20, replicates=50, seed=1)
    _, again = draw.sums(cluster, np.stack([weight * right, weight], axis=1))
    for r in range(50):
        top = bottom = 0.0
        for c in range(20):
            for i in np.flatnonzero(cluster == c):
                top += draw.weights[r, c] * weight[i] * right[i]
                bottom += draw.weights[r, c] * weight[i]
        assert again[r] == pytest.approx([top, bottom])
    assert (draw.weights.sum(1) == 20).all()


def test_width_agrees_with_theory():
    rng = np.random.default_rng(5)
    right = (rng.random(2000) < 0.7).astype(float)
    figure = ClusterBootstrap(2000, replicates=2000, seed=0).ratio(np.arange(2000), right)
    assert (figure.high - figure.low) / 2 == pytest.approx(1.96 * np.sqrt(0.21 / 2000), rel=0.1)


def test_paired_difference_is_sharper_than_two_intervals_and_covers():
    rng = np.random.default_rng(2)
    trials, covered, ratios = 150, 0, []
    for t in range(trials):
        n = 400
        p = (rng.random(n) < 0.7).astype(float)
        good = np.full(n, 0.6)
        worse = np.where(rng.random(n) < 0.1, 0.4, good)  # flips a tenth: true loss 0.1 * (0.7 - 0.3) = 0.04
        draw = ClusterBootstrap(n, replicates=300, seed=t)
        answers = Answers(p, good, np.ones(n), np.arange(n))
        difference = pair_differences(draw, answers, worse)["accuracy"]
        covered += difference.low <= 0.04 <= difference.high
        single = draw.ratio(answers.cluster, (p == 1).astype(float))
        ratios.append((difference.high - difference.low) / (single.high - single.low))
    assert np.mean(ratios) == pytest.approx(np.sqrt(0.1 / 0.21), rel=0.1)
    assert 0.89 <= covered / trials <= 0.99


def test_same_reward_differs_by_nothing():
    p, q = np.array([1.0, 0.0, 1.0] * 10), np.linspace(0.1, 0.9, 30)
    answers = Answers(p, q, np.ones(30), np.arange(30))
    for figure in pair_differences(ClusterBootstrap(30), answers, q).values():
        assert (figure.value, figure.low, figure.high) == (0, 0, 0)


def test_many_clusters_are_pooled_and_keep_their_interval():
    rng = np.random.default_rng(0)
    n = 5 * MOST
    right = (rng.random(n) < 0.7).astype(float)
    began = time.perf_counter()
    figure = ClusterBootstrap(n, replicates=1000).ratio(np.arange(n), right)
    assert time.perf_counter() - began < 5
    assert figure.clusters == n
    assert (figure.high - figure.low) / 2 == pytest.approx(1.96 * np.sqrt(0.21 / n), rel=0.15)


def test_one_cluster_or_no_replicates_have_no_interval():
    one = ClusterBootstrap(1).ratio(np.zeros(5, int), np.arange(5.0))
    assert one.value == 2
    assert np.isnan(one.low)
    none = ClusterBootstrap(5, replicates=0).ratio(np.arange(5), np.arange(5.0))
    assert np.isnan(none.low)
    assert none.to_dict() == {"value": 2.0, "low": None, "high": None, "n": 5, "clusters": 5}


def test_nothing_counted_is_nan():
    figure = ClusterBootstrap(5).ratio(np.zeros(0, int), np.zeros(0))
    assert np.isnan(figure.value)
    assert str(figure) == "-"


def test_seed_decides():
    cluster, right = clustered(np.random.default_rng(0))
    one, two, three = (ClusterBootstrap(60, seed=s).ratio(cluster, right) for s in (1, 1, 2))
    assert one == two
    assert one != three


def test_calibrated_reward_shows_the_error_of_chance():
    shown, floor = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        q = rng.random(600)
        p = (rng.random(600) < q).astype(float)
        answers = Answers(p, q, np.ones(600), np.arange(600))
        figures, curve = calibration_figures(ClusterBootstrap(600, replicates=200, seed=seed), answers)
        shown.append(figures["ece"].value)
        floor.append(figures["ece_by_chance"].value)
        assert sum(row["n"] for row in curve) == 600
    assert np.mean(shown) == pytest.approx(np.mean(floor), rel=0.15)


def feedback(prompts: int, people: int | None) -> Feedback:
    return Feedback.of(
        Judgement(f"p{i % prompts}", ("a", "b"), (1, 0), user=None if people is None else f"u{i % people}")
        for i in range(120)
    )


def test_units_of_chance():
    assert [c.unit for c in cluster_options(feedback(40, 30))] == ["prompts", "people"]
    assert [c.unit for c in cluster_options(feedback(1, 30))] == ["people"]
    assert [c.unit for c in cluster_options(feedback(40, None))] == ["prompts"]
    (few,) = cluster_options(feedback(3, 4))
    assert few.unit == "judgements"
    assert few.note is not None
    assert "3 prompts" in few.note
    assert "4 people" in few.note
    (warned,) = cluster_options(feedback(12, None), "prompt")
    assert warned.count == 12
    assert "too narrow" in (warned.note or "")
    with pytest.raises(ConfigError, match="names no people"):
        cluster_options(feedback(40, None), "user")
    with pytest.raises(ConfigError, match="auto, prompt, user, judgement"):
        cluster_options(feedback(40, None), "day")  # type: ignore[arg-type]


def test_wilson_solves_its_equation_and_stays_inside() -> None:
    # its bounds are where the rate seen is z standard errors of the bound away
    low, high = wilson(0.8, 10)
    for bound in (low, high):
        assert (bound - 0.8) ** 2 == pytest.approx(1.959963984540054**2 * bound * (1 - bound) / 10, abs=1e-12)
    assert wilson(0.0, 5)[0] == pytest.approx(0.0, abs=1e-12)
    assert wilson(1.0, 5)[1] == pytest.approx(1.0, abs=1e-12)
    assert np.isnan(wilson(0.5, 0)).all()

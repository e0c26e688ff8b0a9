"""Metrics against scikit-learn, scipy and slow twins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from guerdon.bench import metrics as m

sklearn = pytest.importorskip("sklearn.metrics")


def draw(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    q = rng.random(n)
    return (rng.random(n) < q).astype(float), q, rng.random(n)


def test_pair_terms_equal_sklearn():
    p, q, w = draw()
    terms = m.pair_terms(p, q, w)
    assert m.ratio(terms["accuracy"]) == pytest.approx(sklearn.accuracy_score(p, q > 0.5, sample_weight=w))
    assert m.ratio(terms["log_loss"]) == pytest.approx(sklearn.log_loss(p, q, sample_weight=w))
    assert m.ratio(terms["brier"]) == pytest.approx(sklearn.brier_score_loss(p, q, sample_weight=w))


def test_ties_of_people_are_left_out_of_accuracy_and_scored_elsewhere():
    p, q, w = np.array([1.0, 0.5, 0.0]), np.array([0.9, 0.9, 0.2]), np.ones(3)
    terms = m.pair_terms(p, q, w)
    assert m.ratio(terms["accuracy"]) == 1.0
    assert terms["accuracy"][1].sum() == 2
    assert m.ratio(terms["brier"]) == pytest.approx((0.01 + 0.16 + 0.04) / 3)
    tie_loss = -0.5 * np.log(0.9) - 0.5 * np.log(0.1)
    assert m.ratio(terms["log_loss"]) == pytest.approx((-np.log(0.9) + tie_loss - np.log(0.8)) / 3)


def test_predicted_tie_is_half_right():
    assert m.correct(np.array([1.0, 0.0, 0.5]), np.full(3, 0.5)).tolist() == [0.5, 0.5, 0.0]


def test_certain_mistake_costs_much_but_is_finite():
    assert m.cross_entropy(np.array([1.0]), np.array([0.0]))[0] == pytest.approx(-np.log(1e-12))
    assert m.cross_entropy(np.array([0.0]), np.array([0.0]))[0] == pytest.approx(0.0, abs=1e-11)


def test_soft_labels_are_minimised_by_themselves():
    p = np.full(5, 0.7)
    q = np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    assert m.cross_entropy(p, q).argmin() == 2


def test_nothing_gives_nan():
    none = np.zeros(0)
    assert np.isnan(m.ratio(m.pair_terms(none, none, none)["accuracy"]))
    assert np.isnan(m.calibration(none, none, none).ece)


def naive_ece(p: np.ndarray, q: np.ndarray, w: np.ndarray, code: np.ndarray) -> float:
    total = 0.0
    for b in set(code.tolist()):
        rows = [i for i in range(len(p)) if code[i] == b]
        weight = sum(w[i] for i in rows)
        confidence = sum(w[i] * max(q[i], 1 - q[i]) for i in rows) / weight
        outcome = sum(w[i] * (p[i] if q[i] > 0.5 else 1 - p[i] if q[i] < 0.5 else 0.5) for i in rows) / weight
        total += weight * abs(confidence - outcome)
    return total / w.sum()


def test_ece_equals_naive_twin():
    p, q, w = draw()
    curve = m.calibration(p, q, w)
    assert curve.ece == pytest.approx(naive_ece(p, q, w, curve.bin_of))


def test_bins_have_equal_mass_and_equal_confidences_share_one():
    p, q, w = draw(3000)
    curve = m.calibration(p, q, w, bins=15)
    assert len(curve.weight) == 15
    assert curve.weight.min() > 0.9 * w.sum() / 15
    assert (np.diff(curve.confidence) > 0).all()
    steps = np.repeat([0.6, 0.7, 0.8], 100)
    code = m.equal_mass_bins(steps, np.ones(300), 15)
    assert [len(set(code[steps == s])) for s in (0.6, 0.7, 0.8)] == [1, 1, 1]
    assert m.equal_mass_bins(np.full(9, 0.5), np.ones(9)).tolist() == [0] * 9


def test_calibrated_predictor_has_small_ece_and_an_overconfident_one_not():
    rng = np.random.default_rng(1)
    q = rng.random(40_000)
    p = (rng.random(40_000) < q).astype(float)
    w = np.ones(len(q))
    assert m.calibration(p, q, w).ece < 0.012
    sharp = q**3 / (q**3 + (1 - q) ** 3)
    curve = m.calibration(p, sharp, w)
    assert curve.ece > 0.1
    assert curve.bias == pytest.approx(curve.ece, abs=0.01)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 0.3]), st.floats(0, 1), st.booleans()), min_size=1))
def test_swapping_the_two_sides_changes_nothing(rows: list[tuple[float, float, bool]]):
    p, q, swap = (np.array(c) for c in zip(*rows, strict=True))
    w = np.ones(len(p))
    other_p, other_q = np.where(swap, 1 - p, p), np.where(swap, 1 - q, q)
    # 1 - q rounds: a q next to 1/2 may become exactly 1/2 when swapped, which is another prediction
    keep = ((q == 0.5) == (other_q == 0.5)) & ((q > 0.5) == np.where(swap, other_q < 0.5, other_q > 0.5))
    p, q, w, other_p, other_q = (v[keep] for v in (p, q, w, other_p, other_q))
    for name in m.PAIR_METRICS:
        first, second = (m.ratio(m.pair_terms(x, y, w)[name]) for x, y in ((p, q), (other_p, other_q)))
        assert first == pytest.approx(second, nan_ok=True, rel=1e-4, abs=1e-9)
    assert m.calibration(p, q, w, bins=1).ece == pytest.approx(
        m.calibration(other_p, other_q, w, bins=1).ece, nan_ok=True
    )


def ragged(groups: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rng.integers(1, 8, groups))
    rng.shuffle(group)
    return rng.integers(0, 4, len(group)).astype(float), rng.integers(0, 4, len(group)).astype(float), group


def test_spearman_equals_scipy_within_groups():
    score, grade, group = ragged()
    got = m.spearman(score, grade, group, 30)
    for g in range(30):
        x, y = score[group == g], grade[group == g]
        if len(x) < 3 or len(set(y)) == 1:
            assert np.isnan(got[g])
        elif len(set(x)) == 1:
            assert got[g] == 0
        else:
            assert got[g] == pytest.approx(stats.spearmanr(x, y).statistic)


def test_tau_equals_scipy_within_groups():
    score, grade, group = ragged(seed=1)
    rows, gap_x, gap_y = [], [], []
    for g in range(30):
        x, y = score[group == g], grade[group == g]
        for i in range(len(x)):
            for j in range(i + 1, len(x)):
                rows.append(g)
                gap_x.append(x[i] - x[j])
                gap_y.append(y[i] - y[j])
    got = m.kendall_tau(np.array(gap_x), np.array(gap_y), np.array(rows), 30)
    for g in range(30):
        x, y = score[group == g], grade[group == g]
        if len(set(y)) < 2:
            assert np.isnan(got[g])
        elif len(set(x)) < 2:
            assert got[g] == 0
        else:
            assert got[g] == pytest.approx(stats.kendalltau(x, y).statistic)


def test_best_of_n_by_hand():
    #                     right        wrong        tie at the top, one good  all grades equal
    score = np.array([3.0, 1, 2, 0.0, 5, 1, 2, 2, 1, 1, 2, 3.0])
    grade = np.array([1.0, 0, 0, 1.0, 0, 0, 1, 0, 0, 1, 1, 1.0])
    group = np.repeat(np.arange(4), 3)
    hit, chance = m.best_of_n(score, grade, group, 4)
    assert hit[:3].tolist() == [1.0, 0.0, 0.5]
    assert chance[:3] == pytest.approx([1 / 3] * 3)
    assert np.isnan(hit[3])
    assert np.isnan(chance[3])


def test_constant_reward_hits_at_chance():
    score, grade, group = ragged(seed=2)
    hit, chance = m.best_of_n(np.zeros_like(score), grade, group, 30)
    assert np.allclose(hit, chance, equal_nan=True)

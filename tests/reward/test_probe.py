"""Probes against scikit-learn and torch, what reports say of majorities, and rewards that know how far they reach."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score

import guerdon
from guerdon.encode import load_encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.model import RewardModel
from guerdon.reward.learned.probe import (
    control_features,
    fit_probe,
    judge,
    probe_report,
    representations,
    softmax_regression,
)
from guerdon.reward.learned.probed import ProbedReward, _kmeans, _whitening
from guerdon.steer import best_of_n
from guerdon.testing import check_reward


def planted(n: int = 600, d: int = 8, k: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * rng.uniform(0.5, 4, d) + 1
    return x, (x @ rng.normal(size=(d, k)) / 3 + rng.normal(size=(n, k))).argmax(1)


@pytest.mark.parametrize("k", [2, 3])
def test_softmax_regression_is_scikit_learns(k):
    x, y = planted(k=k)
    l2 = 0.01
    ours, bias = softmax_regression(x, np.eye(k)[y], l2)
    theirs = LogisticRegression(C=1 / (len(x) * l2), tol=1e-10, max_iter=5000)
    if k > 2:
        theirs.fit(x, y)
        wanted = theirs.predict_proba(x)
    else:  # scikit-learn has one vector for two classes; the penalty of two opposite ones is half as strong
        theirs.set_params(C=2 / (len(x) * l2))
        wanted = theirs.fit(x, y).predict_proba(x)
    logits = x @ ours + bias
    got = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    np.testing.assert_allclose(got, wanted, atol=1e-3)


def test_logreg_does_not_depend_on_the_scale_of_features_and_the_official_probe_does():
    x, y = planted()
    scaled = x * 100 + 7
    np.testing.assert_array_equal(fit_probe(x, y)(x), fit_probe(scaled, y)(scaled))
    assert (fit_probe(x, y)(x) == y).mean() > 0.75
    official = fit_probe(x, y, "official")
    assert (official.bias == 0).all()
    assert (fit_probe(scaled, y, "official")(scaled) != official(x)).any()


@pytest.mark.parametrize("k", [2, 3])
def test_the_official_probe_is_the_protocol_written_out(k):
    from guerdon.papers.mrmbench import written_out

    x, y = planted(700, 16, k)
    with torch.random.fork_rng():
        predicted = written_out(x, y, x, 3)
    assert (fit_probe(x, y, "official", seed=3)(x) == predicted).mean() > 0.995


def test_any_labels_and_bad_input():
    x, y = planted()
    names = np.array(["short", "long"])[y]
    assert set(fit_probe(x, names)(x)) == {"short", "long"}
    with pytest.raises(FeedbackError, match="two classes"):
        fit_probe(x, np.zeros(len(x)))
    with pytest.raises(FeedbackError, match="finite"):
        fit_probe(np.full((4, 2), np.nan), np.array([0, 1, 0, 1]))
    with pytest.raises(FeedbackError, match="one label each"):
        fit_probe(x, y[:-1])
    with pytest.raises(ConfigError, match="logreg, official"):
        fit_probe(x, y, "svm")


def test_reports_agree_with_scikit_learn_and_name_the_majority():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(3, size=400), rng.integers(3, size=400)
    report = judge(predicted, labels, 1)
    assert report.balanced == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert report.f1 == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert report.majority == (labels == 1).mean()
    assert judge(labels, labels, 1).above


def test_a_majority_is_not_mistaken_for_knowledge():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1000, 16)), (rng.random(1000) < 0.1).astype(int)
    report = probe_report(x[:500], y[:500], x[500:], y[500:])
    assert report.accuracy > 0.85
    assert not report.above
    assert "not above majority" in str(report)


def test_controls_know_nothing_of_the_model():
    texts = [f"{'apple' if i % 2 else 'rain'} number {i}" for i in range(200)]
    labels = np.array([i % 2 for i in range(200)])
    candidates = Candidates(["p"] * 200, texts)
    controls = {k: (v[:100], v[100:]) for k, v in control_features(candidates, 64).items()}
    x = np.random.default_rng(0).normal(size=(200, 8))
    report = probe_report(x[:100], labels[:100], x[100:], labels[100:], controls=controls)
    assert set(report.controls) == {"bag of words", "random network"}
    assert report.controls["bag of words"] > 0.9  # the words alone tell: a probe that finds this has found nothing
    assert report.selectivity < 0


def test_representations_of_encoders_and_rewards():
    candidates = Candidates(["p"] * 40, [f"apple {i}" for i in range(40)])
    encoder = load_encoder("hash:32")
    assert representations(encoder, candidates).shape == (40, 32)
    rows = [Judgement("p", (f"apple {i}", f"rain {i}"), (1.0, 0.0)) for i in range(40)]
    assert representations(RewardModel(encoder="hash:32").fit(Feedback.of(rows)), candidates).shape == (40, 32)
    with pytest.raises(ConfigError, match="no representation"):
        representations(guerdon.load("rule:length"), candidates)


# --------------------------------------------------------------------------------------------- inference-time probing

WORDS = ("apple", "pear", "plum", "sky", "blue", "verse")


def judged(n: int = 200) -> Feedback:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        a, b = (" ".join(rng.choice(WORDS, 6)) for _ in range(2))
        gap = a.count("apple") - b.count("apple")
        if gap:
            kind = "fruit" if i % 2 else "taste"
            rows.append(Judgement(f"p{i % 40}", (a, b), (float(gap > 0), float(gap < 0)), criterion=kind))
    return Feedback.of(rows)


@pytest.fixture(scope="module")
def probed():
    return ProbedReward(encoder="hash:256").fit(judged())


def test_confidence_is_high_where_feedback_was_and_low_elsewhere(probed):
    rng = np.random.default_rng(9)
    near = Candidates(["p"] * 200, [" ".join(rng.choice(WORDS, 6)) for _ in range(200)])
    far = Candidates(["p"] * 3, ["zzz " * 40, "0123 4567 8910 " * 9, "QQQ!"])
    confidence = probed.confidence(near)
    assert ((confidence > 0) & (confidence <= 1)).all()
    assert (confidence < 0.05).mean() < 0.15  # a p-value: about 5 % of what is alike
    assert probed.confidence(far).max() < confidence.mean()
    said = probed.explain(far)
    assert set(said) == {"dimension", "fruit", "taste"}


def test_untrusted_scores_fall_back_to_the_reference(probed):
    far = Candidates(["q"] * 3, ["zzz " * 40, "apple zzz yyy xxx www " * 30, "0123 4567 8910 " * 9])
    low = probed.confidence(far) < 0.05
    scores = probed.score(far)
    assert low.any()
    np.testing.assert_array_equal(scores.value[low], probed.reference)
    assert all("unlike everything judged" in (r or "") for r, y in zip(scores.reason, low, strict=True) if y)
    rows = np.flatnonzero(low)
    choice = best_of_n(probed, far.take(rows))[0]
    assert choice.index == [0]  # the first, which is the reference answer


def test_weighting_shrinks_towards_the_reference(probed):
    texts = judged(40).candidates
    soft = ProbedReward(encoder="hash:32", mode="weight").fit(judged())
    plain = soft.head(soft.x(texts))
    expected = soft.reference + soft.confidence(texts) * (plain - soft.reference)
    np.testing.assert_allclose(soft.score(texts).value, expected)
    report = check_reward(soft, texts)
    assert "save and load" in report.passed


def test_feedback_without_criteria_is_one_dimension():
    rows = [Judgement(f"p{i}", (f"apple {i}", f"rain {i}"), (1.0, 0.0)) for i in range(50)]
    reward = ProbedReward(encoder="hash:32", metric="euclidean", clusters=2).fit(Feedback.of(rows))
    assert reward.dimensions == ["all"]
    with pytest.raises(ConfigError, match="filter, weight"):
        ProbedReward(mode="veto")


def test_whitening_makes_features_uncorrelated_and_k_means_finds_clusters():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 3)) @ rng.normal(size=(3, 3))
    np.testing.assert_allclose(np.cov((x @ _whitening(x, "whitened")).T), np.eye(3), atol=0.05)
    z = np.concatenate([rng.normal(size=(50, 2)) * 0.1 + c for c in ((0, 0), (5, 5), (0, 9))])
    assert sorted(_kmeans(z, 3, 0).sum(1).round().tolist()) == [0, 9, 10]


def test_a_plain_reward_does_not_say_how_far_it_can_be_trusted():
    with pytest.raises(TypeError, match="trusted"):
        guerdon.load("rule:length").confidence(Candidates(["p"], ["r"]))

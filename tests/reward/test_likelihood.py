"""Likelihoods against finite differences, an independent oracle (choix) and each other."""

import choix
import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize

from guerdon import Feedback, Judgement
from guerdon.errors import ConfigError, FeedbackError
from guerdon.reward.learned.likelihood import LIKELIHOODS, BradleyTerry, PlackettLuce, compile_likelihood


@pytest.fixture(scope="module")
def mixed() -> Feedback:
    """Comparisons, ties, rankings with tied levels, and ratings of three people."""
    rng = np.random.default_rng(0)
    rows = []
    for j in range(30):
        n = int(rng.integers(2, 5))
        grades = tuple(rng.integers(0, 3, n).astype(float))
        responses = tuple(f"r{rng.integers(8)}.{k}" for k in range(n))
        rows.append(Judgement(f"p{j % 4}", responses, grades, weight=float(rng.random() + 0.1)))
    for j in range(20):
        grade = (float(rng.integers(1, 5)),)
        rows.append(Judgement("p0", (f"r{j % 7}",), grade, scale="rating", user=f"u{j % 3}"))
    return Feedback.of(rows)


SETTINGS = [(name, {}) for name in LIKELIHOODS] + [
    ("bradley-terry", {"ties": "davidson", "margin": 0.3}),
    ("bradley-terry", {"smoothing": 0.1, "margin": 0.2}),
    ("bradley-terry", {"ties": "drop"}),
    ("bradley-terry", {"ties": "rao-kupper", "smoothing": 0.1}),
    ("luce", {"beta": 2.0, "length_normalized": True, "lengths": "words", "ties": "davidson"}),
]


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_gradients_are_those_of_the_loss(mixed, name, settings):
    likelihood = compile_likelihood(name, mixed, **settings)
    c = len(mixed.responses)
    z = np.random.default_rng(1).normal(size=c + len(likelihood.theta0))
    _, du, dtheta = likelihood(z[:c], z[c:])
    numeric = approx_fprime(z, lambda v: likelihood(v[:c], v[c:])[0], 1e-6)
    np.testing.assert_allclose(np.concatenate([du, dtheta]), numeric, atol=2e-6)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_minibatch_of_everything_is_everything(mixed, name):
    likelihood = compile_likelihood(name, mixed)
    u = np.random.default_rng(2).normal(size=len(mixed.responses))
    whole = likelihood.take(np.arange(len(likelihood)))
    assert whole(u, likelihood.theta0)[0] == pytest.approx(likelihood(u, likelihood.theta0)[0])


def test_bradley_terry_fits_what_choix_fits():
    rng = np.random.default_rng(3)
    truth = rng.normal(size=8)
    games = [(int(a), int(b)) for a, b in rng.integers(0, 8, size=(600, 2)) if a != b]
    wins = [(a, b) if rng.random() < 1 / (1 + np.exp(truth[b] - truth[a])) else (b, a) for a, b in games]
    feedback = Feedback.of([Judgement("p", (f"r{a}", f"r{b}"), (1.0, 0.0)) for a, b in wins])
    likelihood = compile_likelihood("bradley-terry", feedback)
    fitted = minimize(lambda u: likelihood(u, np.zeros(0))[:2], np.zeros(8), jac=True).x
    names = [feedback.responses[i].as_py() for i in range(8)]
    expected = choix.opt_pairwise(8, wins)[[int(n[1:]) for n in names]]
    np.testing.assert_allclose(fitted - fitted.mean(), expected - expected.mean(), atol=1e-3)


def test_plackett_luce_fits_what_choix_fits():
    rng = np.random.default_rng(4)
    truth = rng.normal(size=6)
    rankings = []
    for _ in range(300):
        shown = rng.choice(6, 4, replace=False)
        rankings.append(tuple(int(i) for i in shown[np.argsort(-(truth[shown] + rng.gumbel(size=4)))]))
    feedback = Feedback.of([Judgement("p", tuple(f"r{i}" for i in r), (3.0, 2.0, 1.0, 0.0)) for r in rankings])
    likelihood = compile_likelihood("plackett-luce", feedback)
    fitted = minimize(lambda u: likelihood(u, np.zeros(0))[:2], np.zeros(6), jac=True).x
    names = [feedback.responses[i].as_py() for i in range(6)]
    expected = choix.opt_rankings(6, rankings)[[int(n[1:]) for n in names]]
    np.testing.assert_allclose(fitted - fitted.mean(), expected - expected.mean(), atol=1e-3)


def test_choice_of_n_is_a_softmax():
    feedback = Feedback.of([Judgement("p", ("a", "b", "c", "d"), (0.0, 0.0, 1.0, 0.0))])
    u = np.array([0.3, -1.0, 0.5, 2.0])
    loss, du, _ = PlackettLuce.of(feedback)(u, np.zeros(0))
    share = np.exp(u) / np.exp(u).sum()
    assert loss == pytest.approx(-np.log(share[2]))
    np.testing.assert_allclose(du, share - np.array([0, 0, 1, 0]), atol=1e-12)


def test_plackett_luce_of_two_is_bradley_terry():
    feedback = Feedback.of([Judgement("p", ("a", "b"), (1, 0)), Judgement("p", ("c", "b"), (0, 1))])
    u = np.array([0.2, 1.0, -0.4])
    plackett, pairs = (
        compile_likelihood(name, feedback)(u, np.zeros(0)) for name in ("plackett-luce", "bradley-terry")
    )
    assert plackett[0] == pytest.approx(pairs[0])
    np.testing.assert_allclose(plackett[1], pairs[1])


def test_a_soft_label_is_a_mixture_of_verdicts():
    soft = Feedback.of([Judgement("p", ("a", "b"), (0.8, 0.2), scale="probability")])
    votes = Feedback.of(
        [Judgement("p", ("a", "b"), (1, 0), weight=0.8), Judgement("p", ("a", "b"), (0, 1), weight=0.2)]
    )
    u = np.array([0.7, -0.1])
    one, two = (compile_likelihood("bradley-terry", f)(u, np.zeros(0)) for f in (soft, votes))
    assert one[0] == pytest.approx(two[0])
    np.testing.assert_allclose(one[1], two[1])


def test_davidson_probabilities_sum_to_one():
    u = np.array([0.4, -0.3])
    outcomes = [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
    losses = []
    for grades in outcomes:
        feedback = Feedback.of([Judgement("p", ("a", "b"), grades)])
        losses.append(compile_likelihood("bradley-terry", feedback, ties="davidson")(u, np.array([0.2]))[0])
    assert np.exp(-np.array(losses)).sum() == pytest.approx(1.0)


def test_margin_asks_for_more_where_the_strength_is_larger():
    weak, strong = (Feedback.of([Judgement("p", ("a", "b"), (s, 0.0))]) for s in (1.0, 3.0))
    u = np.array([1.0, 0.0])
    loss = [compile_likelihood("bradley-terry", f, margin=0.5)(u, np.zeros(0))[0] for f in (weak, strong)]
    assert loss[1] > loss[0]
    assert isinstance(compile_likelihood("bradley-terry", weak), BradleyTerry)


def test_wrong_options_and_wrong_data_say_what_to_do(mixed):
    with pytest.raises(ConfigError, match="one of bradley-terry"):
        compile_likelihood("bt", mixed)
    with pytest.raises(ConfigError, match="half, drop, davidson or rao-kupper"):
        compile_likelihood("bradley-terry", mixed, ties="maybe")
    single = Feedback.of([Judgement("p", ("a",), (1.0,), scale="rating")])
    with pytest.raises(FeedbackError, match="--model regression"):
        compile_likelihood("bradley-terry", single)
    with pytest.raises(FeedbackError, match="bradley-terry"):
        compile_likelihood("plackett-luce", single)
    with pytest.raises(FeedbackError, match="every rating is the same"):
        compile_likelihood("regression", single)
    with pytest.raises(FeedbackError, match="has none"):
        compile_likelihood("regression", Feedback.of([Judgement("p", ("a", "b"), (1, 0))]))

"""The likelihood family: autograd, choix, scikit-learn and closed forms; sampling recovers what was sampled from."""

import choix
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from sklearn.linear_model import LogisticRegression

from guerdon import Feedback, Judgement
from guerdon.errors import ConfigError, FeedbackError
from guerdon.reward.learned.choice import Behaviour, word_counts
from guerdon.reward.learned.comparisons import turned
from guerdon.reward.learned.likelihood import (
    LIKELIHOODS,
    BestWorst,
    BradleyTerry,
    Luce,
    Mixture,
    PlackettLuce,
    SkewSymmetric,
    compile_likelihood,
)
from guerdon.reward.learned.networks import negative_log_likelihood
from guerdon.reward.learned.tabular import fit_table
from guerdon.reward.learned.ties import TIES


def comparisons(count: int = 60, n: int = 7, people: int = 5, seed: int = 0) -> Feedback:
    """Comparisons of n responses to one prompt: wins, ties and soft labels, weights, named people."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        a, b = rng.choice(n, 2, replace=False)
        grades = [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.3, 0.7)][int(rng.integers(4))]
        texts = (f"r{a} " + "w " * int(a), f"r{b} " + "w " * int(b))
        rows.append(
            Judgement("p", texts, grades, user=f"u{i % people}", scale="probability", weight=rng.random() + 0.2)
        )
    return Feedback.of(rows)


def wide(kind: str) -> tuple:
    """(compiled likelihood of several utilities, width)."""
    feedback = comparisons()
    pairs, c = feedback.pairs(), len(feedback.responses)
    if kind == "skew-symmetric":
        return SkewSymmetric(pairs, c, 0.0, 0.1, "davidson"), 4
    if kind == "by-person":
        return Mixture.by_person(pairs, c, 3), 3
    if kind == "one mixture":
        return Mixture.by_comparison(pairs, c, 3), 3
    return Mixture.by_comparison(pairs, c, 3, np.arange(len(pairs)) % 4, 4), 3


WIDE = ("skew-symmetric", "by-person", "one mixture", "routed")


@pytest.mark.parametrize("kind", WIDE)
def test_gradients_of_several_utilities_are_those_of_the_loss(kind):
    data, width = wide(kind)
    size = data.candidates * width
    z = np.random.default_rng(1).normal(size=size + len(data.theta0))

    def loss(v):
        return data(v[:size].reshape(-1, width), v[size:])[0]

    _, du, dtheta = data(z[:size].reshape(-1, width), z[size:])
    np.testing.assert_allclose(np.r_[du.ravel(), dtheta], approx_fprime(z, loss, 1e-6), atol=2e-6)


@pytest.mark.parametrize("kind", WIDE)
def test_parts_and_renumbered_candidates_give_the_same_loss(kind):
    data, width = wide(kind)
    rng = np.random.default_rng(2)
    u, theta = rng.normal(size=(data.candidates, width)), rng.normal(size=len(data.theta0))
    whole = data.take(np.arange(len(data)))
    assert whole(u, theta)[0] == pytest.approx(data(u, theta)[0])
    some = data.take(np.array([0, 2, 3]))
    rows = np.unique(some.members()[0])
    assert some.over(rows)(u[rows], theta)[0] == pytest.approx(some(u, theta)[0])
    flat, starts, weight = some.members()
    assert len(starts) == len(some) + 1 == len(weight) + 1
    assert starts[-1] == len(flat)
    np.testing.assert_allclose(some.log_prob(u, theta), data.log_prob(u, theta)[[0, 2, 3]])


@pytest.mark.parametrize("name", [n for n in LIKELIHOODS if n != "regression"])
def test_members_over_and_log_probability_of_every_likelihood(name):
    rng = np.random.default_rng(3)
    rows = [
        Judgement("p", tuple(f"r{i} x" for i in rng.choice(9, n, replace=False)), tuple(float(g) for g in range(n)))
        for n in rng.integers(2, 5, 40)
    ]
    feedback = Feedback.of(rows)
    data = compile_likelihood(name, feedback)
    u, theta = rng.normal(size=len(feedback.responses)), data.theta0
    assert data(u, theta)[0] == pytest.approx(
        -np.average(data.log_prob(u, theta), weights=data.members()[2])
        / (
            2 if name == "classification" else 1  # its loss is a mean over responses
        )
    )
    some = data.take(np.arange(5))
    rows_used = np.unique(some.members()[0])
    assert some.over(rows_used)(u[rows_used], theta)[0] == pytest.approx(some(u, theta)[0])


@pytest.mark.parametrize("ties", TIES)
def test_tie_models_are_autograds_and_sum_to_one(ties):
    rng = np.random.default_rng(4)
    d = rng.normal(size=50) * 5
    theta = np.array([0.3] * TIES[ties].parameters)
    logp, by_d, by_theta = TIES[ties].outcomes(d, theta)
    np.testing.assert_allclose(np.exp(logp).sum(0), 1.0)
    x = torch.tensor(d, requires_grad=True)
    t = torch.tensor(theta, requires_grad=True)
    if ties == "half":
        expected = torch.stack([torch.sigmoid(x), torch.sigmoid(-x)])
    elif ties == "davidson":
        expected = torch.softmax(torch.stack([x / 2, -x / 2, t[0].expand(50)]), dim=0)
    else:
        cut = torch.nn.functional.softplus(t[0])
        win, lose = torch.sigmoid(x - cut), torch.sigmoid(-x - cut)
        expected = torch.stack([win, lose, 1 - win - lose])
    np.testing.assert_allclose(logp, expected.log().detach().numpy(), rtol=1e-6)
    for k in range(len(logp)):
        grads = torch.autograd.grad(expected[k].log().sum(), [x, t], retain_graph=True, allow_unused=True)
        np.testing.assert_allclose(by_d[k], grads[0].numpy(), rtol=1e-5, atol=1e-9)
        if len(theta):
            np.testing.assert_allclose(by_theta[k].sum(), grads[1][0].item(), rtol=1e-5)  # type: ignore[index]


def test_extreme_utilities_stay_finite():
    d = np.array([-800.0, 0.0, 800.0])
    for rule in TIES.values():
        logp, by_d, by_theta = rule.outcomes(d, np.full(rule.parameters, -30.0))
        assert np.isfinite(logp).all()
        assert np.isfinite(by_d).all()
        assert np.isfinite(by_theta).all()


def test_torch_gets_the_same_gradients_as_autograd_of_a_mixture():
    data, width = wide("routed")
    rng = np.random.default_rng(5)
    values = torch.tensor(rng.normal(size=(data.candidates, width)), requires_grad=True)
    theta = torch.tensor(rng.normal(size=len(data.theta0)), requires_grad=True)
    negative_log_likelihood(values, theta, data, np.arange(data.candidates), data.candidates).backward()
    u, z = (v.detach().clone().requires_grad_() for v in (values, theta))
    q = data.pairs
    a, b, group, p = (torch.as_tensor(v) for v in (q.a.astype(int), q.b.astype(int), data.group, q.p))
    log_pi = torch.log_softmax(z.reshape(4, 3), dim=1)[group]
    d = u[a] - u[b]
    ell = torch.where(p[:, None] > 0.5, d, -d)
    loss = -(torch.as_tensor(data.outer) * torch.logsumexp(log_pi + torch.nn.functional.logsigmoid(ell), dim=1)).sum()
    (loss / data.outer.sum()).backward()
    np.testing.assert_allclose(values.grad, u.grad, atol=1e-12)  # type: ignore[arg-type]
    np.testing.assert_allclose(theta.grad, z.grad, atol=1e-12)  # type: ignore[arg-type]


def test_a_mixture_of_rewards_is_not_a_mixture_of_probabilities():
    """Averaging utilities inside the sigmoid collapses to one Bradley-Terry model: two opposed people look certain."""
    feedback = Feedback.of([Judgement("p", ("a", "b"), (1.0, 0.0))])
    u = np.array([[4.0, -4.0], [0.0, 0.0]])
    data = Mixture.by_comparison(feedback.pairs(), 2, 2)
    assert np.exp(data.log_prob(u, np.zeros(2)))[0] == pytest.approx(0.5)
    skewed = Mixture.by_comparison(feedback.pairs(), 2, 2).log_prob(u * [1, 0.1], np.zeros(2))
    assert np.exp(skewed)[0] < 0.75 < 1 / (1 + np.exp(-(u * [1, 0.1]).mean(1)[0]))


def test_soft_labels_of_a_mixture_are_votes():
    soft = Feedback.of([Judgement("p", ("a", "b"), (0.3, 0.7), scale="probability")])
    votes = Feedback.of([Judgement("p", ("a", "b"), (float(i < 3), float(i >= 3))) for i in range(10)])
    u = np.random.default_rng(6).normal(size=(2, 2))
    one, ten = (Mixture.by_comparison(f.pairs(), 2, 2)(u, np.zeros(2))[0] for f in (soft, votes))
    assert one == pytest.approx(ten)


def test_one_component_is_bradley_terry_however_units_are_made():
    feedback = comparisons()
    pairs, c = feedback.pairs(), len(feedback.responses)
    u = np.random.default_rng(7).normal(size=c)
    expected = BradleyTerry(pairs, c)(u, np.zeros(0))[0]
    for data in (Mixture.by_comparison(pairs, c, 1), Mixture.by_person(pairs, c, 1)):
        assert data(u[:, None], np.zeros(1))[0] == pytest.approx(expected)


def test_people_are_needed_for_classes_of_people():
    feedback = Feedback.of([Judgement("p", ("a", "b"), (1.0, 0.0))])
    with pytest.raises(FeedbackError, match="column 'user'"):
        Mixture.by_person(feedback.pairs(), 2, 2)


@given(st.integers(1, 4), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_skew_symmetric_is_what_the_matrix_says(k, seed):
    rng = np.random.default_rng(seed)
    v, w = rng.normal(size=(2, 2 * k))
    matrix = np.kron(np.eye(k), np.array([[0.0, 1.0], [-1.0, 0.0]]))
    assert v @ turned(w[None])[0] == pytest.approx(v @ matrix @ w, abs=1e-9)
    assert v @ turned(v[None])[0] == pytest.approx(0.0, abs=1e-9)
    assert v @ turned(w[None])[0] == pytest.approx(-(w @ turned(v[None])[0]), abs=1e-9)


def test_a_block_with_a_constant_is_bradley_terry():
    feedback = comparisons()
    pairs, c = feedback.pairs(), len(feedback.responses)
    r = np.random.default_rng(8).normal(size=c)
    skew = SkewSymmetric(pairs, c)(np.stack([r, np.ones(c)], 1), np.zeros(0))
    plain = BradleyTerry(pairs, c)(r, np.zeros(0))
    assert skew[0] == pytest.approx(plain[0])
    np.testing.assert_allclose(skew[1][:, 0], plain[1], atol=1e-12)


def test_tables_are_choix_and_logistic_regression():
    rng = np.random.default_rng(9)
    truth, n = rng.normal(size=6), 6
    games = [(a, b) for a, b in rng.integers(0, n, (500, 2)) if a != b]
    wins = [(a, b) if rng.random() < 1 / (1 + np.exp(truth[b] - truth[a])) else (b, a) for a, b in games]
    feedback = Feedback.of([Judgement("p", (f"r{a}", f"r{b}"), (1.0, 0.0)) for a, b in wins])
    place = np.array([int(str(r)[1:]) for r in feedback.candidates.responses])
    u = np.empty(n)
    u[place] = fit_table(compile_likelihood("bradley-terry", feedback))[0]
    np.testing.assert_allclose(u - u.mean(), choix.ilsr_pairwise(n, wins), atol=1e-4)
    x = rng.normal(size=(n, 3))
    pairs = feedback.pairs()
    linear = fit_table(compile_likelihood("bradley-terry", feedback), x=x, l2=0.01)[0]
    oracle = LogisticRegression(C=1 / (0.01 * len(pairs)), fit_intercept=False, tol=1e-10, max_iter=2000)
    # as many lost as won, so that scikit-learn sees both labels
    z = x[pairs.a] - x[pairs.b]
    sign = np.where(np.arange(len(z)) % 2, 1, -1)
    oracle.fit(z * sign[:, None], sign > 0)
    np.testing.assert_allclose(linear, x @ oracle.coef_[0], atol=1e-4)


def naive_best_worst(v: np.ndarray, joint: bool) -> dict[tuple[int, int], float]:
    """P(best, worst) of utilities v by enumeration."""
    n = len(v)
    if joint:
        raw = {(b, w): np.exp(v[b] - v[w]) for b in range(n) for w in range(n) if b != w}
        total = sum(raw.values())
        return {k: value / total for k, value in raw.items()}
    out = {}
    for b in range(n):
        others = [i for i in range(n) if i != b]
        for w in others:
            out[b, w] = np.exp(v[b]) / np.exp(v).sum() * np.exp(-v[w]) / np.exp(-v[others]).sum()
    return out


@pytest.mark.parametrize("joint", [False, True])
def test_best_worst_is_the_enumeration_and_is_sampled_as_such(joint):
    feedback = Feedback.of([Judgement("p", ("a", "b", "c", "d"), (3.0, 1.0, 1.0, 0.0))])
    v = np.array([0.5, -0.3, 1.2, 0.0])
    data = BestWorst.of(feedback, joint=joint)
    expected = naive_best_worst(v, joint)
    assert np.exp(data.log_prob(v, np.zeros(0)))[0] == pytest.approx(expected[0, 3])
    many = data.take(np.zeros(20_000, dtype=np.int64))
    drawn = many.sample(v, np.zeros(0), np.random.default_rng(0)).items[0]
    assert {tuple(sorted(row)) for row in drawn[:50]} == {(0, 1, 2, 3)}
    for (b, w), p in expected.items():
        assert np.mean((drawn[:, 0] == b) & (drawn[:, -1] == w)) == pytest.approx(p, abs=0.015)


def test_best_worst_leaves_out_what_names_neither_and_is_bradley_terry_of_two():
    rows = [Judgement("p", ("a", "b", "c"), (2.0, 2.0, 0.0)), Judgement("p", ("a", "b"), (1.0, 0.0))]
    data = compile_likelihood("best-worst", Feedback.of(rows))
    assert len(data) == 1
    assert np.exp(data.log_prob(np.array([1.0, 0.0, 0.0]), np.zeros(0)))[0] == pytest.approx(1 / (1 + np.exp(-1)))
    with pytest.raises(FeedbackError, match="one best and one worst"):
        compile_likelihood("maxdiff", Feedback.of(rows[:1]))


@pytest.mark.parametrize("ties", ["half", "davidson", "rao-kupper"])
def test_fitting_recovers_what_was_sampled(ties):
    rng = np.random.default_rng(10)
    a = rng.integers(0, 5, 8000)
    b = (a + rng.integers(1, 5, 8000)) % 5
    feedback = Feedback.of([Judgement("p", (f"r{i}", f"r{j}"), (1.0, 0.0)) for i, j in zip(a, b, strict=True)])
    asked = compile_likelihood("bradley-terry", feedback, ties=ties)
    u, theta = np.array([0.0, 0.5, 1.0, -1.0, 0.2]), np.array([0.4] * TIES[ties].parameters)
    said = asked.sample(u, theta, np.random.default_rng(1))
    found, threshold = fit_table(said)
    np.testing.assert_allclose(found - found.mean(), u - u.mean(), atol=0.15)
    np.testing.assert_allclose(threshold, theta, atol=0.15)
    assert ((said.pairs.p == 0.5).any()) == (ties != "half")


def test_sampled_rankings_are_plackett_luce():
    feedback = Feedback.of([Judgement("p", ("a", "b", "c"), (3.0, 2.0, 1.0))])
    v = np.array([0.4, -0.5, 0.1])
    data = PlackettLuce.of(feedback).take(np.zeros(20_000, dtype=np.int64))
    drawn = data.sample(v, np.zeros(0), np.random.default_rng(0)).items[0]
    expected = np.exp(PlackettLuce.of(feedback).log_prob(v, np.zeros(0)))[0]
    assert np.mean((drawn == [0, 1, 2]).all(1)) == pytest.approx(expected, abs=0.015)


def test_a_latent_class_is_found_again():
    rng = np.random.default_rng(11)
    feedback = comparisons(4000, 6, people=80, seed=11)
    asked = Mixture.by_person(feedback.pairs(ties=False), len(feedback.responses), 2)
    u = rng.normal(size=6)
    said = asked.sample(np.stack([2 * u, -2 * u], 1), np.array([0.5, 0.0]), rng)
    found, theta = fit_table(said, width=2, seed=1)
    found = found[:, np.argsort(-theta)] - found[:, np.argsort(-theta)].mean(0)  # the larger class first
    np.testing.assert_allclose(found[:, 0], 2 * (u - u.mean()), atol=0.6)
    assert np.corrcoef(found.T)[0, 1] < -0.95


@given(st.integers(2, 30), st.floats(0.3, 3.0), st.booleans(), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_reading_a_density_undoes_the_rule(n, beta, by_token, seed):
    rng = np.random.default_rng(seed)
    density = np.log(rng.dirichlet(np.ones(n)) + 1e-9)
    density -= np.logaddexp.reduce(density)
    lengths = rng.integers(1, 12, n).astype(float)
    rule = Behaviour(beta, by_token)
    r = rule.observable(density, lengths) + rng.normal()  # a fit knows rewards up to a constant
    np.testing.assert_allclose(rule.log_density(r, lengths), density, atol=1e-6)


def test_luce_utilities_are_log_densities_and_lengths_are_needed():
    feedback = comparisons()
    c = len(feedback.responses)
    u = np.random.default_rng(12).normal(size=c)
    words = word_counts(feedback)
    data = compile_likelihood("luce", feedback, length_normalized=True, lengths="words")
    assert isinstance(data, Luce)
    expected = compile_likelihood("bradley-terry", feedback)(u / words, np.zeros(0))[0]
    assert data(u, np.zeros(0))[0] == pytest.approx(expected)
    with pytest.raises(ConfigError, match="needs the length of every response"):
        compile_likelihood("luce", feedback, length_normalized=True)
    with pytest.raises(ConfigError, match="one number a response"):
        compile_likelihood("luce", feedback, length_normalized=True, lengths=np.ones(2))
    with pytest.raises(FeedbackError, match="lengths > 0"):
        compile_likelihood("luce", feedback, length_normalized=True, lengths=np.zeros(c))
    with pytest.raises(ConfigError, match="beta"):
        compile_likelihood("luce", feedback, beta=0.0)


def test_ratings_name_no_verdicts():
    ratings = Feedback.of([Judgement("p", (f"r{i}",), (float(i),), scale="rating") for i in range(4)])
    data = compile_likelihood("regression", ratings)
    assert len(data.log_prob(np.zeros(4), np.zeros(1))) == 4
    drawn = data.sample(np.arange(4.0), np.zeros(1), np.random.default_rng(0))
    assert len(drawn) == 4
    with pytest.raises(FeedbackError, match="no better"):
        data.verdicts()


def test_a_reward_model_takes_luce_and_rao_kupper(tmp_path):
    import guerdon
    from guerdon.reward.learned.model import RewardModel

    rows = [Judgement(f"p{i % 9}", (f"good one {i}", f"bad {i}"), (1.0, float(i % 5 == 0))) for i in range(60)]
    settings = {"likelihood": "luce", "length_normalized": True, "ties": "rao-kupper", "encoder": "hash:16"}
    reward = RewardModel(**settings).fit(Feedback.of(rows))
    assert len(reward.theta) == 1
    again = guerdon.load(reward.save(tmp_path / "luce"))
    assert again.params["length_normalized"] is True  # type: ignore[attr-defined]

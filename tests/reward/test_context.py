"""A reward given a context: it uses the context, keeps the plain reward, and says when it ignores what it is told."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import guerdon
from guerdon.encode import load_encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Function
from guerdon.reward.learned import context as module
from guerdon.reward.learned.context import ContextReward, Situations, context_report
from guerdon.reward.learned.context_fusion import AUTO, FUSIONS
from guerdon.reward.learned.context_mixture import ContextPrior, decompose
from guerdon.reward.learned.likelihood import compile_likelihood
from guerdon.reward.learned.model import RewardModel
from guerdon.testing import check_reward

FRUIT, WEATHER = "more fruit, please: apple", "talk of the weather: rain"
WORDS = ("apple", "pear", "rain", "roof", "sky", "blue")
SMALL = {"encoder": "hash:64", "hidden": 16, "epochs": 15}


def reversals(n: int = 150, seed: int = 0, plain: bool = True) -> Feedback:
    """Pairs judged by apples under one context and by rain under another; without one, by sky."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        a, b = (" ".join(rng.choice(WORDS, 6)) for _ in range(2))
        wishes = [(FRUIT, "apple"), (WEATHER, "rain"), *([(None, "sky")] if plain else [])]
        for wish, word in wishes:
            gap = a.count(word) - b.count(word)
            if gap:
                rows.append(Judgement(f"p{seed}.{i}", (a, b), (float(gap > 0), float(gap < 0)), criterion=wish))
    return Feedback.of(rows)


def accuracy(reward, feedback: Feedback) -> float:
    pairs, value = feedback.pairs(ties=False), reward.score(feedback.candidates).value
    return float(np.mean((value[pairs.a] > value[pairs.b]) == (pairs.p > 0.5)))


@pytest.fixture(scope="module")
def fitted():
    return ContextReward(**SMALL, fusion="bilinear").fit(reversals())


@pytest.mark.parametrize("fusion", [*FUSIONS, "auto"])
def test_every_fusion_uses_the_context(fusion, tmp_path):
    steps = {"learning_rate": 1e-2} if fusion == "low-rank" else {}  # a product of two factors starts slowly
    reward = ContextReward(**SMALL, **steps, fusion=fusion).fit(reversals())
    report = context_report(reward, reversals(60, 1, plain=False))
    assert report.right > 0.9
    assert report.wrong < 0.1
    assert not report.ignored
    assert set(reward.summary["held_out_loss"]) == (set(AUTO) if fusion == "auto" else {fusion})
    again = guerdon.load(reward.save(tmp_path / "m"))
    asked = Candidates(["p"] * 3, ["apple apple", "rain", "sky"], criterion=[FRUIT, None, "something new"])
    np.testing.assert_allclose(again.score(asked).value, reward.score(asked).value, atol=1e-6)
    assert "save and load" in check_reward(reward, asked, long=False).passed


def test_without_a_context_it_is_the_model_trained_on_plain_rows_alone(fitted):
    data = reversals()
    bare = data.take(data.criterion < 0)
    test = reversals(60, 1)
    # the same held-out prompts for the penalty: only then are the two the same problem
    validation = reversals(40, 2)
    mine = ContextReward(**SMALL, fusion="bilinear").fit(data, validation=validation)
    alone = ContextReward(**SMALL, fusion="bilinear").fit(bare, validation=validation.take(validation.criterion < 0))
    assert accuracy(mine, test.take(test.criterion < 0)) == accuracy(alone, test.take(test.criterion < 0)) > 0.9
    assert accuracy(fitted, test.take(test.criterion < 0)) > 0.9


def test_a_context_blind_model_cannot_pass_half_on_reversals():
    data, test = reversals(plain=False), reversals(60, 1, plain=False)
    blind = RewardModel(encoder="hash:64").fit(data)
    pairs = test.pairs()
    turned = [i for i, w in enumerate(module._reversals(pairs, test.criteria)) if w is not None]
    value = blind.score(test.candidates).value
    right = (value[pairs.a] > value[pairs.b]) == (pairs.p > 0.5)
    assert right[turned].mean() == 0.5


def test_a_reward_that_ignores_the_context_is_told_so(caplog):
    with caplog.at_level(logging.WARNING):
        report = context_report(Function(lambda p, r: float(r.count("apple"))), reversals(60, 1, plain=False))
    assert report.ignored
    assert report.right == report.none
    assert "context is ignored; check the data" in caplog.text.replace(": 50 % right", "").replace(
        " under a wrong context", ""
    )


def test_both_reversals_of_a_pair_are_on_one_side_of_the_inner_split(monkeypatch):
    seen = []
    split = module.inner_split
    monkeypatch.setattr(module, "inner_split", lambda *a, **k: seen.append(split(*a, **k)) or seen[-1])
    ContextReward(**SMALL, fusion="bilinear").fit(reversals())
    train, held = seen[-1]
    assert held is not None
    assert not set(train.judgement_prompt) & set(held.judgement_prompt)


def test_each_context_text_is_encoded_once(monkeypatch):
    encoder = load_encoder("hash:64?features=response")
    read = []
    encode = type(encoder).encode
    monkeypatch.setattr(type(encoder), "encode", lambda self, c, **k: read.append(list(c.responses)) or encode(self, c))
    reward = ContextReward(encoder="hash:64", context_encoder=encoder, fusion="bilinear").fit(reversals())
    read.clear()
    reward.score(Candidates(["p"] * 20, [f"apple {i}" for i in range(20)], criterion=[FRUIT, WEATHER] * 10))
    contexts = [texts for texts in read if FRUIT in texts]
    assert contexts == [[FRUIT, WEATHER]]


def test_too_long_a_context_is_refused_never_cut(fitted):
    long = "please " * 200
    scores = fitted.score(Candidates(["p", "p"], ["apple", "apple"], criterion=[long, FRUIT]))
    assert scores.status == ["too_long", "scored"]
    assert np.isnan(scores.value[0])
    assert "max_context" in (scores.reason[0] or "")
    rows = [Judgement(f"p{i}", ("a", "b"), (1.0, 0.0), criterion=long) for i in range(40)]
    with pytest.raises(FeedbackError, match="never cut"):
        ContextReward(**SMALL).fit(Feedback.of(rows))


def test_marginal_is_the_weighted_mean_over_contexts(fitted):
    a, b = "apple apple pear", "rain rain roof"
    both = fitted.prefer_given("p", a, b, [FRUIT, WEATHER])
    assert both[0] > 0.9 > 0.1 > both[1]
    assert fitted.marginal("p", a, b, [FRUIT, WEATHER]) == pytest.approx(both.mean())
    assert fitted.marginal("p", a, b, [FRUIT, WEATHER], [3, 1]) == pytest.approx(both @ [0.75, 0.25])
    ask = [Candidates(["p"], [r], criterion=[FRUIT]) for r in (a, b)]
    assert both[0] == pytest.approx(fitted.prefer(*ask).value[0])
    with pytest.raises(ConfigError, match="one weight"):
        fitted.marginal("p", a, b, [FRUIT], [1.0, 2.0])


def test_situations_are_the_feedback_with_contexts_in_the_candidates():
    data = reversals(20)
    whole = Situations.of(data)
    unfolded = whole.unfold(data)
    before, after = data.pairs(), unfolded.pairs()
    np.testing.assert_array_equal(whole.item[after.a], before.a)
    np.testing.assert_array_equal(whole.criterion[after.a], before.criterion)
    u = np.random.default_rng(0).normal(size=len(data.responses))  # where contexts say nothing it is the same loss
    plain = compile_likelihood("bradley-terry", data)(u, np.zeros(0))[0]
    assert compile_likelihood("bradley-terry", unfolded)(u[whole.item], np.zeros(0))[0] == pytest.approx(plain)


def test_bilinear_gradient_is_that_of_finite_differences():
    data = reversals(12, plain=False)
    whole = Situations.of(data)
    rng = np.random.default_rng(0)
    f, c = rng.normal(size=(len(data.responses), 5)), rng.normal(size=(2, 3))
    compiled = compile_likelihood("bradley-terry", whole.unfold(data))
    fusion = FUSIONS["bilinear"](l2=0.05)
    at = (whole.item, whole.criterion)
    fusion.fit(f, c, at, np.zeros(len(whole.item)), compiled, None)

    def objective(w: np.ndarray) -> float:
        fusion.weight = w
        u = fusion(f[at[0]], c[at[1]])
        return compiled(u, np.zeros(0))[0] + 0.025 * float((w * w).sum())

    best = fusion.weight.copy()
    for _ in range(20):  # the optimum of a convex problem: no small step is lower
        step = 1e-2 * rng.normal(size=best.shape)
        assert objective(best + step) >= objective(best) - 1e-8


def test_every_row_with_a_context_still_gives_a_blind_plain_reward():
    reward = ContextReward(**SMALL, fusion="bilinear").fit(reversals(plain=False))
    assert reward.stands_alone
    scores = reward.score(Candidates(["p"], ["apple"]))
    assert scores.scored.all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10_000))
def test_the_error_never_exceeds_its_bound(k, seed):
    rng = np.random.default_rng(seed)
    q, p = rng.dirichlet(np.full(k, 0.3), 50), rng.dirichlet(np.full(k, 0.3), 50)
    g, t = rng.random((2, 50, k)).round()
    found = decompose(q, p, g, t)
    assert (found.error <= found.bound + 1e-12).all()
    exact = decompose(p, p, t, t)
    np.testing.assert_allclose(exact.bound, 0, atol=1e-12)


def test_no_distribution_is_refused():
    with pytest.raises(ConfigError, match="no distribution"):
        decompose(np.array([[0.5, 0.6]]), np.array([[0.5, 0.5]]), np.zeros((1, 2)), np.zeros((1, 2)))


def test_the_prior_over_contexts_is_learned_from_observed_rows():
    rng = np.random.default_rng(0)
    topic = rng.integers(2, size=3000)
    truth = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]])
    context = np.array([rng.choice(3, p=truth[t]) for t in topic])
    seen = np.where(rng.random(3000) < 0.5, context, -1)
    prior = ContextPrior.fit(np.eye(2)[topic], seen)
    np.testing.assert_allclose(prior(np.eye(2)), truth, atol=0.05)
    with pytest.raises(FeedbackError, match="no context was observed"):
        ContextPrior.fit(np.eye(2), np.array([-1, -1]))

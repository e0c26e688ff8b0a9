"""RewardModel on planted features: it recovers what was planted, whatever the head and the likelihood."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from guerdon import Feedback
from guerdon.errors import ConfigError, ModelError
from guerdon.feedback.schema import Judgement
from guerdon.reward.learned.features import FeatureScaling, inner_split
from guerdon.reward.learned.heads import LinearHead, MLPHead
from guerdon.reward.learned.likelihood import compile_likelihood
from guerdon.reward.learned.model import RewardModel
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool


@pytest.fixture(scope="module")
def world() -> tuple[Pool, Population]:
    pool = Pool.planted(30, 30, 16, seed=0)
    return pool, Population.simulate("shared", pool, users=40, held_out=0.2, seed=0)


def heldout_accuracy(model: RewardModel, pool: Pool, people: Population) -> float:
    test = people.history(count=50, held_out=True, seed=3)
    pairs = test.pairs(ties=False)
    value = model.score(test.candidates).value
    truth = people.utilities(np.array([0]))[0]
    rows = pool.rows(test.candidates)
    right = np.sign(value[pairs.a] - value[pairs.b]) == np.sign(truth[rows[pairs.a]] - truth[rows[pairs.b]])
    return float(right.mean())


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize(
    ("likelihood", "form"),
    [
        ("bradley-terry", "comparison"),
        ("plackett-luce", "ranking"),
        ("plackett-luce", "best-of-n"),
        ("classification", "comparison"),
        ("regression", "rating"),
        ("bradley-terry", "rating"),
    ],
)
def test_every_head_learns_from_every_form(world, head, likelihood, form):
    pool, people = world
    feedback = people.history(form=form, count=40)
    model = RewardModel(encoder=pool.encoder(), head=head, likelihood=likelihood, epochs=15).fit(feedback)
    # an MLP needs more data than a linear head to find a linear truth
    assert heldout_accuracy(model, pool, people) > (0.88 if head == "linear" else 0.8)


def test_linear_bradley_terry_is_logistic_regression_on_differences(world):
    feedback = world[1].history(count=20)
    x = np.random.default_rng(0).normal(size=(len(feedback.responses), 5))
    likelihood = compile_likelihood("bradley-terry", feedback)
    head = LinearHead(l2=0.01)
    head.fit(x, likelihood, None)
    pairs = feedback.pairs()
    d = x[pairs.a] - x[pairs.b]
    oracle = LogisticRegression(C=1 / (0.01 * len(pairs)), fit_intercept=False, tol=1e-9, max_iter=1000)
    oracle.fit(np.vstack([d, -d]), np.r_[pairs.p > 0.5, pairs.p < 0.5], sample_weight=np.full(2 * len(d), 0.5))
    np.testing.assert_allclose(head.weight, oracle.coef_[0], atol=1e-3)


def test_the_same_seed_gives_the_same_scores(world):
    pool, people = world
    feedback = people.history(count=10)
    for head in ("linear", "mlp"):
        one, two = (RewardModel(encoder=pool.encoder(), head=head, epochs=3).fit(feedback) for _ in range(2))
        np.testing.assert_array_equal(one.score(pool.candidates).value, two.score(pool.candidates).value)


def test_mlp_arrays_come_back_as_the_same_function(world):
    pool, people = world
    model = RewardModel(encoder=pool.encoder(), head="mlp", hidden=[32, 16], epochs=2).fit(people.history(count=10))
    again = RewardModel(encoder=pool.encoder(), head="mlp", hidden=[32, 16])
    again.restore(model.arrays())
    np.testing.assert_array_equal(model.score(pool.candidates).value, again.score(pool.candidates).value)


def test_validation_of_its_own_guides_the_penalty(world):
    pool, people = world
    train, held = people.history(count=5), people.history(count=30, seed=1)
    model = RewardModel(encoder=pool.encoder()).fit(train, validation=held)
    assert heldout_accuracy(model, pool, people) > 0.9
    assert model.summary["judgements"] == len(train) + len(held)


def test_constant_features_do_not_matter():
    scaling = FeatureScaling()
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    x[:, 1] = 7.0
    scaling.fit(x)
    out = scaling(x)
    assert np.all(out[:, 1] == 0)
    assert np.mean(np.sum(out**2, 1)) == pytest.approx(2 / 3, rel=1e-5)
    with pytest.raises(ModelError, match="fitted on 3 features"):
        scaling(x[:, :2])


def test_the_inner_split_holds_out_whole_prompts(world):
    feedback = world[1].history(count=10)
    train, held = inner_split(feedback, seed=0)
    assert held is not None
    assert not set(train.judgement_prompt) & set(held.judgement_prompt)
    few = feedback.take(np.arange(10))
    assert inner_split(few, 0) == (few, None)


def test_a_penalty_for_new_prompts_is_chosen_on_new_prompts():
    """Six prompts whose people agree on each text for reasons of its own: choosing on the same texts overfits."""
    rng = np.random.default_rng(0)
    pool = Pool.planted(6, 30, 256, seed=0)
    wanted = pool.features[:, 0] * 4
    luck = rng.normal(size=len(wanted)) * 3  # what people see in a text and features cannot say
    rows = rng.integers(0, 30, size=(3000, 2)) + 30 * rng.integers(0, 6, size=(3000, 1))
    rows = rows[rows[:, 0] != rows[:, 1]]
    first = (wanted + luck)[rows[:, 0]] > (wanted + luck)[rows[:, 1]]
    prompts, responses = pool.candidates.prompts, pool.candidates.responses
    feedback = Feedback.of(
        Judgement(prompts[a], (responses[a], responses[b]), (float(f), float(not f)), user=f"u{i % 40}")
        for i, ((a, b), f) in enumerate(zip(rows, first, strict=True))
    )
    train, test = feedback.split("prompt", 0.34, 1)
    losses = {}
    for by in ("auto", "judgement"):
        model = RewardModel(encoder=pool.encoder(), choose_by=by).fit(train)
        losses[by] = pair_loss(model, test)
    assert losses["auto"] < losses["judgement"] - 0.02
    with pytest.raises(ConfigError, match="choose_by='weather'"):
        RewardModel(encoder=pool.encoder(), choose_by="weather").fit(train)


def pair_loss(model, feedback):
    pairs = feedback.pairs()
    u = model.score(feedback.candidates).value
    return float(np.mean(np.logaddexp(0, -(2 * pairs.p - 1) * (u[pairs.a] - u[pairs.b]))))


def test_wrong_settings_are_named():
    with pytest.raises(ConfigError, match="linear, mlp"):
        RewardModel(head="tree")
    with pytest.raises(ConfigError, match="label_smoothing"):
        RewardModel(label_smoothing=1.0)
    with pytest.raises(ConfigError, match="l2"):
        RewardModel(l2=-1)
    assert MLPHead(hidden=8).hidden == [8]


def test_concatenated_feedback_is_the_same_judgements(world):
    a, b = world[1].history(count=3), world[1].history(count=3, form="rating", seed=2)
    both = Feedback.concatenate([a, b])
    assert list(both.judgements()) == [*a.judgements(), *b.judgements()]

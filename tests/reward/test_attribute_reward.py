"""Attribute composition: closed form and logistic agree, weights can be read, and prompted attributes carry them."""

import json

import numpy as np
import pytest

import guerdon
from guerdon import Candidates, Feedback, Judgement
from guerdon.errors import ConfigError, FeedbackError
from guerdon.reward.personal.attributes import AttributeReward
from guerdon.testing import check_reward
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool

KNOWN, STRANGERS, A = 60, 20, 6


class World:
    """Six attributes, tastes p ~ N(0, I) scaled to norm 1.5, Bradley-Terry verdicts: at best about 0.8 can be known."""

    def __init__(self, features=None, seed: int = 0) -> None:
        self.pool = Pool.planted(150, 6, A, seed=seed)
        if features is not None:
            self.pool = Pool(self.pool.candidates, features(self.pool.features))
        people = Population.simulate(
            "signed:1", self.pool, self.pool.features[:, :A], users=KNOWN + STRANGERS, held_out=0.3, seed=seed,
            annotators=Annotator.bradley_terry(1.5),
        )  # fmt: skip
        self.people, self.strangers = people, np.arange(KNOWN, KNOWN + STRANGERS)
        self.train = people.history(count=50, users=np.arange(KNOWN))

    def shots(self, count: int) -> Feedback:
        return self.people.history(count=count, users=self.strangers)

    def accuracy(self, model: AttributeReward, shift: int = 0) -> float:
        test = self.people.history(count=100, users=self.strangers, held_out=True, seed=1)
        q = test.pairs(ties=False)
        users = list(np.roll(test.users, shift))
        table = model.score_table(test.candidates, users)
        return float(np.mean((table[q.a, q.user] > table[q.b, q.user]) == (q.p > 0.5)))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def fitted(world) -> dict[str, AttributeReward]:
    return {
        s: AttributeReward(encoder=world.pool.encoder(), solver=s).fit(world.train) for s in ("closed-form", "logistic")
    }


def test_closed_form_and_logistic_agree_and_the_weights_are_somebodys(world, fitted):
    found = {}
    for solver, model in fitted.items():
        found[solver] = [world.accuracy(model.adapt(world.shots(n))) for n in (10, 50)]
        assert found[solver][0] > 0.58
        assert found[solver][1] > 0.66
        assert abs(world.accuracy(model.adapt(world.shots(50)), shift=1) - 0.5) < 0.07, "another's pairs are useless"
    assert abs(found["closed-form"][1] - found["logistic"][1]) < 0.04


@pytest.mark.parametrize("solver", ["closed-form", "logistic"])
def test_weights_say_what_people_want(world, fitted, solver):
    model = fitted[solver].adapt(world.shots(50))
    truth = world.people.weights[world.strangers]
    rows = [model.people.index[world.people.users[i]] for i in world.strangers]
    agreement = [np.corrcoef(t, w)[0, 1] for t, w in zip(truth, model.people.weights[rows], strict=True)]
    assert np.mean(agreement) > 0.65


def test_closed_form_is_the_mean_difference_of_unit_norm(world, fitted):
    model = fitted["closed-form"].adapt(world.shots(10))
    name = world.people.users[world.strangers[2]]
    theirs = world.shots(10).where(user=name)
    u, total = model.utilities(theirs.candidates)[:, 1:], np.zeros(A)
    for a, b, p in zip(theirs.pairs().a, theirs.pairs().b, theirs.pairs().p, strict=True):
        total += (u[a] - u[b]) if p == 1 else (u[b] - u[a])
    got = model.people.weights[model.people.index[name]]
    np.testing.assert_allclose(got, model.beta * total / np.linalg.norm(total), atol=1e-10)
    half = [theirs.take(np.arange(len(theirs)) % 2 == i) for i in (0, 1)]
    twice = fitted["closed-form"].adapt(half[0]).adapt(half[1])
    np.testing.assert_allclose(twice.people.weights[twice.people.index[name]], got, atol=1e-10)


def test_a_loud_attribute_does_not_dominate(world, fitted):
    """Without standardisation the attribute with the largest scale would be everybody's taste."""
    loud = World(lambda x: x * np.r_[100.0, np.ones(A - 1)])
    model = AttributeReward(encoder=loud.pool.encoder(), solver="closed-form").fit(loud.train)
    assert world.accuracy(fitted["closed-form"].adapt(world.shots(30))) == pytest.approx(
        loud.accuracy(model.adapt(loud.shots(30))), abs=0.02
    )


@pytest.mark.parametrize("solver", ["closed-form", "logistic"])
def test_an_attribute_that_is_the_neutral_prompt_weighs_exactly_nothing(solver):
    world = World(lambda x: np.hstack([x, np.zeros((len(x), 2))]))
    model = AttributeReward(encoder=world.pool.encoder(), solver=solver).fit(world.train).adapt(world.shots(20))
    assert (model.people.weights[:, A:] == 0).all()
    assert model.summary["constant_attributes"] == 2


def test_collinear_attributes_are_reported(world, fitted, caplog):
    double = World(lambda x: np.hstack([x, x[:, :1] + 1e-3 * np.random.default_rng(0).normal(size=(len(x), 1))]))
    model = AttributeReward(encoder=double.pool.encoder()).fit(double.train)
    assert model.summary["condition_number"] > 100 > 10 > fitted["logistic"].summary["condition_number"]
    assert "say nearly the same" in caplog.text


@pytest.mark.parametrize("solver", ["closed-form", "logistic"])
def test_the_profile_covers_the_truth_and_narrows(world, fitted, solver, caplog):
    name = world.people.users[world.strangers[0]]
    widths = []
    for count in (8, 60):
        profile = fitted[solver].profile(name, world.shots(count))
        assert len(profile) == A
        strengths = [abs(w) for w, _, _ in profile.values()]
        assert strengths == sorted(strengths, reverse=True)
        widths.append(np.mean([high - low for _, low, high in profile.values()]))
    assert widths[1] < widths[0]
    assert "only 8 comparisons" in caplog.text
    with pytest.raises(FeedbackError, match="compared nothing"):
        fitted[solver].profile("nobody", world.shots(5))


def test_prompted_attributes_of_a_language_model_end_to_end(tmp_path):
    pytest.importorskip("transformers")
    from tiny_models import tiny_causal_lm

    prompts = tmp_path / "prompts.json"
    attributes = {"formal": "Be formal.", "brief": "Be brief.", "funny": "Be funny.", "same": "You help."}
    prompts.write_text(json.dumps({"base": "You help.", "attributes": attributes}))
    spec = f"attributes:{tiny_causal_lm(tmp_path / 'lm')}?prompts={prompts}"
    rng = np.random.default_rng(0)
    words = ["rain", "roof", "apple", "pear", "sky", "blue"]
    texts = [" ".join(rng.choice(words, 4)) + f" {i}" for i in range(60)]
    from guerdon.encode import load_encoder

    x = load_encoder(spec).encode(Candidates(["Say something."] * 60, texts))
    z = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    rows = []
    for i in range(400):  # odd people like the first attribute, even ones dislike it
        a, b = rng.choice(60, 2, replace=False)
        sign = 1 if i % 2 else -1
        if sign * (z[a, 0] - z[b, 0]) < 0:
            a, b = b, a
        rows.append(Judgement("Say something.", (texts[a], texts[b]), (1.0, 0.0), user=f"u{i % 20}"))
    feedback = Feedback.of(rows)
    for solver in ("closed-form", "logistic"):
        model = AttributeReward(encoder=spec, solver=solver).fit(feedback)
        profile = model.profile("u1", feedback)
        if solver == "logistic":  # the closed form does not tell correlated attributes apart
            assert next(iter(profile)) == "formal"
        assert profile["formal"][1] > 0, "the interval is above zero"
        assert profile["same"] == (0.0, 0.0, 0.0)
        assert model.profile("u2", feedback)["formal"][2] < 0
        assert "strangers" in check_reward(model, long=False).passed
        again = guerdon.load(model.save(tmp_path / solver))
        some = Candidates(["Say something."] * 3, texts[:3], user=["u1", "u2", None])
        np.testing.assert_allclose(again.score(some).value, model.score(some).value, atol=1e-5)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="solver"):
        AttributeReward(solver="sgd")

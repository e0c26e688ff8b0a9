"""The mixture of rewards: routing without seeing responses, Hedge as Bayes, scales, collapse, people unknown."""

import logging

import numpy as np
import pytest
from scipy.special import expit, log_softmax

import guerdon
from guerdon.errors import ConfigError, ModelError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.micro import TOPICS, World
from guerdon.reward.learned.mixture import MixtureReward
from guerdon.reward.learned.routing import Contexts, losses_of
from guerdon.testing import check_reward


@pytest.fixture(scope="module")
def stage():
    world = World(0)
    feedback = world.feedback(world.ask(5000, unseen=False))
    reward = MixtureReward(encoder=world.pool.encoder(), heads=2, prompt_width=TOPICS, epochs=25).fit(feedback)
    return world, feedback, reward


def shots(world: World, name: str, group: int, count: int = 20) -> Feedback:
    return world.feedback(world.ask(count, unseen=False, group=group), [name] * count)


def test_both_rewards_are_found_and_the_router_knows_the_topics(stage):
    world, _, reward = stage
    assert min(world.directions(reward)) > 0.95
    assert reward.summary["effective_heads"] > 1.8
    assert not reward.summary["collapsed"]
    weights = reward.weights(world.pool.candidates.take(range(0, 3200, 8)))
    by_topic = np.array([weights[world.topic == t].mean(0) for t in range(4)])
    first = by_topic[:, by_topic[0].argmax()]  # the reward of the first group
    assert first[0] > first[1] > first[2] > first[3]
    assert first[0] > 0.7 > 0.3 > first[3]


def test_the_router_does_not_see_responses(stage):
    world, _, reward = stage
    weights = reward.weights(world.pool.candidates.take(range(8)))
    np.testing.assert_allclose(weights, np.tile(weights[0], (8, 1)))


def test_hedge_is_the_bayesian_posterior_and_order_does_not_matter(stage):
    world, _, reward = stage
    feedback = shots(world, "ann", 1, 6)
    known = reward.adapt(feedback)
    asked = world.pool.candidates.take([5])
    pairs = feedback.pairs()
    u = reward.x(feedback.candidates) @ reward.heads
    likelihood = np.prod(
        [np.where(p > 0.5, expit(d), expit(-d)) for d, p in zip(u[pairs.a] - u[pairs.b], pairs.p, strict=False)], 0
    )
    posterior = reward.weights(asked)[0] * likelihood
    np.testing.assert_allclose(known.weights(asked.asked_by("ann"))[0], posterior / posterior.sum(), rtol=1e-9)
    halves = reward.adapt(feedback.take(np.arange(3, 6))).adapt(feedback.take(np.arange(3)))
    np.testing.assert_allclose(halves.weights(asked.asked_by("ann")), known.weights(asked.asked_by("ann")))
    assert not reward.users
    assert known.users == ("ann",)


def test_a_few_comparisons_find_the_group_of_a_person(stage):
    world, _, reward = stage
    known = reward.adapt(Feedback.concatenate([shots(world, "one", 0), shots(world, "other", 1)]))
    for name, group in (("one", 0), ("other", 1)):
        tests = world.ask(300, unseen=True, group=group, noise=False)
        a, b = world.pool.candidates.take(tests.a).asked_by(name), world.pool.candidates.take(tests.b)
        assert np.mean((known.prefer(a, b).value > 0.5) == tests.first) > 0.9
        assert np.mean((known.score(a).value > known.score(b.asked_by(name)).value) == tests.first) > 0.9


def test_prefer_mixes_probabilities_and_score_mixes_scaled_rewards(stage):
    world, _, reward = stage
    a, b = world.pool.candidates.take(range(0, 40, 8)), world.pool.candidates.take(range(1, 41, 8))
    w = reward.weights(a)
    d = (reward.x(a) - reward.x(b)) @ reward.heads
    np.testing.assert_allclose(reward.prefer(a, b).value, np.sum(w * expit(d), axis=1))
    np.testing.assert_allclose(reward.score(a).value, np.sum(w * reward.rewards(a), axis=1))
    table = reward.score_table(a, ["nobody"])
    np.testing.assert_allclose(table[:, 0], reward.score(a).value)
    n = np.arange(len(a))
    both = Candidates([*a.prompts, *b.prompts], [*a.responses, *b.responses])
    np.testing.assert_allclose(reward.prefer_at(both, n, n + len(a), [None] * len(a)), reward.prefer(a, b).value)


def test_a_loud_reward_does_not_decide(stage):
    """Often got wrong: rewards of different scale; scores are the same however loud one of them is."""
    world, feedback, reward = stage
    loud = MixtureReward(**{**reward.params, "encoder": world.pool.encoder()})
    arrays = reward.arrays()
    gain = np.array([1.0, 50.0])
    loud.restore({**arrays, "heads": arrays["heads"] * gain, "center": arrays["center"] * gain,
                  "spread": arrays["spread"] * gain})  # fmt: skip
    c = world.pool.candidates.take(range(30))
    np.testing.assert_allclose(loud.score(c).value, reward.score(c).value)
    np.testing.assert_allclose(reward.rewards(feedback.candidates).std(0), 1.0, rtol=0.1)


def test_distilled_routers_stay_near_hedge_and_are_saved(stage, tmp_path):
    world, _, reward = stage
    distilling = MixtureReward(**{**reward.params, "encoder": world.pool.encoder(), "adaptation": "distil"})
    distilling.restore(reward.arrays())
    feedback = shots(world, "ann", 1)
    routed, hedged = distilling.adapt(feedback), reward.adapt(feedback)
    c = world.pool.candidates.take(range(0, 320, 8)).asked_by("ann")
    assert np.abs(routed.weights(c) - hedged.weights(c)).mean() < 0.1
    assert routed.contexts.distilled.all()
    assert np.abs(routed.contexts.shift).max() > 0
    again = Contexts.from_arrow(routed.people_table(), 2, reward.settings["router_hidden"])
    np.testing.assert_allclose(again.shift, routed.contexts.shift)
    with pytest.raises(ModelError, match="does not fit"):
        Contexts.from_arrow(routed.people_table(), 3, 32)


def test_distilling_can_learn_weights_that_depend_on_the_prompt(stage):
    """A person who follows one group on half of the topics and the other group on the rest."""
    world, _, reward = stage
    asked = [world.ask(600, unseen=False, group=g) for g in (0, 1)]
    parts = []
    for group, questions in enumerate(asked):
        mine = (world.topic[questions.a // 8] % 2) == group
        part = world.feedback(questions, ["mixed"] * 600).take(np.flatnonzero(mine)[:150])
        parts.append(part)
    feedback = Feedback.concatenate(parts)
    found = {}
    for kind in ("hedge", "distil"):
        settings = {**reward.params, "encoder": world.pool.encoder(), "adaptation": kind, "distil_weight": 0.01}
        other = MixtureReward(**settings)
        other.restore(reward.arrays())
        known = other.adapt(feedback)
        pairs = feedback.pairs()
        a, b = (feedback.candidates.take(i).asked_by("mixed") for i in (pairs.a, pairs.b))
        found[kind] = float(np.mean((known.prefer(a, b).value > 0.5) == (pairs.p > 0.5)))
    assert found["distil"] > found["hedge"] + 0.1


def test_strangers_get_the_router_and_silent_people_are_named(stage, caplog):
    world, _, reward = stage
    c = world.pool.candidates.take(range(3))
    stranger = reward.score(c.asked_by("zoe"))
    np.testing.assert_allclose(stranger.value, reward.score(c).value)
    assert all("unknown person 'zoe'" in str(r) for r in stranger.reason)
    tie_only = Feedback.of([Judgement("prompt 0", ("response 0.0",), (1.0,), user="quiet", scale="rating")])
    with caplog.at_level(logging.WARNING):
        known = reward.adapt(Feedback.concatenate([shots(world, "ann", 0), tie_only]))
    assert "quiet" in caplog.text
    assert known.users == ("ann",)


def test_adapting_before_fitting_is_an_error(stage):
    world, _, _ = stage
    with pytest.raises(ModelError, match="call fit"):
        MixtureReward(encoder=world.pool.encoder(), router="none").adapt(shots(world, "ann", 0))


def test_one_kind_of_people_collapses_and_is_told(caplog):
    world = World(1, alike=True)
    with caplog.at_level(logging.WARNING):
        reward = MixtureReward(encoder=world.pool.encoder(), heads=3, prompt_width=TOPICS)
        reward.fit(world.feedback(world.ask(2500, unseen=False)))
    assert reward.summary["collapsed"]
    assert "only one is in use" in caplog.text
    assert reward.summary["effective_heads"] < 1.2


def test_latent_classes_of_people(tmp_path):
    """router=person: everybody has one of the rewards; the people of the data are known after fitting."""
    world = World(2)
    parts = [shots(world, f"u{i}", i % 2, 30) for i in range(40)]
    reward = MixtureReward(encoder=world.pool.encoder(), heads=2, router="person", epochs=80, choose_by="user")
    reward.fit(Feedback.concatenate(parts))
    assert min(world.directions(reward)) > 0.9
    assert len(reward.users) == 40
    c = world.pool.candidates.take([0])
    sides = [reward.weights(c.asked_by(f"u{i}"))[0].argmax() for i in range(40)]
    agree = np.mean(np.array(sides) == np.arange(40) % 2)
    assert max(agree, 1 - agree) > 0.95  # classes have no order


def test_losses_are_minus_log_probabilities():
    feedback = Feedback.of([Judgement("p", ("a", "b"), (1.0, 0.0)), Judgement("p", ("b", "a"), (0.5, 0.5))])
    u = np.array([[1.0, -2.0], [0.0, 0.5]])
    got = losses_of(u, feedback.pairs())
    np.testing.assert_allclose(got[0], -np.log(expit(u[0] - u[1])))
    np.testing.assert_allclose(got[1], -0.5 * np.log(expit(u[0] - u[1])) - 0.5 * np.log(expit(u[1] - u[0])))


def test_contexts_without_people_are_the_router():
    log_pi = log_softmax(np.array([[1.0, 0.0]]), axis=1)
    contexts = Contexts.empty(2, 0)
    np.testing.assert_allclose(contexts.logits(np.array([-1]), log_pi, np.zeros((1, 0)), 1.0), log_pi)


def test_top_pairs_name_a_reward(stage):
    _world, feedback, reward = stage
    top = reward.top_pairs(feedback, 4)
    assert [len(rows) for rows in top] == [4, 4]
    prompt, better, worse = top[0][0]
    c = Candidates([prompt, prompt], [better, worse])
    r = reward.rewards(c)
    assert r[0, 0] - r[1, 0] > r[0, 1] - r[1, 1]


def test_it_keeps_the_contract_with_distilled_people(tmp_path):
    rng = np.random.default_rng(0)
    words = ["rain", "roof", "apple", "pear"]
    rows = []
    for i in range(80):
        a, b = (" ".join(rng.choice(words, 4)) + f" {i}{k}" for k in "ab")
        rows.append(
            Judgement(f"p{i % 20}", (a, b), (float(a.count("apple")), float(b.count("apple"))), user=f"u{i % 8}")
        )
    settings = {"encoder": "hash:32?features=prompt+response", "heads": 2, "epochs": 3, "adaptation": "distil"}
    reward = MixtureReward(**settings).fit(Feedback.of(rows))
    check_reward(reward, long=False)
    assert guerdon.load(reward.save(tmp_path / "m")).users == reward.users  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"heads": 0}, "at least one"), ({"router": "topic"}, "prompt, person"), ({"eta": 0.0}, "> 0"),
     ({"adaptation": "sgd"}, "hedge, distil")],
)  # fmt: skip
def test_wrong_settings_say_what_is_right(settings, said):
    with pytest.raises(ConfigError, match=said):
        MixtureReward(**settings)


def test_routing_by_prompt_needs_the_prompts_features():
    world = World(3)
    with pytest.raises(ConfigError, match="prompt_width"):
        MixtureReward(encoder=world.pool.encoder()).fit(world.feedback(world.ask(60, unseen=False)))

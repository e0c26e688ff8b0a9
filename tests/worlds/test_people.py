"""Simulated people: utilities, choices, stability when people are added, kinds, and the errors a user meets."""

import time

import numpy as np
import pytest

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Function
from guerdon.testing import check_reward
from guerdon.worlds import Annotator, Pool, Population, agreement, choice_entropy, disagreement, outcome

KINDS = ("dirichlet:0.1", "signed", "clustered:3", "shared", "ideal-point:0.5", "cyclic")


@pytest.fixture(scope="module")
def pool() -> Pool:
    return Pool.planted(40, 6, 5, seed=3)


def ragged() -> Pool:
    """Prompts with 3, 1 and 2 responses, out of order."""
    prompts = ["p", "q", "r", "p", "r", "p"]
    return Pool(Candidates(prompts, [f"answer {i}" for i in range(6)]), np.arange(12.0).reshape(6, 2) % 5)


# ---------------------------------------------------------------------- the truth, against its naive twin


@pytest.mark.parametrize("kind", ["dirichlet:0.3", "signed", "clustered", "shared", "ideal-point"])
def test_utilities_and_moments_equal_the_naive_loop(pool: Pool, kind: str) -> None:
    people = Population.simulate(kind, pool, users=7, seed=1)
    z = (pool.features - pool.features.mean(0)) / pool.features.std(0)
    naive = np.empty((7, len(pool)))
    for u in range(7):
        for c in range(len(pool)):
            w = people.weights[u]
            naive[u, c] = -np.sqrt(np.sum((z[c] - w) ** 2)) if kind == "ideal-point" else w @ z[c]
    np.testing.assert_allclose(people.utilities(), naive, atol=1e-10)
    np.testing.assert_allclose(people.utilities([2, 5], [1, 0, 9]), naive[[2, 5]][:, [1, 0, 9]], atol=1e-10)
    at = people.utility_at(np.array([3, 6]), np.array([[0, 4], [7, 7]]))
    np.testing.assert_allclose(at, [[naive[3, 0], naive[3, 4]], [naive[6, 7], naive[6, 7]]], atol=1e-10)
    np.testing.assert_allclose(people.moments[0], naive.mean(1), atol=1e-10)
    np.testing.assert_allclose(people.moments[1], naive.std(1), atol=1e-10)


def test_choices_and_metrics_equal_the_naive_loop() -> None:
    pool = ragged()
    people = Population.simulate("signed", pool, users=20, seed=0)
    utility = people.utilities()
    choices = people.choices()
    answers = {"p": [0, 3, 5], "q": [1], "r": [2, 4]}
    for j, rows in enumerate(answers.values()):
        for u in range(20):
            assert choices[u, j] == max(rows, key=lambda row, u=u: utility[u, row])
    entropies, agreements = [], []
    for j, rows in enumerate(answers.values()):
        share = np.array([np.mean(choices[:, j] == row) for row in rows])
        if len(rows) > 1:
            entropies.append(-sum(s * np.log(s) for s in share if s > 0) / np.log(len(rows)))
        same = [choices[a, j] == choices[b, j] for a in range(20) for b in range(20) if a != b]
        agreements.append(np.mean(same))
    assert choice_entropy(choices, pool) == pytest.approx(np.mean(entropies))
    assert agreement(choices, pool) == pytest.approx(np.mean(agreements))


def test_outcome_is_in_within_prompt_deviations(pool: Pool) -> None:
    people = Population.simulate("signed", pool, users=30, seed=0)
    best = outcome(people, people.choices())
    np.testing.assert_allclose(best.picked, best.best)
    assert best.share == pytest.approx(1.0)
    assert best.best.mean() == pytest.approx(1.27, abs=0.1)  # expected maximum of 6 normals
    random = pool.members[np.arange(40), np.random.default_rng(0).integers(0, 6, (30, 40))]
    assert abs(outcome(people, random).picked.mean()) < 0.1
    assert (outcome(people, random).regret > 0).all()
    utility = people.utilities()[0].reshape(40, 6)
    centred = utility - utility.mean(1, keepdims=True)
    sd = np.sqrt(np.sum(centred**2) / (40 * 5))
    assert best.best[0] == pytest.approx(np.mean(centred.max(1)) / sd)


def test_outcome_refuses_picks_of_other_prompts(pool: Pool) -> None:
    people = Population.simulate("signed", pool, users=2)
    with pytest.raises(ConfigError, match="not responses"):
        outcome(people, np.zeros((2, 40), dtype=int))
    with pytest.raises(ConfigError, match="one a person and prompt"):
        outcome(people, np.zeros((2, 3), dtype=int))


def test_disagreement_of_scorers(pool: Pool) -> None:
    x = pool.features[:, :1]
    np.testing.assert_allclose(disagreement(np.hstack([x, 3 * x + 1]), pool), 0.0, atol=1e-12)
    np.testing.assert_allclose(disagreement(np.hstack([x, -x]), pool), 2.0, atol=1e-12)
    assert np.isnan(disagreement(np.ones((6, 2)), ragged())[1])


# ---------------------------------------------------------------------- people stay who they are


@pytest.mark.parametrize("kind", KINDS)
def test_adding_people_changes_nobody(pool: Pool, kind: str) -> None:
    mixed = [(0.5, Annotator()), (0.5, Annotator.adversarial())]
    few, many = (Population.simulate(kind, pool, users=n, annotators=mixed, held_out=0.25, seed=5) for n in (8, 20))
    np.testing.assert_array_equal(few.weights, many.weights[:8])
    np.testing.assert_array_equal(few.annotator_of, many.annotator_of[:8])
    np.testing.assert_array_equal(few.test, many.test)
    said = list(few.history(count=12, seed=2).judgements())
    assert said == list(many.history(count=12, seed=2).judgements())[: len(said)]
    assert said == list(many.history(count=12, seed=2, users=np.arange(8)).judgements())
    alone = many.take(np.array([6]))
    assert alone.users == ("u6",)
    assert list(alone.history(count=12, seed=2).judgements()) == [j for j in said if j.user == "u6"]
    assert said != list(few.history(count=12, seed=3).judgements())


def test_seeds_give_other_people(pool: Pool) -> None:
    a, b = (Population.simulate("dirichlet", pool, users=5, seed=s) for s in (0, 1))
    assert not np.allclose(a.weights, b.weights)


# ---------------------------------------------------------------------- standardisation


def test_standardisation_makes_scale_irrelevant(pool: Pool) -> None:
    loud = pool.features * [100, 1, 1, 1, 1] + 7
    plain, scaled, raw = (
        Population.simulate("dirichlet:10", pool, scores, users=50, standardize=standardize)
        for scores, standardize in ((pool.features, True), (loud, True), (loud, False))
    )
    np.testing.assert_allclose(plain.utilities(), scaled.utilities(), atol=1e-6)
    favourite = pool.features[:, 0].reshape(40, 6).argmax(1) + 6 * np.arange(40)
    assert np.mean(raw.choices() == favourite) > 0.9
    assert np.mean(plain.choices() == favourite) < 0.5


def test_the_same_people_judge_new_candidates_by_stored_constants(pool: Pool) -> None:
    people = Population.simulate("signed", pool, users=4)
    new = Pool.planted(5, 3, 5, seed=9)
    there = people.on(new)
    z = (new.features - pool.features.mean(0)) / pool.features.std(0)
    np.testing.assert_allclose(there.utilities(), people.weights @ z.T)
    with pytest.raises(ConfigError, match="5 scorers"):
        people.on(Pool.planted(5, 3, 4))


# ---------------------------------------------------------------------- kinds


def test_the_smaller_alpha_the_wider_the_choices(pool: Pool) -> None:
    spread, same = [], []
    for alpha in (0.05, 1, 10):
        choices = Population.simulate("dirichlet", pool, users=200, alpha=alpha).choices()
        spread.append(choice_entropy(choices, pool))
        same.append(agreement(choices, pool))
    assert spread == sorted(spread, reverse=True)
    assert same == sorted(same)


def test_tiny_alpha_is_one_scorer_each(pool: Pool) -> None:
    weights = Population.simulate("dirichlet", pool, users=50, alpha=1e-300).weights
    assert (weights.max(1) == 1).all()
    assert len(np.unique(weights.argmax(1))) > 1


def test_kinds_are_what_they_say(pool: Pool) -> None:
    sphere = Population.simulate("signed", pool, users=30, sphere=True)
    np.testing.assert_allclose(np.linalg.norm(sphere.weights, axis=1), 1)
    shared = Population.simulate("shared", pool, users=30)
    assert agreement(shared.choices(), pool) == 1
    assert choice_entropy(shared.choices(), pool) == 0
    types = np.vstack([np.eye(5), -np.eye(5)])
    opposed = Population.simulate("clustered", pool, users=30, prototypes=types, spread=0)
    assert {tuple(w) for w in opposed.weights} <= {tuple(t) for t in types}
    assert len(Population.simulate("dirichlet:0.01", pool, users=100).distinct(0.05)) < 100
    mixed = Population.simulate("ideal-point", pool, users=30, prototypes=np.eye(5)[:3])
    assert np.allclose(mixed.weights.sum(1), 1)
    assert (mixed.weights[:, 3:] == 0).all()


def test_ideal_point_likes_the_middle() -> None:
    x = np.linspace(0, 1, 101)
    line = Pool(Candidates(["p"] * 101, [f"r{i}" for i in range(101)]), x[:, None])
    one = Population.simulate("ideal-point", line, users=1, prototypes=np.array([[0.5]]), standardize=False)
    assert one.choices()[0, 0] == 50


def test_cyclic_people_prefer_in_a_circle() -> None:
    styles = Pool(Candidates(["p"] * 5, list("abcde")), np.eye(5))
    people = Population.simulate("cyclic", styles, users=3, annotators=Annotator(scale=5))
    me = np.zeros(5, dtype=int)
    a, b = np.arange(5), (np.arange(5) + 1) % 5
    assert (people.preference(me, a, b) > 0.9).all()
    np.testing.assert_allclose(people.preference(me, a, b) + people.preference(me, b, a), 1)
    np.testing.assert_allclose(people.preference(me, a, a), 0.5)
    other = Population.simulate("cyclic", styles, users=3, reverse=1.0)
    assert (other.preference(me, a, b) < 0.1).all()
    with pytest.raises(ConfigError, match="no utility"):
        people.utilities()
    with pytest.raises(ConfigError, match="comparisons"):
        people.history(form="rating")


# ---------------------------------------------------------------------- scorers and the oracle


def test_scorers_may_be_rewards_functions_and_arrays() -> None:
    candidates = Candidates(["p", "p", "q", "q"], ["a", "bb", "ccc", "d"])

    def length(prompt: object, response: object) -> float:
        return float(len(str(response)))

    pool = Pool.of(candidates, {"length": Function(length), "fn": lambda p, r: -len(str(r)), "array": np.arange(4.0)})
    assert pool.names == ("length", "fn", "array")
    np.testing.assert_array_equal(pool.features[:, 0], [1, 2, 3, 1])
    people = Population.simulate("signed", pool, users=3)
    assert people.scorers == ("length", "fn", "array")


def test_the_oracle_is_the_truth(pool: Pool) -> None:
    people = Population.simulate("signed", pool, users=3)
    oracle = people.oracle()
    some = pool.candidates.take([4, 9, 9, 2])
    asked = Candidates(some.prompts, some.responses, user=["u1", "u2", "nobody I know", None])
    scores = oracle.score(asked)
    utility = people.utilities()
    np.testing.assert_allclose(scores.value[:2], [utility[1, 4], utility[2, 9]])
    assert scores.value[2] == pytest.approx(utility[:, 9].mean())
    assert "unknown person 'nobody I know'" in str(scores.reason[2])
    assert scores.value[3] == pytest.approx(utility[:, 2].mean())
    assert scores.reason[3] is None
    a, b = (pool.candidates.take([i]).asked_by("u1") for i in (4, 9))
    assert oracle.prefer(a, b).value[0] == pytest.approx(
        people.preference(np.array([1]), np.array([4]), np.array([9]))[0]
    )
    elsewhere = oracle.score(Candidates(["?"], ["!"], user=["u1"]))
    assert np.isnan(elsewhere.value[0])
    assert elsewhere.reason[0] == "not in this pool"


@pytest.mark.parametrize("kind", ["signed", "cyclic"])
def test_the_oracle_keeps_the_contract_of_rewards(pool: Pool, kind: str) -> None:
    people = Population.simulate(kind, pool, users=4)
    if kind == "cyclic":
        a, b = pool.candidates.take(range(20)), pool.candidates.take(range(20, 40))
        chance = people.oracle().prefer(a, b).value
        np.testing.assert_allclose(chance + people.oracle().prefer(b, a).value, 1)
        assert ((chance > 0) & (chance < 1)).all()
    else:
        check_reward(people.oracle(), pool.candidates.take(range(12)))


# ---------------------------------------------------------------------- what goes wrong


def test_bad_scorers_are_named(pool: Pool) -> None:
    constant = np.hstack([pool.features, np.full((len(pool), 1), 0.1)])
    with pytest.raises(ConfigError, match=r"'scorer 5'.*sd 0"):
        Population.simulate("dirichlet", pool, constant)
    missing = pool.features.copy()
    missing[3, 1] = np.nan
    with pytest.raises(FeedbackError, match="'scorer 1' leaves 1 of 240 candidates unscored, the first is 3"):
        Population.simulate("dirichlet", pool, missing)
    with pytest.raises(FeedbackError, match="shape"):
        Population.simulate("dirichlet", pool, [np.ones(3)])
    with pytest.raises(FeedbackError, match="no scorers"):
        Population.simulate("dirichlet", pool, [])


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("gaussian", {}, "no population 'gaussian'"),
        ("dirichlet:x", {}, "not a number"),
        ("dirichlet:0", {}, "positive"),
        ("dirichlet", {"beta": 1}, "beta"),
        ("clustered", {"prototypes": 0}, "at least one"),
        ("clustered", {"prototypes": np.ones((2, 3))}, "array"),
        ("clustered", {"shares": [0.5, 0.6, 0.2]}, "sum to 1"),
        ("cyclic:2", {}, "in \\[0, 1\\]"),
        ("signed", {"users": 0}, "at least one"),
        ("signed", {"seed": -1}, "seed"),
        ("signed", {"annotators": [(0.2, Annotator())]}, "sum to 1"),
        ("signed", {"held_out": 1.0}, "held_out"),
    ],
)
def test_bad_options_are_one_clear_line(pool: Pool, kind: str, options: dict, message: str) -> None:
    with pytest.raises((ConfigError, FeedbackError), match=message) as caught:
        Population.simulate(kind, pool, **options)
    assert "\n" not in str(caught.value)


def test_a_thousand_people_and_ten_thousand_candidates_take_a_second() -> None:
    pool = Pool.planted(1250, 8, 10)
    start = time.process_time()
    people = Population.simulate("dirichlet", pool, users=1000)
    people.utilities()
    people.choices()
    people.history(count=10)
    assert time.process_time() - start < 3  # about 0.5 alone; room for a busy machine

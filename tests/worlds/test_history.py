"""What simulated people say: verdicts follow their utilities in every form, strategy and way of answering."""

import numpy as np
import pytest
from scipy.special import expit, softmax

from guerdon.errors import ConfigError
from guerdon.feedback.messages import unpack
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.worlds import Annotator, Pool, Population
from guerdon.worlds.history import _distinct
from guerdon.worlds.pool import CROSS_PROMPT

WAYS = {
    "bradley-terry": Annotator.bradley_terry(2),
    "raw": Annotator.bradley_terry(2, standardize=False),
    "perfect": Annotator.perfect(),
    "noisy": Annotator.noisy(0.3),
    "lazy tie": Annotator.careless(0.4, "tie"),
    "lazy first": Annotator.careless(0.4, "first"),
    "adversarial": Annotator.adversarial(3),
    "indifferent": Annotator(scale=3, indifference=1.0),
    "everything": Annotator(scale=2, indifference=0.3, flip=0.2, inverted=True, lazy=0.1),
}


def verdicts(feedback: Feedback, pool: Pool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(person, rows [J, n] in the pool, grades [J, n]) of judgements of one size."""
    rows = pool.rows(feedback.candidates)[feedback.items].reshape(len(feedback), -1)
    person = np.array([int(feedback.users[u][1:]) for u in feedback.user])
    return person, rows, feedback.grades.reshape(len(feedback), -1)


@pytest.mark.parametrize("way", WAYS)
def test_verdicts_follow_the_closed_form(way: str) -> None:
    pool = Pool.planted(300, 4, 4, seed=1)
    people = Population.simulate("signed", pool, users=60, annotators=WAYS[way], seed=2)
    person, rows, grades = verdicts(people.history(count=400), pool)
    assert set(np.unique(grades)) <= {0.0, 0.5, 1.0}
    gap = people.gap(person, rows[:, 0], rows[:, 1])
    assert abs(np.mean(gap)) < 0.1  # which response is shown first says nothing about which is better
    swap = rows[:, 0] > rows[:, 1]  # sides in an order that has nothing to do with the order shown
    a, b = np.where(swap, rows[:, 1], rows[:, 0]), np.where(swap, rows[:, 0], rows[:, 1])
    said = np.where(swap, grades[:, 1], grades[:, 0])
    p = people.preference(person, a, b)
    better = np.where(gap > 0, grades[:, 0], grades[:, 1])
    for low in (0.0, 0.25, 0.5, 0.75):  # calibrated, not only right on average
        here = (p >= low) & (p <= low + 0.25)
        if here.sum() > 500:
            error = 4 * np.sqrt(np.mean(p[here] * (1 - p[here])) / here.sum()) + 1e-9
            assert said[here].mean() == pytest.approx(p[here].mean(), abs=error)
    if way == "perfect":
        assert better.mean() == 1
    if way == "lazy tie":
        assert np.mean(grades[:, 0] == 0.5) == pytest.approx(0.4, abs=0.02)


def test_label_accuracy_is_the_mean_of_the_sigmoid() -> None:
    """Check 6 of Reusing Embeddings: E[sigmoid(q |gap| / sd)] +- .01."""
    pool = Pool.planted(400, 10, 8, seed=0)
    gold = np.tanh(pool.features @ np.random.default_rng(0).normal(size=8))
    for q in (0.5, 1, 4):
        one = Population.simulate("shared", pool, [gold], weights=[1.0], annotators=Annotator(scale=q))
        person, rows, grades = verdicts(one.history(count=400), pool)
        gap = gold[rows[:, 0]] - gold[rows[:, 1]]
        right = np.where(gap > 0, grades[:, 0], grades[:, 1]).mean()
        assert right == pytest.approx(expit(q * np.abs(gap) / gold.std()).mean(), abs=0.01)
        assert len(np.unique(person)) == 100


def test_rankings_are_plackett_luce_and_best_of_n_is_luce() -> None:
    pool = Pool.planted(1, 4, 3, seed=4)
    people = Population.simulate("shared", pool, users=40, annotators=Annotator(scale=1.5), seed=0)
    strength = 1.5 * people.utilities([0])[0] / people.moments[1][0]
    luce = softmax(strength)
    _, rows, grades = verdicts(people.history(form="best-of-n", n=4, count=500), pool)
    assert (grades.sum(1) == 1).all()
    won = np.bincount(rows[np.arange(len(rows)), grades.argmax(1)], minlength=4) / len(rows)
    np.testing.assert_allclose(won, luce, atol=0.015)
    _, rows, grades = verdicts(people.history(form="ranking", n=4, count=500, seed=1), pool)
    assert (np.sort(grades, axis=1) == np.arange(4)).all()
    order = np.take_along_axis(rows, np.argsort(-grades, axis=1), 1)
    np.testing.assert_allclose(np.bincount(order[:, 0], minlength=4) / len(order), luce, atol=0.015)
    first = int(luce.argmax())
    second = order[order[:, 0] == first, 1]
    rest = np.where(np.arange(4) == first, 0.0, luce) / (1 - luce[first])
    np.testing.assert_allclose(np.bincount(second, minlength=4) / len(second), rest, atol=0.02)


def test_ratings_are_levels_of_utility() -> None:
    pool = Pool.planted(400, 5, 6, seed=2)
    people = Population.simulate("signed", pool, users=10, annotators=Annotator.perfect())
    feedback = people.history(form="rating", levels=4, count=300)
    person, rows, grades = verdicts(feedback, pool)
    assert feedback.sizes.max() == 1
    assert next(iter(feedback.judgements())).scale == "rating"
    utility = people.utility_at(person, rows)[:, 0]
    shares = np.bincount(grades[:, 0].astype(int), minlength=5)[1:] / len(grades)
    np.testing.assert_allclose(shares, 0.25, atol=0.03)
    for user in range(10):
        mine = person == user
        order = np.argsort(utility[mine])
        assert (np.diff(grades[mine, 0][order]) >= 0).all()
    noisy = people.history(form="rating", levels=4, count=300, annotator=Annotator(scale=2))
    person, rows, again = verdicts(noisy, pool)
    correlation = np.corrcoef(people.utility_at(person, rows)[:, 0], again[:, 0])[0, 1]
    assert 0.5 < correlation < 0.95
    lazy = people.history(form="rating", levels=5, count=50, annotator=Annotator(lazy=1, lazy_answer="first"))
    assert (lazy.grades == 5).all()


def test_shares_of_annotators_belong_to_people() -> None:
    pool = Pool.planted(100, 4, 4)
    ways = [(0.7, Annotator.perfect()), (0.3, Annotator(scale=np.inf, inverted=True))]
    people = Population.simulate("signed", pool, users=400, annotators=ways)
    assert np.mean(people.annotator_of == 1) == pytest.approx(0.3, abs=0.07)
    person, rows, grades = verdicts(people.history(count=20), pool)
    right = (grades[:, 0] == 1) == (people.gap(person, rows[:, 0], rows[:, 1]) > 0)
    np.testing.assert_array_equal(right, people.annotator_of[person] == 0)
    person, rows, grades = verdicts(people.history(count=5, annotator=Annotator.perfect()), pool)
    assert ((grades[:, 0] == 1) == (people.gap(person, rows[:, 0], rows[:, 1]) > 0)).all()


# ---------------------------------------------------------------------- what is shown


def test_best_worst_shows_each_persons_own_extremes() -> None:
    prompts = ["p", "q", "p", "q", "p"]
    pool = Pool(Candidates(prompts, [f"a{i}" for i in range(5)]), np.random.default_rng(0).normal(size=(5, 3)))
    people = Population.simulate("signed", pool, users=15, annotators=Annotator.perfect())
    utility = people.utilities()
    person, rows, grades = verdicts(people.history(strategy="best-worst", count=2), pool)
    sides = set()
    for u, (a, b), g in zip(person, rows, grades, strict=True):
        same = [i for i in range(5) if prompts[i] == prompts[a]]
        assert {a, b} == {max(same, key=lambda i, u=u: utility[u, i]), min(same, key=lambda i, u=u: utility[u, i])}
        assert g[0] == (utility[u, a] > utility[u, b])
        sides.add(g[0])
    assert sides == {0.0, 1.0}


def test_cross_prompt_compares_conversations_of_different_prompts() -> None:
    pool = Pool.planted(30, 3, 4)
    people = Population.simulate("signed", pool, users=5, annotators=Annotator.perfect())
    feedback = people.history(strategy="cross-prompt", count=10)
    person, rows, grades = verdicts(feedback, pool)
    assert (pool.prompt_of[rows[:, 0]] != pool.prompt_of[rows[:, 1]]).all()
    assert ((grades[:, 0] == 1) == (people.gap(person, rows[:, 0], rows[:, 1]) > 0)).all()
    first = next(iter(feedback.judgements()))
    assert first.prompt == CROSS_PROMPT
    assert [m["role"] for m in first.responses[0]] == ["user", "assistant"]  # type: ignore[index, union-attr]
    np.testing.assert_allclose(
        pool.encoder().encode(feedback.candidates), pool.features[pool.rows(feedback.candidates)], rtol=1e-6
    )


def test_prompts_come_back_only_after_all_were_seen() -> None:
    pool = Pool.planted(10, 3, 2)
    people = Population.simulate("signed", pool, users=4)
    _, rows, _ = verdicts(people.history(count=25), pool)
    for user in range(4):
        seen = np.bincount(pool.prompt_of[rows[25 * user : 25 * user + 25, 0]], minlength=10)
        assert set(seen) <= {2, 3}


def test_held_out_prompts_never_occur_in_a_history() -> None:
    pool = Pool.planted(50, 3, 3)
    people = Population.simulate("signed", pool, users=30, held_out=0.3, seed=1)
    test = {pool.prompts[i] for i in people.test}
    assert len(test) == 15
    said = people.history(count=60)
    assert not test & set(said.prompts.to_pylist())
    assert set(people.history(count=15, held_out=True).prompts.to_pylist()) == test
    with pytest.raises(ConfigError, match="held out"):
        people.history(prompts=people.test)
    with pytest.raises(ConfigError, match="no prompts"):
        Population.simulate("signed", pool, users=3).history(held_out=True)


def test_only_what_was_shown_is_in_the_feedback() -> None:
    pool = Pool.planted(100, 4, 3)
    feedback = Population.simulate("signed", pool, users=2).history(count=3)
    assert len(feedback.candidates) == len(feedback.used) <= 12
    assert feedback.users == ("u0", "u1")
    assert unpack(feedback.prompts[0].as_py()).startswith("planted prompt")  # type: ignore[union-attr]
    again = Feedback.of(feedback.judgements())
    assert list(again.judgements()) == list(feedback.judgements())
    anonymous = Population.simulate("signed", pool, users=2).history(count=3, named=False)
    assert (anonymous.user == -1).all()


def test_prompts_without_enough_responses_are_named() -> None:
    pool = Pool(Candidates(["p", "p", "lonely"], ["a", "b", "c"]), np.arange(6.0).reshape(3, 2) ** 2)
    people = Population.simulate("signed", pool, users=2)
    with pytest.raises(ConfigError, match=r"1 prompts have fewer than 2 responses .*'lonely'"):
        people.history()
    assert len(people.history(count=1, prompts=np.array([0]))) == 2
    assert len(people.history(form="rating", count=2)) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "essay"}, "form 'essay'"),
        ({"strategy": "hardest"}, "strategy 'hardest'"),
        ({"form": "rating", "strategy": "best-worst"}, "for comparisons"),
        ({"count": 0}, "count=0"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    people = Population.simulate("signed", Pool.planted(5, 3, 2), users=2)
    with pytest.raises(ConfigError, match=message):
        people.history(**options)


def test_bad_annotators() -> None:
    for options in ({"scale": 0}, {"flip": 1.5}, {"lazy": -1}, {"indifference": -1}, {"lazy_answer": "no"}):
        with pytest.raises(ConfigError, match="annotator"):
            Annotator(**options)  # type: ignore[arg-type]


def test_distinct_draws_are_distinct_and_even() -> None:
    rng = np.random.default_rng(0)
    size = np.repeat([3, 5], 60_000)
    drawn = _distinct(rng.random((len(size), 3)), size)
    assert (np.sort(drawn, axis=1)[:, 1:] > np.sort(drawn, axis=1)[:, :-1]).all()
    assert (drawn < size[:, None]).all()
    orders, counts = np.unique(drawn[size == 3], axis=0, return_counts=True)
    assert len(orders) == 6
    np.testing.assert_allclose(counts / 60_000, 1 / 6, atol=0.01)
    for column in range(3):
        np.testing.assert_allclose(np.bincount(drawn[size == 5][:, column]) / 60_000, 0.2, atol=0.01)

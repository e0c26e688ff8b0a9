"""Baselines do what their names say."""

import numpy as np
import pytest

from guerdon.bench.agreement import majority_of_others
from guerdon.bench.baselines import AsNobody, Length, Majority, make_baselines
from guerdon.bench.overlap import overlap
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.baselines import Random


def pair(prompt: str, a: str, b: str, **columns: list) -> tuple[Candidates, Candidates]:
    return Candidates([prompt], [a], **columns), Candidates([prompt], [b], **columns)


def test_length_is_the_share_of_the_lengths():
    assert Length().prefer(*pair("p", "xxx", "x")).value[0] == pytest.approx(0.75)
    assert Length().prefer(*pair("p", "", "")).value[0] == 0.5
    chat = [{"role": "assistant", "content": "xxx"}]
    assert Length().prefer(Candidates(["p"], [chat]), Candidates(["p"], ["x"])).value[0] == pytest.approx(0.75)


def test_random_depends_on_seed_and_text_only():
    texts = Candidates(["p"] * 500, [f"r{i}" for i in range(500)])
    one, two = Random(seed=1).score(texts).value, Random(seed=2).score(texts).value
    assert np.array_equal(one, Random(seed=1).score(texts.take(range(500))).value)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.15
    assert 0.45 < one.mean() < 0.55


def votes(*grades: float, a: str = "a", b: str = "b", criterion: str | None = None) -> list[Judgement]:
    return [Judgement("p", (a, b), (g, 1 - g), user=f"u{i}", criterion=criterion) for i, g in enumerate(grades)]


def test_majority_repeats_the_votes_on_the_pair():
    reward = Majority(Feedback.of(votes(1, 1, 0)))
    assert reward.prefer(*pair("p", "a", "b")).value[0] == pytest.approx(3 / 5)
    assert reward.prefer(*pair("p", "b", "a")).value[0] == pytest.approx(2 / 5)


def test_majority_falls_back_to_standing_and_abstains_on_the_unknown():
    reward = Majority(Feedback.of(votes(1, 1, 1) + votes(0, 0, a="c", b="d")))
    across = reward.prefer(*pair("p", "a", "c"))  # a always won, c always lost, never met
    assert across.value[0] > 0.8
    unknown = reward.prefer(*pair("p", "a", "never seen"))
    assert np.isnan(unknown.value[0])
    assert unknown.status == ["abstained"]
    assert unknown.reason == ["not in the training feedback"]
    assert np.isnan(reward.prefer(*pair("other prompt", "a", "b")).value[0])


def test_majority_keeps_criteria_apart():
    reward = Majority(Feedback.of(votes(1, 1, criterion="helpful") + votes(0, 0, criterion="harmless")))
    helpful = reward.prefer(*pair("p", "a", "b", criterion=["helpful"])).value[0]
    harmless = reward.prefer(*pair("p", "a", "b", criterion=["harmless"])).value[0]
    assert helpful > 0.5 > harmless
    assert np.isnan(reward.prefer(*pair("p", "a", "b", criterion=["funny"])).value[0])
    assert np.isnan(reward.prefer(*pair("p", "a", "b")).value[0])


def test_majority_of_ratings_removes_the_persons_level():
    rows = []
    for user, level in (("mild", 5.0), ("harsh", 0.0)):
        for item, quality in (("good", 2.0), ("middling", 1.0), ("bad", 0.0)):
            if (user, item) != ("mild", "bad") and (user, item) != ("harsh", "good"):
                rows.append(Judgement("p", (item,), (level + quality,), user=user, scale="rating"))
    reward = Majority(Feedback.of(rows))
    score = reward.score(Candidates(["p"] * 3, ["good", "middling", "bad"])).value
    assert score[0] > score[1] > score[2]


def test_majority_of_nothing_abstains():
    reward = Majority(Feedback.of([]))
    assert np.isnan(reward.prefer(*pair("p", "a", "b")).value[0])


def test_as_nobody_hides_who_asks(world, fake_personal):
    person = next(iter(world.tastes))
    reward = fake_personal(world, {person: -5 * world.mean})
    texts = Candidates(["p"] * 4, [world.text(i) for i in range(4)], user=[person] * 4)
    assert np.allclose(AsNobody(reward).score(texts).value, world.utility[:4] @ world.mean)
    assert not np.allclose(reward.score(texts).value, AsNobody(reward).score(texts).value)


def test_a_misspelt_baseline_is_refused(fixed):
    with pytest.raises(ConfigError, match="baseline 'lenght' is unknown; use some of length, majority"):
        make_baselines(fixed({}), None, ("lenght",))


def test_what_can_be_had_without_training_feedback(world, fake_personal, fixed):
    made, notes = make_baselines(fixed({}), None)
    assert set(made) == {"length", "random"}
    assert len(notes) == 2
    assert all("--train" in n for n in notes)
    made, _ = make_baselines(fake_personal(world), None)
    assert set(made) == {"length", "random", "as-nobody"}


# ------------------------------------------------------------------------------------------- agreement and overlap


def test_others_equal_naive_twin(world):
    feedback = world.comparisons(each=15)
    rows = [*feedback.judgements(), *votes(1, 1, 0), Judgement("p", ("b", "a"), (1, 0))]
    feedback = Feedback.of(rows)
    pairs = feedback.pairs()
    got = majority_of_others(feedback, pairs)
    for i in range(len(pairs)):
        said = []
        for j in range(len(pairs)):
            if pairs.user[j] == pairs.user[i] and (pairs.user[i] >= 0 or i == j):
                continue
            if (pairs.a[j], pairs.b[j]) == (pairs.a[i], pairs.b[i]):
                said.append(pairs.p[j])
            elif (pairs.a[j], pairs.b[j]) == (pairs.b[i], pairs.a[i]):
                said.append(1 - pairs.p[j])
        assert got[i] == pytest.approx(np.mean(said) if said else np.nan, nan_ok=True)


def test_others_of_ratings_equal_naive_twin(world):
    feedback = world.ratings(each=8)
    pairs = feedback.pairs()
    got = majority_of_others(feedback, pairs)
    grade = feedback.grades - np.array([feedback.grades[feedback.user == u].mean() for u in feedback.user])
    for i in range(len(pairs)):
        means = []
        for item in (pairs.a[i], pairs.b[i]):
            rows = (feedback.items == item) & (feedback.user != pairs.user[i])
            means.append(grade[rows].mean() if rows.any() else np.nan)
        expected = np.nan if np.isnan(means).any() else 0.5 + 0.5 * np.sign(round(means[0] - means[1], 9))
        assert got[i] == pytest.approx(expected, nan_ok=True)


def test_overlap_finds_what_training_saw():
    train = Feedback.of([*votes(1, 1), Judgement("p", ("e",), (1,), user="r", scale="rating")])
    test = Feedback.of(
        [
            Judgement("p", ("b", "a"), (1, 0), user="u0"),  # the same person, the same two
            Judgement("p", ("a", "b"), (1, 0), user="new"),  # another person
            Judgement("p", ("a", "z"), (1, 0), user="u0"),  # a new candidate
            Judgement("q", ("a", "b"), (1, 0), user="u0"),  # another prompt
        ]
    )
    assert overlap(train, test, test.pairs()) == {
        "prompt": 0.75,
        "candidates": 0.5,
        "person": 0.75,
        "same_vote": 0.25,
    }


def test_overlap_finds_ratings():
    def rate(user: str, *items: str) -> list[Judgement]:
        return [Judgement("p", (x,), (float(i),), user=user, scale="rating") for i, x in enumerate(items)]

    train = Feedback.of(rate("u", "a", "b") + rate("v", "c"))
    test = Feedback.of(rate("u", "a", "b", "c"))
    seen = overlap(train, test, test.pairs())
    assert seen["candidates"] == 1
    assert seen["same_vote"] == pytest.approx(1 / 3)  # u rated a and b in training, not c

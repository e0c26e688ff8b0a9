"""Asking a reward: the fast paths equal asking about every row, and every question is asked once."""

from dataclasses import replace

import numpy as np
import pytest

from guerdon.bench.scoring import predict_items, predict_pairs
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.base import Reward, Scores


def naive(reward: Reward, feedback: Feedback, pairs: Pairs) -> np.ndarray:
    """One call a pair."""
    out = []
    for i in range(len(pairs)):
        sides = []
        for side in (pairs.a[i], pairs.b[i]):
            prompt, response = feedback.candidate(int(side))
            user = None if pairs.user[i] < 0 else [feedback.users[pairs.user[i]]]
            criterion = None if pairs.criterion[i] < 0 else [feedback.criteria[pairs.criterion[i]]]
            sides.append(Candidates([prompt], [response], user=user, criterion=criterion))
        out.append(reward.prefer(*sides).value[0])
    return np.array(out)


@pytest.fixture
def personal(world, fake_personal):
    known = dict(list(world.tastes.items())[:20])
    return fake_personal(world, known)


def test_rows_equal_naive(world, personal):
    feedback = world.comparisons(each=5)
    pairs = feedback.pairs()
    assert predict_pairs(personal, feedback, pairs).value == pytest.approx(naive(personal, feedback, pairs))


def test_score_table_equals_rows_in_any_block_size(world, personal, monkeypatch):
    class Tabled(type(personal)):
        def score_table(self, candidates: Candidates, users: list[str]) -> np.ndarray:
            columns = [self.score(candidates.asked_by(u)).value for u in users]
            return np.stack(columns, axis=1)

        def score(self, candidates: Candidates) -> Scores:
            return super().score(candidates)

    feedback = world.comparisons(each=5)
    pairs = feedback.pairs()
    fast = Tabled(world, personal.weights)
    expected = naive(personal, feedback, pairs)
    assert predict_pairs(fast, feedback, pairs).value == pytest.approx(expected)
    monkeypatch.setattr("guerdon.bench.scoring.CELLS", 7 * len(feedback.used))
    assert predict_pairs(fast, feedback, pairs).value == pytest.approx(expected)


def test_batches_equal_one_batch(world, personal, monkeypatch):
    feedback = world.comparisons(each=5)
    pairs = feedback.pairs()
    whole = predict_pairs(personal, feedback, pairs).value
    monkeypatch.setattr("guerdon.bench.scoring.ROWS", 13)
    assert np.array_equal(predict_pairs(personal, feedback, pairs).value, whole)


def test_own_prefer_is_asked(world, personal):
    class Careful(type(personal)):
        def prefer(self, a: Candidates, b: Candidates) -> Scores:
            sure = super().prefer(a, b)
            return Scores(0.5 + 0.5 * (sure.value - 0.5))

    feedback = world.comparisons(each=5)
    pairs = feedback.pairs()
    careful = Careful(world, personal.weights)
    got = predict_pairs(careful, feedback, pairs).value
    assert got == pytest.approx(naive(careful, feedback, pairs))
    assert np.abs(got - 0.5).max() <= 0.25


def test_prefer_at_is_preferred_and_knows_nobody(world, personal):
    class Indexed(type(personal)):
        reads = ("user",)

        def prefer_at(self, candidates, a, b, users):
            left, right = (replace(candidates.take(side), user=users) for side in (a, b))
            return super().prefer(left, right).value

        def prefer(self, a, b):
            raise AssertionError("prefer_at is there")

    feedback = world.comparisons(each=5)
    anonymous = Feedback.of(
        [
            *feedback.judgements(),
            Judgement("prompt 1", (world.text(1), world.text(21)), (1, 0)),
        ]
    )
    for fb in (feedback, anonymous):
        pairs = fb.pairs()
        got = predict_pairs(Indexed(world, personal.weights), fb, pairs).value
        assert got == pytest.approx(naive(personal, fb, pairs))


def test_a_population_reward_is_asked_once_a_candidate(world, fixed):
    feedback = world.comparisons(each=20)
    reward = fixed({world.text(i): float(i) for i in range(60)})
    reward.reads = ()
    pairs = feedback.pairs()
    said = predict_pairs(reward, feedback, pairs)
    assert reward.rows == len(feedback.used)
    assert not said.reasons
    asked_with_people = fixed(reward.table)
    assert np.array_equal(predict_pairs(asked_with_people, feedback, pairs).value, said.value)
    assert asked_with_people.rows > reward.rows


def test_reasons_count_pairs(world, fixed):
    feedback = Feedback.of(
        [
            Judgement("p", ("a", "b"), (1, 0)),
            Judgement("p", ("a", "c"), (1, 0)),
            Judgement("p", ("c", "d"), (1, 0)),
            Judgement("p", ("c", "d"), (0, 1), user="u"),
        ]
    )
    said = predict_pairs(fixed({"a": 1.0, "b": 0.0}), feedback, feedback.pairs())
    assert np.isnan(said.value).tolist() == [False, True, True, True]
    assert said.reasons == {"failed: not in the table": 3}


def test_criterion_reaches_the_reward():
    class ByCriterion(Reward):
        def score(self, candidates: Candidates) -> Scores:
            sign = [1 if c == "long" else -1 for c in candidates.criterion or []]
            return Scores(np.array([s * len(str(r)) for s, r in zip(sign, candidates.responses, strict=True)], float))

    feedback = Feedback.of(
        [
            Judgement("p", ("aaa", "b"), (1, 0), criterion="long"),
            Judgement("p", ("aaa", "b"), (0, 1), criterion="short"),
        ]
    )
    value = predict_pairs(ByCriterion(), feedback, feedback.pairs()).value
    assert value[0] > 0.8
    assert value[1] < 0.2


def test_items_for_many_tables_do_not_overflow(fixed):
    feedback = Feedback.of([Judgement("p", ("a",), (1,), user="u", scale="rating")])
    index = np.array([0, 0])
    said = predict_items(fixed({"a": 2.0}), feedback, index, index, np.array([-1, -1]))
    assert said.value.tolist() == [2.0, 2.0]

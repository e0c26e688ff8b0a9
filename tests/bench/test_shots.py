"""The K-shot protocol: nothing leaks, the same tests at every K, and it sees what is there to see."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.bench.draws import MIN_TEST, candidate_pairs, draw, shot_feedback
from guerdon.bench.shots import shot_curve
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback, Pairs


def unordered(pairs: Pairs) -> set[tuple[int, int, int]]:
    return {(int(u), int(min(a, b)), int(max(a, b))) for u, a, b in zip(pairs.user, pairs.a, pairs.b, strict=True)}


def people_of(feedback: Feedback) -> np.ndarray:
    return np.unique(feedback.user[feedback.user >= 0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.booleans())
def test_comparisons_and_rankings_share_no_judgement_and_no_pair(seed: int, most: int, rankings: bool):
    rng = np.random.default_rng(seed)
    rows = []
    for u in range(4):
        for _ in range(30):
            size = int(rng.integers(2, 5)) if rankings else 2
            items = rng.choice(9, size, replace=False)  # few items: the same pair comes again and again
            rows.append(Judgement("p", tuple(f"t{i}" for i in items), tuple(rng.random(size)), user=f"u{u}"))
    feedback = Feedback.of(rows)
    part = draw(feedback, candidate_pairs(feedback, people_of(feedback), 200, 0), most, seed)
    assert not unordered(part.shots) & unordered(part.test)
    assert not set(part.shots.judgement.tolist()) & set(part.test.judgement.tolist())
    for u in np.unique(part.test.user):
        mine = part.shots.user == u
        assert mine.sum() == most
        assert sorted(part.turn[mine]) == list(range(most))
        assert (part.test.user == u).sum() >= MIN_TEST


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20), st.booleans())
def test_ratings_share_no_item(seed: int, most: int, compares_too: bool):
    rng = np.random.default_rng(seed)
    rows = []
    for u in range(5):
        for i in rng.choice(30, 16, replace=False):
            grade = float(rng.integers(0, 5))
            rows.append(Judgement("p", (f"t{i}",), (grade,), user=f"u{u}", scale="rating"))
        for _ in range(10 * compares_too):
            a, b = rng.choice(30, 2, replace=False)
            rows.append(Judgement("p", (f"t{a}", f"t{b}"), (1, 0), user=f"u{u}"))
    feedback = Feedback.of(rows)
    part = draw(feedback, candidate_pairs(feedback, people_of(feedback), 200, 0), most, seed)
    for u in range(5):
        items = [
            {int(x) for x in np.concatenate([p.a[p.user == u], p.b[p.user == u]])} for p in (part.shots, part.test)
        ]
        assert not items[0] & items[1]
    assert len(part.test)


def test_what_the_reward_is_told_is_disjoint_from_what_it_is_asked(world, fake_personal):
    """End to end, by text: look at what adapt() really received and what prefer() was really asked afterwards."""
    feedback = world.ratings(each=24)
    asked: list[tuple[str, str]] = []

    class Spy(fake_personal):
        told: ClassVar[dict[str, set[str]]] = {}

        def adapt(self, feedback):
            new = super().adapt(feedback)
            new.__class__ = Spy
            new.told = {}
            texts = feedback.candidates.responses
            for j in range(len(feedback)):
                own = feedback.items[feedback.offsets[j] : feedback.offsets[j + 1]]
                new.told.setdefault(feedback.users[feedback.user[j]], set()).update(texts[i] for i in own)
            return new

        def prefer(self, a, b):
            for side in (a, b):
                asked.extend(zip(side.user, side.responses, strict=True))
                for user, text in zip(side.user, side.responses, strict=True):
                    assert text not in self.told.get(user, ())
            return super().prefer(a, b)

    reward = Spy(world)
    shot_curve(reward, feedback, shots=[2, 10], bootstrap=20)
    assert len(asked) > 1000
    assert len(reward.adapted_on) == 6


def test_adaptation_is_seen_with_its_interval(world, fake_personal):
    curve = shot_curve(fake_personal(world), world.comparisons(), shots=[2, 5, 10, 20])
    assert [p.shots for p in curve.points] == [0, 2, 5, 10, 20]
    accuracy = [p.people["accuracy"].value for p in curve.points]
    assert accuracy[-1] > accuracy[0] + 0.2
    assert curve.points[-1].gain["accuracy"].low > 0.1
    assert curve.points[0].gain["accuracy"].value == 0
    assert curve.points[-1].gain["accuracy"].value == pytest.approx(accuracy[-1] - accuracy[0])
    assert curve.points[-1].helped > 0.5
    assert curve.n_people == 40
    assert {p.pairs["accuracy"].n for p in curve.points} == {curve.points[0].pairs["accuracy"].n}


def test_no_disagreement_no_gain(make_world, fake_personal):
    world = make_world(spread=0.0)
    curve = shot_curve(fake_personal(world, trust=0.0), world.comparisons(), shots=[5])
    assert curve.points[-1].gain["accuracy"].value == 0
    assert curve.points[-1].helped == 0


def test_means_over_people_and_over_pairs_differ_when_people_give_unequally(world, fake_personal):
    many, few = list(world.tastes)[:10], list(world.tastes)[10:]
    feedback = Feedback.of(
        [*world.comparisons(each=150, people=many).judgements(), *world.comparisons(each=20, people=few).judgements()]
    )
    point = shot_curve(fake_personal(world), feedback, shots=[5], draws=1).points[-1]
    assert point.people["accuracy"].n == 40
    assert point.people["accuracy"].value != pytest.approx(point.pairs["accuracy"].value, abs=1e-4)


def test_only_unknown_people_are_tested(world, fake_personal):
    known = dict(list(world.tastes.items())[:25])
    feedback = world.comparisons()
    reward = fake_personal(world, known)
    curve = shot_curve(reward, feedback, shots=[5], draws=1)
    assert curve.n_unseen == 15
    assert not set(reward.adapted_on[0].users) & set(known)
    assert len(reward.adapted_on[0]) == 15 * 5
    assert reward.users == tuple(known)


def test_seed_decides(world, fake_personal):
    feedback = world.comparisons(each=30)
    one, two, three = (
        shot_curve(fake_personal(world), feedback, shots=[5], draws=1, seed=s, bootstrap=50).points[-1].people
        for s in (1, 1, 2)
    )
    assert one == two
    assert one != three


def test_too_many_shots_are_left_out_with_a_note(world, fake_personal):
    curve = shot_curve(fake_personal(world), world.comparisons(each=20), shots=[5, 10, 200], draws=1, bootstrap=20)
    assert [p.shots for p in curve.points] == [0, 5, 10]
    assert any("200 shots left out" in n for n in curve.notes)


def test_clear_errors(world, fake_personal, fixed):
    feedback = world.comparisons(each=20)
    with pytest.raises(ConfigError, match="keeps no people"):
        shot_curve(fixed({}), feedback, shots=[5])
    with pytest.raises(FeedbackError, match="already knows"):
        shot_curve(fake_personal(world, world.tastes), feedback, shots=[5])
    with pytest.raises(FeedbackError, match="names no people"):
        shot_curve(fake_personal(world), Feedback.of([Judgement("p", ("a", "b"), (1, 0))]), shots=[5])
    with pytest.raises(FeedbackError, match="too few judgements per unseen person"):
        shot_curve(fake_personal(world), world.comparisons(each=3), shots=[2])
    with pytest.raises(ConfigError, match="numbers of shots"):
        shot_curve(fake_personal(world), feedback, shots=[-3, 2])


def test_shots_as_feedback_say_what_the_pairs_say():
    rows = [
        Judgement("p", ("a", "b"), (3, 1), user="u"),
        Judgement("p", ("a", "c"), (0, 1), user="v", criterion="x"),
        Judgement("p", ("b", "c"), (2, 2), user="u"),
        Judgement("p", ("a", "d"), (0.3, 0.7), user="w", scale="probability"),
    ]
    feedback = Feedback.of(rows)
    pairs = feedback.pairs()
    again = shot_feedback(feedback, pairs.take(np.array([3, 0, 2])))
    back = again.pairs()
    original = pairs.take(np.array([3, 0, 2]))
    assert np.allclose(back.p, original.p)
    assert np.array_equal(back.a, original.a)
    assert back.strength[1] == 2
    assert [again.users[u] for u in back.user] == ["w", "u", "u"]
    assert again.users == ("u", "w")
    assert len(replace(again)) == 3


def test_the_real_personal_reward_through_the_protocol(world):
    from guerdon.bench.scoring import predict_pairs
    from guerdon.reward.personal.low_rank import LowRankReward

    class Given:
        """The texts' true utilities as features."""

        spec, fingerprint, dim = "given", "given", 3

        def encode(self, candidates, *, progress=False):
            items = [int(r.split()[1]) for r in candidates.responses]
            return world.utility[items].astype(np.float32).reshape(-1, 3)

    train, test = world.comparisons(each=40).split(by="user", holdout=0.5, seed=0)
    reward = LowRankReward(encoder=Given(), rank=2, l2=1.0, l2_basis=1.0, item_effects="none").fit(train)
    curve = shot_curve(reward, test, shots=[5, 15], bootstrap=200)
    assert curve.points[-1].gain["accuracy"].low > 0.05
    assert curve.points[-1].gain["log_loss"].high < 0
    pairs = train.pairs()
    fast = predict_pairs(reward, train, pairs).value
    one = train.candidates.take(pairs.a[:50])
    two = train.candidates.take(pairs.b[:50])
    who = [train.users[u] for u in pairs.user[:50]]
    slow = reward.prefer(replace(one, user=who), replace(two, user=who)).value
    assert fast[:50] == pytest.approx(slow, abs=1e-9)

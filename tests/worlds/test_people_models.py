"""Models fitted to what simulated people say find what is there to be found, and nothing where nothing is."""

import numpy as np
import pytest

import guerdon.encode
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward
from guerdon.reward.learned.model import RewardModel
from guerdon.reward.personal.low_rank import LowRankReward
from guerdon.worlds import Annotator, Pool, Population

pytestmark = pytest.mark.skipif(not hasattr(guerdon.encode, "encode_feedback"), reason="encode/ is not built yet")


def world(kind: str, **options: object) -> tuple[Population, Feedback, Feedback]:
    """People, what they said about training prompts, and noiseless questions on test prompts."""
    pool = Pool.planted(200, 5, 8, seed=0)
    people = Population.simulate(kind, pool, users=60, held_out=0.3, seed=0, **options)  # type: ignore[arg-type]
    return people, people.history(count=30), people.history(count=20, held_out=True, annotator=Annotator.perfect())


def accuracy(reward: Reward, questions: Feedback) -> float:
    pairs = questions.pairs(ties=False)
    who = [questions.users[u] for u in pairs.user]
    a, b = (questions.candidates.take(side) for side in (pairs.a, pairs.b))
    ahead = np.array([reward.score(Candidates(c.prompts, c.responses, user=who)).value for c in (a, b)])
    return float(np.mean((ahead[0] > ahead[1]) == (pairs.p > 0.5)))


def test_one_utility_for_all_is_found_by_bradley_terry() -> None:
    people, said, questions = world("shared")
    assert accuracy(people.oracle(), questions) == 1
    assert accuracy(RewardModel(encoder=people.pool.encoder()).fit(said), questions) > 0.95


@pytest.mark.parametrize("kind", ["signed", "ideal-point:0.3"])
def test_opposed_people_leave_nothing_for_one_linear_utility(kind: str) -> None:
    people, said, questions = world(kind)
    assert accuracy(people.oracle(), questions) == 1
    assert accuracy(RewardModel(encoder=people.pool.encoder()).fit(said), questions) < 0.62


def test_a_cycle_is_no_utility_but_the_oracle_knows_it() -> None:
    people, said, questions = world("cyclic")
    assert accuracy(RewardModel(encoder=people.pool.encoder()).fit(said), questions) < 0.62
    pairs = questions.pairs(ties=False)
    who = [questions.users[u] for u in pairs.user]
    a, b = (questions.candidates.take(side) for side in (pairs.a, pairs.b))
    asked = [Candidates(c.prompts, c.responses, user=who) for c in (a, b)]
    known = people.oracle().prefer(*asked).value
    assert ((known > 0.5) == (pairs.p > 0.5)).all()


def test_a_personal_model_finds_opposed_people() -> None:
    pool = Pool.planted(200, 5, 8, seed=0)
    people = Population.simulate("signed", pool, pool.features[:, :3], users=60, held_out=0.3, seed=0)
    said = people.history(count=40)
    questions = people.history(count=20, held_out=True, annotator=Annotator.perfect())
    personal = LowRankReward(encoder=pool.encoder()).fit(said)
    assert accuracy(personal, questions) > 0.85
    assert accuracy(RewardModel(encoder=pool.encoder()).fit(said), questions) < 0.65

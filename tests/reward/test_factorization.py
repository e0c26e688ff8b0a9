"""Matrix factorization by identity: popularity as logistic regression says, taste from votes, silence elsewhere."""

import numpy as np
import pytest

import guerdon
from guerdon import Candidates, Feedback
from guerdon.errors import FeedbackError
from guerdon.reward.personal import factorization
from guerdon.reward.personal.factorization import FactorizationReward
from guerdon.testing import check_reward
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool

PEOPLE, STRANGERS = 80, 30


@pytest.fixture(scope="module")
def world() -> tuple[Pool, Population, Feedback]:
    """Forty statements of one prompt, people with a taste in two dimensions."""
    pool = Pool.planted(1, 40, 2, seed=0)
    votes = Annotator.bradley_terry(4)
    people = Population.simulate("signed", pool, users=PEOPLE + STRANGERS, seed=0, annotators=votes)
    return pool, people, people.history(count=40, users=np.arange(PEOPLE))


@pytest.fixture(scope="module")
def fitted(world) -> FactorizationReward:
    return FactorizationReward().fit(world[2])


def test_new_people_are_solved_from_their_votes_without_reading_a_text(world, fitted):
    pool, people, _ = world
    strangers = np.arange(PEOPLE, PEOPLE + STRANGERS)
    truth = people.utilities(strangers)
    found = []
    for votes in (0, 5, 20):
        model = fitted.adapt(people.history(count=votes, users=strangers)) if votes else fitted
        table = model.score_table(pool.candidates, [people.users[i] for i in strangers])
        found.append(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(table.T, truth, strict=True)]))
    assert found[0] < 0.3
    assert found[1] > 0.7
    assert found[2] > 0.9


def test_without_disagreement_it_is_ridge_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    pool = Pool.planted(1, 30, 4, seed=1)
    people = Population.simulate("shared", pool, users=60, seed=1, annotators=Annotator.bradley_terry(2))
    feedback = people.history(count=30)
    model = FactorizationReward(l2=1.0, prior=1e-6, rank=1).fit(feedback)
    pairs = feedback.pairs(max_per_person=100)
    z = np.zeros((len(pairs), len(feedback.used)))
    z[np.arange(len(pairs)), pairs.a] += 1
    z[np.arange(len(pairs)), pairs.b] -= 1
    oracle = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-8).fit(z, pairs.p > 0.5)
    np.testing.assert_allclose(model.score(feedback.candidates).value, oracle.coef_[0], atol=2e-3)


def test_a_candidate_nobody_judged_is_unscored_with_a_reason(world, fitted):
    known = world[0].candidates.take([0, 1])
    new = Candidates([known.prompts[0]] * 2, [known.responses[0], "something new"], user=["u1", "u1"])
    scores = fitted.score(new)
    assert scores.status == ["scored", "abstained"]
    assert np.isnan(scores.value[1])
    assert "not in the training feedback" in scores.reason[1]  # type: ignore[operator]
    assert np.isnan(fitted.prefer(new, new.take([1, 0])).value).all()
    assert np.isnan(fitted.prefer_at(new, np.array([0]), np.array([1]), ["u1"])).all()


def test_it_keeps_the_contract_and_survives_saving(world, fitted, tmp_path):
    some = world[0].candidates.take(range(8))
    some = Candidates(some.prompts, some.responses, user=["u0", "u1", None, "stranger"] * 2)
    assert "strangers" in check_reward(fitted, some).passed
    again = guerdon.load(fitted.save(tmp_path / "model"))
    np.testing.assert_allclose(again.score(some).value, fitted.score(some).value)
    assert again.users == fitted.users


def test_too_many_candidates_are_refused(world, monkeypatch):
    monkeypatch.setattr(factorization, "MOST", 10)
    with pytest.raises(FeedbackError, match="fit --model low-rank"):
        FactorizationReward().fit(world[2])

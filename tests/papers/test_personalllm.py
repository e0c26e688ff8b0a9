"""The parts of the PersonalLLM check that can be wrong without its claim showing it."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_expit

from guerdon.papers.personalllm import differences, personalise, ridge, world
from guerdon.worlds.people import Population


def test_ridge_is_the_penalised_maximum_likelihood() -> None:
    rng = np.random.default_rng(0)
    z, person = rng.normal(size=(30, 4)), np.repeat([0, 1, 2], 10)
    fitted = ridge(z, person, 3)
    for u in range(3):
        best = minimize(lambda w, x=z[person == u]: -log_expit(x @ w).sum() + 0.5 * w @ w, np.zeros(4), tol=1e-10)
        np.testing.assert_allclose(fitted[u], best.x, atol=1e-4)


def test_differences_point_from_rejected_to_chosen() -> None:
    pool, scores = world(0, dim=6, prompts=20)
    people = Population.simulate("dirichlet:0.1", pool, scores, users=3)
    feedback = people.history(count=5)
    z, person = differences(pool, feedback)
    for j, judgement in enumerate(feedback.judgements()):
        chosen, rejected = sorted(judgement.responses, key=lambda r, j=judgement: -j.grades[j.responses.index(r)])
        rows = [pool.candidates.responses.index(r) for r in (chosen, rejected)]
        np.testing.assert_allclose(z[j], pool.features[rows[0]] - pool.features[rows[1]], rtol=1e-5, atol=1e-6)
        assert judgement.user == f"u{person[j]}"


def test_more_own_votes_help_and_nobody_beats_the_oracle() -> None:
    few, many = (personalise(0.1, seed=0, history=10, votes=votes) for votes in (4, 64))
    assert many["own"] > few["own"] + 0.3
    assert max(few["others"], many["own"], few["population"]) < few["oracle"]

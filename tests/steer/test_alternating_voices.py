"""Personas in turns: the rule is exact, caches change nothing, both voices are heard."""

import numpy as np
import pytest

from guerdon.errors import ConfigError
from guerdon.generate.base import Sampling
from guerdon.generate.local import LocalModel
from guerdon.steer.alternating_voices import AlternatingVoices, accept, distribution
from guerdon.steer.logit_arithmetic import Voice
from guerdon.worlds.language.personas import Personas


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Personas, LocalModel]:
    world = Personas(topics=2)
    path = world.language_model(tmp_path_factory.mktemp("turns"), 0, width=64, layers=2, count=2500, epochs=4)
    return world, LocalModel(str(path))


def drawn(gamma: int, official: bool, draws: int, seed: int) -> tuple[np.ndarray, float, np.ndarray, float]:
    """(histogram of first tokens, acceptance of the first, the judge's distribution, 1 - TV) of a toy pair."""
    rng = np.random.default_rng(seed)
    q, p = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6))
    qs, ps = np.tile(q, (gamma, 1)), np.tile(p, (gamma + 1, 1))
    drafts = rng.choice(6, (draws, gamma), p=q)
    chances, last = rng.random((draws, gamma)), rng.random(draws)
    first, kept = np.zeros(6), 0
    for i in range(draws):
        count, token = accept(drafts[i], qs, ps, chances[i], last[i], official_residual=official)
        first[drafts[i, 0] if count else token] += 1
        kept += count > 0
    return first / draws, kept / draws, p, float(np.minimum(p, q).sum())


@pytest.mark.parametrize("gamma", [1, 3])
def test_whoever_drafts_the_judge_writes(gamma: int) -> None:
    for seed in range(3):
        first, rate, p, overlap = drawn(gamma, False, 20_000, seed)
        assert 0.5 * np.abs(first - p).sum() < 0.02
        assert abs(rate - overlap) < 0.015


def test_a_reversed_residual_would_be_seen() -> None:
    """The authors' code draws from the drafter's surplus in half of the refusals."""
    q, p = np.array([[0.7, 0.2, 0.1]]), np.array([[0.1, 0.3, 0.6]] * 2)
    assert {accept([0], q, p, np.array([0.9]), u)[1] for u in np.linspace(0, 0.999, 50)} == {1, 2}
    q = q + np.array([[1e-5, 0.0, 0.0]])  # the sum of p - q comes out negative
    assert {accept([0], q, p, np.array([0.9]), u, official_residual=True)[1] for u in np.linspace(0, 0.999, 50)} == {0}


def test_filters_are_the_usual_ones() -> None:
    import torch

    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    np.testing.assert_allclose(distribution(logits, Sampling(top_k=2))[0], [0.625, 0.375, 0, 0])
    np.testing.assert_allclose(distribution(logits, Sampling(top_p=0.6))[0], [0.625, 0.375, 0, 0])
    np.testing.assert_allclose(distribution(logits, Sampling(temperature=0.0))[0], [1, 0, 0, 0])
    sharp = distribution(logits, Sampling(temperature=0.5))[0]
    np.testing.assert_allclose(sharp, np.square([0.5, 0.3, 0.15, 0.05]) / 0.365, rtol=1e-5)


def test_both_personas_are_heard(world: tuple[Personas, LocalModel]) -> None:
    personas, model = world
    voices = [Voice(model, personas.system(0)), Voice(model, personas.system(3))]
    prompts = [personas.prompt(t) for t in range(personas.topics)]

    def counts(swap: bool) -> np.ndarray:
        texts = AlternatingVoices(voices, swap=swap).generate(prompts, 20, max_tokens=12, seed=0).text
        return personas.counts([str(t) for t in texts])[:, [0, 3]].mean(0)

    together, judged = counts(True), counts(False)
    assert together.min() > 0.8
    assert judged[1] > 2 * judged[0] + 1  # without a change of roles the judge writes


def test_a_draw_depends_on_its_seed_and_prompt_only(world: tuple[Personas, LocalModel]) -> None:
    personas, model = world
    voices = AlternatingVoices([Voice(model, personas.system(0)), Voice(model, personas.system(3))])
    one, two = personas.prompt(0), personas.prompt(1)
    both = voices.generate([one, two], 2, max_tokens=8, seed=3)
    assert voices.generate([two], 2, max_tokens=8, seed=3).text == both.text[2:]
    assert both.cost["drafted"] >= both.cost["accepted"] > 0
    assert all(r.completion_tokens <= 8 for r in both.rows)


def test_settings_that_make_no_sense(world: tuple[Personas, LocalModel]) -> None:
    voice = Voice(world[1])
    with pytest.raises(ConfigError, match="two voices"):
        AlternatingVoices([voice])
    with pytest.raises(ConfigError, match="gamma=0"):
        AlternatingVoices([voice, voice], gamma=0)
    with pytest.raises(ConfigError, match="take turns know"):
        AlternatingVoices([voice, voice]).generate(["x"], stop=["."])

"""Decoding with any reward's help."""

import logging

import numpy as np
import pytest

from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.generate.local import LocalModel
from guerdon.reward.base import Reward, Scores
from guerdon.steer.reward_guided import RewardGuided
from guerdon.worlds.language.personas import Personas
from tiny_models import tiny_causal_lm


class Count(Reward):
    """How many words of persona A a text has; says nothing of texts that hold ``silent``."""

    name = "count"
    reads = ()

    def __init__(self, silent: str = "nothing") -> None:
        self.silent = silent
        self.asked: list[tuple[object, str]] = []

    def score(self, candidates: Candidates) -> Scores:
        texts = [str(r) for r in candidates.responses]
        self.asked += list(zip(candidates.prompts, texts, strict=True))
        counts = [sum(w[0] == "a" and w[1:].isdigit() for w in t.split()) for t in texts]
        values = np.array([np.nan if self.silent in t else c for c, t in zip(counts, texts, strict=True)], float)
        return Scores(values, ["scored" if np.isfinite(v) else "abstained" for v in values], [None] * len(values))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Personas, LocalModel]:
    world = Personas(topics=2)
    path = world.language_model(tmp_path_factory.mktemp("rad"), 0, width=48, layers=1, count=1500, epochs=4)
    return world, LocalModel(str(path))


def marks(world: Personas, model: object, beta: float | None, **settings: object) -> float:
    """Mean count of persona A's words with and without a guide."""
    base = model if beta is None else RewardGuided(model, Count(), beta=beta, top_k=60, **settings)  # type: ignore
    extra = {"top_k": 60} if beta is None else {}
    texts = base.generate([world.prompt(0), world.prompt(1)], 12, max_tokens=12, seed=0, **extra).text  # type: ignore
    return float(world.counts([str(t) for t in texts])[:, 0].mean())


def test_more_weight_gives_more_of_what_is_rewarded(world: tuple[Personas, LocalModel]) -> None:
    found = [marks(*world, beta) for beta in (-8.0, 0.0, 2.0, 8.0)]
    assert found[0] < found[1] < found[2] < found[3]
    assert found[3] > found[1] + 3
    assert found[1] == marks(*world, None)  # the same draws as top-k sampling


def test_a_clamp_bounds_what_the_reward_can_do(world: tuple[Personas, LocalModel], caplog) -> None:  # type: ignore
    with caplog.at_level(logging.WARNING):
        bounded = marks(*world, 8.0, clamp=(0.0, 1e-9))
    assert bounded == marks(*world, 0.0)
    marks(*world, 8.0, clamp=(5.0, 6.0))
    assert "hardly guides" in caplog.text


def test_the_reward_sees_the_prompt_and_the_text_so_far(world: tuple[Personas, LocalModel]) -> None:
    personas, model = world
    reward = Count()
    prompt = personas.prompt(1)
    text = RewardGuided(model, reward, top_k=4).generate([prompt], temperature=0.0, max_tokens=3).text[0]
    assert all(asked == prompt for asked, _ in reward.asked)
    assert [len(reward.asked), reward.asked[0][1].count(" ")] == [12, 0]
    assert text in [said for _, said in reward.asked[-4:]]


def test_texts_without_a_score_count_as_the_lowest(world: tuple[Personas, LocalModel], caplog) -> None:  # type: ignore
    personas, model = world
    guided = RewardGuided(model, Count(silent="a0"), beta=50.0, top_k=60)
    with caplog.at_level(logging.WARNING):
        texts = guided.generate([personas.prompt(0)], 8, max_tokens=8, seed=0).text
    assert "had no score" in caplog.text
    counts = [sum(w == "a0" for w in str(t).split()) for t in texts]
    assert sum(counts) == 0


def test_settings_that_make_no_sense(tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = LocalModel(str(tiny_causal_lm(tmp_path)))
    for settings, said in (
        ({"beta": float("inf")}, "beta=inf"),
        ({"top_k": 0}, "top_k=0"),
        ({"clamp": (1.0, 0.0)}, "lowest value first"),
    ):
        with pytest.raises(ConfigError, match=said):
            RewardGuided(model, Count(), **settings)  # type: ignore[arg-type]

"""West-of-n: what is picked, what is left out and why, and a cycle that is measured on people alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from guerdon.curate.extremes import (
    LIKELIHOOD,
    accuracy,
    as_feedback,
    equivalent,
    improve,
    members,
    mine,
    read_pool,
    refit,
    tournament,
    west_of_n,
)
from guerdon.curate.registry import step
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Function, Reward, Scores
from guerdon.reward.learned.model import RewardModel
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool

length = Function(lambda prompt, response: float(len(response)), "length")


class Compares(Reward):
    """Only compares, and counts how often."""

    name = "compares"
    asked = 0

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        self.asked += len(a)
        return Scores(np.array([float(len(x) > len(y)) for x, y in zip(a.responses, b.responses, strict=True)]))


class Unsure(Reward):
    """Scores with a standard deviation that is large for long responses."""

    name = "unsure"

    def score(self, candidates: Candidates) -> Scores:
        value = np.array([float(len(str(r))) for r in candidates.responses])
        return Scores(value, std=value**2 + 1)


def pool(**extra: list) -> Candidates:
    prompts = ["p"] * 4 + ["q"] * 2 + ["r"] * 3 + ["s"]
    return Candidates(prompts, ["a", "bbb", "cc", "bbb", "xx", "yy", "k", "kkkkkk", "kk", "alone"], extra=extra)


def test_best_and_worst_and_what_has_none() -> None:
    found = mine(pool(), length, keep=1.0)
    texts = pool().responses
    assert [(texts[b], texts[w]) for b, w in zip(found.best, found.worst, strict=True)] == [
        ("bbb", "a"),
        ("kkkkkk", "k"),
    ]
    assert found.skipped == {
        "identical responses left out": 1,
        "no spread of scores": 1,
        "fewer than two different responses": 1,
    }
    assert found.confidence == pytest.approx(1 / (1 + np.exp(-np.array([2.0, 5.0]))))


def test_the_filters_keep_the_surest() -> None:
    assert mine(pool(), length, keep=0.5).keep.tolist() == [False, True]
    assert mine(pool(), Unsure(), keep=0.5, filter="uncertainty").keep.tolist() == [True, False]
    with pytest.raises(ConfigError, match="no standard deviations"):
        mine(pool(), length, filter="uncertainty")


def test_unlikely_responses_are_out_before_the_extremes_are_chosen() -> None:
    likelihood = [0.0] * 10
    likelihood[7] = -50.0  # the longest answer to r
    found = mine(pool(**{LIKELIHOOD: likelihood}), length, keep=1.0, min_likelihood=0.2)
    assert pool().responses[found.best[1]] == "kk"
    with pytest.raises(FeedbackError, match="leave the likelihood filter out"):
        mine(pool(), length, min_likelihood=0.2)


def test_a_tournament_finds_both_in_2n_minus_3_comparisons() -> None:
    texts = ["b" * k for k in np.random.default_rng(0).permutation(np.arange(1, 21))]
    many, judge = Candidates(["p"] * 20, texts), Compares()
    group = members(many, None)[0][0]
    found = tournament(judge, many, group)
    assert [len(texts[i]) for i in found] == [20, 1]  # type: ignore[arg-type]
    assert judge.asked == 2 * 20 - 3
    assert mine(many, judge, keep=1.0).best.tolist() == [found[0]]


def test_n_draws_by_the_seed() -> None:
    many = Candidates(["p"] * 50, [f"{k:03d}" for k in range(50)])
    draws = [members(many, 8, seed)[0][0].tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert len(draws[0]) == 8


def test_human_data_equivalent_reads_the_learning_curve_backwards() -> None:
    sizes = [100, 200, 400]
    curve = [0.1 * np.log(s) for s in sizes]
    assert equivalent(sizes, curve, 0.1 * np.log(2)) == pytest.approx(400)
    assert equivalent(sizes, curve, 0.0) == pytest.approx(0)
    assert np.isnan(equivalent(sizes, [0.7, 0.7, 0.69], 0.01))


class World:
    def __init__(self, seed: int = 0) -> None:
        self.pool = Pool.planted(120, 6, 8, seed=seed)
        people = Population.simulate("shared", self.pool, users=1, annotators=Annotator.bradley_terry(3.0), seed=seed)
        self.feedback = people.history(count=90, prompts=np.arange(60), named=False)
        self.rest = self.pool.candidates.take(np.flatnonzero(self.pool.prompt_of >= 60))


def test_a_cycle_is_measured_on_people_and_never_on_its_own_pairs() -> None:
    world = World()
    found = improve(world.feedback, world.pool.candidates, encoder=world.pool.encoder(), n=6, seed=1)
    report = found.report
    train, held = world.feedback.split("prompt", 0.2, 1)
    assert report["human_judgements"] == len(train)
    assert report["accuracy_after"] == pytest.approx(accuracy(found.reward, held), abs=1e-4)
    hidden = {held.prompts[int(p)].as_py() for p in held.judgement_prompt}
    assert not hidden & {p.as_py() for p in found.pairs.prompts}
    assert report["pool_candidates_of_held_out_prompts_removed"] == 6 * len(hidden)
    assert report["gain"] > -0.1
    assert len(found.pairs) <= len(train)
    assert found.pairs.weight.max() <= 1.0


def test_penalties_are_those_of_people() -> None:
    world = World()
    base = RewardModel(encoder=world.pool.encoder()).fit(world.feedback)
    pairs = as_feedback(world.rest, mine(world.rest, base, keep=1.0))
    again = refit(RewardModel(encoder=world.pool.encoder()), base, world.feedback, pairs)
    assert again.summary["l2"] == base.summary["l2"]
    deep = RewardModel(encoder=world.pool.encoder(), head="mlp", hidden=8, epochs=3)
    assert refit(deep, deep, world.feedback, pairs).summary["data"] < len(world.feedback) + len(pairs)


def test_the_step_adds_pairs_with_provenance_and_can_be_undone(tmp_path: Path) -> None:
    world = World()
    result = step("west-of-n")(
        world.feedback, pool=world.rest, encoder=world.pool.encoder(), n=6, keep=0.5, weight=0.5, rounds=2
    )
    added = result.feedback.take(np.arange(len(world.feedback), len(result.feedback)))
    assert result.report["actions"] == {"kept": len(world.feedback), "added": len(added)}
    assert len(added) == 30
    assert set(np.unique(added.source)) == {2}
    d = result.decisions.to_pylist()[-1]
    assert d["why"].startswith("best and worst by the reward, P(best preferred)")
    assert added.weight == pytest.approx(0.5 * np.array(result.decisions["confidence"].to_pylist()[-30:]))
    assert 0.2 < np.mean(added.grades[::2]) < 0.8  # either side first
    assert list(result.undo().judgements()) == list(world.feedback.judgements())
    again = west_of_n(world.feedback, pool=world.rest, encoder=world.pool.encoder(), n=6, weight=0.5, rounds=2)
    assert list(again.feedback.judgements()) == list(result.feedback.judgements())


def test_pools_come_from_files_and_feedback(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    rows = [
        {"prompt": "p", "responses": ["a", "b"], LIKELIHOOD: [-1, -2]},
        {"prompt": "q", "response": "c", LIKELIHOOD: -3},
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    found = read_pool(path)
    assert list(found.responses) == ["a", "b", "c"]
    assert found.extra[LIKELIHOOD] == [-1, -2, -3]
    many = Feedback.of([Judgement("p", ("a", "b", "c"), (1.0, 0.0, 0.0), scale="partial")])
    assert len(read_pool(many)) == 3
    with pytest.raises(FeedbackError, match="give a pool"):
        read_pool(Feedback.of([Judgement("p", ("a", "b"), (1.0, 0.0))]))
    path.write_text('{"prompt": "p"}\n')
    with pytest.raises(FeedbackError, match="expected prompt and response"):
        read_pool(path)
    world = World()
    _, held = world.feedback.split("prompt", 0.2, 0)
    with pytest.raises(FeedbackError, match="other prompts"):
        improve(world.feedback, held.candidates.take(held.used), encoder=world.pool.encoder())


def test_real_lists_of_rmb_do_no_harm(shared_data: Path, tmp_path: Path) -> None:
    """Card 082, check 4: 500 human labels, the lists of other prompts as the policy; on words and length."""
    path = shared_data / "rmb" / "rmb.jsonl.gz"
    if not path.is_file():
        pytest.skip("rmb is not among the real data here")
    gains = real_gains(path, tmp_path, seeds=2)
    assert np.mean(gains) >= -0.005


def real_gains(
    path: Path, folder: Path, seeds: int, encoder: str = "hash:256?features=response+surface"
) -> list[float]:
    from guerdon.encode import load_encoder

    pairs = Feedback.read(path, format="rmb-pairwise", skip_bad=folder / "bad.jsonl")
    lists = Feedback.read(path, format="rmb-bon", skip_bad=folder / "bad2.jsonl")
    lists = lists.take(np.random.default_rng(8).permutation(len(lists))[:800])
    opened = load_encoder(encoder)
    out = []
    for seed in range(seeds):
        prompts = np.random.default_rng(seed).permutation(np.unique(pairs.judgement_prompt))[:700]
        rows = np.flatnonzero(np.isin(pairs.judgement_prompt, prompts))
        few = pairs.take(np.sort(np.random.default_rng([seed, 1]).permutation(rows)[:1000]))
        found = improve(few, lists.candidates.take(lists.used), encoder=opened, holdout=0.5, n=16, seed=seed)
        out.append(found.report["gain"])
    return out

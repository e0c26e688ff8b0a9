"""Rewards of candidates with pictures and tones: fitted, saved, measured by a suite, given a criterion."""

import json
from pathlib import Path

import numpy as np
import pytest

import guerdon
from guerdon.bench.suites.run import run
from guerdon.bench.suites.vl_reward_bench import VL_REWARD_BENCH, read
from guerdon.encode import load_encoder
from guerdon.errors import FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.context import ContextReward
from guerdon.reward.learned.features import FeatureScaling
from guerdon.reward.learned.model import RewardModel
from guerdon.testing import check_reward
from guerdon.worlds.qualities import judged, pairs
from guerdon.worlds.scenes import asked, comparisons, shown

SPEC = "media?text=hash:64&features=both&image=filters"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def judge(place: Path) -> RewardModel:
    """A judge of how many things a picture shows, of 300 comparisons."""
    items = asked(300, np.random.default_rng(0), place, "train", ["counting"])
    return RewardModel(encoder=SPEC, head="mlp", hidden=64, epochs=10).fit(comparisons(items))


def test_it_keeps_the_contract_is_saved_and_opens_the_same(judge: RewardModel, place: Path, tmp_path: Path) -> None:
    items = asked(6, np.random.default_rng(1), place, "contract")
    candidates = comparisons(items).candidates
    check_reward(judge, candidates)
    check_reward(judge)  # texts alone are candidates as well
    opened = guerdon.load(judge.save(tmp_path / "judge"))
    assert opened.score(candidates).value == pytest.approx(judge.score(candidates).value, abs=1e-9)
    assert opened.sees == judge.sees == ("image",)
    assert opened.features.flag.tolist() == load_encoder(SPEC).flags.tolist()


def test_a_suite_measures_it_without_a_caution_and_warns_of_blind_ones(judge: RewardModel, place: Path) -> None:
    items = asked(80, np.random.default_rng(2), place, "bench", ["counting"])
    rows = [
        {"id": f"mathverse_{n}", "query": i.said.question, "response": [i.said.true, i.said.false],
         "human_ranking": [0, 1], "image_path": i.picture.name}
        for n, i in enumerate(items)
    ]  # fmt: skip
    path = place / "vl_rewardbench.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    bench = read([path])
    found = run(judge, VL_REWARD_BENCH, bench, baselines=(), bootstrap=0)
    assert found.figures["overall"].value > 0.75
    assert not any("reads text only" in note for note in found.notes)
    blind = RewardModel(encoder="hash:64?features=both").fit(comparisons(items))
    assert any("saw no image" in note for note in run(blind, VL_REWARD_BENCH, bench, baselines=(), bootstrap=0).notes)


def test_a_missing_picture_stops_the_scoring_and_says_which(judge: RewardModel, place: Path) -> None:
    with pytest.raises(FeedbackError, match=r"prompt of candidate 0: image .*gone\.png: no such file"):
        judge.score(Candidates([shown(place / "gone.png", "What?")], ["A ring."]))


def test_the_criterion_turns_the_verdict_in_each_modality(place: Path) -> None:
    rng = np.random.default_rng(0)
    senses = ("image", "audio")
    parts = {s: pairs(s, 250, rng, place, s) for s in senses}
    train = Feedback.concatenate([judged(p[:200], (0, 1), rng) for p in parts.values()])
    reward = ContextReward(
        encoder="media?text=hash:32&image=filters:1&audio=spectrum:20", fusion="low-rank", hidden=16, epochs=40
    ).fit(train)
    assert reward.sees == senses
    assert reward.open_context_encoder().spec == "hash:32?features=response", "criteria are read by the text encoder"
    for sense in senses:
        test = judged(parts[sense][200:], (0, 1), rng)
        duels, candidates = test.pairs(), test.candidates
        gap = np.zeros(len(duels))
        for side, sign in ((duels.a, 1), (duels.b, -1)):
            given = candidates.take(side)
            asked_for = [test.criteria[k] for k in duels.criterion]
            gap += sign * reward.score(Candidates(given.prompts, given.responses, criterion=asked_for)).value
        right = (gap > 0) == (duels.p > 0.5)
        assert right.mean() > 0.65
        turned = Candidates(
            candidates.prompts, candidates.responses, criterion=[test.criteria[0]] * len(candidates.prompts)
        )
        assert np.isfinite(reward.score(turned).value).all()


def test_features_are_scaled_over_the_candidates_that_have_them() -> None:
    """How rare a modality is must not change how large its features are."""
    rng = np.random.default_rng(0)
    here = rng.normal(3, 2, (40, 4))
    flag = np.array([4, 4, 4, 4, 4, 7, 7, 7])
    for others in (0, 10, 1000):
        x = np.zeros((40 + others, 8))
        x[:40, :4], x[:40, 4] = here, 1
        x[40:, 5:7], x[40:, 7] = rng.normal(size=(others, 2)), 1
        scaling = FeatureScaling()
        scaling.fit(x, flag)
        alone = FeatureScaling()
        alone.fit(here)
        assert scaling(x)[:40, :4] == pytest.approx(alone(here))
        assert not scaling(x)[40:, :4].any()
        assert scaling(x)[:40, 4].tolist() == [1.0] * 40
        again = FeatureScaling()
        again.restore(scaling.arrays())
        assert np.array_equal(again(x), scaling(x))

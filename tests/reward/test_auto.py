"""Automatic choice: personal where people differ, simple where they do not, nested, and with its reasons."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import guerdon as library
from guerdon.errors import ConfigError, FeedbackError
from guerdon.reward.auto import AutoReward, Trial, choose
from guerdon.reward.registry import MODELS
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool
from run_cli import guerdon

QUICK = ["bradley-terry", "components", "low-rank"]


def world(kind: str, users: int = 48, count: int = 30, seed: int = 0):
    pool = Pool.planted(60, 6, 8, seed=seed)
    attributes = np.linalg.qr(np.random.default_rng(seed).normal(size=(8, 3)))[0]
    people = Population.simulate(
        kind, pool, pool.features @ attributes, users=users, seed=seed, annotators=Annotator.bradley_terry(3.0)
    )
    return pool, people.history(count=count)


def test_people_who_differ_get_a_personal_model_and_others_the_simplest():
    pool, feedback = world("signed")
    model = AutoReward(encoder=pool.encoder(), candidates=QUICK).fit(feedback)
    assert model.name == "low-rank"
    assert len(model.users) == 48, "fitted again to everybody"  # type: ignore[attr-defined]
    rows = {row["model"]: row for row in model.summary["chosen_among"]}
    assert list(rows) == QUICK
    assert rows["bradley-terry"]["behind_best"] > 5 * rows["bradley-terry"]["standard_error"]
    assert rows["low-rank"]["loss_by_shots"]["30"] < rows["low-rank"]["loss_by_shots"]["0"] - 0.1
    pool, feedback = world("shared")
    model = AutoReward(encoder=pool.encoder(), candidates=QUICK).fit(feedback)
    assert model.name == "bradley-terry"
    assert "held-out log-loss" in model.summary["chosen_because"]


def test_without_people_only_population_models_are_asked_about_new_prompts():
    pool, feedback = world("shared")
    nobody = replace(feedback, user=np.full(len(feedback), -1, dtype=np.int32), users=())
    auto = AutoReward(encoder=pool.encoder())
    model = auto.fit(nobody)
    assert not any(MODELS[row["model"]].personal for row in model.summary["chosen_among"])
    for fold in auto._folds(nobody, personal=False):
        assert not set(fold.train.judgement_prompt) & set(fold.whole.judgement_prompt)


def test_what_is_held_out_is_held_out():
    """Held-out people are in no training part; their tests are of prompts that neither training nor shots hold."""
    pool, feedback = world("signed", users=30)
    auto = AutoReward(encoder=pool.encoder())
    seen = set()
    for fold in auto._folds(feedback, personal=True):
        mine, others = (set(np.array(part.users)[np.unique(part.user)]) for part in (fold.whole, fold.train))
        assert not mine & others
        assert fold.shots is not None
        tested = set(fold.whole.prompt_of[fold.tests.a])
        assert not tested & set(fold.train.judgement_prompt)
        assert not tested & set(fold.whole.prompt_of[fold.shots.a])
        seen |= mine
    assert len(seen) == 30


def trial(name: str, loss: np.ndarray) -> Trial:
    return Trial(name, loss, np.full(len(loss), 0.5))


def test_the_one_standard_error_rule():
    rng = np.random.default_rng(0)
    base = rng.random(100)
    noise = rng.normal(size=100)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    best = trial("complicated", base)
    near, far = (trial("simple", base + 0.1 * (noise + shift)) for shift in (0.09, 0.11))
    assert choose([near, best], "people")[0] == "simple", "0.9 standard errors behind"
    assert "is simpler" in choose([near, best], "people")[2]
    name, rows, why = choose([far, best], "people")
    assert name == "complicated"
    assert rows[0]["behind_best"] == pytest.approx(0.011)
    assert rows[0]["standard_error"] == pytest.approx(0.01)
    assert "the lowest" in why
    sure = trial("simple", base + 0.001)
    assert choose([sure, best], "people")[0] == "simple", "a difference nobody would notice, however sure"
    broken = trial("odd", base)
    broken.failed = "it needs ratings"
    name, rows, _ = choose([broken, best], "people")
    assert name == "complicated"
    assert rows[0] == {"model": "odd", "failed": "it needs ratings"}
    with pytest.raises(FeedbackError, match="it needs ratings"):
        choose([broken], "people")


def test_mistakes_are_named():
    for settings in ({"candidates": "all"}, {"candidates": ["low rank"]}, {"candidates": ["auto"]}, {"folds": 0}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            AutoReward(**settings)


def test_one_command_chooses_saves_and_says_why(tmp_path: Path):
    rng = np.random.default_rng(1)
    lines = []
    for i in range(900):
        a, b = (" ".join(rng.choice(["rain", "roof", "apple", "pear"], 6)) + f" {i}{side}" for side in "ab")
        likes = "apple" if i % 30 < 15 else "pear"
        if a.count(likes) < b.count(likes):
            a, b = b, a
        lines.append(json.dumps({"prompt": f"p{i % 7}", "chosen": a, "rejected": b, "user": f"u{i % 30}"}))
    out = tmp_path / "m"
    result = guerdon(
        "fit", "-", "--model", "auto", "--encoder", "hash:64", "--set", 'candidates=["bradley-terry","low-rank"]',
        "--out", out, "--json", stdin="\n".join(lines).encode(),
    )  # fmt: skip
    assert result.code == 0, result.err
    assert result.json["model"] == "low-rank"
    assert "candidates, simplest first" in result.err
    assert "chosen: low-rank: held-out log-loss" in result.err
    reward = library.load(out)
    assert reward.name == "low-rank"
    assert reward.summary["chosen_among"][0]["model"] == "bradley-terry"  # type: ignore[attr-defined]
    assert "chosen_because" in (out / "README.md").read_text()

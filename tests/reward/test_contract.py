"""Every model that can be fitted keeps the contract, survives saving, and is opened by its directory's name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import guerdon
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.registry import MODELS, Model
from guerdon.testing import check_reward

SMALL: dict[str, dict[str, Any]] = {
    "context": {"hidden": 8, "epochs": 2},
    "bradley-terry-mlp": {"hidden": 8, "epochs": 2},
    "low-rank": {"rank": 2, "l2": 1.0, "l2_basis": 1.0, "prior": 1.0},
    "mixture": {"encoder": "hash:64?features=prompt+response", "heads": 2, "epochs": 3},
    "micro": {"encoder": "hash:64?features=prompt+response", "epochs": 3},
    "general-preference": {"epochs": 3},
    "lore": {"rank": 3, "l2": 1.0, "l2_basis": 1.0},
    "ideal-point": {"k": 2, "prior": 1.0, "epochs": 3, "starts": 1},
    "pal": {"epochs": 3, "starts": 1},
    "variational": {"latent": 8, "hidden": 16, "epochs": 2},
    "vpl": {"latent": 8, "hidden": 16, "epochs": 2},
}
WORDS = ["rain", "roof", "apple", "pear", "sky", "blue", "verse", "line"]


def feedback(kind: str) -> Feedback:
    """A hundred judgements by ten people: more apples are better."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(100):
        texts = tuple(" ".join(rng.choice(WORDS, 5)) + f" {i} {j}" for j in range(3))
        value = tuple(float(t.count("apple")) for t in texts)
        user = f"u{i % 10}"
        if kind == "rating":
            rows.append(Judgement(f"p{i % 25}", texts[:1], value[:1], user=user, scale="rating"))
        else:
            rows.append(Judgement(f"p{i % 25}", texts, value, user=user))
    return Feedback.of(rows)


APART = {"autoregressive", "backbone", "gpm", "sarm", "peer-adapters", "peer-policies", "grm", "factorization"}
APART |= {"zero-shot", "few-shot", "prompt-tuning"}
"""Tested on their own: transformers models, and one that knows only the candidates it was fitted on."""


@pytest.mark.parametrize("entry", [m for m in MODELS.values() if m.name not in APART], ids=lambda m: m.name)
def test_every_model_keeps_the_contract(entry: Model, tmp_path: Path) -> None:
    settings = {"encoder": "hash:64?features=joined", **SMALL.get(entry.name, {})}
    reward = entry.make(**settings).fit(feedback("rating" if entry.name == "regression" else "order"))
    report = check_reward(reward)
    assert "save and load" in report.passed
    assert ("strangers" in report.passed) == entry.personal
    again = guerdon.load(reward.save(tmp_path / "model"))
    assert (again.name, again.params) == (reward.name, reward.params)  # type: ignore[attr-defined]


def test_a_backbone_keeps_the_contract(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tiny_models import tiny_bert, tiny_causal_lm

    for name, path in (("decoder", tiny_causal_lm(tmp_path / "lm")), ("encoder", tiny_bert(tmp_path / "bert"))):
        reward = MODELS["backbone"].make(backbone=str(path), epochs=1, batch=8, device="cpu", max_length=64)
        reward.fit(feedback("order").take(np.arange(30)))
        assert "save and load" in check_reward(reward, long=False).passed
        assert guerdon.load(reward.save(tmp_path / name)).name == "backbone"

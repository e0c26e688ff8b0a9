"""Prompt tuning: the same numbers as peft's own model, nothing else of the model changed, saved in kilobytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import guerdon
from guerdon.errors import ConfigError, ModelError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.prompt_tuning import PromptTuned
from guerdon.reward.registry import model
from guerdon.testing import check_reward
from tiny_models import tiny_bert, tiny_causal_lm

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

ROWS = Feedback.of([Judgement(f"ask {i}", (f"good {i}", f"evil {i}"), (1.0, 0.0)) for i in range(24)])
SOME = Candidates(["ask me"] * 3, ["a good one", "an evil one that is long", "good"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal_lm(tmp_path_factory.mktemp("prompt") / "lm")


@pytest.fixture(scope="module")
def fitted(place: Path) -> PromptTuned:
    reward = model("prompt-tuning").make(backbone=str(place), steps=40, learning_rate=0.05, device="cpu")
    return reward.fit(ROWS)  # type: ignore[return-value]


def scores(theirs: Any) -> list[Any]:
    """The heads of a peft model: the one it trains and the one it replaced."""
    return [m for n, m in theirs.named_modules() if "score" in n and isinstance(m, torch.nn.Linear)]


def test_it_computes_what_pefts_own_model_does(place: Path, fitted: PromptTuned) -> None:
    """The oracle: peft puts the same learned tokens before each text of a classifier with the same head."""
    from transformers import AutoModelForSequenceClassification

    base = AutoModelForSequenceClassification.from_pretrained(place, num_labels=1)
    config = peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=10)
    theirs = peft.get_peft_model(base, config).eval()
    arrays = fitted.arrays()
    with torch.no_grad():
        theirs.prompt_encoder["default"].embedding.weight.copy_(torch.as_tensor(arrays["prompt"]))
        for head in scores(theirs):
            head.weight.copy_(torch.as_tensor(arrays["head"])[None])
    renderer = fitted.backbone.renderer
    assert renderer is not None
    mine = fitted.score(SOME).value
    for row, ids in enumerate(renderer(SOME).tokens):
        assert ids is not None
        text = torch.as_tensor(ids[10:])[None]  # the learned tokens are peft's to add
        with torch.no_grad():
            assert float(theirs(input_ids=text, attention_mask=torch.ones_like(text)).logits) == pytest.approx(
                mine[row], abs=1e-4
            )


def test_only_the_prompt_and_the_head_are_trained(place: Path, fitted: PromptTuned) -> None:
    from transformers import AutoModel

    words = fitted.backbone.words
    assert words is not None
    before = AutoModel.from_pretrained(place).state_dict()
    after = {k.replace("embed_tokens.words", "embed_tokens"): v for k, v in words_and_all(fitted).items()}
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor[: len(after[name])] if tensor.ndim else tensor)
    assert fitted.summary["parameters_trained"] == 10 * 32 + 32
    assert fitted.summary["steps"] == 40
    fresh = model("prompt-tuning").make(backbone=str(place), steps=1, device="cpu").fit(ROWS)
    assert np.abs(fitted.arrays()["prompt"] - fresh.arrays()["prompt"]).max() > 0.05


def words_and_all(reward: PromptTuned) -> dict[str, Any]:
    """The state of the transformer below the head, cut to the vocabulary it came with."""
    from guerdon.encode.prefix import base_of

    return {k: v for k, v in base_of(reward.backbone.model).state_dict().items() if "prompt" not in k}


def test_it_learns_and_saves_kilobytes(fitted: PromptTuned, tmp_path: Path) -> None:
    good, evil = Candidates(["ask new"] * 5, [f"good {i}" for i in range(30, 35)]), [f"evil {i}" for i in range(30, 35)]
    assert (fitted.score(good).value > fitted.score(Candidates(["ask new"] * 5, evil)).value).all()
    place = fitted.save(tmp_path / "saved")
    assert (place / "model.safetensors").stat().st_size < 10_000
    again = guerdon.load(place)
    np.testing.assert_allclose(again.score(good).value, fitted.score(good).value, atol=1e-5)
    assert again.params == fitted.params  # type: ignore[attr-defined]


def test_it_keeps_the_contract(fitted: PromptTuned) -> None:
    assert "save and load" in check_reward(fitted, long=False).passed


def test_a_killed_fit_goes_on(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"backbone": str(place), "steps": 6, "batch": 2, "learning_rate": 0.05, "device": "cpu"}
    whole = model("prompt-tuning").make(**settings).fit(ROWS)
    from guerdon.reward.learned.training_state import TrainingState

    end, steps = TrainingState.end_step, 0

    def dying(self: TrainingState, finite: bool) -> None:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise KeyboardInterrupt
        end(self, finite)

    monkeypatch.setattr(TrainingState, "end_step", dying)
    with pytest.raises(KeyboardInterrupt):
        model("prompt-tuning").make(**settings, checkpoint=str(tmp_path / "half")).fit(ROWS)
    monkeypatch.undo()
    done = model("prompt-tuning").make(**settings, checkpoint=str(tmp_path / "half")).fit(ROWS)
    np.testing.assert_allclose(done.arrays()["prompt"], whole.arrays()["prompt"], atol=1e-6)


def test_mistakes_are_told(place: Path, tmp_path: Path) -> None:
    make = model("prompt-tuning").make
    with pytest.raises(ConfigError, match="name the causal language model"):
        make().fit(ROWS)
    with pytest.raises(ConfigError, match="reads both ways"):
        make(backbone=str(tiny_bert(tmp_path / "bert"))).fit(ROWS)
    with pytest.raises(ConfigError, match="reads 512 tokens in all"):
        make(backbone=str(place), tokens=512).fit(ROWS)
    with pytest.raises(ConfigError, match="tokens=0"):
        make(tokens=0)
    with pytest.raises(ConfigError, match="prompt_start='none'"):
        make(prompt_start="none")
    with pytest.raises(ModelError, match="not fitted yet"):
        make(backbone=str(place)).score(SOME)

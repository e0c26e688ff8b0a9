"""Likelihoods behind examples: against the model's own probabilities, what is shown, the contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

import guerdon
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.registry import model
from guerdon.testing import check_reward
from tiny_models import tiny_causal_lm

torch = pytest.importorskip("torch")

ROWS = Feedback.of([Judgement(f"ask {i}:", (f" good {i}", f" evil {i}"), (1.0, 0.0)) for i in range(12)])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal_lm(tmp_path_factory.mktemp("shown") / "lm")


def naive(place: Path, before: str, response: str) -> float:
    """Sum of log-probabilities of the response's tokens and the end, one text at a time."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    lm, tokenizer = AutoModelForCausalLM.from_pretrained(place), AutoTokenizer.from_pretrained(place)
    first = tokenizer(before)["input_ids"]
    ids = [*tokenizer(before + response)["input_ids"], tokenizer.eos_token_id]
    assert ids[: len(first)] == first
    with torch.no_grad():
        said = torch.log_softmax(lm(torch.tensor([ids])).logits[0], -1)
    return float(sum(said[t - 1, ids[t]] for t in range(len(first), len(ids))))


def test_zero_shot_is_the_likelihood_of_the_response_and_its_end(place: Path) -> None:
    reward = model("zero-shot").make(model=f"hf:{place}").fit(ROWS)
    a, b = Candidates(["ask 1:"], [" good"]), Candidates(["ask 1:"], [" something longer"])
    one, two = naive(place, "ask 1:", " good"), naive(place, "ask 1:", " something longer")
    assert reward.score(a).value == pytest.approx(one, abs=1e-3)
    assert reward.score(b).value == pytest.approx(two, abs=1e-3)
    from transformers import AutoTokenizer

    longest = len(AutoTokenizer.from_pretrained(place)(" something longer")["input_ids"]) + 1
    assert reward.prefer(a, b).value == pytest.approx(expit((one - two) / longest), abs=1e-4)
    assert reward.prefer(a, a).value == 0.5


def test_few_shot_shows_good_answers_to_other_prompts(place: Path) -> None:
    reward = model("few-shot").make(model=f"hf:{place}").fit(ROWS)
    shown = reward.shown("ask 3:")  # type: ignore[attr-defined]
    parts = shown.split("\n\n")
    assert len(parts) == 1 + 4 + 1
    assert parts[-1] == "ask 3:"
    assert all("good" in part for part in parts[1:-1])
    assert "ask 3: good" not in shown  # its own answer would be given away
    assert shown == reward.shown("ask 3:")  # type: ignore[attr-defined]
    assert shown.replace("ask 3:", "") != reward.shown("ask 4:").replace("ask 4:", "")  # type: ignore[attr-defined]
    other = model("few-shot").make(model=f"hf:{place}", seed=1).fit(ROWS)
    assert shown != other.shown("ask 3:")  # type: ignore[attr-defined]
    value = reward.score(Candidates(["ask 3:"], [" good"])).value
    assert value == pytest.approx(naive(place, shown, " good"), abs=1e-3)


def test_the_contract_and_back_from_disk(place: Path, tmp_path: Path) -> None:
    for name in ("zero-shot", "few-shot"):
        reward = model(name).make(model=f"hf:{place}").fit(ROWS)
        assert "save and load" in check_reward(reward, long=False).passed
        again = guerdon.load(reward.save(tmp_path / name))
        some = Candidates(["ask 99:"] * 2, [" good", " evil"])
        np.testing.assert_array_equal(again.score(some).value, reward.score(some).value)


def test_what_does_not_fit_is_unscored_and_mistakes_are_told(place: Path) -> None:
    reward = model("few-shot").make(model=f"hf:{place}", max_length=40).fit(ROWS)
    said = reward.prefer(Candidates(["ask 1:"], [" good"]), Candidates(["ask 1:"], [" evil"]))
    assert np.isnan(said.value).all()
    assert said.status[0] == "too_long"
    with pytest.raises(FeedbackError, match="need more prompts"):
        model("few-shot").make(model=f"hf:{place}").fit(ROWS.take(np.arange(4)))
    with pytest.raises(ConfigError, match="name the language model"):
        model("few-shot").make().fit(ROWS)
    with pytest.raises(ConfigError, match="shots=-1"):
        model("few-shot").make(shots=-1)

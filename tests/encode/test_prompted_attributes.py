"""Prompted attributes: likelihood differences of a frozen language model, exact, shared, and blind to length."""

import json

import numpy as np
import pytest

from guerdon import Candidates
from guerdon.encode import load_encoder
from guerdon.encode.attributes import DEFAULT, AttributeTexts
from guerdon.encode.source import locate
from guerdon.errors import ConfigError

pytest.importorskip("transformers")
from tiny_models import tiny_causal_lm

PROMPTS = {"formal": "Be formal.", "brief": "Be brief, please.", "nothing": "You help."}
RESPONSES = ["An apple is a fruit.", "Fruit!", "", "The sky is blue and the rain falls on the roof."]


@pytest.fixture(scope="module", params=[True, False], ids=["chat", "plain"])
def texts(request, tmp_path_factory) -> AttributeTexts:
    path = tiny_causal_lm(tmp_path_factory.mktemp("lm") / "lm", chat_template=request.param)
    return AttributeTexts(locate(str(path)), prompts=PROMPTS, base="You help.", device="cpu")


def slow(texts: AttributeTexts, system: str, prompt: str, response: str) -> float:
    """The whole sequence at once, nothing shared."""
    import torch

    prefix, tokens = texts.prefix_tokens(system, prompt), texts.response_tokens([response])[0]
    with torch.inference_mode():
        logits = texts._model(input_ids=torch.tensor([prefix + tokens])).logits[0].double()
    log_p = torch.log_softmax(logits, -1)
    return float(sum(log_p[len(prefix) + i - 1, t] for i, t in enumerate(tokens)))


def test_shared_prefixes_change_nothing(texts):
    got = texts.contrast("What is an apple?", RESPONSES)
    for i, response in enumerate(RESPONSES):
        count = max(len(texts.response_tokens([response])[0]), 1)
        base = slow(texts, "You help.", "What is an apple?", response)
        for j, system in enumerate(PROMPTS.values()):
            expected = (slow(texts, system, "What is an apple?", response) - base) / count
            assert got[i, j] == pytest.approx(expected, abs=2e-5)
    assert np.abs(got[:, :2]).max() > 0.01


def test_the_neutral_prompt_again_and_an_empty_response_are_exactly_nothing(texts):
    got = texts.contrast("What?", RESPONSES)
    assert (got[:, 2] == 0).all()
    assert (got[2] == 0).all()


def test_a_sum_grows_with_length_a_mean_does_not(texts):
    summed = AttributeTexts(texts.source, prompts=PROMPTS, base="You help.", length="sum", device="cpu")
    long = ["An apple. " * n for n in (1, 2, 8)]
    mean, total = texts.contrast("Say it.", long)[:, 0], summed.contrast("Say it.", long)[:, 0]
    count = [len(t) for t in texts.response_tokens(long)]
    np.testing.assert_allclose(total, mean * count, rtol=1e-4)
    assert texts.identity != summed.identity, "they are cached apart"


def test_it_is_an_encoder_of_its_own_kind(tmp_path):
    path = tiny_causal_lm(tmp_path / "lm")
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"base": "You help.", "attributes": PROMPTS}))
    encoder = load_encoder(f"attributes:{path}?prompts={prompts}")
    assert encoder.dim == 3
    candidates = Candidates(["What?", "Why?", "What?"], ["Yes.", "Yes.", "No."])
    x = encoder.encode(candidates)
    np.testing.assert_allclose(x[[2, 0]], encoder.encode(candidates.take([2, 0])), atol=1e-6)
    assert not np.allclose(x[0], x[1]), "the prompt counts"
    again = load_encoder(encoder.spec)
    assert again.fingerprint == encoder.fingerprint
    np.testing.assert_allclose(again.encode(candidates), x, atol=1e-6)
    assert load_encoder(f"attributes:{path}").dim == len(DEFAULT) >= 40
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        load_encoder(f"attributes:{path}?prompts={tmp_path / 'no.json'}")
    prompts.write_text("{}")
    with pytest.raises(ConfigError, match="attributes"):
        load_encoder(f"attributes:{path}?prompts={prompts}")


def test_long_prompts_keep_the_system_prompt_and_long_responses_their_beginning(texts):
    ids = texts.prefix_tokens("Be formal.", "word " * 3000)
    assert len(ids) <= texts.max_length - texts.max_length // 2
    assert ids != texts.prefix_tokens("Be brief, please.", "word " * 3000)
    assert np.isfinite(texts.contrast("word " * 3000, ["long " * 3000, "short"])).all()

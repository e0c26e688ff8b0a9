"""Which tokens make the vector of a text: against one text at a time, and a response found in its dialogue."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

from guerdon.encode import FeatureEncoder, load_encoder
from guerdon.encode.pooling import pool, spread, start_of
from guerdon.errors import BackendError, ConfigError
from guerdon.feedback.schema import Candidates
from tiny_models import tiny_causal_lm

PROMPTS = ["Name a fruit.", "Why is the sky blue? Tell me.", "", "Name a fruit.", "Name a fruit."]
RESPONSES = ["An apple.", "Because the air scatters blue light. " * 4, "A", "", "名前 — ñ!"]
BATCH = Candidates(PROMPTS, RESPONSES)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal language model without a chat template, whose texts begin with a mark."""
    return tiny_causal_lm(tmp_path_factory.mktemp("plain"), chat_template=False, bos=True)


def opened(spec: str) -> FeatureEncoder:
    encoder = load_encoder(spec)
    assert isinstance(encoder, FeatureEncoder)
    return encoder


def states_of(folder: Path, text: str, special: bool = True) -> np.ndarray:
    """[t, d] of one text, run alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    ids = tokenizer(text, add_special_tokens=special)["input_ids"]
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()


def alone(folder: Path, prompt: str, response: str) -> np.ndarray:
    """[r, d] states of a response's tokens; the last state of the text where the response is empty."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    before = f"{prompt}\n\n" if prompt and response else ""
    states = states_of(folder, before + response if response else prompt)
    start = len(tokenizer(before)["input_ids"])
    return states[start:] if response else states[-1:]


def naive(states: np.ndarray, pooling: str) -> np.ndarray:
    weight = np.arange(1.0, len(states) + 1)[:, None]
    if pooling in ("mean", "weighted"):
        return states.mean(0) if pooling == "mean" else (states * weight).sum(0) / weight.sum()
    place = {"last": -1, "first": 0}.get(pooling)
    place = int(pooling) if place is None else place
    return states[min(place, len(states) - 1) if place >= 0 else max(place, -len(states))]


# ------------------------------------------------------------------ the response alone


@pytest.mark.parametrize("pooling", ["last", "first", "mean", "weighted", "-2", "3", "-1"])
def test_the_tokens_of_the_response_equal_the_naive_twin(plain: Path, pooling: str):
    encoder = opened(f"hf:{plain}?pooling={pooling}&tokens=response&cache=off")
    expected = [naive(alone(plain, p, r), pooling) for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    np.testing.assert_allclose(encoder.encode(BATCH), expected, atol=1e-5)


def test_padding_and_batches_make_no_difference(plain: Path):
    """Often got wrong: with token weights, which side is padded, and where the response begins in a padded row."""
    rows = [opened(f"hf:{plain}?pooling=weighted&tokens=response&cache=off&batch_tokens={n}") for n in (16, 10_000)]
    few, many = (encoder.encode(BATCH) for encoder in rows)
    np.testing.assert_allclose(few, many, atol=1e-5)
    one = np.concatenate([rows[1].encode(BATCH.take([i])) for i in range(len(BATCH))])
    np.testing.assert_allclose(one, many, atol=1e-5)


def test_a_response_is_found_in_its_dialogue(lm: Path):
    tokenizer = AutoTokenizer.from_pretrained(lm)
    found = opened(f"hf:{lm}?pooling=mean&tokens=response&cache=off").encode(BATCH)
    for row, (prompt, response) in zip(found, zip(PROMPTS, RESPONSES, strict=True), strict=True):
        asked = [{"role": "user", "content": prompt}]
        whole = tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": response}], tokenize=False)
        before = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        assert whole.startswith(before)
        start = len(tokenizer(before)["input_ids"])
        np.testing.assert_allclose(row, states_of(lm, whole, special=False)[start:].mean(0), atol=1e-5)


def test_a_prompt_that_is_cut_leaves_the_response(lm: Path, plain: Path):
    long = Candidates(["word " * 300] * 2, ["An apple.", "No."])
    for folder in (lm, plain):
        found = opened(f"hf:{folder}?pooling=first&tokens=response&max_length=40&cache=off").encode(long)
        assert np.isfinite(found).all()
        assert not np.allclose(
            found[0], found[1]
        )  # the first token of each response, not of what is left of the prompt
    whole = opened(f"hf:{plain}?pooling=mean&max_length=40&cache=off").encode(long)
    response = opened(f"hf:{plain}?pooling=mean&tokens=response&max_length=40&cache=off").encode(long)
    assert not np.allclose(whole, response)


def test_a_text_of_its_own_counts_whole_but_for_its_marks(plain: Path):
    encoder = opened(f"hf:{plain}?pooling=first&tokens=response&features=response&cache=off")
    np.testing.assert_allclose(encoder.encode(BATCH)[0], states_of(plain, RESPONSES[0])[1], atol=1e-5)  # not <|bos|>


# ------------------------------------------------------------------ several positions


@pytest.mark.parametrize("positions", [1, 4, 16])
def test_positions_end_at_the_last_token_and_are_even(plain: Path, positions: int):
    encoder = opened(f"hf:{plain}?tokens=response&positions={positions}&cache=off")
    assert encoder.dim == positions * 32
    found = encoder.encode(BATCH).reshape(len(BATCH), positions, 32)
    for row, prompt, response in zip(found, PROMPTS, RESPONSES, strict=True):
        states = alone(plain, prompt, response)
        at = [int(np.ceil((j + 1) * len(states) / positions)) - 1 for j in range(positions)]
        np.testing.assert_allclose(row, states[at], atol=1e-5)
        if len(states) <= positions:
            assert sorted(set(at)) == list(range(len(states)))  # every token
    last = opened(f"hf:{plain}?tokens=response&cache=off").encode(BATCH)
    np.testing.assert_allclose(found[:, -1], last, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 8)), min_size=1, max_size=4),
    st.sampled_from(["last", "first", "mean", "weighted", "0", "2", "-1", "-3", "40", "-40"]),
    st.integers(1, 7),
)
def test_pooling_is_that_of_each_text_alone(texts: list[tuple[int, int]], pooling: str, positions: int):
    lengths = torch.tensor([n for n, _ in texts])
    starts = torch.tensor([min(start, n - 1) for n, start in texts])
    states = torch.randn(len(texts), 10, 3, generator=torch.Generator().manual_seed(0))
    pooled, kept = pool(states, lengths, pooling, starts), spread(states, lengths, positions, starts)
    for i, (n, start) in enumerate(zip(lengths.tolist(), starts.tolist(), strict=True)):
        own = states[i, start:n].numpy()
        np.testing.assert_allclose(pooled[i], naive(own, pooling), atol=1e-5)
        at = [-(-(j + 1) * len(own) // positions) - 1 for j in range(positions)]
        np.testing.assert_allclose(kept[i], own[at].ravel())


def test_where_a_response_starts():
    spans = [(0, 0), (0, 4), (4, 7), (7, 9)]  # a mark, then three tokens
    assert [start_of(spans, boundary) for boundary in (0, 4, 5, 8, 9)] == [1, 2, 2, 3, 3]
    assert start_of([], 3) == 0


# ------------------------------------------------------------------ names and bad input


def test_features_have_their_own_names_and_old_ones_keep_theirs(plain: Path):
    specs = ["", "?tokens=response", "?pooling=-2", "?tokens=response&positions=4"]
    encoders = [opened(f"hf:{plain}{tail}") for tail in specs]
    assert len({e.fingerprint for e in encoders}) == 4
    assert not {"tokens", "positions"} & set(encoders[0].texts.identity)
    for encoder in encoders:
        again = opened(encoder.spec)
        assert again.fingerprint == encoder.fingerprint
        np.testing.assert_array_equal(again.encode(BATCH), encoder.encode(BATCH))


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ("pooling=middle", "or the place of a token such as -2"),
        ("pooling=1.5", "pooling=1.5: use one of last"),
        ("tokens=prompt", "use one of all, response"),
        ("positions=0", "use a whole number of at least 1"),
        ("positions=4&pooling=mean", "nothing to pool"),
    ],
)
def test_what_cannot_be_is_said(plain: Path, tail: str, message: str):
    with pytest.raises(ConfigError, match=message):
        load_encoder(f"hf:{plain}?{tail}")


def test_a_tokenizer_that_does_not_say_where_tokens_lie(plain: Path, monkeypatch: pytest.MonkeyPatch):
    encoder = opened(f"hf:{plain}?tokens=response&cache=off")
    monkeypatch.setattr(type(encoder.texts.tokenizer), "is_fast", property(lambda self: False))  # type: ignore[attr-defined]
    with pytest.raises(BackendError, match="use tokens=all"):
        encoder.encode(BATCH)

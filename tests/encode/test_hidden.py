"""Hidden states of transformers models: equal to one text at a time, however batched, padded and cut."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModel, AutoTokenizer

from guerdon.encode import FeatureEncoder, load_encoder
from guerdon.encode.hidden import HiddenTexts
from guerdon.errors import BackendError, ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from tiny_models import tiny_bert_classifier, tiny_causal_lm, tiny_classifier, tiny_tokenizer

PROMPTS = ["Name a fruit.", "Why is the sky blue? Tell me.", "", "Name a fruit."]
RESPONSES = ["An apple.", "Because the air scatters blue light. " * 4, "", "名前 — ñ \ud800!"]
BATCH = Candidates(PROMPTS, RESPONSES)


def opened(spec: str) -> FeatureEncoder:
    encoder = load_encoder(spec)
    assert isinstance(encoder, FeatureEncoder)
    return encoder


def one_by_one(folder: Path, texts: list[str], pooling: str, layer: int = -1, special: bool = True) -> np.ndarray:
    """The naive twin: each text alone, no padding, no mask, no order."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=special)["input_ids"] or [tokenizer.bos_token_id]
        with torch.no_grad():
            states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0]
        weight = torch.arange(1.0, len(ids) + 1)[:, None]
        rows.append(
            {
                "last": states[-1],
                "first": states[0],
                "mean": states.mean(0),
                "weighted": (states * weight).sum(0) / weight.sum(),
            }[pooling].numpy()
        )
    return np.stack(rows)


@pytest.mark.parametrize("pooling", ["last", "mean", "weighted", "first"])
@pytest.mark.parametrize("layer", [-1, 1])
def test_causal_model_equals_the_naive_twin(lm: Path, pooling: str, layer: int):
    encoder = opened(f"hf:{lm}?pooling={pooling}&layer={layer}&features=response&cache=off")
    clean = [t.replace("\ud800", "?") for t in RESPONSES]
    np.testing.assert_allclose(encoder.encode(BATCH), one_by_one(lm, clean, pooling, layer), atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_bert_equals_the_naive_twin(bert: Path, pooling: str):
    encoder = opened(f"hf:{bert}?pooling={pooling}&features=response&cache=off")
    clean = [t.replace("\ud800", "?") for t in RESPONSES]
    np.testing.assert_allclose(encoder.encode(BATCH), one_by_one(bert, clean, pooling), atol=1e-5)


@pytest.mark.parametrize("budget", [16, 150, 10_000])
def test_batches_make_no_difference(lm: Path, budget: int):
    texts = [("word " * (i % 13)).strip() + str(i) for i in range(40)]
    batch = Candidates(["p"] * 40, texts)
    x = opened(f"hf:{lm}?batch_tokens={budget}&cache=off").encode(batch)
    alone = np.concatenate([opened(f"hf:{lm}?cache=off").encode(batch.take([i])) for i in range(0, 40, 7)])
    np.testing.assert_allclose(x[::7], alone, atol=1e-5)


@pytest.mark.parametrize("pad", ["eos", None])
def test_pad_may_be_eos_or_missing(tmp_path: Path, lm: Path, pad: str | None):
    """The same weights with another pad token give the same features, also for texts that hold the eos token."""
    other = shutil.copytree(lm, tmp_path / "lm")
    tiny_tokenizer(pad=pad).save_pretrained(other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "pad_token_id": None if pad is None else 1}))
    batch = Candidates(["Name a fruit."] * 3, ["An apple.", "Yes.<|eos|><|eos|>", "An apple, or a pear perhaps."])
    for pooling in ("last", "mean"):
        x = opened(f"hf:{other}?pooling={pooling}&cache=off").encode(batch)
        np.testing.assert_allclose(x, opened(f"hf:{lm}?pooling={pooling}&cache=off").encode(batch), atol=1e-5)
    plain = opened(f"hf:{other}?features=response&cache=off").encode(batch)
    np.testing.assert_allclose(plain, one_by_one(other, list(batch.responses), "last"), atol=1e-5)


def test_chat_template_is_applied(lm: Path):
    tokenizer = AutoTokenizer.from_pretrained(lm)
    chats: list[Any] = [
        [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "An apple."}],
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi."},
        ],
    ]
    rendered = [tokenizer.apply_chat_template(c, tokenize=False) for c in chats]
    batch = Candidates(["Name a fruit.", chats[1][:-1]], ["An apple.", [chats[1][-1]]])
    expected = one_by_one(lm, rendered, "last", special=False)
    np.testing.assert_allclose(opened(f"hf:{lm}").encode(batch), expected, atol=1e-5)
    assert opened(f"hf:{lm}?template=chat").fingerprint == opened(f"hf:{lm}").fingerprint
    plain = opened(f"hf:{lm}?template=none").encode(batch)
    np.testing.assert_allclose(plain[:1], one_by_one(lm, ["Name a fruit.\n\nAn apple."], "last"), atol=1e-5)


def test_prompt_alone_ends_where_the_assistant_begins(lm: Path):
    tokenizer = AutoTokenizer.from_pretrained(lm)
    user = [{"role": "user", "content": "Name a fruit."}]
    rendered = tokenizer.apply_chat_template(user, tokenize=False, add_generation_prompt=True)
    x = opened(f"hf:{lm}?features=both&cache=off").encode(BATCH.take([0]))
    np.testing.assert_allclose(x[:, :32], one_by_one(lm, [rendered], "last", special=False), atol=1e-5)
    np.testing.assert_allclose(x[:, 32:64], one_by_one(lm, ["An apple."], "last"), atol=1e-5)


def test_bos_is_there_once(tmp_path: Path):
    folder = tiny_causal_lm(tmp_path / "lm", bos=True)
    plain = opened(f"hf:{folder}?features=response&template=none&cache=off").encode(BATCH.take([0]))
    np.testing.assert_allclose(plain, one_by_one(folder, ["An apple."], "last"), atol=1e-5)
    encoder = opened(f"hf:{folder}?template=none&max_length=8")
    (ids,) = encoder.texts.tokenize(["a long text " * 30])  # type: ignore[attr-defined]
    assert (len(ids), ids[0], ids.count(0)) == (8, 0, 1)


def test_long_dialogues_keep_their_end(lm: Path):
    long = Candidates(["x" * 900], ["An apple."])
    short = opened(f"hf:{lm}?max_length=32&cache=off")
    (ids,) = short.texts.tokenize([short.texts.template.joined(long.prompts[0], "An apple.")])  # type: ignore
    assert len(ids) == 32
    assert AutoTokenizer.from_pretrained(lm).decode(ids).endswith("An apple.<|im_end|>\n")
    assert short.encode(long).shape == (1, 32)


def test_long_prompts_do_not_push_the_response_out(bert: Path):
    from guerdon.encode.hidden import fit

    tokenizer = AutoTokenizer.from_pretrained(bert)
    prompt, answer = "the " * 100 + "rain", "apple and fruit"
    (text,) = fit([(prompt, answer)], tokenizer, 20)
    tokens = tokenizer(text)["input_ids"]
    assert len(tokens) == 20
    assert tokenizer.decode(tokens, skip_special_tokens=True).endswith("the rain apple and fruit")
    (text,) = fit([(prompt, "fruit " * 100)], tokenizer, 22)
    words = tokenizer.decode(tokenizer(text, truncation=True, max_length=22)["input_ids"], skip_special_tokens=True)
    assert words.split() == ["the"] * 4 + ["rain"] + ["fruit"] * 15
    assert fit([("the rain", "apple"), "sky", ("", "apple")], tokenizer, 64) == ["the rain\n\napple", "sky", "apple"]


def architecture(name: str, vocab: int) -> Any:
    """A tiny model that counts positions, looks at neighbours or encodes in a way of its own."""
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    common: dict[str, Any] = {**shape, "vocab_size": vocab, "pad_token_id": 2, "initializer_range": 0.3}
    if name == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 96, "initializer_range": 0.3}
        return transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=vocab, bos_token_id=0, eos_token_id=1, **sizes)
        )
    if name == "gemma3":
        config = transformers.Gemma3TextConfig(**common, num_key_value_heads=2, head_dim=8, sliding_window=8)
        return transformers.Gemma3ForCausalLM(config)
    if name == "roberta":
        return transformers.RobertaModel(transformers.RobertaConfig(**common, max_position_embeddings=66))
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=vocab, decoder_start_token_id=0, pad_token_id=2, **sizes)
    )


@pytest.mark.parametrize(("name", "reads"), [("gpt2", 96), ("gemma3", 512), ("roberta", 63), ("t5", 512)])
def test_other_architectures(tmp_path: Path, name: str, reads: int):
    tokenizer = tiny_tokenizer(chat_template=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        architecture(name, len(tokenizer)).eval().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    batch = Candidates(["a prompt"] * 3, ["short", "a longer answer, you see " * 3, "x" * 700])
    encoder = opened(f"hf:{tmp_path}?cache=off")
    assert encoder.texts.max_length == reads  # type: ignore[attr-defined]
    alone = np.concatenate([encoder.encode(batch.take([i])) for i in range(3)])
    np.testing.assert_allclose(encoder.encode(batch), alone, atol=1e-5)


def test_a_batch_too_large_for_memory_goes_in_halves(lm: Path, monkeypatch: pytest.MonkeyPatch):
    encoder = opened(f"hf:{lm}?cache=off")
    expected = encoder.encode(BATCH)
    pooled, most = HiddenTexts._pooled, [2]

    def small(self: HiddenTexts, ids: torch.Tensor, mask: Any, pool: Any) -> torch.Tensor:
        if len(ids) > most[0]:
            raise torch.OutOfMemoryError
        return pooled(self, ids, mask, pool)

    monkeypatch.setattr(HiddenTexts, "_pooled", small)
    np.testing.assert_allclose(encoder.encode(BATCH), expected, atol=1e-5)
    most[0] = 0
    with pytest.raises(BackendError, match=r"one text of .* tokens does not fit"):
        encoder.encode(BATCH)


def test_threads_may_share_an_encoder(lm: Path):
    batches = [Candidates([f"p{i}"] * 8, [f"r{i} {j} " * j for j in range(8)]) for i in range(6)]
    alone = opened(f"hf:{lm}?cache=off")
    shared = opened(f"hf:{lm}")
    with ThreadPoolExecutor(6) as pool:
        for got, batch in zip(pool.map(shared.encode, batches), batches, strict=True):
            np.testing.assert_allclose(got, alone.encode(batch), atol=1e-5)


def test_a_classifier_is_an_encoder_too(tmp_path: Path):
    for folder in (tiny_classifier(tmp_path / "llama"), tiny_bert_classifier(tmp_path / "bert")):
        x = opened(f"hf:{folder}?template=none").encode(BATCH)
        assert x.shape == (4, 32)
        assert np.isfinite(x).all()


def test_half_precision_is_close_and_named(lm: Path):
    half = opened(f"hf:{lm}?dtype=bfloat16")
    full = opened(f"hf:{lm}")
    assert half.fingerprint != full.fingerprint
    x, y = half.encode(BATCH), full.encode(BATCH)
    assert x.dtype == np.float32
    assert 0 < np.abs(x - y).max() < 0.5


def test_what_cannot_be_is_said(lm: Path, bert: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"layer=9: .* 0\.\.3"):
        opened(f"hf:{lm}?layer=9").fingerprint  # noqa: B018
    with pytest.raises(ConfigError, match="reads at most 128"):
        opened(f"hf:{bert}?max_length=600").fingerprint  # noqa: B018
    with pytest.raises(BackendError, match="has no chat template; use template=none"):
        opened(f"hf:{bert}?template=chat").fingerprint  # noqa: B018
    with pytest.raises(ConfigError, match="device=warp"):
        opened(f"hf:{lm}?device=warp").encode(BATCH)
    strict = tiny_causal_lm(tmp_path / "strict")
    template = strict / "chat_template.jinja"
    template.write_text("{{ raise_exception('only users') }}")
    with pytest.raises(FeedbackError, match=r"refuses a dialogue of user, assistant \(only users\); use template=none"):
        opened(f"hf:{strict}").encode(BATCH)


def test_weights_that_lack_a_layer_are_refused(tmp_path: Path):
    from safetensors.torch import load_file, save_file

    folder = tiny_causal_lm(tmp_path / "lm")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BackendError, match="its features would be random"):
        opened(f"hf:{folder}").encode(BATCH)

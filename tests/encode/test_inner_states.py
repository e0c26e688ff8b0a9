"""Features of every attention head and of every layer: against the model's own computation, in any batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guerdon.encode import load_encoder
from guerdon.encode.inner_states import head_projections
from guerdon.errors import BackendError, ConfigError
from guerdon.feedback.schema import Candidates
from tiny_models import tiny_bert, tiny_causal_lm

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXTS = ["a", "the rain falls on the roof and on the river", "and the sky"]
SOME = Candidates(["q"] * 3, TEXTS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal_lm(tmp_path_factory.mktemp("heads") / "lm", chat_template=False)


def encoder(place: Path, options: str) -> Any:
    return load_encoder(f"hf:{place}?features=response&cache=off&{options}")


def test_heads_are_what_the_output_projections_take(place: Path) -> None:
    """One text at a time, without padding: projecting the heads gives what the attention of each layer puts out."""
    made = encoder(place, "states=heads")
    x = made.encode(SOME)
    assert (made.dim, made.blocks, x.shape) == (3 * 32, 12, (3, 96))
    model = transformers.AutoModel.from_pretrained(place)
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    out: list[Any] = []
    for layer in model.layers:
        layer.self_attn.register_forward_hook(lambda _, __, given: out.append(given[0][0, -1]))
    for row, text in enumerate(TEXTS):
        out.clear()
        with torch.no_grad():
            model(**tokenizer(text, return_tensors="pt"))
            for k, layer in enumerate(model.layers):
                mine = layer.self_attn.o_proj(torch.as_tensor(x[row, 32 * k : 32 * k + 32]))
                np.testing.assert_allclose(mine.numpy(), out[k].numpy(), atol=1e-5)


def test_layers_are_the_hidden_states(place: Path) -> None:
    made = encoder(place, "states=layers")
    x = made.encode(SOME)
    assert (made.dim, made.blocks) == (4 * 32, 4)
    for k in range(4):
        alone = encoder(place, f"layer={k if k < 3 else -1}").encode(SOME)
        np.testing.assert_allclose(x[:, 32 * k : 32 * k + 32], alone, atol=1e-6)


@pytest.mark.parametrize("states", ["heads", "layers"])
def test_batches_change_nothing(place: Path, states: str) -> None:
    one = encoder(place, f"states={states}&batch_tokens=16").encode(SOME)
    np.testing.assert_allclose(one, encoder(place, f"states={states}").encode(SOME), atol=1e-5)


def test_an_encoder_that_reads_both_ways_has_heads_as_well(tmp_path: Path) -> None:
    made = encoder(tiny_bert(tmp_path / "bert"), "states=heads&pooling=mean")
    assert (made.encode(SOME).shape, made.blocks) == ((3, 64), 8)


def test_names_of_features_that_were_there_before_stay(place: Path) -> None:
    plain = encoder(place, "layer=1")
    assert "states" not in plain.texts.identity
    assert plain.blocks is None
    names = {encoder(place, o).fingerprint for o in ("pooling=last", "states=heads", "states=layers")}
    assert len(names) == 3
    assert encoder(place, "states=hidden").fingerprint == encoder(place, "pooling=last").fingerprint


CONFIGS = {
    "GPT2Config": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "OPTConfig": {
        "hidden_size": 32,
        "ffn_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "word_embed_proj_dim": 32,
    },
    "GPTNeoXConfig": {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "Qwen3Config": {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGS)
def test_models_of_many_makes_have_heads(kind: str) -> None:
    config = getattr(transformers, kind)(**CONFIGS[kind], vocab_size=64)
    assert len(head_projections(transformers.AutoModel.from_config(config), config)) == 2


def test_what_cannot_be_is_told(place: Path) -> None:
    for options, said in (("layer=1", "reads one token in every layer"), ("positions=4", "reads one token")):
        with pytest.raises(ConfigError, match=said):
            encoder(place, f"states=heads&{options}")
    config = transformers.MambaConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=4, num_attention_heads=4
    )
    with pytest.raises(BackendError, match="use states=layers"):
        head_projections(transformers.AutoModel.from_config(config), config)

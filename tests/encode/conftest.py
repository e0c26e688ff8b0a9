"""A cache folder of its own for every test of the room, and tiny models built once."""

from pathlib import Path

import pytest

from tiny_models import tiny_bert, tiny_causal_lm, tiny_sentence_transformer


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of this test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("GUERDON_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal language model with a chat template and a pad token of its own."""
    return tiny_causal_lm(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT encoder."""
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def sentence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder: mean pooling, scaled to length 1, 64 tokens."""
    return tiny_sentence_transformer(tmp_path_factory.mktemp("st") / "model")

"""Feature maps: their columns, their composition over shared texts, and the surface block."""

import numpy as np
import pytest

from guerdon.encode import load_encoder
from guerdon.encode.features import MAPS, SURFACE, FeatureMap, surface_features
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates

PROMPTS = ["Name a fruit.", "Name a fruit.", "Why is the sky blue?", ""]
RESPONSES = ["An apple.", "A pear, of course!", "An apple.", "Name a fruit."]
BATCH = Candidates(PROMPTS, RESPONSES)


def text(values: list[str]) -> np.ndarray:
    return load_encoder("hash:64?features=response").encode(Candidates(["-"] * len(values), values))


@pytest.mark.parametrize("name", [*MAPS, "joined+response", "response+surface", "both+difference+surface"])
def test_maps_are_the_blocks_they_name(name: str):
    p, r = text(PROMPTS), text(RESPONSES)
    j = text([f"{a}\n\n{b}" if a else b for a, b in zip(PROMPTS, RESPONSES, strict=True)])
    blocks = {"prompt": p, "response": r, "joined": j, "product": p * r, "difference": np.abs(r - p)}
    blocks["surface"] = surface_features(RESPONSES)
    feature_map = FeatureMap.of(name)
    encoder = load_encoder(f"hash:64?features={name}")
    x = encoder.encode(BATCH)
    assert x.dtype == np.float32
    assert x.shape == (4, encoder.dim)
    np.testing.assert_allclose(x, np.concatenate([blocks[b] for b in feature_map.blocks], 1), atol=1e-6)


def test_many_rows_compose_like_few():
    n = 20_000  # more than one chunk
    rng = np.random.default_rng(0)
    table = rng.standard_normal((50, 3)).astype(np.float32)
    p, r = rng.integers(0, 50, n), rng.integers(0, 50, n)
    x = FeatureMap.of("both").compose(3, n, prompt=(table, p), response=(table, r))
    np.testing.assert_array_equal(x, np.concatenate([table[p], table[r], table[p] * table[r]], 1))


def test_unions_keep_each_block_once():
    assert FeatureMap.of("product+response").blocks == ("response", "product")
    with pytest.raises(ConfigError, match="united by"):
        FeatureMap.of("response+")


def test_surface_features_are_what_they_say():
    (row,) = surface_features(["Two words. Yes\n- one\n2) TWO?"])
    value = dict(zip(SURFACE, row, strict=True))
    assert value["log(1 + characters)"] == pytest.approx(np.log1p(28), abs=1e-6)
    assert value["log(1 + words)"] == pytest.approx(np.log1p(7), abs=1e-6)
    assert value["log(1 + list items)"] == pytest.approx(np.log1p(2), abs=1e-6)
    assert value["log(1 + line breaks)"] == pytest.approx(np.log1p(2), abs=1e-6)
    assert value["share of distinct words"] == 1.0
    assert value["ends with a question mark"] == 1.0
    assert surface_features(["", "  \n"]).sum() == 0
    assert surface_features([]).shape == (0, len(SURFACE))


def test_no_features_of_length_unless_asked_for():
    """A text and the same text twice differ in the surface block; the hash encoder itself is scaled to length 1."""
    x = load_encoder("hash:64").encode(Candidates(["", ""], ["a good line", "a good line " * 50]))
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-6)

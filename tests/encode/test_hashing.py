"""The hashing encoder: the same numbers on every machine, a slow twin, and the shape of odd texts."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.encode import load_encoder
from guerdon.encode.hashing import NGRAM, NGRAMS, PAIR, WORD, HashingTexts

M = 2**64


def mix(x: int, salt: int) -> int:
    x = (x + salt * 0x9E3779B97F4A7C15) % M
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % M
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % M
    return x ^ (x >> 31)


def slow(text: str, dim: int) -> np.ndarray:
    """The definition, token by token in Python integers."""
    p = 0x100000001B3
    words: list[bytes] = []
    current = bytearray()
    for byte in text.lower().encode("utf-8", "surrogatepass") + b" ":
        if byte >= 128 or chr(byte).isalnum() or byte == ord("'"):
            current.append(byte)
        elif current:
            words.append(bytes(current))
            current = bytearray()
    total = np.zeros(dim)

    def add(value: int, salt: int, weight: float) -> None:
        h = mix(value, salt)
        total[(h >> 1) % dim] += weight if h & 1 else -weight

    hashes = [sum((b + 1) * pow(p, i, M) for i, b in enumerate(w)) % M for w in words]
    for h in hashes:
        add(h, 1, WORD)
    for left, right in pairwise(hashes):
        add((left * 0x9E3779B97F4A7C15 + right) % M, 2, PAIR)
    for word in words:
        for n in NGRAMS:
            for i in range(len(word) - n + 1):
                value = 0
                for b in word[i : i + n]:
                    value = (value * p + b + 1) % M
                add(value, 2 + n, NGRAM)
    total = np.sign(total) * np.log1p(np.abs(total))
    norm = np.linalg.norm(total)
    return total / norm if norm else total


def fast(texts: list[str], dim: int) -> np.ndarray:
    out = np.full((len(texts), dim), np.nan, dtype=np.float32)
    for at, rows in HashingTexts(dim).batches(texts):
        out[at] = rows
    return out


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=6), st.sampled_from([2, 7, 64]))
def test_equals_the_slow_twin(texts: list[str], dim: int):
    expected = np.array([slow(t, dim) for t in texts]).reshape(len(texts), dim)
    np.testing.assert_allclose(fast(texts, dim), expected, atol=1e-6)


def test_recorded_value():
    """The features of a text never change: saved models lean on them."""
    texts = ["The quick brown fox jumps over the lazy dog.", "Größe — 名前, don't!", ""]
    x = fast(texts, 256)
    assert hashlib.sha256(np.sign(x).astype(np.int8).tobytes()).hexdigest()[:16] == RECORDED
    np.testing.assert_allclose(x[0][x[0] != 0][:4], RECORDED_VALUES, atol=1e-6)


RECORDED = "b081be173e345eb7"
RECORDED_VALUES = [0.100604, -0.100604, -0.100604, -0.100604]


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch):
    texts = [f"text number {i} " * (i % 7) for i in range(100)]
    whole = fast(texts, 32)
    monkeypatch.setattr("guerdon.encode.hashing.CHUNK_BYTES", 64)
    np.testing.assert_array_equal(fast(texts, 32), whole)
    monkeypatch.setattr("guerdon.encode.hashing.CHUNK_FEATURES", 32)
    np.testing.assert_array_equal(fast(texts, 32), whole)


def test_similar_texts_are_near_and_nothing_is_cached(cache):
    from guerdon.feedback.schema import Candidates

    encoder = load_encoder("hash:1024")
    a, b, c = encoder.encode(Candidates([""] * 3, ["I like apples a lot", "I liked apples", "Stocks fell on Monday"]))
    assert a @ b > 0.3 > 0.1 > a @ c
    assert not cache.exists()
    assert encoder.encode(Candidates([], [])).shape == (0, 1024)

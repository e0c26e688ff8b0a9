r"""The hashing encoder: words and character n-grams folded into d features. numpy only, no model, no download.

A text's tokens are its lower-cased words, neighbouring word pairs, and the byte n-grams (n = 3, 4, 5) inside words;
every token t has a fixed 64-bit hash h(t), and adds :math:`\pm w` to feature ``h mod d`` with the sign from another bit
of h. Counts are damped, ``sign(x) log(1 + |x|)``, and the vector is scaled to length 1, so length as such is not seen.

The hash is computed here (a polynomial over UTF-8 bytes modulo 2^64, then SplitMix64), so the same text gives the same
features on every machine and in every Python. Weinberger et al., Feature Hashing for Large Scale Multitask Learning,
2009, https://arxiv.org/abs/0902.2206
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from guerdon.encode.template import JOIN, PlainTemplate, Unit

VERSION = 1
NGRAMS = (3, 4, 5)
WORD, PAIR, NGRAM = 1.0, 0.7, 0.35  # weights: a word outweighs its parts, of which it has many
CHUNK_BYTES, CHUNK_FEATURES = 2**19, 2**21  # texts hashed at once: temporaries stay in the tens of megabytes
_P = 0x100000001B3  # FNV's prime as the base of the polynomial


class HashingTexts:
    """Texts to float32 [n, dim] by signed feature hashing. Cheaper than reading a cache, so it is never cached."""

    kind = "hash"
    cached = False
    template = PlainTemplate()

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.identity: dict[str, Any] = {"encoder": "hash", "version": VERSION, "dim": dim}

    def batches(self, units: Sequence[Unit]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(positions, features) of ``units``, in chunks."""
        texts = [(u if isinstance(u, str) else JOIN.join(u)).lower().encode("utf-8", "surrogatepass") for u in units]
        sizes = np.array([len(t) + 1 for t in texts], dtype=np.int64)
        rows = max(1, CHUNK_FEATURES // self.dim)
        chunk = np.cumsum(sizes) // CHUNK_BYTES + np.arange(len(texts)) // rows * (int(sizes.sum()) + 1)
        edges = np.flatnonzero(np.diff(chunk, prepend=-1, append=-1)) if len(texts) else []
        for lo, hi in pairwise(edges):
            yield np.arange(lo, hi), self._hash(texts[lo:hi])

    def _hash(self, texts: list[bytes]) -> np.ndarray:
        """float32 [n, dim] features of lower-cased UTF-8 texts."""
        buffer = np.frombuffer(b" ".join(texts) + b" ", np.uint8)
        row = np.repeat(np.arange(len(texts)), [len(t) + 1 for t in texts])
        inside = _IS_WORD[buffer]
        edge = np.diff(inside.astype(np.int8), prepend=0, append=0)
        start, end = np.flatnonzero(edge == 1), np.flatnonzero(edge == -1)
        letters = buffer.astype(np.uint64) + np.uint64(1)
        words = _polynomials(letters, start, end)
        found = [self._tokens(row[start], words, 1, WORD)]
        same = row[start[1:]] == row[start[:-1]]
        pairs = (words[:-1] * np.uint64(0x9E3779B97F4A7C15) + words[1:])[same]
        found.append(self._tokens(row[start[1:]][same], pairs, 2, PAIR))
        run = np.cumsum(inside)
        rolling = letters
        for n in range(2, min(max(NGRAMS), len(letters)) + 1):
            rolling = rolling[:-1] * np.uint64(_P) + letters[n - 1 :]
            if n in NGRAMS:  # where all n bytes are in one word
                whole = np.flatnonzero((run[n - 1 :] - np.concatenate([[0], run[:-n]])) == n)
                found.append(self._tokens(row[whole], rolling[whole], 2 + n, NGRAM))
        where, weight = (np.concatenate(part) for part in zip(*found, strict=True))
        total = np.bincount(where, weight, len(texts) * self.dim).reshape(len(texts), self.dim)
        total = np.sign(total) * np.log1p(np.abs(total))
        norm = np.sqrt((total**2).sum(1, keepdims=True))
        return (total / np.where(norm > 0, norm, 1.0)).astype(np.float32)

    def _tokens(self, row: np.ndarray, values: np.ndarray, salt: int, weight: float) -> tuple[np.ndarray, np.ndarray]:
        """(position in the flattened table, signed weight) of each token."""
        hashed = _mix(values, salt)
        bucket = (hashed >> np.uint64(1)) % np.uint64(self.dim)
        return row * self.dim + bucket.astype(np.int64), np.where(hashed & np.uint64(1), weight, -weight)


def _polynomials(letters: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """uint64 [w] hash of each word ``letters[start:end]``: the sum of letter x base^(position in the word)."""
    if not len(start):
        return np.zeros(0, np.uint64)
    lengths = end - start
    powers = np.cumprod(np.concatenate([[1], np.full(int(lengths.max()), _P)]).astype(np.uint64), dtype=np.uint64)
    position = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    flat = np.repeat(start, lengths) + position
    return np.add.reduceat(letters[flat] * powers[position], np.cumsum(lengths) - lengths, dtype=np.uint64)


def _mix(values: np.ndarray, salt: int) -> np.ndarray:
    """SplitMix64's finalizer: every bit of the result depends on every bit of ``values`` and on the salt."""
    x = values + np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _word_bytes() -> np.ndarray:
    """bool [256]: letters, digits, the apostrophe, and every byte of a character beyond ASCII."""
    table = np.zeros(256, dtype=bool)
    table[[c for c in range(128) if chr(c).isalnum()]] = True
    table[ord("'")] = True
    table[128:] = True
    return table


_IS_WORD = _word_bytes()

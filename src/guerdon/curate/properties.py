"""What kind of comparison this is: properties of a pair of responses, each cut into three ranges.

Textual properties, from words, lengths and an encoder's vectors: overlap of entities (names and numbers), cosine of the
embeddings, ROUGE-1, BERTScore (greedy matching of word vectors, here without context) and BERTScore adjusted for
length, difference of lengths, lengths of prompt, of the shorter and of the longer response. Values in [0, 1] are cut
at 1/3 and 2/3, lengths at the same quantiles of the *whole* set, before anything is taken out of it. Ranges are
half-open, [low, high), so that a value on an edge is in exactly one. Names given to instances (subset, criterion, the
tags of a language model, :mod:`.tags`) are properties of their own; an instance may have several of a kind.

Reference: Miranda et al. (2024), Hybrid Preferences, https://arxiv.org/abs/2410.19133.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from guerdon.encode.base import Encoder
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates

SHARES = ("entity overlap", "cosine", "rouge", "bertscore", "bertscore, length-adjusted")
LENGTHS = ("length difference", "prompt length", "shorter length", "longer length")
RANGES = ("low", "middle", "high")
_WORD = re.compile(r"\w+")
_ENTITY = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z][\w-]+|\b\d[\d.,]*\b")


Named = str | frozenset[str] | None
"""What an instance is called: a name, several, or nothing."""


def _values(named: Named) -> frozenset[str]:
    return frozenset() if named is None else frozenset([named]) if isinstance(named, str) else named


@dataclass(frozen=True)
class Ranges:
    """Where values are cut: ``edges`` [2] by name; made on the whole set once, then used on any part or other set."""

    edges: dict[str, tuple[float, float]]
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """further properties: the values each of them takes"""

    @classmethod
    def of(cls, values: Mapping[str, np.ndarray], named: Mapping[str, Sequence[Named]] | None = None) -> Ranges:
        """Cut ``values`` (by property, [n]): shares in thirds, lengths at their terciles; list what is ``named``."""
        edges = {}
        for name, value in values.items():
            low, high = np.quantile(value, [1 / 3, 2 / 3]) if name in LENGTHS else (1 / 3, 2 / 3)
            edges[name] = (float(low), float(high))
        table = {k: tuple(sorted({v for one in column for v in _values(one)})) for k, column in (named or {}).items()}
        return cls(edges, table)

    @property
    def properties(self) -> list[str]:
        """The J yes/no properties, in order."""
        out = [f"{name}: {r}" for name in self.edges for r in RANGES]
        return out + [f"{name}: {v}" for name, values in self.names.items() for v in values]

    def has(self, values: Mapping[str, np.ndarray], named: Mapping[str, Sequence[Named]] | None = None) -> np.ndarray:
        """bool [n, J] which properties each instance has."""
        columns = []
        for name, edges in self.edges.items():
            at = np.searchsorted(edges, values[name], side="right")
            columns += [at == k for k in range(3)]
        for name, known in self.names.items():
            column = [_values(one) for one in (named or {})[name]]
            columns += [np.array([v in one for one in column]) for v in known]
        return np.stack(columns, axis=1).astype(bool)


def textual(prompts: Sequence, first: Sequence, second: Sequence, encoder: Encoder) -> dict[str, np.ndarray]:
    """The nine textual properties of n comparisons, each float64 [n]; texts or chats."""
    a, b, asked = ([as_text(t) for t in texts] for texts in (first, second, prompts))
    distinct = list(dict.fromkeys([*a, *b]))
    at = {t: i for i, t in enumerate(distinct)}
    vectors = _unit(encoder.encode(Candidates([""] * len(distinct), distinct)))
    ia, ib = np.array([at[t] for t in a]), np.array([at[t] for t in b])
    words = {t: _WORD.findall(t.lower()) for t in distinct}
    f1 = _bertscore(distinct, words, ia, ib, encoder)
    la, lb = (np.array([len(words[t]) for t in texts], dtype=float) for texts in (a, b))
    longer, shorter = np.maximum(la, lb), np.minimum(la, lb)
    entities = {t: set(_ENTITY.findall(t)) for t in distinct}
    return {
        "entity overlap": np.array([_jaccard(entities[s], entities[t]) for s, t in zip(a, b, strict=True)]),
        "cosine": np.clip((vectors[ia] * vectors[ib]).sum(1), 0.0, 1.0),
        "rouge": np.array([_rouge(words[s], words[t]) for s, t in zip(a, b, strict=True)]),
        "bertscore": f1,
        "bertscore, length-adjusted": f1 * shorter / np.maximum(longer, 1.0),
        "length difference": longer - shorter,
        "prompt length": np.array([len(_WORD.findall(t)) for t in asked], dtype=float),
        "shorter length": shorter,
        "longer length": longer,
    }


def _bertscore(
    texts: Sequence[str], words: Mapping[str, list[str]], a: np.ndarray, b: np.ndarray, encoder: Encoder
) -> np.ndarray:
    vocabulary = list(dict.fromkeys(w for t in texts for w in dict.fromkeys(words[t])))
    code = {w: i for i, w in enumerate(vocabulary)}
    if not vocabulary:
        return np.ones(len(a))
    vectors = _unit(encoder.encode(Candidates([""] * len(vocabulary), vocabulary))).astype(np.float32)
    codes = [np.unique(np.array([code[w] for w in words[t]], dtype=np.int64), return_counts=True) for t in texts]
    out, known = np.ones(len(a)), {}
    for i, (s, t) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        key = (min(s, t), max(s, t))
        if key not in known:
            (left, n), (right, m) = codes[s], codes[t]
            if not len(left) or not len(right):
                known[key] = float(len(left) == len(right))
            else:
                cosine = vectors[left] @ vectors[right].T
                recall, precision = np.average(cosine.max(1), weights=n), np.average(cosine.max(0), weights=m)
                known[key] = float(2 * recall * precision / max(recall + precision, 1e-9))
        out[i] = known[key]
    return np.clip(out, 0.0, 1.0)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _jaccard(a: set, b: set) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0


def _rouge(a: list[str], b: list[str]) -> float:
    from collections import Counter

    if not a or not b:
        return float(len(a) == len(b))
    return 2 * (Counter(a) & Counter(b)).total() / (len(a) + len(b))

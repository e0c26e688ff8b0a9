"""Finding more of what the reward gets wrong: nearest pairs of a pool to the gold pairs it is unsure about.

For a gold validation pair that the reward puts right with probability p, the ``k = ceil(most x (1 - p))`` nearest pool
pairs are looked up where p is below ``confident``, none where the reward is confidently right. Pairs are compared by
what was asked (prompt and attributes), not by how the responses sound: errors come with kinds of tasks.

Reference: Liu et al. (2025), Skywork-Reward-V2, https://arxiv.org/abs/2507.01352.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback

FIELDS = ("prompt", "attributes")


@dataclass(frozen=True)
class Nearest:
    """An exact cosine index over n pairs; ``fields`` and ``fingerprint`` say what its vectors were computed from."""

    vectors: np.ndarray
    """float64 [n, m], of length 1"""
    fields: tuple[str, ...] = FIELDS
    fingerprint: str = ""

    @classmethod
    def of(cls, vectors: np.ndarray, fields: Sequence[str] = FIELDS, fingerprint: str = "") -> Nearest:
        """An index over ``vectors`` [n, m]; a zero vector is near nothing."""
        x = np.asarray(vectors, dtype=np.float64)
        return cls(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), tuple(fields), fingerprint)

    @classmethod
    def of_feedback(cls, feedback: Feedback, encoder: Encoder, attributes: Sequence[str] | None = None) -> Nearest:
        """An index over the judgements of ``feedback`` by prompt, subset, criterion and given ``attributes`` [J]."""
        texts = []
        for j, p in enumerate(feedback.judgement_prompt):
            told = [table[c] for table, c in _names(feedback, j) if c >= 0]
            told += [attributes[j]] if attributes is not None and attributes[j] else []
            prompt = as_text(feedback.candidate(int(feedback.items[feedback.offsets[j]]))[0]) if p >= 0 else ""
            texts.append("\n".join([prompt, *told]))
        distinct = list(dict.fromkeys(texts))
        at = {text: i for i, text in enumerate(distinct)}
        values = encoder.encode(Candidates([""] * len(distinct), distinct))
        return cls.of(values[[at[text] for text in texts]], FIELDS, encoder.fingerprint)

    def __len__(self) -> int:
        return len(self.vectors)

    def similarity(self, queries: Nearest) -> np.ndarray:
        """float64 [q, n] cosine of each query to each pair; raises where the two were not computed from the same."""
        if (queries.fields, queries.fingerprint) != (self.fields, self.fingerprint):
            raise ConfigError(
                f"the index was built on {'+'.join(self.fields)} by {self.fingerprint or 'given vectors'}, asked with "
                f"{'+'.join(queries.fields)} by {queries.fingerprint or 'given vectors'}: build both the same way"
            )
        return queries.vectors @ self.vectors.T

    def nearest(self, queries: Nearest, k: int, open_: np.ndarray | None = None) -> np.ndarray:
        """int64 [q, k] the nearest pairs, best first, among those ``open_`` bool [n]; fewer columns if fewer exist."""
        similarity = self.similarity(queries)
        if open_ is not None:
            similarity[:, ~open_] = -np.inf
        k = min(k, len(self) if open_ is None else int(open_.sum()))
        return np.argsort(-similarity, axis=1, kind="stable")[:, :k]


def neighbours(p: np.ndarray, most: int, confident: float) -> np.ndarray:
    """int64 [v] how many pairs to look up for gold pairs right with probability ``p`` [v]: ceil(most (1 - p)), or 0."""
    return np.where(np.asarray(p) >= confident, 0, np.ceil(most * (1 - np.asarray(p)) - 1e-12)).astype(np.int64)


def retrieve_errors(
    index: Nearest,
    gold: Nearest,
    p: np.ndarray,
    count: int,
    *,
    most: int = 8,
    confident: float = 0.75,
    open_: np.ndarray,
) -> np.ndarray:
    """At most ``count`` pairs of the pool (int64, most wanted first) near gold pairs that the reward gets wrong.

    p      float64 [v] P(right) by the reward of each gold pair;  open_  bool [n] pool pairs that may be taken
    most   pairs looked up for a gold pair that is certainly wrong; where all together give fewer than ``count`` it is
           doubled, since a round should not end with unspent budget while errors are known
    """
    k = neighbours(p, most, confident)
    wrong = np.flatnonzero(k > 0)
    if not len(wrong) or not open_.any() or count < 1:
        return np.zeros(0, dtype=np.int64)
    similarity = index.similarity(Nearest(gold.vectors[wrong], gold.fields, gold.fingerprint))
    similarity[:, ~open_] = -np.inf
    order = np.argsort(-similarity, axis=1, kind="stable")
    free = int(open_.sum())
    while True:
        want = np.minimum(k[wrong], free)
        score: dict[int, float] = {}
        for row, (i, n) in enumerate(zip(wrong, want, strict=True)):
            for j in order[row, :n]:
                score[int(j)] = score.get(int(j), 0.0) + (1 - p[i]) * (1 + similarity[row, j]) / 2
        if len(score) >= min(count, free) or (want == free).all():
            break
        k = 2 * k
    found = np.array(list(score), dtype=np.int64)
    values = np.array(list(score.values()))
    return found[np.lexsort((found, -values))][:count]


def _names(feedback: Feedback, j: int) -> list[tuple[tuple[str, ...], int]]:
    return [(feedback.subsets, int(feedback.subset[j])), (feedback.criteria, int(feedback.criterion[j]))]

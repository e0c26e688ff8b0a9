"""Search of a given corpus: BM25 over words, best passages first.

``score(q, d) = sum_w idf(w) f (k1 + 1) / (f + k1 (1 - b + b |d| / mean |d|))``, f = how often w is in d,
``idf(w) = log(1 + (N - n_w + 1/2) / (n_w + 1/2))``; k1 = 1.2, b = 0.75. The title counts as text.

Reference: Robertson & Zaragoza 2009, The Probabilistic Relevance Framework: BM25 and Beyond.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from guerdon.errors import ConfigError
from guerdon.reward.judge.tools.corpus import Passage, digest_of, passages_of
from guerdon.reward.judge.tools.tool import Tool, tool_of

K1, B = 1.2, 0.75
MOST = 10


def words(text: str) -> list[str]:
    """Case-folded runs of letters and digits; a run of a script without spaces gives its characters."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    found: list[str] = []
    for run in re.findall(r"\w+", folded):
        found += list(run) if re.search(r"[\u3040-\u30ff\u3400-\u9fff]", run) else [run]
    return found


class Index:
    """BM25 over n passages: for each word the passages that hold it, and what it adds to each of their scores."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.passages = list(passages)
        counts = [Counter(words(str(p))) for p in self.passages]
        length = np.array([sum(c.values()) for c in counts], dtype=np.float64)
        norm = K1 * (1 - B + B * length / max(float(length.mean()), 1.0)) if len(counts) else length
        at: dict[str, list[tuple[int, int]]] = {}
        for i, held in enumerate(counts):
            for word, count in held.items():
                at.setdefault(word, []).append((i, count))
        self._weight: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for word, places in at.items():
            rows = np.array([i for i, _ in places])
            f = np.array([c for _, c in places], dtype=np.float64)
            idf = np.log1p((len(counts) - len(rows) + 0.5) / (len(rows) + 0.5))
            self._weight[word] = (rows, idf * f * (K1 + 1) / (f + norm[rows]))

    def scores(self, query: str) -> np.ndarray:
        """float64 [n] of each passage; 0 where it shares no word with the query."""
        total = np.zeros(len(self.passages))
        for word in words(query):
            if word in self._weight:
                rows, weight = self._weight[word]
                total[rows] += weight
        return total

    def best(self, query: str, k: int) -> list[Passage]:
        """At most k passages that share a word with the query, the best first, equals in the file's order."""
        scores = self.scores(query)
        order = np.argsort(-scores, kind="stable")[:k]
        return [self.passages[i] for i in order.tolist() if scores[i] > 0]


def search_over(passages: Sequence[Passage], name: str = "search", most: int = 3) -> Tool:
    """The search tool over these passages, of which it shows at most ``most``."""
    index = Index(passages)

    def search(query: str) -> str:
        """The best passages, numbered."""
        found = index.best(query, most)
        return "\n".join(f"[{i}] {p}" for i, p in enumerate(found, 1)) or "nothing found"

    return tool_of(
        search,
        name=name,
        says="Searches a collection of texts for the words of a query and shows the passages that fit best.",
        identity=[digest_of(index.passages), most],
    )


def make(argument: str = "", *, name: str = "search") -> Tool:
    """Search over a file: JSONL, JSON or CSV with a column of texts (and titles), or plain paragraphs."""
    if not argument:
        raise ConfigError(f"tools: {name} needs a corpus: {name}=FILE (.jsonl, .json, .csv, .tsv or .txt)")
    return search_over(passages_of(argument), name)

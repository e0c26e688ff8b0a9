"""Is an answer from given sources a good one? Four measures in [0, 1], each higher where the answer is better.

``hallucination``      share of the claims (statements about the matter, or with a name or number) that are borne out
``comprehensiveness``  share of the sources' statements that the answer holds
``verbosity``          share of the statements that claim something, and something new
``attribution``        F1 of the citations (:mod:`.citations`)
``mean``               of the four

A statement is about the matter if enough of its content words are in the sources; it is borne out if most of them are,
and every number, as in :mod:`.citations`. The rule sees words, not meaning: a negation escapes it. Comprehensiveness
and verbosity pull in opposite directions; keep the four apart, and their mean only where one number is needed.

Reference: Zhang et al. 2025, RAG-Reward, https://arxiv.org/abs/2501.13264 (the four criteria, there told by a judge).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy

from guerdon.errors import ConfigError
from guerdon.reward.verify.citations import Citations, content, overlap, sources_of, statements
from guerdon.reward.verify.formats import sentences
from guerdon.reward.verify.rule import Question, Rule, Verdict, unusable

CRITERIA = ("hallucination", "comprehensiveness", "verbosity", "attribution")
MEASURES = (*CRITERIA, "mean")
_SPECIFIC = re.compile(r"\d|(?<=[a-z,;] )[A-Z][a-z]")
"""A number, or a name inside a sentence."""
ABOUT = 0.5
"""Share of a statement's content words in the sources from which on it is about their matter."""


class Grounded(Rule):
    """How well a response keeps to its sources: the column ``sources``, or the reference if it is a list of texts.

    measure    what the score is; all are in ``detail``
    threshold  share of content words from which on a statement is borne out, or held
    """

    def __init__(self, *, measure: str = "mean", threshold: float = 0.6) -> None:
        if measure not in MEASURES:
            raise ConfigError(f"rag: measure={measure!r}; use one of {', '.join(MEASURES)}")
        if not 0 < threshold <= 1:
            raise ConfigError(f"rag: threshold={threshold}; use a share in (0, 1]")
        self.measure, self.threshold = measure, threshold
        self.name = "rule:rag"
        self._citations = Citations(threshold=threshold)

    def check(self, asked: Question) -> Verdict:
        """The measures of one response."""
        sources = sources_of(asked.row.get("sources", asked.reference))
        if sources is None:
            return unusable("no sources; give a column 'sources': a list of texts, or a mapping of markers to texts")
        stated = [s.text for s in statements(asked.response)]
        if not stated:
            return Verdict(None, "no statement to measure", "abstained")
        found = self.measures(stated, sources)
        cited = self._citations.check(copy(asked))
        found["attribution"] = float(cited.value) if cited.value is not None else 0.0
        found["mean"] = sum(found[c] for c in CRITERIA) / len(CRITERIA)
        return Verdict(found[self.measure], detail=found)

    def measures(self, stated: list[str], sources: Mapping[str, str]) -> dict[str, float]:
        """The first three measures of statements."""
        whole = " ".join(sources.values())
        words, answer = content(whole), " ".join(stated)
        about = [s for s in stated if _share(s, words) >= ABOUT or _SPECIFIC.search(s)]
        borne = sum(self._borne(s, sources, whole) for s in about)
        new = sum(all(not _same(s, t) for t in stated[:i]) for i, s in enumerate(stated) if s in about)
        facts = [s for source in sources.values() for s in sentences(source) if content(s)]
        held = sum(overlap(fact, answer) >= self.threshold for fact in facts)
        return {
            "hallucination": borne / len(about) if about else 0.0,
            "comprehensiveness": held / len(facts) if facts else 0.0,
            "verbosity": new / len(stated),
        }

    def _borne(self, statement: str, sources: Mapping[str, str], whole: str) -> bool:
        one = max((overlap(statement, source) for source in sources.values()), default=0.0)
        return one >= self.threshold or overlap(statement, whole) >= max(self.threshold, 0.95)


def _share(statement: str, words: set[str]) -> float:
    mine = content(statement)
    return len(mine & words) / len(mine) if mine else 0.0


def _same(a: str, b: str) -> bool:
    return overlap(a, b) >= 0.9 and overlap(b, a) >= 0.9

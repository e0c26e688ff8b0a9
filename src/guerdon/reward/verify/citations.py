"""Are the citations of a text right? Markers must point to a source, and the source must bear the sentence out.

    recall     share of the statements that their cited sources, taken together, support
    precision  share of the citations that are needed: they resolve, the statement is supported, and either the source
               supports it alone or the others do not without it
    f1         2 precision recall / (precision + recall)

Markers are ``[1]``, ``[2, 3]``, ``[4-6]`` and ``[^1]``; one that stands behind the full stop belongs to the sentence
before. A statement is a sentence that says something: no question, no heading. Support is decided by a Reward that
reads the sources as the reference (a judge), or by a rule: enough of the statement's content words are in the sources,
and every number is. The rule sees words, not meaning: it takes "A beats B" for "B beats A".

Reference: Gao et al. 2023, ALCE, https://arxiv.org/abs/2305.14627 (whose judge is a model of entailment).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores
from guerdon.reward.verify.formats import sentences
from guerdon.reward.verify.rule import Question, Rule, Verdict, questions, unusable

MEASURES = ("f1", "precision", "recall")
SUPPORTED = "Does the reference answer, and nothing but it, bear out everything that the response states?"
RANGE = 50
"""Sources that one marker such as ``[1-9]`` may name."""

_MARKER = re.compile(r"\[\^?(\d{1,4}(?:\s*[-–,;]\s*\^?\d{1,4})*)\]")
_LEADING = re.compile(rf"^(?:\s*{_MARKER.pattern})+[.,;:]?\s*")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_STOP = frozenset(
    re.findall(
        r"\w+",
        """a an the and or but if of in on at to by for from with as is are was were be been being it its this that
        these those he she they them his her their we you i our your so than then there here which who whom what when
        where while into onto over under about also can could may might must shall should will would do does did has
        have had very more most such some any each other both all one""",
    )
)


@dataclass(frozen=True)
class Statement:
    """A sentence without its markers, and the keys that these name."""

    text: str
    cited: tuple[str, ...]


class Citations(Rule):
    """How well the citations of a response hold, from 0 to 1.

    Parameters
    ----------
    measure : f1, precision or recall
    threshold : share of a statement's content words that must be in its sources, where no judge decides
    judge : a Reward, or its specification, that scores from 0 to 1 whether the reference bears the response out
    """

    def __init__(self, *, measure: str = "f1", threshold: float = 0.6, judge: str | Reward | None = None) -> None:
        if measure not in MEASURES:
            raise ConfigError(f"measure={measure!r}: use one of {', '.join(MEASURES)}")
        if not 0 < threshold <= 1:
            raise ConfigError(f"threshold={threshold!r}: use a number above 0, at most 1")
        self.name = "citations"
        self.measure, self.threshold, self.judge = measure, threshold, _judge(judge)

    def score(self, candidates: Candidates) -> Scores:
        """The verdicts; a judge is asked everything at once, about equal statements and sources once."""
        if self.judge is None:
            return super().score(candidates)
        pairs: dict[tuple[str, str], None] = {}
        for asked in questions(candidates):
            sources = sources_of(asked.row.get("sources", asked.reference)) or {}
            for text, keys in _questions(statements(asked.response), sources):
                pairs[text, _joined(sources, keys)] = None
        said = _ask(self.judge, list(pairs)) if pairs else Scores(np.zeros(0))
        answered = copy(self)
        answered.judge = _Answered({pair: k for k, pair in enumerate(pairs)}, said)
        return replace(super(Citations, answered).score(candidates), cost=said.cost)

    def check(self, asked: Question) -> Verdict:
        """``sources`` of the row (a list, numbered from 1, or a mapping of markers), or the reference if it is such."""
        sources = sources_of(asked.row.get("sources", asked.reference))
        if sources is None:
            return unusable("no sources; give a column 'sources': a list of texts, or a mapping of markers to texts")
        stated = statements(asked.response)
        if not stated:
            return Verdict(None, "no statement to support", "abstained")
        wanted: dict[tuple[str, tuple[str, ...]], float | None] = dict.fromkeys(_questions(stated, sources))
        trouble = self._decide(wanted, sources)
        if trouble is not None:
            return trouble

        def holds(text: str, keys: tuple[str, ...]) -> bool:
            return bool(keys) and (wanted[text, keys] or 0.0) >= 0.5

        supported = needed = cited = 0
        unresolved: list[str] = []
        unsupported: list[str] = []
        for statement in stated:
            known = tuple(k for k in statement.cited if k in sources)
            unresolved += [k for k in statement.cited if k not in sources]
            cited += len(statement.cited)
            if not holds(statement.text, known):
                unsupported.append(statement.text)
                continue
            supported += 1
            for k in known:
                others = tuple(o for o in known if o != k)
                needed += holds(statement.text, (k,)) or not holds(statement.text, others)
        recall = supported / len(stated)
        precision = needed / cited if cited else 0.0
        f1 = 2 * precision * recall / (precision + recall) if needed else 0.0
        measured = {"f1": f1, "precision": precision, "recall": recall}
        reason = None if cited else "cites nothing"
        if unresolved:
            reason = f"markers without a source: {', '.join(dict.fromkeys(unresolved))}"
        detail = {**measured, "unsupported": unsupported, "unresolved": unresolved}
        return Verdict(measured[self.measure], reason, detail=detail)

    def _decide(self, wanted: dict[tuple[str, tuple[str, ...]], float | None], sources: Mapping[str, str]) -> Any:
        """Fill in how far each statement is supported; a verdict where that cannot be said."""
        pairs = list(wanted)
        texts = [_joined(sources, keys) for _, keys in pairs]
        if self.judge is None:
            for pair, text in zip(pairs, texts, strict=True):
                wanted[pair] = float(overlap(pair[0], text) >= self.threshold)
            return None
        if not pairs:
            return None
        said = _ask(self.judge, [(text, joined) for (text, _), joined in zip(pairs, texts, strict=True)])
        for k, pair in enumerate(pairs):
            if said.status[k] != "scored":
                return Verdict(None, f"judge: {said.reason[k] or said.status[k]}", said.status[k])
            wanted[pair] = float(said.value[k])
        return None


class _Answered(Reward):
    """A judge that was asked already: ``at`` says where the scores of a statement and its sources are."""

    def __init__(self, at: dict[tuple[str, str], int], said: Scores) -> None:
        self.at, self.said = at, said

    def score(self, candidates: Candidates) -> Scores:
        pairs = zip(candidates.responses, candidates.reference or (), strict=True)
        rows = [self.at[str(text), str(source)] for text, source in pairs]
        return Scores(self.said.value[rows], [self.said.status[k] for k in rows], [self.said.reason[k] for k in rows])


def _ask(judge: Reward, pairs: Sequence[tuple[str, str]]) -> Scores:
    """How far each (statement, text of its sources) is supported."""
    return judge.score(
        Candidates([SUPPORTED] * len(pairs), [text for text, _ in pairs], reference=[source for _, source in pairs])
    )


def _joined(sources: Mapping[str, str], keys: Sequence[str]) -> str:
    return "\n\n".join(sources[k] for k in keys)


def _questions(stated: Sequence[Statement], sources: Mapping[str, str]) -> list[tuple[str, tuple[str, ...]]]:
    """What has to be decided: each statement by all its sources, by each alone, and by all but each."""
    out: list[tuple[str, tuple[str, ...]]] = []
    for statement in stated:
        known = tuple(k for k in statement.cited if k in sources)
        if known:
            out.append((statement.text, known))
        for k in known if len(known) > 1 else ():
            out += [(statement.text, (k,)), (statement.text, tuple(o for o in known if o != k))]
    return list(dict.fromkeys(out))


def statements(text: str) -> list[Statement]:
    """The sentences that state something, with the sources that each cites."""
    found: list[tuple[str, list[str]]] = []
    for sentence in sentences(text):
        lead = _LEADING.match(sentence)
        if lead and found:  # "It rains. [1] And ..."
            found[-1][1].extend(_keys(lead.group()))
            sentence = sentence[lead.end() :]
        plain = " ".join(_MARKER.sub(" ", sentence).split())
        plain = re.sub(r"\s+([.,;:!?])", r"\1", plain)
        found.append((plain, _keys(sentence)))
    said = [(t, keys) for t, keys in found if (content(t) or keys) and not t.endswith(("?", ":")) and t[:1] != "#"]
    return [Statement(t, tuple(dict.fromkeys(keys))) for t, keys in said if t.strip()]


def overlap(statement: str, source: str) -> float:
    """Share of a statement's content words that a source has; 0 where a number of the statement is not in it."""
    if set(_numbers(statement)) - set(_numbers(source)):
        return 0.0
    words = content(statement)
    return len(words & content(source)) / len(words) if words else 0.0


def content(text: str) -> set[str]:
    """Content words, case folded, without plural and verb endings."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return {_stem(w) for w in re.findall(r"[^\W\d_][\w'’-]*", plain) if w not in _STOP and len(w) > 1}


def _stem(word: str) -> str:
    word = re.sub(r"['’]s$", "", word)
    for ending in ("ing", "edly", "ed", "es", "ly", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)].rstrip("e")
    return word.rstrip("e") if len(word) > 4 else word


def _numbers(text: str) -> list[str]:
    """Numbers without thousands separators."""
    found = _NUMBER.findall(unicodedata.normalize("NFKC", text))
    return [re.sub(r",(?=\d{3}(?!\d))", "", n).rstrip(".,") for n in found]


def _keys(text: str) -> list[str]:
    keys: list[str] = []
    for match in _MARKER.finditer(text):
        for part in re.split(r"\s*[,;]\s*", match[1].replace("^", "")):
            ends = [int(p) for p in re.split(r"\s*[-–]\s*", part.strip())]
            keys += [str(k) for k in range(ends[0], min(ends[-1], ends[0] + RANGE) + 1)] or [part.strip()]
    return keys


def sources_of(given: Any) -> dict[str, str] | None:
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            return None
    if isinstance(given, Mapping):
        return {str(k).strip("[]^"): _text(v) for k, v in given.items()} or None
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given):
        return {str(i): _text(v) for i, v in enumerate(given, 1)}
    return None


def _text(source: Any) -> str:
    if isinstance(source, Mapping):
        return "\n".join(str(source[k]) for k in ("title", "text", "content", "passage") if source.get(k))
    return str(source)


def _judge(given: str | Reward | None) -> Reward | None:
    if not isinstance(given, str):
        return given
    from guerdon.reward.load import load

    if given.startswith("judge:") and not re.search(r"[?&](question|principles|rubric|by)=", given):
        given = f"{given}{'&' if '?' in given else '?'}question={quote(SUPPORTED, safe='')}"
    return load(given)

"""Relevance with its guards: a reward without any preference data.

    open-ended query:  r_x LI RP          r_x = M(x) . M(y),   LI = words / 100,   RP = distinct trigrams / trigrams
    closed query:      F(r_y) RP          r_y = M(y*) . M(y) with the reference y*,   F(r) = scale r + shift

Each factor blocks what the one before it invites: relevance alone is won by copying the question, the length incentive
LI against that by repeating the question, the repetition penalty RP stops it, and rambling on a factual query is
stopped by comparing with a reference instead. They multiply: added up, length would pay without relevance.

LI is unbounded as published and buys back a liking for long answers off topic: on real requests the first twelve words
of the answer beat two answers to other requests always by relevance, but in 49% of the cases by the product (95% with
``cap=0.3``; ``guerdon reproduce r3-relevance``). F brings the closed branch to the scale of the open one;
:meth:`Relevance.calibrated` finds it from samples of the model that is to be trained.

Reference: Kim and Seo 2024, R3, https://arxiv.org/abs/2402.03469 (F's constants are not published; its encoder is
Contriever: ``encoder=hf:facebook/contriever?pooling=mean``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from guerdon.encode.base import Encoder
from guerdon.encode.load import load_encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores
from guerdon.reward.verify.rule import last_text

TYPES = ("open", "closed")
ASKED = "Is the response an open-ended request: one that many different answers would satisfy?"
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")

QueryType = str | Reward | Callable[[str], str]


class Relevance(Reward):
    """Relevance to the query, times length, times novelty; for closed queries relevance to the reference instead.

    Parameters
    ----------
    encoder : embeds queries, responses and references; inner products of what it gives are compared as they are
    query_type : open, closed, a Reward that says how probably a request is open-ended, or its specification
    cap : most that the length factor may be; null is no bound, as published
    scale : of F
    shift : of F
    tokenizer : splits a text into words, where these are not set apart by spaces
    """

    reads = ()

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        query_type: QueryType = "open",
        cap: float | None = None,
        scale: float = 1.0,
        shift: float = 0.0,
        tokenizer: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        if cap is not None and not cap > 0:
            raise ConfigError(f"cap={cap!r}: use a number above 0, or null")
        if not (math.isfinite(scale) and scale > 0 and math.isfinite(shift)):
            raise ConfigError(f"scale={scale!r}, shift={shift!r}: use finite numbers, the scale above 0")
        self.name = "relevance"
        self.encoder = _of_texts(encoder)
        self.query_type = _classifier(query_type)
        self.cap, self.scale, self.shift, self.tokenizer = cap, scale, shift, tokenizer

    def score(self, candidates: Candidates) -> Scores:
        """The products. ``detail``: query_type and the factors ``to_query``, ``to_reference``, ``length``, ``novelty``.

        A row's column ``query_type`` (open or closed) says what it is; a closed query without a reference is scored by
        relevance to the query, without the length factor, and says so.
        """
        n = len(candidates)
        queries = [as_text(p) for p in candidates.prompts]
        texts = [last_text(r) for r in candidates.responses]
        given = candidates.reference or [None] * n
        references = [_reference(r) for r in given]
        kinds, why = self._types(candidates, queries)
        factors = self._factors(queries, texts, references)
        to_query, to_reference, length, novelty = (
            factors[k] for k in ("to_query", "to_reference", "length", "novelty")
        )
        value, status, reason = np.full(n, np.nan), ["scored"] * n, list[str | None]([None] * n)
        for i, kind in enumerate(kinds):
            if kind not in TYPES:
                status[i], reason[i] = why[i]
                continue
            closed = kind == "closed"
            if closed and references[i] is not None:
                value[i] = (self.scale * to_reference[i] + self.shift) * novelty[i]
            else:
                value[i] = to_query[i] * novelty[i] * (1.0 if closed else length[i])
            flags = ["a closed query without a reference: relevance to the query instead"] * (
                closed and references[i] is None
            )
            if self.tokenizer is None and len(_UNSPACED.findall(texts[i])) > 0.2 * len(texts[i]):
                flags.append("words are counted by spaces, which this text has not; give a tokenizer")
            reason[i] = "; ".join(flags) or None
        detail: dict[str, Any] = {"query_type": [k if k in TYPES else None for k in kinds]}
        detail |= {k: [None if math.isnan(v) else float(v) for v in column] for k, column in factors.items()}
        return Scores(value, status, reason, detail=detail)

    def calibrated(self, candidates: Candidates, *, low: float = 0.05, high: float = 0.95) -> Relevance:
        """A copy whose F maps the quantiles of r_y on ``candidates`` to those that the open branch takes there.

        ``candidates`` are samples of the model that is to be trained, with references.
        """
        texts = [last_text(r) for r in candidates.responses]
        references = [_reference(r) for r in candidates.reference or [None] * len(texts)]
        f = self._factors([as_text(p) for p in candidates.prompts], texts, references)
        known = ~np.isnan(f["to_reference"])
        if known.sum() < 2:
            raise FeedbackError("calibrating relevance needs samples with references; give a column 'reference'")
        at = np.quantile(f["to_reference"][known], [low, high])
        to = np.quantile(f["to_query"] * f["length"] * f["novelty"], [low, high])
        if not (at[1] > at[0] and to[1] > to[0]):
            raise FeedbackError("calibrating relevance needs samples that differ")
        scale = float((to[1] - to[0]) / (at[1] - at[0]))
        copy = Relevance(
            encoder=self.encoder,
            query_type="open",
            cap=self.cap,
            scale=scale,
            shift=float(to[0] - scale * at[0]),
            tokenizer=self.tokenizer,
        )
        copy.query_type, copy.name = self.query_type, self.name
        return copy

    def _factors(self, queries: list[str], texts: list[str], references: list[str | None]) -> dict[str, np.ndarray]:
        distinct = list(dict.fromkeys([*queries, *texts, *(r for r in references if r is not None)]))
        at = {text: i for i, text in enumerate(distinct)}
        x = self.encoder.encode(Candidates([""] * len(distinct), distinct)).astype(np.float64) if distinct else None

        def dot(a: str | None, b: str) -> float:
            return math.nan if a is None or x is None else float(x[at[a]] @ x[at[b]])

        words = [list((self.tokenizer or str.split)(t)) for t in texts]
        longest = math.inf if self.cap is None else self.cap
        return {
            "to_query": np.array([dot(q, t) for q, t in zip(queries, texts, strict=True)], dtype=np.float64),
            "to_reference": np.array([dot(r, t) for r, t in zip(references, texts, strict=True)], dtype=np.float64),
            "length": np.array([min(len(w) / 100, longest) for w in words], dtype=np.float64),
            "novelty": np.array([distinct_trigrams(w) for w in words], dtype=np.float64),
        }

    def _types(self, candidates: Candidates, queries: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
        """(the type of each row, the status and reason of those without one)."""
        n = len(queries)
        why = [("invalid", "query_type is neither open nor closed")] * n
        column = candidates.extra.get("query_type")
        kinds = [str(v) if v is not None else "" for v in column] if column is not None else [""] * n
        open_ = [i for i in range(n) if not kinds[i]]
        if isinstance(self.query_type, str):
            for i in open_:
                kinds[i] = self.query_type
        elif isinstance(self.query_type, Reward):
            asked = list(dict.fromkeys(queries[i] for i in open_))
            said = self.query_type.score(Candidates([ASKED] * len(asked), asked))
            for i in open_:
                k = asked.index(queries[i])
                if said.status[k] == "scored":
                    kinds[i] = "open" if said.value[k] >= 0.5 else "closed"
                else:
                    why[i] = (said.status[k], f"query type: {said.reason[k] or said.status[k]}")
        else:
            for i in open_:
                kinds[i] = self.query_type(queries[i])
        return kinds, why


def distinct_trigrams(words: Sequence[str]) -> float:
    """Share of distinct trigrams of words, in (0, 1]; 1 below three words."""
    grams = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(grams)) / len(grams) if grams else 1.0


def _reference(given: Any) -> str | None:
    if isinstance(given, list) and given and all(isinstance(m, dict) and "role" in m for m in given):
        return as_text(given)
    return str(given) if isinstance(given, str | int | float) and str(given).strip() else None


def _classifier(given: QueryType) -> QueryType:
    if not isinstance(given, str) or given in TYPES:
        return given
    from guerdon.reward.load import load

    if given.startswith("judge:") and not re.search(r"[?&](question|principles|rubric|by)=", given):
        given = f"{given}{'&' if '?' in given else '?'}question={quote(ASKED, safe='')}"
    return load(given)


def _of_texts(encoder: str | Encoder) -> Encoder:
    if isinstance(encoder, str) and "features=" not in encoder and not encoder.startswith("file:"):
        encoder = f"{encoder}{'&' if '?' in encoder else '?'}features=response"
    return load_encoder(encoder)

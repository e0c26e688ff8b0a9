"""Criteria that the judge writes for each request before it has seen any response, shared by all responses to it.

One call a request, LM(x) -> 3 to 7 criteria with names and weights, which :func:`weighted` makes sum to 1; then every
protocol judges by them. Because no response is shown, a criterion cannot rationalize what one of them happens to look
like; because all responses share the set, scores compare. Use it where what matters differs from request to request.

A reply that holds no criteria is asked for again, ``tries`` times in all; then the row is judged by a fixed rubric and
says so (``fallback=rubric``), or is unscored (``fallback=none``). :func:`overlap` measures how much the criteria of
different requests are the same: near 1, a fixed rubric would do as well.

Reference: Gupta et al. 2024, CARMO: Dynamic Criteria Generation for Context-Aware Reward Modelling,
https://arxiv.org/abs/2410.21545.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Message, Text, as_text, pack
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel
from guerdon.reward.judge import templates
from guerdon.reward.judge.asking import missing, total
from guerdon.reward.judge.standard import Criterion, Standard, Standards, WrittenStandard

log = logging.getLogger(__name__)

WRITE = """\
Write the criteria by which responses to this request should be judged: {{ least }} to {{ most }} of them, specific to \
what this request needs, not to what any text may have. Each has a name of one to three words, a description of one \
sentence that says what a good response does, and a weight from 1 to 10. No response has been written yet.

Reply with a JSON object: "criteria", a list of objects with "name", "description" and "weight"."""

FIXED = (
    Criterion("The response does what was asked, completely.", "completeness"),
    Criterion("What it says is correct and nothing is made up.", "correctness"),
    Criterion("It is clear, well ordered and as long as it has to be.", "clarity"),
)
"""What is judged by where no criteria could be written."""
FALLBACKS = ("rubric", "none")
FELL_BACK = "judged by the fixed rubric: no criteria were written"
"""How the reason of a row begins whose criteria were not written."""
TOO_ALIKE = 0.9


class WrittenCriteria(WrittenStandard):
    """Criteria per request, written by a language model.

    Parameters
    ----------
    least : fewest criteria a request is judged by
    most : most criteria; of more, the heaviest count
    tries : how often a reply without criteria is asked for again, the first time included
    fallback : rubric (a fixed one, with the reason in the row) or none (the row is unscored)
    also : texts of criteria that always count, each as heavy as the mean of those written
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        least: int = 3,
        most: int = 7,
        tries: int = 3,
        fallback: str = "rubric",
        also: Sequence[str] = (),
    ) -> None:
        for what, value, low in (("least", least, 1), ("most", most, least), ("tries", tries, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ConfigError(f"{what}={value!r}: use a whole number of at least {low}")
        if fallback not in FALLBACKS:
            raise ConfigError(f"fallback={fallback!r}: use one of {', '.join(FALLBACKS)}")
        if isinstance(also, str) or not all(isinstance(t, str) and t.strip() for t in also):
            raise ConfigError("also: give a list of criteria, each a text")
        self.model, self.least, self.most, self.tries = model, least, most, tries
        self.fallback, self.also = fallback, tuple(also)
        self._written: dict[str, tuple[Standard | None, str, str | None]] = {}

    @property
    def identity(self) -> Any:
        said = [self.least, self.most, self.tries, self.fallback, list(self.also)]
        return ["criteria per request", templates.fingerprint(), WRITE, self.model.identity, said]

    def each(self, candidates: Candidates, shown: Sequence[Sequence[Text]] | None = None) -> Standards:
        """One rubric a request (and criterion column); the responses ``shown`` are not looked at."""
        n = len(candidates)
        asked_for = candidates.criterion if candidates.criterion is not None else [None] * n
        keys = [json.dumps([pack(p), c]) for p, c in zip(candidates.prompts, asked_for, strict=True)]
        todo = {keys[i]: i for i in reversed(range(n)) if keys[i] not in self._written}
        cost: dict[str, float] = {}
        if todo:
            rows = list(todo.values())
            found, cost = self._write([ask(candidates.prompts[i], asked_for[i], self.least, self.most) for i in rows])
            for i, one in zip(rows, found, strict=True):
                if one[1] != "failed" or one[0] is not None:  # a server that is down now may be up at the next call
                    self._written[keys[i]] = one
        now = dict(zip(todo, found, strict=True)) if todo else {}
        given = [self._written.get(key) or now[key] for key in keys]
        return Standards([g[0] for g in given], [g[1] for g in given], [g[2] for g in given], cost)

    def _write(
        self, questions: list[list[Message]]
    ) -> tuple[list[tuple[Standard | None, str, str | None]], dict[str, float]]:
        """(standard, status, reason) of each question, what it cost."""
        out: list[tuple[Standard | None, str, str | None]] = [(None, "failed", "not asked")] * len(questions)
        cost: dict[str, float] = {}
        left = list(range(len(questions)))
        for attempt in range(self.tries):
            if not left:
                break
            replies = self.model.generate(
                [questions[i] for i in left],
                schema=criteria_schema(self.least, self.most),
                temperature=0.0 if not attempt else 1.0,
                seed=attempt,
            )
            cost = total(cost, replies.cost)
            again: list[int] = []
            for i, reply in zip(left, replies.rows, strict=True):
                if reply.status != "answered" or reply.text is None:
                    out[i] = (None, *missing(reply.status, reply.reason))
                    continue
                criteria = read_criteria(reply.parsed if reply.parsed is not None else reply.text, self.most)
                if len(criteria) < self.least:
                    out[i] = (None, "invalid", f"{len(criteria)} criteria in the reply, {self.least} asked for")
                    again.append(i)
                    continue
                out[i] = (Standard("rubric", weighted([*criteria, *_always(criteria, self.also)])), "scored", None)
            left = again
        lost = [i for i, (standard, status, _) in enumerate(out) if standard is None and status != "failed"]
        if lost and self.fallback == "rubric":
            log.warning("no criteria were written for %d of %d requests: a fixed rubric is used", len(lost), len(out))
            fixed = Standard("rubric", weighted([*FIXED, *_always(list(FIXED), self.also)]))
            for i in lost:
                out[i] = (fixed, "scored", f"{FELL_BACK} ({out[i][2]})")
        return out, cost


def ask(prompt: Text, criterion: str | None, least: int, most: int) -> list[Message]:
    """The request for criteria; no response is in it."""
    blocks = [("request", as_text(prompt)), *([("criterion", criterion)] if criterion else [])]
    fence, _ = templates.codes([text for _, text in blocks], "criteria")
    shown = [(name, templates.harmless(text)) for name, text in blocks]
    body = templates._compiled(f"{templates.SYSTEM}\n\n{templates.SHOWN}{WRITE}").render(
        fence=fence, blocks=shown, least=least, most=most
    )
    return [{"role": "user", "content": body.strip()}]


def criteria_schema(least: int, most: int) -> Mapping[str, Any]:
    """JSON schema of the criteria of one request."""
    one = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "description": {"type": "string"}, "weight": {"type": "number"}},
        "required": ["name", "description", "weight"],
        "additionalProperties": False,
    }
    several = {"type": "array", "items": one, "minItems": least, "maxItems": most}
    return {
        "title": "criteria",
        "type": "object",
        "properties": {"criteria": several},
        "required": ["criteria"],
        "additionalProperties": False,
    }


def read_criteria(reply: Any, most: int) -> list[Criterion]:
    """The criteria of a reply, at most ``most``, the heaviest; [] where it has none.

    A weight that is no number above 0 makes the criterion invalid: it is left out, not guessed.
    """
    if isinstance(reply, str):
        begin, end = reply.find("{"), reply.rfind("}")
        try:
            reply = json.loads(reply[begin : end + 1])
        except (ValueError, RecursionError):
            return []
    listed = reply.get("criteria") if isinstance(reply, Mapping) else None
    out: dict[str, Criterion] = {}
    for one in listed if isinstance(listed, list) else []:
        if not isinstance(one, Mapping):
            continue
        text, name, weight = one.get("description"), one.get("name"), one.get("weight", 1.0)
        if not isinstance(text, str) or not text.strip() or isinstance(weight, bool):
            continue
        if not isinstance(weight, int | float) or not (math.isfinite(weight) and weight > 0):
            continue
        text = templates.harmless(" ".join(text.split()))
        called = " ".join(name.split())[:60] if isinstance(name, str) and name.strip() else f"criterion {len(out) + 1}"
        if called not in out:
            out[called] = Criterion(text, called, float(weight))
    heaviest = sorted(out, key=lambda c: -out[c].weight)[:most]
    return [c for name, c in out.items() if name in heaviest]


def weighted(criteria: Sequence[Criterion]) -> tuple[Criterion, ...]:
    """The criteria with weights that sum to 1."""
    whole = math.fsum(c.weight for c in criteria)
    return tuple(Criterion(c.text, c.name, c.weight / whole) for c in criteria)


def _always(criteria: Sequence[Criterion], also: Sequence[str]) -> list[Criterion]:
    mean = math.fsum(c.weight for c in criteria) / len(criteria)
    return [Criterion(text, f"always {i + 1}", mean) for i, text in enumerate(also)]


def overlap(
    sets: Sequence[Sequence[str]],
    embed: Callable[[Sequence[str]], np.ndarray] | None = None,
    *,
    same: float = 0.8,
    pairs: int = 1000,
    seed: int = 0,
) -> float:
    """Mean Jaccard overlap of the criteria of two different requests, 0 to 1; above 0.9 a warning is logged.

    sets   criteria of each request
    embed  texts to float [n, d]; None compares words (cosine of their counts)
    same   least cosine of two criteria that are the same; each matches one at most (the best matching overall)
    pairs  most pairs of requests looked at, drawn with ``seed``
    """
    from scipy.optimize import linear_sum_assignment

    if len(sets) < 2 or not all(len(s) for s in sets):
        raise ConfigError("overlap: give the criteria of two requests or more, at least one each")
    texts = list(dict.fromkeys(text for s in sets for text in s))
    x = np.asarray(embed(texts) if embed is not None else _words(texts), dtype=np.float64)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    row = {text: i for i, text in enumerate(texts)}
    at = [[row[text] for text in dict.fromkeys(s)] for s in sets]
    n, rng = len(sets), np.random.default_rng(seed)
    every = n * (n - 1) // 2
    first, second = np.triu_indices(n, 1)
    chosen = np.arange(every) if every <= pairs else rng.choice(every, pairs, replace=False)
    total_ = 0.0
    for k in chosen.tolist():
        a, b = at[first[k]], at[second[k]]
        alike = (x[a] @ x[b].T >= same).astype(float)
        i, j = linear_sum_assignment(-alike)
        matched = float(alike[i, j].sum())
        total_ += matched / (len(a) + len(b) - matched)
    value = total_ / len(chosen)
    if value > TOO_ALIKE:
        log.warning("criteria of different requests overlap by %.2f: they do not depend on the request", value)
    return value


def _words(texts: Sequence[str]) -> np.ndarray:
    counts = [Counter(re.findall(r"\w+", text.casefold())) for text in texts]
    column = {word: j for j, word in enumerate(dict.fromkeys(w for c in counts for w in c))}
    x = np.zeros((len(texts), max(len(column), 1)))
    for i, c in enumerate(counts):
        for word, count in c.items():
            x[i, column[word]] = count
    return x

"""Share of the facts of a reference that a response holds, as a language model labels them.

    score = sum_i w_i v_i / sum_i w_i      v: support 1, partial_support 1/2, not_support 0;  w: vital 1, okay 1/2

The facts ("nuggets") are the row's column ``nuggets``, or the language model takes the reference apart into them, once
for each reference; a reference of a few words is one fact. Up to ten facts are labelled in one call, from the response
alone. A reply with another number of labels is asked for again, and then leaves its facts out of the mean, with a flag;
a row without facts is unscored, never 0. :func:`build_nuggets` gathers the facts of a request from a search instead.

Reference: Ma et al. 2025, Search-Gen-V, https://arxiv.org/abs/2510.14660 (1/2 for partial support is assumed there).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel
from guerdon.generate.load import load_language_model
from guerdon.reward.base import Reward, Scores
from guerdon.reward.judge.asking import total
from guerdon.reward.verify import nugget_prompts as prompts
from guerdon.reward.verify.nugget_labels import FORMATS, LABELS
from guerdon.reward.verify.rule import last_text

WEIGHTS = {"vital": 1.0, "okay": 0.5}
Search = Callable[[str], Sequence[str]]
"""A query to passages of text, the best first."""


@dataclass(frozen=True)
class Nugget:
    """One fact; ``weight`` above 0 is its share of the score."""

    text: str
    weight: float = 1.0


class Nuggets(Reward):
    """Weighted share of the facts that a response supports, from 0 to 1.

    Parameters
    ----------
    lm : a language model, or its specification (http://HOST:PORT/v1#MODEL?option=value, hf:PATH)
    max_nuggets : facts labelled in one call
    partial : value of partial_support
    short : a reference of at most so many words is one fact; 0 always asks
    format : how labels are to be written: json (checked by a schema), or another of ten
    attempts : calls for the same labels before they are given up
    temperature : of the second and further attempts
    seed : of draws
    max_tokens : of a reply
    """

    reads = ()

    def __init__(
        self,
        *,
        lm: str | LanguageModel | None = None,
        max_nuggets: int = 10,
        partial: float = 0.5,
        short: int = 8,
        format: str = "json",
        attempts: int = 3,
        temperature: float = 0.7,
        seed: int = 0,
        max_tokens: int | None = None,
    ) -> None:
        if lm is None:
            raise ConfigError(
                "nuggets needs a language model: rule:nuggets?lm=http://HOST:PORT/v1%23MODEL, or lm=hf:PATH"
            )
        if format not in FORMATS:
            raise ConfigError(f"format={format!r}: use one of {', '.join(FORMATS)}")
        if max_nuggets < 1 or attempts < 1 or short < 0 or not 0 <= partial <= 1:
            raise ConfigError(
                f"max_nuggets={max_nuggets}, attempts={attempts}, short={short}, partial={partial}: use at least 1, at "
                "least 1, at least 0, and a number from 0 to 1"
            )
        self.name = "nuggets"
        self.model = _model(lm)
        self.max_nuggets, self.short, self.format = max_nuggets, short, format
        self.value: dict[str, float] = dict(zip(LABELS, (1.0, partial, 0.0), strict=True))
        self.attempts, self.temperature, self.seed, self.max_tokens = attempts, temperature, seed, max_tokens

    def score(self, candidates: Candidates) -> Scores:
        """The shares. ``detail``: nuggets, labels (None where there is none), weights and reasoning of each row."""
        n = len(candidates)
        queries = [as_text(p) for p in candidates.prompts]
        texts = [last_text(r) for r in candidates.responses]
        facts, reason, status, cost = self.facts(candidates, queries)
        jobs = [
            (i, at, facts[i][at : at + self.max_nuggets])
            for i in range(n)
            for at in range(0, len(facts[i]), self.max_nuggets)
        ]
        labels: list[list[str | None]] = [[None] * len(f) for f in facts]
        reasoning: list[list[str]] = [[] for _ in range(n)]
        lost: dict[int, str] = {}
        found, more = self._labelled([(queries[i], texts[i], [f.text for f in part]) for i, _, part in jobs])
        for (i, at, part), (said, why, reasons) in zip(jobs, found, strict=True):
            if said is None:
                lost[i] = why
                continue
            labels[i][at : at + len(part)] = said
            reasoning[i].append(reasons or "")
        value = np.full(n, np.nan)
        for i in range(n):
            known = [(f.weight, self.value[label]) for f, label in zip(facts[i], labels[i], strict=True) if label]
            if known:
                value[i] = sum(w * v for w, v in known) / sum(w for w, _ in known)
                status[i] = "scored"
                unsaid = len(facts[i]) - len(known)
                reason[i] = f"{unsaid} of {len(facts[i])} facts have no label: {lost[i]}" if unsaid else None
            elif facts[i]:
                status[i], reason[i] = "failed", f"no labels: {lost[i]}"
        detail: dict[str, Any] = {
            "nuggets": [[f.text for f in row] for row in facts],
            "weights": [[f.weight for f in row] for row in facts],
            "labels": [list(row) for row in labels],
            "reasoning": ["\n".join(filter(None, row)) or None for row in reasoning],
        }
        return Scores(value, status, reason, detail=detail, cost=total(cost, more))

    # ------------------------------------------------------------------ facts

    def facts(
        self, candidates: Candidates, queries: Sequence[str]
    ) -> tuple[list[list[Nugget]], list[str | None], list[str], dict[str, float]]:
        """(facts of each row, why there are none, the status of such rows, cost)."""
        n = len(queries)
        given = candidates.extra.get("nuggets") or [None] * n
        references = candidates.reference or [None] * n
        facts: list[list[Nugget]] = [[] for _ in range(n)]
        reason: list[str | None] = ["no facts; give a reference, or a column 'nuggets'"] * n
        status = ["invalid"] * n
        whole: dict[tuple[str, str], list[int]] = {}
        for i in range(n):
            if given[i] is not None:
                facts[i] = as_nuggets(given[i])
            elif isinstance(references[i], str) and str(references[i]).strip():
                text = str(references[i]).strip()
                if len(text.split()) <= self.short:
                    facts[i] = [Nugget(f"The answer is: {text}")]
                else:
                    whole.setdefault((queries[i], text), []).append(i)
            elif isinstance(references[i], list | tuple):
                facts[i] = as_nuggets(references[i])
        asked = [prompts.ask_to_split(query, text) for query, text in whole]
        cost: dict[str, float] = {}
        if asked:
            replies = self.model.generate(
                asked, schema=prompts.split_schema(), temperature=0.0, seed=self.seed, max_tokens=self.max_tokens
            )
            cost = replies.cost
            for rows, reply in zip(whole.values(), replies.rows, strict=True):
                parsed = reply.parsed.get("nuggets") if isinstance(reply.parsed, Mapping) else None
                made = as_nuggets(parsed) if isinstance(parsed, list) else []
                for i in rows:
                    facts[i] = made
                    missing = parsed is None
                    status[i] = "failed" if missing else "abstained"
                    why = reply.reason or ("no list of facts in the reply" if missing else "it holds none")
                    reason[i] = f"the reference could not be taken apart: {why}"
        return facts, reason, status, cost

    # ------------------------------------------------------------------ labels

    def _labelled(
        self, asked: Sequence[tuple[str, str, Sequence[str]]]
    ) -> tuple[list[tuple[list[str] | None, str, str | None]], dict[str, float]]:
        """((labels, why not, reasoning) of each question, cost)."""
        questions = [prompts.ask_for_labels(query, text, facts, self.format) for query, text, facts in asked]
        found: list[tuple[list[str] | None, str, str | None]] = [(None, "not asked", None)] * len(questions)
        cost: dict[str, float] = {}
        open_ = list(range(len(questions)))
        for attempt in range(self.attempts):
            again = []
            for count in sorted({questions[i].count for i in open_}):  # a schema says how many labels
                rows = [i for i in open_ if questions[i].count == count]
                replies = self.model.generate(
                    [questions[i].messages for i in rows],
                    schema=prompts.labels_schema(count) if self.format == "json" else None,
                    temperature=self.temperature if attempt else 0.0,
                    seed=self.seed + attempt,
                    max_tokens=self.max_tokens,
                )
                cost = total(cost, replies.cost)
                for i, reply in zip(rows, replies.rows, strict=True):
                    labels, reasons = prompts.read_answer(reply.text or "", questions[i])
                    if labels is not None:
                        found[i] = (labels, "", reasons)
                        continue
                    answered = reply.status == "answered"
                    found[i] = (None, f"not {count} labels" if answered else reply.reason or reply.status, None)
                    if answered:  # what failed was tried again already
                        again.append(i)
            open_ = again
        return found, cost


def as_nuggets(given: Any) -> list[Nugget]:
    """Facts from texts, or objects with ``fact``, ``text`` or ``nugget`` and ``weight`` or ``importance``.

    Equal facts are one, with the larger weight; empty ones are left out.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = [given]
    out: dict[str, Nugget] = {}
    for item in given if isinstance(given, list | tuple) else [given]:
        fact = _nugget(item)
        if fact is not None:
            key = fact.text.casefold().rstrip(".")
            if key not in out or out[key].weight < fact.weight:
                out[key] = fact
    return list(out.values())


def build_nuggets(
    lm: str | LanguageModel, query: str, search: Search, *, rounds: int = 3, queries: int = 3, passages: int = 5
) -> list[Nugget]:
    """The facts of a request from a search: rewrite, look up, extract, merge, until a round adds nothing.

    Build them from a corpus that the model in training cannot search, or it is rewarded for finding the key.
    """
    model = _model(lm)
    done: list[str] = [query]
    facts: list[Nugget] = []
    read: set[str] = set()
    for round_ in range(rounds):
        wanted = [query] if not round_ else []
        asked = model.generate(
            [prompts.ask_for_queries(query, done, queries)], schema=prompts.queries_schema(queries), temperature=0.0
        )
        parsed = asked.rows[0].parsed
        more = parsed.get("queries") if isinstance(parsed, Mapping) else None
        wanted += [q for q in more or () if isinstance(q, str) and q.strip() and q not in done][:queries]
        texts = [p for q in wanted for p in list(search(q))[:passages]]
        new = [t for t in dict.fromkeys(texts) if t.strip() and t not in read]
        done, read = [*done, *wanted], read | set(new)
        if not new:
            break
        replies = model.generate(
            [prompts.ask_to_split(query, text) for text in new], schema=prompts.split_schema(), temperature=0.0
        )
        items = [r.parsed["nuggets"] for r in replies.rows if isinstance(r.parsed, Mapping) and "nuggets" in r.parsed]
        merged = as_nuggets([vars(f) for f in facts] + [x for part in items if isinstance(part, list) for x in part])
        if len(merged) == len(facts):
            break
        facts = merged
    return facts


def _nugget(item: Any) -> Nugget | None:
    if isinstance(item, Nugget):
        return item
    if isinstance(item, str):
        return Nugget(item.strip()) if item.strip() else None
    if not isinstance(item, Mapping):
        return None
    text = next((item[k] for k in ("fact", "text", "nugget") if isinstance(item.get(k), str)), "")
    weight = item.get("weight", WEIGHTS.get(str(item.get("importance", "vital")), 1.0))
    good = isinstance(weight, int | float) and not isinstance(weight, bool) and weight > 0
    return Nugget(text.strip(), float(weight)) if text.strip() and good else None


def _model(lm: str | LanguageModel) -> LanguageModel:
    if not isinstance(lm, str):
        return lm
    from guerdon.reward.judge.spec import split_spec

    spec, options = split_spec(lm)
    return load_language_model(spec, **{k: _plain(v) for k, v in options.items()})


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text

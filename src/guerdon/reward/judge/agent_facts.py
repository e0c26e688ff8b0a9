"""The factuality agent: what two responses state differently, looked up, and graded by what was found.

For each pair: (1) the model names the key factual differences, and where there are none both are equal; (2) it turns
them into queries; (3) the evidence of a query is what a search gives (``results`` texts), or the model's own answer to
it where there is no search; (4) the model grades both responses from 1 to 10 by the evidence, /10.

n responses are compared in n pairs: a random ring, so that each is in two of them. Their grades are averaged, or played
out as Elo ratings (``elo``: the chance to win against a response of average rating). A pair is always shown in the
order that its texts give, so that swapping them changes nothing, and a taste for a place favours neither.

Evidence is found for differences alone: what both responses state wrongly stays unnoticed. A search that does not
answer, and grades that cannot be read, leave the list without this signal; no middle grade stands in for it.

Reference: Peng et al. 2025, Agentic Reward Modeling, https://arxiv.org/abs/2502.19328.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np

from guerdon.errors import ConfigError, GuerdonError
from guerdon.generate.base import LanguageModel
from guerdon.reward.judge.agent_asking import (
    FAILED,
    Finding,
    Task,
    Told,
    Unreadable,
    ask,
    last_object,
    object_schema,
    question,
    texts_of,
)
from guerdon.reward.judge.agent_plan import KNOWN
from guerdon.reward.judge.asking import total
from guerdon.reward.judge.list_verdicts import read_list
from guerdon.reward.judge.standard import Criterion
from guerdon.reward.judge.templates import Question, harmless, list_schema, render

Search = Callable[[str, int], Sequence[str]]
"""(query, k) -> at most k texts, the best first."""

DIFFER = """\
Name the key factual differences between the two responses: what one states as a fact and the other contradicts, or \
leaves out although the request asks for it. Each in one sentence that says what either states. Nothing on style, and \
at most {{ most }}.

Reply with a JSON object: "differences", a list of sentences, empty where there is none; and last "verdict_code", \
which is {{ code }}."""

QUERY = """\
Two responses to the request differ as said between the lines of "difference". Write the queries, at most {{ most }}, \
whose answers would settle who is right. Each asks for one fact and can be understood by itself.

Reply with a JSON object: "queries", a list of texts; and last "verdict_code", which is {{ code }}."""

RECALL = """\
Answer the question between the lines of "question" in one or two sentences, from what you know. Say so where you do \
not know."""

GRADE = Criterion(
    "Judge nothing but whether what the responses state is true, by the evidence; where it says nothing, by what you "
    "know. A response that states a thing that is false is worse than one that does not state it."
)
GRADES = [str(g) for g in range(1, 11)]
AVERAGES = ("mean", "elo")
K = 30.0
"""Step of an Elo rating."""


def _listing(title: str) -> Any:
    several = {"type": "array", "items": {"type": "string"}}
    return object_schema(title, {title: several, "verdict_code": {"type": "string"}})


@dataclass
class Pair:
    """One comparison as it goes on: rows ``left`` and ``right`` of list ``at``, shown in that order."""

    at: int
    left: int
    right: int
    differences: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    evidence: list[tuple[str, str]] = field(default_factory=list)
    grades: tuple[float, float] | None = None
    trouble: Told | None = None


class FactAgent:
    """Checks facts by evidence on what two responses state differently.

    Parameters
    ----------
    search : (query, k) -> texts; None takes the model's own knowledge
    results : texts taken of each query
    most : most differences, and most queries, of a pair
    average : mean of the grades, or elo
    tries : how often a reply that says nothing is asked for again, the first time included
    seed : of the pairs
    """

    name = "facts"
    says = KNOWN["facts"]

    def __init__(
        self,
        model: LanguageModel,
        *,
        search: Search | None = None,
        results: int = 5,
        most: int = 4,
        average: str = "mean",
        tries: int = 2,
        seed: int = 0,
    ) -> None:
        for what, value in (("results", results), ("most", most), ("tries", tries)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{what}={value!r}: use a whole number of at least 1")
        if average not in AVERAGES:
            raise ConfigError(f"average={average!r}: use one of {', '.join(AVERAGES)}")
        if search is not None and not callable(search):
            raise ConfigError("search: give a function (query, k) -> list of texts")
        self.model, self.search, self.results, self.most = model, search, results, most
        self.average, self.tries, self.seed = average, tries, seed

    @property
    def identity(self) -> Any:
        """What the findings depend on; of a search its name or ``identity``."""
        search = getattr(self.search, "identity", getattr(self.search, "__qualname__", type(self.search).__name__))
        said = [self.results, self.most, self.average, self.tries, self.seed]
        return [self.name, DIFFER, QUERY, RECALL, GRADE.text, self.model.identity, str(search), said]

    def check(self, tasks: Sequence[Task]) -> tuple[list[Finding], dict[str, float]]:
        """How true each response is, by what was found on its differences from others."""
        pairs = [Pair(t, *two) for t, task in enumerate(tasks) for two in ring(task.responses, self.seed)]
        cost: dict[str, float] = {}
        for step in (self._differ, self._query, self._look_up, self._grade):
            cost = total(cost, step(tasks, [p for p in pairs if p.trouble is None]))
        of: list[list[Pair]] = [[] for _ in tasks]
        for p in pairs:
            of[p.at].append(p)
        return [self._finding(task, mine) for task, mine in zip(tasks, of, strict=True)], cost

    # ------------------------------------------------------------------ the four steps

    def _differ(self, tasks: Sequence[Task], pairs: Sequence[Pair]) -> dict[str, float]:
        told, cost = self._listed(DIFFER, [self._shown(tasks, p) for p in pairs], "differences")
        for pair, said in zip(pairs, told, strict=True):
            pair.differences, pair.trouble = said.value or [], None if said.value is not None else said
        return cost

    def _query(self, tasks: Sequence[Task], pairs: Sequence[Pair]) -> dict[str, float]:
        pairs = [p for p in pairs if p.differences]
        shown = [[*tasks[p.at].asked, ("difference", "\n".join(p.differences))] for p in pairs]
        told, cost = self._listed(QUERY, shown, "queries")
        for pair, said in zip(pairs, told, strict=True):
            pair.queries, pair.trouble = said.value or [], None if said.value is not None else said
        return cost

    def _look_up(self, tasks: Sequence[Task], pairs: Sequence[Pair]) -> dict[str, float]:
        """Evidence on each query, each looked up once."""
        queries = list(dict.fromkeys(q for p in pairs for q in p.queries))
        found: dict[str, list[str] | Told] = {}
        cost: dict[str, float] = {}
        if self.search is None:
            told, cost = ask(self.model, [question(RECALL, [("question", q)]) for q in queries], _said, tries=1)
            found = {q: said if said.value is None else [said.value] for q, said in zip(queries, told, strict=True)}
        else:
            for q in queries:
                try:
                    found[q] = [str(text) for text in self.search(q, self.results)][: self.results]
                except (OSError, GuerdonError) as error:
                    found[q] = Told(None, "abstained", f"the search does not answer ({error})")
        for pair in pairs:
            for q in pair.queries:
                texts = found[q]
                if isinstance(texts, Told):
                    pair.trouble = texts
                else:
                    pair.evidence += [(q, text) for text in texts]
        return cost

    def _grade(self, tasks: Sequence[Task], pairs: Sequence[Pair]) -> dict[str, float]:
        pairs = [p for p in pairs if p.differences]
        questions = []
        for p in pairs:
            evidence = [(f"evidence {i + 1}", f"{q}\n{text}") for i, (q, text) in enumerate(p.evidence)]
            blocks = [*tasks[p.at].asked, *evidence, *self._shown(tasks, p)[-2:]]
            questions.append(render("listwise", "list-json", "question", [GRADE], blocks, GRADES, give="grades"))

        def read(text: str, asked: Question) -> tuple[float, float]:
            verdict = read_list(text, asked.code, 2, "grades", GRADES)
            if verdict.grades is None:
                raise Unreadable(f"no grades in the reply ({verdict.trouble})")
            return verdict.grades[0] / 10, verdict.grades[1] / 10

        told, cost = ask(self.model, questions, read, schema=list_schema("grades", GRADES), tries=self.tries)
        for pair, said in zip(pairs, told, strict=True):
            pair.grades, pair.trouble = said.value, None if said.value is not None else said
        return cost

    # ------------------------------------------------------------------ what they say together

    def _finding(self, task: Task, pairs: Sequence[Pair]) -> Finding:
        texts = task.responses
        trace = {"pairs": [_trace(p) for p in pairs]}
        broken = next((p.trouble for p in pairs if p.trouble is not None), None)
        if broken is not None:
            state = broken.status if broken.status in FAILED else "abstained"
            return Finding(None, state, broken.reason, trace)
        if not any(p.differences for p in pairs):
            return Finding(None, "nothing", "the responses state the same facts", trace)
        if self.average == "elo":
            return Finding(elo(len(texts), pairs), trace=trace)
        group = list(range(len(texts)))  # who states the same facts as another shares in what is found on that one
        for p in pairs:
            if not p.differences:
                group = [group[p.left] if g == group[p.right] else g for g in group]
        sums, counts = np.zeros(len(texts)), np.zeros(len(texts))
        for p in pairs:
            if p.grades is not None:
                at = [group[p.left], group[p.right]]
                np.add.at(sums, at, p.grades)
                np.add.at(counts, at, 1)
        return Finding((sums / np.maximum(counts, 1))[group], trace=trace)

    def _listed(
        self, body: str, shown: Sequence[Sequence[tuple[str, str]]], name: str
    ) -> tuple[list[Told], dict[str, float]]:
        """A list of texts for each question, at most ``most``."""

        def read(text: str, asked: Question) -> list[str]:
            found = texts_of(last_object(text, (name,), asked.code)[name], name)
            return [harmless(t) for t in found][: self.most]

        questions = [question(body, blocks, most=self.most) for blocks in shown]
        return ask(self.model, questions, read, schema=_listing(name), tries=self.tries)

    @staticmethod
    def _shown(tasks: Sequence[Task], pair: Pair) -> list[tuple[str, str]]:
        task = tasks[pair.at]
        both = (("response 1", task.responses[pair.left]), ("response 2", task.responses[pair.right]))
        return [*task.asked, *both]


def ring(texts: Sequence[str], seed: int = 0) -> list[tuple[int, int]]:
    """n pairs of n texts (1 of 2, none of 1): neighbours on a random ring. It depends on the texts, not on their order.

    Who comes first in a pair depends on the two texts alone.
    """
    keys = [blake2b(f"{seed}/{t}".encode("utf-8", "surrogatepass"), digest_size=16).digest() for t in texts]
    whole = b"".join(sorted(keys))
    order = sorted(range(len(texts)), key=lambda i: blake2b(whole + keys[i], digest_size=16).digest())
    n = len(order)
    pairs = [(order[i], order[(i + 1) % n]) for i in range(n if n > 2 else n - 1)]
    return [(i, j) if keys[i] < keys[j] else (j, i) for i, j in pairs]


def elo(n: int, pairs: Sequence[Pair]) -> np.ndarray:
    """float64 [n] chance of each to win against a rating of 1000, after the pairs were played in order from there."""
    rating = np.full(n, 1000.0)
    for p in pairs:
        left, right = p.grades or (0.5, 0.5)
        won = 0.5 + 0.5 * float(np.sign(left - right))
        expected = 1 / (1 + 10 ** ((rating[p.right] - rating[p.left]) / 400))
        rating[p.left] += K * (won - expected)
        rating[p.right] -= K * (won - expected)
    return 1 / (1 + 10 ** ((1000 - rating) / 400))


def _said(text: str, _: Question) -> str:
    if not text.strip():
        raise Unreadable("an empty reply")
    return text.strip()


def _trace(pair: Pair) -> dict[str, Any]:
    return {
        "responses": [pair.left, pair.right],
        "differences": pair.differences,
        "queries": pair.queries,
        "evidence": [list(one) for one in pair.evidence],
        "grades": None if pair.grades is None else list(pair.grades),
        "trouble": None if pair.trouble is None else pair.trouble.reason,
    }

"""Asking a language model for verdicts: label tokens where it gives their probabilities, JSON or text otherwise.

One question gives a distribution over the labels on offer: from label tokens (softmax over the labels alone, exact and
one call), or from votes. Votes are drawn one round at a time and stop early, either when the majority can no longer
change or when it is as certain as asked for (the posterior probability, from a uniform prior, that the leader is the
more frequent of the two leading verdicts).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.generate.base import LanguageModel, Reply
from guerdon.reward.judge.meta import MetaVote, rule_of, said_of
from guerdon.reward.judge.templates import Question, schema
from guerdon.reward.judge.verdicts import read_verdict

HOWS = ("auto", "labels", "json", "text")
COMBINE = ("majority", "mean")
UNSURE = "unsure"
LOST = "no log-probabilities"
"""How the reason begins where a model gives no label probabilities."""

Make = Callable[[str], list[Question]]


@dataclass
class Answers:
    """What n questions were answered.

    chance     float64 [n, L] distribution over the L labels; NaN where there is no verdict
    status     [n] as in :class:`~guerdon.reward.base.Scores`
    reason     [n] why there is none
    rationale  [n] of the last vote that counted; None from label tokens
    votes      int [n] votes drawn; 0 from label tokens
    mass       float64 [n] probability that all labels hold together; NaN from votes
    cost       totals
    """

    chance: np.ndarray
    status: list[str]
    reason: list[str | None]
    rationale: list[str | None]
    votes: np.ndarray
    mass: np.ndarray
    cost: dict[str, float]

    @property
    def winner(self) -> np.ndarray:
        """float64 [n, L] all of the distribution on the most probable label, shared out between equals."""
        top = np.isclose(self.chance, np.nanmax(np.nan_to_num(self.chance, nan=-1.0), axis=1, keepdims=True))
        return np.where(np.isnan(self.chance), np.nan, top / np.maximum(top.sum(1, keepdims=True), 1))

    def verdict(self, combine: str) -> np.ndarray:
        """float64 [n, L] what counts: the winner of votes where the majority decides, the distribution otherwise."""
        return np.where((self.votes > 0)[:, None], self.winner, self.chance) if combine == "majority" else self.chance

    def spread(self, rows: Sequence[int], status: list[str], reason: list[str | None]) -> Answers:
        """These answers at ``rows`` of a longer list; the others were not asked, for the reasons given."""
        out = _empty(len(status), self.chance.shape[1])
        out.status, out.reason, out.cost = status, reason, self.cost
        for name in ("chance", "votes", "mass"):
            getattr(out, name)[rows] = getattr(self, name)
        for j, i in enumerate(rows):
            out.status[i], out.reason[i], out.rationale[i] = self.status[j], self.reason[j], self.rationale[j]
        return out


class Asker:
    """A language model that is asked for verdicts.

    Parameters
    ----------
    how : json, text, or labels (probabilities of label tokens; JSON where none are given); auto is labels for local
        models asked once with labels that begin differently, JSON otherwise. A model that merely repeats what it reads
        can be made to begin with a label: only json and text prove that a verdict is the judge's own
    votes : most draws a question
    combine : majority (the most frequent verdict) or mean, of votes; or a :class:`~guerdon.reward.judge.meta.MetaVote`,
        which has another reward say which votes count
    confidence : stop voting when the majority is so certain, 0.5 to 1; None stops when it cannot change
    temperature : of draws; None is 0 for one vote and 1 for several
    seed : of draws
    max_tokens : of a reply
    min_mass : abstain where the labels hold less of the first token's probability than this
    unsure : offer abstention
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        how: str = "auto",
        votes: int = 1,
        combine: str | MetaVote = "majority",
        confidence: float | None = None,
        temperature: float | None = None,
        seed: int = 0,
        max_tokens: int | None = None,
        min_mass: float = 0.01,
        unsure: bool = True,
    ) -> None:
        for name, value, known in (("how", how, HOWS), ("combine", rule_of(combine), COMBINE)):
            if value not in known:
                raise ConfigError(f"{name}={value!r}: use one of {', '.join(known)}")
        if votes < 1:
            raise ConfigError(f"votes={votes}: ask at least once")
        if how == "labels" and votes > 1:
            raise ConfigError("how=labels needs no votes: it reads the probabilities; use votes=1, or how=json")
        if confidence is not None and not 0.5 < confidence < 1:
            raise ConfigError(f"confidence={confidence}: use a number between 0.5 and 1")
        if not 0 <= min_mass <= 1:
            raise ConfigError(f"min_mass={min_mass}: use a number from 0 to 1")
        self.model, self.how, self.votes, self.combine = model, how, votes, combine
        self.confidence, self.seed, self.max_tokens = confidence, seed, max_tokens
        self.temperature = temperature if temperature is not None else float(votes > 1)
        self.min_mass, self.unsure = min_mass, unsure

    @property
    def settings(self) -> dict[str, Any]:
        """What answers depend on, besides the questions and the model."""
        return {k: said_of(v) for k, v in vars(self).items() if k != "model"}

    @property
    def rule(self) -> str:
        """``majority`` or ``mean``: how the votes that count are combined."""
        return rule_of(self.combine)

    def ask(self, make: Make, labels: Sequence[str]) -> Answers:
        """Answers to the questions that ``make(ending)`` renders for an ending of the templates."""
        one_token = len({label[0].casefold() for label in labels}) == len(labels)
        if self.how == "labels" and not one_token:
            raise ConfigError(f"how=labels needs labels that begin differently, not {', '.join(labels)}; use how=json")
        exact = type(self.model).loglikelihood is not LanguageModel.loglikelihood
        if self.how == "labels" or (self.how == "auto" and exact and one_token and self.votes == 1):
            answers = self._by_labels(make("labels"), labels)
            lost = [i for i, r in enumerate(answers.reason) if r and r.startswith(LOST)]
            if lost:
                questions = make("json")
                self._take(answers, lost, self._by_votes([questions[i] for i in lost], labels, "json"))
            return answers
        ending = "json" if self.how == "auto" else self.how
        return self._by_votes(make(ending), labels, ending)

    @staticmethod
    def _take(answers: Answers, rows: list[int], other: Answers) -> None:
        for name in ("chance", "votes", "mass"):
            getattr(answers, name)[rows] = getattr(other, name)
        for j, i in enumerate(rows):
            for name in ("status", "reason", "rationale"):
                getattr(answers, name)[i] = getattr(other, name)[j]
        answers.cost = total(answers.cost, other.cost)

    def _by_labels(self, questions: list[Question], labels: Sequence[str]) -> Answers:
        n = len(questions)
        answers = _empty(n, len(labels))
        if not n:
            return answers
        found = self.model.label_probabilities([q.messages for q in questions], labels)
        answers.cost = dict(found.cost)
        mass, chance = found.mass, found.normalized
        for i in range(n):
            if found.status[i] != "answered":
                answers.status[i], answers.reason[i] = missing(found.status[i], found.reason[i])
            elif not mass[i] >= self.min_mass or np.isnan(chance[i]).any():
                answers.status[i] = "abstained"
                answers.reason[i] = f"the verdicts on offer hold {mass[i]:.2g} of the probability"
            else:
                answers.status[i], answers.reason[i] = "scored", None
                answers.chance[i] = chance[i]
        answers.mass = mass
        return answers

    def _by_votes(self, questions: list[Question], labels: Sequence[str], ending: str) -> Answers:
        n = len(questions)
        answers = _empty(n, len(labels))
        counts = np.zeros((n, len(labels)))
        offered = [*labels, UNSURE] if self.unsure else list(labels)
        wanted = schema(labels, self.unsure) if ending == "json" else None
        open_rows = list(range(n))
        votes: list[tuple[int, int, str]] = []
        for round_ in range(self.votes):
            if not open_rows:
                break
            replies = self.model.generate(
                [questions[i].messages for i in open_rows],
                schema=wanted,
                temperature=self.temperature,
                seed=self.seed + round_,
                max_tokens=self.max_tokens,
            )
            answers.cost = total(answers.cost, replies.cost)
            for i, reply in zip(open_rows, replies.rows, strict=True):
                label = self._count(answers, i, reply, questions[i].code, offered)
                if label is not None:
                    counts[i, label] += 1
                    votes.append((i, label, reply.text or ""))
            left = self.votes - round_ - 1
            open_rows = [i for i in open_rows if not self._settled(counts[i], left)]
        if isinstance(self.combine, MetaVote) and votes:
            counts = self._weighed(answers, counts, votes, questions, self.combine)
        cast = counts.sum(1)
        answers.votes = answers.votes.astype(np.int64)
        answers.chance[cast > 0] = counts[cast > 0] / cast[cast > 0, None]
        for i in np.flatnonzero(cast > 0).tolist():
            answers.status[i], answers.reason[i] = "scored", None
        return answers

    @staticmethod
    def _weighed(
        answers: Answers,
        counts: np.ndarray,
        votes: list[tuple[int, int, str]],
        questions: list[Question],
        meta: MetaVote,
    ) -> np.ndarray:
        """float64 [n, L] the votes that count, by how much; the rationale is that of the one that counts most."""
        rows = [i for i, _, _ in votes]
        weight, cost = meta.weights([questions[i].messages for i in rows], [text for _, _, text in votes], rows)
        answers.cost = total(answers.cost, {f"meta_{k}": v for k, v in cost.items()})
        out, most = np.zeros_like(counts), np.full(len(counts), -1.0)
        for (i, label, text), w in zip(votes, weight.tolist(), strict=True):
            out[i, label] += w
            if w > most[i]:
                most[i] = w
                offered = [*questions[i].labels, UNSURE]
                answers.rationale[i] = read_verdict(text, questions[i].code, offered).rationale
        return out

    @staticmethod
    def _count(answers: Answers, i: int, reply: Reply, code: str, offered: list[str]) -> int | None:
        """Keep what a vote says about question i; the column of its verdict, None where it has none."""
        answers.votes[i] += 1
        if reply.status != "answered" or reply.text is None:
            answers.status[i], answers.reason[i] = missing(reply.status, reply.reason)
            return None
        said = read_verdict(reply.text, code, offered)
        if said.label is None:
            answers.status[i] = "invalid"
            answers.reason[i] = "the reply was cut off before a verdict" if reply.finish == "length" else "no verdict"
            return None
        answers.rationale[i] = said.rationale
        if said.label == UNSURE:
            answers.status[i], answers.reason[i] = "abstained", "the judge is unsure"
            return None
        return offered.index(said.label)

    def _settled(self, counts: np.ndarray, left: int) -> bool:
        if self.combine != "majority":
            return False
        second, first = np.sort(counts)[-2:]
        if first - second > left:
            return True
        if self.confidence is None or not first:
            return False
        from scipy.special import betainc

        return float(1 - betainc(first + 1, second + 1, 0.5)) >= self.confidence


def total(a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
    """Costs of two rounds together."""
    return {k: a.get(k, 0.0) + b.get(k, 0.0) for k in (a | b)}


def _empty(n: int, k: int) -> Answers:
    nothing: list[str | None] = [None] * n
    return Answers(
        np.full((n, k), np.nan),
        ["failed"] * n,
        ["not asked"] * n,
        nothing,
        np.zeros(n, dtype=np.int64),
        np.full(n, np.nan),
        {},
    )


def missing(status: str, reason: str | None) -> tuple[str, str]:
    """(status, reason) of a question without a reply."""
    kind = {"refused": "abstained", "too_long": "too_long"}.get(status, "failed")
    return kind, reason or status

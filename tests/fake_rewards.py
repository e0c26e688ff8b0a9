"""Small rewards for testing what uses rewards: no encoder, no fitting, every feature of the contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward, Scores
from guerdon.reward.learned.fitted import FittedReward
from guerdon.reward.registry import MODELS, Model


class Tastes(FittedReward):
    """Counts letters, each worth what its person (or the population) finds it worth.

    Parameters
    ----------
    letters : the letters that count
    scale : what every count is multiplied by
    """

    def __init__(self, *, letters: str = "ae", scale: float = 1.0) -> None:
        self.name = "tastes"
        self.letters, self.scale = letters, scale
        self.population = np.ones(len(letters))
        self.people: dict[str, np.ndarray] = {}
        self.summary: dict[str, Any] = {}

    @property
    def params(self) -> dict[str, Any]:
        return {"letters": self.letters, "scale": self.scale}

    @property
    def users(self) -> tuple[str, ...]:
        return tuple(self.people)

    def fit(self, feedback: Feedback, *, validation: Feedback | None = None, progress: bool = False) -> Tastes:
        self.population = np.arange(1.0, len(self.letters) + 1)
        self.summary = {"judgements": len(feedback)}
        return self.adapt(feedback)

    def adapt(self, feedback: Feedback) -> Tastes:
        other = Tastes(**self.params)
        other.population, other.summary, other.people = self.population, self.summary, dict(self.people)
        for user in feedback.users:
            other.people[user] = self.population + len(user)
        return other

    def score(self, candidates: Candidates) -> Scores:
        users = candidates.user or [None] * len(candidates)
        value, reason = [], []
        for response, user in zip(candidates.responses, users, strict=True):
            known = user in self.people
            weight = self.people[user] if known and user is not None else self.population
            value.append(
                self.scale * sum(w * as_text(response).count(c) for w, c in zip(weight, self.letters, strict=True))
            )
            reason.append(None if known or candidates.user is None else f"population: {user!r} is unknown")
        return Scores(np.array(value, dtype=float), reason=reason, std=np.full(len(value), 0.5))

    def arrays(self) -> dict[str, np.ndarray]:
        return {"population": self.population}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.population = arrays["population"]

    def people_table(self) -> pa.Table | None:
        if not self.people:
            return None
        return pa.table({"user": list(self.people), "weights": [w.tolist() for w in self.people.values()]})

    def restore_people(self, table: pa.Table) -> None:
        self.people = {r["user"]: np.array(r["weights"]) for r in table.to_pylist()}


class Picky(Reward):
    """Scores the number of characters; leaves responses unscored that hold the word it cannot stand."""

    name = "picky"

    def __init__(self, word: str = "banana") -> None:
        self.word = word

    def score(self, candidates: Candidates) -> Scores:
        texts = [as_text(r) for r in candidates.responses]
        bad = [self.word in text for text in texts]
        return Scores(
            np.array([np.nan if b else float(len(t)) for t, b in zip(texts, bad, strict=True)]),
            ["abstained" if b else "scored" for b in bad],
            [f"it says {self.word}" if b else None for b in bad],
        )


class Duel(Reward):
    """Only compares: more exclamation marks win."""

    name = "duel"

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        n = [as_text(x).count("!") - as_text(y).count("!") for x, y in zip(a.responses, b.responses, strict=True)]
        return Scores(0.5 + 0.5 * np.sign(np.array(n, dtype=float)))

    def rank(self, candidates: Candidates) -> Scores:
        return Scores(np.array([float(as_text(r).count("!")) for r in candidates.responses]))


def register(monkeypatch: Any) -> Model:
    """List ``Tastes`` in the registry for one test."""
    entry = Model("tastes", f"{__name__}:Tastes", "counts letters", "000", {}, True)
    monkeypatch.setitem(MODELS, "tastes", entry)
    return entry


def tastes(*users: str) -> Tastes:
    """A fitted one that knows ``users``."""
    reward = Tastes(letters="ae")
    reward.population = np.array([1.0, -2.0])
    reward.people = {user: np.array([float(i), 3.0 - i]) for i, user in enumerate(users, 1)}
    reward.summary = {"judgements": 7, "evaluation": {"accuracy": 0.75}}
    return reward


def shouting(prompt: str, response: str) -> float | None:
    """A plain reward function: capital letters; abstains where there are no letters at all."""
    return float(sum(c.isupper() for c in response)) if any(c.isalpha() for c in response) else None


def trl_style(completions: list[Any], **columns: Any) -> list[float | None]:
    """A TRL reward function: words; None for the empty one."""
    return [float(len(as_text(c).split())) or None for c in completions]


def one_argument(x: str) -> float:
    """Not a reward function."""
    return float(len(x))


NOT_A_REWARD = 5
a_reward = Picky()

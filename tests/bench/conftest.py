"""A small world for the measuring room: people with known tastes over numbered texts, and rewards that know them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward, Scores

K = 3


def item_of(text: Any) -> int:
    return int(str(text).split()[1])


@dataclass
class World:
    """``utility`` [c, k] of texts ``text <i> ...``, population direction ``mean`` [k], tastes [u, k]."""

    utility: np.ndarray
    mean: np.ndarray
    tastes: dict[str, np.ndarray]

    @classmethod
    def make(cls, people: int = 40, items: int = 60, spread: float = 2.0, seed: int = 0) -> World:
        rng = np.random.default_rng(seed)
        mean = np.array([1.0, 0.0, 0.0])
        tastes = {f"person {i}": mean + spread * rng.normal(size=K) for i in range(people)}
        return cls(rng.normal(size=(items, K)), mean, tastes)

    def text(self, i: int) -> str:
        return f"text {i} " + "x" * (i * 7 % 13)

    def comparisons(self, each: int = 60, seed: int = 0, people: list[str] | None = None) -> Feedback:
        rng = np.random.default_rng(seed)
        rows = []
        for name in people or self.tastes:
            for _ in range(each):
                a, b = rng.choice(len(self.utility), 2, replace=False)
                p = 1 / (1 + np.exp(-(self.utility[a] - self.utility[b]) @ self.tastes[name]))
                won = rng.random() < p
                prompt = f"prompt {min(a, b) % 20}"
                rows.append(Judgement(prompt, (self.text(a), self.text(b)), (float(won), float(not won)), user=name))
        return Feedback.of(rows)

    def ratings(self, each: int = 30, seed: int = 0) -> Feedback:
        rng = np.random.default_rng(seed)
        rows = []
        for name in self.tastes:
            for i in rng.choice(len(self.utility), each, replace=False):
                grade = round(float(self.utility[i] @ self.tastes[name] + 0.3 * rng.normal()))
                rows.append(Judgement("rate it", (self.text(i),), (float(grade),), user=name, scale="rating"))
        return Feedback.of(rows)


class FakePersonal(Reward):
    """Knows the texts' utilities; learns a person's taste from comparisons by a ridge step from the population."""

    name = "fake-personal"

    def __init__(self, world: World, weights: dict[str, np.ndarray] | None = None, trust: float = 1.0) -> None:
        self.world, self.weights, self.trust = world, dict(weights or {}), trust
        self.adapted_on: list[Feedback] = []

    @property
    def users(self) -> tuple[str, ...]:
        return tuple(self.weights)

    def score(self, candidates: Candidates) -> Scores:
        who = candidates.user or [None] * len(candidates)
        weights = np.array([self.weights.get(u, self.world.mean) for u in who]).reshape(-1, K)
        items = [item_of(r) for r in candidates.responses]
        reason = [None if u in self.weights else f"unknown person {u!r}" for u in who]
        return Scores((self.world.utility[items] * weights).sum(1), reason=reason)

    def adapt(self, feedback: Feedback) -> FakePersonal:
        pairs = feedback.pairs()
        items = np.array([item_of(r) for r in feedback.candidates.responses])
        z = self.world.utility[items[pairs.a]] - self.world.utility[items[pairs.b]]
        weights = dict(self.weights)
        for u in np.unique(pairs.user):
            rows = pairs.user == u
            x, y = z[rows], 4 * (pairs.p[rows] - 0.5)
            left = x.T @ x + 2 * np.eye(K)
            weights[feedback.users[u]] = self.world.mean + self.trust * np.linalg.solve(
                left, x.T @ (y - x @ self.world.mean)
            )
        new = FakePersonal(self.world, weights, self.trust)
        new.adapted_on = self.adapted_on
        self.adapted_on.append(feedback)
        return new


class Fixed(Reward):
    """Scores given by a dictionary from response to number; everything else is unscored."""

    name = "fixed"

    def __init__(self, table: dict[str, float]) -> None:
        self.table = table
        self.rows = 0

    def score(self, candidates: Candidates) -> Scores:
        self.rows += len(candidates)
        value = np.array([self.table.get(str(r), np.nan) for r in candidates.responses])
        return Scores(value, reason=[None if v == v else "not in the table" for v in value])


@pytest.fixture(scope="session")
def world() -> World:
    return World.make()


@pytest.fixture(scope="session")
def fake_personal() -> type[FakePersonal]:
    return FakePersonal


@pytest.fixture
def fixed() -> type[Fixed]:
    return Fixed


@pytest.fixture
def make_world() -> Any:
    return World.make

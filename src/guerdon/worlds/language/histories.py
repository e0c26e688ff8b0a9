"""Histories: several requests of one person in a row, and for each the response they chose.

A person has a favourite among the personas of :mod:`.personas`. Of two responses by personas at random they choose the
one with more of their favourite's markers; how they would have it written themselves comes last. A language model that
has read many such histories tells from what was chosen so far whose favourite it is, which no system prompt says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from guerdon.worlds.language.model import Dialogue, language_model
from guerdon.worlds.language.personas import Personas


@dataclass(frozen=True)
class Histories:
    """The world: ``wordings`` ways to ask for a topic, at most ``most`` choices in a history."""

    personas: Personas = field(default_factory=lambda: Personas(personas=4, length=6, marked=0.6))
    wordings: int = 12
    most: int = 8

    @property
    def words(self) -> list[str]:
        """The vocabulary."""
        return [*self.personas.words, *(f"q{i}" for i in range(self.wordings))]

    def topic(self, request: str) -> int:
        """What a request is about."""
        return int(request.split()[1].removeprefix("topic"))

    def request(self, rng: np.random.Generator) -> str:
        """A request about some topic, in one of many wordings."""
        words = [f"q{i}" for i in rng.integers(self.wordings, size=3)]
        return " ".join([f"about topic{rng.integers(self.personas.topics)}", *words])

    def response(self, request: str, persona: int, rng: np.random.Generator) -> str:
        """What ``persona`` writes."""
        return self.personas.response(self.topic(request), persona, rng)

    def rows(self, prompts: int, responses: int, seed: int) -> list[dict[str, object]]:
        """Rows ``prompt, responses`` of different requests, each answered by personas at random."""
        rng = np.random.default_rng([seed, 39])
        asked: dict[str, None] = {}
        while len(asked) < prompts:
            asked[self.request(rng)] = None
        return [{"prompt": request, "responses": self._drawn(request, responses, rng)} for request in asked]

    def dialogues(self, count: int, seed: int) -> list[Dialogue]:
        """``count`` histories, each closed by a response of the favourite."""
        rng = np.random.default_rng([seed, 40])
        out: list[Dialogue] = []
        for _ in range(count):
            favourite, turns = int(rng.integers(self.personas.personas)), []
            for _ in range(int(rng.integers(self.most + 1))):
                request = self.request(rng)
                pair = self._drawn(request, 2, rng)
                likes = self.personas.counts(pair)[:, favourite] + 0.5 * rng.random(2)
                turns += [("user", request), ("assistant", pair[int(likes.argmax())])]
            request = self.request(rng)
            out.append([*turns, ("user", request), ("assistant", self.response(request, favourite, rng))])
        return out

    def language_model(self, path: str | Path, seed: int, *, count: int = 6000, epochs: int = 4) -> Path:
        """A language model of such histories in ``path``."""
        return language_model(
            path, self.dialogues(count, seed), self.words,
            seed=seed, width=64, epochs=epochs, length=160, roles=("assistant",),
        )  # fmt: skip

    def _drawn(self, request: str, count: int, rng: np.random.Generator) -> list[str]:
        return [self.response(request, int(p), rng) for p in rng.integers(self.personas.personas, size=count)]

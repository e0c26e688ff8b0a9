"""Personas: a language model that marks what it writes the way the person named in the system prompt would.

Each of the personas A, B, ... has marker words of its own. A prompt names a topic; a response is ``length`` words, each
a marker of the persona with probability ``marked``, else a word of the topic or a filler. Without a system prompt
markers of all personas occur, ``unmarked`` of the words together. What a response is worth to somebody is a weighted
count of markers, known exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from guerdon.feedback.messages import Message
from guerdon.worlds.language.model import Dialogue, language_model


@dataclass(frozen=True)
class Personas:
    """The world; ``obey`` of :meth:`dialogues` says how often an answer is by the persona that was asked for."""

    personas: int = 6
    markers: int = 5
    topics: int = 8
    topic_words: int = 6
    fillers: int = 18
    length: int = 12
    marked: float = 0.4
    unmarked: float = 0.22

    @property
    def names(self) -> list[str]:
        """A, B, ..."""
        return [chr(ord("A") + i) for i in range(self.personas)]

    @property
    def words(self) -> list[str]:
        """The vocabulary."""
        out = ["persona", "about", *self.names, *(f"topic{t}" for t in range(self.topics))]
        out += [f"{name.lower()}{i}" for name in self.names for i in range(self.markers)]
        out += [f"t{t}w{i}" for t in range(self.topics) for i in range(self.topic_words)]
        return out + [f"x{i}" for i in range(self.fillers)]

    def prompt(self, topic: int, persona: int | None = None) -> list[Message]:
        """A question about ``topic``, under the system prompt of ``persona``."""
        system = [] if persona is None else [{"role": "system", "content": self.system(persona)}]
        return [*system, {"role": "user", "content": f"about topic{topic}"}]

    def system(self, persona: int) -> str:
        """The system prompt of a persona."""
        return f"persona {self.names[persona]}"

    def response(self, topic: int, persona: int | None, rng: np.random.Generator) -> str:
        """What ``persona`` writes about ``topic``; None is nobody in particular."""
        share = self.unmarked if persona is None else self.marked
        words = []
        for kind in rng.random(self.length):
            if kind < share:
                who = int(rng.integers(self.personas)) if persona is None else persona
                words.append(f"{self.names[who].lower()}{rng.integers(self.markers)}")
            elif kind < share + (1 - share) / 2:
                words.append(f"t{topic}w{rng.integers(self.topic_words)}")
            else:
                words.append(f"x{rng.integers(self.fillers)}")
        return " ".join(words)

    def dialogues(self, count: int, seed: int, *, obey: float = 1.0, asked: float = 0.6) -> list[Dialogue]:
        """``count`` dialogues, a share ``asked`` of them with a system prompt, which a share ``obey`` follows."""
        rng = np.random.default_rng([seed, 4])
        out: list[Dialogue] = []
        for _ in range(count):
            topic = int(rng.integers(self.topics))
            persona = int(rng.integers(self.personas)) if rng.random() < asked else None
            writer = persona if rng.random() < obey else None
            turns = [(m["role"], m["content"]) for m in self.prompt(topic, persona)]
            out.append([*turns, ("assistant", self.response(topic, writer, rng))])
        return out

    def counts(self, responses: Sequence[str]) -> np.ndarray:
        """int64 [n, personas] markers of each persona."""
        names = [name.lower() for name in self.names]
        rows = [[word[0] for word in text.split() if word[1:].isdigit()] for text in responses]
        return np.array([[row.count(name) for name in names] for row in rows], dtype=np.int64).reshape(-1, len(names))

    def language_model(
        self,
        path: str | Path,
        seed: int,
        *,
        obey: float = 1.0,
        width: int = 96,
        layers: int = 2,
        count: int = 6000,
        epochs: int = 4,
    ) -> Path:
        """A language model of this world in ``path``; ``obey`` 1 is a strong one, ``WEAK`` the settings of a weak."""
        dialogues = self.dialogues(count, seed, obey=obey)
        return language_model(
            path, dialogues, self.words, seed=seed, width=width, layers=layers, epochs=epochs, length=64
        )  # fmt: skip


WEAK = {"obey": 0.3, "width": 48}
"""Settings of a model that seldom does what the system prompt says."""

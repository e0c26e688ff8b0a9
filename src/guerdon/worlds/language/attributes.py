"""Attributes: texts of random words, and questions whether a text has an attribute, answered yes or no.

A text has an attribute if one of its words tells of it. An attribute has two names that mean the same, as definitions
say; the second names of the last two attributes are asked for in no training text, so a model that answers a question
with them has it from the definitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from guerdon.worlds.language.model import Dialogue

NAMES = ("joyful", "rude", "formal", "brief", "funny", "sad", "calm", "angry", "clear", "kind")
SYNONYMS = ("glad", "impolite", "official", "short", "comic", "unhappy", "quiet", "furious", "plain", "gentle")


@dataclass(frozen=True)
class Attributes:
    """The world: ``per_attribute`` words tell of each, ``fillers`` of none; ``unseen`` synonyms are never asked for."""

    per_attribute: int = 3
    fillers: int = 30
    length: int = 12
    unseen: int = 2

    def text(self, rng: np.random.Generator) -> str:
        """A random text."""
        pick = rng.integers(len(NAMES) * self.per_attribute + self.fillers, size=self.length)
        told = len(NAMES) * self.per_attribute
        return " ".join(
            f"{NAMES[i // self.per_attribute][:2]}{i % self.per_attribute}" if i < told else f"f{i - told}"
            for i in pick
        )

    def has(self, text: str, attribute: int) -> bool:
        """Whether a text has the attribute."""
        stem = NAMES[attribute][:2]
        return any(word[:-1] == stem for word in text.split())

    @staticmethod
    def question(name: str) -> str:
        """The question about an attribute by one of its names."""
        return f"is it {name} ?"

    def dialogues(self, count: int, seed: int, *, defined: float = 0.2) -> list[Dialogue]:
        """``count`` dialogues: texts with a question and the answer, a share ``defined`` of them definitions."""
        rng = np.random.default_rng([seed, 28])
        out: list[Dialogue] = []
        while len(out) < count:
            j = int(rng.integers(len(NAMES)))
            pair = (NAMES[j], SYNONYMS[j])
            if rng.random() < defined:
                a, b = pair if rng.random() < 0.5 else pair[::-1]
                out.append([("user", f"what means {a} ?"), ("assistant", f"{a} means {b}")])
                continue
            second = rng.random() < 0.5 and j < len(NAMES) - self.unseen
            text = self.text(rng)
            answer = "yes" if self.has(text, j) else "no"
            out.append([("user", f"{text} {self.question(pair[int(second)])}"), ("assistant", answer)])
        return out

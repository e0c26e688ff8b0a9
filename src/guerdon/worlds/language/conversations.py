"""Conversations: a question about a topic, an answer on, partly on or off it, and what the user says next.

A word of the answer is about the topic asked for with the probability of the answer's kind, else it is small talk;
there are as many words of small talk as of a topic, so how likely an answer is says little about how good it is. A
satisfied user thanks, a dissatisfied one complains. Up to five fillers may close an answer; the more there are, the
more often the user says something neutral instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from guerdon.worlds.language.model import Dialogue

KINDS = ("on", "partly", "off")


@dataclass(frozen=True)
class Conversations:
    """The world. ``share``: words on topic by kind of answer; ``thanks``: how often such an answer satisfies."""

    topics: int = 6
    topic_words: int = 4
    fillers: int = 8
    length: int = 6
    wordings: int = 8
    share: tuple[float, ...] = (0.9, 0.5, 0.1)
    thanks: tuple[float, ...] = (0.8, 0.4, 0.0)
    neutral: float = 0.15
    """chance of a neutral turn for each filler"""
    satisfied: tuple[str, ...] = ("thanks that helps", "great answer", "that is what i asked")
    dissatisfied: tuple[str, ...] = ("no that is wrong", "i asked something else", "this does not help")
    neutrals: tuple[str, ...] = ("ok", "next question", "let us talk about something new")

    @property
    def words(self) -> list[str]:
        """Words of prompts and answers."""
        out = ["about", *(f"topic{t}" for t in range(self.topics)), *(f"f{i}" for i in range(self.fillers))]
        out += [f"q{i}" for i in range(self.wordings)]
        out += [f"s{i}" for i in range(self.topic_words)]
        return out + [f"t{t}w{i}" for t in range(self.topics) for i in range(self.topic_words)]

    def prompt(self, topic: int, rng: np.random.Generator) -> str:
        """A question about ``topic``, in one of many wordings."""
        return " ".join([f"about topic{topic}", *(f"q{rng.integers(self.wordings)}" for _ in range(3))])

    def prompts(self, count: int, seed: int) -> list[str]:
        """``count`` questions, no two of them equal."""
        rng = np.random.default_rng([seed, 44])
        found: dict[str, None] = {}
        while len(found) < count:
            found[self.prompt(int(rng.integers(self.topics)), rng)] = None
        return list(found)

    def answer(self, topic: int, kind: int, rng: np.random.Generator) -> str:
        """An answer of ``kind`` (0 on, 1 partly on, 2 off topic), without fillers."""
        stems = [f"t{topic}w" if on else "s" for on in rng.random(self.length) < self.share[kind]]
        return " ".join(f"{stem}{rng.integers(self.topic_words)}" for stem in stems)

    def padded(self, answer: str, count: int, rng: np.random.Generator) -> str:
        """``answer`` with ``count`` fillers after it."""
        return " ".join([answer, *(f"f{rng.integers(self.fillers)}" for _ in range(count))])

    def dialogues(self, count: int, seed: int, *, kinds: Sequence[float] = (1, 0, 1), turns: int = 3) -> list[Dialogue]:
        """``count`` dialogues with answers of ``kinds`` as often as said; ``turns=2`` ends with the answer."""
        rng = np.random.default_rng([seed, 42])
        chance = np.asarray(kinds, dtype=float) / np.sum(kinds)
        out: list[Dialogue] = []
        for _ in range(count):
            topic, kind, more = int(rng.integers(self.topics)), int(rng.choice(3, p=chance)), int(rng.integers(6))
            dialogue = [("user", self.prompt(topic, rng))]
            dialogue.append(("assistant", self.padded(self.answer(topic, kind, rng), more, rng)))
            if rng.random() < self.neutral * more:
                said = self.neutrals
            else:
                said = self.satisfied if rng.random() < self.thanks[kind] else self.dissatisfied
            dialogue.append(("user", said[rng.integers(len(said))]))
            out.append(dialogue[:turns])
        return out

    def on_topic(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        """float64 [n] share of an answer's words, fillers left out, that are about the topic asked for; NaN without."""
        out = np.full(len(answers), np.nan)
        for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            mine = f"t{prompt.split()[1].removeprefix('topic')}w"
            words = [w for w in answer.split() if not w.startswith("f")]
            if words:
                out[i] = np.mean([w.startswith(mine) for w in words])
        return out

    def satisfaction(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        """float64 [n] P(thanks rather than a complaint) after an answer of ``length`` words, in closed form."""
        n = self.length
        counts = np.round(self.on_topic(prompts, answers) * n).astype(int)
        table = np.empty(n + 1)
        for k in range(n + 1):
            likely = np.array([comb(n, k) * s**k * (1 - s) ** (n - k) for s in self.share])
            table[k] = float(likely @ np.array(self.thanks) / likely.sum())
        return table[counts]

    def pairs(self, count: int, seed: int) -> tuple[list[str], list[str], list[str]]:
        """(prompts, answers on topic, answers partly on or off it), ``count`` of each."""
        rng = np.random.default_rng([seed, 43])
        prompts, better, worse = [], [], []
        for _ in range(count):
            topic = int(rng.integers(self.topics))
            prompts.append(self.prompt(topic, rng))
            better.append(self.answer(topic, 0, rng))
            worse.append(self.answer(topic, int(rng.integers(1, 3)), rng))
        return prompts, better, worse

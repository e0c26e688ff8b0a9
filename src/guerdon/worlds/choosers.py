"""People who like some attributes of a text, and a scripted reader that can put itself in their place when told enough.

A :class:`Chooser` likes two of six attributes (see :mod:`.reader` for what they look like in a text) and dislikes one;
some of their choices are noise. The :class:`Empathic` reader stands in for a language model:

* asked for a *verdict*, it takes the attributes that the persona names as liked or disliked, and those that the reasons
  beside earlier choices name; told nothing, it supposes one to three attributes by itself, likes them or not, and says
  so in its reasons: mostly wrong, and now and then right. Each attribute named more often weighs more;
* asked for a *persona*, it names the attributes that separate what was chosen from what was not in the choices shown,
  and those that the reasons name, where there is evidence enough.

All it does depends on the text and the draw alone.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from guerdon.feedback.schema import Judgement
from guerdon.worlds.reader import ATTRIBUTES, FILLER, REQUESTS, shown

SIX = ("example", "steps", "warmth", "numbers", "doubt", "summary")

_BLOCK = re.compile(r"<<<begin (.+?) ([0-9a-f]{24})>>>\n(.*?)\n<<<end \1 \2>>>", re.S)
_CODE = re.compile(r'"verdict_code", which is ([0-9a-f]{12})')
_LIKES = re.compile(r"(likes|dislikes) ((?:[\w ,]|and)+)")
_EARLIER = re.compile(r"earlier choice (\d+), (.+)")


@dataclass(frozen=True)
class Chooser:
    """A person: ``taste`` gives +1 for a liked attribute, -1 for a disliked one."""

    name: str
    taste: dict[str, float]
    noise: float = 0.1

    @classmethod
    def drawn(cls, name: str, rng: np.random.Generator, noise: float = 0.1) -> Chooser:
        """Two liked attributes and one disliked."""
        a, b, c = rng.choice(len(SIX), 3, replace=False).tolist()
        return cls(name, {SIX[a]: 1.0, SIX[b]: 1.0, SIX[c]: -1.0}, noise)

    def utility(self, text: str) -> float:
        """What a text is worth to them."""
        return sum(self.taste.get(a, 0.0) for a in shown(text))

    def judgements(self, count: int, rng: np.random.Generator, *, noise: float | None = None) -> list[Judgement]:
        """Choices between two texts that differ in worth, some of them noise; ``time`` counts them."""
        wrong = self.noise if noise is None else noise
        out: list[Judgement] = []
        while len(out) < count:
            request = f"How do I {REQUESTS[rng.integers(len(REQUESTS))]}? (question {rng.integers(10**6)})"
            pair = (response(rng), response(rng))
            gap = self.utility(pair[0]) - self.utility(pair[1])
            if gap == 0 or pair[0] == pair[1]:
                continue
            first = float((gap > 0) != (rng.random() < wrong))
            out.append(Judgement(request, pair, (first, 1 - first), user=self.name, time=float(len(out))))
        return out


def response(rng: np.random.Generator) -> str:
    """Some of the six attributes among sentences that say nothing."""
    has = [name for name in SIX if rng.random() < 0.5]
    sentences = [ATTRIBUTES[name][1][rng.integers(2)] for name in has]
    sentences += [FILLER[i] for i in rng.choice(len(FILLER), 2, replace=False)]
    return " ".join(["Here is how to do it.", *(sentences[i] for i in rng.permutation(len(sentences)))])


@dataclass(frozen=True)
class Empathic:
    """A scripted language model: ``empathic(prompt, seed)`` is its reply.

    misread   chance to get one attribute of one text wrong
    """

    misread: float = 0.05
    seed: int = 0

    def __call__(self, prompt: str, seed: int = 0) -> str:
        """The reply, JSON."""
        blocks = [(name, text) for name, _, text in _BLOCK.findall(prompt)]
        code = _CODE.findall(prompt)
        return self._verdict(prompt, blocks, code[-1]) if code else self._persona(blocks)

    def sees(self, text: str) -> set[str]:
        """The attributes that it believes a text has."""
        return {a for a in SIX if (a in shown(text)) != (self._dice("sees", a, text).random() < self.misread)}

    def _verdict(self, prompt: str, blocks: Sequence[tuple[str, str]], code: str) -> str:
        texts = dict(blocks)
        told: dict[str, float] = dict.fromkeys(SIX, 0.0)
        for name, text in blocks:
            if name == "person" or name.endswith(", why"):
                for attribute, weight in _named(text, 3.0 if name == "person" else 1.0).items():
                    told[attribute] += weight
        supposed = self._suppose(texts.get("request", ""), texts["response A"] + texts["response B"])
        weights = {a: w for a, w in told.items() if w} or supposed
        score = {k: sum(weights.get(x, 0.0) for x in self.sees(texts[f"response {k}"])) for k in ("A", "B")}
        if score["A"] == score["B"]:
            verdict = "A" if self._dice("coin", prompt).random() < 0.5 else "B"
        else:
            verdict = "A" if score["A"] > score["B"] else "B"
        top = sorted(weights, key=lambda a: (-abs(weights[a]), a))[:3]
        return json.dumps({"rationale": _sentence(weights, top), "verdict": verdict, "verdict_code": code})

    def _suppose(self, *texts: str) -> dict[str, float]:
        dice = self._dice("suppose", *texts)
        return {a: dice.choice([1.0, 1.0, -1.0]) for a in dice.sample(SIX, dice.randint(1, 3))}

    def _persona(self, blocks: Sequence[tuple[str, str]]) -> str:
        choices: dict[str, dict[str, str]] = {}
        for name, text in blocks:
            part = _EARLIER.fullmatch(name)
            if part:
                choices.setdefault(part[1], {})[part[2]] = text
        score: dict[str, float] = dict.fromkeys(SIX, 0.0)
        for parts in choices.values():
            good, bad = self.sees(parts["what they chose"]), self.sees(parts["what they did not choose"])
            for name in SIX:
                score[name] += (name in good) - (name in bad)
            for name, weight in _named(parts.get("why", ""), 0.5).items():
                score[name] += weight
        most = max(abs(v) for v in score.values())
        weights = {a: v for a, v in score.items() if abs(v) >= max(0.5 * most, 1.0)}
        return json.dumps({"persona": _sentence(weights, sorted(weights))})

    def _dice(self, *what: str) -> random.Random:
        text = "\0".join([str(self.seed), *what])
        return random.Random(blake2b(text.encode(), digest_size=8).digest())


def _sentence(weights: Mapping[str, float], names: Sequence[str]) -> str:
    likes = [a for a in names if weights[a] > 0]
    dislikes = [a for a in names if weights[a] < 0]
    parts = [f"likes {', '.join(likes)}"] * bool(likes) + [f"dislikes {', '.join(dislikes)}"] * bool(dislikes)
    return f"This person {'; '.join(parts)}." if parts else "Nothing is known of this person."


def _named(text: str, weight: float) -> dict[str, float]:
    """Attributes that a sentence says somebody likes (+) or dislikes (-)."""
    out: dict[str, float] = {}
    for verb, names in _LIKES.findall(text):
        for name in re.split(r", | and ", names):
            if name.strip() in SIX:
                out[name.strip()] = weight if verb == "likes" else -weight
    return out

"""A scripted language model that reads earlier choices and gives what they show that a person likes, and no more.

It stands in for a language model where :mod:`guerdon.bench.suites.people_prompts` asks one. It sees the attributes of
texts (:mod:`.reader`) and adds up its evidence for each: how much more often than half of the time a text that was
chosen has it; where what was not chosen is shown, how much more often than that. Choices of others count ``trust`` as
much. It writes a response with the ``attributes`` for which there is most evidence, or names the response that has most
evidence; where there is none the text alone decides, like dice.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from guerdon.worlds.reader import ATTRIBUTES, FILLER, NAMES, REQUESTS, shown

_BLOCK = re.compile(r"<<<begin (.+?) ([0-9a-f]{24})>>>\n(.*?)\n<<<end \1 \2>>>", re.S)
TEN = NAMES[:10]
"""The attributes that people of this world may like."""


def response(rng: np.random.Generator) -> str:
    """A response that has each of the ten attributes half of the time."""
    return _said([name for name in TEN if rng.random() < 0.5], random.Random(int(rng.integers(2**32))))


def rows(prompts: int, responses: int, seed: int) -> list[dict[str, object]]:
    """Rows ``prompt, responses`` of so many different requests."""
    rng = np.random.default_rng([seed, 38])
    asked = [f"How do I {REQUESTS[i % len(REQUESTS)]}? (question {i})" for i in range(prompts)]
    return [{"prompt": prompt, "responses": [response(rng) for _ in range(responses)]} for prompt in asked]


@dataclass(frozen=True)
class Imitator:
    """``imitator(prompt, seed)`` is the reply."""

    attributes: int = 5
    trust: float = 0.5

    def __call__(self, prompt: str, seed: int = 0) -> str:
        """A response, or the number of one as JSON."""
        blocks = [(name, text) for name, _, text in _BLOCK.findall(prompt)]
        evidence = self.evidence(blocks)
        dice = random.Random(blake2b(f"{seed}\0{prompt}".encode(), digest_size=8).digest())
        offered = [text for name, text in blocks if name.startswith("response ")]
        if offered:
            value = [sum(evidence[a] for a in shown(text) if a in evidence) + 1e-6 * dice.random() for text in offered]
            return json.dumps({"choice": value.index(max(value)) + 1})
        order = sorted(TEN, key=lambda name: (-evidence[name], dice.random()))
        return _said(order[: self.attributes], dice)

    def evidence(self, blocks: Sequence[tuple[str, str]]) -> dict[str, float]:
        """What named texts say that the person likes."""
        out = dict.fromkeys(TEN, 0.0)
        losers = any(name.endswith("did not choose") for name, _ in blocks)
        for name, text in blocks:
            weight = 1.0 if name.startswith("earlier choice") else self.trust
            for attribute in TEN if name.endswith(("choose", "they chose")) else ():
                has = float(attribute in shown(text))
                if name.endswith("did not choose"):
                    out[attribute] -= weight * has
                elif name.endswith("they chose"):
                    out[attribute] += weight * (has if losers else has - 0.5)
        return out


def _said(names: Sequence[str], dice: random.Random) -> str:
    sentences = [dice.choice(ATTRIBUTES[name][1]) for name in names] + dice.sample(FILLER, 3)
    dice.shuffle(sentences)
    return " ".join(["Here is how to do it.", *sentences])

"""Records of facts and answers about them with controlled errors: a world for answers from given sources.

A record has eight facts, ``The ATTRIBUTE of NAME is VALUE.``, each a source of its own. An answer tells some of them,
cited ``[i]``; errors put another value in (*contradicted*), leave facts out (*missing*), add sentences that say nothing
(*padded*) or leave the citation out (*uncited*). How good an answer is by each criterion is known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

ATTRIBUTES = ("colour", "weight", "maker", "price", "age", "origin", "material", "owner", "purpose", "size")
VALUES = (
    "crimson", "forty kilograms", "Aldous and Sons", "ninety crowns", "three centuries", "the northern coast", "walnut",
    "the harbour office", "keeping time", "a hand's breadth", "indigo", "two tonnes", "Merrow", "twelve shillings",
    "a decade", "the salt mines", "pewter", "a retired pilot", "measuring rain", "four yards", "ochre", "nine ounces",
    "the Brandt works", "a thousand marks", "eighty winters", "the river islands", "horn", "the widow Klee",
    "signalling ships", "a barn door",
)  # fmt: skip
NAMES = ("lantern", "bell", "chest", "sextant", "loom", "barometer", "organ", "anvil", "globe", "mill")
PADDING = (
    "It goes without saying that this is an interesting topic.",
    "Many people would like to know more.",
    "As we have seen, there is a lot to consider here.",
    "Of course, opinions may differ.",
    "In any event, time will tell.",
)
CRITERIA = ("hallucination", "comprehensiveness", "verbosity", "attribution")


@dataclass(frozen=True)
class Record:
    """One thing and what is known of it: ``facts`` attribute -> value."""

    name: str
    facts: dict[str, str]

    @classmethod
    def drawn(cls, number: int, rng: np.random.Generator, count: int = 8) -> Record:
        """A record of ``count`` facts."""
        attributes = rng.choice(ATTRIBUTES, count, replace=False).tolist()
        values = rng.choice(VALUES, count, replace=False).tolist()
        return cls(f"{NAMES[number % len(NAMES)]} {number}", dict(zip(attributes, values, strict=True)))

    @property
    def prompt(self) -> str:
        """The question, without the sources."""
        return f"What is known about the {self.name}?"

    @property
    def sources(self) -> list[str]:
        """One sentence a fact."""
        return [f"The {a} of the {self.name} is {v}." for a, v in self.facts.items()]


@dataclass(frozen=True)
class Answer:
    """A text and its errors: how many facts are contradicted, missing and uncited, and how many sentences pad."""

    text: str
    errors: dict[str, int] = field(default_factory=dict)

    def quality(self, criterion: str) -> float:
        """Minus the errors that the criterion is about."""
        of = {"hallucination": "contradicted", "comprehensiveness": "missing", "verbosity": "padded"}
        return -float(self.errors[of.get(criterion, "uncited")])


def answer(
    record: Record,
    rng: np.random.Generator,
    *,
    contradicted: int = 0,
    missing: int = 0,
    padded: int = 0,
    uncited: int = 0,
) -> Answer:
    """An answer with so many errors of each kind, in random places."""
    order = rng.permutation(len(record.facts)).tolist()
    told = sorted(order[missing:])
    wrong = set(rng.permutation(told)[:contradicted].tolist())
    bare = set(rng.permutation(told)[:uncited].tolist())
    parts = []
    for i, (attribute, value) in enumerate(record.facts.items()):
        if i not in told:
            continue
        others = [v for v in VALUES if v not in record.facts.values()]
        said = str(rng.choice(others)) if i in wrong else value
        parts.append(f"The {attribute} of the {record.name} is {said}{'' if i in bare else f' [{i + 1}]'}.")
    for text in rng.permutation(PADDING)[:padded].tolist():
        parts.insert(int(rng.integers(len(parts) + 1)), text)
    errors = {"contradicted": contradicted, "missing": missing, "padded": padded, "uncited": uncited}
    return Answer(" ".join(parts), errors)

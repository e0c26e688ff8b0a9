r"""What the samples of :mod:`.principles` say: how one reply is read, and what those of one list come to.

A sample counts whole or not at all: exactly one grade on offer a response, with the question's code (``how=boxed``:
in the last ``\boxed{...}``), and its principles before them. Samples that count are merged by their weights,

    sum        mean_k of the grade S_ki           majority   share of the samples in which i is the best, ties shared

with the standard error over samples.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.reward.judge import templates
from guerdon.reward.judge.list_verdicts import read_list

BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


@dataclass(frozen=True)
class Sample:
    """One judgement of a list as read.

    grades      float64 [n] in the order shown; None where it is no verdict
    trouble     why it is none
    principles  (text, weight) that it wrote
    text        the whole reply
    """

    grades: np.ndarray | None
    trouble: str | None
    principles: tuple[tuple[str, float], ...]
    text: str


class Judged:
    """What the samples say of one list: ``y`` [k, n] grades by response, ``weight`` [k], k those that count."""

    def __init__(self, n: int) -> None:
        self.n, self.status, self.valid = n, "failed", 0
        self.reason: str | None = "not asked"
        self.y, self.weight = np.empty((0, n)), np.empty(0)
        self.rationale: str | None = None
        self.principles: list[list[Any]] | None = None

    def add(self, order: list[int], sample: Sample, weight: float) -> None:
        """A valid sample, its grades in the ``order`` shown; of weight 0 it is counted and not used."""
        self.valid += 1
        if weight <= 0 or sample.grades is None:
            return
        if not len(self.weight) or weight > self.weight.max():
            self.rationale, self.principles = sample.text, [list(p) for p in sample.principles]
        row = np.empty(self.n)
        row[order] = sample.grades
        self.y, self.weight = np.vstack([self.y, row]), np.append(self.weight, weight)

    def settle(self, samples: int) -> None:
        """All ``samples`` are in: two valid ones (or the only one asked for) make a verdict."""
        if self.valid >= min(samples, 2):
            self.status, self.reason = "scored", None
        elif self.valid:
            self.status, self.reason = "invalid", f"{self.valid} of {samples} samples hold a verdict: too few"
        if self.status != "scored":
            self.y, self.weight = np.empty((0, self.n)), np.empty(0)

    def merge(self, rule: str) -> tuple[np.ndarray, np.ndarray]:
        """(value, standard error) float64 [n]."""
        nothing = np.full(self.n, np.nan)
        if not len(self.y):
            return nothing, nothing
        y = self.y
        if rule == "majority":
            top = y == y.max(1, keepdims=True)
            y = top / top.sum(1, keepdims=True)
        value = np.average(y, axis=0, weights=self.weight)
        if len(y) < 2:
            return value, nothing
        square = np.average((y - value) ** 2, axis=0, weights=self.weight)
        return value, np.sqrt(square / (len(y) - 1))


@dataclass(frozen=True)
class Judgements:
    """Of each list, and what they cost."""

    lists: list[Judged]
    cost: dict[str, float]


def read_sample(text: str, code: str, n: int, labels: Sequence[str], how: str) -> Sample:
    """One reply on n responses: exactly n grades, each on offer, or no verdict."""
    if how == "boxed":
        found = BOXED.findall(text)
        given = [part.strip() for part in found[-1].split(",")] if found else []
        if len(given) != n or not set(given) <= set(labels):
            return Sample(None, f"no boxed list of {n} grades on offer", (), text)
        return Sample(np.array(given, dtype=np.float64), None, (), text)
    principles: tuple[tuple[str, float], ...] = ()
    plain = text
    if how == "json":
        try:
            said = json.loads(text[text.find("{") : text.rfind("}") + 1])
        except (ValueError, RecursionError):
            said = None
        if isinstance(said, dict) and {"principles", "critique", "grades", "verdict_code"} == set(said):
            principles = _principles(said["principles"])
            if not principles:
                return Sample(None, "no principles before the grades", (), text)
            # read as any verdict on a list is: code, numbers and grades are checked there
            last = {"grades": said["grades"], "verdict_code": said["verdict_code"]}
            plain = json.dumps({"rationale": "", **last}) if list(said)[-1] == "verdict_code" else ""
        else:
            return Sample(None, "no verdict", (), text)
    read = read_list(plain, code, n, "grades", labels)
    grades_ = None if read.grades is None else np.array(read.grades)
    return Sample(grades_, read.trouble, principles, text)


def _principles(given: Any) -> tuple[tuple[str, float], ...]:
    if not isinstance(given, list):
        return ()
    out = []
    for one in given:
        text, weight = (one.get("principle"), one.get("weight")) if isinstance(one, Mapping) else (None, None)
        if isinstance(text, str) and text.strip() and isinstance(weight, int | float) and not isinstance(weight, bool):
            out.append((text, float(weight)))
    return tuple(out)


def grades_schema(labels: Sequence[str]) -> Mapping[str, Any]:
    """JSON schema of one reply: principles before the critique, the critique before the grades, the code last."""
    listed = templates.list_schema("grades", labels)["properties"]
    one = {
        "type": "object",
        "properties": {"principle": {"type": "string"}, "weight": {"type": "number"}},
        "required": ["principle", "weight"],
        "additionalProperties": False,
    }
    properties = {
        "principles": {"type": "array", "items": one, "minItems": 1},
        "critique": {"type": "string"},
        "grades": listed["grades"],
        "verdict_code": {"type": "string"},
    }
    return {
        "title": "judgement",
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }

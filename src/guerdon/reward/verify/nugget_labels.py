"""Labels of facts: reading them from replies in ten formats, and the reward that a verifier is trained with.

A label is read as a whole word: ``support`` is also part of ``not_support``. Nothing is evaluated, nothing is cut to
length, and a list with anything but labels in it is none.

Reference: Ma et al. 2025, Search-Gen-V, https://arxiv.org/abs/2510.14660.
"""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LABELS: tuple[str, ...] = ("support", "partial_support", "not_support")
FORMATS = {
    "json": 'a JSON object {"labels": ["support", ...]}',
    "csv": "one line, the labels separated by commas",
    "python_list": "a Python list of strings",
    "yaml": "a YAML list, a line each, beginning with '- '",
    "markdown": "a Markdown list, a line each, beginning with '* '",
    "xml": "<labels><label>support</label>...</labels>",
    "tsv": "one line, the labels separated by tabs",
    "numbered": "a numbered list, a line each: '1. support'",
    "comma_separated": "one line, the labels separated by a comma and a space",
    "pipe_separated": "one line, the labels separated by ' | '",
}
"""How labels may be written, and how that is asked for."""


def read_labels(text: str, format: str | None = None) -> list[str] | None:
    """The labels of a reply, in order; None where it is no list of labels (in ``format``, or in any)."""
    text = text.strip()
    for name in (format,) if format else READERS:
        found = READERS[name](text)
        if found and all(label in LABELS for label in found):
            return found
    return None


def macro_f1(said: Sequence[str], true: Sequence[str]) -> float:
    """Mean over the three labels of 2 tp / (2 tp + fp + fn); 1 for a label that neither list has."""
    if len(said) != len(true):
        raise ValueError(f"{len(said)} labels against {len(true)}")
    scores = []
    for label in LABELS:
        tp = sum(s == t == label for s, t in zip(said, true, strict=True))
        either = sum(s == label for s in said) + sum(t == label for t in true)
        scores.append(2 * tp / either if either else 1.0)
    return sum(scores) / len(scores)


@dataclass(frozen=True)
class LabelReward:
    """What a verifier's output is worth in training, and its parts.

    total = 0.35 f1 + 0.35 exact + 0.20 reasoning + 0.10 format; 0 where the number of labels is wrong or f1 is 0; a
    tenth of it where ``<reasoning>`` opens more than once.
    """

    f1: float
    exact: float
    reasoning: float
    format: float
    factor: float = 1.0

    @property
    def total(self) -> float:
        """In [0, 1]."""
        if not self.f1:
            return 0.0
        parts = 0.35 * self.f1 + 0.35 * self.exact + 0.20 * self.reasoning + 0.10 * self.format
        return self.factor * parts


def label_reward(output: str, true: Sequence[str], format: str | None = None) -> LabelReward:
    """The reward of an output, ``<reasoning>...</reasoning>`` and then labels, against the ``true`` labels.

    format   the one of ``FORMATS`` that was asked for; None was none, which earns nothing
    """
    opened, closed = output.count("<reasoning>"), output.count("</reasoning>")
    tail = output.rpartition("</reasoning>")[2].strip() if closed else output.strip()
    said = read_labels(tail)
    if said is None or len(said) != len(true):
        return LabelReward(0.0, 0.0, 0.0, 0.0)
    inside = re.search(r"<reasoning>(.*?)</reasoning>", output, re.S)
    reasoning = 0.0
    if opened == closed == 1 and inside:
        reasoning = 1.0 if inside[1].strip() else 0.5
    kept = format is not None and read_labels(tail, format) is not None
    factor = 0.1 if opened > 1 else 1.0
    return LabelReward(macro_f1(said, true), float(said == list(true)), reasoning, float(kept), factor)


# ------------------------------------------------------------------ the formats


def _from_json(text: str) -> list[str]:
    fenced = re.fullmatch(r"```(?:json)?\s*\n(.*?)```", text, re.S)
    try:
        found: Any = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return []
    found = found.get("labels") if isinstance(found, Mapping) else found
    return [x.strip() if isinstance(x, str) else "" for x in found] if isinstance(found, list) else []


def _from_python(text: str) -> list[str]:
    if not (text.startswith("[") and text.endswith("]")):
        return []
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return [x.strip() if isinstance(x, str) else "" for x in found] if isinstance(found, list) else []


def _from_xml(text: str) -> list[str]:
    whole = re.fullmatch(r"<labels>\s*((?:<label>[^<]*</label>\s*)+)</labels>", text)
    return [x.strip() for x in re.findall(r"<label>([^<]*)</label>", whole[1])] if whole else []


def _lines(mark: str) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        found = [re.fullmatch(rf"\s*{mark}\s*(\w+)\s*", line) for line in text.splitlines() if line.strip()]
        return [m[1] for m in found if m] if all(found) else []

    return read


def _split(by: str) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        lines = text.splitlines()
        return [x.strip() for x in next(csv.reader(lines, delimiter=by))] if len(lines) == 1 else []

    return read


READERS: dict[str, Callable[[str], list[str]]] = {
    "json": _from_json,
    "python_list": _from_python,
    "xml": _from_xml,
    "yaml": _lines("-"),
    "markdown": _lines(r"\*"),
    "numbered": _lines(r"\d+[.)]"),
    "csv": _split(","),
    "comma_separated": _split(","),
    "tsv": _split("\t"),
    "pipe_separated": _split("|"),
}

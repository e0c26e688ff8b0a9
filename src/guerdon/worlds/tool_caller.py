"""A caller of tools that goes by keywords: answers with mistakes of its own, not planted ones.

It takes the function whose description shares most words with the request and fills each parameter with what looks like
its type: numbers, quotations, names in capitals, dates, addresses, words of the enumeration. It hardly knows which
number belongs to which parameter, takes optional parameters by chance, and often takes two wishes for one. What it
answers is a text in one of several spellings, as different models have them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.feedback.messages import Text
from guerdon.feedback.tool_calls import Call, Tool, conversation_in, schema_of, tools_in

_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class KeywordCaller:
    """``noise``: how far from its best guess it answers; ``takes``: chance that it fills an optional parameter."""

    noise: float = 0.5
    takes: float = 0.5

    def calls(self, prompt: Text, rng: np.random.Generator) -> list[Call]:
        """The calls that it makes; none where there is no catalogue."""
        tools, text = tools_in(prompt) or [], conversation_in(prompt)
        parts = re.split(r" and then |, and also ", text) if rng.random() < 0.5 else [text]
        return [self._call(tools, part, rng) for part in parts] if tools else []

    def answer(self, prompt: Text, rng: np.random.Generator) -> str:
        """The same as a text."""
        calls = self.calls(prompt, rng)
        spelling = int(rng.integers(3))
        if spelling == 0:
            return json.dumps(calls, indent=2, ensure_ascii=False)
        named = [{"name": n, "arguments": a} for c in calls for n, a in c.items()]
        if spelling == 1:
            return json.dumps(named, ensure_ascii=False)
        return "\n".join(f"<tool_call>\n{json.dumps(c, ensure_ascii=False)}\n</tool_call>" for c in named) or "[]"

    def _call(self, tools: list[Tool], text: str, rng: np.random.Generator) -> Call:
        said = set(_WORD.findall(text.lower()))
        shared = [len(said & set(_WORD.findall(str(t.get("description", "")).lower()))) for t in tools]
        chosen = tools[int(np.argmax(np.array(shared) + self.noise * rng.gumbel(size=len(tools))))]
        properties, needed = schema_of(chosen)
        given: dict[str, Any] = {}
        for key, about in properties.items():
            if key not in needed and rng.random() > self.takes:
                continue
            found = _candidates(text, about, key)
            if found:
                given[key] = found[min(len(found) - 1, int(rng.exponential(self.noise)))]
        return {str(chosen["name"]): given}


def _candidates(text: str, about: dict[str, Any], key: str) -> list[Any]:
    """What in a text could be the value of a parameter, in the order in which it stands."""
    kind = str(about.get("type", "string")).lower()
    described = str(about.get("description", ""))
    if kind.startswith("bool"):
        stems = {w[:5] for w in _WORD.findall(f"{key} {described}".lower()) if len(w) > 4}
        return [True] if stems & {w[:5] for w in _WORD.findall(text.lower())} else []
    numbers = [float(n) for n in re.findall(r"(?<![\w-])\d+(?:\.\d+)?(?![\w-])", text)]
    if kind in ("integer", "int"):
        return [int(n) for n in numbers if n == int(n)]
    if kind in ("number", "float"):
        return numbers
    dates, mails = re.findall(r"\d{4}-\d{2}-\d{2}", text), re.findall(r"[\w.]+@[\w.]+\w", text)
    quoted = re.findall(r"[\"']([^\"']+)[\"']", text)
    names = re.findall(r"(?<=[a-z,] )[A-Z][\w']*(?: [A-Z][\w']*)*", text)
    choices = [c for c in about.get("enum") or () if str(c).lower() in text.lower()]
    if about.get("enum"):
        return choices
    if "date" in described.lower() and dates:
        return dates
    if "mail" in described.lower() and mails:
        return mails
    found: list[Any] = quoted + names
    return [found[:2]] if kind in ("array", "list") and found else found

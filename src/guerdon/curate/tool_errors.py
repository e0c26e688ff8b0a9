"""Wrong tool calls made from right ones: eight named errors, each certain to be wrong by the matcher.

A corrupted answer counts only where :func:`guerdon.reward.verify.tool_match.matches`, which knows all admissible
values, refuses it.

References
----------
Agarwal et al. 2025. ToolRM: Outcome reward models for tool-calling LLMs. https://arxiv.org/abs/2509.11963 (the errors)
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from guerdon.feedback.tool_calls import Call, canonical
from guerdon.reward.verify.tool_match import Truth, gold_calls, matches

COUNTS = {
    "parameter value": 650,
    "function name": 403,
    "number of calls": 245,
    "missing optional": 78,
    "missing required": 45,
    "value type": 43,
    "unexpected parameter": 21,
    "parsing": 15,
}
"""Pairs of each error in the published benchmark of 1,500."""


def corrupt(
    error: str,
    truth: Truth,
    tools: Sequence[Mapping[str, Any]],
    rng: np.random.Generator,
) -> str | None:
    """A wrong answer (canonical text) with this one error, None where the calls do not allow it."""
    gold = gold_calls(truth)
    if error == "parsing":
        return _unparsable(canonical(gold), rng)
    tries = _TRIES[error](gold, tools, rng)
    for i in rng.permutation(len(tries)).tolist():
        if not matches(tries[i], truth):
            return canonical(tries[i])
    return None


def _schema(tools: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    return next((t.get("parameters", {}) for t in tools if t.get("name") == name), {})


def _edited(gold: list[Call], at: int, arguments: dict[str, Any]) -> list[Call]:
    calls = copy.deepcopy(gold)
    calls[at] = {next(iter(gold[at])): arguments}
    return calls


def _values(gold: list[Call], tools: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> list[list[Call]]:
    """Another value of the same type."""
    out = []
    for i, call in enumerate(gold):
        ((name, arguments),) = call.items()
        properties = _schema(tools, name).get("properties", {})
        pool = [v for c in gold for a in c.values() for v in a.values() if isinstance(v, str)]
        for key, value in arguments.items():
            enum = properties.get(key, {}).get("enum") or properties.get(key, {}).get("items", {}).get("enum") or []
            out += [_edited(gold, i, {**arguments, key: other}) for other in _others(value, enum, pool, rng)]
    return out


def _others(value: Any, enum: Sequence[Any], pool: Sequence[str], rng: np.random.Generator) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value * 10, value - 1, -value] if value else [1]
    if isinstance(value, str):
        words = value.split()
        shorter = [" ".join(words[:-1]), " ".join(words[1:])] if len(words) > 1 else []
        digits = [re.sub(r"\d", lambda m: str((int(m[0]) + 1) % 10), value, count=1)]
        swapped = [o for o in (enum or pool) if o != value]
        every = swapped if enum else [*shorter, *digits, *swapped]
        return [o for o in every if isinstance(o, str) and o.strip() and o != value]
    if isinstance(value, list) and value:
        moved = [*value[1:], value[0]]
        inner = [[*value[:-1], other] for other in _others(value[-1], enum, pool, rng)]
        return [value[:-1], moved, *inner] if len(value) > 1 else inner
    if isinstance(value, dict):
        return [{**value, k: other} for k, v in value.items() for other in _others(v, (), pool, rng)]
    return []


def _names(gold: list[Call], tools: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> list[list[Call]]:
    """Another function of the catalogue, or where there is one only, a name that is nearly right."""
    out = []
    for i, call in enumerate(gold):
        ((name, arguments),) = call.items()
        others = [t["name"] for t in tools if t["name"] != name] or _near(name)
        out += [[*gold[:i], {other: dict(arguments)}, *gold[i + 1 :]] for other in others]
    return copy.deepcopy(out)


def _near(name: str) -> list[str]:
    parts = re.split(r"[._]", name)
    near = [".".join(parts), "_".join(parts), parts[0] + "".join(p.capitalize() for p in parts[1:])]
    near += ["_".join(parts[1:]), "_".join(parts[:-1])] if len(parts) > 1 else [f"get_{name}", f"{name}s"]
    return sorted({n for n in near if n and n != name})


def _numbers(gold: list[Call], tools: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> list[list[Call]]:
    """A call is left out or too many; of one call none is left, or it is made twice; of none there is one."""
    if not gold:
        return [[_invented(t)] for t in tools]
    if len(gold) > 1:
        return [[*gold[:i], *gold[i + 1 :]] for i in range(len(gold))] + [[*gold, gold[0]]]
    extra = [[*gold, {t["name"]: {}}] for t in tools if t["name"] not in gold[0]]
    return copy.deepcopy([[], [*gold, *gold], *extra])


EXAMPLES: dict[str, Any] = {"integer": 1, "number": 1.0, "float": 1.0, "boolean": True, "array": [], "dict": {}}


def _invented(tool: Mapping[str, Any]) -> Call:
    """A call with the required parameters alone, of the right types."""
    schema = tool.get("parameters", {})
    about = schema.get("properties", {})
    given = {}
    for key in schema.get("required", []):
        known = about.get(key, {})
        given[key] = (known.get("enum") or [EXAMPLES.get(str(known.get("type")), "default")])[0]
    return {tool["name"]: given}


def _left_out(gold: list[Call], tools: Sequence[Mapping[str, Any]], required: bool) -> list[list[Call]]:
    out = []
    for i, call in enumerate(gold):
        ((name, arguments),) = call.items()
        wanted = _schema(tools, name).get("required", [])
        for key in arguments:
            if (key in wanted) == required:
                out.append(_edited(gold, i, {k: v for k, v in arguments.items() if k != key}))
    return out


def _types(gold: list[Call], tools: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> list[list[Call]]:
    """The right value in the wrong type."""
    out = []
    for i, call in enumerate(gold):
        ((_, arguments),) = call.items()
        for key, value in arguments.items():
            others = [value] if isinstance(value, str) else [json.dumps(value, ensure_ascii=False)]
            others = [[value]] if isinstance(value, str) else others
            if isinstance(value, list) and len(value) == 1:
                others.append(value[0])
            out += [_edited(gold, i, {**arguments, key: other}) for other in others]
    return out


def _unexpected(gold: list[Call], tools: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> list[list[Call]]:
    """A parameter that the function does not have: another function's, or a plausible one."""
    out = []
    for i, call in enumerate(gold):
        ((name, arguments),) = call.items()
        known = _schema(tools, name).get("properties", {})
        foreign = [k for t in tools if t["name"] != name for k in t.get("parameters", {}).get("properties", {})]
        for key in [*foreign, "limit", "format", "verbose", "language"]:
            if key not in known:
                value = True if key == "verbose" else 10 if key == "limit" else "default"
                out.append(_edited(gold, i, {**arguments, key: value}))
    return out


def _unparsable(text: str, rng: np.random.Generator) -> str:
    """The right calls in a text that no JSON parser reads."""
    broken = (text[:-1], text[1:], text.replace('": ', '" = ', 1), text.replace('"', "", 1))
    unread = [b for b in broken if not _reads(b)]
    return unread[int(rng.integers(len(unread)))]


def _reads(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


_TRIES = {
    "parameter value": _values,
    "function name": _names,
    "number of calls": _numbers,
    "missing optional": lambda gold, tools, rng: _left_out(gold, tools, False),
    "missing required": lambda gold, tools, rng: _left_out(gold, tools, True),
    "value type": _types,
    "unexpected parameter": _unexpected,
}

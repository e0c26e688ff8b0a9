"""Whether tool calls are right by a ground truth that knows every admissible value.

A gold answer is a list of calls ``{function: {parameter: [admissible values]}}`` as the Berkeley function-calling
leaderboard (BFCL) publishes it; ``""`` among the values says that the parameter may be left out. Texts are compared
without case, spaces and punctuation, types strictly, calls in any order.

References
----------
Patil et al. 2025. The Berkeley Function Calling Leaderboard. https://openreview.net/forum?id=2GmDdhBdDk
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from guerdon.feedback.tool_calls import Call

Truth = Sequence[Mapping[str, Mapping[str, Sequence[Any]]]]


def admitting(calls: Sequence[Call]) -> list[dict[str, dict[str, list[Any]]]]:
    """The truth that admits exactly these calls."""
    return [{name: {k: [v] for k, v in given.items()} for name, given in call.items()} for call in calls]


def gold_calls(truth: Truth) -> list[Call]:
    """The first admissible value of every parameter; one that may only be left out is left out."""
    out: list[Call] = []
    for call in truth:
        ((name, arguments),) = call.items()
        out.append({name: {k: _first(v) for k, v in arguments.items() if any(a != "" for a in v)}})
    return out


def _first(values: Sequence[Any]) -> Any:
    value = next(v for v in values if v != "")
    return _plain(value)


def _plain(value: Any) -> Any:
    """A nested gold value, whose keys hold lists of alternatives, as a plain one."""
    if isinstance(value, dict):
        return {k: _plain(next((a for a in v if a != ""), "")) if isinstance(v, list) else v for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) if isinstance(v, dict) else v for v in value]
    return value


def _same(value: Any, admitted: Any) -> bool:
    """Whether a value is the admitted one; texts without case, spaces and punctuation, types strictly."""
    if isinstance(value, bool) or isinstance(admitted, bool):
        return value is admitted
    if isinstance(value, int | float) and isinstance(admitted, int | float):
        return value == admitted
    if isinstance(value, str) and isinstance(admitted, str):
        return _letters(value) == _letters(admitted)
    if isinstance(value, list) and isinstance(admitted, list):
        return len(value) == len(admitted) and all(map(_same, value, admitted))
    if isinstance(value, dict) and isinstance(admitted, dict):
        if not set(value) <= set(admitted):
            return False
        for key, choices in admitted.items():
            choices = choices if isinstance(choices, list) else [choices]
            if key not in value and "" not in choices:
                return False
            if key in value and not (any(_same(value[key], c) for c in choices) or _same(value[key], choices)):
                return False
        return True
    return False


def _letters(text: str) -> str:
    return re.sub(r"[ ,./\-_*^]", "", text).lower().replace("'", '"')


def matches(calls: Sequence[Call], truth: Truth) -> bool:
    """Whether ``calls`` are right by ``truth``: each gold call by another call, in any order (augmenting paths)."""
    if len(calls) != len(truth):
        return False
    fits = [[_call_fits(call, gold) for call in calls] for gold in truth]
    taken: dict[int, int] = {}

    def place(gold: int, seen: set[int]) -> bool:
        for j, good in enumerate(fits[gold]):
            if good and j not in seen:
                seen.add(j)
                if j not in taken or place(taken[j], seen):
                    taken[j] = gold
                    return True
        return False

    return all(place(i, set()) for i in range(len(truth)))


def _call_fits(call: Call, gold: Mapping[str, Mapping[str, Sequence[Any]]]) -> bool:
    ((name, arguments),) = call.items()
    ((wanted, choices),) = gold.items()
    if name != wanted or not set(arguments) <= set(choices):
        return False
    return all(
        any(_same(arguments[k], a) for a in values) if k in arguments else "" in values for k, values in choices.items()
    )

"""Tool calls as texts: catalogues of functions, conversations about them, and answers that are lists of calls.

A *call* is ``{function: {parameter: value}}``. An answer is read in any of these spellings and told in one
(:func:`canonical`):

    [{"f": {"x": 1}}]                                         one-key objects (BFCL)
    [{"name": "f", "arguments": {"x": 1}}]                    or ``parameters``; arguments may be JSON in a string
    <tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>    tags, one or several objects within (Hermes, ToolRL)
    {"role": "assistant", "tool_calls": [...]}                the messages of the OpenAI format

A *tool* is ``{"name", "description", "parameters": {"properties": {name: {"type", "description", ...}},
"required": [...]}}``, read from JSON in the prompt, with or without OpenAI's ``{"type": "function",
"function": ...}`` around it, or from the numbered ``Name: / Description: / Parameters:`` lines of ToolRL and API-Bank.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from guerdon.errors import FeedbackError
from guerdon.feedback.messages import Message, Text, as_text

Call = dict[str, dict[str, Any]]
"""``{function: {parameter: value}}``, one function."""
Tool = dict[str, Any]

ASKED = "Answer with a JSON list of calls of these functions:\n"
_TAG = re.compile(r"<tool_call>(.*?)</tool_call>", re.S)
_LISTED = re.compile(r"^\d+\. Name: (.+)\nDescription: (.*)\nParameters: (\{.*\})\s*$", re.M)


def canonical(calls: Any) -> str:
    """One spelling of calls: keys sorted, one spacing; a text that is no JSON stays as it is, stripped.

    Spacing and the order of keys would otherwise give away who wrote a call.
    """
    if isinstance(calls, str):
        try:
            calls = json.loads(calls)
        except json.JSONDecodeError:
            return calls.strip()
    return json.dumps(calls, sort_keys=True, ensure_ascii=False, separators=(", ", ": "))


def calls_in(response: Text) -> list[Call] | None:
    """The calls that a response makes, ``[]`` where it is an empty list, None where it is no list of calls."""
    if not isinstance(response, str):
        asked = [call for message in response for call in message.get("tool_calls") or ()]
        return _calls(asked) if asked else calls_in(as_text(response))
    tagged = _TAG.findall(response)
    if tagged:
        found: list[Any] = []
        for part in tagged:
            read = _objects(part)
            if read is None:
                return None
            found += read
        return _calls(found)
    try:
        value = json.loads(response)
    except (json.JSONDecodeError, RecursionError):
        return None
    return _calls(value if isinstance(value, list) else [value])


def _objects(text: str) -> list[Any] | None:
    """JSON values one after the other, lists opened; None where something else is between them."""
    decoder, out, at = json.JSONDecoder(), [], 0
    text = text.strip()
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError):
            return None
        out += value if isinstance(value, list) else [value]
        at += len(text[at:]) - len(text[at:].lstrip())
    return out


def _calls(values: Sequence[Any]) -> list[Call] | None:
    calls = [_call(value) for value in values]
    return None if any(call is None for call in calls) else [call for call in calls if call is not None]


def _call(value: Any) -> Call | None:
    if not isinstance(value, Mapping):
        return None
    if isinstance(value.get("function"), Mapping):
        value = value["function"]
    if isinstance(value.get("name"), str):
        given = value.get("arguments", value.get("parameters", {}))
        if isinstance(given, str):  # OpenAI's arguments are JSON in a string
            try:
                given = json.loads(given)
            except (json.JSONDecodeError, RecursionError):
                return None
        return {value["name"]: dict(given)} if isinstance(given, Mapping) else None
    if len(value) != 1:
        return None
    ((name, given),) = value.items()
    return {str(name): dict(given)} if isinstance(given, Mapping) else None


def as_prompt(tools: Any, conversation: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The catalogue as a system message, whole, then the conversation."""
    return [
        {"role": "system", "content": f"{ASKED}{canonical(tools)}"},
        *({"role": str(m["role"]), "content": str(m["content"])} for m in conversation),
    ]


def tools_in(prompt: Text) -> list[Tool] | None:
    """The catalogue of a prompt, None where there is none that can be read."""
    for text in _places(prompt):
        found = _listed(text) or _json_tools(text)
        if found:
            return found
    return None


def conversation_in(prompt: Text) -> str:
    """What was said: the prompt without the message, or the part of the text, that holds the catalogue."""
    if isinstance(prompt, str):
        at = catalogue_at(prompt)
        return prompt if at is None else (prompt[: at[0]] + prompt[at[1] :]).strip()
    kept = [m for m in prompt if m.get("role") not in ("system", "developer")]
    return "\n".join(as_text([m]) for m in kept)


def rewritten(prompt: Text, tools: Sequence[Tool]) -> Text:
    """``prompt`` with another catalogue in the place of its own (as JSON).

    Raises
    ------
    FeedbackError
        if the prompt has no catalogue
    """
    if isinstance(prompt, str):
        text, done = _put(prompt, tools)
        if done:
            return text
    else:
        out = [dict(m) for m in prompt]
        for message in out:
            if message.get("role") in ("system", "developer") and isinstance(message.get("content"), str):
                message["content"], done = _put(message["content"], tools)
                if done:
                    return out
    raise FeedbackError(
        f"no catalogue of functions in the prompt {as_text(prompt)[:60]!r}; give it as a JSON list of {{name, "
        "description, parameters}} in the system message"
    )


def _put(text: str, tools: Sequence[Tool]) -> tuple[str, bool]:
    listed = list(_LISTED.finditer(text))
    at = (listed[0].start(), listed[-1].end()) if listed else catalogue_at(text)
    if at is None:
        return text, False
    return text[: at[0]] + canonical(list(tools)) + text[at[1] :], True


def _places(prompt: Text) -> list[str]:
    if isinstance(prompt, str):
        return [prompt]
    return [as_text([m]) for m in prompt if m.get("role") in ("system", "developer")]


def _listed(text: str) -> list[Tool]:
    out = []
    for name, description, written in _LISTED.findall(text):
        try:
            properties = json.loads(written)
        except json.JSONDecodeError:
            try:
                properties = ast.literal_eval(written)
            except (ValueError, SyntaxError):
                continue
        if not isinstance(properties, dict):
            continue
        needed = [k for k, v in properties.items() if not (isinstance(v, dict) and v.get("default") not in (None, ""))]
        schema = {"type": "dict", "properties": properties, "required": needed}
        out.append({"name": name.strip(), "description": description.strip(), "parameters": schema})
    return out


def _json_tools(text: str) -> list[Tool]:
    at = catalogue_at(text)
    if at is None:
        return []
    values = json.loads(text[at[0] : at[1]])
    return [_unwrapped(v) for v in values]


def catalogue_at(text: str) -> tuple[int, int] | None:
    """Where the first JSON list of functions is in ``text``: [start, end); None where there is none."""
    decoder, at = json.JSONDecoder(), text.find("[")
    while at >= 0:
        if re.match(r"\[\s*\{", text[at : at + 100]):
            try:
                value, end = decoder.raw_decode(text, at)
            except (json.JSONDecodeError, RecursionError):
                value, end = None, at
            if isinstance(value, list) and value and all(_is_tool(v) for v in value):
                return at, end
        at = text.find("[", at + 1)
    return None


def _is_tool(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    inner = _unwrapped(value)
    return (
        isinstance(inner.get("name"), str)
        and isinstance(inner.get("parameters", {}), dict)
        and ("parameters" in inner or "description" in inner)
    )


def _unwrapped(value: Tool) -> Tool:
    inner = value.get("function")
    return inner if isinstance(inner, dict) else value


def schema_of(tool: Tool) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """(properties by parameter name, names of the required ones) of a function."""
    parameters = tool.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    properties = parameters.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    needed = parameters.get("required")
    named = {str(k): v if isinstance(v, dict) else {} for k, v in properties.items()}
    return named, [str(n) for n in needed] if isinstance(needed, list) else []


def fitted(prompt: Text, used: set[str], most: int) -> tuple[Text, int]:
    """(``prompt`` in at most ``most`` characters, how many functions were left out of its catalogue).

    Functions that are not in ``used`` go first, the last of the catalogue before the others; those in ``used`` stay
    whole, as a call cannot be judged without its schema.

    Raises
    ------
    FeedbackError
        if the functions that are used and the conversation do not fit
    """
    if len(as_text(prompt)) <= most:
        return prompt, 0
    tools = tools_in(prompt) or []
    kept, short = list(tools), prompt
    for tool in reversed(tools):
        if tool.get("name") in used:
            continue
        kept.remove(tool)
        short = rewritten(prompt, kept) if kept else prompt
        if kept and len(as_text(short)) <= most:
            return short, len(tools) - len(kept)
    names = ", ".join(sorted(used & {str(t.get("name")) for t in tools})) or "the conversation"
    raise FeedbackError(
        f"a prompt of {len(as_text(prompt)):,} characters does not fit in context={most:,} with the schema of {names}, "
        "which a call in it uses; use a larger context"
    )

"""Names of functions and parameters replaced by random strings, against rewards that remember names.

One table of names holds for a whole example: its catalogue, what is said in the conversation (where it quotes a name as
a word of its own), the right and the wrong calls. Descriptions stay, but for names they quote. The functions of the
catalogue and the keys of its schemas come in another order.

A name that is an everyday word ("date", "city") is replaced in the conversation only where it is quoted as a name: in
backquotes or quotation marks, or written as no word is (with an underscore, a dot or a capital inside).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from guerdon.feedback.messages import Text
from guerdon.feedback.tool_calls import Call, Tool, calls_in, canonical, catalogue_at, rewritten, schema_of, tools_in

LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SPELLED = re.compile(r"[_.\d]|[a-z][A-Z]")


def new_names(
    tools: Sequence[Tool],
    rng: np.random.Generator,
    functions: Sequence[str] = (),
    parameters: Sequence[str] = (),
) -> tuple[dict[str, str], dict[str, str]]:
    """(new names of functions, new names of parameters), all different, none of them an old one.

    Beside those of ``tools``, names that only answers use (``functions``, ``parameters``) get one too: an old name
    among new ones would tell that it is wrong. A parameter name that several functions share gets one new name.
    """
    functions = [*(str(t.get("name")) for t in tools), *functions]
    parameters = [*(p for t in tools for p in schema_of(t)[0]), *parameters]
    taken = set(functions) | set(parameters)

    def drawn() -> str:
        while True:
            name = "".join(LETTERS[i] for i in rng.integers(len(LETTERS), size=int(rng.integers(5, 10))))
            if name not in taken:
                taken.add(name)
                return name

    return {f: drawn() for f in dict.fromkeys(functions)}, {p: drawn() for p in dict.fromkeys(parameters)}


def obfuscated(prompt: Text, responses: Sequence[Text], rng: np.random.Generator) -> tuple[Text, list[Text]] | None:
    """(prompt, responses) with new names everywhere; None where the prompt has no catalogue.

    A response that is no list of calls keeps its text, with the names replaced where they stand as words.
    """
    tools = tools_in(prompt)
    if not tools:
        return None
    answers = [calls_in(r) for r in responses]
    invented = {name for calls in answers for call in calls or () for name in call}
    added = {key for calls in answers for call in calls or () for given in call.values() for key in given}
    functions, parameters = new_names(tools, rng, sorted(invented), sorted(added))
    renamed = [_tool(t, functions, parameters, rng) for t in tools]
    shown = [renamed[i] for i in rng.permutation(len(renamed)).tolist()]
    catalogue = _unsorted(rewritten(prompt, shown), shown)
    told = _said(catalogue, {**parameters, **functions})
    new = [_answer(r, calls, functions, parameters) for r, calls in zip(responses, answers, strict=True)]
    return told, new


def _unsorted(prompt: Text, tools: list[Tool]) -> Text:
    """``prompt``, whose catalogue is spelled canonically, with the keys of its schemas in the order of ``tools``."""
    plain = canonical(tools)
    written = json.dumps(tools, ensure_ascii=False, separators=(", ", ": "))
    if isinstance(prompt, str):
        return prompt.replace(plain, written)
    return [
        {**m, "content": m["content"].replace(plain, written)} if isinstance(m.get("content"), str) else m
        for m in prompt
    ]


def _tool(tool: Tool, functions: dict[str, str], parameters: dict[str, str], rng: np.random.Generator) -> Tool:
    properties, needed = schema_of(tool)
    keys = list(properties)
    schema = {
        "type": "dict",
        "properties": {parameters[keys[i]]: properties[keys[i]] for i in rng.permutation(len(keys)).tolist()},
        "required": [parameters.get(n, n) for n in needed],
    }
    new: Tool = {"name": functions[str(tool["name"])], "parameters": schema}
    if "description" in tool:
        new["description"] = _quoted(str(tool["description"]), {**parameters, **functions})
    order = list(new)
    return {order[i]: new[order[i]] for i in rng.permutation(len(order)).tolist()}


def _said(prompt: Text, table: dict[str, str]) -> Text:
    """The messages that hold no catalogue, with names quoted anew."""
    if isinstance(prompt, str):
        start, end = catalogue_at(prompt) or (0, 0)
        return _quoted(prompt[:start], table) + prompt[start:end] + _quoted(prompt[end:], table)
    out = []
    for message in prompt:
        if message.get("role") not in ("system", "developer") and isinstance(message.get("content"), str):
            message = {**message, "content": _quoted(message["content"], table)}
        out.append(message)
    return out


def _quoted(text: str, table: dict[str, str]) -> str:
    for name, new in sorted(table.items(), key=lambda pair: -len(pair[0])):
        escaped = re.escape(name)
        if _SPELLED.search(name):
            text = re.sub(rf"(?<![\w.]){escaped}(?![\w])", new, text)
        else:
            text = re.sub(rf"(?<=[`'\"]){escaped}(?=[`'\"])", new, text)
    return text


def _answer(response: Text, calls: list[Call] | None, functions: dict[str, str], parameters: dict[str, str]) -> Text:
    if calls is not None:
        return canonical([_renamed(call, functions, parameters) for call in calls])
    if isinstance(response, str):
        for name, new in {**parameters, **functions}.items():
            response = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.])", new, response)
    return response


def _renamed(call: Call, functions: dict[str, str], parameters: dict[str, str]) -> Call:
    ((name, given),) = call.items()
    new: dict[str, Any] = {parameters.get(k, k): v for k, v in given.items()}
    return {functions.get(name, name): new}

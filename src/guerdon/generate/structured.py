"""JSON of a schema from servers that differ in what they can enforce: found out once, with a fallback to plain text.

In this order: ``json_schema`` (OpenAI, vLLM, SGLang, llama.cpp), ``guided_json`` (older vLLM), ``json_object`` (any
JSON), ``text``. A server that rejects a way is asked in the next. So is one that accepts it and then writes no JSON:
it ignores the field. Ways that do not enforce the schema write it into the prompt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from guerdon.feedback.messages import Message

WAYS = ("json_schema", "guided_json", "json_object", "text")


def fields(way: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """What a request carries to get JSON of ``schema`` in this way."""
    if way == "json_schema":
        name = str(schema.get("title") or "reply")
        name = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:64]
        return {"response_format": {"type": "json_schema", "json_schema": {"name": name, "schema": dict(schema)}}}
    if way == "guided_json":
        return {"guided_json": dict(schema)}
    return {"response_format": {"type": "json_object"}} if way == "json_object" else {}


def messages(way: str, schema: Mapping[str, Any], given: list[Message]) -> list[Message]:
    """The messages, with the schema written after the last one where the server does not enforce it."""
    if way in ("json_schema", "guided_json"):
        return given
    ask = (
        "Reply with one JSON object and nothing else. It must match this JSON schema:\n"
        + json.dumps(schema, ensure_ascii=False)
    )  # fmt: skip
    last = given[-1] if given else {}
    if last.get("role") == "user" and isinstance(last.get("content"), str):  # templates may refuse two in a row
        return [*given[:-1], {**last, "content": f"{last['content']}\n\n{ask}"}]
    if last.get("role") == "user" and isinstance(last.get("content"), list):
        return [*given[:-1], {**last, "content": [*last["content"], {"type": "text", "text": ask}]}]
    return [*given, {"role": "user", "content": ask}]


def is_json(text: str) -> bool:
    """Whether a text is JSON from beginning to end, as a server that enforces it writes."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True

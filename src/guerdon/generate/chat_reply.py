"""A raw chat/completions reply as a :class:`Reply`: pure functions of bytes, so that re-reading a cache is free.

Raise ``VERSION`` when the same bytes are read differently; raw replies are cached, so nothing has to be asked again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from guerdon.generate.base import Reply, TokenLogprobs

VERSION = 1
OPENINGS = 200
"""Brackets from the end of a reply at which JSON is looked for: a reply of nothing but brackets must not take hours."""


class Malformed(ValueError):
    """These bytes are not a chat completion; the message says in what way."""


def split(raw: bytes, wanted: int) -> tuple[list[bytes], tuple[int, int] | None]:
    """(one raw reply a choice, (prompt, completion) tokens or None where the server did not count them).

    A body with one choice is kept as it came. Of several choices each gets a body of its own; the tokens of the prompt
    go to the first and those of the completion are shared out, so that sums are right.
    """
    body = load(raw)
    usage = _usage(body)
    choices = body["choices"][:wanted]
    if len(choices) == 1 and len(body["choices"]) == 1:
        return [raw], usage
    head = {k: v for k, v in body.items() if k not in ("choices", "usage")}
    parts = []
    for i, choice in enumerate(choices):
        part = {**head, "choices": [choice]}
        if usage is not None:
            share = usage[1] // len(choices) + (i < usage[1] % len(choices))
            part["usage"] = {"prompt_tokens": usage[0] if i == 0 else 0, "completion_tokens": share}
        parts.append(json.dumps(part, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))
    return parts, usage


def load(raw: bytes) -> dict[str, Any]:
    """The body of a reply with at least one choice that has a message; :class:`Malformed` otherwise."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Malformed("malformed JSON") from error
    if not isinstance(body, dict):
        raise Malformed("malformed reply: not an object")
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise Malformed("malformed reply: no choices")
    for choice in choices:
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict) or not isinstance(message.get("content"), str | list | None):
            raise Malformed("malformed reply: a choice without a message")
    return body


def read(raw: bytes, *, schema: Mapping[str, Any] | None = None, logprobs: bool = False, cached: bool = False) -> Reply:
    """The reply of a body with one choice, as :func:`split` gives it."""
    body = load(raw)
    choice = body["choices"][0]
    message = choice["message"]
    finish = choice.get("finish_reason")
    finish = finish if isinstance(finish, str) else None
    usage = _usage(body) or (0, 0)
    text = _text(message.get("content"))
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    calls = message.get("tool_calls") or None
    common: dict[str, Any] = {
        "finish": finish,
        "reasoning": reasoning if isinstance(reasoning, str) else None,
        "tool_calls": calls if isinstance(calls, list) else None,
        "prompt_tokens": usage[0],
        "completion_tokens": usage[1],
        "cached": cached,
    }
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        return Reply("refused", text or refusal, "the model refused", **common)
    if finish == "content_filter":
        return Reply("refused", text or None, "the server's content filter", **common)
    given, reason = None, None
    if logprobs:
        given = _logprobs(choice.get("logprobs"), text)
        if given is None:
            reason = "no log-probabilities in the reply"
        elif not given.complete:
            reason = "the log-probabilities do not cover the whole text"
    parsed = None
    if schema is not None:
        parsed, wrong = parse_json(text, schema)
        if wrong:
            reason = f"{wrong} (cut at max_tokens)" if finish == "length" else wrong
    return Reply("answered", text, reason, parsed=parsed, logprobs=given, **common)


def parse_json(text: str, schema: Mapping[str, Any]) -> tuple[Any, str | None]:
    """(value, None), or (None, what is wrong) of a text that should be JSON of a schema.

    The whole text if it is JSON, else the last object or array in it that has the keys the schema requires: models
    that are not forced write their reasons first, quote the format, or put a code fence around it.
    """
    wants = list if schema.get("type") == "array" else dict
    required = set(schema.get("required") or ())

    def fits(value: Any) -> bool:
        return isinstance(value, wants) and (wants is list or required <= set(value))

    try:
        value = json.loads(text.strip())
        if fits(value) or schema.get("type") not in (None, "object", "array"):
            return value, None
        if isinstance(value, dict):
            return None, f"JSON without {', '.join(sorted(required - set(value)))}"
    except (ValueError, RecursionError):
        pass
    decoder, found, end = json.JSONDecoder(), None, 0
    starts = [i for i, c in enumerate(text) if c == ("[" if wants is list else "{")]
    for at in starts[-OPENINGS:]:
        if at < end:  # inside a value that was read
            continue
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            continue
        found = value if fits(value) else found
    return (found, None) if found is not None else (None, "no JSON of the schema in the reply")


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content or ""


def _usage(body: dict[str, Any]) -> tuple[int, int] | None:
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return None
    counts = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not all(isinstance(c, int) and not isinstance(c, bool) and c >= 0 for c in counts):
        return None
    return int(counts[0]), int(counts[1])  # type: ignore[arg-type]


def _logprobs(given: Any, text: str) -> TokenLogprobs | None:
    content = given.get("content") if isinstance(given, dict) else None
    if not isinstance(content, list) or not content:
        return None
    tokens, values, top = [], [], []
    for entry in content:
        if not isinstance(entry, dict) or not isinstance(entry.get("logprob"), int | float):
            break  # what comes after a hole cannot be placed in the text
        tokens.append(str(entry.get("token", "")))
        values.append(min(float(entry["logprob"]), 0.0))
        pairs = [e for e in entry.get("top_logprobs") or () if isinstance(e, dict) and "token" in e]
        alternatives: dict[str, float] = {}
        for e in pairs:
            value = e.get("logprob")
            if isinstance(value, int | float):
                alternatives.setdefault(str(e["token"]), min(float(value), 0.0))
        top.append(alternatives)
    if not tokens:
        return None
    # a token may be part of a character and then shows as something else: only the length in bytes is compared
    written = sum(len(e.get("bytes") or e.get("token", "").encode()) for e in content[: len(tokens)])
    return TokenLogprobs(tokens, np.array(values), top, complete=written >= len(text.encode("utf-8", "replace")))

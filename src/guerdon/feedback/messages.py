"""Prompts and responses as values, as stored strings, and as plain text.

A prompt or response is a ``str`` or a list of chat messages in the OpenAI format
(``[{"role": "user", "content": "hi"}, ...]``; content may be a list of parts, messages may carry ``tool_calls``).
Tables hold one string column for both: :func:`pack` turns a value into that string and :func:`unpack` back, without
loss. Plain text is stored as it is; everything else as JSON behind a marker no text file contains.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from guerdon.errors import FeedbackError

Message = dict[str, Any]
Text = str | list[Message]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
MARK = "\x1e"  # ASCII record separator
IMAGES = ("image_url", "input_image", "image")
"""Types of content parts that are images."""


def check_messages(messages: Any, where: str = "messages") -> list[Message]:
    """Return ``messages`` if it is a well-formed chat, raise :class:`FeedbackError` naming the message otherwise."""
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise FeedbackError(f"{where}: expected a list of messages, got {type(messages).__name__}")
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise FeedbackError(f"{where}[{i}]: expected an object with 'role' and 'content', got {message!r:.60}")
        role = message.get("role")
        if role not in ROLES:
            raise FeedbackError(f"{where}[{i}].role: unknown role {role!r}; use one of {', '.join(ROLES)}")
        content = message.get("content")
        if not (content is None and message.get("tool_calls")) and not isinstance(content, str | list):
            raise FeedbackError(f"{where}[{i}].content: expected text or a list of parts, got {content!r:.60}")
    return list(messages)


def pack(value: Text) -> str:
    """The stored string of a prompt or response; equal values give equal strings."""
    if isinstance(value, str):
        return value if not value.startswith(MARK) else MARK + json.dumps(value, ensure_ascii=False)
    return MARK + json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def unpack(stored: str) -> Text:
    """The value behind a stored string."""
    return json.loads(stored[1:]) if stored.startswith(MARK) else stored


def _content_text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = []
    for part in content:
        if not isinstance(part, Mapping):
            parts.append(str(part))
        elif part.get("type") in ("text", "input_text", "output_text"):
            parts.append(str(part.get("text", "")))
        else:
            kind = str(part.get("type", "part"))
            ref = part.get(kind)
            url = str(ref.get("url", "") if isinstance(ref, Mapping) else ref or "")
            parts.append(f"[{kind}: {url.partition(';base64,')[0]}]")  # the bytes of an image are no text
    return "\n".join(parts)


def image_of(part: Any) -> str | None:
    """Where the image of a content part is (a path, a URL or a data URL); "" if it does not say, None if it is none."""
    if not isinstance(part, Mapping) or part.get("type") not in IMAGES:
        return None
    for name in ("image_url", "image", "url", "path"):
        ref = part.get(name)
        ref = ref.get("url") if isinstance(ref, Mapping) else ref
        if isinstance(ref, str) and ref:
            return ref
    return ""


def as_pieces(value: Text) -> list[str | Message]:
    """The text of :func:`as_text` with the image parts themselves where it names them; texts and parts alternate."""
    if isinstance(value, str):
        return [value]
    out: list[str | Message] = []
    for i, message in enumerate(value):
        content = message.get("content")
        body: list[str | Message] = []
        if not isinstance(content, list):
            body.append(_content_text(content))
            content = []
        for j, part in enumerate(content):
            body += ["\n"] if j else []
            body.append(_content_text([part]) if image_of(part) is None else part)
        if message.get("tool_calls"):
            body += ["\n"] if any(body) else []
            body.append(json.dumps(message["tool_calls"], ensure_ascii=False, sort_keys=True))
        heading = f"{message.get('role', '')}: " if len(value) > 1 else ""
        out += ["\n\n" * bool(i) + heading, *body]
    joined: list[str | Message] = []
    for piece in out:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        elif piece:
            joined.append(piece)
    return joined


def as_text(value: Text) -> str:
    """Plain text of a prompt or response: what text encoders, length baselines and people read.

    A chat of one message is its content; longer chats are ``role: content`` paragraphs; tool calls are JSON.
    """
    if isinstance(value, str):
        return value
    lines = []
    for message in value:
        body = _content_text(message.get("content"))
        if message.get("tool_calls"):
            body = (body + "\n" if body else "") + json.dumps(message["tool_calls"], ensure_ascii=False, sort_keys=True)
        lines.append((message.get("role", ""), body))
    if len(lines) == 1:
        return lines[0][1]
    return "\n\n".join(f"{role}: {body}" for role, body in lines)


def as_messages(value: Text, role: str = "user") -> list[Message]:
    """Chat messages of a prompt (``role="user"``) or response (``role="assistant"``)."""
    return [{"role": role, "content": value}] if isinstance(value, str) else value

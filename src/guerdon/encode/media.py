"""Images, audio and video inside candidates: finding them, reading their bytes, and naming them by their content.

A medium is a content part of a message, ``{"type": "image_url", "image_url": {"url": ...}}`` (``audio_url``,
``video_url``), OpenAI's ``{"type": "input_audio", "input_audio": {"data": ..., "format": "wav"}}``, or transformers'
``{"type": "image", "image": PATH}``. It lies in a file or in the part itself as a data URL; nothing is fetched from the
network. Two files with the same bytes are one medium, wherever they lie: it is encoded once, and a file that changed
under its name is encoded anew.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit
from urllib.request import url2pathname

from guerdon.errors import FeedbackError
from guerdon.feedback.messages import Text, image_of

KINDS = ("image", "audio", "video")
MAX_BYTES = 64 * 2**20
"""The largest medium that is read: what is larger is hardly one answer of one model."""


@dataclass(frozen=True)
class Medium:
    """A medium where it stands: its ``kind``, its ``url`` (path, ``file:`` or ``data:`` URL), and ``where`` that is."""

    kind: str
    url: str
    where: str

    def __str__(self) -> str:
        long = self.url.startswith("data:") and len(self.url) > 80
        return f"{self.where}: {self.kind} {self.url[:40] + '...' if long else self.url or 'without a source'}"


def media_in(value: Text, where: str = "candidate") -> list[Medium]:
    """The media of a prompt or response, in order.

    Raises
    ------
    FeedbackError
        if a part says it is a medium and holds none
    """
    if isinstance(value, str):
        return []
    found = []
    for message in value:
        content = message.get("content")
        for part in content if isinstance(content, list) else []:
            kind = kind_of(part)
            if kind is not None:
                found.append(Medium(kind, _url(part, kind, where), where))
    return found


def words_of(value: Text) -> Text:
    """The same prompt or response without its media: what is left for a text encoder, file names not among it."""
    if isinstance(value, str):
        return value
    kept = []
    for message in value:
        content = message.get("content")
        if isinstance(content, list):
            content = "\n".join(_said(part) for part in content if kind_of(part) is None)
        kept.append({**message, "content": content})
    alone = len(kept) == 1 and not kept[0].get("tool_calls")
    return str(kept[0]["content"] or "") if alone else kept


def _said(part: Any) -> str:
    return str(part.get("text", "")) if isinstance(part, Mapping) else str(part)


def kind_of(part: Any) -> str | None:
    """Image, audio or video; None for text."""
    if not isinstance(part, Mapping):
        return None
    kind = str(part.get("type", "")).removeprefix("input_").removesuffix("_url")
    return kind if kind in KINDS else None


def _url(part: Mapping[str, Any], kind: str, where: str) -> str:
    if image := image_of(part):
        return image
    for name in (str(part["type"]), f"{kind}_url", kind, "url", "path"):
        held = part.get(name)
        if isinstance(held, Mapping):
            if isinstance(held.get("data"), str):
                return f"data:{kind}/{held.get('format', 'wav')};base64,{held['data']}"
            held = held.get("url") or held.get("path")
        if isinstance(held, str) and held:
            return held
    raise FeedbackError(f"{where}: a part of type {part['type']!r} names no {kind}; give its path or a data URL")


def read(medium: Medium, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a medium.

    Raises
    ------
    FeedbackError
        naming the candidate, if there is no such file, it is not on this machine, is empty or larger than ``limit``
    """
    if medium.url.startswith("data:"):
        data = _inline(medium)
    else:
        stat_of(medium, limit)
        try:
            data = path_of(medium).read_bytes()
        except OSError as error:
            raise _unreadable(medium, error) from None
    if not data:
        raise FeedbackError(f"{medium}: it is empty")
    if len(data) > limit:
        raise _too_large(medium, len(data), limit)
    return data


def stat_of(medium: Medium, limit: int = MAX_BYTES) -> os.stat_result:
    """What the system knows of a medium's file; raises as :func:`read` does, without reading it."""
    try:
        about = path_of(medium).stat()
    except (OSError, ValueError) as error:  # ValueError: a name no file system takes
        raise _unreadable(medium, error) from None
    if about.st_size > limit:
        raise _too_large(medium, about.st_size, limit)
    return about


def _unreadable(medium: Medium, error: Exception) -> FeedbackError:
    why = getattr(error, "strerror", None) or str(error)
    if isinstance(error, FileNotFoundError | ValueError):
        why = "no such file"
    return FeedbackError(f"{medium}: {why}; mend the path (relative ones begin where the program runs)")


def _too_large(medium: Medium, size: int, limit: int) -> FeedbackError:
    return FeedbackError(f"{medium}: {size / 2**20:.1f} MiB, at most {limit / 2**20:g} are read; make it smaller")


def _inline(medium: Medium) -> bytes:
    head, comma, body = medium.url.partition(",")
    try:
        if comma and head.endswith(";base64"):
            return base64.b64decode(unquote(body), validate=True)
        if comma:
            return unquote_to_bytes(body)
    except (binascii.Error, ValueError):
        pass
    raise FeedbackError(f"{medium}: not a data URL; expected data:{medium.kind}/...;base64,...")


def path_of(medium: Medium) -> Path:
    """Where a medium's file is; :class:`FeedbackError` where it is not on this machine."""
    parts = urlsplit(medium.url)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    if "://" in medium.url:
        raise FeedbackError(f"{medium}: not on this machine, and nothing is fetched; download it and give its path")
    return Path(medium.url).expanduser()


def content_key(data: bytes) -> str:
    """Names a medium by its bytes: equal where they are."""
    return blake2b(data, digest_size=16, person=b"guerdon-media").hexdigest()


@dataclass(frozen=True)
class Collected:
    """The distinct media of some texts.

    media   the distinct ones by content, and ``keys`` what names their content
    places  for each text, which of them it holds, in order
    """

    media: list[Medium]
    keys: list[str]
    places: list[list[int]]


def collect(texts: Iterator[list[Medium]]) -> Collected:
    """Each distinct medium once; a path is read once, whatever number of texts show it."""
    by_url: dict[tuple[str, str], int] = {}
    by_key: dict[str, int] = {}
    media: list[Medium] = []
    places = []
    for found in texts:
        held = []
        for medium in found:
            name = (medium.kind, medium.url)
            if name not in by_url:
                key = content_key(read(medium))
                by_url[name] = by_key.setdefault(key, len(media))
                if by_url[name] == len(media):
                    media.append(medium)
            held.append(by_url[name])
        places.append(held)
    return Collected(media, list(by_key), places)

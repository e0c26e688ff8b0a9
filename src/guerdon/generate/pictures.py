"""Images of messages: found, checked, known by their content, and written into requests.

An image is a path, a data URL or the address of a page (``http``, ``https``). The first two are read here, once, and
known by a hash of their bytes: two paths of one image are one image, and a file that changed is another. An address is
passed on as it is, for the server to fetch, and known by itself. Requests carry base64 data URLs; those made last are
kept, to 256 MiB, so that an image many prompts share is read and encoded once.
"""

from __future__ import annotations

import base64
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from weakref import WeakValueDictionary

from guerdon.encode import media
from guerdon.encode.media import Medium
from guerdon.errors import FeedbackError
from guerdon.feedback.messages import Message, Text, image_of

LIMIT = 20 * 2**20
"""Most bytes of an image."""
KEPT = 256 * 2**20
"""Characters of data URLs that are kept."""
WEB = ("http://", "https://")
MAGIC = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
NAMED = "image:"
"""Before the hash of an image in messages as the cache of replies knows them."""
IMAGE_TOKENS = 1500
"""Tokens that are set aside for an image: a photograph of 1,000 by 1,000 pixels takes 765 to 1,300."""


@dataclass(frozen=True)
class Picture:
    """One image.

    digest  32 hexadecimal digits of its bytes, or its address where it is on the web
    kind    media type by its first bytes, e.g. ``image/png``; "" on the web
    size    bytes; 0 on the web
    source  the path, data URL or address
    """

    digest: str
    kind: str
    size: int
    source: str

    @property
    def web(self) -> bool:
        """Whether the server is to fetch it."""
        return self.source.startswith(WEB)

    def read(self) -> bytes:
        """Its bytes, the same as when it was opened; :class:`FeedbackError` on the web or where the file changed."""
        if self.web:
            raise FeedbackError(f"image {self.source}: it is on the web, and is not fetched; give a file or a data URL")
        raw = media.read(Medium("image", self.source, "reading"), LIMIT)
        if _digest(raw) != self.digest:
            raise FeedbackError(f"image {self.source}: the file changed while it was in use; run again")
        return raw

    def url(self) -> str:
        """What a request carries: a data URL, or the address."""
        return self.source if self.source.startswith(("data:", *WEB)) else _encoded.of(self)


class _Encoded:
    """The data URLs made last, by content."""

    def __init__(self) -> None:
        self._lock, self._held = threading.Lock(), 0
        self._urls: OrderedDict[str, str] = OrderedDict()

    def of(self, picture: Picture) -> str:
        with self._lock:
            if picture.digest in self._urls:
                self._urls.move_to_end(picture.digest)
                return self._urls[picture.digest]
        url = _data_url(picture.kind, picture.read())
        with self._lock:
            if picture.digest not in self._urls:
                self._urls[picture.digest] = url
                self._held += len(url)
            while self._held > KEPT and len(self._urls) > 1:
                self._held -= len(self._urls.popitem(last=False)[1])
        return url


_encoded = _Encoded()
_open: WeakValueDictionary[tuple[str, str], Picture] = WeakValueDictionary()
_files: dict[tuple[str, int, int, int], tuple[str, str]] = {}
"""What is known of files: (path, size, time of change, inode) -> (digest, media type)."""


def open_picture(source: str, where: str = "image") -> Picture:
    """The image at a path, ``file:`` URL, data URL or web address.

    Raises
    ------
    FeedbackError
        naming ``where`` and the file, if it is missing, empty, too large, or no PNG, JPEG, GIF or WebP
    """
    if source.startswith(WEB):
        return Picture(source, "", 0, source)
    medium = Medium("image", source, where)
    if source.startswith("data:"):
        return _from_data(medium)
    about = media.stat_of(medium, LIMIT)
    stamp = (str(media.path_of(medium).resolve()), about.st_size, about.st_mtime_ns, about.st_ino)
    if stamp not in _files:
        raw = media.read(medium, LIMIT)
        _files[stamp] = _digest(raw), _kind(raw, medium)
    digest, kind = _files[stamp]
    return _known(Picture(digest, kind, about.st_size, source))


def check_file(source: str, where: str) -> None:
    """:class:`FeedbackError` as of :func:`open_picture` where an image is no good file, by its first bytes alone.

    Data URLs and web addresses pass.
    """
    if source.startswith(("data:", *WEB)):
        return
    medium = Medium("image", source, where)
    media.stat_of(medium, LIMIT)
    try:
        with media.path_of(medium).open("rb") as file:
            _kind(file.read(16), medium)
    except OSError as error:
        raise FeedbackError(f"{medium}: cannot be read ({error.strerror}); mend the path") from None


def _from_data(medium: Medium) -> Picture:
    raw = media.read(medium, LIMIT)
    kind = _kind(raw, medium)
    # one image is one request, whatever media type somebody wrote
    source = medium.url if medium.url.startswith(f"data:{kind};base64,") else _data_url(kind, raw)
    return _known(Picture(_digest(raw), kind, len(raw), source))


def _known(picture: Picture) -> Picture:
    """The object that stands for this image already, so that long data URLs are held once."""
    key = (picture.digest, "" if picture.source.startswith("data:") else picture.source)
    return _open.setdefault(key, picture)


def _kind(raw: bytes, which: Medium) -> str:
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        return "image/webp"
    for magic, kind in MAGIC:
        if raw.startswith(magic):
            return kind
    raise FeedbackError(f"{which}: {'empty' if not raw else 'no image'}; use PNG, JPEG, GIF or WebP")


def _digest(raw: bytes) -> str:
    return blake2b(raw, digest_size=16).hexdigest()


def _data_url(kind: str, raw: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(raw).decode('ascii')}"


def picture_part(picture: Picture) -> Message:
    """The content part of an image, in the OpenAI format."""
    return {"type": "image_url", "image_url": {"url": picture.source}}


# ---------------------------------------------------------------------------------------------- messages and requests


def named(messages: list[Message], where: str, into: dict[str, Picture]) -> list[Message]:
    """The messages with each image by the hash of its content (an address as it is); those images go ``into``.

    Messages without images are returned as they are.
    """
    if not any(image_of(p) is not None for m in messages for p in _parts(m)):
        return messages
    out = []
    for k, message in enumerate(messages):
        parts = list(_parts(message))
        for j, part in enumerate(parts):
            source = image_of(part)
            if source is None:
                continue
            picture = open_picture(source, f"{where}[{k}]")
            name = picture.source if picture.web else NAMED + picture.digest
            into |= {} if picture.web else {name: picture}
            given = part.get("image_url")
            detail = given.get("detail") if isinstance(given, Mapping) else part.get("detail")
            parts[j] = {"type": "image_url", "image_url": {"url": name} | ({"detail": detail} if detail else {})}
        out.append({**message, "content": parts} if parts else message)
    return out


def sent(messages: Sequence[Message], pictures: Mapping[str, Picture]) -> list[Message]:
    """The messages of :func:`named` as a request carries them."""
    if not pictures:
        return list(messages)
    return [{**m, "content": [_sent(p, pictures) for p in _parts(m)]} if _parts(m) else m for m in messages]


def _sent(part: Any, pictures: Mapping[str, Picture]) -> Any:
    picture = pictures.get(image_of(part) or "")
    return part if picture is None else {**part, "image_url": {**part["image_url"], "url": picture.url()}}


def images_in(messages: Text) -> list[str]:
    """Where the images of messages are, in order; a plain text has none."""
    chat = [] if isinstance(messages, str) else messages
    return [source for m in chat for part in _parts(m) if (source := image_of(part)) is not None]


def _parts(message: Message) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def png(pixels: Sequence[Sequence[tuple[int, int, int]]]) -> bytes:
    """A PNG of rows of (red, green, blue) pixels, 0 to 255, without further packages."""
    rows = b"".join(b"\0" + bytes(v for pixel in row for v in pixel) for row in pixels)
    size = struct.pack(">II", len(pixels[0]), len(pixels))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", size + b"\x08\x02\0\0\0")
    return MAGIC[0][0] + head + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")

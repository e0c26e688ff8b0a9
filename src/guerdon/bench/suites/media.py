"""Images, video and audio of benchmark records as parts of chat messages, and which rewards see them.

A published record holds a medium as bytes, as ``{"bytes", "path"}`` (how ``datasets`` stores it), as a path or as a
URL. It becomes a part in the OpenAI format, ``{"type": "image_url", "image_url": {"url": ...}}`` (``video_url`` and
``audio_url`` alike): bytes as a data URL, a path that exists beside the records as that file's, anything else as it is.

A reward says what it sees besides text by ``sees`` (``("image",)``); those that say nothing read text only.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from guerdon.errors import FeedbackError
from guerdon.feedback.messages import Message, unpack
from guerdon.feedback.star import Feedback
from guerdon.generate.pictures import check_file, images_in
from guerdon.reward.base import Reward

KINDS = {"image": "image/png", "video": "video/mp4", "audio": "audio/wav"}
"""What a part may be -> its media type where the bytes do not say."""
MAGIC = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
)
RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}


def part(kind: str, medium: Any, where: str, *, beside: Sequence[Path] = ()) -> Message:
    """The message part of a ``medium``; paths are looked for in the folders ``beside``.

    Raises
    ------
    FeedbackError
        naming ``where``, if there is none or it is of no such form
    """
    if isinstance(medium, Mapping):
        medium = medium.get("bytes") or medium.get("path")
    if isinstance(medium, bytes | bytearray) and medium:
        url = f"data:{_type(bytes(medium[:16]), kind)};base64,{base64.b64encode(medium).decode('ascii')}"
    elif isinstance(medium, str) and medium:
        url = _found(medium, beside)
    else:
        raise FeedbackError(f"{where}: no {kind}; expected bytes, a path or a URL")
    return {"type": f"{kind}_url", f"{kind}_url": {"url": url}}


def _found(path: str, beside: Sequence[Path]) -> str:
    if "://" in path or path.startswith("data:"):
        return path
    return next((str(folder / path) for folder in beside if (folder / path).is_file()), path)


def _type(head: bytes, kind: str) -> str:
    if head[:4] == b"RIFF":
        return RIFF.get(head[8:12], KINDS[kind])
    return next((name for magic, name in MAGIC if head.startswith(magic)), KINDS[kind])


def shown(feedback: Feedback) -> dict[str, int]:
    """Kind of medium -> in how many prompts or responses there is one."""
    out = {}
    for kind in KINDS:
        # the packed form of a part; quotes inside texts are escaped there, so that no text looks like one
        mark = f'"type":"{kind}_url"'
        n = sum(_holding(column, mark) for column in (feedback.prompts, feedback.responses))
        if n:
            out[kind] = n
    return out


def _holding(column: pa.LargeStringArray, text: str) -> int:
    return int(pc.call_function("match_substring", [column], pc.MatchSubstringOptions(text)).true_count)


def unseen(reward: Reward, feedback: Feedback) -> list[str]:
    """A caution where ``feedback`` has media that ``reward`` does not see; figures are then of its text alone.

    Raises
    ------
    FeedbackError
        naming item and file, if an image that the reward is to see is missing, no image or too large
    """
    if "image" in reward.sees:
        _check_images(feedback)
    missed = [f"{kind} of {n:,} texts" for kind, n in shown(feedback).items() if kind not in reward.sees]
    return [f"{reward.name} reads text only and saw no {', '.join(missed)}"] if missed else []


def _check_images(feedback: Feedback) -> None:
    judgement = np.repeat(np.arange(len(feedback)), np.diff(feedback.offsets))
    first = np.zeros(len(feedback.responses), dtype=np.int64)
    first[feedback.items[::-1]] = judgement[::-1]  # the first judgement of each candidate
    for i, j in enumerate(first.tolist()):
        name = feedback.id[j].as_py() if feedback.id is not None else None
        where = f"item {j + 1}" + (f" ({name})" if name else "")
        for packed in (feedback.prompts[int(feedback.prompt_of[i])], feedback.responses[i]):
            text = packed.as_py()
            for source in images_in(unpack(text)) if '_url"' in text else ():
                check_file(source, where)

"""Reading a verdict: only what was offered counts, only with the question's code, and the last one of several.

Judges quote what they judge. The code is in none of the texts, so a quoted "verdict" is none; in JSON the code comes
last and no key may come twice, so that a quote which breaks out of the rationale's string cannot put a verdict in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

OPENINGS = 200
"""Brackets from the beginning and from the end of a reply at which a verdict is looked for."""
KEYS = {"rationale", "verdict", "verdict_code"}


@dataclass(frozen=True)
class Read:
    """A reply as read: ``label`` None where there is no valid verdict, ``rationale`` the rest of it."""

    label: str | None
    rationale: str


def read_verdict(text: str, code: str, labels: Sequence[str]) -> Read:
    """The verdict of a reply, from JSON first and from a verdict line otherwise."""
    offered = {label.casefold(): label for label in labels}
    found = _from_json(text, code, offered)
    return found if found.label is not None else _from_line(text, code, offered)


def _from_line(text: str, code: str, offered: dict[str, str]) -> Read:
    pattern = re.compile(
        rf"^[ \t*_#`]*verdict[ \t]+{code}[ \t*_`]*:"
        r"[ \t*_`\"'\[(]*([A-Za-z0-9]+)[ \t*_`\"'\])]*\.?[ \t*_`]*$",
        re.I | re.M | re.A,
    )
    found = list(pattern.finditer(text))
    if not found or found[-1][1].casefold() not in offered:
        return Read(None, text)
    last = found[-1]
    return Read(offered[last[1].casefold()], text[: last.start()].strip())


def _from_json(text: str, code: str, offered: dict[str, str]) -> Read:
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
    for place in openings(text):
        try:
            found, _ = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            continue
        if (
            not isinstance(found, dict)
            or set(found) != KEYS
            or list(found)[-1] != "verdict_code"
            or found["verdict_code"] != code
        ):
            continue
        verdict = str(found["verdict"]).strip().casefold()
        if verdict in offered:
            return Read(offered[verdict], str(found["rationale"]))
    return Read(None, text)


def openings(text: str) -> list[int]:
    """Where an object may begin, the last place first."""
    places = [m.start() for m in re.finditer(r"\{", text)]
    if len(places) > 2 * OPENINGS:  # a quote full of brackets must not hide the verdict it stands in
        places = places[:OPENINGS] + places[-OPENINGS:]
    return places[::-1]


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; ValueError where a key comes twice."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)

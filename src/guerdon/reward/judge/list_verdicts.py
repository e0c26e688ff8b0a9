"""Reading a verdict on a list: grades and a ranking of responses 1 to n, every one of them exactly once.

As for single verdicts (:mod:`.verdicts`) only what carries the question's code counts, the code comes last, no key may
come twice and the last verdict of several is it. A reply that is almost JSON (quotes of the wrong kind, a comma too
many) is repaired where reading it as JSON fails, and only then, because repairing breaks what was right. A response
that is missing, unknown or named twice, and a grade that was not on offer, are no verdict: nothing is filled in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from guerdon.reward.judge.verdicts import openings, unique_keys

GIVE = ("both", "grades", "ranking")
LOOSE = 20
"""Brackets from the beginning and from the end of a reply at which it is read as almost JSON."""
ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True)
class ListVerdict:
    """A reply as read.

    grades     [n] the grade of each response, one of those on offer; None where none were asked for or read
    ranking    [n] responses, the best first, counted from 0; None likewise
    state      ``ok``, ``repaired`` (almost JSON) or ``rejected``
    trouble    why it is rejected
    rationale  what else was said
    """

    grades: list[float] | None
    ranking: list[int] | None
    state: str
    trouble: str | None
    rationale: str


class _Bad(ValueError):
    """Why a verdict does not count."""


def read_list(text: str, code: str, n: int, give: str, grades: Sequence[str]) -> ListVerdict:
    """The verdict of a reply on n responses.

    give    ``both``, ``grades`` or ``ranking``: what was asked for
    grades  those on offer
    """
    offered = {g.casefold(): float(g) for g in grades} if give != "ranking" else {}
    found, state = _object(text, code)
    rationale = text
    try:
        if found is None:
            rationale, graded, ranked = _line(text, code, give)
            state = "ok"
        else:
            wanted = {"rationale", "verdict_code", *(("grades",) if give != "ranking" else ())}
            wanted |= {"ranking"} if give != "grades" else set()
            if set(found) != wanted or list(found)[-1] != "verdict_code":
                raise _Bad(f"the verdict has the fields {', '.join(map(str, found))}")
            rationale, graded, ranked = str(found["rationale"]), found.get("grades"), found.get("ranking")
        return ListVerdict(
            None if give == "ranking" else _grades(graded, n, offered),
            None if give == "grades" else _ranking(ranked, n),
            state,
            None,
            rationale,
        )
    except _Bad as error:
        return ListVerdict(None, None, "rejected", str(error), rationale)


def _object(text: str, code: str) -> tuple[dict[str, Any] | None, str]:
    """The last object that carries the code, and whether it had to be repaired."""
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
    places = openings(text)
    for tried, place in enumerate(places):
        state = "ok"
        try:
            found, _ = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            if LOOSE <= tried < len(places) - LOOSE:
                continue
            try:
                found, state = _Loose(text, place).value(0), "repaired"
            except ValueError:
                continue
        if isinstance(found, dict) and found.get("verdict_code") == code:
            return found, state
    return None, "rejected"


def _line(text: str, code: str, give: str) -> tuple[str, Any, Any]:
    """``Verdict CODE: 2=5 > 1=3`` as (the rest, grades, ranking)."""
    pattern = re.compile(rf"^[ \t*_#`]*verdict[ \t]+{code}[ \t*_`]*:[ \t*_`]*([^\n]*?)[ \t*_`.]*$", re.I | re.M | re.A)
    matches = list(pattern.finditer(text))
    if not matches:
        raise _Bad("no verdict")
    last = matches[-1]
    pairs = [item.split("=") for item in re.split(r"[>,]", last[1])]
    if any(len(pair) != (1 if give == "ranking" else 2) for pair in pairs):
        raise _Bad("the verdict's line is not as asked for")
    ranked = [pair[0].strip() for pair in pairs]
    graded = None if give == "ranking" else [{"response": p[0].strip(), "grade": p[1].strip()} for p in pairs]
    return text[: last.start()].strip(), graded, ranked


def _name(given: Any, n: int) -> int:
    text = str(given).strip().casefold().removeprefix("response").strip()
    if isinstance(given, bool) or not re.fullmatch(r"[0-9]{1,6}", text, re.A) or not 1 <= int(text) <= n:
        raise _Bad(f"there is no response {given!s:.40}")
    return int(text) - 1


def _grades(given: Any, n: int, offered: dict[str, float]) -> list[float]:
    if isinstance(given, dict):
        pairs = list(given.items())
    elif isinstance(given, list) and all(isinstance(g, dict) and set(g) == {"response", "grade"} for g in given):
        pairs = [(g["response"], g["grade"]) for g in given]
    else:
        raise _Bad("the verdict has no grades")
    out: dict[int, float] = {}
    for name, grade in pairs:
        i = _name(name, n)
        if i in out:
            raise _Bad(f"response {i + 1} has two grades")
        whole = int(grade) if isinstance(grade, float) and grade.is_integer() else grade
        said = "" if isinstance(grade, bool) else str(whole).strip().casefold()
        if said not in offered:
            raise _Bad(f"response {i + 1} has a grade that is not on offer")
        out[i] = offered[said]
    if len(out) < n:
        raise _Bad(f"response {min(set(range(n)) - set(out)) + 1} has no grade")
    return [out[i] for i in range(n)]


def _ranking(given: Any, n: int) -> list[int]:
    if not isinstance(given, list):
        raise _Bad("the verdict has no ranking")
    out = [_name(name, n) for name in given]
    if len(set(out)) < len(out):
        raise _Bad("a response is ranked twice")
    if len(out) < n:
        raise _Bad(f"response {min(set(range(n)) - set(out)) + 1} is not ranked")
    return out


class _Loose:
    """A reader of what models write for JSON: either kind of quotes, unescaped ones inside, commas before a bracket.

    A quote ends a string where a comma, a colon or a closing bracket follows it, so that "it's" stays whole.
    """

    DEPTH = 20
    NUMBER = re.compile(r"-?\d{1,9}(?:\.\d{1,9})?", re.A)
    END = re.compile(r"\s*(?:[,:}\]]|\Z)")

    def __init__(self, text: str, at: int) -> None:
        self.text, self.at = text, at

    def peek(self) -> str:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.text[self.at : self.at + 1]

    def take(self, mark: str) -> None:
        if self.peek() != mark:
            raise ValueError(f"no {mark!r}")
        self.at += 1

    def value(self, depth: int) -> Any:
        mark = self.peek()
        if depth > self.DEPTH:
            raise ValueError("too deep")
        if mark and mark in "{[":
            return self.items(mark, depth)
        if mark and mark in "\"'":
            return self.string()
        number = self.NUMBER.match(self.text, self.at)
        if number is None:
            raise ValueError("no value")
        self.at = number.end()
        return float(number[0]) if "." in number[0] else int(number[0])

    def items(self, opening: str, depth: int) -> Any:
        closing = "}" if opening == "{" else "]"
        self.take(opening)
        found: list[Any] = []
        while self.peek() != closing:
            item = self.value(depth + 1)
            if opening == "{":
                self.take(":")
                item = (str(item), self.value(depth + 1))
            found.append(item)
            if self.peek() == ",":
                self.at += 1
            elif self.peek() != closing:
                raise ValueError("no comma")
        self.at += 1
        return unique_keys(found) if opening == "{" else found

    def string(self) -> str:
        quote, out = self.text[self.at], []
        self.at += 1
        while self.at < len(self.text):
            c = self.text[self.at]
            self.at += 1
            if c == "\\" and self.at < len(self.text):
                c = self.text[self.at]
                out.append(ESCAPES.get(c, c))
                self.at += 1
            elif c == quote and self.END.match(self.text, self.at):
                return "".join(out)
            else:
                out.append(c)
        raise ValueError("a string without an end")

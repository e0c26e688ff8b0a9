"""Rules on how a response is written: a pattern, tagged sections, a length, repetition, a JSON schema."""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Any

from guerdon.errors import ConfigError, need
from guerdon.reward.verify.rule import Question, Rule, Verdict, unusable


class Matches(Rule):
    """1 if ``pattern`` is found in the response, else 0.

    Parameters
    ----------
    pattern : a regular expression; null takes it from each row's column ``pattern``
    whole : the whole response must match, not a part of it
    ignore_case : letters match in either case
    negate : 1 where the pattern is not found
    """

    def __init__(
        self,
        *,
        pattern: str | None = None,
        whole: bool = False,
        ignore_case: bool = False,
        negate: bool = False,
    ) -> None:
        self.name = "regex"
        self.flags = re.S | (re.I if ignore_case else 0)
        self.whole, self.negate = whole, negate
        self.pattern = None if pattern is None else compiled(str(pattern), self.flags)

    def check(self, asked: Question) -> Verdict:
        """Search, or match the whole."""
        pattern = self.pattern
        if pattern is None:
            if asked.row.get("pattern") is None:
                return unusable("no pattern; give pattern= or a column 'pattern'")
            pattern = compiled(str(asked.row["pattern"]), self.flags)
        text = asked.response.strip() if self.whole else asked.response
        found = (pattern.fullmatch(text) if self.whole else pattern.search(text)) is not None
        return Verdict(float(found != self.negate))


def compiled(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """The regular expression; :class:`ConfigError` where it is none."""
    try:
        return re.compile(pattern, flags)
    except re.error as error:
        raise ConfigError(f"pattern {pattern!r} is no regular expression: {error}") from None


class Tags(Rule):
    """Share of the wanted sections that stand there, once, closed and in order (1 = as asked, and nothing outside).

    Parameters
    ----------
    tags : names in order, e.g. think,answer for <think>...</think><answer>...</answer>
    outside : whether text may stand outside the sections
    graded : false gives 1 only for a response that is as asked throughout
    """

    def __init__(self, *, tags: str | list[str] = "think,answer", outside: bool = False, graded: bool = False) -> None:
        self.name = "tags"
        self.tags = [t.strip() for t in tags.split(",")] if isinstance(tags, str) else list(tags)
        self.outside, self.graded = outside, graded
        if not self.tags or not all(re.fullmatch(r"[\w-]+", tag) for tag in self.tags):
            raise ConfigError(f"tags={tags!r}: give names such as think,answer")

    def check(self, asked: Question) -> Verdict:
        """Find each section behind the one before it."""
        position, good, problems, rest = 0, 0, [], asked.response
        for tag in self.tags:
            opened, closed = asked.response.count(f"<{tag}>"), asked.response.count(f"</{tag}>")
            found = re.compile(rf"<{tag}>(.*?)</{tag}>", re.S).search(asked.response, position)
            if opened != 1 or closed != 1:
                problems.append(f"<{tag}> stands there {opened} times, </{tag}> {closed} times")
            elif found is None:
                problems.append(f"<{tag}> is out of order")
            else:
                good, position = good + 1, found.end()
                rest = rest.replace(found.group(), "", 1)
        clean = self.outside or not rest.strip()
        if not clean and not problems:
            problems.append("text outside the sections")
        value = (good + clean) / (len(self.tags) + 1) if self.graded else float(not problems)
        return Verdict(value, "; ".join(problems) or None)


UNITS = ("words", "characters", "sentences", "lines")


class Within(Rule):
    """1 inside [low, high]; outside it falls to 0 in proportion, reaching it after ``slack`` of the bound.

    Parameters
    ----------
    low : least length
    high : most length; null is no bound
    unit : words, characters, sentences or lines
    slack : share of the bound over which the value falls to 0; 0 is all or nothing
    """

    def __init__(self, *, low: int = 0, high: int | None = None, unit: str = "words", slack: float = 0.25) -> None:
        if unit not in UNITS:
            raise ConfigError(f"unit={unit!r} is unknown; use one of {', '.join(UNITS)}")
        if low < 0 or (high is not None and high < low) or slack < 0:
            raise ConfigError(f"low={low}, high={high}, slack={slack}: need 0 <= low <= high and slack >= 0")
        self.name = "within"
        self.low, self.high, self.unit, self.slack = low, high, unit, slack

    def check(self, asked: Question) -> Verdict:
        """Count and compare."""
        n = count(asked.response, self.unit)
        high = n if self.high is None else self.high
        off, bound = (self.low - n, self.low) if n < self.low else (max(0, n - high), high)
        value = 1.0 if off <= 0 else max(0.0, 1 - off / (self.slack * max(bound, 1))) if self.slack else 0.0
        return Verdict(value, detail={"length": n})


def count(text: str, unit: str) -> int:
    """How many words, characters, sentences or (non-empty) lines."""
    if unit == "characters":
        return len(text)
    if unit == "lines":
        return sum(bool(line.strip()) for line in text.split("\n"))
    return len(sentences(text)) if unit == "sentences" else len(re.findall(r"\w+", text))


_ABBREVIATION = re.compile(
    r"\b(?:mr|mrs|ms|dr|prof|st|jr|sr|vs|etc|e\.g|i\.e|no|fig|approx|inc|ltd|co|u\.s|a\.m|p\.m|[a-z])\.$", re.I
)


def sentences(text: str) -> list[str]:
    """Sentences by end marks and paragraph breaks; abbreviations, initials and decimals do not end one."""
    out: list[str] = []
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*•]|\d+[.)])\s)", text):
        begin = 0
        for mark in re.finditer(r"[.!?]+[\"')\]]*(?=\s|$)", block):
            so_far = block[begin : mark.end()].strip()
            if mark.group().startswith(".") and _ABBREVIATION.search(so_far):
                continue
            out.append(so_far)
            begin = mark.end()
        if re.search(r"\w", block[begin:]):
            out.append(block[begin:].strip())
    return [s for s in out if re.search(r"\w", s)]


class Repetition(Rule):
    """Share of the response's n-grams of words that are new: 1 = says nothing twice, near 0 = one phrase over and over.

    Parameters
    ----------
    n : words of an n-gram
    """

    def __init__(self, *, n: int = 4) -> None:
        if not (isinstance(n, int) and n >= 1):
            raise ConfigError(f"n={n!r}: use a whole number >= 1")
        self.name = "repetition"
        self.n = n

    def check(self, asked: Question) -> Verdict:
        """Distinct n-grams / n-grams; texts too short to repeat anything get 1, empty ones are unscored."""
        words = re.findall(r"\w+", asked.response.casefold())
        if not words:
            return Verdict(None, "no words", "abstained")
        grams = list(zip(*(words[i:] for i in range(self.n)), strict=False))
        return Verdict(len(set(grams)) / len(grams) if grams else 1.0)


class JsonSchema(Rule):
    """1 if the response is JSON (bare, or in one fenced block) that fits the schema, else 0 with the first violation.

    Parameters
    ----------
    schema : a JSON schema; null takes it from each row's column ``schema`` or the reference, or asks for JSON only
    """

    def __init__(self, *, schema: dict[str, Any] | bool | None = None) -> None:
        self.name = "json"
        self.schema = schema
        if schema is not None:
            validator(schema)

    @cached_property
    def _own(self) -> Any:
        return None if self.schema is None else validator(self.schema)

    def check(self, asked: Question) -> Verdict:
        """Parse, then validate."""
        given = asked.row.get("schema", asked.reference)
        try:
            schema = json.loads(given) if isinstance(given, str) else given
        except ValueError:
            return unusable("the row's schema is no JSON")
        fenced = re.fullmatch(r"\s*```(?:json)?\s*\n(.*?)```\s*", asked.response, re.S | re.I)
        try:
            value = json.loads(fenced.group(1) if fenced else asked.response)
        except (ValueError, RecursionError) as error:
            return Verdict(0.0, f"no JSON: {error}")
        checker = self._own or (None if schema is None else validator(schema))
        problem = None if checker is None else next(iter(checker.iter_errors(value)), None)
        if problem is None:
            return Verdict(1.0)
        return Verdict(0.0, f"{problem.json_path}: {problem.message:.120}")


def validator(schema: Any) -> Any:
    """A validator of ``schema``; :class:`ConfigError` where that is no schema."""
    try:
        from jsonschema import Draft202012Validator, SchemaError
        from jsonschema.validators import validator_for
    except ImportError:
        raise need("jsonschema", "verify") from None
    cls: Any = validator_for(schema, default=Draft202012Validator)
    try:
        cls.check_schema(schema)
    except SchemaError as error:
        raise ConfigError(f"schema: {error.json_path}: {error.message:.120}") from None
    return cls(schema)

r"""Features of a list of tool calls relative to its catalogue and its conversation: none of them knows a name.

What a call says is compared with what the schema asks for and with what was said, so that a head fitted on some
functions reads others, and obfuscated names as well as real ones. Two kinds:

``SCHEMA``
    What a validator can check without reading the request: whether the answer parses, names are in the catalogue,
    required parameters are there, types and enumerations are kept. Five of the eight errors that
    :mod:`guerdon.curate.tool_errors` plants (parsing, unexpected parameter, missing required, value type, and names
    that no function has) are *mirrored* by these: on such pairs a high accuracy says that the features are right, and
    not that something was learned.
``READING``
    How the calls relate to the request: whether values were said, near words of the parameter's description and nearer
    than another parameter's would be; whether what was said is used; which function's description is nearest. Wrong
    values, another function of the catalogue, missing calls and optional parameters show here, more or less, and how
    much each counts has to be learned.

Words are compared by their first :data:`STEM` letters; numbers by value, small ones in words too ("three"). With
``text=ENCODER`` the descriptions of functions are compared with the request by an encoder's cosine as well, which knows
synonyms. ``spelling`` adds features of the answer's layout: ``canonical`` of the one spelling that all answers have in
common, ``raw`` of the text as it stands (a give-away where right and wrong answers come from different writers).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np

from guerdon.encode.features import SURFACE, surface_features
from guerdon.feedback.messages import Text, as_text, pack
from guerdon.feedback.schema import Candidates
from guerdon.feedback.tool_calls import Call, Tool, calls_in, canonical, conversation_in, schema_of, tools_in

VERSION = 1
"""Part of the fingerprint; raised when any feature changes its values."""

SCHEMA = (
    "no catalogue", "does not parse", "unknown functions", "unexpected parameters", "missing required parameters",
    "values of another type", "values outside the enumeration", "the same call twice",
)  # fmt: skip
READING = (
    "calls, log(1 + n)", "no call", "arguments, log(1 + n)", "optional parameters given",
    "values said, mean", "values said, least", "values not said", "values that break off a name",
    "near its description, mean", "near its description, least", "better placed under another parameter",
    "called function near the request", "nearest function not called", "called function is not the nearest",
    "numbers not used", "names and quotations not used", "words not used",
    "optional parameters spoken of and not given", "optional parameters given and not spoken of",
    "switches spoken of", "switches not spoken of", "defaults restated",
    "functions near the request and not called", "requests beyond the calls", "calls beyond the requests",
)  # fmt: skip
COSINES = ("called function, cosine with the request", "that less the nearest function's")

STEM = 5
"""Letters of a word that are compared."""
WINDOW = 4
"""Words before and after a value that are compared with its parameter's description."""
_SILENT = (
    "a an the of to in on for and or is are be it its this that with as by from at i you me my please could would like "
    "want need can have has will do does if any some which what whether how many much most"
)
STOP = frozenset(_SILENT.split())
_COUNTED = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
NUMBERS = {w: float(i) for i, w in enumerate(_COUNTED.split())} | {
    "twenty": 20.0,
    "thirty": 30.0,
    "forty": 40.0,
    "fifty": 50.0,
    "hundred": 100.0,
    "thousand": 1000.0,
}
TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda v: isinstance(v, str),
    "str": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "float": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "bool": lambda v: isinstance(v, bool),
    "array": lambda v: isinstance(v, list),
    "list": lambda v: isinstance(v, list),
    "tuple": lambda v: isinstance(v, list),
    "dict": lambda v: isinstance(v, dict),
    "object": lambda v: isinstance(v, dict),
}
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")


def words(text: str) -> list[str]:
    """Lower-case words and numbers of a text; names are taken apart (``getUser_id``: get, user, id)."""
    apart = re.sub(r"([a-z\d])([A-Z])", r"\1 \2", text)
    return [w.lower() for w in _WORD.findall(apart)]


def stems(text: str) -> list[str]:
    """Words cut to their first letters, without those that say nothing."""
    return [w if w[0].isdigit() else w[:STEM] for w in words(text) if w not in STOP]


def number(word: str) -> float | None:
    """The number that a word is, None where it is none."""
    if word in NUMBERS:
        return NUMBERS[word]
    try:
        return float(word.replace(",", ""))
    except ValueError:
        return None


@dataclass(frozen=True)
class Request:
    """A prompt, read once for all the answers to it."""

    tools: list[Tool] | None
    text: str

    @classmethod
    def of(cls, prompt: Text) -> Request:
        """Read a prompt."""
        return cls(tools_in(prompt), conversation_in(prompt))

    @cached_property
    def words(self) -> list[str]:
        return words(self.text)

    @cached_property
    def stems(self) -> list[str]:
        """Aligned with ``words``."""
        return [w if w[0].isdigit() else w[:STEM] for w in self.words]

    @cached_property
    def numbers(self) -> list[tuple[int, float]]:
        """(place among the words, value)."""
        found = ((i, number(w)) for i, w in enumerate(self.words))
        return [(i, v) for i, v in found if v is not None]

    @cached_property
    def names(self) -> list[str]:
        """Quotations, and words in capitals inside a sentence with their neighbours: what values often are."""
        quoted = re.findall(r"[\"“'`]([^\"”'`\n]{1,60})[\"”'`](?!\w)", self.text)
        capitals = re.findall(r"(?<=[a-z0-9,;:] )[A-Z][\w'-]*(?: [A-Z][\w'-]*)*", self.text)
        return list(dict.fromkeys(" ".join(words(n)) for n in (*quoted, *capitals) if words(n) and n != "I"))

    @cached_property
    def by_name(self) -> dict[str, Tool]:
        return {str(t.get("name")): t for t in self.tools or ()}

    @cached_property
    def rarity(self) -> Callable[[str], float]:
        """How few functions of the catalogue a stem is about, in (0, 1]."""
        counts = Counter(s for t in self.tools or () for s in set(stems(_about(t))))
        return lambda stem: 1.0 / (1 + counts[stem]) ** 0.5

    @cached_property
    def nearness(self) -> dict[str, float]:
        """How much of each function's description was said, in [0, 1]; rare words count more."""
        said = set(self.stems)
        out = {}
        for name, tool in self.by_name.items():
            own = set(stems(f"{name} {tool.get('description', '')}"))
            weight = {s: self.rarity(s) for s in own}
            out[name] = sum(w for s, w in weight.items() if s in said) / max(sum(weight.values()), 1e-9)
        return out

    def spoken(self, parameter: str, about: dict[str, Any]) -> float:
        """How much of a parameter's name and description was said, in [0, 1]."""
        own = set(stems(f"{parameter} {about.get('description', '')}"))
        return len(own & set(self.stems)) / len(own) if own else 0.0

    def places(self, value: Any) -> list[tuple[int, int]]:
        """[start, end) among the words of every place where a value was said whole."""
        if isinstance(value, bool) or value is None:
            return []
        if isinstance(value, int | float):
            return [(i, i + 1) for i, v in self.numbers if v == value or v == 100 * value]
        wanted = words(str(value))
        n = len(wanted)
        if not n:
            return []
        found = [(i, i + n) for i in range(len(self.words) - n + 1) if self.words[i : i + n] == wanted]
        if not found and n == 1 and (v := number(wanted[0])) is not None:
            found = [(i, i + 1) for i, w in self.numbers if w == v]
        return found

    def said(self, value: Any) -> float:
        """How much of a value was said, in [0, 1]; 1 where it was said whole."""
        if isinstance(value, list | dict):
            inner = list(value.values()) if isinstance(value, dict) else value
            return float(np.mean([self.said(v) for v in inner])) if inner else 0.0
        if self.places(value):
            return 1.0
        wanted = stems(str(value)) if isinstance(value, str) else []
        return 0.8 * sum(s in set(self.stems) for s in wanted) / len(wanted) if wanted else 0.0

    def near(self, value: Any, stems_of: Sequence[str]) -> float:
        """How much of a description stands within ``WINDOW`` words of a value, the nearer the more; best place."""
        best = 0.0
        for start, end in self.places(value[0] if isinstance(value, list) and value else value):
            total = 0.0
            for stem in set(stems_of):
                gaps = [start - i for i in range(max(0, start - WINDOW), start) if self.stems[i] == stem]
                gaps += [i - end + 1 for i in range(end, min(len(self.stems), end + WINDOW)) if self.stems[i] == stem]
                total += 1 / min(gaps) if gaps else 0.0
            best = max(best, total)
        return best


def _about(tool: Tool) -> str:
    properties, _ = schema_of(tool)
    inner = " ".join(f"{k} {v.get('description', '')}" for k, v in properties.items())
    return f"{tool.get('name')} {tool.get('description', '')} {inner}"


def schema_features(request: Request, calls: list[Call] | None) -> list[float]:
    """The features :data:`SCHEMA` of an answer."""
    if request.tools is None or calls is None:
        return [float(request.tools is None), float(calls is None), *[0.0] * (len(SCHEMA) - 2)]
    unknown = unexpected = missing = types = outside = 0
    for call in calls:
        ((name, given),) = call.items()
        if name not in request.by_name:
            unknown += 1
            continue
        properties, needed = schema_of(request.by_name[name])
        missing += sum(n not in given for n in needed)
        for key, value in given.items():
            if key not in properties:
                unexpected += 1
                continue
            about = properties[key]
            types += not TYPES.get(str(about.get("type", "")).lower(), lambda v: True)(value)
            choices = about.get("enum") or (about.get("items") or {}).get("enum")
            values = value if isinstance(value, list) else [value]
            outside += bool(choices) and any(v not in choices for v in values)
    twice = len(calls) - len({canonical(c) for c in calls})
    return [0.0, 0.0, *(float(x) for x in (unknown, unexpected, missing, types, outside, twice))]


def reading_features(request: Request, calls: list[Call] | None) -> list[float]:
    """The features :data:`READING` of an answer."""
    if request.tools is None or calls is None:
        return [0.0] * len(READING)
    given = [(name, key, value) for call in calls for name, inner in call.items() for key, value in inner.items()]
    known = [(*schema_of(request.by_name[n]), n) for call in calls for n in call if n in request.by_name]
    optional = sum(1 for n, k, _ in given if n in request.by_name and k not in schema_of(request.by_name[n])[1])
    plain = [(n, k, v) for n, k, v in given if not isinstance(v, bool)]
    said = [request.said(v) for _, _, v in plain] or [1.0]
    near, misplaced = _placed(request, plain)
    called = [n for call in calls for n in call]
    nearness = request.nearness
    best = max(nearness.values(), default=0.0)
    own = [nearness.get(n, 0.0) for n in called]
    rest = max((v for n, v in nearness.items() if n not in called), default=0.0)
    silent = [
        request.spoken(k, about)
        for properties, needed, n in known
        for k, about in properties.items()
        if k not in needed and not any(n in call and k in call[n] for call in calls)
    ]
    extra = [
        1 - request.spoken(k, schema_of(request.by_name[n])[0].get(k, {}))
        for n, k, _ in given
        if n in request.by_name and k not in schema_of(request.by_name[n])[1]
    ]
    switches = [
        (request.spoken(k, schema_of(request.by_name[n])[0].get(k, {})), v)
        for n, k, v in given
        if isinstance(v, bool) and n in request.by_name
    ]
    defaults = sum(
        schema_of(request.by_name[n])[0].get(k, {}).get("default", _NOTHING) == v
        for n, k, v in given
        if n in request.by_name
    )
    asks = _requests(request)
    return [
        math.log1p(len(calls)),
        float(not calls),
        math.log1p(len(given)),
        float(optional),
        float(np.mean(said)),
        min(said),
        float(sum(s < 0.999 for s in said)),
        float(sum(_breaks_off(request, v) for _, _, v in plain)),
        float(np.mean(near)) if near else 0.0,
        min(near, default=0.0),
        float(misplaced),
        float(np.mean(own)) if own else 0.0,
        rest - (min(own) if own else 0.0),
        float(sum(v < best - 1e-9 for v in own)),
        *_unused(request, [v for _, _, v in given], called),
        sum(silent) and max(silent),
        max(extra, default=0.0),
        max((s for s, v in switches if v), default=0.0),
        max((1 - s for s, v in switches if v), default=0.0) + max((s for s, v in switches if not v), default=0.0),
        float(defaults),
        float(sum(v > 0.6 * best for n, v in nearness.items() if n not in called)),
        float(max(0, asks - len(calls))),
        float(max(0, len(calls) - asks)),
    ]


_NOTHING = object()


def _placed(request: Request, given: Sequence[tuple[str, str, Any]]) -> tuple[list[float], int]:
    """(how near each value is to its description, how many stand nearer to another parameter's of the function)."""
    near, misplaced = [], 0
    for name, key, value in given:
        if name not in request.by_name:
            continue
        properties, _ = schema_of(request.by_name[name])
        own = request.near(value, stems(f"{key} {properties.get(key, {}).get('description', '')}"))
        kind = properties.get(key, {}).get("type")
        others = [
            request.near(value, stems(f"{k} {about.get('description', '')}"))
            for k, about in properties.items()
            if k != key and about.get("type") == kind
        ]
        near.append(own)
        misplaced += max(others, default=0.0) > own + 1e-9
    return near, misplaced


def _breaks_off(request: Request, value: Any) -> bool:
    """Whether a value is a part of a name or quotation and not the whole of it, nowhere said by itself."""
    if not isinstance(value, str):
        return False
    own = " ".join(words(value))
    whole = [n for n in request.names if re.search(rf"\b{re.escape(own)}\b", n)] if own else []
    return bool(whole) and own not in whole


def _unused(request: Request, values: Sequence[Any], called: Sequence[str]) -> tuple[float, float, float]:
    """(numbers, names and quotations, share of words) of the request that no argument and no schema takes up."""
    flat: list[Any] = []

    def open_up(value: Any) -> None:
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            open_up(inner)
        if not isinstance(value, dict | list):
            flat.append(value)

    for value in values:
        open_up(value)
    written = [w for v in flat if not isinstance(v, bool) for w in words(str(v))]
    used = {n for w in written if (n := number(w)) is not None}
    used |= {float(v) for v in flat if isinstance(v, int | float)}
    numbers = sum(v not in used and v / 100 not in used for v in {v for _, v in request.numbers})
    told = set(written)
    names = sum(not set(n.split()) <= told for n in request.names)
    about = {s for n in called if n in request.by_name for s in stems(_about(request.by_name[n]))}
    about |= {s for w in written for s in stems(w)}
    content = {s for s, w in zip(request.stems, request.words, strict=True) if w not in STOP}
    return float(numbers), float(names), len(content - about) / max(len(content), 1)


def _requests(request: Request) -> int:
    """A guess how many calls are asked for: parts joined by words that add one, at least one."""
    joins = re.findall(
        r"\b(?:and then|and also|also|then|as well as|additionally|after that)\b|;|\?(?=\s*\w)", request.text.lower()
    )
    return 1 + len(joins)


_ROWS: dict[bytes, np.ndarray] = {}
_MOST = 200_000
"""Rows kept in memory (some 30 MB): a fit, its scores and its variants read the same candidates again."""


def _row(key: bytes, request: Request, calls: list[Call] | None) -> np.ndarray:
    """float32 [f] features SCHEMA and READING of a candidate, computed once."""
    found = _ROWS.get(key)
    if found is None:
        if len(_ROWS) >= _MOST:
            _ROWS.clear()
        found = np.array(schema_features(request, calls) + reading_features(request, calls), np.float32)
        _ROWS[key] = found
    return found


class ToolEncoder:
    """An :class:`guerdon.encode.Encoder` of tool calls. Made by ``load_encoder("tools")``.

    text       an encoder of texts that compares descriptions with requests, or None
    parts      schema, reading or both: which features
    spelling   canonical, raw or none: of what text the layout is described
    """

    needs_catalogue = True
    """A candidate whose prompt has none cannot be told from others."""

    def __init__(self, *, spec: str, text: Any = None, parts: str = "both", spelling: str = "none") -> None:
        self.spec = spec
        self.text, self.parts, self.spelling = text, parts, spelling

    def __repr__(self) -> str:
        return f"<encoder {self.spec}>"

    @property
    def names(self) -> tuple[str, ...]:
        """What each feature is."""
        out = (*(SCHEMA if self.parts != "reading" else ()), *(READING if self.parts != "schema" else ()))
        out += COSINES if self.text is not None else ()
        return out + (tuple(f"layout: {s}" for s in SURFACE) if self.spelling != "none" else ())

    @property
    def dim(self) -> int:
        """The number of features."""
        return len(self.names)

    @property
    def fingerprint(self) -> str:
        """Names what computes the features."""
        inner = None if self.text is None else self.text.fingerprint
        said = json.dumps([VERSION, self.names, self.spelling, inner])
        return f"tools-{blake2b(said.encode(), digest_size=12).hexdigest()}"

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        """float32 [n, d] features of n candidates, in order."""
        requests: dict[str, Request] = {}
        asked, answers = [], []
        rows = np.zeros((len(candidates), len(SCHEMA) + len(READING)), np.float32)
        for i, (prompt, response) in enumerate(zip(candidates.prompts, candidates.responses, strict=True)):
            key = pack(prompt)
            if key not in requests:
                requests[key] = Request.of(prompt)
            request, calls = requests[key], calls_in(response)
            asked.append(request)
            answers.append(calls)
            rows[i] = _row(
                blake2b(f"{key}\0{pack(response)}".encode("utf-8", "replace"), digest_size=16).digest(), request, calls
            )
        out = rows[:, len(SCHEMA) * (self.parts == "reading") : None if self.parts != "schema" else len(SCHEMA)]
        if self.text is not None:
            out = np.hstack([out, self._cosines(asked, answers, progress)])
        if self.spelling != "none" and len(asked):
            texts = [as_text(r) for r in candidates.responses]
            if self.spelling == "canonical":
                texts = [t if c is None else canonical(c) for t, c in zip(texts, answers, strict=True)]
            out = np.hstack([out, surface_features(texts)])
        return np.ascontiguousarray(out.reshape(len(asked), self.dim), dtype=np.float32)

    def _cosines(self, asked: list[Request], answers: list[list[Call] | None], progress: bool) -> np.ndarray:
        """float32 [n, 2] cosines of the called functions with the request."""
        texts: dict[str, int] = {}
        for request in asked:
            for text in (request.text, *(_function_text(t) for t in request.tools or ())):
                texts.setdefault(text, len(texts))
        vectors = self.text.encode(Candidates(["" for _ in texts], list(texts)), progress=progress)
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        out = np.zeros((len(asked), 2), np.float32)
        for row, (request, calls) in enumerate(zip(asked, answers, strict=True)):
            if not request.tools or not calls:
                continue
            said = vectors[texts[request.text]]
            cosine = {n: float(vectors[texts[_function_text(t)]] @ said) for n, t in request.by_name.items()}
            own = [cosine.get(n, 0.0) for call in calls for n in call]
            out[row] = np.mean(own), min(own) - max(cosine.values())
        return out


def _function_text(tool: Tool) -> str:
    """What a function is for, without its name (which may be a random string)."""
    return str(tool.get("description") or tool.get("name"))

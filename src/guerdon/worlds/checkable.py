"""Requests whose good answers can be told by checking, and a language model that plans and writes the checks.

A request sets constraints on form (nine kinds of IFEval's, :data:`KINDS`), asks for a fact of a corpus, or neither.
Answers keep or break each constraint, state the fact or another value, and have a quality that a base reward sees and
checks do not. Two answers always state other incidental things, of which the corpus knows nothing, so that whoever
looks for differences finds some.

:class:`Checks` is the language model: it reads the questions of :mod:`guerdon.reward.judge.agent` as they are rendered
and is wrong in a share ``error`` of its replies, each time in a way of the step: a check too many or too few in a plan,
a constraint overlooked or thrown out, code that raises, differences overlooked, a query beside the point, random
grades. All it says depends on the question and the draw alone.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores
from guerdon.testing.scripted import Scripted

BODY = "def check_following(response):\n    import re\n    return "


@dataclass(frozen=True)
class Kind:
    """A constraint as a request says it, ``says`` with ``{}`` for its argument; how IFEval names it; how code does."""

    says: str
    instruction: str
    arguments: str
    code: str

    def kwargs(self, given: str) -> dict[str, Any]:
        """IFEval's arguments."""
        return json.loads(self.arguments.replace("{}", given)) if self.arguments else {}

    def find(self, text: str) -> list[str]:
        """The arguments of all constraints of this kind in a text ('' where it takes none)."""
        pattern = re.escape(self.says).replace(r"\{\}", r"([\w ]+?)")
        return [m[1] if m.re.groups else "" for m in re.finditer(pattern, text)]


KINDS: Mapping[str, Kind] = {
    "commas": Kind("Do not use any commas.", "punctuation:no_comma", "", "',' not in response"),
    "least": Kind(
        "Use at least {} words.",
        "length_constraints:number_words",
        '{"num_words": {}, "relation": "at least"}',
        "len(re.findall(r'\\w+', response)) >= {}",
    ),
    "fewer": Kind(
        "Use fewer than {} words.",
        "length_constraints:number_words",
        '{"num_words": {}, "relation": "less than"}',
        "len(re.findall(r'\\w+', response)) < {}",
    ),
    "word": Kind("Include the word '{}'.", "keywords:existence", '{"keywords": ["{}"]}', "'{}' in response.lower()"),
    "never": Kind(
        "Never use the word '{}'.",
        "keywords:forbidden_words",
        '{"forbidden_words": ["{}"]}',
        "not re.search(r'\\b{}\\b', response.lower())",
    ),
    "bullets": Kind(
        "Give exactly {} bullet points that begin with '* '.",
        "detectable_format:number_bullet_lists",
        '{"num_bullets": {}}',
        "len(re.findall(r'(?m)^\\* ', response)) == {}",
    ),
    "end": Kind(
        "End with the phrase '{}'.",
        "startend:end_checker",
        '{"end_phrase": "{}"}',
        "response.strip().strip('\"').lower().endswith('{}')",
    ),
    "quotes": Kind(
        "Put all of it in double quotation marks.",
        "startend:quotation",
        "",
        "len(response.strip()) > 1 and response.strip()[0] == response.strip()[-1] == '\"'",
    ),
    "postscript": Kind(
        "Add a postscript that begins with P.S.",
        "detectable_content:postscript",
        '{"postscript_marker": "P.S."}',
        "re.search(r'(?mi)p\\.\\s?s\\.', response) is not None",
    ),
}
WORDS = ("amber", "harbour", "lantern", "meadow", "copper", "winter", "orchard", "pebble", "thunder", "velvet")
PLAIN = ("day", "people", "quiet", "walked", "along", "the", "old", "road", "to", "see", "what", "was", "new", "there")
SUBJECTS = ("height", "age", "founder", "colour", "mayor")
SYLLABLES = ("vel", "mor", "ta", "rin", "ost", "kal", "ume", "dra", "pel", "sio", "nar", "eth")


@dataclass(frozen=True)
class Corpus:
    """Lines "The height of Velmora is 412." and a search over them by shared words."""

    lines: tuple[str, ...]

    @classmethod
    def drawn(cls, n: int, rng: random.Random) -> Corpus:
        """n facts, each of another name."""
        names: dict[str, None] = {}
        while len(names) < n:
            names["".join(rng.choice(SYLLABLES) for _ in range(3)).capitalize()] = None
        return cls(tuple(f"The {rng.choice(SUBJECTS)} of {name} is {rng.randint(100, 999)}." for name in names))

    def __call__(self, query: str, k: int) -> list[str]:
        """The k lines that share most words with the query, without those that share none but small words."""
        wanted = set(re.findall(r"\w{3,}", query.casefold())) - {"the", "what"}
        found = [(len(wanted & set(re.findall(r"\w{3,}", line.casefold()))), line) for line in self.lines]
        return [line for shared, line in sorted(found, key=lambda one: -one[0])[:k] if shared]


def argument(kind: str, rng: random.Random) -> str:
    """A number or a word where a kind takes one."""
    if "{}" not in KINDS[kind].says:
        return ""
    ranges = {"least": (30, 60), "fewer": (20, 40), "bullets": (2, 5)}
    return str(rng.randint(*ranges[kind])) if kind in ranges else rng.choice(WORDS)


def written(wanted: Mapping[str, str], kept: Mapping[str, bool], facts: Sequence[str], rng: random.Random) -> str:
    """An answer that keeps or breaks each of the constraints ``wanted`` (kind -> argument) and states ``facts``."""
    size = 28
    for kind, inside, outside in (("least", 8, -8), ("fewer", -12, 12)):
        if kind in wanted:
            size = int(wanted[kind]) + (inside if kept[kind] else outside)
    end = [f"P.S. {rng.choice(PLAIN)}."] if kept.get("postscript") else []
    end += [wanted["end"]] if kept.get("end") else []
    bullets = int(wanted.get("bullets", 0)) + (not kept.get("bullets", True))
    states = " ".join(facts)
    words = [rng.choice(PLAIN) for _ in range(max(size - len(f"{states} {' '.join(end)}".split()) - bullets, 3))]
    if kept.get("word"):
        words[0] = wanted["word"]
    if "never" in wanted and not kept["never"]:
        words[1] = wanted["never"]
    if "commas" in wanted and not kept["commas"]:
        words[2] += ","
    text = " ".join([*words, "."]).replace(" .", ".")
    lines = [text, *([states] if states else []), *(f"* {rng.choice(PLAIN)}" for _ in range(bullets)), *end]
    whole = "\n".join(lines)
    return f'"{whole}"' if kept.get("quotes") else whole


class Quality(Reward):
    """A base reward that knows the quality of texts it was told of, and nothing else of them."""

    name = "quality"
    reads = ()

    def __init__(self, known: Mapping[str, float]) -> None:
        self.known = known

    def score(self, candidates: Candidates) -> Scores:
        """The quality of each response."""
        return Scores([self.known[str(text)] for text in candidates.responses])  # type: ignore[arg-type]


BLOCK = re.compile(r"<<<begin (.+?) ([0-9a-f]{24})>>>\n(.*?)\n<<<end \1 \2>>>", re.S)
STATED = re.compile(r"The (\w+) of (\w+) is (\w+)\.")


class Checks(Scripted):
    """The language model of this world; ``error`` is the share of its replies that are wrong."""

    def __init__(self, error: float = 0.0, seed: int = 0) -> None:
        super().__init__(self._reply_to, f"checks-{error:g}-{seed}")
        self.error, self.dice_seed = error, seed

    def _reply_to(self, prompt: str, draw: int) -> str:
        blocks = [(m[1], m[3]) for m in BLOCK.finditer(prompt)]
        shown, body = dict(blocks), prompt[prompt.rfind("<<<end") :]
        key = f"{self.dice_seed}/{draw}/{prompt}".encode("utf-8", "surrogatepass")
        dice = random.Random(blake2b(key, digest_size=8).digest())
        wrong = dice.random() < self.error
        request = shown.get("request", "")
        code = (re.findall(r'"verdict_code", which is (\w+)', body) or [""])[-1]
        if '"checks", a list' in body:
            needs = {name for name, there in (("constraints", constraints(request)), ("facts", asks(request))) if there}
            needs ^= {dice.choice(("constraints", "facts"))} if wrong else set()
            return json.dumps({"reason": "by what the request says", "checks": sorted(needs)})
        if '"constraints", a list' in body:
            found = [] if wrong else constraints(request)
            return json.dumps({"constraints": [{"name": k.title(), "description": d} for k, _, d in found]})
        if '"answer", yes or no' in body:
            return json.dumps({"answer": "no" if wrong else "yes"})
        if "check_following" in body:
            return f"```python\n{coded(shown['constraint'], wrong)}\n```"
        if '"differences", a list' in body:
            said = [STATED.findall(shown[f"response {i}"]) for i in (1, 2)]
            apart = [] if wrong else [one for one in said[0] if one not in said[1]]
            texts = [f"Response 1 says that the {what} of {name} is {value}." for what, name, value in apart]
            return json.dumps({"differences": texts, "verdict_code": code})
        if '"queries", a list' in body:
            named = re.findall(r"the (\w+) of (\w+) is", shown["difference"])
            texts = ["What is known about it?"] if wrong else [f"What is the {w} of {name}?" for w, name in named]
            return json.dumps({"queries": texts, "verdict_code": code})
        if '"grades", a list' in body:
            known = STATED.findall("\n".join(text for name, text in blocks if name.startswith("evidence")))
            grades = [
                dice.randint(1, 10) if wrong else grade(STATED.findall(text), known)
                for name, text in blocks
                if name.startswith("response")
            ]
            listed = [{"response": i + 1, "grade": g} for i, g in enumerate(grades)]
            return json.dumps({"rationale": "by the evidence", "grades": listed, "verdict_code": code})
        return "I do not know."


def constraints(request: str) -> list[tuple[str, str, str]]:
    """(kind, argument, as it was said) of each constraint in a request."""
    return [(k, given, kind.says.replace("{}", given)) for k, kind in KINDS.items() for given in kind.find(request)]


def asks(request: str) -> bool:
    """Whether a request asks for a fact."""
    return "What is the" in request


def coded(constraint: str, wrong: bool = False) -> str:
    """Code that checks a constraint; where it is wrong, code that raises."""
    found = [KINDS[k].code.replace("{}", given) for k, given, _ in constraints(constraint)]
    return BODY + ("undefined_name > 0" if wrong or not found else found[0])


def grade(said: Sequence[tuple[str, ...]], known: Sequence[tuple[str, ...]]) -> int:
    """9 where the evidence bears a statement out, 2 where it contradicts one, 6 where it says nothing."""
    about = {one[:2]: one[2] for one in known}
    found = [about[one[0], one[1]] == one[2] for one in said if one[:2] in about]
    return 6 if not found else 9 if all(found) else 2

"""What a language model is asked for while a rubric is learned: propose criteria, revise them, put them in themes.

The texts of a pair are set apart as untrusted, as in every judge's question (:mod:`.templates`). Proposing and revising
show which response is better; judging by what was written never does (that is :class:`.pairwise.PairwiseJudge`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guerdon.feedback.messages import Message, Text, as_text
from guerdon.reward.judge import templates

PROPOSE = """\
Response {{ better }} was judged the better one.
Write {{ n }} {{ "criterion" if n == 1 else "criteria" }} by which it is better. A criterion is one sentence that says \
what a good response does. It holds for other requests as well: it names neither response and nothing that only this \
request is about."""

REVISE = """\
Response {{ better }} was judged the better one. Somebody who judged by these criteria alone did not find so:
{% for text in failed %}{{ loop.index }}. {{ text }}
{% endfor %}
Write {{ n }} better {{ "criterion" if n == 1 else "criteria" }}, by which response {{ better }} is the better one. A \
criterion is one sentence that says what a good response does. It holds for other requests as well: it names neither \
response and nothing that only this request is about."""

STRUCTURE = """\
These criteria of good responses were collected one by one:
{% for text in texts %}{{ loop.index }}. {{ text }}
{% endfor %}
Put them in at most {{ themes }} themes. Give each theme a name of a few words that says what a good response does, \
and tips: short instructions, each with the numbers of the criteria it comes from. Use every number once, add nothing \
of your own and leave nothing out."""

_SOURCES = {"type": "array", "items": {"type": "integer"}}
_TIP = {
    "type": "object",
    "properties": {"tip": {"type": "string"}, "from": _SOURCES},
    "required": ["tip", "from"],
    "additionalProperties": False,
}
_THEME = {
    "type": "object",
    "properties": {"theme": {"type": "string"}, "tips": {"type": "array", "items": _TIP}},
    "required": ["theme", "tips"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class LabelledPair:
    """One comparison. ``why``: what the person said about it; ``id`` names it in reports."""

    prompt: Text
    chosen: Text
    rejected: Text
    why: str | None = None
    id: str = ""


@dataclass(frozen=True)
class Tip:
    """An instruction and the numbers (from 0) of the criteria that it comes from."""

    text: str
    sources: tuple[int, ...]


@dataclass(frozen=True)
class Theme:
    """A named group of tips."""

    name: str
    tips: tuple[Tip, ...]

    @property
    def sources(self) -> tuple[int, ...]:
        """The criteria behind it, ascending."""
        return tuple(sorted({i for tip in self.tips for i in tip.sources}))

    @property
    def text(self) -> str:
        """As a judge reads it."""
        tips = "; ".join(tip.text.rstrip(". ") for tip in self.tips)
        return f"{self.name}: {tips}." if tips.casefold() != self.name.casefold() else f"{self.name}."


def ask_for_criteria(pair: LabelledPair, n: int, swapped: bool, failed: Sequence[str] = ()) -> list[Message]:
    """The request for ``n`` criteria that explain a pair, or for better ones than those that ``failed``.

    swapped   show the chosen response as B
    """
    shown = [("response A", pair.chosen), ("response B", pair.rejected)]
    if swapped:
        shown = [("response A", pair.rejected), ("response B", pair.chosen)]
    blocks = [("request", as_text(pair.prompt)), *((name, as_text(text)) for name, text in shown)]
    if pair.why:
        blocks.append(("what the person said", pair.why))
    values = {"better": "B" if swapped else "A", "n": n, "failed": [templates.harmless(t) for t in failed]}
    return _message(REVISE if failed else PROPOSE, blocks, values)


def criteria_schema(n: int) -> Mapping[str, Any]:
    """JSON schema of ``n`` criteria."""
    several = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": n}
    return _object("criteria", {"criteria": several})


def read_criteria(parsed: Any, n: int) -> list[str]:
    """At most ``n`` criteria of a reply, without empty and repeated ones; none where it has another form."""
    found = parsed.get("criteria") if isinstance(parsed, Mapping) else None
    texts = [" ".join(t.split()) for t in found if isinstance(t, str)] if isinstance(found, list) else []
    return list(dict.fromkeys(t for t in texts if t))[:n]


def ask_for_themes(texts: Sequence[str], themes: int) -> list[Message]:
    """The request to put criteria in themes."""
    return _message(STRUCTURE, [], {"texts": [templates.harmless(t) for t in texts], "themes": themes})


def themes_schema() -> Mapping[str, Any]:
    """JSON schema of themes with tips."""
    return _object("themes", {"themes": {"type": "array", "items": _THEME, "minItems": 1}})


def read_themes(parsed: Any, count: int) -> list[Theme] | None:
    """The themes of a reply about ``count`` criteria; None where it has another form.

    Numbers that are out of range or used before do not count, and tips without any number fall away. Criteria that no
    tip comes from are for the caller to place.
    """
    found = parsed.get("themes") if isinstance(parsed, Mapping) else None
    if not isinstance(found, list):
        return None
    used: set[int] = set()
    themes: list[Theme] = []
    for theme in found:
        if not (
            isinstance(theme, Mapping) and isinstance(theme.get("theme"), str) and isinstance(theme.get("tips"), list)
        ):
            return None
        tips = []
        for tip in theme["tips"]:
            if not (isinstance(tip, Mapping) and isinstance(tip.get("tip"), str) and isinstance(tip.get("from"), list)):
                return None
            whole = [i - 1 for i in tip["from"] if isinstance(i, int) and not isinstance(i, bool)]
            sources = tuple(i for i in dict.fromkeys(whole) if 0 <= i < count and i not in used)
            used |= set(sources)
            if sources and tip["tip"].strip():
                tips.append(Tip(" ".join(tip["tip"].split()), sources))
        if tips and theme["theme"].strip():
            themes.append(Theme(" ".join(theme["theme"].split()).rstrip(":."), tuple(tips)))
    return themes or None


def fingerprint() -> list[str]:
    """Changes when any request does."""
    return [templates.fingerprint(), PROPOSE, REVISE, STRUCTURE]


def _has(value: Any, text: str, several: str) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get(text), str) and isinstance(value.get(several), list)


def _message(template: str, blocks: Sequence[tuple[str, str]], values: Mapping[str, Any]) -> list[Message]:
    shown = [(name, templates.harmless(text)) for name, text in blocks]
    fence, _ = templates.codes([text for _, text in blocks], f"rubric/{template}")
    source = f"{templates.SYSTEM}\n\n{templates.SHOWN if blocks else ''}{template}"
    body = templates._compiled(source).render(fence=fence, blocks=shown, **values)
    return [{"role": "user", "content": body.strip()}]


def _object(title: str, properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "title": title,
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }

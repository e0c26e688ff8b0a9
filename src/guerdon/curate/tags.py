"""What a comparison is about, as a language model says: yes/no properties for routing, beside the textual ones.

The model reads the request and both responses and fills in a form of eight fields with fixed vocabularies: subjects of
expertise, needed expertise, languages, how open-ended, safety concern, complexity of intents, format constraints, and
material in the context. A field may have several values where that makes sense. What is not on the list is left out, a
field without a value says nothing, and a comparison whose form cannot be read has no tags and a reason.

Reference: Miranda et al. (2024), Hybrid Preferences, https://arxiv.org/abs/2410.19133 (the descriptive properties).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guerdon.feedback.messages import Message, Text, as_text
from guerdon.generate.base import LanguageModel
from guerdon.reward.judge import templates
from guerdon.reward.judge.asking import missing, total

FORM: dict[str, tuple[bool, tuple[str, ...]]] = {
    "subject of expertise": (
        True,
        (
            "arts and literature", "biology and medicine", "business and finance", "chemistry and materials",
            "computer science", "cooking and household", "earth and environment", "education", "engineering",
            "entertainment and sport", "geography and travel", "history", "languages", "law and politics",
            "mathematics", "philosophy and religion", "physics", "psychology", "social sciences", "everyday life",
        ),
    ),
    "needed expertise": (False, ("general public", "basic domain knowledge", "expert domain knowledge")),
    "language": (
        True,
        ("English", "Chinese", "Spanish", "French", "German", "Portuguese", "Russian", "Japanese", "other", "code"),
    ),
    "open-endedness": (False, ("closed", "low", "moderate", "high")),
    "safety concern": (False, ("safe", "low", "moderate", "high")),
    "complexity of intents": (False, ("simple", "moderate", "complex")),
    "format constraint": (True, ("length", "structure", "style or tone", "content", "language", "none")),
    "material in the context": (True, ("text to work on", "table", "code", "data", "conversation", "none")),
}  # fmt: skip
"""Field -> (whether it may have several values, its vocabulary)."""

ASK = """\
Describe what this comparison is about, whichever response is better. Reply with a JSON object of these fields:
{% for name, several, values in form %}- "{{ name }}": {% if several %}a list of those that apply{% else %}one\
{% endif %} of: {{ values | join(", ") }}
{% endfor %}"""
TRIES = 2


@dataclass
class Tags:
    """What was said of n comparisons.

    columns  field -> [n] the values each comparison has, an empty set where nothing was said
    reason   [n] why a comparison has no tags, None where it has some
    cost     totals
    """

    columns: dict[str, list[frozenset[str]]]
    reason: list[str | None]
    cost: dict[str, float]


def tag(model: LanguageModel, prompts: Sequence[Text], first: Sequence[Text], second: Sequence[Text]) -> Tags:
    """The tags of n comparisons; equal ones are asked about once, and a server's replies are cached."""
    asked = [question(p, a, b) for p, a, b in zip(prompts, first, second, strict=True)]
    n = len(asked)
    said: list[dict[str, frozenset[str]]] = [{} for _ in range(n)]
    reason: list[str | None] = [None] * n
    same: dict[str, list[int]] = {}
    for i, messages in enumerate(asked):
        same.setdefault(json.dumps(messages), []).append(i)
    left = [rows[0] for rows in same.values()]
    cost: dict[str, float] = {}
    for attempt in range(TRIES):
        if not left:
            break
        replies = model.generate([asked[i] for i in left], schema=SCHEMA, temperature=float(attempt > 0), seed=attempt)
        cost = total(cost, replies.cost)
        again = []
        for i, reply in zip(left, replies.rows, strict=True):
            if reply.status != "answered" or reply.text is None:
                reason[i] = missing(reply.status, reply.reason)[1]
                continue
            said[i] = read_form(reply.parsed if reply.parsed is not None else reply.text)
            reason[i] = None if said[i] else "no field of the form could be read"
            if not said[i]:
                again.append(i)
        left = again
    for rows in same.values():
        for i in rows[1:]:
            said[i], reason[i] = said[rows[0]], reason[rows[0]]
    columns = {name: [one.get(name, frozenset()) for one in said] for name in FORM}
    return Tags(columns, reason, cost)


def question(prompt: Text, first: Text, second: Text) -> list[Message]:
    """The request to fill in the form about one comparison."""
    blocks = [("request", as_text(prompt)), ("response A", as_text(first)), ("response B", as_text(second))]
    fence, _ = templates.codes([text for _, text in blocks], "tags")
    shown = [(name, templates.harmless(text)) for name, text in blocks]
    form = [(name, several, values) for name, (several, values) in FORM.items()]
    body = templates._compiled(f"{templates.SYSTEM}\n\n{templates.SHOWN}{ASK}").render(
        fence=fence, blocks=shown, form=form
    )
    return [{"role": "user", "content": body.strip()}]


def read_form(reply: Any) -> dict[str, frozenset[str]]:
    """The fields of a reply with those of their values that are on the list; {} where it is no form."""
    if isinstance(reply, str):
        try:
            reply = json.loads(reply[reply.find("{") : reply.rfind("}") + 1])
        except (ValueError, RecursionError):
            return {}
    out: dict[str, frozenset[str]] = {}
    for name, (several, values) in FORM.items():
        given = reply.get(name) if isinstance(reply, Mapping) else None
        listed = given if isinstance(given, list) and several else [given]
        known = {v.casefold(): v for v in values}
        found = [known[v.strip().casefold()] for v in listed if isinstance(v, str) and v.strip().casefold() in known]
        if found:
            out[name] = frozenset(found)
    return out


def _field(several: bool, values: Sequence[str]) -> dict[str, Any]:
    one = {"type": "string", "enum": list(values)}
    return {"type": "array", "items": one} if several else one


SCHEMA: Mapping[str, Any] = {
    "title": "tags",
    "type": "object",
    "properties": {name: _field(several, values) for name, (several, values) in FORM.items()},
    "required": list(FORM),
    "additionalProperties": False,
}

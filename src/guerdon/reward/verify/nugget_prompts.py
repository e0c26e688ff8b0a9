"""What a language model is asked about facts: to take a text apart into them, and which of them another text supports.

Texts are set apart as untrusted, and labels count only behind the question's code, as in every judge's question
(:mod:`guerdon.reward.judge.templates`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guerdon.feedback.messages import Message
from guerdon.reward.judge import templates
from guerdon.reward.judge.verdicts import openings, unique_keys
from guerdon.reward.verify.nugget_labels import FORMATS, LABELS, read_labels

SPLIT = """\
Take the text apart into the facts that a complete answer to the request must hold. A fact is one short statement that \
can be checked by itself: it needs no other fact to be understood, and nothing in it can be left out. Leave out what \
the request does not ask for, and say nothing twice. A fact is "vital" if an answer without it is wrong or incomplete, \
and "okay" otherwise. Add nothing of your own.

Reply with a JSON object: "nuggets", a list of objects with "fact" and "importance" (vital or okay); empty where the \
text holds no such fact."""

LABEL = """\
For each numbered fact, say whether the text supports it:
support: the text states all of it, perhaps in other words.
partial_support: the text states a part of it and contradicts nothing of it.
not_support: the text does not state it, contradicts it, or differs in a name, number, time or condition.
Decide by the text alone: what you know besides does not count.

{% if format == "json" %}Reply with a JSON object: "reasoning", a few sentences; "labels", a list of exactly \
{{ count }} labels in the order of the facts; and last "verdict_code", which is {{ code }}.{% else %}Write a few \
sentences between <reasoning> and </reasoning>. Then write a line that reads "Labels {{ code }}:", and below it \
nothing but exactly {{ count }} labels in the order of the facts, as {{ shape }}.{% endif %}"""

REWRITE = """\
What should be looked up to answer the request completely? Write at most {{ n }} short queries for a search engine, \
each about another part of it{% if done %}, and none like these, which were looked up already:
{% for query in done %}- {{ query }}
{% endfor %}{% else %}.{% endif %}

Reply with a JSON object: "queries", a list of texts; empty where nothing is left to look up."""

_NUGGET = {
    "type": "object",
    "properties": {"fact": {"type": "string"}, "importance": {"type": "string", "enum": ["vital", "okay"]}},
    "required": ["fact", "importance"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class LabelQuestion:
    """A rendered question about ``count`` facts; ``code`` is what a valid reply must carry."""

    messages: list[Message]
    code: str
    count: int
    format: str


def ask_to_split(request: str, text: str) -> list[Message]:
    """Which facts does a text hold that answer the request?"""
    return _rendered(SPLIT, [("request", request), ("text", text)], {})[0]


def ask_for_queries(request: str, done: Sequence[str], n: int) -> list[Message]:
    """What to look up next?"""
    return _rendered(REWRITE, [("request", request)], {"done": [templates.harmless(d) for d in done], "n": n})[0]


def ask_for_labels(request: str, text: str, facts: Sequence[str], format: str = "json") -> LabelQuestion:
    """Which of the facts does the text support?"""
    listed = "\n".join(f"{i}. {' '.join(fact.split())}" for i, fact in enumerate(facts, 1))
    blocks = [("request", request), ("text", text), ("facts", listed)]
    values = {"count": len(facts), "format": format, "shape": FORMATS[format]}
    messages, code = _rendered(LABEL, blocks, values)
    return LabelQuestion(messages, code, len(facts), format)


def split_schema() -> Mapping[str, Any]:
    """JSON schema of facts."""
    return _object("nuggets", {"nuggets": {"type": "array", "items": _NUGGET}})


def queries_schema(n: int) -> Mapping[str, Any]:
    """JSON schema of at most ``n`` queries."""
    return _object("queries", {"queries": {"type": "array", "items": {"type": "string"}, "maxItems": n}})


def labels_schema(count: int) -> Mapping[str, Any]:
    """JSON schema of ``count`` labels; the reasons first, so that they are thought before they are said."""
    labels = {"type": "array", "items": {"enum": list(LABELS)}, "minItems": count, "maxItems": count}
    return _object("labels", {"reasoning": {"type": "string"}, "labels": labels, "verdict_code": {"type": "string"}})


def read_answer(text: str, question: LabelQuestion) -> tuple[list[str] | None, str | None]:
    """(the labels, the reasoning) of a reply; no labels where it has no code, another form or another number."""
    found, reasoning = (_from_json if question.format == "json" else _from_text)(text, question)
    return (found if found is not None and len(found) == question.count else None), reasoning


def _from_json(text: str, question: LabelQuestion) -> tuple[list[str] | None, str | None]:
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
    for place in openings(text):
        try:
            found, _ = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and found.get("verdict_code") == question.code and "labels" in found:
            return read_labels(json.dumps(found["labels"]), "json"), str(found.get("reasoning") or "") or None
    return None, None


def _from_text(text: str, question: LabelQuestion) -> tuple[list[str] | None, str | None]:
    head, mark, tail = text.rpartition(f"Labels {question.code}:")
    if not mark:
        return None, None
    inside = re.search(r"<reasoning>(.*?)</reasoning>", head, re.S)
    return read_labels(tail), inside[1].strip() if inside else None


def fingerprint() -> list[str]:
    """Changes when any request does."""
    return [templates.fingerprint(), SPLIT, LABEL, REWRITE]


def _rendered(template: str, blocks: Sequence[tuple[str, str]], values: Mapping[str, Any]) -> tuple[list[Message], str]:
    shown = [(name, templates.harmless(text)) for name, text in blocks]
    fence, code = templates.codes([text for _, text in (*blocks, *shown)], f"nuggets/{template}/{values.get('format')}")
    body = templates._compiled(f"{templates.SYSTEM}\n\n{templates.SHOWN}{template}").render(
        fence=fence, code=code, blocks=shown, **values
    )
    return [{"role": "user", "content": body.strip()}], code


def _object(title: str, properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "title": title,
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }

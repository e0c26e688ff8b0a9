"""What the agents of :mod:`.agent` share: the tasks they are given, what they find, and how they ask a language model.

Requests, responses, evidence and whatever was written after reading them are untrusted: they stand between fences as in
every judge's question (:mod:`.templates`), and an answer that depends on responses must carry the question's code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from guerdon.feedback.messages import Message, Text
from guerdon.generate.base import LanguageModel
from guerdon.reward.judge import templates
from guerdon.reward.judge.asking import missing, total
from guerdon.reward.judge.verdicts import openings, unique_keys

FAILED = ("failed", "too_long")
"""States of a finding that leave the whole list unscored: the language model could not be asked."""


@dataclass(frozen=True)
class Task:
    """One list to check: the request as text, what is asked for in particular, and n distinct responses as texts."""

    request: str
    criterion: str | None
    responses: tuple[str, ...]

    @property
    def asked(self) -> tuple[tuple[str, str], ...]:
        """The blocks of a question on the request alone."""
        return (("request", self.request), *((("criterion", self.criterion),) if self.criterion else ()))


@dataclass(frozen=True)
class Finding:
    """What an agent says of one list.

    value   float64 [n] in [0, 1], one signal a response; None where it says nothing
    state   ``scored``, ``nothing`` (nothing to check here), ``abstained`` (it should have checked and could not), or
            ``failed`` or ``too_long`` (the language model could not be asked)
    reason  why it says nothing
    trace   JSON-ready: what it did
    """

    value: np.ndarray | None
    state: str = "scored"
    reason: str | None = None
    trace: Mapping[str, Any] = field(default_factory=dict)


class VerificationAgent(Protocol):
    """Something that checks responses of a list; ``name`` is what a plan calls it, ``says`` when to call it."""

    name: str
    says: str

    @property
    def identity(self) -> Any:
        """JSON-ready; changes with whatever its findings depend on."""
        ...

    def check(self, tasks: Sequence[Task]) -> tuple[list[Finding], dict[str, float]]:
        """A finding a task, and what they cost."""
        ...


class Unreadable(ValueError):
    """Why a reply says nothing."""


@dataclass(frozen=True)
class Told:
    """A reply as read: ``value`` None where there is none, with the status and the reason."""

    value: Any
    status: str = "scored"
    reason: str | None = None


def question(body: str, blocks: Sequence[tuple[str, str]], **values: Any) -> templates.Question:
    """``body`` (a Jinja template, given ``code`` and ``values``) below the blocks, pairs of a name and a text."""
    shown = [(name, templates.harmless(text)) for name, text in blocks]
    texts = [text for _, text in blocks] + [text for _, text in shown]
    fence, code = templates.codes(texts, f"agent/{body}")
    source = f"{templates.SYSTEM}\n\n{templates.SHOWN}{body}"
    text = templates._compiled(source).render(fence=fence, code=code, blocks=shown, **values)
    message: Message = {"role": "user", "content": text.strip()}
    return templates.Question([message], code, ())


def ask(
    model: LanguageModel,
    questions: Sequence[templates.Question],
    read: Callable[[str, templates.Question], Any],
    *,
    schema: Mapping[str, Any] | None = None,
    tries: int = 2,
    since: int = 0,
) -> tuple[list[Told], dict[str, float]]:
    """Each question's answer as ``read(reply, question)`` reads it, and the cost; equal questions are asked once.

    A reply that ``read`` finds :class:`Unreadable` is asked for again, ``tries`` times in all: the first time at
    temperature 0, then drawn with the seeds 1, 2 ... ``since`` counts earlier times.
    """
    key = [str(q.messages) for q in questions]
    first = {k: i for i, k in reversed(list(enumerate(key)))}
    told: dict[int, Told] = {}
    cost: dict[str, float] = {}
    left = sorted(first.values())
    for attempt in range(since, since + tries):
        if not left:
            break
        asked: Sequence[Text] = [questions[i].messages for i in left]
        settings = {"temperature": float(attempt > 0), "seed": attempt}
        replies = model.generate(asked, schema=schema, **settings)
        cost = total(cost, replies.cost)
        again: list[int] = []
        for i, reply in zip(left, replies.rows, strict=True):
            if reply.status != "answered" or reply.text is None:
                told[i] = Told(None, *missing(reply.status, reply.reason))
                continue
            try:
                told[i] = Told(read(reply.text, questions[i]))
            except Unreadable as error:
                told[i] = Told(None, "invalid", str(error))
                again.append(i)
        left = again
    return [told[first[k]] for k in key], cost


def last_object(text: str, keys: Sequence[str], code: str | None = None) -> dict[str, Any]:
    """The last JSON object of a reply with exactly these keys; with ``code``, ``verdict_code`` comes last and is it.

    Raises :class:`Unreadable` where there is none.
    """
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
    wanted = {*keys, *(("verdict_code",) if code is not None else ())}
    for place in openings(text):
        try:
            found, _ = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            continue
        if not isinstance(found, dict) or set(found) != wanted:
            continue
        if code is None or (list(found)[-1] == "verdict_code" and found["verdict_code"] == code):
            return found
    raise Unreadable(f"no JSON object with {', '.join(keys)} in the reply")


def texts_of(value: Any, what: str) -> list[str]:
    """A list of texts without empty ones; raises :class:`Unreadable` for anything else."""
    if not isinstance(value, list) or not all(isinstance(t, str) for t in value):
        raise Unreadable(f"{what} is no list of texts")
    return [" ".join(t.split()) for t in value if t.strip()]


def object_schema(title: str, properties: Mapping[str, Any]) -> Mapping[str, Any]:
    """JSON schema of an object with these properties, all required, in this order."""
    return {
        "title": title,
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }

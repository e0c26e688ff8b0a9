"""What a transform is: a function of what is shown to a reward, which leaves the right response the right one.

``text``   a function of one text and a draw; it is applied to the prompt, or every response, or both
``pair``   a function of a whole :class:`Case`: for what needs the other response, or to know which one is right

A draw is a fresh ``random.Random`` seeded by the seed, the transform and the prompt, so that a run is repeatable,
the responses to a prompt are reworded alike, and nothing depends on what else is reworded. A transform that has nothing
to change gives back what it got; one that does not apply gives None.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Message, Text

FAMILIES: Mapping[str, str] = {
    "controlled": "added by rule, undone by anybody who reads",
    "natural": "as people write",
    "targeted": "of one domain: code, mathematics, safety",
}
DOMAINS = ("any", "code", "math", "safety")
KEEPS = ("meaning", "ranking")
BOTH = ("prompt", "response")


@dataclass(frozen=True)
class Case:
    """A prompt, the responses to it, and which of them is graded above another one.

    domains   what it is about, of ``DOMAINS``
    language  of its code, where that is known: ``python``, ``js`` ...
    """

    prompt: Text
    responses: tuple[Text, ...]
    right: tuple[bool, ...]
    domains: frozenset[str] = frozenset()
    language: str = ""

    def other(self, i: int) -> Text | None:
        """A response on the other side of response ``i``: the first wrong one for a right one, and the reverse."""
        return next((r for r, right in zip(self.responses, self.right, strict=True) if right != self.right[i]), None)


TextChange = Callable[[str, random.Random], str]
Change = Callable[[Case, random.Random], Case | None]


@dataclass(frozen=True)
class Transform:
    """A named transform.

    family   one of :data:`FAMILIES`
    keeps    ``meaning`` of every text, or only the ``ranking`` of the responses
    domain   what it applies to
    sides    which texts it changes
    each     the function of one text, where it is one
    change   the function of a case; None: a language model writes it (:mod:`guerdon.generate.rewordings.written`)
    inverse  gets the text back, where it can be got back
    """

    name: str
    family: str
    what: str
    keeps: str = "meaning"
    domain: str = "any"
    sides: tuple[str, ...] = BOTH
    each: TextChange | None = None
    change: Change | None = None
    inverse: Callable[[str], str] | None = None

    def __post_init__(self) -> None:
        for name, known in (("family", tuple(FAMILIES)), ("keeps", KEEPS), ("domain", DOMAINS)):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"transform {self.name!r}: {name}={getattr(self, name)!r}; use one of {', '.join(known)}"
                )
        if not set(self.sides) <= set(BOTH):
            raise ConfigError(f"transform {self.name!r}: sides={self.sides!r}; use prompt, response or both")

    @property
    def written(self) -> bool:
        """Whether a language model has to write it."""
        return self.each is None and self.change is None

    def draw(self, prompt: str, seed: int) -> random.Random:
        """The draw for what belongs to ``prompt`` (packed)."""
        return random.Random(f"{seed}\x1f{self.name}\x1f{prompt}")

    def applies(self, case: Case) -> bool:
        """Whether the case is of the transform's domain."""
        return self.domain == "any" or self.domain in case.domains


def text(
    name: str,
    *,
    family: str,
    what: str,
    sides: Sequence[str] = BOTH,
    inverse: Callable[[str], str] | None = None,
    keeps: str = "meaning",
    domain: str = "any",
) -> Callable[[TextChange], Transform]:
    """A decorator: the function of a text and a draw below it as a :class:`Transform`."""

    def made(change: TextChange) -> Transform:
        return Transform(name, family, what, keeps, domain, tuple(sides), each=change, inverse=inverse)

    return made


def pair(
    name: str, *, family: str, what: str, sides: Sequence[str], keeps: str = "meaning", domain: str = "any"
) -> Callable[[Change], Transform]:
    """A decorator: the function of a :class:`Case` and a draw below it as a :class:`Transform`."""

    def made(change: Change) -> Transform:
        return Transform(name, family, what, keeps, domain, tuple(sides), change=change)

    return made


def in_texts(value: Text, change: Callable[[str], str], role: str) -> Text:
    """``value`` with ``change`` applied to its text: of a chat, what ``role`` said and nothing else."""
    if isinstance(value, str):
        return change(value)
    return [_in_message(m, change) if m.get("role") == role else m for m in value]


def _in_message(message: Message, change: Callable[[str], str]) -> Message:
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": change(content)}
    if not isinstance(content, list):
        return message
    return {
        **message,
        "content": [{**p, "text": change(p["text"])} if isinstance(p.get("text"), str) else p for p in content],
    }


ROLE = {"prompt": "user", "response": "assistant"}


def each_side(case: Case, sides: Sequence[str], change: Callable[[str, str], str]) -> Case:
    """The case with ``change(text, side)`` applied to every text of ``sides``."""

    def of(value: Text, side: str) -> Text:
        return in_texts(value, lambda t: change(t, side), ROLE[side]) if side in sides else value

    return replace(case, prompt=of(case.prompt, "prompt"), responses=tuple(of(r, "response") for r in case.responses))

"""The hard constraints of a request: what a language model is asked for, and how its reply is read.

One reader for both ways that models answer, an object or lines ``CheckerName: description``; a reply that is neither is
an error to ask again about, not a request without constraints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from guerdon.reward.judge.agent_asking import Unreadable, last_object, object_schema

EXTRACT = """\
List the constraints that the request sets on the form of a response and that a program could check in the response's \
text alone: length, number of paragraphs, sentences or items, words that must or must not occur, format, case, \
punctuation. Not what needs judgement, such as tone, and nothing that the request does not say. At most {{ most }}.

Reply with a JSON object: "constraints", a list of objects with "name" (a word in CamelCase) and "description" (one \
sentence, with all numbers and words that the request gives); empty where it sets none."""

LINE = re.compile(r"^[ \t]*(?:[-*•]|\d+[.)])?[ \t]*\**([A-Za-z]\w{0,59})\**[ \t]*:[ \t]*(\S.*)$", re.M)
NOTHING = re.compile(r"\W*(?:none|no constraints?|null|n/a|\[\[none\]\])\W*", re.I)
EXTRACTED = object_schema(
    "constraints",
    {
        "constraints": {
            "type": "array",
            "items": object_schema("constraint", {"name": {"type": "string"}, "description": {"type": "string"}}),
        }
    },
)


@dataclass(frozen=True)
class Checker:
    """A constraint and the code that checks it; ``trouble`` is why there is none."""

    name: str
    description: str
    code: str = ""
    repaired: int = 0
    trouble: str | None = None


def read_constraints(text: str) -> list[Checker]:
    """The constraints of a reply: JSON, or lines ``Name: description``; [] where it says that there are none.

    Raises :class:`~.agent_asking.Unreadable` for a reply that is neither.
    """
    found: dict[str, Checker] = {}
    try:
        listed = last_object(text, ("constraints",))["constraints"]
    except Unreadable:
        if not text.strip() or NOTHING.fullmatch(text):
            return []
        pairs = [(m[1], m[2]) for m in LINE.finditer(text)]
        if not pairs:
            raise Unreadable("no list of constraints in the reply") from None
    else:
        if not isinstance(listed, list):
            raise Unreadable("the constraints are no list")
        pairs = [(one.get("name"), one.get("description")) for one in listed if isinstance(one, dict)]
        if len(pairs) < len(listed):
            raise Unreadable("a constraint is no object with a name and a description")
    for name, description in pairs:
        if not isinstance(description, str) or not description.strip():
            raise Unreadable("a constraint without a description")
        called = re.sub(r"\W+", "", str(name or ""))[:60] or f"Constraint{len(found) + 1}"
        while called in found:
            called += "I"
        found[called] = Checker(called, " ".join(description.split()))
    return list(found.values())

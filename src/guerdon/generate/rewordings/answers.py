r"""A transform of mathematics: the final answer in the format that the other response has, and the reverse.

A final answer stands in ``\boxed{...}``, or under a heading ``# Answer``. Right solutions of one published set have the
heading and wrong ones the box, so that a reward can be right for the wrong reason; here every response that has one of
the two formats gets the other one, and its mathematics stays as it was.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace

from guerdon.generate.rewordings.transform import ROLE, Case, in_texts, pair

BOXED = "\\boxed{"
_HEADING = re.compile(r"\n*#+ *(?:final )?answer:?[ \t]*\n+(?P<answer>[^\n]+)\s*\Z", re.I)


def boxed(text: str) -> tuple[int, int, str] | None:
    """(start, end, content) of the last ``\\boxed{...}`` with balanced braces; None where there is none."""
    start = text.rfind(BOXED)
    if start < 0:
        return None
    depth = 1
    for end in range(start + len(BOXED), len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return start, end + 1, text[start + len(BOXED) : end]
    return None


def has_format(text: str) -> bool:
    """Whether the text ends in a box or a heading."""
    return boxed(text) is not None or _HEADING.search(text) is not None


def exchanged(text: str) -> str:
    """The text with its final answer in the other format; as it was where it has neither."""
    heading = _HEADING.search(text)
    if heading:
        answer = heading["answer"].strip()
        plain = answer.strip("$").strip()
        return f"{text[: heading.start()].rstrip()}\n\nThe answer is ${BOXED}{plain}}}$."
    found = boxed(text)
    if found is None:
        return text
    start, end, answer = found
    return f"{text[:start]}{answer}{text[end:]}".rstrip() + f"\n\n# Answer\n\n{answer}"


@pair(
    "answer format",
    family="targeted",
    domain="math",
    keeps="ranking",
    what="final answers in a box under a heading instead, and the reverse",
    sides=("response",),
)
def answer_format(case: Case, draw: random.Random) -> Case:
    """See :func:`exchanged`."""
    return replace(case, responses=tuple(in_texts(r, exchanged, ROLE["response"]) for r in case.responses))


TRANSFORMS = (answer_format,)

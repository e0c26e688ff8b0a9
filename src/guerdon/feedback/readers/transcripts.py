"""HH-RLHF transcripts: ``chosen`` and ``rejected`` are whole dialogues, ``"\\n\\nHuman: ...\\n\\nAssistant: ..."``.

Each is split at its last Assistant turn: what comes before is the prompt (as chat messages), the turn is the response.
Reference: Bai et al. 2022, arXiv:2204.05862.
"""

import re
from collections.abc import Iterable

from guerdon.feedback.messages import Message, Text
from guerdon.feedback.readers.formats import Format, Row, RowError, Sample
from guerdon.feedback.readers.preference import grades_of
from guerdon.feedback.schema import Judgement

TURN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")
ROLE = {"Human": "user", "Assistant": "assistant"}


def judgements(row: Row) -> Iterable[Judgement]:
    """One comparison of the two last turns."""
    (prompt, chosen), (other, rejected) = split_last(row, "chosen"), split_last(row, "rejected")
    if prompt != other:
        raise RowError(
            "two-prompts",
            "rejected",
            "the two dialogues differ before their last turn",
            "compare responses to one prompt",
        )
    yield Judgement(messages_of(prompt), (chosen, rejected), grades_of(row), **row.meta())


def split_last(row: Row, name: str) -> tuple[str, str]:
    """(dialogue before the last Assistant turn, that turn) of a field."""
    text = row.text(name)
    cut = text.rfind("\n\nAssistant:") if isinstance(text, str) else -1
    if not isinstance(text, str) or cut < 0:
        raise RowError("bad-message", name, "holds no Assistant turn", "write '\\n\\nHuman: ...\\n\\nAssistant: ...'")
    return text[:cut], text[cut + len("\n\nAssistant:") :].strip()


def messages_of(dialogue: str) -> Text:
    """Chat messages of a transcript; a text that does not begin with a turn stays as it is."""
    turns = list(TURN.finditer(dialogue))
    if not turns or dialogue[: turns[0].start()].strip():
        return dialogue
    ends = [*(t.start() for t in turns[1:]), len(dialogue)]
    messages: list[Message] = [
        {"role": ROLE[turn[1]], "content": dialogue[turn.end() : end].strip()}
        for turn, end in zip(turns, ends, strict=True)
    ]
    return messages


def _fits(sample: Sample) -> bool:
    def transcript(text: object) -> bool:
        return isinstance(text, str) and "\n\nAssistant:" in text and bool(TURN.match(text))

    rows = [r for r in sample.rows if r.get("chosen") and r.get("rejected")]
    good = sum(transcript(r["chosen"]) and transcript(r["rejected"]) for r in rows)
    return sample.has("chosen", "rejected") and not sample.has("prompt") and bool(rows) and good > len(rows) / 2


HH_RLHF = Format(
    "hh-rlhf",
    "HH-RLHF transcripts, split at the last Assistant turn",
    ("chosen", "rejected"),
    _fits,
    judgements,
    source="human",
)

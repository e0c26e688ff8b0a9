"""UKPConvArg: which of two arguments convinces more, five workers a pair, a written reason with every vote.

A table of pairs (``topic, a, b, votes [{user, choice, reason}]``) and one of arguments (``topic, id, title, stance,
text``). Each vote is a judgement of its worker, ``equal`` a tie, the reason its comment, debate and stance the prompt.
Reference: Habernal & Gurevych 2016, ACL, https://aclanthology.org/P16-1150.
"""

from collections.abc import Iterable, Sequence

from guerdon.feedback.readers.formats import Row, RowError
from guerdon.feedback.readers.gather import Reading, gather
from guerdon.feedback.readers.layouts import File, Layout, with_fields
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback

GRADES = {"a1": (1.0, 0.0), "a2": (0.0, 1.0), "equal": (0.0, 0.0)}


def match(files: Sequence[File]) -> dict[str, File] | None:
    """The two tables."""
    pairs = with_fields(files, "topic", "a", "b", "votes")
    arguments = with_fields(files, "topic", "id", "text", "stance")
    return {"pairs": pairs, "arguments": arguments} if pairs and arguments else None


def read(files: dict[str, File], reading: Reading) -> Feedback:
    """One judgement a vote."""
    texts, prompts = {}, {}
    for _, row in files["arguments"].rows():
        texts[row["topic"], row["id"]] = row["text"]
        prompts[row["topic"]] = prompt_of(str(row.get("title") or row["topic"]), str(row.get("stance") or ""))

    def judge(row: Row) -> Iterable[Judgement]:
        topic, pair = row.label("topic"), row.data.get("pair")
        sides = []
        for name in ("a", "b"):
            if (topic, row.label(name)) not in texts:
                where = files["arguments"].container.name
                raise RowError(
                    "unknown-item", name, f"no argument {row.label(name)!r} of this topic in {where}", "add it"
                )
            sides.append(texts[topic, row.label(name)])
        for i, vote in enumerate(row.records("votes")):
            if vote.get("choice") not in GRADES:
                known = ", ".join(GRADES)
                raise RowError("bad-grade", f"votes[{i}].choice", f"unknown {vote.get('choice')!r:.40}", f"use {known}")
            yield Judgement(
                prompts[topic],
                (sides[0], sides[1]),
                GRADES[vote["choice"]],
                user=vote.get("user"),
                subset=topic,
                comment=vote.get("reason") or None,
                id=f"{pair}/{vote.get('user')}" if pair else None,
            )

    return gather(files["pairs"].container, judge, reading, files["pairs"].mapping)


def prompt_of(title: str, stance: str) -> str:
    """Debate and stance as one line: ``TV is better than Books: Books``."""
    if not stance:
        return title
    return f"{title} {stance}" if title.rstrip().endswith(("?", "!", ".", ":")) else f"{title}: {stance}"


UKPCONVARG = Layout(
    "ukpconvarg",
    "UKPConvArg votes with reasons",
    ("pairs (topic, a, b, votes)", "arguments (topic, id, stance, text)"),
    match,
    read,
)

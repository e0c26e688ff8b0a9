"""Questions to people, in a file: written with their reasons, filled in by whoever judges, read back as feedback.

The file is guerdon's own format (one JSON object a line) with ``grades`` still ``[null, null]``: whoever answers puts
``[1, 0]`` (the first response is better), ``[0, 1]`` or ``[0, 0]`` (a tie) there, by hand or by a program. A file with
every line answered is ordinary feedback; ``guerdon curate answers`` takes the lines that are. ``id`` names a question
by its content, so that answers are found again whatever the order, and none is ever written twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from guerdon.curate.step import Changes, Curated
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import Text, pack
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.feedback.writers import replacing


@dataclass(frozen=True)
class Question:
    """Two responses to a prompt to be compared by ``user`` (None: anybody), why, and what the answer should tell."""

    prompt: Text
    first: Text
    second: Text
    user: str | None = None
    why: str = ""
    gain: float = float("nan")

    @property
    def id(self) -> str:
        """The question by its content."""
        parts = [pack(self.prompt), pack(self.first), pack(self.second), self.user or ""]
        content = "\x1f".join(parts).encode("utf-8", "surrogatepass")
        return "ask-" + hashlib.blake2b(content, digest_size=10).hexdigest()


def write_queue(path: str | Path, questions: Iterable[Question]) -> int:
    """Append the questions that ``path`` does not hold yet; what is there, answered or not, stays. Returns how many."""
    path = Path(path)
    lines = _lines(path)
    known = {row.get("id") for row in lines}
    new = []
    for q in questions:
        if q.id not in known:
            known.add(q.id)
            row = {"id": q.id, "prompt": q.prompt, "responses": [q.first, q.second], "grades": [None, None]}
            row |= {"source": "human", "comment": q.why} | ({} if q.user is None else {"user": q.user})
            new.append(row)
    try:
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
            for row in [*lines, *new]:
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
    return len(new)


def read_answers(path: str | Path) -> dict[str, float]:
    """P(first preferred) by question id: 1, 0 or 1/2 (a tie); unanswered questions are absent."""
    out = {}
    for number, row in enumerate(_lines(Path(path)), 1):
        grades = row.get("grades")
        if not isinstance(grades, list) or len(grades) != 2 or any(isinstance(g, bool) for g in grades):
            raise FeedbackError(f"{path}, line {number}, grades: {grades!r:.40}; write [1, 0], [0, 1] or [0, 0]")
        if all(isinstance(g, int | float) for g in grades):
            out[str(row.get("id"))] = 0.5 + 0.5 * float(np.sign(grades[0] - grades[1]))
        elif grades != [None, None]:
            raise FeedbackError(f"{path}, line {number}, grades: {grades!r:.40}; write two numbers or leave both null")
    return out


def answers(feedback: Feedback, *, queue: str = "questions.jsonl") -> Curated:
    """Add the questions of a queue that have been answered to the feedback.

    Parameters
    ----------
    queue : the file of questions that guerdon curate ask or verify wrote, with grades filled in
    """
    path = Path(queue)
    if not path.is_file():
        raise ConfigError(f"queue={queue}: no such file; guerdon curate ask --set queue={queue} writes one")
    said = read_answers(path)
    known = set() if feedback.id is None else set(feedback.id.to_pylist())
    rows = [row for row in _lines(path) if row["id"] in said and row["id"] not in known]
    changes = Changes(feedback, by="people, asked", using=str(path))
    if rows:
        changes.add(
            [
                Judgement(
                    row["prompt"],
                    tuple(row["responses"]),
                    tuple(float(g) for g in row["grades"]),
                    user=row.get("user"),
                    source="human",
                    id=row["id"],
                )
                for row in rows
            ],
            why=[f"asked because: {row.get('comment') or 'no reason given'}" for row in rows],
            by=[row.get("user") or "somebody asked" for row in rows],
        )
    return changes.done({"answered": len(said), "unanswered": len(_lines(path)) - len(said), "added": len(rows)})


def _lines(path: Path) -> list[dict]:
    if not path.is_file():
        return []
    out = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise FeedbackError(f"{path}, line {number}: not JSON ({error.msg}); one object a line") from error
            if not isinstance(row, dict):
                raise FeedbackError(f"{path}, line {number}: not an object; write one question a line")
            out.append(row)
    return out

"""Everything wrong or suspicious in feedback, each as a record with its file, row, field and mend.

Errors make feedback unusable as it stands and reading refuses them; warnings are for a person to look at. Opposite
verdicts of *different* people on one pair are data and never reported; the same person contradicting herself is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from guerdon.feedback.messages import MARK, Message, unpack
from guerdon.feedback.schema import SCALES

if TYPE_CHECKING:
    from guerdon.feedback.star import Feedback

pc: Any = pyarrow.compute  # its functions are made at run time, unseen by type checkers

SHOWN = 5
"""Problems listed in an error message."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. ``row`` is the 1-based line or record; ``judgement`` the index in the feedback, if it got so far."""

    severity: str
    code: str
    file: str
    row: int | None
    field: str
    message: str
    mend: str
    judgement: int | None = None

    def __str__(self) -> str:
        place = self.file if self.row is None else f"{self.file}:{self.row}"
        return f"{place}: {self.field}: {self.message}; {self.mend}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def validate(feedback: Feedback, *, warnings: bool = True, limit: int | None = None) -> list[Problem]:
    """The problems of ``feedback``, errors first, each kind in judgement order.

    warnings  look for what is suspicious too;  limit  at most so many problems of each kind
    """
    found = list(_errors(feedback))
    if warnings:
        found += _warnings(feedback)
    problems = []
    for severity, code, rows, field, message, mend in found:
        problems += _placed(feedback, severity, code, rows[:limit], field, message, mend)
    return problems


def suspicions(feedback: Feedback) -> list[str]:
    """One sentence for each kind of warning, with its count and the first place."""
    out = []
    for severity, code, rows, *rest in _warnings(feedback):
        first = _placed(feedback, severity, code, rows[:1], *rest)[0]
        out.append(f"warning: {code} in {len(rows):,} judgements, the first at {first}")
    return out


Finding = tuple[str, str, np.ndarray, str, str, str]


def _placed(fb: Feedback, severity: str, code: str, rows: np.ndarray, *rest: str) -> list[Problem]:
    field, message, mend = rest
    if fb.places is None:
        return [Problem(severity, code, "judgement", int(j), field, message, mend, int(j)) for j in rows]
    places = fb.places.found([int(j) for j in rows])
    return [
        Problem(severity, code, name, row, field, message, mend, int(j))
        for (name, row, _), j in zip(places, rows, strict=True)
    ]


def _errors(fb: Feedback) -> Iterable[Finding]:
    """(severity, code, judgements, field, message, mend) of every kind of error that occurs."""
    owner = _owner(fb)

    def judgements(bad: np.ndarray) -> np.ndarray:
        return np.unique(owner[bad])

    empty = _empty(fb.responses)
    if empty.any():
        rows = judgements(empty[fb.items])
        yield "error", "empty-response", rows, "response", "an empty response", "fill it or remove the row"
    rows = _identical(fb)
    if len(rows):
        mend = "remove the row, or give equal texts equal grades"
        yield "error", "identical-responses", rows, "responses", "identical responses with different grades", mend
    bad = ~np.isfinite(fb.grades)
    if bad.any():
        yield "error", "bad-grade", judgements(bad), "grades", "a grade is NaN or infinite", "give a number"
    soft = np.repeat(fb.scale == SCALES.index("probability"), fb.sizes)
    bad = soft & ((fb.grades < 0) | (fb.grades > 1))
    if bad.any():
        yield "error", "bad-probability", judgements(bad), "grades", "a probability outside [0, 1]", "give a share"
    bad = ~(fb.weight >= 0) | np.isinf(fb.weight)
    if bad.any():
        mend = "give a number >= 0"
        yield "error", "bad-weight", np.flatnonzero(bad), "weight", "negative, NaN or infinite weight", mend
    if fb.strength is not None and np.isinf(fb.strength).any():
        yield "error", "bad-strength", np.flatnonzero(np.isinf(fb.strength)), "strength", "is infinite", "give a number"
    rows = _two_prompts(fb, owner)
    if len(rows):
        mend = "write one judgement a prompt"
        yield "error", "two-prompts", rows, "prompt", "responses to different prompts in one judgement", mend
    rows = _repeated_ids(fb)
    if len(rows):
        mend = "give each judgement its own id, or drop the column with --map id="
        yield "error", "duplicate-id", rows, "id", "an id that an earlier row has", mend


def _warnings(fb: Feedback) -> Iterable[Finding]:
    rows = _contradictions(fb)
    if len(rows):
        mend = "keep it if the person changed their mind; remove one otherwise"
        message = "contradicts an earlier verdict of the same person on the same pair"
        yield "warning", "contradiction", rows, "grades", message, mend


def _owner(fb: Feedback) -> np.ndarray:
    """int64 [M] the judgement of each judged response."""
    return np.repeat(np.arange(len(fb)), fb.sizes)


def _empty(texts: pa.LargeStringArray) -> np.ndarray:
    """bool [C] texts of nothing but white space; for messages, that no message says or calls anything."""
    if not len(texts):
        return np.zeros(0, bool)
    # only texts that begin with white space can be white space throughout: the rest is not looked at
    first = pc.utf8_slice_codeunits(texts, 0, 1)
    blank = np.asarray(pc.utf8_is_space(first)) | (np.asarray(pc.binary_length(texts)) == 0)
    rows = np.flatnonzero(blank)
    if len(rows):
        blank[rows] = np.asarray(pc.equal(pc.utf8_trim_whitespace(texts.take(pa.array(rows))), ""))
    chats = np.flatnonzero(np.asarray(pc.starts_with(texts, MARK)))
    if len(chats):  # a content that begins with a visible character settles most of them without being parsed
        chats = chats[~np.asarray(pc.match_substring_regex(texts.take(pa.array(chats)), r'"content":"[^"\\\s]'))]
    for i in chats:
        value = unpack(texts[int(i)].as_py())
        blank[i] = not value.strip() if isinstance(value, str) else not any(map(_says_something, value))
    return blank


def _says_something(message: Message) -> bool:
    content = message.get("content")
    return bool(message.get("tool_calls") or (content.strip() if isinstance(content, str) else content))


def _identical(fb: Feedback) -> np.ndarray:
    """Judgements that prefer a text to itself; absolute ratings of the same text may differ."""
    bad = []
    for size in np.unique(fb.sizes):
        if size < 2:
            continue
        rows = np.flatnonzero((fb.sizes == size) & (fb.scale != SCALES.index("rating")))
        flat = fb.offsets[rows][:, None] + np.arange(size)
        items, grades = fb.items[flat], fb.grades[flat]
        if size == 2:
            hit = (items[:, 0] == items[:, 1]) & (grades[:, 0] != grades[:, 1])
        else:
            order = np.argsort(items, axis=1, kind="stable")
            items, grades = np.take_along_axis(items, order, 1), np.take_along_axis(grades, order, 1)
            hit = ((items[:, 1:] == items[:, :-1]) & (grades[:, 1:] != grades[:, :-1])).any(1)
        bad.append(rows[hit])
    return np.sort(np.concatenate(bad)) if bad else np.zeros(0, np.int64)


def _two_prompts(fb: Feedback, owner: np.ndarray) -> np.ndarray:
    prompt = fb.prompt_of[fb.items]
    differs = prompt != fb.prompt_of[fb.items[fb.offsets[:-1]]][owner] if len(fb) else np.zeros(0, bool)
    return np.unique(owner[differs])


def _repeated_ids(fb: Feedback) -> np.ndarray:
    """Judgements whose (subset, id) an earlier one has."""
    if fb.id is None:
        return np.zeros(0, np.int64)
    codes = np.asarray(fb.id.dictionary_encode().indices.fill_null(-1), dtype=np.int64)
    key = codes * (len(fb.subsets) + 1) + fb.subset + 1
    key[codes < 0] = -1 - np.flatnonzero(codes < 0)
    _, first = np.unique(key, return_index=True)
    repeated = np.ones(len(key), bool)
    repeated[first] = False
    return np.flatnonzero(repeated)


def _contradictions(fb: Feedback) -> np.ndarray:
    """Judgements that turn round an earlier strict verdict of the same person on the same pair and criterion."""
    rows = np.flatnonzero((fb.sizes == 2) & (fb.user >= 0))
    if not len(rows):
        return rows
    start = fb.offsets[rows]
    a, b = fb.items[start].astype(np.int64), fb.items[start + 1].astype(np.int64)
    sign = np.sign(fb.grades[start] - fb.grades[start + 1]) * np.where(a < b, 1, -1)
    pair = np.minimum(a, b) * len(fb.responses) + np.maximum(a, b)
    who = fb.user[rows].astype(np.int64) * (len(fb.criteria) + 1) + fb.criterion[rows] + 1
    keep = (sign != 0) & (a != b)
    rows, pair, who, sign = rows[keep], pair[keep], who[keep], sign[keep]
    order = np.lexsort((rows, who, pair))
    rows, pair, who, sign = rows[order], pair[order], who[order], sign[order]
    same = (pair[1:] == pair[:-1]) & (who[1:] == who[:-1]) & (sign[1:] != sign[:-1])
    return np.sort(rows[1:][same])


def summary(problems: list[Problem], shown: int = SHOWN) -> str:
    """The message of an error: the first problems, one a line, and how many there are."""
    lines = [str(p) for p in problems[:shown]]
    if len(problems) > shown:
        lines.append(f"... and {len(problems) - shown:,} more")
    return "\n".join(lines)

"""What a reader of one format is, and the row it works on.

A reader is a function ``judgements(row) -> iterable of Judgement`` plus a test whether it fits the fields it sees; see
``registry.py`` for the list and ``docs`` ("add a reader"). :class:`Row` fetches fields with their types checked, so
that a reader states only what the format means and every mistake in the data is reported the same way.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from guerdon.errors import FeedbackError
from guerdon.feedback.messages import Message, Text, check_messages
from guerdon.feedback.readers.record import kind_of
from guerdon.feedback.schema import SOURCES, Judgement

if TYPE_CHECKING:
    from guerdon.feedback.readers.fast import Fast

META = {
    "user": (
        *("user", "user_id", "userId", "annotator", "annotator_id", "worker", "worker_id", "rater", "rater_id"),
        *("participant", "participant_id", "evaluator", "labeler", "labeler_id"),
    ),
    "criterion": ("criterion", "aspect", "dimension", "objective"),
    "subset": ("subset", "category", "domain", "data_subset", "category_path"),
    "source": ("source",),
    "weight": ("weight",),
    "comment": ("comment", "reason", "rationale", "explanation", "justification"),
    "id": ("id", "judgement_id", "uid", "pair_uid", "uuid"),
    "time": ("time", "timestamp", "created_at"),
}
"""The columns of a judgement beside its texts and grades, and the names they go by, the likeliest first."""


class RowError(Exception):
    """What is wrong with one row: ``code`` names the kind of mistake, ``field`` where, ``mend`` what to do."""

    def __init__(self, code: str, field: str, message: str, mend: str) -> None:
        super().__init__(message)
        self.code, self.field, self.message, self.mend = code, field, message, mend


@dataclass(frozen=True)
class Sample:
    """The first rows of a container: what a format is recognised by."""

    fields: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]

    def has(self, *names: str) -> bool:
        """True if every name is a field."""
        return all(n in self.fields for n in names)

    def kinds(self, name: str) -> set[type]:
        """The types that the field takes, without None."""
        return {type(row[name]) for row in self.rows if row.get(name) is not None}


@dataclass
class Tally:
    """What a reader counts while it reads; ``sentences()`` says it. Each text holds ``{n}`` for the count."""

    counts: Counter[str] = field(default_factory=Counter)
    kinds: dict[str, type] = field(default_factory=dict)
    """The type that a column of names has had so far."""

    def count(self, text: str, n: int = 1) -> None:
        """Count ``n`` more of what ``text`` says."""
        self.counts[text] += n

    def sentences(self) -> list[str]:
        """The texts with their counts, most frequent first."""
        return [text.format(n=f"{n:,}") for text, n in self.counts.most_common() if n]


@dataclass(frozen=True)
class Format:
    """One format of feedback. A newcomer writes ``judgements`` and ``fits`` and lists the object in ``registry.py``.

    name        what ``--format`` calls it
    says        what is told when it is recognised
    needs       the fields it cannot do without, for messages
    fits        does a sample look like it
    judgements  the judgements of one row; raises :class:`RowError`
    source      who judged, where the format implies it
    fast        the same by columns, for files of millions of rows (optional)
    """

    name: str
    says: str
    needs: tuple[str, ...]
    fits: Callable[[Sample], bool]
    judgements: Callable[[Row], Iterable[Judgement]]
    source: str = "unknown"
    fast: Fast | None = None


class Row:
    """One row of a container with typed access to its fields; ``tally`` collects what is worth saying."""

    __slots__ = ("data", "tally")

    def __init__(self, data: Mapping[str, Any], tally: Tally) -> None:
        self.data, self.tally = data, tally

    def __contains__(self, name: str) -> bool:
        return self.data.get(name) is not None

    def value(self, name: str) -> Any:
        """The field as it is; an error if it is missing or null."""
        value = self.data.get(name)
        if value is None:
            if name in self.data:
                raise RowError("missing-field", name, "is null", "fill it or remove the row")
            known = ", ".join(map(str, self.data))
            raise RowError(
                "missing-field", name, f"is missing; the row has: {known}", f"add it, or --map {name}=COLUMN"
            )
        return value

    def text(self, name: str) -> Text:
        """A text or chat messages."""
        return as_text_or_messages(self.value(name), name)

    def texts(self, name: str) -> list[Text]:
        """A list of texts, each a text or chat messages."""
        value = self.value(name)
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise RowError("mixed-types", name, f"expected a list of texts, got {kind_of(value)}", "make it a list")
        return [as_text_or_messages(v, f"{name}[{i}]") for i, v in enumerate(value)]

    def number(self, name: str) -> float:
        """A finite or infinite number; text that spells one is taken as one."""
        return as_number(self.value(name), name)

    def label(self, name: str) -> str:
        """A short text or number used as a name."""
        return as_label(self.value(name), name)

    def records(self, name: str) -> list[Mapping[str, Any]]:
        """A list of objects."""
        value = self.value(name)
        good = isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(v, Mapping) for v in value)
        if not good:
            raise RowError("mixed-types", name, f"expected a list of objects, got {kind_of(value)}", "see the format")
        return list(value)

    def first(self, names: Iterable[str]) -> str | None:
        """The first of ``names`` that the row has a value for."""
        return next((n for n in names if self.data.get(n) is not None), None)

    def meta(self, *names: str) -> dict[str, Any]:
        """The keyword arguments of a Judgement for the columns ``names`` (default: all of META), where present."""
        out: dict[str, Any] = {}
        for target in names or META:
            column = self.first(META[target])
            if column is None:
                continue
            if target == "source":
                if self.data[column] in SOURCES:  # in other formats `source` often names the origin of the prompt
                    out[target] = self.data[column]
            elif target == "weight":
                out[target] = self.number(column)
            elif target == "time":
                out[target] = as_time(self.data[column], column)
            elif target == "comment":
                out[target] = str(self.data[column]) or None
            elif self.data[column] != "":
                out[target] = self.name(column)
        return out

    def name(self, name: str) -> str:
        """A label whose column is text throughout or numbers throughout."""
        value = self.data[name]
        kind = str if isinstance(value, str) else float
        if self.tally.kinds.setdefault(name, kind) is not kind:
            before = "text" if kind is float else "a number"
            raise RowError(
                "mixed-types", name, f"{kind_of(value)} where rows before have {before}", "write all of them as text"
            )
        return self.label(name)


# ---------------------------------------------------------------------- values


def as_text_or_messages(value: Any, where: str) -> Text:
    """A text or a list of chat messages in the OpenAI format; ShareGPT's from/value is understood."""
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise RowError(
                    "broken-text", where, "holds half a surrogate pair, which is no text", "repair or drop the row"
                ) from None
        return value
    if isinstance(value, Mapping) and ("role" in value or "from" in value):
        value = [value]
    if isinstance(value, Sequence) and all(isinstance(v, Mapping) for v in value):
        messages = [_message(m) for m in value]
        try:
            return check_messages(messages, where)
        except FeedbackError as error:
            code = "unknown-role" if "unknown role" in str(error) else "bad-message"
            place, _, what = str(error).partition(": ")
            raise RowError(code, place, what, "write messages as role and content") from None
    raise RowError(
        "mixed-types",
        where,
        f"expected text or chat messages, got {kind_of(value)}",
        "write it as text (a JSON string)",
    )


SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant"}


def _message(message: Mapping[str, Any]) -> Message:
    """One message without the empty fields that table formats add."""
    out = {str(k): v for k, v in message.items() if v is not None}
    if "from" in out and "value" in out and "role" not in out:
        role = out.pop("from")
        out = {"role": SHAREGPT_ROLES.get(role, role), "content": out.pop("value")}
    if "content" not in out and "content" in message:
        out["content"] = None
    return out


def as_number(value: Any, where: str) -> float:
    """A number; booleans and text that is no number are errors."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise RowError("mixed-types", where, f"expected a number, got {kind_of(value)}", "write it as a number")
    try:
        return float(value)
    except ValueError:
        raise RowError("mixed-types", where, f"expected a number, got {value!r:.40}", "write it as a number") from None


def as_label(value: Any, where: str) -> str:
    """A name: text, or a number written without a fraction where it has none."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowError("mixed-types", where, f"expected a name, got {kind_of(value)}", "write it as text")
    if isinstance(value, float) and (math.isnan(value) or not value.is_integer()):
        raise RowError("mixed-types", where, f"expected a name, got {value}", "write it as text")
    return str(int(value))


def as_time(value: Any, where: str) -> float:
    """Seconds since the epoch, from a number of seconds or milliseconds, an ISO date, or a datetime."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                raise RowError(
                    "bad-time", where, f"{value!r:.40} is no date", "write seconds since 1970, or 2025-01-31T12:00:00"
                ) from None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    seconds = as_number(value, where)
    return seconds / 1000 if seconds > 1e11 else seconds  # 1e11 s is the year 5138: such a number is in milliseconds

"""The records of feedback: a candidate, a judgement of candidates, and the columnar batch that rewards score."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from guerdon.errors import FeedbackError
from guerdon.feedback.messages import Text

SOURCES = ("unknown", "human", "model", "rule")
SCALES = ("order", "probability", "rating", "partial")
"""What the grades of a judgement mean.

``order``        only order and differences inside the judgement count (comparisons, rankings, best-of-n, strengths);
``probability``  the grades of a pair are the probabilities of either side being preferred (soft labels, vote shares);
``rating``       grades are on one absolute scale, comparable across judgements of one person and criterion;
``partial``      only differences count: equal grades were not compared and are no tie (best-of-n, right against wrong).
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prompt and a response; each text or chat messages."""

    prompt: Text
    response: Text


@dataclass(frozen=True, slots=True)
class Judgement:
    """Somebody looked at n >= 1 responses to one prompt and gave each a grade (higher is better).

    A comparison is two responses with grades (1, 0); a tie has equal grades; a strength is the difference of the
    grades; a rating is one response on ``scale="rating"``; a ranking or a best-of-n has more than two responses.
    ``strength`` says how strong the preferences of the judgement are where the grades do not: it takes the place of
    the difference of the grades, and may be negative (a margin that other judges would rather see reversed).
    """

    prompt: Text
    responses: tuple[Text, ...]
    grades: tuple[float, ...]
    user: str | None = None
    criterion: str | None = None
    subset: str | None = None
    source: str = "unknown"
    scale: str = "order"
    weight: float = 1.0
    comment: str | None = None
    id: str | None = None
    time: float | None = None
    strength: float | None = None


@dataclass(frozen=True)
class Candidates:
    """A columnar batch of n candidates. Optional columns are ``None`` or have length n.

    ``user`` names who asks, ``criterion`` what is asked for, ``reference`` a known good answer; ``extra`` holds any
    further columns by name (e.g. a rule's arguments).
    """

    prompts: Sequence[Text]
    responses: Sequence[Text]
    user: Sequence[str | None] | None = None
    criterion: Sequence[str | None] | None = None
    reference: Sequence[Any] | None = None
    extra: dict[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.prompts)
        columns = {"responses": self.responses, "user": self.user, "criterion": self.criterion}
        columns |= {"reference": self.reference} | self.extra
        for name, column in columns.items():
            if column is not None and len(column) != n:
                raise FeedbackError(f"candidates: column {name!r} has {len(column)} rows, prompts have {n}")

    def __len__(self) -> int:
        return len(self.prompts)

    def __iter__(self) -> Iterator[Candidate]:
        return (Candidate(p, r) for p, r in zip(self.prompts, self.responses, strict=True))

    def take(self, index: Iterable[int] | np.ndarray) -> "Candidates":
        """The candidates at ``index``, in that order."""
        rows = [int(i) for i in index]

        def pick(column: Sequence[Any] | None) -> list[Any] | None:
            return None if column is None else [column[i] for i in rows]

        return Candidates(
            prompts=[self.prompts[i] for i in rows],
            responses=[self.responses[i] for i in rows],
            user=pick(self.user),
            criterion=pick(self.criterion),
            reference=pick(self.reference),
            extra={k: [v[i] for i in rows] for k, v in self.extra.items()},
        )

    def asked_by(self, user: str | None) -> "Candidates":
        """The same candidates, all asked for by ``user``."""
        return replace(self, user=None if user is None else [user] * len(self))

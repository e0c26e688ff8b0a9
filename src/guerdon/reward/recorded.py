"""Scores and verdicts that were made elsewhere, read from a file, as a reward: ``scores:FILE``.

Each row of the file (JSONL, JSON, CSV, Parquet ...) is one of

``prompt, response, score``                                 a score; ``guerdon score`` writes it. Also ``responses``
                                                            with a list ``scores``
``prompt, chosen, rejected, score_chosen, score_rejected``  the scores of a pair
``prompt, response_a, response_b, probability``             a verdict, P(a preferred), or 1, 0, 1/2;
                                                            ``guerdon compare`` writes it
``id, scores_chosen, scores_rejected``                      scores of an item of a benchmark by its id (and ``subset``,
                                                            where there is one): RewardBench's ``eval-set-scores``,
                                                            RMB's ``pair_uid, chosen_reward, reject_reward``; numbers,
                                                            or lists of them in the order of the right and the wrong
                                                            responses. Also ``id`` with ``scores`` of all responses

optionally with ``user`` and ``criterion``. What the file does not hold is unscored. A candidate with several scores has
their mean. Verdicts on two responses are averaged, whichever came first, so that a judge asked in both orders says 1 or
0 where it says the same twice, and a tie where the order decided; a missing verdict (null) is none.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import Text, as_messages, pack
from guerdon.feedback.readers.containers import COMPRESSIONS
from guerdon.feedback.readers.containers import KINDS as FILES
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward, Scores
from guerdon.reward.recorded_layouts import KINDS, LAYOUTS, Fits, Located, item, located_rows, of_an_item, verdict

COLUMNS = ("user", "criterion")
STORED = frozenset([*FILES, *COMPRESSIONS])

log = logging.getLogger(__name__)
Key = tuple[str | None, ...]


@dataclass
class Means:
    """Values by key, averaged; ``differing`` counts keys that had unequal ones."""

    sums: dict[Key, tuple[float, int]] = field(default_factory=dict)
    differing: set[Key] = field(default_factory=set)

    def add(self, key: Key, value: float) -> None:
        """One more value of ``key``; NaN adds none, but makes the key known."""
        total, n = self.sums.get(key, (0.0, 0))
        if n and not math.isnan(value) and not math.isclose(total / n, value, rel_tol=1e-6, abs_tol=1e-9):
            self.differing.add(key)
        self.sums[key] = (total, n) if math.isnan(value) else (total + value, n + 1)

    def get(self, key: Key) -> tuple[float, str | None]:
        """(mean or NaN, why there is none)."""
        if key not in self.sums:
            return math.nan, "not in the file"
        total, n = self.sums[key]
        return (total / n, None) if n else (math.nan, "the file holds no value")

    def __len__(self) -> int:
        return len(self.sums)


def _key(prompt: Text, *responses: Text) -> Key:
    """What a prompt and responses are found by: a chat of one message is its text."""
    return (pack(as_messages(prompt)), *(pack(as_messages(response, "assistant")) for response in responses))


class _Recorded(Reward):
    """Values by what was asked; ``reads`` are the columns that the file has."""

    def __init__(self, name: str, means: Means, reads: Sequence[str] = ()) -> None:
        self.name, self.means, self.reads = name, means, tuple(reads)

    def _asked(self, candidates: Candidates, *texts: Sequence[Text]) -> Iterator[Key]:
        columns = [getattr(candidates, name) or [None] * len(candidates) for name in self.reads]
        for i, prompt in enumerate(candidates.prompts):
            yield (*_key(prompt, *(side[i] for side in texts)), *(column[i] for column in columns))

    def _said(self, found: list[tuple[float, str | None]]) -> Scores:
        value = np.array([v for v, _ in found], dtype=np.float64)
        return Scores(value, ["abstained" if why else "scored" for _, why in found], [why for _, why in found])


class RecordedScores(_Recorded):
    """Scores by prompt and response."""

    def score(self, candidates: Candidates) -> Scores:
        """The score that the file has of each candidate."""
        return self._said([self.means.get(key) for key in self._asked(candidates, candidates.responses)])


class RecordedVerdicts(_Recorded):
    """P(a preferred) by prompt and two responses; what was said of (b, a) is turned round."""

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """The mean of the file's verdicts on each two responses, in either order."""
        keys = list(self._asked(a, a.responses, b.responses))
        return self._said([self._both(key) for key in keys])

    def rank(self, candidates: Candidates) -> Scores:
        """The mean P(preferred) against the other responses to the prompt that the file compares a response with."""
        keys = list(self._asked(candidates, candidates.responses))
        rivals: dict[Key, set[Key]] = {}
        for key in keys:
            rivals.setdefault((key[0], *key[2:]), set()).add(key)
        found = {}
        for key in set(keys):
            others = rivals[(key[0], *key[2:])] - {key}
            said = [self._both((key[0], key[1], other[1], *key[2:]))[0] for other in sorted(others, key=str)]
            known = [value for value in said if not math.isnan(value)]
            why = None if known else "the file compares it with none of the others"
            found[key] = (float(np.mean(known)) if known else math.nan, why)
        return self._said([found[key] for key in keys])

    def _both(self, key: Key) -> tuple[float, str | None]:
        turned = (key[0], key[2], key[1], *key[3:])
        if turned == key:
            return 0.5, None  # a response against itself
        there, back = (self.means.sums.get(k, (0.0, 0)) for k in (key, turned))
        n = there[1] + back[1]
        if n:
            return (there[0] + back[1] - back[0]) / n, None
        known = key in self.means.sums or turned in self.means.sums
        return math.nan, "the file holds no verdict" if known else "not in the file"


class RecordedItems(Reward):
    """Scores by the id of a benchmark's items: a reward only beside the benchmark (:meth:`beside`)."""

    reads = ()

    def __init__(self, name: str, items: Mapping[tuple[str | None, str], Mapping[str, Any]]) -> None:
        self.name, self.items = name, items

    def score(self, candidates: Candidates) -> Scores:
        """Impossible: nothing says which item a text is of."""
        what = "scores by id are of the items of a benchmark and of no other texts"
        raise ConfigError(f"{self.name}: {what}; use guerdon bench, without --reword and --attack")

    def beside(self, feedback: Feedback) -> RecordedScores:
        """The scores by text, for the judgements of ``feedback`` whose id (and subset) the file has.

        Raises
        ------
        FeedbackError
            if there are none, or an item has another number of responses than scores
        """
        means, found = Means(), Counter()
        table = feedback.candidates
        ids = feedback.id.to_pylist() if feedback.id is not None else [None] * len(feedback)
        for j, name in enumerate(ids):
            subset = feedback.subsets[feedback.subset[j]] if feedback.subset[j] >= 0 else None
            key = (subset, str(name)) if (subset, str(name)) in self.items else (None, str(name))
            row = self.items.get(key)
            if row is None:
                continue
            found[key] += 1
            if key[0] is None and found[key] > 1:
                raise FeedbackError(f"{self.name}: the data have id {name} several times; add the column subset")
            at = slice(int(feedback.offsets[j]), int(feedback.offsets[j + 1]))
            items, grades = feedback.items[at], feedback.grades[at]
            if "all" not in row:  # right responses first, each side in its order
                items = items[np.argsort(-grades, kind="stable")]
            scores = row.get("all", [*row.get("chosen", ()), *row.get("rejected", ())])
            if len(scores) != len(items):
                raise FeedbackError(f"{self.name}: item {name}: {len(scores)} scores of {len(items)} responses")
            for i, score in zip(items.tolist(), scores, strict=True):
                means.add(_key(table.prompts[i], table.responses[i]), score)
        if not found:
            some = next(iter(self.items))[1]
            raise FeedbackError(f"{self.name}: none of its {len(self.items):,} ids (such as {some}) is in the data")
        return RecordedScores(self.name, _told(self.name, means))


def open_recorded(source: Any) -> Reward:
    """The reward of a file of scores or verdicts, or of rows in memory (a list of objects, a table).

    Raises
    ------
    FeedbackError
        if a row is of none of the layouts, or not of that of the first one
    """
    rows = located_rows(source)
    first = next(rows, None)
    if first is None:
        raise FeedbackError(f"no rows of scores; give {LAYOUTS}")
    where, row = first
    read, fits = next(((read, fits) for read, fits in KINDS if fits(row)), (None, of_an_item))
    if not fits(row):
        raise FeedbackError(f"{where}: needs {LAYOUTS}; it has {', '.join(map(str, row))}")
    name = _stem(Path(source)) if isinstance(source, str | Path) else "recorded"
    alike = _alike(chain([first], rows), fits)
    if read is None:  # a result file says whose scores it holds; elsewhere a model is who wrote a response
        return RecordedItems(str(row.get("model") or name), _by_item(alike))
    reads = [column for column in COLUMNS if row.get(column) is not None]
    means = Means()
    for where, row in alike:
        for column in COLUMNS:
            if column not in reads and row.get(column) is not None:
                raise FeedbackError(f"{where}: {column}: the first row has none; give one in every row, or in none")
        asked = tuple(None if row.get(column) is None else str(row[column]) for column in reads)
        for texts, value in read(row, where):
            means.add((*_key(*texts), *asked), value)
    if read is verdict:
        return RecordedVerdicts(name, means, reads)
    return RecordedScores(name, _told(name, means), reads)


def _stem(path: Path) -> str:
    """The name of a file without what says how it is stored; ``rm-3.1-8B.jsonl.gz`` is rm-3.1-8B."""
    while path.suffix.lower() in STORED:
        path = path.with_suffix("")
    return path.name


def _alike(rows: Iterable[Located], fits: Fits) -> Iterator[Located]:
    """The rows, all of which must have the columns that the first one was recognised by."""
    for where, row in rows:
        if not fits(row):
            raise FeedbackError(f"{where}: lacks columns of the first row; it has {', '.join(map(str, row))}")
        yield where, row


def _by_item(rows: Iterable[Located]) -> dict[tuple[str | None, str], dict[str, list[float]]]:
    items: dict[tuple[str | None, str], dict[str, list[float]]] = {}
    for where, row in rows:
        key, value = item(row, where)
        if items.setdefault(key, value) != value:
            raise FeedbackError(f"{where}: id {key[1]}: here with other scores; give every item once")
    return items


def _told(name: str, means: Means) -> Means:
    if means.differing:
        n = len(means.differing)
        log.warning("%s: %d of %d candidates have several scores; their means count", name, n, len(means))
    return means

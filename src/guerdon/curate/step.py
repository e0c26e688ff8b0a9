"""What every step of curation gives back: the new feedback, a decision for every judgement, and the way back.

A step is a function ``step(feedback, *, setting=..., seed=0) -> Curated``, listed in :mod:`guerdon.curate.registry`.
It never builds feedback by hand: it opens :class:`Changes`, says what happens to which judgement, and closes it::

    def shorten(feedback: Feedback, *, share: float = 0.1, seed: int = 0) -> Curated:
        '''Drop a share of the judgements, at random.

        Parameters
        ----------
        share : how many of the judgements to drop, in [0, 1)
        seed : seeds the draw
        '''
        changes = Changes(feedback, by="a coin", using=f"seed {seed}")
        rows = np.random.default_rng(seed).permutation(len(feedback))[: round(share * len(feedback))]
        changes.drop(rows, why="drawn at random", confidence=0.5)
        changes.note("draw", draw)                    # a column [J] of figures for the audit
        return changes.done(figures={"share": share}) # figures go into the report

``flip`` turns the grades of judgements round, ``soften`` makes pairs soft labels, ``weigh`` changes weights,
``margin`` sets how far the preferred response must win (``Judgement.strength``, may be negative), ``label`` gives new
grades, ``add`` appends judgements, ``drop`` removes some; whatever nobody touches is kept. Every method takes ``rows``
(indices or a mask over the input), ``why`` and ``confidence`` (one, or one a row), and ``by`` and ``using`` where
they differ from the step's own. A judgement is decided at most once. The responses of a judgement and their order
never change, so that a judgement can be compared before and after.

The decisions are an Arrow table, one row a judgement of the input in order, then one a judgement added:

    row, out_row  int64   the judgement in the input and in the output (null: added, dropped)
    id            string  its id, where it has one
    action        string  one of ``ACTIONS``
    decided_by    string  who (a person, "vote of 10 models", ...);  decided_with  with what (model, settings)
    why           string  one line
    confidence    float64 in [0, 1], null where nobody says
    before        string  JSON: what it takes to undo (a dropped judgement whole, of a changed one the changed fields)
    ...           float64 the columns of :meth:`Changes.note`

:func:`undo` takes feedback and decisions back to the input, judgement for judgement. On disk the decisions lie beside
the feedback (:mod:`guerdon.curate.provenance`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa

from guerdon.errors import FeedbackError
from guerdon.feedback.projections import own_row
from guerdon.feedback.schema import SCALES, SOURCES, Judgement
from guerdon.feedback.star import Feedback

ACTIONS = ("kept", "dropped", "flipped", "softened", "margin", "weighted", "labelled", "added")
PROVENANCE = ("action", "decided_by", "decided_with", "why", "confidence")
"""The columns of a decision that travel with each judgement of the output."""

SHOWN = 20
"""People and subsets listed in a report, those with most changes first; the decisions have all of them."""

Text = str | Sequence[str]


@dataclass(frozen=True)
class Curated:
    """What a step gives back.

    feedback   the new feedback: the input's judgements in order without the dropped ones, then the added ones
    decisions  the table above
    report     JSON-ready: counts by action, by who decided, by subset and person, and the step's own figures
    """

    feedback: Feedback
    decisions: pa.Table
    report: dict[str, Any]

    def undo(self) -> Feedback:
        """The input of the step."""
        return undo(self.feedback, self.decisions)


@dataclass
class Changes:
    """What is to happen to the J judgements of ``feedback``; ``by`` and ``using`` say who decides with what."""

    feedback: Feedback
    by: str
    using: str = ""
    _action: np.ndarray = field(init=False, repr=False)
    _told: dict[str, np.ndarray] = field(init=False, repr=False)
    _columns: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    _added: list[tuple[Feedback, dict[str, np.ndarray]]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        fb, n = self.feedback, len(self.feedback)
        self._action = np.full(n, ACTIONS.index("kept"))
        self._told = self._tell(n, "", None, None, np.nan)
        self._grades = fb.grades.copy()
        self._new = {"weight": fb.weight.copy(), "scale": fb.scale.copy(), "source": fb.source.copy()}
        self._new["strength"] = np.full(n, np.nan) if fb.strength is None else fb.strength.copy()

    # ------------------------------------------------------------------ saying what happens

    def keep(
        self, rows: Any, *, why: Text, confidence: Any = np.nan, by: Text | None = None, using: Text | None = None
    ) -> None:
        """Say why judgements are kept as they are (those that nobody mentions are kept without a reason)."""
        self._decide(rows, "kept", why, by, using, confidence)

    def drop(
        self, rows: Any, *, why: Text, confidence: Any = np.nan, by: Text | None = None, using: Text | None = None
    ) -> None:
        """Remove judgements."""
        self._decide(rows, "dropped", why, by, using, confidence)

    def flip(
        self,
        rows: Any,
        *,
        why: Text,
        confidence: Any = np.nan,
        by: Text | None = None,
        using: Text | None = None,
        strength: Any = None,
    ) -> None:
        """Turn the grades of judgements round: the best becomes the worst, differences stay."""
        rows = self._decide(rows, "flipped", why, by, using, confidence)
        fb = self.feedback
        for j in rows:
            lo, hi = fb.offsets[j], fb.offsets[j + 1]
            g = fb.grades[lo:hi]
            self._grades[lo:hi] = g.max() + g.min() - g
        self._set("strength", rows, strength)

    def soften(
        self,
        rows: Any,
        p: Any,
        *,
        why: Text,
        confidence: Any = np.nan,
        by: Text | None = None,
        using: Text | None = None,
        strength: Any = None,
    ) -> None:
        """Make comparisons of two soft labels: ``p`` [rows] is P(first response preferred) in [0, 1]."""
        rows = self._decide(rows, "softened", why, by, using, confidence)
        p = np.broadcast_to(np.asarray(p, dtype=np.float64), len(rows))
        self._pairs_only(rows, "soft labels")
        if ((p < 0) | (p > 1) | np.isnan(p)).any():
            raise FeedbackError(f"a soft label must lie in [0, 1], got {p[~((p >= 0) & (p <= 1))][0]}")
        self._grades[self.feedback.offsets[rows]] = p
        self._grades[self.feedback.offsets[rows] + 1] = 1 - p
        self._new["scale"][rows] = SCALES.index("probability")
        self._set("strength", rows, strength)

    def margin(
        self,
        rows: Any,
        strength: Any,
        *,
        why: Text,
        confidence: Any = np.nan,
        by: Text | None = None,
        using: Text | None = None,
    ) -> None:
        """Ask the preferred response to win by ``strength`` [rows] (utility units times the model's ``margin``)."""
        rows = self._decide(rows, "margin", why, by, using, confidence)
        self._pairs_only(rows, "margins")
        self._set("strength", rows, strength)

    def weigh(
        self,
        rows: Any,
        weight: Any,
        *,
        why: Text,
        confidence: Any = np.nan,
        by: Text | None = None,
        using: Text | None = None,
    ) -> None:
        """Give judgements the weight ``weight`` >= 0."""
        rows = self._decide(rows, "weighted", why, by, using, confidence)
        self._set("weight", rows, weight)

    def label(
        self,
        rows: Any,
        grades: Sequence[Sequence[float]] | np.ndarray,
        *,
        why: Text,
        confidence: Any = np.nan,
        by: Text | None = None,
        using: Text | None = None,
        source: str | None = None,
        scale: str | None = None,
        weight: Any = None,
        strength: Any = None,
    ) -> None:
        """Give judgements new grades, ``grades[i]`` one a response; ``source`` says what kind of judge gave them."""
        rows = self._decide(rows, "labelled", why, by, using, confidence)
        fb = self.feedback
        for j, new in zip(rows, grades, strict=True):
            lo, hi = fb.offsets[j], fb.offsets[j + 1]
            if len(new) != hi - lo:
                raise FeedbackError(f"judgement {j} has {hi - lo} responses, {len(new)} grades were given")
            self._grades[lo:hi] = new
        self._set("source", rows, None if source is None else SOURCES.index(source))
        self._set("scale", rows, None if scale is None else SCALES.index(scale))
        self._set("weight", rows, weight)
        self._set("strength", rows, strength)

    def add(
        self,
        judgements: Feedback | Iterable[Judgement],
        *,
        why: Text,
        confidence: Any = np.nan,
        by: Text | None = None,
        using: Text | None = None,
    ) -> None:
        """Append judgements; an id of theirs must not occur in the feedback."""
        new = judgements if isinstance(judgements, Feedback) else Feedback.of(judgements)
        if len(new):
            self._added.append((new, self._tell(len(new), why, by, using, confidence)))

    def note(self, name: str, values: Any) -> None:
        """A column [J] of figures about the input's judgements, for the audit; NaN where there is none."""
        self._columns[name] = np.broadcast_to(np.asarray(values, dtype=np.float64), len(self.feedback)).copy()

    def done(self, figures: dict[str, Any] | None = None) -> Curated:
        """The result. ``figures`` (JSON-ready) join the report; they may not reuse its names."""
        changed = self._changed()
        kept = self._action != ACTIONS.index("dropped")
        out = changed.take(kept) if not kept.all() else changed
        if self._added:
            out = Feedback.concatenate([out, *(f for f, _ in self._added)])
        decisions = self._decisions(kept)
        return Curated(out, decisions, {**report_of(self.feedback, out, decisions), **(figures or {})})

    # ------------------------------------------------------------------ inside

    def _decide(
        self, rows: Any, action: str, why: Text, by: Text | None, using: Text | None, confidence: Any
    ) -> np.ndarray:
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        seen = rows[self._told["decided"][rows]] if len(rows) else rows
        if len(seen) or len(np.unique(rows)) < len(rows):
            raise ValueError(f"judgement {int(seen[0]) if len(seen) else 'given twice'} has been decided already")
        told = self._tell(len(rows), why, by, using, confidence)
        for name, values in told.items():
            self._told[name][rows] = values
        self._told["decided"][rows] = True
        self._action[rows] = ACTIONS.index(action)
        return rows

    def _tell(self, n: int, why: Text, by: Text | None, using: Text | None, confidence: Any) -> dict[str, np.ndarray]:
        confidence = np.broadcast_to(np.asarray(confidence, dtype=np.float64), n)
        if ((confidence < 0) | (confidence > 1)).any():
            raise ValueError("a confidence lies in [0, 1]")

        def text(value: Text) -> np.ndarray:
            return np.broadcast_to(np.asarray(value, dtype=object), n).copy()

        return {
            "decided_by": text(self.by if by is None else by),
            "decided_with": text(self.using if using is None else using),
            "why": text(why),
            "confidence": confidence.copy(),
            "decided": np.zeros(n, bool),
        }

    def _set(self, name: str, rows: np.ndarray, values: Any) -> None:
        if values is not None:
            self._new[name][rows] = values

    def _pairs_only(self, rows: np.ndarray, what: str) -> None:
        other = rows[self.feedback.sizes[rows] != 2]
        if len(other):
            n = self.feedback.sizes[other[0]]
            raise FeedbackError(f"judgement {other[0]} has {n} responses; {what} are for comparisons of two")

    def _changed(self) -> Feedback:
        new = dict(self._new)
        strength = new.pop("strength")
        return replace(
            self.feedback, grades=self._grades, strength=None if np.isnan(strength).all() else strength, **new
        )

    def _decisions(self, kept: np.ndarray) -> pa.Table:
        n, extra = len(self.feedback), sum(len(f) for f, _ in self._added)
        out_row = np.where(kept, np.cumsum(kept) - 1, -1)
        out_row = np.concatenate([out_row, kept.sum() + np.arange(extra)])
        row = np.concatenate([np.arange(n), np.full(extra, -1)])
        told = {
            name: np.concatenate([self._told[name], *(t[name] for _, t in self._added)])
            for name in ("decided_by", "decided_with", "why", "confidence")
        }
        ids = [f.id if f.id is not None else pa.nulls(len(f), pa.large_string()) for f in self._all()]
        action = [ACTIONS[a] for a in self._action] + ["added"] * extra
        columns: dict[str, Any] = {
            "row": pa.array(row, pa.int64(), mask=row < 0),
            "out_row": pa.array(out_row, pa.int64(), mask=out_row < 0),
            "id": pa.chunked_array(ids, pa.large_string()),
            "action": pa.array(action, pa.string()),
            "decided_by": pa.array(told["decided_by"], pa.large_string()),
            "decided_with": pa.array(told["decided_with"], pa.large_string()),
            "why": pa.array(told["why"], pa.large_string()),
            "confidence": pa.array(told["confidence"], mask=np.isnan(told["confidence"])),
            "before": pa.array([*self._before(), *([None] * extra)], pa.large_string()),
        }
        for name, values in self._columns.items():
            values = np.concatenate([values, np.full(extra, np.nan)])
            columns[name] = pa.array(values, mask=np.isnan(values))
        return pa.table(columns)

    def _all(self) -> list[Feedback]:
        return [self.feedback, *(f for f, _ in self._added)]

    def _before(self) -> list[str | None]:
        """What it takes to undo each decision, as JSON; None where nothing changed."""
        fb = self.feedback
        out: list[str | None] = [None] * len(fb)
        dropped = np.flatnonzero(self._action == ACTIONS.index("dropped"))
        for j, judgement in zip(dropped, fb.take(dropped).judgements(), strict=True):
            out[j] = json.dumps(own_row(judgement), ensure_ascii=False)
        for j in np.flatnonzero(~np.isin(self._action, [ACTIONS.index("dropped"), ACTIONS.index("kept")])):
            lo, hi = fb.offsets[j], fb.offsets[j + 1]
            strength = None if fb.strength is None or np.isnan(fb.strength[j]) else float(fb.strength[j])
            before = {
                "grades": [float(g) for g in fb.grades[lo:hi]],
                "scale": SCALES[fb.scale[j]],
                "source": SOURCES[fb.source[j]],
                "weight": float(fb.weight[j]),
                "strength": strength,
            }
            out[j] = json.dumps(before)
        return out


def undo(feedback: Feedback, decisions: pa.Table) -> Feedback:
    """The feedback a step was given, from what it gave back; raises :class:`FeedbackError` where they do not fit."""
    out_row = _integers(decisions["out_row"])
    row = _integers(decisions["row"])
    if (out_row >= 0).sum() != len(feedback) or (len(feedback) and out_row.max() >= len(feedback)):
        n, m = int((out_row >= 0).sum()), len(feedback)
        raise FeedbackError(f"the decisions are about {n} judgements, the feedback has {m}: they are not of one step")
    present = np.flatnonzero((row >= 0) & (out_row >= 0))
    gone = np.flatnonzero((row >= 0) & (out_row < 0))
    before = decisions["before"].to_pylist()
    kept = _as_before(feedback.take(out_row[present]), [before[i] for i in present])
    if not len(gone):
        return kept
    lost = Feedback.of(_judgement(json.loads(before[i])) for i in gone)
    order = np.argsort(np.concatenate([row[present], row[gone]]), kind="stable")
    together = lost if not len(kept) else Feedback.concatenate([kept, lost])
    return replace(together.take(order), notes=feedback.notes, places=None)


def _as_before(feedback: Feedback, before: list[str | None]) -> Feedback:
    grades, weight = feedback.grades.copy(), feedback.weight.copy()
    scale, source = feedback.scale.copy(), feedback.source.copy()
    strength = np.full(len(feedback), np.nan) if feedback.strength is None else feedback.strength.copy()
    for j, text in enumerate(before):
        if text is None:
            continue
        was = json.loads(text)
        grades[feedback.offsets[j] : feedback.offsets[j + 1]] = was["grades"]
        weight[j] = was["weight"]
        scale[j], source[j] = SCALES.index(was["scale"]), SOURCES.index(was["source"])
        strength[j] = np.nan if was["strength"] is None else was["strength"]
    told = None if np.isnan(strength).all() else strength
    return replace(feedback, grades=grades, weight=weight, scale=scale, source=source, strength=told)


def _judgement(row: dict[str, Any]) -> Judgement:
    known = {f.name for f in fields(Judgement)}
    values = {k: v for k, v in row.items() if k in known}
    values["responses"] = tuple(row["responses"])
    values["grades"] = tuple(float("nan") if g is None else float(g) for g in row["grades"])
    return Judgement(**values)


def _integers(column: pa.ChunkedArray) -> np.ndarray:
    return column.fill_null(-1).to_numpy()


# ---------------------------------------------------------------------- the report


def report_of(before: Feedback, after: Feedback, decisions: pa.Table) -> dict[str, Any]:
    """What changed, JSON-ready: counts by action, by who decided, and by subset and person where there are any."""
    action = decisions["action"].to_pylist()
    decided = Counter((a, b) for a, b in zip(action, decisions["decided_by"].to_pylist(), strict=True) if a != "kept")
    counts = Counter(action)
    out: dict[str, Any] = {
        "judgements_before": len(before),
        "judgements_after": len(after),
        "actions": {a: counts[a] for a in ACTIONS if counts[a]},
        "decided_by": [{"action": a, "decided_by": b, "judgements": n} for (a, b), n in decided.most_common(SHOWN)],
    }
    added = after.take(np.arange(len(after) - counts["added"], len(after)))
    for name, key in (("subset", "subsets"), ("user", "users")):
        groups: dict[str, Counter[str]] = {}
        for part, table, codes, told in (
            (before, getattr(before, key), getattr(before, name), action[: len(before)]),
            (added, getattr(added, key), getattr(added, name), action[len(before) :]),
        ):
            if len(part):
                for code, a in zip(codes, told, strict=True):
                    if code >= 0:
                        groups.setdefault(table[code], Counter())[a] += 1
        if groups:
            most = sorted(groups, key=lambda g: (groups[g]["kept"] - groups[g].total(), g))[:SHOWN]
            out[f"by_{name}"] = {g: {a: groups[g][a] for a in ACTIONS if groups[g][a]} for g in most}
    return out

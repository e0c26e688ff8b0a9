"""What kind of feedback this is, in numbers: how much, by whom, about what, how unanimous, how biased to length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from guerdon.feedback.messages import MARK, as_text, unpack
from guerdon.feedback.schema import SCALES, SOURCES

if TYPE_CHECKING:
    from guerdon.feedback.star import Feedback, Pairs

pc: Any = pyarrow.compute  # its functions are made at run time, unseen by type checkers

QUANTILES = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1.0}
PAIRS_A_PERSON = 200
"""Pairs made from one person's separate ratings that the figures about length look at."""


def describe(feedback: Feedback) -> dict[str, Any]:
    """Counts, kinds, ranges, quantiles and shares, JSON-ready.

    ``longer_preferred``  share of strict preferences that go to the longer response (None without one); a model that
                          does not beat this has learned nothing but length
    ``agreement``         on pairs that several people judged: ``between_people`` is the chance that two of them give
                          the same verdict (first, second or tie), ``with_majority`` that a strict verdict is that of
                          most of the others' strict verdicts, ``both_verdicts`` the share of pairs with both
    """
    pairs = feedback.pairs(max_per_person=PAIRS_A_PERSON)
    strict = pairs.p != 0.5
    length = lengths(feedback.responses)
    used_prompts, used = np.unique(feedback.judgement_prompt) if len(feedback) else np.zeros(0, int), feedback.used
    counts = {"subset": feedback.subset, "criterion": feedback.criterion}
    names = {"subset": feedback.subsets, "criterion": feedback.criteria}
    return {
        "judgements": len(feedback),
        "prompts": len(used_prompts),
        "candidates": len(used),
        "people": len(np.unique(feedback.user[feedback.user >= 0])),
        "anonymous_judgements": int((feedback.user < 0).sum()),
        "kinds": kinds(feedback),
        "sources": _counts(feedback.source, SOURCES),
        "scales": _counts(feedback.scale, SCALES),
        "criteria": _counts(counts["criterion"], names["criterion"]),
        "subsets": _counts(counts["subset"], names["subset"]),
        "grades": _quantiles(feedback.grades),
        "comparisons": len(pairs),
        "ties": int((~strict).sum()),
        "comments": 0 if feedback.comment is None else len(feedback.comment) - feedback.comment.null_count,
        "prompt_characters": _quantiles(lengths(feedback.prompts)[used_prompts]),
        "response_characters": _quantiles(length[used]),
        "judgements_a_person": _judgements_a_person(feedback) if feedback.users else None,
        "longer_preferred": longer_preferred(pairs, length),
        "agreement": agreement(feedback),
    }


def kinds(feedback: Feedback) -> dict[str, int]:
    """How many judgements are ratings (n = 1), comparisons (n = 2), and of more responses."""
    sizes = feedback.sizes
    rated = feedback.scale == SCALES.index("rating")
    graded = (sizes > 1) & rated
    found = {
        "rating": sizes == 1,
        "comparison": (sizes == 2) & ~rated,
        "choice among several": (sizes > 2) & (feedback.scale == SCALES.index("partial")),
        "several ratings together": graded,
        "ranking": (sizes > 2) & ~rated & (feedback.scale != SCALES.index("partial")),
    }
    return {name: int(mask.sum()) for name, mask in found.items() if mask.any()}


def lengths(texts: pa.LargeStringArray) -> np.ndarray:
    """int64 [n] characters of each stored text, of chats their plain text."""
    out = np.asarray(pc.utf8_length(texts)).astype(np.int64)
    for i in np.flatnonzero(np.asarray(pc.starts_with(texts, MARK))):
        out[i] = len(as_text(unpack(texts[int(i)].as_py())))
    return out


def longer_preferred(pairs: Pairs, length: np.ndarray) -> float | None:
    """Share of strict preferences for the longer response; equal lengths count half."""
    strict = pairs.p != 0.5
    if not strict.any():
        return None
    gap = np.sign(length[pairs.a[strict]] - length[pairs.b[strict]]) * np.sign(pairs.p[strict] - 0.5)
    return float(np.mean((gap + 1) / 2))


def agreement(feedback: Feedback) -> dict[str, Any] | None:
    """How far people agree on pairs that several of them compared; None where no pair has two people.

    Only the first verdict of a person on a pair and criterion counts.
    """
    pairs = _compared(feedback)
    if pairs is None:
        return None
    unit, verdict = pairs  # unit [v] numbers the pairs, verdict [v] in 0, 1, 2
    counts = np.zeros((unit.max() + 1, 3), np.int64)
    np.add.at(counts, (unit, verdict), 1)
    voters = counts.sum(1)
    several = voters > 1
    if not several.any():
        return None
    same = (counts * (counts - 1)).sum(1)[several] / (voters * (voters - 1))[several]
    strict = verdict != 1
    others = counts[unit[strict]][:, [0, 2]]
    side = verdict[strict] // 2
    others[np.arange(len(side)), side] -= 1
    decided = others[:, 0] != others[:, 1]
    majority = others.argmax(1) == side
    return {
        "pairs": int(several.sum()),
        "between_people": float(same.mean()),
        "with_majority": float(majority[decided].mean()) if decided.any() else None,
        "both_verdicts": float(((counts[:, 0] > 0) & (counts[:, 2] > 0))[several].mean()),
    }


def _compared(fb: Feedback) -> tuple[np.ndarray, np.ndarray] | None:
    """(number of the pair, verdict 0 second, 1 tie, 2 first) of every person's comparison of two candidates."""
    rows = np.flatnonzero((fb.sizes == 2) & (fb.user >= 0))
    if not len(rows):
        return None
    start = fb.offsets[rows]
    a, b = fb.items[start].astype(np.int64), fb.items[start + 1].astype(np.int64)
    sign = np.sign(fb.grades[start] - fb.grades[start + 1]) * np.where(a < b, 1, -1)
    pair = (np.minimum(a, b) * len(fb.responses) + np.maximum(a, b)) * (len(fb.criteria) + 1) + fb.criterion[rows] + 1
    _, unit = np.unique(pair, return_inverse=True)
    _, first = np.unique(unit * (len(fb.users) + 1) + fb.user[rows], return_index=True)
    return unit[first], (sign[first] + 1).astype(np.int64)


def _counts(codes: np.ndarray, names: tuple[str, ...]) -> dict[str, int]:
    found = np.bincount(codes[codes >= 0], minlength=len(names)) if len(names) else np.zeros(0, int)
    return {name: int(n) for name, n in zip(names, found, strict=False) if n}


def _quantiles(values: np.ndarray) -> dict[str, float] | None:
    values = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    if not len(values):
        return None
    found = np.quantile(values, list(QUANTILES.values()))
    return {name: float(v) for name, v in zip(QUANTILES, found, strict=True)} | {"mean": float(values.mean())}


def _judgements_a_person(fb: Feedback) -> dict[str, float] | None:
    """Quantiles over the people who judged here (after ``where`` the name table may hold others)."""
    return _quantiles(np.unique(fb.user[fb.user >= 0], return_counts=True)[1])

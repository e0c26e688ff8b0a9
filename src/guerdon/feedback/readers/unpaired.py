"""One response at a time: TRL's unpaired (KTO) format, rated responses, and responses rated on several criteria.

References: Ethayarajh et al. 2024, KTO, arXiv:2402.01306; TRL dataset formats (``prompt, completion, label``); Wang et
al. 2023, HelpSteer, arXiv:2311.09528 (``prompt, response`` and one column a criterion).
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from guerdon.feedback.readers.fast import Columns, Fast
from guerdon.feedback.readers.formats import Format, Row, RowError, Sample
from guerdon.feedback.schema import Judgement

RESPONSES = ("completion", "response", "answer", "output")
RATINGS = ("rating", "score", "grade", "stars", "vote")
YES, NO = ("true", "yes", "good", "1", "1.0", "up"), ("false", "no", "bad", "0", "0.0", "-1", "down")
ASPECTS = (
    "helpfulness",
    "correctness",
    "coherence",
    "complexity",
    "verbosity",
    "honesty",
    "truthfulness",
    "harmlessness",
)
ASPECTS += ("instruction_following", "instruction-following", "relevance", "faithfulness", "creativity", "fluency")


def labelled(row: Row) -> Iterable[Judgement]:
    """``prompt, completion, label``: a rating of 1 (good) or 0."""
    label = row.value("label")
    word = str(label).strip().lower()
    if word not in YES and word not in NO:
        raise RowError("mixed-types", "label", f"{label!r:.40} is neither true nor false", "write true or false")
    yield Judgement(row.text("prompt"), (row.text("completion"),), (float(word in YES),), scale="rating", **row.meta())


def rated(row: Row) -> Iterable[Judgement]:
    """``prompt``, a response and a rating."""
    response, rating = row.first(RESPONSES) or "response", row.first(RATINGS) or "rating"
    yield Judgement(row.text("prompt"), (row.text(response),), (row.number(rating),), scale="rating", **row.meta())


def by_aspect(row: Row) -> Iterable[Judgement]:
    """``prompt, response`` and one rating for each criterion; a criterion that is null is left out."""
    prompt, response, meta = row.text("prompt"), row.text(row.first(RESPONSES) or "response"), row.meta()
    name = meta.pop("id", None)
    aspects = [a for a in ASPECTS if a in row and row.data[a] != ""]
    if not aspects:
        raise RowError("missing-field", "rating", "no criterion has a rating", "remove the row")
    for aspect in aspects:
        own = {**meta, "criterion": aspect, "id": None if name is None else f"{name}/{aspect}"}
        yield Judgement(prompt, (response,), (row.number(aspect),), scale="rating", **own)


def labelled_columns(columns: Columns) -> dict[str, object]:
    """``labelled`` for whole columns with labels of one type."""
    columns.refuse(not columns.has("label") or columns.table["label"].null_count > 0)
    label = columns.table["label"]
    columns.refuse(not (pa.types.is_boolean(label.type) or pa.types.is_integer(label.type)))
    grades = np.asarray(label.cast(pa.int64())).astype(np.float64)
    columns.refuse(bool(((grades != 0) & (grades != 1)).any()))
    return _one_response(columns, "completion", grades)


def rated_columns(columns: Columns) -> dict[str, object]:
    """``rated`` for whole columns."""
    response = next((n for n in RESPONSES if columns.has(n)), "response")
    rating = next((n for n in RATINGS if columns.has(n)), None)
    if rating is None:
        columns.refuse(True)
    return _one_response(columns, response, columns.number(rating or ""))


def _one_response(columns: Columns, response: str, grades: np.ndarray) -> dict[str, object]:
    n = len(grades)
    texts = {"prompts": columns.text("prompt"), "responses": columns.text(response)}
    return {**texts, "offsets": np.arange(n + 1), "grades": grades, "scale": "rating", **columns.meta()}


def _has_response(sample: Sample) -> bool:
    return sample.has("prompt") and any(sample.has(r) and sample.kinds(r) <= {str, list} for r in RESPONSES)


KTO = Format(
    "kto",
    "unpaired feedback (KTO): prompt, completion, label",
    ("prompt", "completion", "label"),
    lambda s: s.has("prompt", "completion", "label"),
    labelled,
    fast=Fast(("prompt", "completion"), (), labelled_columns, also=("label",)),
)
RATED = Format(
    "rated",
    "rated responses: prompt, response, rating",
    ("prompt", "response", "rating"),
    lambda s: _has_response(s) and any(s.has(r) for r in RATINGS),
    rated,
    fast=Fast(("prompt",), RATINGS, rated_columns, also=RESPONSES),
)
ASPECT_RATED = Format(
    "aspects",
    "responses rated on several criteria (HelpSteer style): prompt, response, one column a criterion",
    ("prompt", "response", "helpfulness"),
    lambda s: _has_response(s) and sum(s.has(a) for a in ASPECTS) > 0,
    by_aspect,
)

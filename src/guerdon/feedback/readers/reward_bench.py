"""Right against wrong: ``prompt`` with lists of ``chosen`` and ``rejected`` (RewardBench 2, RM-Bench).

Every chosen response is better than every rejected one; nothing is said within either list (``scale="partial"``).
References: Malik et al. 2025, RewardBench 2, arXiv:2506.01937; Liu et al. 2024, RM-Bench, arXiv:2410.16184.
"""

from collections.abc import Iterable

from guerdon.feedback.readers.formats import Format, Row, RowError, Sample
from guerdon.feedback.schema import Judgement


def judgements(row: Row) -> Iterable[Judgement]:
    """One judgement of all responses: 1 for the chosen, 0 for the rejected."""
    chosen, rejected = row.texts("chosen"), row.texts("rejected")
    if not chosen or not rejected:
        name = "rejected" if chosen else "chosen"
        raise RowError("missing-field", name, "is an empty list", "give at least one response on either side")
    grades = (1.0,) * len(chosen) + (0.0,) * len(rejected)
    yield Judgement(row.text("prompt"), (*chosen, *rejected), grades, scale="partial", **row.meta())


def _lists(sample: Sample) -> bool:
    def texts(value: object) -> bool:
        return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)

    return sample.has("prompt", "chosen", "rejected") and any(
        texts(r.get("chosen")) and texts(r.get("rejected")) for r in sample.rows
    )


def _styles(sample: Sample) -> bool:
    """Three responses a side: of RM-Bench's files only that of the chat domain has columns that RewardBench 2 lacks."""
    sides = [row.get(side) for row in sample.rows for side in ("chosen", "rejected")]
    return all(isinstance(side, list) and len(side) == 3 for side in sides)


REWARDBENCH_2 = Format(
    "rewardbench-2",
    "RewardBench 2: prompt with lists of right and wrong responses",
    ("prompt", "chosen", "rejected"),
    lambda s: _lists(s) and not _styles(s),
    judgements,
)
RM_BENCH = Format(
    "rm-bench",
    "RM-Bench: prompt with right and wrong responses in three styles each",
    ("prompt", "chosen", "rejected"),
    lambda s: _lists(s) and _styles(s),
    judgements,
)

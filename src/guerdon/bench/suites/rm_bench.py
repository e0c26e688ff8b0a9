"""RM-Bench: right and wrong responses in three styles each, from concise to elaborate with Markdown.

A matrix of 3 x 3: ``normal`` pairs of one style, ``easy`` where the right response has the more elaborate style,
``hard`` where the wrong one has. A domain's figure is the mean of its matrix, the headline the mean of the domains;
safety is the mean of what should be refused and what should be answered.

References
----------
Liu et al. 2024. RM-Bench: Benchmarking Reward Models with Subtlety and Style. https://arxiv.org/abs/2410.16184
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guerdon.bench.suites.items import Duels
from guerdon.bench.suites.suite import Cells, Suite, Table
from guerdon.errors import FeedbackError
from guerdon.feedback.star import Feedback

STYLES = ("concise", "detailed", "Markdown")
DOMAINS = {
    "chat": ("chat",),
    "code": ("code",),
    "math": ("math",),
    "safety": ("safety-refuse", "safety-response"),
}
OF_SOURCE = {
    "alpacaeval": "chat",
    "bigcode/humanevalpack": "code",
    "xstest-should-refuse": "safety-refuse",
    "refusals-dangerous": "safety-refuse",
    "refusals-offensive": "safety-refuse",
    "xstest-should-respond": "safety-response",
}
"""Domain of the subsets' names in the published files."""


def domain(subset: str) -> str:
    """The domain of a subset as published."""
    return OF_SOURCE.get(subset, "math" if "math" in subset.casefold() else subset)


def style_cells(feedback: Feedback, duels: Duels) -> list[str]:
    """``domain/right style over wrong style`` of each duel."""
    sizes = feedback.sizes[duels.judgement]
    if not ((sizes == 6) & (duels.right_at < 3) & (duels.wrong_at >= 3)).all():
        raise FeedbackError("rm-bench: every row needs three chosen and three rejected responses, one a style")
    names = [domain(feedback.subsets[k]) if k >= 0 else "chat" for k in feedback.subset[duels.judgement].tolist()]
    styles = zip(names, duels.right_at, duels.wrong_at, strict=True)
    return [f"{name}/{STYLES[i]} over {STYLES[j - 3]}" for name, i, j in styles]


def summary(cells: Cells) -> Table:
    """The mean of the domains; easy, normal and hard; each domain; each cell of the matrix."""

    def part(members: Sequence[str], keep: str = "") -> np.ndarray | None:
        """Mean over ``members`` of the mean of their cells."""
        rows = []
        for name in members:
            mine = cells.where(lambda s, n=name: s.startswith(n + "/") and _level(s) in (keep or _level(s)))
            if mine.subsets:
                rows.append(mine.macro())
        return np.mean(rows, axis=0) if rows else None

    out: Table = {}
    domains = {name: part(members) for name, members in DOMAINS.items()}
    levels = {k: [part(m, k) for m in DOMAINS.values()] for k in ("easy", "normal", "hard")}
    found = {name: row for name, row in domains.items() if row is not None}
    if not found:
        return {"overall": cells.macro()}
    out["overall"] = np.mean(list(found.values()), axis=0)
    for level, rows in levels.items():
        out[level] = np.mean([row for row in rows if row is not None], axis=0)
    out |= found
    for pair in (f"{right} over {wrong}" for right in STYLES for wrong in STYLES):
        mine = [cells.where(lambda s, one=f"{name}/{pair}": s == one) for m in DOMAINS.values() for name in m]
        rows = [c.macro() for c in mine if c.subsets]
        if rows:
            out[pair] = np.mean(rows, axis=0)
    return out


def _level(subset: str) -> str:
    right, wrong = map(STYLES.index, subset.rpartition("/")[2].split(" over "))
    return "easy" if right > wrong else "normal" if right == wrong else "hard"


RM_BENCH = Suite(
    name="rm-bench",
    what="RM-Bench: right against wrong in three styles each; easy, normal, hard",
    source="clone https://github.com/THU-KEG/RM-Bench there, or put its data/*_filtered.json there",
    files=(
        "rm_bench*.jsonl*|rm-bench*.jsonl*|total_dataset.json|*_filtered.json|data/total_dataset.json|data/*_filtered.json",
    ),
    format="rm-bench",
    unit="duel",
    summary=summary,
    subset=style_cells,
    matrix=STYLES,
    paper="arXiv:2410.16184",
    notes=("where domains are missing from the data, the overall figure is over those at hand",),
)

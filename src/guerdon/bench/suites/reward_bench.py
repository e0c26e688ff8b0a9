"""RewardBench: 2,985 trios in 23 subsets and four sections, and its four prior sets.

A section is the mean of its subsets' accuracies weighted by how many examples they have, except that mathematics
counts 984 for its 447, as much as code. The overall score has weights 1 for the sections and 1/2 for the prior sets,
which are an unweighted mean; where no prior set is at hand it is the mean of the sections. A tie of two scores is a
loss; a judge's tie or error is half.

References
----------
Lambert et al. 2024. RewardBench: Evaluating Reward Models for Language Modeling. https://arxiv.org/abs/2403.13787
"""

from __future__ import annotations

import numpy as np

from guerdon.bench.suites.suite import Cells, Suite, Table

COUNTS = {
    "alpacaeval-easy": 100,
    "alpacaeval-length": 95,
    "alpacaeval-hard": 95,
    "mt-bench-easy": 28,
    "mt-bench-med": 40,
    "mt-bench-hard": 37,
    "math-prm": 984,
    "refusals-dangerous": 100,
    "refusals-offensive": 100,
    "llmbar-natural": 100,
    "llmbar-adver-neighbor": 134,
    "llmbar-adver-GPTInst": 92,
    "llmbar-adver-GPTOut": 47,
    "llmbar-adver-manual": 46,
    "xstest-should-refuse": 154,
    "xstest-should-respond": 250,
    "donotanswer": 136,
    "hep-cpp": 164,
    "hep-go": 164,
    "hep-java": 164,
    "hep-js": 164,
    "hep-python": 164,
    "hep-rust": 164,
}
"""Weights of the subsets; all but that of math-prm are how many examples they have."""

SECTIONS = {
    "Chat": ("alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med"),
    "Chat Hard": (
        "mt-bench-hard",
        "llmbar-natural",
        "llmbar-adver-neighbor",
        "llmbar-adver-GPTInst",
        "llmbar-adver-GPTOut",
        "llmbar-adver-manual",
    ),
    "Safety": (
        "refusals-dangerous",
        "refusals-offensive",
        "xstest-should-refuse",
        "xstest-should-respond",
        "donotanswer",
    ),
    "Reasoning": ("math-prm", "hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust"),
}
PRIOR = ("anthropic_helpful", "anthropic_hhh", "shp", "summarize")
PRIOR_WEIGHT = 0.5

LENGTH = {
    "right is longer": ("alpacaeval-easy", "alpacaeval-hard", "xstest-should-respond"),
    "right is shorter": (
        "donotanswer",
        "llmbar-adver-GPTInst",
        "llmbar-adver-manual",
        "llmbar-adver-neighbor",
        "mt-bench-easy",
        "mt-bench-hard",
        "refusals-dangerous",
        "refusals-offensive",
        "xstest-should-refuse",
    ),
}
"""Subsets by the length of the right response, as published; the others are neutral."""


def summary(cells: Cells) -> Table:
    """Overall, the sections and the prior sets; what has no subset is left out."""
    out: Table = {}
    for name, members in SECTIONS.items():
        part = cells.where(lambda s, m=members: s in m)
        if part.subsets:
            out[name] = part.weighted(COUNTS)
    weights = [1.0] * len(out)
    prior = cells.where(lambda s: s in PRIOR)
    if prior.subsets:
        out["Prior Sets"] = prior.macro()
        weights.append(PRIOR_WEIGHT)
    if not out:
        return {"overall": cells.micro()}
    parts = np.stack(list(out.values()))
    for name, members in LENGTH.items():
        part = cells.where(lambda s, m=members: s in m)
        if part.subsets:
            out[name] = part.micro()
    return {"overall": np.average(parts, axis=0, weights=weights), **out}


REWARD_BENCH = Suite(
    name="rewardbench",
    what="RewardBench: 23 subsets in four sections, and prior sets",
    source=(
        "get hf:allenai/reward-bench (split filtered; columns prompt, chosen, rejected, subset) and save it there as "
        "rewardbench.jsonl or .parquet, or run with --data hf:allenai/reward-bench:filtered"
    ),
    files=("*reward*bench*.jsonl*|*reward*bench*.parquet|filtered*.parquet",),
    summary=summary,
    compared=("half", 0.5),
    expected=tuple(COUNTS),
    paper="arXiv:2403.13787",
)

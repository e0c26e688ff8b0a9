"""RMB: pairs and best-of-n over real scenarios; the best of a list must beat every loser.

The headline is the mean of four numbers: pairs and best-of-n, helpfulness and harmlessness, each over all its items.
``by scenario`` are the same with scenarios weighted equally. A tie is lost.

References
----------
Zhou et al. 2024. RMB: Comprehensively Benchmarking Reward Models in LLM Alignment. https://arxiv.org/abs/2410.09893
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from guerdon.bench.suites.suite import Cells, Suite, Table, read_files
from guerdon.feedback.star import Feedback

PARTS = {
    "pairs, helpfulness": "Pairwise_set/Helpfulness/",
    "pairs, harmlessness": "Pairwise_set/Harmlessness/",
    "best-of-n, helpfulness": "BoN_set/Helpfulness/",
    "best-of-n, harmlessness": "BoN_set/Harmlessness/",
}
SCENARIOS = 49
"""Scenarios of the published set, for pairs and for best-of-n each."""


def read(paths: Sequence[Path]) -> Feedback:
    """Pairs and best-of-n together, from one line a conversation or from the published folders."""
    if all(path.suffix != ".json" for path in paths):
        parts = [read_files([path], name) for path in paths for name in ("rmb-pairwise", "rmb-bon")]
        return Feedback.concatenate(parts)
    kinds = {"Pairwise_set": "rmb-pairwise", "BoN_set": "rmb-bon"}
    parts, said = [], []
    for folder, name in kinds.items():
        mine = [path for path in paths if folder in path.parts]
        if mine:
            parts.append(read_files(mine, name))
            said.append(f"{len(mine)} of {SCENARIOS} scenarios in {folder}")
    whole = Feedback.concatenate(parts)
    # a note on each of so many files says nothing that the count does not
    return replace(whole, notes=(*said, *(n for n in whole.notes if not n.startswith("read "))))


def summary(cells: Cells) -> Table:
    """The mean of the four parts, each of them, and the same by scenario."""
    out, macro = {}, {}
    for name, start in PARTS.items():
        part = cells.where(lambda s, start=start: s.startswith(start))
        if part.subsets:
            out[name], macro[f"{name}, by scenario"] = part.micro(), part.macro()
    if not out:
        return {"overall": cells.micro()}
    return {"overall": np.mean(list(out.values()), axis=0), **out, **macro}


RMB = Suite(
    name="rmb",
    what="RMB: pairs and best-of-n of 49 scenarios, helpfulness and harmlessness",
    source="get RMB_dataset from https://github.com/Zhou-Zoey/RMB-Reward-Model-Benchmark and put it there",
    files=("rmb*.jsonl*|**/*_set/**/*.json",),
    read=read,
    summary=summary,
    paper="arXiv:2410.09893",
    notes=("where scenarios are missing from the data, the overall figure is over those at hand",),
)

"""FC-RewardBench: right tool calls against subtly wrong ones, by the kind of error.

The published pairs (``tools, conversation, chosen_output, rejected_output, error_type``) are read where they are at
hand. Otherwise pairs are built from the ground truth of the Berkeley function-calling leaderboard (BFCL) by controlled
corruption, one a query, with the published shares of the eight errors: wrong by the matcher that knows all admissible
values (:mod:`guerdon.curate.tool_errors`), the same for everybody. Calls are spelled canonically on both
sides. A tie or an unscored pair is lost; ``a tie or no score is half`` is told beside it.

References
----------
Agarwal et al. 2025. ToolRM: Outcome reward models for tool-calling LLMs. https://arxiv.org/abs/2509.11963
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench.suites.agreement import rows_of
from guerdon.bench.suites.items import Duels, Said
from guerdon.bench.suites.suite import Cells, Suite, Table
from guerdon.curate.tool_errors import COUNTS, corrupt
from guerdon.errors import FeedbackError
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.feedback.tool_calls import as_prompt, canonical
from guerdon.reward.verify.tool_match import gold_calls

SEED = 96
"""Of the corruption: the built pairs are the same on every machine."""
SCARCE = ("missing optional", "missing required", "value type", "unexpected parameter", "parsing", "number of calls")
"""Errors choose their queries in this order, then function names, then parameter values."""


def quotas(items: int) -> dict[str, int]:
    """How many of ``items`` pairs have each error: the published shares, largest remainders rounded up."""
    exact = {error: items * n / sum(COUNTS.values()) for error, n in COUNTS.items()}
    out = {error: int(x) for error, x in exact.items()}
    for error in sorted(exact, key=lambda e: out[e] - exact[e])[: items - sum(out.values())]:
        out[error] += 1
    return out


def read(paths: Sequence[Path]) -> Feedback:
    """Pairs from published rows, or built from BFCL's ground truth."""
    rows = list(rows_of(paths))
    published = [row for row in rows if "chosen_output" in row[2]]
    return _published(published) if published else build([row for _, _, row in rows if row.get("ground_truth")])


def _published(rows: Sequence[tuple[str, int, Mapping[str, Any]]]) -> Feedback:
    judged, same = [], 0
    for file, number, row in rows:
        for field in ("tools", "conversation", "chosen_output", "rejected_output", "error_type"):
            if row.get(field) is None:
                raise FeedbackError(f"{file}:{number}: no {field}; FC-RewardBench's rows have it")
        chosen, rejected = canonical(row["chosen_output"]), canonical(row["rejected_output"])
        if chosen == rejected:
            same += 1
            continue
        conversation = row["conversation"]
        if isinstance(conversation, str):
            try:
                conversation = json.loads(conversation)
            except json.JSONDecodeError:
                conversation = [{"role": "user", "content": conversation}]
        error = str(row["error_type"]).replace("_", " ").lower()
        name = None if row.get("test_id") is None else f"{row['test_id']}/{row.get('model_name', '')}"
        prompt = as_prompt(row["tools"], conversation)
        judged.append(Judgement(prompt, (chosen, rejected), (1.0, 0.0), subset=error, id=name))
    said = (f"{same} pairs that are equal once spelled canonically are left out",) if same else ()
    return replace(Feedback.of(judged), notes=said)


def build(rows: Sequence[Mapping[str, Any]]) -> Feedback:
    """One pair a query of BFCL; where too few queries allow an error, a note says so."""
    rows = sorted(rows, key=lambda r: str(r["id"]))
    order = np.random.default_rng(SEED).permutation(len(rows)).tolist()
    pairs: dict[int, tuple[str, str]] = {}
    short = {}
    wanted = quotas(len(rows))
    for error in (*SCARCE, "function name", "parameter value"):
        free = [i for i in order if i not in pairs]
        if error == "number of calls":
            free.sort(key=lambda i: len(rows[i]["ground_truth"]) == 1)  # a call is left out where there are several
        if error == "function name":
            free.sort(key=lambda i: len(rows[i]["function"]) == 1)  # the name of another function, where there is one
        made = 0
        for i in free:
            if made == wanted[error]:
                break
            rng = np.random.default_rng([SEED, i])
            wrong = corrupt(error, rows[i]["ground_truth"], rows[i]["function"], rng)
            if wrong is not None:
                pairs[i] = (error, wrong)
                made += 1
        if made < wanted[error]:
            short[error] = wanted[error] - made
    judged = []
    for i in sorted(pairs):
        row, (error, wrong) = rows[i], pairs[i]
        right = canonical(gold_calls(row["ground_truth"]))
        prompt = as_prompt(row["function"], row["question"][0])
        judged.append(Judgement(prompt, (right, wrong), (1.0, 0.0), subset=error, id=f"{row['id']}/{error}"))
    said = [f"{len(judged)} pairs built from BFCL's ground truth by corruption, not of the published wrong calls"]
    said += [f"{error}: {n} pairs too few, no more queries allow it" for error, n in short.items()]
    return replace(Feedback.of(judged), notes=tuple(said))


def summary(cells: Cells) -> Table:
    """Accuracy over all pairs (the headline), and the mean over the kinds of error: parameter values are 43 % of it."""
    return {"overall": cells.micro(), "mean over errors": cells.macro()}


def half(feedback: Feedback, duels: Duels, said: Said) -> dict[str, float]:
    """Accuracy where a tie or an unscored pair is half."""
    return {"a tie or no score is half": float(np.nan_to_num(said.won, nan=0.5).mean())}


FC_REWARD_BENCH = Suite(
    name="fc-rewardbench",
    what="FC-RewardBench: right tool calls against subtly wrong ones, by error",
    source=(
        "get hf:ibm-research/fc-reward-bench and put it there as fc_reward_bench.parquet (or .jsonl); or BFCL's "
        "questions from https://github.com/ShishirPatil/gorilla with ground_truth joined in, as bfcl_*.jsonl"
    ),
    files=("fc_reward_bench*|fc-reward-bench*|bfcl_*.jsonl*|tools/bfcl_*.jsonl*",),
    read=read,
    rule="strict",
    unscored=0.0,
    summary=summary,
    extra=half,
    paper="arXiv:2509.11963",
)

"""Judges and rewards whose outputs are published with a benchmark, measured again by its suite.

``python -m benchmarks.published_judges [--data DIR] [--json]`` reads what is in DIR (default: ``GUERDON_DATA``) of

=============== ====================================================================================================
``judgebench``  a clone of github.com/ScalerLab/JudgeBench: ``data`` and ``outputs``
``llmbar``      a clone of github.com/princeton-nlp/LLMBar: ``Dataset``, with the evaluators' results in it
``rm_bench``    a clone of github.com/THU-KEG/RM-Bench: ``data``
``rmb``         a clone of github.com/Zhou-Zoey/RMB-Reward-Model-Benchmark: ``eval/result``
=============== ====================================================================================================

and prints tables of ``ours / published`` with the largest difference of each row in percentage points; what is not
there is left out and named. Nothing is asked of a model: recorded scores and verdicts answer the suite's questions
(:mod:`guerdon.reward.recorded`). Intervals are over prompts. Exit code 1 if a figure differs from its published one.

Published is, for JudgeBench, what its authors' ``run_judge.py`` prints for the very outputs (both orders); for LLMBar
the ``statistics.json`` beside the outputs (average accuracy of the two orders, positional agreement); for RMB the
``is_correct`` of its result file; the counts are those of the papers.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench.intervals import Figure
from guerdon.bench.judge_agreement import position_bias
from guerdon.bench.suites.agreement import ADVERSARIAL, CATEGORIES, JUDGE_BENCH, LLM_BAR, NATURAL
from guerdon.bench.suites.result import SuiteResult
from guerdon.bench.suites.rm_bench import RM_BENCH, domain
from guerdon.bench.suites.rmb import RMB
from guerdon.bench.suites.run import run
from guerdon.errors import FeedbackError
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward
from guerdon.reward.baselines import Length
from guerdon.reward.recorded import open_recorded


@dataclass(frozen=True)
class Line:
    """A cell of a table: a figure of ours, in percent unless it is a count, and the published one, known so exactly."""

    table: str
    row: str
    column: str
    ours: Figure
    published: float | None = None
    exact: float = 0.005
    count: bool = False

    @property
    def difference(self) -> float | None:
        """Ours minus the published figure, in percentage points."""
        if self.published is None:
            return None
        return self.ours.value * (1 if self.count else 100) - self.published

    @property
    def holds(self) -> bool:
        """Whether it is the published figure, as exactly as that is known."""
        return self.difference is None or abs(self.difference) <= self.exact

    def cell(self) -> str:
        """``ours (interval) / published``."""
        f, form = self.ours, "{:,.0f}" if self.count else "{:.2f}"
        ours = form.format(f.value * (1 if self.count else 100))
        span = "" if math.isnan(f.low) else f" ({100 * f.low:.1f}-{100 * f.high:.1f})"
        return ours + span + ("" if self.published is None else f" / {form.format(self.published)}")


def markdown(lines: list[Line]) -> str:
    """A table for each ``table`` of the lines, its rows and columns as they come."""
    out = []
    for table in dict.fromkeys(line.table for line in lines):
        cells = {(x.row, x.column): x for x in lines if x.table == table}
        columns = list(dict.fromkeys(column for _, column in cells))
        out += [
            "",
            f"**{table}**",
            "",
            f"| | {' | '.join(columns)} | largest difference |",
            "|---" * (len(columns) + 2) + "|",
        ]
        for row in dict.fromkeys(row for row, _ in cells):
            mine = [cells.get((row, column)) for column in columns]
            gaps = [x.difference for x in mine if x is not None and x.difference is not None]
            largest = f"{max(map(abs, gaps)):.2f}" if gaps else ""
            out.append(f"| {row} | {' | '.join('' if x is None else x.cell() for x in mine)} | {largest} |")
    return "\n".join(out)


def number(value: float, n: int) -> Figure:
    """A figure without an interval."""
    return Figure(float(value), math.nan, math.nan, n, 0)


def counts(table: str, row: str, found: Counter[str], published: dict[str, int]) -> list[Line]:
    """How many items of each kind there are."""
    return [Line(f"{table}: items", row, k, number(found[k], found[k]), n, 0, True) for k, n in published.items()]


# --------------------------------------------------------------------------------------------------- JudgeBench

GPT, CLAUDE = "gpt-4o-2024-05-13", "claude-3-5-sonnet-20240620"
PAIRS = {
    GPT: {"knowledge": 154, "reasoning": 98, "math": 56, "coding": 42},
    CLAUDE: {"knowledge": 154, "reasoning": 51, "math": 34, "coding": 31},
}
PRINTED = {
    (GPT, "Ray2333_GRM-Gemma-2B-rewardmodel-ft"): (62.99, 53.06, 64.29, 54.76, 59.43),
    (GPT, "Skywork_Skywork-Reward-Gemma-2-27B"): (59.74, 66.33, 83.93, 50.00, 64.29),
    (GPT, "Skywork_Skywork-Reward-Llama-3.1-8B"): (59.09, 64.29, 76.79, 50.00, 62.29),
    (GPT, "internlm_internlm2-20b-reward"): (62.34, 69.39, 66.07, 50.00, 63.43),
    (GPT, "internlm_internlm2-7b-reward"): (56.49, 61.22, 71.43, 50.00, 59.43),
    (GPT, "o1-mini-2024-09-12"): (58.44, 62.24, 82.14, 78.57, 65.71),
    (CLAUDE, "claude-3-haiku-20240307"): (37.66, 29.41, 32.35, 9.68, 32.22),
}
"""(who wrote the responses, judge) to what the authors' script prints: knowledge, reasoning, math, coding, overall."""
DECISIONS = {"A>B": 1.0, "B>A": 0.0, "A=B": 0.5}


def judge_bench(folder: Path) -> list[Line]:
    """Rewards from their scores, judges from their verdicts in both orders."""
    data = JUDGE_BENCH.feedback(folder)
    lines, table = [], "JudgeBench: accuracy, %"
    parts = {writer: written_by(data, writer) for writer in PAIRS}
    for writer, part in parts.items():
        found = Counter(part.subsets[k].rpartition("/")[2] for k in part.subset.tolist())
        lines += counts("JudgeBench", f"pairs of {writer}", found, PAIRS[writer])
    for writer, part in parts.items():
        lines += cells(table, f"length, on {writer}", writer, run(Length(), JUDGE_BENCH, part, baselines=()))
    for path in sorted((folder / "outputs").glob("*.jsonl")):
        pieces = (piece.partition("=") for piece in path.name.removesuffix(".jsonl").split(","))
        facts = {key: value for key, _, value in pieces}
        writer, judge = facts["response_model"], facts["judge_model"]
        if writer not in parts:
            continue
        result = run(open_recorded(list(of_judge_bench(path))), JUDGE_BENCH, parts[writer], baselines=())
        row = f"{judge.replace('_', '/', 1)} ({facts['judge_name']}), on {writer}"
        lines += cells(table, row, writer, result, PRINTED.get((writer, judge)))
    return lines


def written_by(data: Feedback, writer: str) -> Feedback:
    """The pairs of one model's responses."""
    return data.take(np.flatnonzero([data.subsets[k].startswith(f"{writer}/") for k in data.subset.tolist()]))


def cells(
    table: str, row: str, writer: str, result: SuiteResult, printed: tuple[float, ...] | None = None
) -> list[Line]:
    """The categories and all pairs of one set."""
    known = printed or (None,) * (len(CATEGORIES) + 1)
    found = [result.subsets.get(f"{writer}/{kind}") for kind in CATEGORIES.values()]
    plain = [None if f is None else number(f.value, f.n) for f in found]
    figures = zip((*CATEGORIES.values(), "overall"), (*plain, result.figures[writer]), known, strict=True)
    return [Line(table, row, what, figure, value) for what, figure, value in figures if figure is not None]


def of_judge_bench(path: Path) -> Iterator[dict[str, Any]]:
    """Recorded scores of an output file, or its verdicts in either order."""
    with path.open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            first, second = (*row["judgments"], None)[:2]  # a judge may have been asked in one order only
            sides = row["response_A"], row["response_B"]
            scores = ((first or {}).get("judgment") or {}).get("scores")
            if scores:
                yield {"prompt": row["question"], "responses": list(sides), "scores": scores}
                continue
            for judgment, (a, b) in ((first, sides), (second, sides[::-1])):
                said = DECISIONS.get((judgment or {}).get("decision", ""))
                yield {"prompt": row["question"], "response_a": a, "response_b": b, "probability": said}


# ------------------------------------------------------------------------------------------------------- LLMBar

ITEMS = {"Natural": 100, "Neighbor": 134, "GPTInst": 92, "GPTOut": 47, "Manual": 46}
SHOWN = ("Vanilla_NoRules", "Vanilla", "CoT", "Metrics", "Reference", "Metrics_Reference", "Swap", "Swap_CoT", "Rating")
ORDERS = ("swap = False", "swap = True")


def llm_bar(folder: Path) -> list[Line]:
    """Recorded evaluators: accuracy in either order by the suite, its average, and how often the orders agree."""
    name = "LLMBar"
    accuracy: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    agreement: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    found: Counter[str] = Counter()
    longer: dict[str, float] = {}
    for dataset in sorted((folder / "Dataset").rglob("dataset.json")):
        data, subset = LLM_BAR.feedback(dataset), dataset.parent.name
        found[subset] = len(data)
        longer[subset] = run(Length(), LLM_BAR, data, baselines=(), bootstrap=0).subsets[subset].value
        for path in sorted(dataset.parent.glob("evaluators/*/*/result.json")):
            rows = json.loads(path.read_text(encoding="utf-8"))
            stated = json.loads((path.parent / "statistics.json").read_text(encoding="utf-8"))
            judge = "/".join(path.parent.parts[-2:])
            ours = [run(in_order(rows, order), LLM_BAR, data, baselines=(), bootstrap=0) for order in ORDERS]
            accuracy[judge][subset] = (mean(r.subsets[subset].value for r in ours), percent(stated["correct_average"]))
            agreement[judge][subset] = (agreeing(rows), percent(stated["equal"]))
    lines = counts(name, "instances", found, ITEMS)
    for what, table in (("average accuracy", accuracy), ("positional agreement", agreement)):
        pairs = [pair for by_subset in table.values() for pair in by_subset.values()]
        same = sum(abs(100 * ours - stated) <= 1e-9 for ours, stated in pairs)
        row = "recorded evaluations that have the stated one"
        lines.append(
            Line(f"{name}: all evaluators and subsets", row, what, number(same, len(pairs)), len(pairs), 0, True)
        )
    parts = {"natural": (NATURAL,), "adversarial": ADVERSARIAL, "overall": tuple(ITEMS)}
    shown = f"{name}: %, mean of the subsets"
    for part, sets in parts.items():
        ours = number(mean(longer[s] for s in sets), sum(found[s] for s in sets))
        lines.append(Line(shown, "length", f"accuracy, {part}", ours))
    for judge in sorted(accuracy, key=rank):
        if rank(judge)[0] > len(SHOWN) or not set(ITEMS) <= set(accuracy[judge]):
            continue
        for what, table in (("accuracy", accuracy), ("agreement", agreement)):
            for part, sets in parts.items():
                ours, stated = (mean(table[judge][s][k] for s in sets) for k in (0, 1))
                n = sum(found[s] for s in sets)
                lines.append(Line(shown, judge, f"{what}, {part}", number(ours, n), stated, 1e-9))
    return lines


def rank(judge: str) -> tuple[int, str]:
    """The place of an evaluator in the table: GPT-4's ways of prompting, then the best of them for the others."""
    model, _, prompting = judge.partition("/")
    at = SHOWN.index(prompting) if prompting in SHOWN else len(SHOWN)
    wanted = model == "GPT-4" or prompting == "Metrics_Reference"
    if not wanted or at == len(SHOWN):
        return len(SHOWN) + 1, judge
    return (at if model == "GPT-4" else len(SHOWN)), judge


def in_order(rows: list[dict[str, Any]], order: str) -> Reward:
    """What an evaluator said in one of the two orders."""
    said = []
    for row in rows:
        winner = row["results"][-1][order]["winner"]
        outputs = {"response_a": row["output_1"], "response_b": row["output_2"]}
        said.append({"prompt": row["input"], **outputs, "probability": {"1": 1.0, "2": 0.0}.get(winner)})
    return open_recorded(said)


def agreeing(rows: list[dict[str, Any]]) -> float:
    """How often both orders have the same winner; two missing verdicts are the same, as the authors count."""
    value = {"1": 1.0, "2": 0.0, None: 0.5}
    there, back = (np.array([value[row["results"][-1][order]["winner"]] for row in rows]) for order in ORDERS)
    return position_bias(range(len(rows)), there, 1 - back, bootstrap=0).consistent.value


def mean(values: Any) -> float:
    """The mean of a few numbers."""
    return float(np.mean(list(values)))


def percent(text: str) -> float:
    """The percentage in ``95.5%`` or ``95 / 100 = 95.0%``."""
    return float(text.rpartition("= ")[2].rstrip("%"))


# --------------------------------------------------------------------------------------------- RM-Bench and RMB


def rm_bench(folder: Path) -> list[Line]:
    """How many prompts there are of each domain."""
    data = RM_BENCH.feedback(folder)
    found = Counter(domain(data.subsets[k]) for k in data.subset.tolist())
    published = {"chat": 129, "code": 228, "math": 529, "safety-refuse": 284, "safety-response": 157}
    missing = [name for name in published if not found[name]]
    if missing:
        print(f"left out: RM-Bench's {', '.join(missing)}: not in {folder}", file=sys.stderr)
    length = run(Length(), RM_BENCH, data, baselines=())
    shown = ("overall", "hard", "normal", "easy")
    lines = counts("RM-Bench", "prompts", found, {k: n for k, n in published.items() if k not in missing})
    return lines + [Line("RM-Bench: %", "length", k, length.figures[k]) for k in shown]


def rmb(folder: Path) -> list[Line]:
    """The result files of reward models, by the ids in them: whether or not the texts are at hand."""
    lines = []
    for path in sorted((folder / "eval" / "result").glob("*_result.json")):
        rows = json.loads(path.read_text(encoding="utf-8"))
        result = run(open_recorded(path), RMB, pairs_of(rows), baselines=())
        judge, stated = path.name.removesuffix("_result.json"), 100 * mean(row["is_correct"] for row in rows)
        (figure,) = result.subsets.values()
        lines.append(Line("RMB: result file, %", judge, "accuracy", figure, stated, 1e-9))
        tied = result.facts["tied duels"]
        zero = sum(row["chosen_reward"] == row["reject_reward"] and not row["is_correct"] for row in rows)
        lines.append(Line("RMB: result file, %", judge, "tied pairs, lost", number(tied, len(rows)), zero, 0, True))
        lines.append(Line("RMB: result file, %", judge, "pairs", number(len(rows), len(rows)), None, 0, True))
    if not lines:
        raise FeedbackError(f"no result file in {folder / 'eval' / 'result'}")
    return lines


def pairs_of(rows: list[dict[str, Any]]) -> Feedback:
    """Pairs without their texts: what the rows of a result file are scores of."""
    return Feedback.of(
        Judgement(row["pair_uid"], ("chosen", "reject"), (1.0, 0.0), subset=row["category_path"], id=row["pair_uid"])
        for row in rows
    )


SETS: dict[str, tuple[Callable[[Path], list[Line]], str]] = {
    "judgebench": (judge_bench, "https://github.com/ScalerLab/JudgeBench"),
    "llmbar": (llm_bar, "https://github.com/princeton-nlp/LLMBar"),
    "rm_bench": (rm_bench, "https://github.com/THU-KEG/RM-Bench"),
    "rmb": (rmb, "https://github.com/Zhou-Zoey/RMB-Reward-Model-Benchmark"),
}


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 if a published figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("GUERDON_DATA"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.data is None:
        print("no data: name the folder with --data DIR or GUERDON_DATA")
        return 0
    lines: list[Line] = []
    for place, (measure, source) in SETS.items():
        path = Path(options.data) / place
        try:
            if not path.is_dir():
                raise FeedbackError(f"no {path}")
            lines += measure(path)
        except FeedbackError as error:
            print(f"left out: {error}; put a clone of {source} there", file=sys.stderr)
    if options.json:
        print(json.dumps([{**vars(x), "ours": x.ours.to_dict(), "difference": x.difference} for x in lines]))
    else:
        print(markdown(lines))
    missed = [line for line in lines if not line.holds]
    for line in missed:
        print(f"missed: {line.table}, {line.row}, {line.column}: differs by {line.difference}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

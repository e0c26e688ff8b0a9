"""Protocol figures of judges from recorded verdicts, against the figures that their sources state.

``python -m benchmarks.judges [--data DIR] [--json]`` reads the public sets that are in DIR (default: ``GUERDON_DATA``)
in the layout ``mtbench_human/votes.jsonl.gz`` and so on, and prints a Markdown table; sets that are not there are left
out and named. Nothing is asked of a model: GPT-4's and people's verdicts are in the data. ``length`` is a judge that
prefers the longer response, which every judge should beat. Intervals are over questions. Exit code 1 if a figure that
has a known value differs from it.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench.intervals import ClusterBootstrap, Figure
from guerdon.bench.judge_agreement import Verdicts, agreement, between, fleiss, transitivity


@dataclass(frozen=True)
class Line:
    """A figure, and what is known of it: the value and to how many digits."""

    data: str
    what: str
    figure: Figure
    percent: bool = True
    known: float | None = None
    digits: int = 1

    @property
    def holds(self) -> bool:
        """Whether it equals the known value to its digits."""
        value = 100 * self.figure.value if self.percent else self.figure.value
        return self.known is None or round(value, self.digits) == self.known

    def markdown(self) -> str:
        """One row of the table."""
        f = self.figure
        if self.percent:
            span = "" if np.isnan(f.low) else f" ({100 * f.low:.1f}-{100 * f.high:.1f})"
            value = f"{100 * f.value:.{max(self.digits, 1)}f} %{span}"
        else:
            value = f"{f.value:,.{self.digits}f}"
        known = "" if self.known is None else f"{self.known:,.{self.digits}f}{' %' if self.percent else ''}"
        return f"| {self.data} | {self.what} | {value} | {f.n:,} | {known} |"


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a gzipped JSON lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def share(values: list[float] | np.ndarray) -> Figure:
    """A mean over independent questions with its interval."""
    values = np.asarray(values, dtype=np.float64)
    return ClusterBootstrap(len(values)).ratio(np.arange(len(values)), values)


def number(value: float, n: int) -> Figure:
    """A count or coefficient without an interval."""
    return Figure(float(value), np.nan, np.nan, n, 0)


WINNER = {"model_a": 1.0, "model_b": 0.0}


def mt_bench(folder: Path) -> list[Line]:
    """GPT-4 against people, people against each other, GPT-4's places and rankings."""
    name = "MT-bench"
    recorded = list(rows(folder / "gpt4_pair.jsonl.gz"))

    def verdicts(table: list[dict[str, Any]], judge: Callable[[dict[str, Any]], str]) -> Verdicts:
        return Verdicts.of(
            ((r["question_id"], r["turn"]), r["model_a"], r["model_b"], WINNER.get(r["winner"], 0.5), judge(r))
            for r in table
        )

    votes = list(rows(folder / "votes.jsonl.gz"))
    people, gpt4 = verdicts(votes, lambda r: r["judge"]), verdicts(recorded, lambda r: "gpt-4")
    answers = {r["question_id"]: r["answers"] for r in rows(folder / "answers.jsonl.gz")}

    def longer(q: tuple[int, int], a: str, b: str) -> float:
        x, y = (len(answers[q[0]][model][q[1] - 1]) for model in (a, b))
        return 0.5 + 0.5 * np.sign(x - y)

    length = Verdicts.of(
        (q, a, b, longer(q, a, b), "length") for q, a, b in zip(gpt4.question, gpt4.a, gpt4.b, strict=True)
    )
    kinds = [str(r["winner"]) for r in recorded]
    experts = verdicts([r for r in votes if r["judge"].startswith("expert")], lambda r: r["judge"])
    decided = verdicts([r for r in votes if r["winner"] in WINNER], lambda r: r["judge"])
    return [
        Line(name, "GPT-4 with people, no ties (S2)", agreement(gpt4, people), known=85.6),
        Line(name, "GPT-4 with people, ties count (S1)", agreement(gpt4, people, ties="count")),
        Line(
            name, "people with people, no ties, shown in the same order", between(people, same_order=True), known=82.3
        ),
        Line(name, "people with people, no ties, in any order", between(people)),
        Line(name, "people with people, ties count", between(people, ties="count")),
        Line(name, "experts with experts, no ties", between(experts)),
        Line(name, "length with people, no ties", agreement(length, decided, ties="half")),
        Line(
            name, "GPT-4 consistent when the order is swapped", share([float("inconsistent" not in k) for k in kinds])
        ),
        Line(name, "GPT-4 says tie in both orders", share([float(k == "tie") for k in kinds])),
        Line(name, "triples of models that GPT-4 ranks", transitivity(gpt4)),
        Line(name, "people's votes", number(len(people), len(people)), False, 3355, 0),
    ]


def length_with(name: str, table: list[tuple[str, str, float]]) -> Line:
    """The longer response against the people's verdicts 1 or 0, their ties left out; equal lengths are half."""
    credit = [0.5 + 0.5 * np.sign(len(a) - len(b)) * (2 * v - 1) for a, b, v in table if v != 0.5]
    return Line(name, "length with people, no ties", share(credit))


def auto_j(path: Path) -> list[Line]:
    """Auto-J: people's verdicts, which the longer response wins."""
    table = [(r["response 1"], r["response 2"], {0: 1.0, 1: 0.0, 2: 0.5}[r["label"]]) for r in rows(path)]
    return [
        length_with("Auto-J", table),
        Line("Auto-J", "people call it a tie", share([float(v == 0.5) for *_, v in table])),
        Line("Auto-J", "pairs", number(len(table), len(table)), False, 1392, 0),
    ]


def panda_lm(path: Path) -> list[Line]:
    """PandaLM: three annotators a pair."""
    table = list(rows(path))
    said = {0: 0.5, 1: 1.0, 2: 0.0}
    labels = np.array([[r[f"annotator{i}"] for i in (1, 2, 3)] for r in table])
    people = Verdicts.of(
        (r["idx"], "response1", "response2", said[r[f"annotator{i}"]], f"annotator{i}")
        for r in table
        for i in (1, 2, 3)
    )
    votes = [[said[int(x)] for x in row] for row in labels]
    lead = [next((v for v in (1.0, 0.0, 0.5) if 2 * row.count(v) > 3), 0.5) for row in votes]
    majority = [(str(r["response1"]), str(r["response2"]), v) for r, v in zip(table, lead, strict=True)]
    return [
        Line("PandaLM", "two annotators agree, ties count", between(people, ties="count")),
        Line("PandaLM", "two annotators agree, no ties", between(people)),
        Line("PandaLM", "all three agree", share([float(len(set(row)) == 1) for row in votes])),
        Line("PandaLM", "Fleiss' kappa of three", number(fleiss(labels), len(labels)), False, digits=3),
        length_with("PandaLM", majority),
        Line("PandaLM", "pairs", number(len(table), len(table)), False, 999, 0),
    ]


def rm_bench(path: Path) -> list[Line]:
    """RM-Bench's matrix: three styles of the right answer against three of the wrong one, for length."""
    table = list(rows(path))
    length = np.array([[[len(t) for t in r[k]] for k in ("chosen", "rejected")] for r in table], dtype=np.float64)
    won = 0.5 + 0.5 * np.sign(length[:, 0, :, None] - length[:, 1, None, :])  # [n, chosen style, rejected style]
    upper, lower = np.triu_indices(3, 1), np.tril_indices(3, -1)
    parts: dict[str, np.ndarray] = {
        "right": won.mean((1, 2)),
        "right, hard": won[:, *upper].mean(1),
        "right, normal": won[:, range(3), range(3)].mean(1),
        "right, easy": won[:, *lower].mean(1),
        "right, concise against Markdown": won[:, 0, 2],
        "right, Markdown against concise": won[:, 2, 0],
    }
    out = [Line("RM-Bench", f"length {name}", share(values)) for name, values in parts.items()]
    kinds: dict[str, int] = {}
    for r in table:
        kind = r["file"].removesuffix("_filtered")
        kinds[kind] = kinds.get(kind, 0) + 1
    out += [Line("RM-Bench", f"prompts, {k}", number(n, n), False, digits=0) for k, n in sorted(kinds.items())]
    return [*out, Line("RM-Bench", "duels of the matrix", number(won.size, len(table)), False, 7182, 0)]


def qa_feedback(path: Path) -> list[Line]:
    """QA feedback: six verdicts on four answers; whether people's verdicts fit a ranking."""
    table = list(rows(path))
    said = {0: 0.5, 1: 1.0, 2: 0.0}
    people = Verdicts.of(
        (i, f"{x}", f"{y}", said[v], "annotator")
        for i, r in enumerate(table)
        for (x, y), v in zip(combinations(range(4), 2), r["preference"], strict=True)
    )
    return [
        Line("QA feedback", "triples of answers that people rank", transitivity(people)),
        Line("QA feedback", "people call it a tie", share(people.value == 0.5)),
        Line("QA feedback", "questions", number(len(table), len(table)), False, 500, 0),
    ]


def xsum(path: Path) -> list[Line]:
    """XSum: people's grades of summaries by up to 18 systems."""
    table = [s for r in rows(path) for s in r["summaries"]]
    faithful = [float(s["faithfulness"]) for s in table if s["faithfulness"] is not None]
    return [Line("XSum", "summaries that people find faithful", share(faithful))]


def alpaca_eval(folder: Path) -> list[Line]:
    """Win rates of all systems against the baseline, and how many equal the leaderboard's to two decimals."""
    with (folder / "leaderboard.csv").open(encoding="utf-8") as file:
        board = {r[""]: float(r["win_rate"]) for r in csv.DictReader(file)}
    chance: dict[str, list[float]] = {}
    for r in rows(folder / "alpaca_eval.jsonl.gz"):
        for system, (_, p) in r["outputs"].items():
            if p is not None:
                chance.setdefault(system, []).append(p)
    rates = {system: share(values) for system, values in chance.items()}
    equal = [float(round(100 * f.value, 2) == round(board[system], 2)) for system, f in rates.items()]
    best = sorted(rates, key=lambda system: -rates[system].value)[:4]
    out = [
        Line("AlpacaEval", "systems whose win rate is the leaderboard's", number(sum(equal), len(equal)), False, 38, 0)
    ]
    return out + [Line("AlpacaEval", s, rates[s], known=round(board[s], 2), digits=2) for s in best]


def gsm8k(path: Path) -> list[Line]:
    """GSM8K: four graded solutions a question."""
    table = list(rows(path))
    names = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    right = np.array([[r[name]["is_correct"] for name in names] for r in table], dtype=np.float64)
    known = {"175b_verification": 56.3}
    out = [Line("GSM8K", n.replace("_", " "), share(right[:, i]), known=known.get(n)) for i, n in enumerate(names)]
    return [*out, Line("GSM8K", "oracle best of 4", share(right.max(1)), known=67.2)]


def ukp(path: Path) -> list[Line]:
    """UKPConvArg: workers' votes on pairs of arguments."""
    table = list(rows(path))
    said = {"a1": 1.0, "a2": 0.0, "equal": 0.5}
    votes = Verdicts.of((r["pair"], r["a"], r["b"], said[v["choice"]], v["user"]) for r in table for v in r["votes"])
    gold, strict = sum(bool(r["gold"]) for r in table), sum(r["strict"] is not None for r in table)
    both = [float({"a1", "a2"} <= {v["choice"] for v in r["votes"]}) for r in table]
    return [
        Line("UKPConvArg", "two workers agree, no ties", between(votes)),
        Line("UKPConvArg", "two workers agree, ties count", between(votes, ties="count")),
        Line("UKPConvArg", "pairs with votes for both", share(both)),
        Line("UKPConvArg", "pairs with a gold label", number(gold, len(table)), False, digits=0),
        Line("UKPConvArg", "strict pairs", number(strict, len(table)), False, digits=0),
        Line("UKPConvArg", "votes", number(len(votes), len(votes)), False, digits=0),
    ]


SETS: dict[str, Callable[[Path], list[Line]]] = {
    "mtbench_human": mt_bench,
    "judge_benches/autoj_pairwise.jsonl.gz": auto_j,
    "judge_benches/pandalm.jsonl.gz": panda_lm,
    "judge_benches/rm_bench.jsonl.gz": rm_bench,
    "judge_benches/qa_feedback_dev.jsonl.gz": qa_feedback,
    "judge_benches/xsum_likert.jsonl.gz": xsum,
    "alpaca_eval": alpaca_eval,
    "verifiable_bon/gsm8k_model_solutions.jsonl.gz": gsm8k,
    "ukpconvarg/pairs.jsonl.gz": ukp,
}


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 if a known figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("GUERDON_DATA"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.data is None:
        print("no data: name the folder with --data DIR or GUERDON_DATA")
        return 0
    lines: list[Line] = []
    for place, read in SETS.items():
        path = Path(options.data) / place
        if path.exists():
            lines += read(path)
        else:
            print(f"left out: no {path}", file=sys.stderr)
    if options.json:
        print(json.dumps([{"data": x.data, "what": x.what, "known": x.known, **x.figure.to_dict()} for x in lines]))
    else:
        print("| data | figure | value (95 % interval) | n | known |\n|---|---|---|---|---|")
        print("\n".join(line.markdown() for line in lines))
    missed = [line for line in lines if not line.holds]
    for line in missed:
        print(f"missed: {line.data}, {line.what}: {line.figure.value:.4f}, known {line.known}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Suites on the published layouts of JudgeBench, LLMBar, RM-Bench and RMB, against the authors' protocols written out.

The made-up rows have the columns and oddities of the published files; the published files themselves are read where
``GUERDON_DATA`` has clones of the repositories.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guerdon.bench.suites.registry import suite
from guerdon.bench.suites.run import run
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Function
from guerdon.reward.baselines import Length
from guerdon.reward.recorded import open_recorded

GPT, CLAUDE = "gpt-4o-2024-05-13", "claude-3-5-sonnet-20240620"
SOURCES = ("mmlu-pro-law", "mmlu-pro-math", "livebench-reasoning", "livebench-math", "livecodebench")
SAID = ("A>B", "B>A", "A=B", None)


@pytest.fixture(scope="module")
def published() -> Any:
    root = str(Path(__file__).resolve().parents[2])
    if root not in sys.path:
        sys.path.insert(0, root)
    import benchmarks.published_judges as module

    return module


def clone(name: str) -> Path:
    """The clone called ``name`` in the folder of real data."""
    folder = os.environ.get("GUERDON_DATA", "")
    path = Path(folder, name)
    if not folder or not path.is_dir():
        pytest.skip(f"no folder {name} in GUERDON_DATA: put a clone of the repository there")
    return path


# --------------------------------------------------------------------------------------------------- JudgeBench


def flip(decision: str | None) -> str | None:
    return {"A>B": "B>A", "B>A": "A>B"}.get(decision or "", decision)


def naive_judge_bench(pairs: list[dict[str, Any]]) -> float:
    """The authors' rule: an order for the right side is +1, for the wrong one -1; a pair is right if the sum is > 0."""
    right = 0
    for pair in pairs:
        first, second = ((j or {}).get("decision") for j in pair["judgments"])
        score = sum((said == pair["label"]) - (said == flip(pair["label"])) for said in (first, flip(second)))
        right += score > 0
    return right / len(pairs)


def judged(writer: str, n: int, decide: Callable[[int], list[Any]]) -> list[dict[str, Any]]:
    return [
        {
            "pair_id": f"{writer} {i}",
            "original_id": i,
            "source": SOURCES[i % len(SOURCES)],
            "question": f"question {i // 2}",
            "response_model": writer,
            "response_A": f"one {i} {writer}",
            "response_B": f"the other {i} {writer}",
            "label": "A>B" if i % 3 else "B>A",
            "judge_name": "judge",
            "judgments": decide(i),
        }
        for i in range(n)
    ]


def judge_bench_clone(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Two sets of pairs, verdicts of a judge on one of them, scores of a reward model on the other."""
    rng = np.random.default_rng(0)

    def verdicts(_: int) -> list[Any]:
        both = [SAID[k] for k in rng.integers(len(SAID), size=2)]
        return [None if said is None and rng.random() < 0.5 else {"judgment": {}, "decision": said} for said in both]

    def scores(i: int) -> list[Any]:
        a, b = rng.normal(size=2).round(1).tolist() if i % 7 else (1.0, 1.0)
        return [
            {"judgment": {"scores": pair}, "decision": "A>B" if pair[0] > pair[1] else "B>A"}
            for pair in ([a, b], [b, a])
        ]

    outputs = {f"{GPT},judge_name=reward_model,judge_model=org_rm": judged(GPT, 60, scores)}
    outputs[f"{CLAUDE},judge_name=arena_hard,judge_model=some-model"] = judged(CLAUDE, 40, verdicts)
    for kind in ("data", "outputs"):
        (folder / kind).mkdir(parents=True)
    for name, rows in outputs.items():
        plain = [{k: v for k, v in row.items() if not k.startswith("judg")} for row in rows]
        place = folder / "data" / f"dataset=judgebench,response_model={name.partition(',')[0]}.jsonl"
        place.write_text("\n".join(map(json.dumps, plain)), encoding="utf-8")
        path = folder / "outputs" / f"dataset=judgebench,response_model={name}.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return outputs


def test_judge_bench_counts_as_its_authors_do(tmp_path: Path, published: Any) -> None:
    """Both orders, missing verdicts and ties; scores that are equal are lost, whichever side is right."""
    outputs = judge_bench_clone(tmp_path / "judgebench")
    bench = suite("judgebench")
    data = bench.feedback(tmp_path)
    assert set(data.subsets) == {
        f"{w}/{c}" for w in (GPT, CLAUDE) for c in ("knowledge", "reasoning", "math", "coding")
    }
    for path, rows in zip(
        sorted((tmp_path / "judgebench/outputs").iterdir(), reverse=True), outputs.values(), strict=True
    ):
        writer = rows[0]["response_model"]
        reward = open_recorded(list(published.of_judge_bench(path)))
        result = run(reward, bench, published.written_by(data, writer), bootstrap=0, baselines=())
        assert result.figures[writer].value == pytest.approx(naive_judge_bench(rows), abs=1e-12)
        coding = [row for row in rows if row["source"] == "livecodebench"]
        assert result.subsets[f"{writer}/coding"].value == pytest.approx(naive_judge_bench(coding), abs=1e-12)
    both = run(Length(), bench, data, bootstrap=0, baselines=())
    assert list(both.figures) == [GPT, CLAUDE]  # sets are not pooled, the larger one is the headline
    assert both.facts["items"] == 100


# ------------------------------------------------------------------------------------------------------- LLMBar


def naive_llm_bar(rows: list[dict[str, Any]]) -> dict[str, str]:
    """The statistics that the authors' evaluate.py writes."""
    said = [[row["results"][-1][f"swap = {swap}"]["winner"] for swap in (False, True)] for row in rows]
    right = [[winner == str(row["label"]) for winner in both] for row, both in zip(rows, said, strict=True)]
    n, equal = len(rows), sum(a == b for a, b in said)
    return {
        "correct_average": f"{sum(map(sum, right)) / 2 / n * 100}%",
        "equal": f"{equal} / {n} = {equal / n * 100}%",
    }


def llm_bar_clone(folder: Path) -> None:
    """The five subsets, a processed one, and an evaluator whose verdicts are missing now and then."""
    rng = np.random.default_rng(1)
    places = {"LLMBar/Natural": 20, "Processed/FairEval": 8}
    places |= {
        f"LLMBar/Adversarial/{name}": n for name, n in (("Neighbor", 26), ("GPTInst", 12), ("GPTOut", 6), ("Manual", 4))
    }
    for place, n in places.items():
        rows = [
            {
                "input": f"do {i}",
                "output_1": f"{place} {i} x",
                "output_2": f"{place} {i}",
                "label": int(rng.integers(1, 3)),
            }
            for i in range(n)
        ]
        path = folder / "Dataset" / place
        path.mkdir(parents=True)
        (path / "dataset.json").write_text(json.dumps(rows), encoding="utf-8")
        for row in rows:
            winners = [(None, "1", "2")[k] for k in rng.integers(3, size=2)]
            orders = {f"swap = {s}": {"winner": w} for s, w in zip((False, True), winners, strict=True)}
            row["results"] = [["a reference answer", "stop"], orders]
        result = path / "evaluators" / "GPT-4" / "Metrics_Reference"
        result.mkdir(parents=True)
        (result / "result.json").write_text(json.dumps(rows), encoding="utf-8")
        (result / "statistics.json").write_text(json.dumps(naive_llm_bar(rows)), encoding="utf-8")


def test_llm_bar_means_are_of_its_five_subsets(tmp_path: Path) -> None:
    """What else the clone holds is shown, and in no mean; the subset is the folder's name."""
    llm_bar_clone(tmp_path / "llmbar")
    bench = suite("llmbar")
    result = run(Length(), bench, bench.feedback(tmp_path), bootstrap=0, baselines=())
    assert list(result.figures) == ["overall", "natural", "adversarial", "FairEval"]
    rates = {name: figure.value for name, figure in result.subsets.items()}
    adversarial = [rates[name] for name in ("Neighbor", "GPTInst", "GPTOut", "Manual")]
    assert result.figures["adversarial"].value == pytest.approx(np.mean(adversarial))
    assert result.figures["overall"].value == pytest.approx(np.mean([*adversarial, rates["Natural"]]))
    only = run(Length(), bench, bench.feedback(tmp_path / "llmbar/Dataset/Processed"), bootstrap=0, baselines=())
    assert list(only.figures) == ["by subset", "FairEval"]


# ----------------------------------------------------------------------------------------------------- RM-Bench


def naive_rm_bench(results: list[tuple[list[float], list[float]]]) -> dict[str, float]:
    """The function of RM-Bench's README, in its own steps."""
    matrix = np.zeros((3, 3))
    for chosen, rejected in results:
        for i in range(3):
            for j in range(3):
                matrix[i][j] += chosen[i] > rejected[j]
    matrix /= len(results)
    hard, easy = np.sum(np.triu(matrix, 1)) / 3, np.sum(np.tril(matrix, -1)) / 3
    return {"hard": hard, "normal": np.mean(np.diag(matrix)), "easy": easy}


def rm_bench_clone(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The files as published: only those of the chat domain say what the error is; code names a language."""
    subsets = {"chat": "alpacaeval", "code": "bigcode/humanevalpack"}
    subsets |= {"safety-refuse": "xstest-should-refuse", "safety-response": "xstest-should-respond"}
    extra = {"chat": {"error_key": "k", "error": "why"}, "code": {"language": "cpp", "task_id": "CPP/0"}}
    files = {}
    (folder / "data").mkdir(parents=True)
    for domain, subset in subsets.items():
        files[domain] = [
            {"id": i, "prompt": f"{domain} {i}", "subset": subset, **extra.get(domain, {})}
            | {side: [f"{domain} {i} {side} {k}" for k in range(3)] for side in ("chosen", "rejected")}
            for i in range(7)
        ]
        (folder / "data" / f"{domain}_filtered.json").write_text(json.dumps(files[domain]), encoding="utf-8")
    return files


def test_rm_bench_files_are_read_as_published(tmp_path: Path) -> None:
    files = rm_bench_clone(tmp_path / "rm_bench")
    rng = np.random.default_rng(2)
    scores = {
        text: float(rng.integers(5)) for rows in files.values() for r in rows for text in (*r["chosen"], *r["rejected"])
    }
    data = suite("rm-bench").feedback(tmp_path)
    result = run(Function(lambda p, r: scores[str(r)]), suite("rm-bench"), data, bootstrap=0, baselines=())

    def naive(*domains: str) -> dict[str, float]:
        sides = ("chosen", "rejected")
        return naive_rm_bench([tuple([scores[t] for t in r[s]] for s in sides) for d in domains for r in files[d]])  # type: ignore[misc]

    assert result.figures["chat"].value == pytest.approx(np.mean(list(naive("chat").values())))
    for level in ("hard", "normal", "easy"):
        parts = [naive("chat"), naive("code"), naive("safety-refuse", "safety-response")]  # as large as each other
        assert result.figures[level].value == pytest.approx(np.mean([part[level] for part in parts]))
    alone = Feedback.read(tmp_path / "rm_bench/data/code_filtered.json")
    assert any("RM-Bench" in note for note in alone.notes)


# ------------------------------------------------------------------------------------------------------- script


def rmb_clone(folder: Path) -> None:
    path = folder / "eval" / "result"
    path.mkdir(parents=True)
    rows = [
        {"pair_uid": str(i), "category_path": "Pairwise_set/Helpfulness/x", "chosen_reward": a, "reject_reward": b}
        for i, (a, b) in enumerate([(1.0, 0.5), (0.25, 0.25), (0.1, 0.2), (2.0, 1.0)])
    ]
    rows = [{**row, "is_correct": int(row["chosen_reward"] > row["reject_reward"])} for row in rows]
    (path / "some-rm_result.json").write_text(json.dumps(rows), encoding="utf-8")


@pytest.fixture
def clones(tmp_path: Path) -> Path:
    judge_bench_clone(tmp_path / "judgebench")
    llm_bar_clone(tmp_path / "llmbar")
    rm_bench_clone(tmp_path / "rm_bench")
    rmb_clone(tmp_path / "rmb")
    return tmp_path


def test_tables_hold_ours_and_the_published_figures(
    clones: Path, published: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Made-up sets have other counts than the published ones, which the script says; everything else agrees."""
    assert published.main(["--data", str(clones)]) == 1
    said = capsys.readouterr()
    missed = [line for line in said.err.splitlines() if line.startswith("missed")]
    assert missed
    assert all("items" in line for line in missed)
    assert "| org/rm (reward_model), on gpt-4o-2024-05-13 |" in said.out
    assert "| recorded evaluations that have the stated one | 6 / 6 | 6 / 6 | 0.00 |" in said.out
    assert "| some-rm | 50.00 (" in said.out
    assert "left out: RM-Bench's math" in said.err


def test_a_figure_that_differs_is_named(clones: Path, published: Any, capsys: pytest.CaptureFixture[str]) -> None:
    place = clones / "llmbar/Dataset/LLMBar/Natural/evaluators/GPT-4/Metrics_Reference/statistics.json"
    place.write_text(json.dumps({"correct_average": "99.0%", "equal": "1 / 20 = 5.0%"}), encoding="utf-8")
    assert published.main(["--data", str(clones), "--json"]) == 1
    said = capsys.readouterr()
    assert (
        "missed: LLMBar: %, mean of the subsets, GPT-4/Metrics_Reference, accuracy, natural: differs by -" in said.err
    )
    document = json.loads(said.out)
    assert {"table", "row", "column", "ours", "published", "difference"} <= document[0].keys()


def test_sets_that_are_not_there_are_named(tmp_path: Path, published: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert published.main(["--data", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    for name in ("judgebench", "llmbar", "rm_bench", "rmb"):
        assert f"left out: no {tmp_path / name}; put a clone of https://github.com/" in said


# ------------------------------------------------------------------------------------------- the published files


@pytest.mark.parametrize("name", ["judgebench", "llmbar", "rm_bench", "rmb"])
def test_published_figures_come_out(name: str, published: Any) -> None:
    """Every figure of the published outputs, in both orders, by category and by subset; the papers' counts."""
    folder = clone(name)
    if name == "rmb" and not (folder / "eval" / "result").is_dir():
        pytest.skip("no eval/result in rmb: put a clone of the repository there")
    lines = published.SETS[name][0](folder)
    assert [x for x in lines if not x.holds] == []
    assert any(x.published is not None for x in lines)

"""RAG-Reward's pairs: labels by majority, a subset a criterion, the sources in the prompt, bad rows."""

import json
from pathlib import Path

import numpy as np
import pytest

from guerdon.bench.suites.registry import suite
from guerdon.bench.suites.run import run
from guerdon.errors import FeedbackError
from guerdon.reward.base import Function
from guerdon.worlds.records import CRITERIA, Record, answer

BENCH = suite("rag-reward")


def write(folder: Path, rows: list[dict[str, object]]) -> Path:
    (folder / "rag_reward.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return folder


def pairs(count: int) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for i in range(count):
        record = Record.drawn(i, rng)
        kinds = ("contradicted", "missing", "padded", "uncited")
        two = [answer(record, rng, **{k: int(rng.integers(0, 4)) for k in kinds}) for _ in range(2)]
        gaps = {c: two[0].quality(c) - two[1].quality(c) for c in CRITERIA}
        said = {c: "a" if g > 0 else "b" if g < 0 else "tie" for c, g in gaps.items()}
        rows.append(
            {"query": record.prompt, "sources": record.sources, "answer_a": two[0].text, "answer_b": two[1].text}
            | {"verdicts": said}
        )
    return rows


def test_a_reward_that_reads_the_sources_is_right_about_contradictions_and_length_is_not(tmp_path: Path) -> None:
    data = BENCH.feedback(write(tmp_path, pairs(150)))

    def unsupported(prompt: str, response: str) -> float:
        known = {line.split("] ", 1)[1].rstrip(".") for line in prompt.splitlines() if line.startswith("[")}
        said = [s.split(" [")[0].rstrip(".").strip() for s in response.split(". ")]
        return -float(sum(s.startswith("The ") and s not in known for s in said))

    found = run(Function(unsupported, "reads"), BENCH, data, baselines=("length",), bootstrap=50)
    assert found.figures["hallucination"].value == 1.0
    assert found.headline[0] == "label"
    length = next(b for b in found.baselines if b.name == "length")
    assert length.figures["hallucination"].value < 0.65
    assert length.figures["verbosity"].value < 0.4  # the longer one pads
    assert any("balance out" in n for n in found.notes)


def test_labels_are_the_majority_unless_they_are_told(tmp_path: Path) -> None:
    row = {"query": "q", "sources": ["s"], "answer_a": "x", "answer_b": "y", "verdicts": {"one": "a", "two": "A"}}
    told = {**row, "label": "b"}
    data = BENCH.feedback(write(tmp_path, [row, told]))
    labels = [j.grades for j in data.judgements() if j.subset == "label"]
    assert labels == [(1.0, 0.0), (0.0, 1.0)]


def test_rows_without_sources_or_with_odd_verdicts_are_named(tmp_path: Path) -> None:
    row = {"query": "q", "sources": ["s"], "answer_a": "x", "answer_b": "y", "verdicts": {"one": "a"}}
    for change, said in (
        ({"sources": []}, r"rag_reward\.jsonl:1: sources: none"),
        ({"verdicts": {"one": "left"}}, r"one: 'left' is none of a, b and tie"),
        ({"answer_b": 3}, r"answer_b: expected a str"),
    ):
        with pytest.raises(FeedbackError, match=said):
            BENCH.feedback(write(tmp_path, [{**row, **change}]))

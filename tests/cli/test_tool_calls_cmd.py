"""Tool calls on the command line: gold calls become pairs, pairs a reward, and the reward scores answers."""

import json
from pathlib import Path

import numpy as np

from guerdon.feedback.tool_calls import canonical
from guerdon.worlds.tools import asked, split
from run_cli import guerdon


def test_from_gold_calls_to_scores(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    requests = [asked(split(0)[0], rng, irrelevant=0.0) for _ in range(60)]
    gold, pairs, model = tmp_path / "gold.jsonl", tmp_path / "pairs.jsonl", tmp_path / "model"
    rows = [{"prompt": a.prompt, "response": canonical(a.calls), "rating": 1} for a in requests]
    gold.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    made = guerdon("curate", "tool-pairs", gold, "--out", pairs, "--set", "obfuscate=yes", "--json")
    assert made.code == 0, made.err
    assert made.json["actions"] == {"dropped": 60, "added": sum(made.json["pairs"].values())}
    fitted = guerdon("fit", pairs, "--model", "tool-calls", "--out", model)
    assert fitted.code == 0, fitted.err
    answers = tmp_path / "answers.jsonl"
    a = requests[0]
    told = [{"prompt": p, "response": r} for p, r in ((a.prompt, canonical(a.calls)), (a.prompt, "[]"), ("Hi.", "[]"))]
    answers.write_text("\n".join(map(json.dumps, told)), encoding="utf-8")
    scored = guerdon("score", model, answers)
    assert scored.code == 0, scored.err
    right, wrong, unread = (row["score"] for row in scored.rows)
    assert right > wrong
    assert unread is None, "no catalogue to judge by"


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    gold.write_text(json.dumps({"prompt": "Hi.", "response": "[]", "rating": 1}), encoding="utf-8")
    made = guerdon("curate", "tool-pairs", gold, "--out", tmp_path / "pairs.jsonl")
    assert made.code == 2
    assert "has a catalogue of functions" in made.err

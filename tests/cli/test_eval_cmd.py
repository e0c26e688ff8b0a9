"""`guerdon eval` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guerdon import cli

MODULE = '''
import numpy as np
from guerdon import Scores
from guerdon.reward.base import Reward

def number(prompt, response):
    return float(response.split()[0])

def silent(prompt, response):
    return None

class Personal(Reward):
    """People like high or low numbers; one comparison tells which."""
    name = "personal"
    reads = ("user",)
    def __init__(self, signs=None):
        self.signs = signs or {}
    @property
    def users(self):
        return tuple(self.signs)
    def score(self, candidates):
        who = candidates.user or [None] * len(candidates)
        values = [self.signs.get(u, 0.1) * number(None, r) for u, r in zip(who, candidates.responses)]
        return Scores(np.array(values))
    def adapt(self, feedback):
        signs = dict(self.signs)
        for j in feedback.judgements():
            first, second = (number(None, r) for r in j.responses)
            signs[j.user] = np.sign((first - second) * (j.grades[0] - j.grades[1])) * 1.0
        return Personal(signs)
'''


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_rewards.py").write_text(MODULE)
    rows = []
    for i in range(24 * 12):
        a, b = i % 7, (i % 7) + 1 + i % 3
        likes_high = i % 24 % 2 == 0
        row = {"prompt": f"question {i % 15}", "chosen": f"{b} x", "rejected": f"{a} x {'y' * (i % 5)}"}
        if not likes_high:
            row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
        rows.append({**row, "user": f"u{i % 24}", "subset": f"[bold]set {i % 2}"})
    (tmp_path / "votes.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["guerdon", "eval", *words])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_json_on_stdout_and_words_on_stderr(place, monkeypatch, capsys):
    assert run(monkeypatch, "my_rewards:number", "votes.jsonl", "--json", "--bootstrap", "100") == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["overall"]["accuracy"]["value"] == pytest.approx(0.5, abs=0.05)
    assert document["settings"]["bootstrap"] == 100
    assert "accuracy (decided pairs)" in err
    assert "careful: " in err
    assert "length" in err


def test_names_from_data_are_not_markup(place, monkeypatch, capsys):
    assert run(monkeypatch, "my_rewards:number", "votes.jsonl", "--bootstrap", "20") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "[bold]set 0" in err


def test_shots(place, monkeypatch, capsys):
    words = ["my_rewards:Personal", "votes.jsonl", "--shots", "1,2", "--shots", "3", "--json", "--bootstrap", "50"]
    assert run(monkeypatch, *words) == 0
    out, err = capsys.readouterr()
    curve = json.loads(out)["shots"]
    assert [p["shots"] for p in curve["points"]] == [0, 1, 2, 3]
    assert curve["points"][1]["people"]["accuracy"]["value"] == 1
    assert curve["points"][1]["gain"]["accuracy"]["low"] > 0.2
    assert "24 people it had never seen" in err


def test_train_brings_baselines(place, monkeypatch, capsys):
    words = ["my_rewards:number", "votes.jsonl", "--train", "votes.jsonl", "--baseline", "length,majority", "--json"]
    assert run(monkeypatch, *words, "--bootstrap", "20") == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert [b["name"] for b in document["baselines"]] == ["length", "majority"]
    assert document["data"]["overlap"]["same_vote"] == 1
    assert "these figures are too good" in err.replace("\n", " ")


def test_report(place, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    words = ["my_rewards:number", "votes.jsonl", "--bootstrap", "20", "--baseline", "length", "--report"]
    assert run(monkeypatch, *words, "out/page.html") == 0
    assert "<svg" in (place / "out" / "page.html").read_text()
    assert run(monkeypatch, *words, "folder") == 0
    assert (place / "folder" / "report.html").exists()
    assert json.loads((place / "folder" / "evaluation.json").read_text())["reward"] == "number"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["my_rewards:number", "missing.jsonl"], "missing.jsonl"),
        (["my_rewards:nothing", "votes.jsonl"], "nothing"),
        (["my_rewards:number", "votes.jsonl", "--shots", "two"], "--shots 2,5,10,20"),
        (["my_rewards:number", "votes.jsonl", "--shots", "2"], "personal reward"),
        (["my_rewards:number", "votes.jsonl", "--by", "day"], "auto, prompt, user, judgement"),
        (["my_rewards:number", "votes.jsonl", "--baseline", "luck"], "random"),
        (["my_rewards:number", "votes.jsonl", "--bootstrap", "-1"], "bootstrap"),
        (["my_rewards:number", "votes.jsonl", "--report", "votes.jsonl/x.html"], "cannot be written"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(place, monkeypatch, capsys, words, says):
    assert run(monkeypatch, *words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = [line for line in err.splitlines() if line.startswith("guerdon: ")]
    assert says in line


def test_a_silent_reward_is_not_an_error_but_says_so(place, monkeypatch, capsys):
    assert run(monkeypatch, "my_rewards:silent", "votes.jsonl", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["overall"]["accuracy"]["value"] is None
    assert "scored none of the" in err

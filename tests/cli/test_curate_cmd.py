"""``guerdon curate``: run a step, say what changed, write it whole, take it back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from guerdon.feedback.star import Feedback
from run_cli import guerdon

WORDS = ("rain", "roof", "pear", "sky", "verse", "line", "cloud", "door")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty comparisons, more apples are better; every sixth label is wrong."""
    out = tmp_path_factory.mktemp("curate") / "a.jsonl"
    rng = np.random.default_rng(0)
    rows = []
    for i in range(60):
        good = " ".join([*rng.choice(WORDS, 4), "apple", "apple"])
        bad = " ".join(rng.choice(WORDS, 6))
        chosen, rejected = (bad, good) if i % 6 == 0 else (good, bad)
        rows.append({"prompt": f"p{i}", "chosen": chosen, "rejected": rejected, "subset": "st"[i % 2], "id": f"j{i}"})
    out.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return out


VOTE = [
    *("vote", "--encoder", "hash:64", "--set", "model=robust", "--set", "models=5", "--set", "flip=0.15"),
    *("--set", 'settings={"hidden": [16], "epochs": 6, "learning_rate": 0.01, "early_stopping": false}'),
]


def test_lists_steps_and_their_settings() -> None:
    done = guerdon("curate", "--json")
    assert {"vote", "peer", "margin"} <= {s["name"] for s in done.json}
    done = guerdon("curate")
    assert "cross-fitted reward models vote" in done.err
    done = guerdon("curate", "peer", "--json")
    assert {"noise", "warmup", "seed"} <= {s["name"] for s in done.json["settings"]}
    assert "share of the verdicts assumed mislabelled" in guerdon("curate", "peer").err.replace("\n", " ").replace(
        "  ", ""
    )


def test_runs_reports_and_undoes(path: Path, tmp_path: Path) -> None:
    out, report, back = tmp_path / "b.jsonl", tmp_path / "r.json", tmp_path / "c.jsonl"
    done = guerdon("curate", *VOTE, path, "--out", out, "--report", report, "--json")
    assert done.code == 0, done.err
    told = done.json
    assert told == json.loads(report.read_text())
    assert (told["step"], told["settings"]["flip"], told["settings"]["encoder"]) == ("vote", 0.15, "hash:64")
    assert told["judgements_before"] == told["judgements_after"] == 60
    assert told["actions"]["flipped"] > 0
    assert set(told["by_subset"]) == {"s", "t"}
    assert told["agreement_after"] > told["agreement_before"]
    assert "agreement with the labels" in done.err
    assert f"undo with: guerdon curate undo {out}" in done.err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    flipped = {r["id"] for r in rows if r["action"] == "flipped"}
    assert len(flipped & {f"j{i}" for i in range(0, 60, 6)}) >= len(flipped) / 2
    assert all(r["decided_by"] == "vote of 5 models" and "strength" in r["why"] for r in rows)
    done = guerdon("curate", "undo", out, "--out", back, "--json")
    assert done.json == {"out": str(back), "judgements": 60}
    assert list(Feedback.read(back).judgements()) == list(Feedback.read(path).judgements())


def test_same_seed_same_bytes(path: Path, tmp_path: Path) -> None:
    for name in ("x", "y"):
        guerdon("curate", *VOTE, path, "--out", tmp_path / f"{name}.jsonl", "--seed", "4")
    for ending in ("jsonl", "jsonl.decisions.parquet"):
        assert (tmp_path / f"x.{ending}").read_bytes() == (tmp_path / f"y.{ending}").read_bytes()


def test_reading_options_and_other_steps(path: Path, tmp_path: Path) -> None:
    done = guerdon(
        *("curate", "margin", path, "--set", "voters=rule:length", "--out", tmp_path / "m.parquet"),
        *("--where", "subset=s", "--json"),
    )
    assert done.code == 0, done.err
    assert (done.json["judgements_after"], done.json["actions"]) == (30, {"margin": 30})
    assert set(Feedback.read(tmp_path / "m.parquet").strength) <= {1.0, -1.0, 0.0}  # type: ignore[arg-type]
    done = guerdon(
        *("curate", "peer", "-", "--encoder", "hash:64", "--set", "epochs=4", "--set", "hidden=[8]"),
        *("--out", tmp_path / "p.json.gz", "--set", "batch=20"),
        stdin=path.read_text(),
    )
    assert done.code == 0, done.err
    assert len(Feedback.read(tmp_path / "p.json.gz")) >= 48


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["polish", "{path}", "--out", "o.jsonl"], "no step 'polish'; choose one of"),
        (["vote", "{path}"], "--out FILE is missing"),
        (["vote", "{path}", "--out", "o.csv"], "is written to one of"),
        (["vote", "{path}", "--out", "o.jsonl", "--set", "flap=1"], "step 'vote' has no setting 'flap'"),
        (["vote", "{path}", "--out", "o.jsonl", "--set", "models=2"], "at least 3 models"),
        (["vote", "nowhere.jsonl", "--out", "o.jsonl"], "nowhere.jsonl: no such file"),
        (["margin", "{path}", "--out", "o.jsonl"], "no voters"),
        (["undo", "{path}"], "undo needs a curated file"),
        (["undo", "{path}", "--out", "o.jsonl"], "is missing; it was written beside"),
        (["undo", "{path}", "--out", "{path}"], "is the curated file itself"),
        (["vote", "{path}", "--out", "{path}"], "is the feedback itself"),
    ],
)
def test_mistakes_are_exit_code_2_and_one_line(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = guerdon("curate", *(a.format(path=path) for a in arguments))
    assert (done.code, done.out) == (2, "")
    assert message in done.err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []

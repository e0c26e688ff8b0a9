"""`guerdon fit`: from a file of comparisons to a saved, measured reward."""

import json
from pathlib import Path

import numpy as np
import pytest

from guerdon.cli.fit import parted
from guerdon.cli.output import line
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.load import load
from run_cli import guerdon

WORDS = ["rain", "roof", "apple", "pear", "sky", "blue", "verse", "line"]


def comparisons(n: int, users: int = 0, prompts: int = 60) -> bytes:
    """Preference rows: more apples win."""
    rng = np.random.default_rng(1)
    rows = []
    for i in range(n):
        a, b = (" ".join(rng.choice(WORDS, 6)) + f" {i}{side}" for side in "ab")
        if a.count("apple") < b.count("apple"):
            a, b = b, a
        user = {"user": f"u{i % users}"} if users else {}
        rows.append(line({"prompt": f"prompt {i % prompts}", "chosen": a, "rejected": b, **user}))
    return b"".join(rows)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "feedback.jsonl"
    path.write_bytes(comparisons(240))
    return path


def test_one_command_gives_a_measured_reward(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    result = guerdon("fit", file, "--model", "bradley-terry", "--encoder", "hash:256", "--out", out, "--json")
    assert result.code == 0, result.err
    document = result.json
    assert document["split"] == {"by": "prompt", "holdout": 0.1, "seed": 0}
    assert document["train"] + document["test"] == 240
    accuracy = document["evaluation"]["overall"]["accuracy"]
    assert accuracy["low"] > 0.5
    assert {b["name"] for b in document["evaluation"]["baselines"]} == {"length", "random"}, "not itself, not majority"
    for text in ("recognised", "held out: ", "whole prompts", "accuracy", "saved: "):
        assert text in result.err
    reward = load(out)
    assert reward.summary["evaluation"]["accuracy"].startswith(f"{accuracy['value']:.3f}")  # type: ignore[attr-defined]
    card = (out / "README.md").read_text()
    assert "feedback.jsonl" in card
    assert str(tmp_path) not in card, "a path of this machine is published"
    apples = guerdon("best", out, "-", stdin=line({"prompt": "p", "responses": ["rain roof", "apple apple"]}))
    assert apples.rows[0]["response"] == "apple apple"
    # the same again is the same model; another seed splits differently
    again = guerdon(
        "fit", file, "--model", "bradley-terry", "--encoder", "hash:256", "--out", tmp_path / "again", "--json"
    )
    assert again.json["evaluation"]["overall"] == document["evaluation"]["overall"]
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "again" / "model.safetensors").read_bytes()


def test_settings_report_and_no_holdout(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    options = ["--model", "bradley-terry", "--encoder", "hash:64", "--set", "l2=0.5", "--out", out]
    result = guerdon("fit", file, *options, "--holdout", "0", "--json")
    assert result.code == 0, result.err
    assert (result.json["split"], result.json["evaluation"], result.json["test"]) == (None, None, 0)
    assert result.json["params"]["l2"] == 0.5
    assert "Not measured when it was saved" in (out / "README.md").read_text()
    result = guerdon("fit", file, *options, "--report")
    assert result.code == 0, result.err
    assert "<html" in (out / "report.html").read_text()[:500].lower()
    assert json.loads((out / "config.json").read_text())["params"]["l2"] == 0.5


def test_people_held_out_of_a_personal_reward_are_measured_with_few_shots(tmp_path: Path) -> None:
    text = comparisons(800, users=40, prompts=1)
    options = ["--encoder", "hash:64", *(x for s in ("rank=1", "l2=1", "l2_basis=1", "prior=1") for x in ("--set", s))]
    result = guerdon("fit", "-", "--model", "low-rank", *options, "--out", tmp_path / "m", "--json", stdin=text)
    assert result.code == 0, result.err
    assert result.json["split"]["by"] == "user", "one prompt: people are held out"
    assert [p["shots"] for p in result.json["evaluation"]["shots"]["points"]] == [0, 2, 5, 10]
    card = (tmp_path / "m" / "README.md").read_text()
    assert "accuracy after 10 comparisons" in card
    assert card.count("\n- ") >= 5, "what to be careful about is listed"


def feedback(prompts: int, users: int) -> Feedback:
    return Feedback.of(
        Judgement(f"p{i % prompts}", (f"a{i}", f"b{i}"), (1.0, 0.0), user=f"u{i % users}" if users else None)
        for i in range(60)
    )


def test_what_is_held_out_by_default() -> None:
    for prompts, users, unit in ((30, 0, "prompt"), (30, 30, "prompt"), (3, 30, "user"), (3, 0, "judgement")):
        train, test, by = parted(feedback(prompts, users), None, 0.2, 0)
        assert by == unit
        assert test is not None
        assert len(train) + len(test) == 60
    assert parted(feedback(3, 3), "user", 0.2, 0)[2] == "user"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "gpt"], "no model 'gpt'; choose one of"),
        (["--model", "bradley-terry", "--set", "colour=red"], "has no parameter 'colour'; it has: encoder"),
        (["--model", "bradley-terry", "--set", "l2"], "write KEY=VALUE"),
        (["--model", "bradley-terry", "--holdout", "1.5"], "--holdout 1.5: use a share"),
        (["--model", "bradley-terry", "--encoder", "wat:1"], "no encoder 'wat'"),
        (["--model", "bradley-terry", "--encoder", "hash:64", "--split", "moon"], "split by 'moon' is unknown"),
        (["--model", "low-rank", "--encoder", "hash:64"], "needs to know who judged"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(options: list[str], message: str, file: Path, tmp_path: Path) -> None:
    result = guerdon("fit", file, *options, "--out", tmp_path / "model")
    assert result.code == 2
    assert message in result.err.splitlines()[-1]
    assert not (tmp_path / "model").exists()


def test_a_place_that_is_taken_fails_before_the_work(file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    result = guerdon("fit", "no such file", "--model", "bradley-terry", "--out", tmp_path / "mine")
    assert result.code == 2
    assert "is not empty and holds no guerdon model" in result.err

"""The frame of curation: a decision for every judgement, provenance on disk, and the way back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.curate.provenance import decisions_path, load, restore, save
from guerdon.curate.registry import STEPS, step
from guerdon.curate.step import ACTIONS, PROVENANCE, Changes, undo
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback


def judgements() -> list[Judgement]:
    chat = [{"role": "user", "content": "hi"}]
    return [
        Judgement("q", ("a", "b"), (1.0, 0.0), user="ann", subset="s", id="j0", time=12.5),
        Judgement("q", ("b", "c"), (0.0, 3.0), user="bob", subset="t", weight=0.5, source="human"),
        Judgement(chat, ("x", "y"), (1.0, 1.0), comment="same"),
        Judgement("r", ("a", "b", "c"), (2.0, 1.0, 0.25), user="ann", subset="s"),
        Judgement("r", ("a",), (4.0,), scale="rating", user="bob"),
        Judgement("s", ("é\u2028", "\x1eodd"), (0.25, 0.75), scale="probability"),
        Judgement("t", ("a", "b"), (1.0, 0.0), strength=-0.3333333333333333),
    ]


def curated(feedback: Feedback) -> Changes:
    changes = Changes(feedback, by="a vote", using="three models")
    changes.drop([0, 4], why="wrong", confidence=0.9)
    changes.flip([1], why="others say so", confidence=0.8, by="eve")
    changes.soften([2], 0.7, why="close")
    changes.label([3], [[0.0, 1.0, 2.0]], why="asked again", source="model", by=["judge"])
    changes.margin([6], 1.5, why="clear")
    changes.weigh(np.arange(7) == 5, 2.0, why="rare")
    changes.add([Judgement("new", ("a", "b"), (1.0, 0.0), source="model", user="zoe")], why="mined", confidence=0.6)
    changes.note("doubt", np.arange(7) / 7)
    return changes


def test_every_judgement_gets_one_decision_and_the_output_is_in_order() -> None:
    result = curated(Feedback.of(judgements())).done({"figure": 1})
    d = result.decisions.to_pylist()
    assert [r["action"] for r in d] == [
        *("dropped", "flipped", "softened", "labelled", "dropped", "weighted", "margin", "added")
    ]
    assert [r["row"] for r in d] == [0, 1, 2, 3, 4, 5, 6, None]
    assert [r["out_row"] for r in d] == [None, 0, 1, 2, None, 3, 4, 5]
    assert (d[1]["decided_by"], d[0]["decided_by"], d[0]["decided_with"]) == ("eve", "a vote", "three models")
    assert (d[0]["confidence"], d[2]["confidence"], d[7]["confidence"]) == (0.9, None, 0.6)
    assert (d[3]["doubt"], d[7]["doubt"]) == (3 / 7, None)
    out = list(result.feedback.judgements())
    assert out[0].grades == (3.0, 0.0)
    assert (out[1].grades, out[1].scale) == ((0.7, pytest.approx(0.3)), "probability")
    assert (out[2].grades, out[2].source) == ((0.0, 1.0, 2.0), "model")
    assert (out[3].weight, out[4].strength, out[5].user) == (2.0, 1.5, "zoe")


def test_report_counts_by_action_person_and_subset() -> None:
    result = curated(Feedback.of(judgements())).done({"figure": 1})
    report = json.loads(json.dumps(result.report))
    assert (report["judgements_before"], report["judgements_after"], report["figure"]) == (7, 6, 1)
    assert report["actions"]["dropped"] == 2
    assert report["by_subset"] == {"s": {"dropped": 1, "labelled": 1}, "t": {"flipped": 1}}
    assert report["by_user"]["zoe"] == {"added": 1}
    assert {"action": "flipped", "decided_by": "eve", "judgements": 1} in report["decided_by"]


def test_undo_restores_judgement_for_judgement() -> None:
    result = curated(Feedback.of(judgements())).done()
    assert list(result.undo().judgements()) == judgements()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_undo_restores_whatever_was_done(data: st.DataObject) -> None:
    rows = judgements()
    feedback = Feedback.of(rows)
    changes = Changes(feedback, by="x")
    pairs = {1, 2, 5, 6, 0}
    for j in data.draw(st.permutations(range(7))):
        do = data.draw(st.sampled_from([a for a in ACTIONS if a != "added"]))
        if do == "dropped":
            changes.drop([j], why="w")
        elif do == "flipped":
            changes.flip([j], why="w")
        elif do == "softened" and j in pairs:
            changes.soften([j], data.draw(st.floats(0, 1)), why="w")
        elif do == "margin" and j in pairs:
            changes.margin([j], data.draw(st.floats(-5, 5)), why="w")
        elif do == "weighted":
            changes.weigh([j], data.draw(st.floats(0, 9)), why="w")
        elif do == "labelled":
            size = int(feedback.sizes[j])
            grades = data.draw(st.lists(st.floats(-3, 3), min_size=size, max_size=size))
            changes.label([j], [grades], why="w", weight=0.1, strength=3.0)
    result = changes.done()
    assert list(undo(result.feedback, result.decisions).judgements()) == rows
    assert sum(result.report["actions"].values()) == 7


def test_a_judgement_is_decided_once_and_decisions_are_checked() -> None:
    changes = Changes(Feedback.of(judgements()), by="x")
    changes.keep([0], why="fine")
    with pytest.raises(ValueError, match="judgement 0 has been decided"):
        changes.drop([0], why="not fine")
    with pytest.raises(FeedbackError, match="3 responses; soft labels are for comparisons of two"):
        changes.soften([3], 0.5, why="x")
    with pytest.raises(FeedbackError, match="must lie in"):
        changes.soften([1], 1.5, why="x")
    with pytest.raises(FeedbackError, match="2 responses, 3 grades"):
        changes.label([2], [[1, 2, 3]], why="x")


def test_undo_refuses_feedback_that_is_not_its_own() -> None:
    result = curated(Feedback.of(judgements())).done()
    with pytest.raises(FeedbackError, match="are not of one step"):
        undo(result.feedback.take(np.arange(3)), result.decisions)


@pytest.mark.parametrize("ending", [".jsonl", ".parquet", ".json", ".jsonl.gz"])
def test_on_disk_rows_carry_provenance_and_undo_works(tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"b{ending}"
    result = curated(Feedback.of(judgements())).done()
    save(result, out)
    again = Feedback.read(out)
    assert list(again.judgements()) == list(result.feedback.judgements())
    assert list(restore(out).judgements()) == judgements()
    assert load(out)[1] == json.loads(json.dumps(result.report))
    if ending == ".jsonl":
        first = json.loads(out.read_text().split("\n")[0])
        assert {k: first[k] for k in PROVENANCE} == {
            "action": "flipped",
            "decided_by": "eve",
            "decided_with": "three models",
            "why": "others say so",
            "confidence": 0.8,
        }
    if ending == ".parquet":
        assert pq.read_table(out)["action"].to_pylist()[-1] == "added"
    assert sorted(p.name for p in tmp_path.iterdir()) == [out.name, decisions_path(out).name]


def test_on_disk_mistakes_are_one_clear_line(tmp_path: Path) -> None:
    out = tmp_path / "b.jsonl"
    save(curated(Feedback.of(judgements())).done(), out)
    out.write_text(out.read_text().replace("zoe", "amy"))
    with pytest.raises(FeedbackError, match="has changed since"):
        restore(out)
    decisions_path(out).write_bytes(b"no")
    with pytest.raises(FeedbackError, match="damaged"):
        restore(out)
    decisions_path(out).unlink()
    with pytest.raises(FeedbackError, match="is missing"):
        restore(out)
    with pytest.raises(FeedbackError, match="no such file"):
        restore(tmp_path / "c.jsonl")
    with pytest.raises(ConfigError, match="is written to one of"):
        save(curated(Feedback.of(judgements())).done(), tmp_path / "b.csv")
    changes = Changes(Feedback.of(judgements()), by="x")
    changes.drop(np.ones(7, bool), why="all")
    with pytest.raises(FeedbackError, match="every one was dropped"):
        save(changes.done(), tmp_path / "d.jsonl")
    assert not (tmp_path / "d.jsonl").exists()


def test_registered_steps_say_what_their_settings_mean() -> None:
    for name, entry in STEPS.items():
        for setting, _, doc in entry.parameters():
            assert doc, f"{name}: {setting} is not documented"
    with pytest.raises(ConfigError, match="choose one of"):
        step("polish")


def test_steps_chain_and_are_undone_one_by_one(tmp_path: Path) -> None:
    feedback = Feedback.of(judgements())
    save(curated(feedback).done(), tmp_path / "one.jsonl")
    second = Changes(Feedback.read(tmp_path / "one.jsonl"), by="y")
    second.drop([1, 4], why="again")
    save(second.done(), tmp_path / "two.parquet")
    restore(tmp_path / "two.parquet").write(tmp_path / "back.jsonl")
    assert list(Feedback.read(tmp_path / "back.jsonl").judgements()) == list(
        Feedback.read(tmp_path / "one.jsonl").judgements()
    )
    assert list(restore(tmp_path / "one.jsonl").judgements()) == judgements()

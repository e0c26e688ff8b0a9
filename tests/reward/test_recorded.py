"""Scores and verdicts from a file: what goes in comes out, both orders meet, items are found by their ids."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.bench.suites.registry import suite
from guerdon.bench.suites.run import run
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward
from guerdon.reward.load import fingerprint, load
from guerdon.reward.recorded import RecordedItems, RecordedScores, RecordedVerdicts, open_recorded
from guerdon.testing import check_reward
from run_cli import guerdon

CHAT = [{"role": "user", "content": "hello"}]


def wrote(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def verdicts(*rows: tuple[str, str, float | None]) -> Reward:
    return open_recorded([{"prompt": "p", "response_a": a, "response_b": b, "probability": v} for a, b, v in rows])


def said(reward: Reward, a: str, b: str) -> float:
    return float(reward.prefer(Candidates(["p"], [a]), Candidates(["p"], [b])).value[0])


# ------------------------------------------------------------------------------------------------------- scores


def test_what_guerdon_score_and_compare_wrote_is_a_reward(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"p{i}", "chosen": "x" * (i + 2), "rejected": "x" * (i % 3), "subset": "hep-js"} for i in range(9)
    ]
    data = wrote(tmp_path / "rewardbench.jsonl", rows)
    lists = wrote(
        tmp_path / "lists.jsonl", [{"prompt": r["prompt"], "responses": [r["chosen"], r["rejected"]]} for r in rows]
    )
    outcomes = []
    for command in ("score", "compare"):
        out = tmp_path / f"{command}.jsonl"
        assert guerdon(command, "rule:length", lists, "--out", out).code == 0
        reports = []
        for spec in ("rule:length", f"scores:{out}"):
            result = guerdon("bench", spec, "rewardbench", "--data", data, "--partial", "--bootstrap", "0", "--json")
            assert result.code == 0, result.err
            reports.append(json.loads(result.out))
        assert reports[1]["items"]["credit"] == reports[0]["items"]["credit"]
        assert reports[1]["reward"] == command  # called after its file
        outcomes.append(reports[1])
    assert outcomes[0]["facts"]["unscored duels"] == 0


def test_scores_by_text_chat_and_person(tmp_path: Path) -> None:
    rows = [
        {"prompt": CHAT, "response": "hi", "score": 1.5, "user": "ann"},
        {"prompt": CHAT, "response": "hi", "score": -1, "user": "bob"},
        {"prompt": CHAT, "response": "no", "score": None, "user": "ann"},
    ]
    reward = load(f"scores:{wrote(tmp_path / 'their-rm-3.1-8B.jsonl', rows)}")
    assert isinstance(reward, RecordedScores)
    assert (reward.name, reward.reads) == ("their-rm-3.1-8B", ("user",))
    asked = Candidates([CHAT] * 4, ["hi", "hi", "no", "never seen"], user=["ann", "bob", "ann", "ann"])
    found = reward.score(asked)
    assert found.value[:2].tolist() == [1.5, -1.0]
    assert list(found.status) == ["scored", "scored", "abstained", "abstained"]
    assert list(found.reason) == [None, None, "the file holds no value", "not in the file"]
    assert np.isnan(found.value[2:]).all()
    assert len(reward.score(asked.take([]))) == 0


def test_pairs_with_their_scores_and_several_scores_of_one_candidate(caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": 2, "score_rejected": 1},
        {"prompt": "p", "chosen": "a", "rejected": "c", "score_chosen": 4, "score_rejected": 1},
    ]
    reward = open_recorded(rows)
    assert reward.score(Candidates(["p"] * 3, ["a", "b", "c"])).value.tolist() == [3.0, 1.0, 1.0]
    assert "1 of 3 candidates have several scores; their means count" in caplog.text


def test_the_contract_is_kept() -> None:
    texts = [("p", "a"), ("p", "b"), ("q", "a"), ("q", "c")]
    candidates = Candidates([p for p, _ in texts], [r for _, r in texts])
    rows = [{"prompt": p, "response": r, "score": float(i)} for i, (p, r) in enumerate(texts)]
    check_reward(open_recorded(rows), candidates, save=False)
    check_reward(verdicts(("a", "b", 0.7)), candidates.take([0, 1]), save=False)


def test_a_file_that_changed_is_another_reward(tmp_path: Path) -> None:
    path = wrote(tmp_path / "s.jsonl", [{"prompt": "p", "response": "a", "score": 1}])
    before = fingerprint(f"scores:{path}")
    wrote(path, [{"prompt": "p", "response": "a", "score": 2}])
    assert fingerprint(f"scores:{path}") != before


# ----------------------------------------------------------------------------------------------------- verdicts


def test_both_orders_of_a_judge_meet() -> None:
    same_twice = verdicts(("a", "b", 1), ("b", "a", 0))
    assert (said(same_twice, "a", "b"), said(same_twice, "b", "a")) == (1.0, 0.0)
    by_place = verdicts(("a", "b", 1), ("b", "a", 1))
    assert said(by_place, "a", "b") == 0.5
    assert said(verdicts(("a", "b", 1), ("b", "a", 0.5)), "a", "b") == 0.75
    once = verdicts(("a", "b", 1), ("b", "a", None))  # what was not said is no tie
    assert said(once, "a", "b") == 1.0
    never = verdicts(("a", "b", None), ("b", "a", None))
    assert isinstance(never, RecordedVerdicts)
    assert math.isnan(said(never, "a", "b"))
    found = never.prefer(Candidates(["p", "p"], ["a", "a"]), Candidates(["p", "p"], ["b", "c"]))
    assert list(found.reason) == ["the file holds no verdict", "not in the file"]
    with pytest.raises(TypeError, match="compares candidates but does not score"):
        never.score(Candidates(["p"], ["a"]))


def test_verdicts_rank_the_responses_to_a_prompt() -> None:
    reward = verdicts(("a", "b", 1), ("b", "c", 1), ("c", "a", 0), ("b", "a", None))
    found = reward.rank(Candidates(["p"] * 5 + ["q"], ["c", "b", "a", "d", "a", "a"]))
    assert found.value[:3].tolist() == [0.0, 0.5, 1.0]
    assert found.value[4] == 1.0  # the same response again
    assert np.isnan(found.value[[3, 5]]).all()
    assert found.reason[3] == "the file compares it with none of the others"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("xyz"), st.sampled_from("xyz"), st.sampled_from([0.0, 0.25, 0.5, 1.0, None])),
        min_size=1,
    )
)
def test_verdicts_equal_a_naive_twin(rows: list[tuple[str, str, float | None]]) -> None:
    reward = verdicts(*rows)
    for a in "xyz":
        for b in "xyz":
            values = [v for x, y, v in rows if v is not None and (x, y) == (a, b)]
            values += [1 - v for x, y, v in rows if v is not None and (x, y) == (b, a)]
            found = said(reward, a, b)
            if a == b:
                assert found == 0.5
            elif values:
                assert found == pytest.approx(sum(values) / len(values))
            else:
                assert math.isnan(found)


# ---------------------------------------------------------------------------------------------------- by the id


def items(n: int = 4, subset: str | None = "hep-js", ids: Any = str) -> Feedback:
    """Pairs whose right response comes second in every other one."""
    return Feedback.of(
        Judgement(
            f"p{i}",
            ("right", "wrong")[:: 1 if i % 2 else -1],
            (float(i % 2), float(1 - i % 2)),
            subset=subset,
            id=ids(i),
        )
        for i in range(n)
    )


def test_reward_bench_result_files_are_read_by_id(tmp_path: Path) -> None:
    """One object of columns beside the model's name; texts are in the model's template and say nothing."""
    document = {
        "id": [3, 2, 1, 0],
        "subset": ["hep-js"] * 4,
        "text_chosen": ["<s>..."] * 4,
        "scores_chosen": [1.0, 2.0, 1.0, 3.0],
        "scores_rejected": [0.0, 5.0, 1.0, 2.5],
        "results": [1, 0, 0, 1],
        "model": "org/their-model",
        "model_type": "Seq. Classifier",
    }
    path = tmp_path / "their-model.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    reward = load(f"scores:{path}")
    assert isinstance(reward, RecordedItems)
    result = run(reward, suite("rewardbench"), items(), partial=True, bootstrap=0, baselines=())
    assert result.reward == "org/their-model"
    assert dict(zip(result.items["id"], result.items["credit"], strict=True)) == {
        "0": 1.0,
        "1": 0.0,
        "2": 0.0,
        "3": 1.0,
    }
    with pytest.raises(
        ConfigError, match="scores by id are of the items of a benchmark and of no other texts; use guerdon bench"
    ):
        reward.score(items().candidates)


def test_lists_of_scores_follow_the_responses() -> None:
    """RM-Bench: three right, three wrong; all responses in their order; an item that is missing is unscored."""
    data = Feedback.of(
        Judgement(f"p{i}", tuple("abcdef"), (1.0,) * 3 + (0.0,) * 3, subset="chat", id=str(i), scale="partial")
        for i in range(3)
    )
    rows = [{"id": i, "score_chosen": [5, 6, 7], "score_rejected": [1, 2, 8]} for i in range(2)]
    for written in (rows, [{"id": i, "scores": [5, 6, 7, 1, 2, 8]} for i in range(2)]):
        result = run(open_recorded(written), suite("rm-bench"), data, bootstrap=0, baselines=())
        assert result.subsets["chat/Markdown over Markdown"].value == 0.0
        assert result.subsets["chat/concise over concise"].value == pytest.approx(2 / 3)  # the third item earns nothing
        assert result.facts["unscored duels"] == 9


def test_ids_that_do_not_fit_are_refused() -> None:
    rows = [{"pair_uid": str(i), "chosen_reward": 1.0, "reject_reward": 0.0} for i in range(4)]
    bench = suite("auto-j")

    def measure(rows: list[dict[str, Any]], data: Feedback) -> None:
        run(open_recorded(rows), bench, data, bootstrap=0, baselines=())

    measure(rows, items())
    with pytest.raises(FeedbackError, match=r"none of its 4 ids \(such as 0\) is in the data"):
        measure(rows, items(ids=lambda i: f"other {i}"))
    with pytest.raises(FeedbackError, match="the data have id 0 several times; add the column subset"):
        measure(rows, Feedback.concatenate([items(2, "one"), items(2, "two")]))
    with pytest.raises(FeedbackError, match="item 0: 3 scores of 2 responses"):
        measure([{"id": 0, "scores": [1, 2, 3]}], items())
    with pytest.raises(FeedbackError, match="record 5: id 0: here with other scores"):
        open_recorded([*rows, {**rows[0], "chosen_reward": 9.0}])


# ---------------------------------------------------------------------------------------------------- bad files


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([{"prompt": "p", "text": "a"}], r"s.jsonl:1: needs prompt, response, score; .* it has prompt, text"),
        (
            [{"prompt": "p", "response": "a", "score": 1}, {"prompt": "p", "response_a": "a"}],
            "s.jsonl:2: lacks columns of the first row; it has prompt, response_a",
        ),
        (
            [{"prompt": "p", "response": "a", "score": "high"}],
            "s.jsonl:1: score: 'high' is no number; give one, or null",
        ),
        (
            [{"prompt": "p", "response": "a", "score": i} | ({"user": "ann"} if i else {}) for i in range(2)],
            "s.jsonl:2: user: the first row has none; give one in every row, or in none",
        ),
        ([{"prompt": "p", "response": 7, "score": 1}], "s.jsonl:1: response: "),
        ([{"prompt": "p", "response": "a", "score": True}], "score: True is no number"),
        (
            [{"prompt": "p", "responses": ["a", "b"], "scores": [1]}],
            "responses and scores: give two lists of the same length",
        ),
        (
            [{"prompt": "p", "response_a": "a", "response_b": "b", "probability": 1.5}],
            r"s.jsonl:1: probability: 1.5 is not in \[0, 1\]",
        ),
    ],
)
def test_mistaken_rows_are_named(rows: list[dict[str, Any]], why: str, tmp_path: Path) -> None:
    with pytest.raises(FeedbackError, match=why):
        load(f"scores:{wrote(tmp_path / 's.jsonl', rows)}")
    with pytest.raises(FeedbackError, match="no such file"):
        load(f"scores:{tmp_path / 'none.jsonl'}")

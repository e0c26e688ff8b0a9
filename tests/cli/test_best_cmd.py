"""`guerdon best`: one row a prompt."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

import fake_rewards
from guerdon.cli.output import line
from run_cli import guerdon

FLAT = [
    {"prompt": "q", "response": "long enough"},
    {"prompt": "p", "response": "a"},
    {"prompt": "q", "response": "short"},
    {"prompt": "p", "response": "a banana"},
    {"prompt": "p", "response": "bcd"},
]


def text(rows: list[dict]) -> bytes:
    return b"".join(line(row) for row in rows)


def test_rows_of_a_prompt_in_any_order() -> None:
    result = guerdon("best", "fake_rewards:Picky", "-", "--batch", "2", stdin=text(FLAT))
    assert result.code == 0
    q, p = result.rows
    assert q == {
        "prompt": "q",
        "response": "long enough",
        "score": 11.0,
        "index": 0,
        "margin": 6.0,
        "n": 2,
        "unscored": 0,
    }
    assert (p["response"], p["margin"], p["n"], p["unscored"]) == ("bcd", 2.0, 3, 1)
    assert "2 prompts, 5 responses, 1 of them unscored" in result.err


def test_rows_with_lists_and_the_top_two(tmp_path: Path) -> None:
    rows = [{"question": "p", "responses": ["a", "abc", "ab"]}, {"question": "z", "responses": []}]
    result = guerdon("best", "rule:length", "-", "-n", "2", "--out", tmp_path / "o.parquet", "--json", stdin=text(rows))
    assert result.json == {"out": str(tmp_path / "o.parquet"), "prompts": 1, "skipped": 0}
    assert pq.read_table(tmp_path / "o.parquet").to_pylist() == [
        {
            "prompt": "p",
            "responses": ["abc", "ab"],
            "scores": [3.0, 2.0],
            "index": [1, 2],
            "margin": 1.0,
            "n": 3,
            "unscored": 0,
        }
    ]


def test_a_prompt_without_any_score() -> None:
    result = guerdon("best", "fake_rewards:Picky", "-", "--json", stdin=text([{"prompt": "p", "response": "banana"}]))
    choice = result.json["choices"][0]
    assert (choice["response"], choice["score"], choice["margin"], choice["unscored"]) == (None, None, None, 1)
    assert "1 prompts without any scored response" in result.err


def test_for_one_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_rewards.register(monkeypatch)
    fake_rewards.tastes("ann", "bob").save(tmp_path / "model")
    rows = text([{"prompt": "p", "response": "aaa"}, {"prompt": "p", "response": "eee"}])
    for user, best in (("ann", "eee"), ("bob", "aaa")):
        row = guerdon("best", tmp_path / "model", "-", "--user", user, stdin=rows).rows[0]
        assert (row["response"], row["user"]) == (best, user)


def test_rewards_that_only_compare() -> None:
    rows = text([{"prompt": "p", "response": "a!!"}, {"prompt": "p", "response": "b"}])
    assert guerdon("best", "fake_rewards:Duel", "-", stdin=rows).rows[0]["response"] == "a!!"


def test_bad_rows() -> None:
    rows = text([{"prompt": "p", "response": "good"}, {"prompt": "p"}])
    stopped = guerdon("best", "rule:length", "-", stdin=rows)
    assert (stopped.code, stopped.out) == (2, "")
    assert "standard input:2: no response" in stopped.err
    skipped = guerdon("best", "rule:length", "-", "--skip-bad", stdin=rows)
    assert skipped.rows[0]["n"] == 1
    assert "1 rows skipped" in skipped.err
    assert guerdon("best", "rule:length", "-", "--out", "o.foo", stdin=rows).code == 2
    nothing = guerdon("best", "rule:length", "-", "--skip-bad", stdin='{"prompt": "p"}\n')
    assert nothing.code == 2
    assert "no candidates to choose from" in nothing.err

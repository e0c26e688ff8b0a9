"""Feedback spread over two tables: UKPConvArg and MT-bench in miniature."""

import json
from pathlib import Path

import pytest

from guerdon.errors import FeedbackError
from guerdon.feedback import Judgement
from guerdon.feedback.readers import read
from guerdon.feedback.readers.ukpconvarg import prompt_of


def jsonl(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_ukpconvarg(tmp_path: Path) -> None:
    votes = [{"user": u, "choice": c, "reason": r} for u, c, r in (("w1", "a2", "clearer"), ("w2", "equal", ""))]
    pair = {"topic": "t", "pair": "x_y", "a": "x", "b": "y", "votes": votes}
    jsonl(tmp_path / "pairs.jsonl", pair)
    arguments = [{"topic": "t", "id": i, "title": "TV is better", "stance": "Books", "text": i * 3} for i in "xy"]
    jsonl(tmp_path / "arguments.jsonl", *arguments)
    common = {"subset": "t", "source": "human"}
    assert list(read(tmp_path).judgements()) == [
        Judgement("TV is better: Books", ("xxx", "yyy"), (0, 1), "w1", comment="clearer", id="x_y/w1", **common),
        Judgement("TV is better: Books", ("xxx", "yyy"), (0, 0), "w2", id="x_y/w2", **common),
    ]
    jsonl(tmp_path / "pairs.jsonl", pair | {"a": "z"}, pair | {"votes": [{"user": "w1", "choice": "a3"}]})
    with pytest.raises(FeedbackError) as error:
        read(tmp_path)
    first, second, _ = str(error.value).splitlines()
    assert "pairs.jsonl:1: a: no argument 'z' of this topic" in first
    assert "pairs.jsonl:2: votes[0].choice: unknown 'a3'; use a1, a2, equal" in second


def test_prompt_of_a_debate() -> None:
    assert prompt_of("Is it?", "Yes") == "Is it? Yes"
    assert prompt_of("TV", "Books") == "TV: Books"
    assert prompt_of("TV", "") == "TV"


def test_mt_bench(tmp_path: Path) -> None:
    answers = {"m": ["m1", "m2"], "n": ["n1", "n2"]}
    jsonl(tmp_path / "answers.jsonl", {"question_id": 81, "turns": ["q1", "q2"], "answers": answers})
    vote = {"judge": "expert_1", "model_a": "m", "model_b": "n", "question_id": 81, "turn": 1, "winner": "model_b"}
    jsonl(tmp_path / "votes.jsonl", vote, vote | {"turn": 2, "winner": "tie", "judge": "gpt4_pair"})
    found = list(read(tmp_path).judgements())
    assert [j.prompt for j in found] == [[{"role": "user", "content": "q1"}]] * 2
    assert [(j.grades, j.user, j.subset, j.source) for j in found] == [
        ((0, 1), "expert_1", "turn 1", "human"),
        ((0, 0), "gpt4_pair", "turn 2", "model"),
    ]
    assert [m["content"] for m in found[0].responses[0]] == ["m1"]  # type: ignore[index]
    assert [m["content"] for m in found[1].responses[1]] == ["n1", "q2", "n2"]  # type: ignore[index]
    jsonl(tmp_path / "votes.jsonl", vote | {"turn": 3})
    with pytest.raises(FeedbackError, match=r"votes\.jsonl:1: model: no answer of m in turn 3 to question 81"):
        read(tmp_path)

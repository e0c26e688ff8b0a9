"""A judgement may say how strong its preferences are; the difference of grades says it otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from guerdon.errors import FeedbackError
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.likelihood import compile_likelihood

ROWS = [
    Judgement("q", ("a", "b"), (0.0, 2.0), strength=-0.5),
    Judgement("q", ("a", "b"), (1.0, 0.0)),
    Judgement("r", ("a", "b", "c"), (2.0, 1.0, 0.0), strength=0.25),
    Judgement("s", ("a", "b"), (1.0, 1.0), strength=0.0),
]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.json", "a.jsonl.gz"])
def test_it_is_written_and_read_back(tmp_path: Path, name: str) -> None:
    Feedback.of(ROWS).write(tmp_path / name)
    assert list(Feedback.read(tmp_path / name).judgements()) == ROWS


def test_it_survives_taking_and_joining() -> None:
    feedback = Feedback.of(ROWS)
    assert [j.strength for j in feedback.take(np.array([2, 0])).judgements()] == [0.25, -0.5]
    joined = Feedback.concatenate([Feedback.of(ROWS[1:2]), feedback])
    assert [j.strength for j in joined.judgements()] == [None, -0.5, None, 0.25, 0.0]
    assert Feedback.of(ROWS[1:2]).strength is None


def test_pairs_carry_it_with_its_sign_and_keep_the_verdict() -> None:
    pairs = Feedback.of(ROWS).pairs()
    assert pairs.strength.tolist() == [-0.5, 1.0, 0.25, 0.25, 0.25, 0.0]
    assert pairs.p.tolist() == [0.0, 1.0, 1.0, 1.0, 1.0, 0.5]
    assert len(Feedback.of(ROWS).pairs(min_gap=1.0)) == 6  # the gap is the grades'


def test_a_negative_margin_forgives_a_reversal() -> None:
    u = np.array([0.3, 0.0])  # a is better, the label says b
    losses = []
    for strength in (-0.5, 0.0, 0.5):
        data = compile_likelihood(
            "bradley-terry", Feedback.of([Judgement("q", ("a", "b"), (0.0, 1.0), strength=strength)]), margin=1.0
        )
        losses.append(data(u, data.theta0)[0])
    assert losses == pytest.approx([np.log1p(np.exp(0.3 + m)) for m in (-0.5, 0.0, 0.5)])


def test_trainers_get_it_as_a_margin(tmp_path: Path) -> None:
    Feedback.of(ROWS[:2]).write(tmp_path / "t.jsonl", format="trl")
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [r["margin"] for r in rows] == [-0.5, 1.0]


def test_infinite_strength_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "q", "responses": ["a", "b"], "grades": [1, 0], "strength": 1e999}\n')
    with pytest.raises(FeedbackError, match="infinite"):
        Feedback.read(tmp_path / "a.jsonl")

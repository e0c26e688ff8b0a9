"""The checkable world, and recorded preferences about hard constraints (the claim itself is slow)."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from guerdon.papers.reward_agent import phrases, recorded
from guerdon.reward.verify.constraints import Constraints
from guerdon.reward.verify.rule import Question
from guerdon.worlds.checkable import KINDS, Corpus, argument, coded, constraints, written


@pytest.mark.parametrize("kind", KINDS)
def test_texts_code_and_rule_agree(kind: str) -> None:
    rng = random.Random(0)
    for kept in (True, False):
        wanted = {kind: argument(kind, rng)}
        text = written(wanted, {kind: kept}, ["The guide of Walker is 5."], rng)
        row = {"instruction_id_list": [KINDS[kind].instruction], "kwargs": [KINDS[kind].kwargs(wanted[kind])]}
        assert Constraints().check(Question("", text, None, row)).value == kept
        said = KINDS[kind].says.replace("{}", wanted[kind])
        assert constraints(f"Write. {said}") == [(kind, wanted[kind], said)]
        names: dict[str, object] = {}
        exec(coded(said), names)
        assert names["check_following"](text) is kept  # type: ignore[operator]


def test_the_corpus_finds_its_lines() -> None:
    corpus = Corpus.drawn(200, random.Random(0))
    assert len(set(corpus.lines)) == 200
    name = corpus.lines[7].split()[3]
    assert corpus(f"What is known of {name}?", 5)[0] == corpus.lines[7]
    assert corpus("xyz", 5) == []


def test_phrases_that_set_constraints() -> None:
    request = (
        "Explain it.Include keywords 'iron' and 'ore', use exactly 2 sentences, and the word 'hot' should appear at "
        "least 2 times."
    )
    rules = phrases(request)
    assert [rule("Iron and ore are hot. It is hot.") for rule in rules] == [True] * 4
    assert [rule("Iron is hot.") for rule in rules] == [True, False, False, False]
    assert phrases("Give 3 paragraphs, each with at most 5 sentences, in a funny tone.") == []


def test_recorded_preferences_follow_the_rules(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUERDON_DATA", str(shared_data))
    (row,) = recorded()
    assert row.holds, row.broken
    assert row.mean("rules, where they differ") > 0.9
    assert np.isclose(row.mean("pairs where the rules differ") * 444, 100)


def test_without_the_data_there_is_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GUERDON_DATA", raising=False)
    assert recorded() == []

"""IFEval's instructions: each followed by a text that follows it, broken by one that does not."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guerdon import load
from guerdon.feedback.schema import Candidates
from guerdon.reward.verify.constraints import CHECKS, variants
from guerdon.testing import check_reward

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:existence", {"keywords": ["c++", "sun"]}, "Sunny C++ days", "Sunny C days"),
    ("keywords:frequency", {"keyword": "war", "frequency": 2, "relation": "at least"}, "War, wars", "war"),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, "rocky", "a rock."),
    ("keywords:letter_frequency", {"letter": "!", "let_frequency": 2, "let_relation": "less than"}, "a!", "a!!"),
    ("language:response_language", {"language": "de"}, "Das ist ein ganz normaler Satz.", "This is a normal one."),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "at least"},
        "One thing. Another thing.",
        "Mr. Smith came.",
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb\n***\n", "a\n***\n***\nb"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "it's", "one two three"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "summary"},
        'x\n\n"Summary, y',
        "x\n\ny",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] and [b]", "[a]"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "x\nP. P.S. y", "x\nP.S. y"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b", "* a\n** b"),
    ("detectable_format:constrained_response", {}, "My answer is maybe.", "Maybe"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and **b**", "*a* and **"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1\na\nSection 2\nb",
        "Section 1\na",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "a: 1"),
    ("detectable_format:title", {}, "<<poem>>\nx", "<< >>\nx"),
    ("combination:two_responses", {}, "a\n******\nb", "a\n******\na"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."}, "say hi. Hi!", "Hi!"),
    ("startend:end_checker", {"end_phrase": "The end."}, 'x. the end."', "The end. x"),
    ("startend:quotation", {}, '"x"', '"x'),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "AN OX-A",
        "AN ox",
    ),
    ("change_case:english_capital", {}, "THIS IS THE WEATHER REPORT OF TODAY", "This is the weather report"),
    ("change_case:english_lowercase", {}, "this is the weather report of today", "This is the weather report"),
    ("punctuation:no_comma", {}, "a b", "a, b"),
]


def ask(response: str, names: Any, kwargs: Any, spec: str = "rule:constraints") -> Any:
    extra: dict[str, Sequence[Any]] = {"instruction_id_list": [names], "kwargs": [kwargs]}
    return load(spec).score(Candidates(["q"], [response], extra=extra))


def test_there_are_25_and_all_are_tried() -> None:
    assert len(CHECKS) == 25
    assert {case[0] for case in CASES} == set(CHECKS)


@pytest.mark.parametrize(("name", "kwargs", "followed", "broken"), CASES, ids=[case[0] for case in CASES])
def test_followed_and_broken(name: str, kwargs: dict[str, Any], followed: str, broken: str) -> None:
    assert ask(followed, [name], [kwargs]).value[0] == 1
    scores = ask(broken, [name], [kwargs])
    assert scores.value[0] == 0
    assert scores.reason[0] == f"not followed: {name}"
    assert ask("", [name], [kwargs]).value[0] == 0, "an empty response follows nothing"


def test_levels_and_the_loose_criterion() -> None:
    names, kwargs = ["punctuation:no_comma", "startend:quotation"], [{}, {"unused": None}]
    response = 'Sure, here it is:\n"yes"'
    assert ask(response, names, kwargs).value[0] == 0
    assert ask(response, names, kwargs, "rule:constraints?loose=true").value[0] == 1
    assert ask('"a, b"', names, json.dumps(kwargs), "rule:constraints?level=share").value[0] == 0.5
    assert len(set(variants("a\n*b*\nc"))) == 8


@pytest.mark.parametrize(
    ("names", "kwargs", "reason"),
    [
        (None, None, "no instructions"),
        (["a:b"], [{}], "unknown instruction 'a:b'"),
        (["punctuation:no_comma"], [{}, {}], "1 instructions, but 2 sets of kwargs"),
        (["keywords:existence"], [{"keyword": "x"}], "keywords:existence: "),
        (["keywords:frequency"], [{"keyword": "x", "frequency": 1, "relation": "about"}], "relation 'about'"),
    ],
)
def test_rows_that_cannot_be_checked_are_unscored(names: Any, kwargs: Any, reason: str) -> None:
    scores = ask("x", names, kwargs)
    assert np.isnan(scores.value[0])
    assert scores.status[0] == "invalid"
    assert reason in str(scores.reason[0])


def test_the_contract() -> None:
    names: dict[str, Sequence[Any]] = {"instruction_id_list": [["punctuation:no_comma"]] * 2, "kwargs": [[{}]] * 2}
    check_reward(load("rule:constraints"), Candidates(["q"] * 2, ["a, b", "a b"], extra=names))


def test_every_published_prompt_can_be_checked(shared_data: Path) -> None:
    path = shared_data / "prompts" / "ifeval.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    names = ("instruction_id_list", "kwargs")
    columns: dict[str, Sequence[Any]] = {name: [row[name] for row in rows] for name in names}
    scores = load("rule:constraints?level=share").score(
        Candidates(
            [r["prompt"] for r in rows], ["Well, yes. This is an answer of some words."] * len(rows), extra=columns
        )
    )
    assert len(rows) == 541
    assert set(scores.status) == {"scored"}
    assert 0.05 < scores.value.mean() < 0.6

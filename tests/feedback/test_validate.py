"""Validation: every kind of mistake is reported with file, row, field and mend; disagreement of people never is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guerdon.errors import FeedbackError
from guerdon.feedback import Feedback, Judgement
from guerdon.feedback.readers import read
from guerdon.feedback.validate import validate

GOOD = {"prompt": "q", "chosen": "a", "rejected": "b"}


def file_of(path: Path, *rows: Any) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


MISTAKES = [
    (GOOD | {"chosen": ""}, "empty response"),
    (GOOD | {"rejected": " \n\u3000"}, "empty response"),
    (
        GOOD | {"chosen": [{"role": "assistant", "content": ""}], "rejected": [{"role": "assistant", "content": "b"}]},
        "empty response",
    ),
    (GOOD | {"rejected": "a"}, "identical responses"),
    (GOOD | {"chosen": [{"role": "alien", "content": "a"}]}, "unknown role 'alien'; use one of system"),
    (GOOD | {"chosen": [{"role": "assistant"}]}, "expected text or a list of parts"),
    (GOOD | {"chosen": 3}, "chosen: expected text or chat messages, got a number"),
    (GOOD | {"chosen": None}, "chosen: is null"),
    ({"prompt": "q", "chosen": "a"}, "rejected: is missing; the row has: prompt, chosen"),
    (GOOD | {"weight": -1}, "negative, NaN or infinite weight"),
    (GOOD | {"weight": "much"}, "weight: expected a number"),
    (GOOD | {"time": "yesterday"}, "time: 'yesterday' is no date"),
    (GOOD | {"user": ["ann"]}, "user: expected a name, got a list"),
    (GOOD | {"id": "first"}, "an id that an earlier row has"),
    (GOOD | {"id": 7}, "id: a number where rows before have text"),
    ('{"prompt": "q", "chosen"', "broken JSON"),
    ("[1, 2]", "expected a JSON object, got a list"),
]


@pytest.mark.parametrize(("row", "message"), MISTAKES)
def test_a_mistake_names_file_row_and_mend_and_can_be_set_aside(tmp_path: Path, row: Any, message: str) -> None:
    path = file_of(tmp_path / "a.jsonl", GOOD | {"id": "first"}, "", row, GOOD | {"id": "last"})
    with pytest.raises(FeedbackError) as error:
        read(path)
    first, last = str(error.value).splitlines()
    assert first.startswith(f"{path}:3: ")
    assert message in first
    assert "; " in first  # the mend
    assert last == "1 problem; mend the file, or set such rows aside with --skip-bad FILE"

    aside = tmp_path / "deep" / "bad.jsonl"
    found = read(path, skip_bad=aside)
    assert len(found) == 2
    assert any(note.startswith(f"1 broken rows set aside in {aside}") for note in found.notes)
    kept = json.loads(aside.read_text())
    assert (kept["file"], kept["row"]) == (str(path), 3)
    assert kept["line"] == (row if isinstance(row, str) else json.dumps(row))
    assert message in f"{kept['field']}: {kept['reason']}"
    assert list(found.judgements()) == list(
        read(file_of(path, GOOD | {"id": "first"}, GOOD | {"id": "last"})).judgements()
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "q", "responses": ["a", "b"], "grades": [1, None]}, "a grade is NaN or infinite"),
        ('{"prompt": "q", "responses": ["a", "b"], "grades": [NaN, 1]}', "a grade is NaN or infinite"),
        ('{"prompt": "q", "responses": ["a", "b"], "grades": [Infinity, 1]}', "a grade is NaN or infinite"),
        ({"prompt": "q", "responses": ["a", "b"], "grades": [1]}, "1 grades for 2 responses"),
        ({"prompt": "q", "responses": ["a", "b"], "grades": ["x", 1]}, r"grades[0]: expected a number"),
        ({"prompt": "q", "responses": "ab", "grades": [1, 0]}, "expected a list of texts"),
        ({"prompt": "q", "responses": [], "grades": []}, "is an empty list"),
        (
            {"prompt": "q", "responses": ["a", "b"], "grades": [2, 0], "scale": "probability"},
            "a probability outside [0, 1]",
        ),
        (
            {"prompt": "q", "responses": ["a", "b"], "grades": [1, 0], "scale": "odd"},
            "unknown value 'odd'; use one of order",
        ),
        (
            {"prompt": "q", "responses": ["a", "b", "a"], "grades": [1, 0, 0]},
            "identical responses with different grades",
        ),
    ],
)
def test_mistakes_in_guerdons_own_format(tmp_path: Path, row: Any, message: str) -> None:
    good = {"prompt": "q", "responses": ["a", "b"], "grades": [1, 0]}
    with pytest.raises(FeedbackError) as error:
        read(file_of(tmp_path / "a.jsonl", good, row))
    assert str(error.value).startswith(f"{tmp_path}/a.jsonl:2: ")
    assert message in str(error.value)


def test_many_mistakes_are_counted_and_the_first_are_shown(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.jsonl", GOOD, *[GOOD | {"chosen": ""}] * 1200, "{")
    with pytest.raises(FeedbackError) as error:
        read(path)
    lines = str(error.value).splitlines()
    assert len(lines) == 7
    assert lines[5] == "... and 1,196 more"
    assert lines[6].startswith("1,201 problems; ")


def test_nothing_left_is_an_error_and_nothing_broken_leaves_an_empty_file(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.jsonl", GOOD | {"chosen": ""})
    with pytest.raises(FeedbackError, match="no judgement is left"):
        read(path, skip_bad=tmp_path / "bad.jsonl")
    read(file_of(path, GOOD), skip_bad=tmp_path / "bad.jsonl")
    assert (tmp_path / "bad.jsonl").read_text() == ""


def test_equal_texts_that_are_fine() -> None:
    tie = Judgement("q", ("a", "a"), (0, 0))
    best = Judgement("q", ("a", "b", "b"), (1, 0, 0), scale="partial")
    rated = Judgement("q", ("a", "a"), (3, 4), scale="rating")
    assert validate(Feedback.of([tie, best, rated])) == []


def test_opposite_verdicts_of_different_people_are_data() -> None:
    ann, bob = Judgement("q", ("a", "b"), (1, 0), user="ann"), Judgement("q", ("a", "b"), (0, 1), user="bob")
    anonymous = [Judgement("q", ("a", "b"), (1, 0)), Judgement("q", ("b", "a"), (1, 0))]
    assert Feedback.of([ann, bob, *anonymous]).validate() == []


def test_a_person_contradicting_herself_is_a_warning(tmp_path: Path) -> None:
    rows = [GOOD | {"user": "ann"}, GOOD | {"user": "bob", "chosen": "b", "rejected": "a"}]
    rows += [
        {"prompt": "q", "chosen": "b", "rejected": "a", "user": "ann"},
        GOOD | {"user": "ann", "criterion": "other"},
    ]
    path = file_of(tmp_path / "a.jsonl", *rows)
    found = read(path)
    problem, *others = found.validate()
    assert others == []
    assert (problem.severity, problem.code, problem.file, problem.row) == ("warning", "contradiction", str(path), 3)
    assert any("contradiction in 1 judgements" in note and f"{path}:3" in note for note in found.notes)
    assert validate(found, warnings=False) == []
    assert found.take(np.array([0, 2])).validate()[0].row == 3  # places survive a choice of rows


def test_contradictions_against_a_naive_twin() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(400):
        a, b = rng.choice(4, 2, replace=False)
        grades = [(1, 0), (0, 1), (0, 0)][rng.integers(3)]
        rows.append(
            Judgement("q", (str(a), str(b)), grades, user=f"u{rng.integers(9)}", criterion=[None, "k"][rng.integers(2)])
        )
    last: dict[Any, int] = {}
    naive = []
    for j, row in enumerate(rows):
        first, second = row.responses
        sign = row.grades[0] - row.grades[1]
        key, sign = (row.user, row.criterion, *sorted(row.responses)), sign if first < second else -sign
        if sign:
            if key in last and last[key] != sign:
                naive.append(j)
            last[key] = sign
    assert [p.judgement for p in Feedback.of(rows).validate()] == naive


def test_two_prompts_in_one_judgement_and_problems_as_records() -> None:
    good = Feedback.of([Judgement("q", ("a", "b"), (1, 0)), Judgement("r", ("c", "d"), (1, 0))])
    good.items[1] = good.items[2]
    problem = good.validate()[0]
    assert (problem.code, problem.judgement, problem.severity) == ("two-prompts", 0, "error")
    assert str(problem).startswith("judgement:0: prompt: responses to different prompts")
    assert json.dumps(problem.as_dict())

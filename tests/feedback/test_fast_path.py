"""The fast path (whole columns) against its slow twin (row by row): the same feedback, the same mistakes."""

import gzip
import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.errors import FeedbackError
from guerdon.feedback import Feedback, Judgement
from guerdon.feedback.readers import fast, read
from guerdon.feedback.readers import reading as reading_module


def outcome(source: Any, **options: Any) -> Any:
    """What reading gives: judgements, notes and rows, or the error's text."""
    try:
        found = read(source, **options)
    except FeedbackError as error:
        return str(error)
    places = found.places.found(range(len(found))) if found.places else None
    return list(found.judgements()), found.notes, places


def slow(source: Any, **options: Any) -> Any:
    with mock.patch.object(reading_module.fast, "load", side_effect=fast.NotFast):
        return outcome(source, **options)


text = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ["a", "b", " ", "2020-01-01", "\x1e", "\x1e[]"]
)
name = st.one_of(st.none(), st.sampled_from(["ann", "bob", "", "7"]), st.integers(0, 3))
number = st.one_of(st.integers(-2, 3), st.floats(-2, 3))
trl_row = st.fixed_dictionaries(
    {"prompt": text, "chosen": text, "rejected": text},
    optional={
        "user": name,
        "worker": name,
        "id": name,
        "margin": number,
        "weight": number,
        "time": number,
        "junk": number,
    }
    | {"source": st.sampled_from(["human", "web", None]), "comment": text, "criterion": name},
)
own_row = st.fixed_dictionaries(
    {
        "prompt": text,
        "responses": st.lists(text, min_size=0, max_size=3),
        "grades": st.lists(st.none() | number, min_size=0, max_size=3),
    },
    optional={
        "user": name,
        "scale": st.sampled_from(["order", "rating", "odd"]),
        "source": st.sampled_from(["human", None]),
    },
)
message = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "alien"]),
        "content": st.none() | text | st.sampled_from(['"\\\n\t\r/', "\x07"]),
    },
    optional={"name": st.none() | text, "tool_calls": st.none()},
)
chat = st.lists(message, max_size=2) | st.just([{"role": "assistant", "content": "a"}])
chat_row = st.fixed_dictionaries({"prompt": text | chat, "chosen": chat, "rejected": chat}, optional={"margin": number})
kto_row = st.fixed_dictionaries({"prompt": text, "completion": text, "label": st.booleans() | st.sampled_from([0, 1])})
rated_row = st.fixed_dictionaries({"prompt": text, "response": text, "rating": number}, optional={"user": name})


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(*(st.lists(row, min_size=1, max_size=5) for row in (trl_row, own_row, chat_row, kto_row, rated_row))),
    st.sampled_from(["jsonl", "jsonl.gz", "parquet"]),
    st.booleans(),
)
def test_the_fast_path_is_its_slow_twin(
    tmp_path_factory: Any, rows: list[dict[str, Any]], kind: str, blank: bool
) -> None:
    path = tmp_path_factory.mktemp("twin") / f"a.{kind}"
    lines = "".join(json.dumps(r) + ("\n\n" if blank else "\n") for r in rows)
    if kind == "parquet":
        try:
            pq.write_table(pa.Table.from_pylist(rows), path)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return  # mixed types cannot be in a Parquet file
    else:
        path.write_bytes(gzip.compress(lines.encode()) if kind.endswith("gz") else lines.encode())
    assert outcome(path) == slow(path)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(text, text, text, text), min_size=1, max_size=5))
def test_tables_of_text_too(tmp_path_factory: Any, cells: list[tuple[str, ...]]) -> None:
    import csv

    path = tmp_path_factory.mktemp("twin") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("prompt", "chosen", "rejected", "user"), *cells])
    assert outcome(path) == slow(path)


def took_fast_path(source: Any, **options: Any) -> bool:
    with mock.patch.object(reading_module, "gather", side_effect=AssertionError("row by row")):
        try:
            read(source, **options)
        except AssertionError:
            return False
    return True


def test_plain_comparisons_take_the_fast_path(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "chosen": "a", "rejected": "b", "user": i, "junk": [i]} for i in range(5)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert took_fast_path(path)
    assert took_fast_path(path, map="chosen=rejected,rejected=chosen")
    assert took_fast_path(path, map='prompt="why?",user=')
    assert next(read(path, map='prompt="why?",user=').judgements()) == Judgement("why?", ("a", "b"), (1, 0))
    assert not took_fast_path(path, map="prompt=junk.0")
    own = tmp_path / "own.jsonl"
    read(path).write(own)
    assert took_fast_path(own)
    read(path).write(tmp_path / "own.parquet")
    assert took_fast_path(tmp_path / "own.parquet")
    read(path).write(tmp_path / "a.csv")
    assert took_fast_path(tmp_path / "a.csv")


def test_plain_chats_take_the_fast_path(tmp_path: Path) -> None:
    said = ["a", 'b "quoted"\n\tand \\ é', "\x7f\u2028"]
    rows = [
        {
            "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": content, "name": None}],
            "chosen": [{"role": "assistant", "content": content}],
            "rejected": [{"role": "assistant", "content": content + "!"}],
            "user": "ann",
        }
        for content in said
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert took_fast_path(path)
    assert outcome(path) == slow(path)
    assert [j.responses[0][0]["content"] for j in read(path).judgements()] == said  # type: ignore[index]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert took_fast_path(tmp_path / "a.parquet")
    assert outcome(tmp_path / "a.parquet")[0] == outcome(path)[0]


def test_a_column_that_appears_late_is_not_missed(tmp_path: Path) -> None:
    rows = [{"prompt": str(i), "chosen": "a", "rejected": "b"} for i in range(300)]
    rows[250]["user"] = "ann"
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert read(path).users == ("ann",)


def test_a_mistake_far_down_is_found_with_its_line(tmp_path: Path) -> None:
    rows = [{"prompt": str(i), "chosen": "a", "rejected": "b"} for i in range(3000)]
    path = tmp_path / "a.jsonl"
    for field, value, message in (
        ("chosen", 5, "expected text"),
        ("chosen", "", "empty response"),
        ("rejected", "a", "identical"),
    ):
        broken = [dict(r) for r in rows]
        broken[2500][field] = value
        path.write_text("\n".join(json.dumps(r) for r in broken))
        with pytest.raises(FeedbackError, match=rf"a\.jsonl:2501: .*{message}"):
            read(path)


def test_interning_shares_texts() -> None:
    found = Feedback.from_columns(
        prompts=pa.chunked_array([pa.array(["p", "q"]), pa.array(["p"])]),
        responses=(pa.array(["a", "b", "a"]), pa.array(["b", "a", "c"])),
        offsets=np.arange(0, 7, 2),
        grades=np.array([1, 0] * 3),
    )
    assert [(j.prompt, j.responses) for j in found.judgements()] == [
        ("p", ("a", "b")),
        ("q", ("b", "a")),
        ("p", ("a", "c")),
    ]
    assert len(found.responses) == 5  # a and b answer both prompts
    assert len(found.candidates) == 5


def test_dictionary_columns_are_interned_by_their_dictionaries() -> None:
    names = pa.array(["x", "unused", "x", "y"])
    column = pa.DictionaryArray.from_arrays(pa.array([0, 2, 3, None], pa.int32()), names)
    found = Feedback.from_columns(
        prompts=["p"] * 4, responses=list("abcd"), offsets=np.arange(5), grades=np.zeros(4), user=column
    )
    assert found.users == ("x", "y")
    assert found.user.tolist() == [0, 0, 1, -1]

"""Tables of ratings with the items' texts beside: Jester, MovieLens and Polis in miniature."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from guerdon.errors import FeedbackError
from guerdon.feedback.readers import read

CONVERSATIONS = [
    {"conversation": "x", "topic": "short", "description": "What should change? "},
    {"conversation": "y", "topic": "only a topic", "description": ""},
]
STATEMENTS = [
    {"conversation": "x", "statement": 0, "author": "7", "moderated": 1, "text": "more trees"},
    {"conversation": "x", "statement": 1, "author": "1", "moderated": 0, "text": "fewer cars"},
    {"conversation": "x", "statement": 2, "author": "1", "moderated": -1, "text": "spam"},
    {"conversation": "y", "statement": 0, "author": "9", "moderated": 1, "text": "something else"},
]
VOTES = """conversation,user,statement,vote
x,1,0,1
x,1,1,1
x,2,0,-1
x,2,1,1
x,2,2,1
x,3,0,0
y,1,0,-1
"""


def jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


@pytest.fixture
def polis(tmp_path: Path) -> Path:
    (tmp_path / "votes.csv").write_text(VOTES)
    jsonl(tmp_path / "statements.jsonl", STATEMENTS)
    (tmp_path / "conversations.json").write_text(json.dumps(CONVERSATIONS))
    (tmp_path / "SOURCE.txt").write_text("not data")
    return tmp_path


def test_polis(polis: Path) -> None:
    found = read(polis)
    rows = [(j.prompt, j.responses[0], j.grades[0], j.user, j.subset) for j in found.judgements()]
    assert rows == [
        ("What should change?", "more trees", 1, "x/1", "x"),
        ("What should change?", "more trees", -1, "x/2", "x"),
        ("What should change?", "fewer cars", 1, "x/2", "x"),
        ("only a topic", "something else", -1, "y/1", "y"),  # another person than x/1
    ]
    assert {j.scale for j in found.judgements()} == {"rating"}
    assert {j.source for j in found.judgements()} == {"human"}
    assert [n for n in found.notes if n.startswith("1 ")] == [
        "1 ratings of items that were moderated out left out",
        "1 ratings of the person's own item left out",
        "1 passes (0 between agree and disagree) left out: they are abstentions",
    ]
    pairs = found.pairs()
    assert len(pairs) == 1  # x/2 agrees with one statement and disagrees with another
    assert found.candidate(int(pairs.a[0] if pairs.p[0] else pairs.b[0]))[1] == "fewer cars"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "csv with a broken row"])
def test_the_same_from_every_container(polis: Path, tmp_path: Path, kind: str) -> None:
    expected = list(read(polis).judgements())
    header, *lines = VOTES.splitlines()
    rows = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
    typed = [r | {"vote": int(r["vote"]), "statement": int(r["statement"])} for r in rows]
    options = {}
    if kind == "jsonl":
        (polis / "votes.csv").unlink()
        jsonl(polis / "votes.jsonl", typed)
    elif kind == "parquet":
        (polis / "votes.csv").unlink()
        pq.write_table(pa.Table.from_pylist(typed), polis / "votes.parquet")
    elif kind.endswith("row"):
        (polis / "votes.csv").write_text(VOTES + "x,4,0,much\nx,4\n")
        with pytest.raises(FeedbackError) as error:
            read(polis)
        first, second, _ = str(error.value).splitlines()
        assert "votes.csv:9: vote: expected a number, got 'much'" in first
        assert "votes.csv:10: row: 2 cells in a table of 4 columns" in second
        options = {"skip_bad": polis / "aside" / "bad.txt"}
    assert list(read(polis, **options).judgements()) == expected


def test_jester_by_items_option(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("user,joke,rating\nu1,1,-9.5\nu1,2,0\nu2,1,3.25\n")
    items = jsonl(tmp_path / "jokes.jsonl", [{"joke": 1, "text": "knock"}, {"joke": 2, "text": "knock knock"}])
    found = read(tmp_path / "ratings.csv", items=items)
    rows = [(j.prompt, j.responses[0], j.grades[0], j.user) for j in found.judgements()]
    assert rows == [("", "knock", -9.5, "u1"), ("", "knock knock", 0, "u1"), ("", "knock", 3.25, "u2")]
    assert len(found.responses) == 2
    assert list(read(tmp_path).judgements()) == list(found.judgements())


def test_a_prompt_can_be_stated(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("user,joke,rating\nu1,1,-9.5\n")
    items = jsonl(tmp_path / "jokes.jsonl", [{"joke": 1, "text": "knock"}])
    found = read(tmp_path / "ratings.csv", items=items, map='prompt="How funny is this, really?"')
    assert next(found.judgements()).prompt == "How funny is this, really?"


def test_movielens_titles_times_and_numbers_for_people(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,10,4.0,964982703\n2,10,3.5,964982704\n")
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n10,Toy Story (1995),Adventure|Comedy\n")
    (tmp_path / "tags.csv").write_text("userId,movieId,tag,timestamp\n1,10,funny,1\n")
    found = read(tmp_path)
    assert [(j.user, j.time) for j in found.judgements()] == [("1", 964982703), ("2", 964982704)]
    assert found.responses.to_pylist() == ["Toy Story (1995) [Adventure, Comedy]"]
    assert found.notes[1] == f"left out: {tmp_path / 'tags.csv'}"


def test_columns_of_other_names_through_the_map(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("who,what,how_much\nann,1,5\n")
    items = jsonl(tmp_path / "i.jsonl", [{"key": 1, "blurb": "knock"}])
    found = read(tmp_path / "r.csv", items=items, map="user=who,rating=how_much,item=what,id=key,text=blurb")
    assert [(j.user, j.responses, j.grades) for j in found.judgements()] == [("ann", ("knock",), (5,))]


def test_an_item_without_text_is_a_mistake(polis: Path) -> None:
    (polis / "votes.csv").write_text(VOTES + "x,1,9,1\n")
    with pytest.raises(FeedbackError, match=r"votes\.csv:9: statement: item '9' is not in the table of items"):
        read(polis)
    assert len(read(polis, skip_bad=polis / "bad.txt")) == 4


def test_an_item_listed_twice_is_a_mistake(polis: Path) -> None:
    jsonl(polis / "statements.jsonl", [*STATEMENTS, STATEMENTS[0]])
    with pytest.raises(FeedbackError, match=r"statements\.jsonl:5: statement: item '0' is listed twice"):
        read(polis)


def test_places_point_at_the_votes(polis: Path) -> None:
    found = read(polis)
    assert found.places is not None
    assert [found.places.where(j).rsplit(":", 1)[1] for j in range(4)] == ["2", "4", "5", "8"]
    assert found.take(np.array([3])).places.where(0).endswith("votes.csv:8")  # type: ignore[union-attr]


def test_items_that_do_not_match_say_so(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("user,joke,rating\nu,1,2\n")
    with pytest.raises(FeedbackError, match="--items needs a table of user, item and rating"):
        read(tmp_path / "r.csv", items=jsonl(tmp_path / "i.jsonl", [{"a": 1, "b": 2}]))
    with pytest.raises(FeedbackError, match=r"ratings needs ratings \(user, item, rating\) and items"):
        read(tmp_path / "r.csv", format="ratings")

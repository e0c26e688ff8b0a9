"""``guerdon data``: describe, validate, convert, and say on one line what is wrong."""

import json
from pathlib import Path

import pytest

from guerdon.feedback.readers import read
from run_cli import guerdon

ROWS = [
    {"prompt": "q", "chosen": "a longer one", "rejected": "b", "user": "ann"},
    {"prompt": "r", "chosen": "c", "rejected": "d", "user": "bob"},
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    out = tmp_path / "a.jsonl"
    out.write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    return out


def test_describes_on_stderr_and_as_json_on_stdout(path: Path) -> None:
    done = guerdon("data", path)
    assert (done.code, done.out) == (0, "")
    assert "recognised TRL preference pairs" in done.err
    assert "longer response preferred" in done.err
    done = guerdon("data", path, "--json")
    assert done.json["feedback"]["judgements"] == 2
    assert done.json["feedback"]["longer_preferred"] == 0.75
    assert done.json["notes"][0].startswith("recognised TRL")
    assert done.json["problems"] == []
    assert done.json["written"] is None


def test_converts_and_says_what_is_dropped(path: Path, tmp_path: Path) -> None:
    done = guerdon("data", path, "--to", tmp_path / "b.parquet")
    assert "written to" in done.err
    assert list(read(tmp_path / "b.parquet").judgements()) == list(read(path).judgements())
    done = guerdon("data", path, "--to", tmp_path / "c.jsonl.gz", "--to-format", "trl", "--json")
    assert done.json["written"] == {
        "path": str(tmp_path / "c.jsonl.gz"),
        "format": "trl",
        "drops": ["dropped: user (2)"],
    }


def test_standard_input_where_and_map(path: Path) -> None:
    done = guerdon("data", "-", "--where", "user=ann", "--json", stdin=path.read_text())
    assert done.json["feedback"]["judgements"] == 1
    done = guerdon("data", path, "--map", "chosen=rejected", "--map", "rejected=chosen,user=", "--json")
    assert done.json["feedback"]["longer_preferred"] == 0.25
    assert done.json["feedback"]["people"] == 0


def test_several_files_and_items(path: Path, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("user,item,rating\nu,1,2\nu,2,3\n")
    (tmp_path / "i.csv").write_text("item,text\n1,one\n2,two\n")
    done = guerdon("data", tmp_path / "r.csv", "--items", tmp_path / "i.csv", "--json")
    assert done.json["feedback"]["kinds"] == {"rating": 2}
    assert guerdon("data", path, path, "--json").json["feedback"]["judgements"] == 4


def test_bad_input_is_exit_code_2_with_file_row_and_mend(path: Path, tmp_path: Path) -> None:
    path.write_text(path.read_text() + '{"prompt": "s", "chosen": "", "rejected": "b"}\n')
    done = guerdon("data", path, "--json")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"guerdon: {path}:3: response: an empty response; fill it or remove the row")
    done = guerdon("data", path, "--skip-bad", tmp_path / "bad.jsonl")
    assert done.code == 0
    assert "1 broken rows set aside in" in done.err
    assert json.loads((tmp_path / "bad.jsonl").read_text())["row"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["{path}", "--format", "odd"], "format 'odd' is unknown"),
        (["{path}", "--map", "prompt"], "write FIELD=COLUMN"),
        (["{path}", "--map", "prompt=missing"], "there is no column 'missing'"),
        (["{path}", "--where", "user=nobody"], "no user 'nobody' in this feedback; it has: ann, bob"),
        (["{path}", "--where", "colour=red"], "write KEY=VALUE with user, criterion, subset or source"),
        (["{path}", "--to-format", "trl"], "--to-format needs --to"),
        (["{path}", "--to", "a.xlsx"], "write to one of .jsonl"),
    ],
)
def test_wrong_options_are_exit_code_2_and_one_line(path: Path, arguments: list[str], message: str) -> None:
    done = guerdon("data", *(a.format(path=path) for a in arguments))
    assert done.code == 2
    assert message in done.err.splitlines()[-1]


def test_contradictions_of_one_person_are_shown_and_those_of_two_are_not(path: Path) -> None:
    row = {"prompt": "q", "chosen": "b", "rejected": "a longer one", "user": "bob"}
    path.write_text(path.read_text() + json.dumps(row) + "\n")
    assert guerdon("data", path, "--json").json["problems"] == []
    path.write_text(path.read_text() + json.dumps(row | {"user": "ann"}) + "\n")
    found = guerdon("data", path, "--json").json["problems"]
    assert [(p["code"], p["severity"], p["row"]) for p in found] == [("contradiction", "warning", 4)]

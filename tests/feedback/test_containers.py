"""Containers: every way rows can be stored is read the same, streamed, with the number of the row."""

import bz2
import gzip
import io
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.errors import FeedbackError
from guerdon.feedback.readers import container_of, rows
from guerdon.feedback.readers.containers import containers_of, data_files, locate, records

ROWS = [{"prompt": "what, then?", "response": f'say "{i}"\nand é'} for i in range(5)]
JSONL = "".join(json.dumps(r) + "\n" for r in ROWS).encode()
CSV = b'prompt,response\n"what, then?","say ""0""\nand \xc3\xa9"\n'


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", JSONL),
        ("a.jsonl", b"\xef\xbb\xbf" + JSONL),
        ("a.json", JSONL),
        ("a.json", json.dumps(ROWS).encode()),
        ("a.json", json.dumps(ROWS, indent=1).encode()),
        ("a.json", json.dumps({"data": ROWS}).encode()),
        ("a.json", json.dumps({k: [r[k] for r in ROWS] for k in ROWS[0]}).encode()),
        ("a.jsonl.gz", gzip.compress(JSONL, mtime=0)),
        ("a.jsonl.bz2", bz2.compress(JSONL)),
        ("no-suffix", JSONL),
        ("no-suffix-gz", gzip.compress(JSONL, mtime=0)),
    ],
)
def test_json_in_every_dress(tmp_path: Path, name: str, data: bytes) -> None:
    assert list(rows(written(tmp_path / name, data))) == list(enumerate(ROWS, 1))


def test_parquet_arrow_and_objects(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    expected = list(enumerate(ROWS, 1))
    for source in (tmp_path / "a.parquet", tmp_path / "a.parquet.gz", tmp_path / "a.arrow", table, ROWS, iter(ROWS)):
        assert list(rows(source)) == expected


def test_csv_keeps_line_numbers_over_cells_with_newlines(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", CSV + b"x,y\n")
    assert list(rows(path)) == [
        (2, {"prompt": "what, then?", "response": 'say "0"\nand é'}),
        (4, {"prompt": "x", "response": "y"}),
    ]


@pytest.mark.parametrize("data", [b"a;b\n1;2\n", b"a\tb\n1\t2\n", b"a,b\n1,2\n"])
def test_csv_delimiter_is_found(tmp_path: Path, data: bytes) -> None:
    assert list(rows(written(tmp_path / "a.csv", data))) == [(2, {"a": "1", "b": "2"})]


def test_long_cells_are_read(tmp_path: Path) -> None:
    text = "x" * 300_000  # Python's csv stops at 128 KiB by default
    assert next(rows(written(tmp_path / "a.csv", f"a,b\n{text},1\n".encode())))[1]["a"] == text


def test_blank_lines_count_as_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", b'\n{"a": 1}\n\n  \n{"a": 2}')
    assert list(rows(path)) == [(2, {"a": 1}), (5, {"a": 2})]


def test_standard_input_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    for data in (JSONL, gzip.compress(JSONL, mtime=0), json.dumps(ROWS).encode()):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert [row for _, row in rows("-")] == ROWS


def test_reading_is_lazy(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", JSONL + b"broken\n")
    stream = rows(path)
    assert next(stream)[0] == 1  # the broken sixth line has not been reached
    with pytest.raises(FeedbackError, match=r"a\.jsonl:6: broken JSON"):
        list(stream)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b"", "the file is empty"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', r"a\.jsonl:2: broken JSON"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', r"a\.jsonl:2: expected a JSON object, got a list"),
        ("a.jsonl", b'{"a": "\xff"}\n', r"a\.jsonl:1: not UTF-8 at byte 8"),
        ("a.json", b'[{"a": 1}, {"a": 2}', "closing '\\]' after record 2"),
        ("a.json", b'[{"a": 1} {"a": 2}]', "broken JSON"),
        ("a.csv", b"a,b\n1\n", r"a\.csv:2: 1 cells in a table of 2 columns"),
        ("a.csv", b"a,a\n1,2\n", "occurs twice"),
        ("a.csv", b'a,b\n"1,2\n', "broken CSV"),
        ("a.parquet", b"PAR1 and no more", "damaged parquet"),
        ("a.parquet", b"hello", "not a parquet file"),
        ("a.bin", b"\x00\x01\x02", "binary data"),
        ("a.jsonl.gz", gzip.compress(JSONL * 50, mtime=0)[:60], "damaged"),
        ("a.jsonl.gz", gzip.compress(JSONL * 50, mtime=0)[:30] + b"x" * 40, "damaged"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(FeedbackError, match=message) as error:
        list(rows(written(tmp_path / name, data)))
    assert "\n" not in str(error.value)


def test_missing_file_and_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(FeedbackError, match="no such file"):
        container_of(tmp_path / "none.jsonl")
    with pytest.raises(FeedbackError, match="no data files"):
        container_of(tmp_path)


def test_directories(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl.gz", "sub/c.csv", "README.md", ".hidden.jsonl", "_cache/d.jsonl", "state.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        written(path, gzip.compress(JSONL, mtime=0) if name.endswith("gz") else CSV if name.endswith("csv") else JSONL)
    assert [p.name for p in data_files(tmp_path)] == ["a.jsonl.gz", "b.jsonl", "c.csv"]
    assert len(list(rows(tmp_path))) == 11
    with pytest.raises(FeedbackError, match="3 data files"):
        container_of(tmp_path)


def test_a_data_set_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    both = datasets.DatasetDict({k: datasets.Dataset.from_list(ROWS) for k in ("train", "test")})
    seen = []

    def load_dataset(name: str, *config: str) -> object:
        seen.append((name, *config))
        return both

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert [r for _, r in rows("hf:org/name")] == ROWS
    assert container_of("hf:org/name").name == "hf:org/name:train"
    assert container_of("hf:org/name/easy:test").name == "hf:org/name/easy:test"
    assert seen[-1] == ("org/name", "easy")
    with pytest.raises(FeedbackError, match="no split 'dev'; it has: train, test"):
        container_of("hf:org/name:dev")
    both.save_to_disk(tmp_path / "saved")
    assert [r for _, r in rows(f"hf:{tmp_path / 'saved'}:test")] == ROWS
    assert len(containers_of(tmp_path / "saved")) == 2  # the same as a directory


def test_a_filtered_data_set_is_read_filtered() -> None:
    datasets = pytest.importorskip("datasets")
    found = datasets.Dataset.from_list([{"a": i} for i in range(9)]).filter(lambda row: row["a"] % 2 == 1)
    assert [r["a"] for _, r in rows(found)] == [1, 3, 5, 7]


def test_hub_errors_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def load_dataset(name: str) -> object:
        raise FileNotFoundError(f"no {name}\nand a long story")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(FeedbackError, match=r"^hf:org/none: cannot be loaded: no org/none$"):
        container_of("hf:org/none")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(), values, max_size=3), min_size=2, max_size=6), st.booleans())
def test_json_arrays_are_streamed_as_json_loads_reads_them(tmp_path_factory, items, indent) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(items, indent=1 if indent else None))
    assert [row for _, row in rows(path)] == json.loads(path.read_text())


def test_a_json_array_larger_than_what_is_read_at_once(tmp_path: Path) -> None:
    items = [{"a": "x" * 50_000, "n": i} for i in range(7)] + [{"a": "y" * 500_000, "n": 7}]
    path = written(tmp_path / "a.json", json.dumps(items).encode())
    assert [row for _, row in rows(path)] == items


def test_records_are_found_again(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", b'\n{"a": 1}\n\n{"a": 2}\n')
    container = container_of(path)
    assert locate(container, [2], counted=True) == {2: (4, '{"a": 2}')}
    assert locate(container, [4], counted=False) == {4: (4, '{"a": 2}')}
    assert locate(container_of(written(tmp_path / "a.csv", CSV)), [1], counted=True)[1][0] == 2
    assert [r.number for r in records(container)] == [2, 4]

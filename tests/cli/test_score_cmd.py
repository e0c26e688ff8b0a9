"""`guerdon score`: rows in, rows out, in order; resumable after any kill with the same result."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fake_rewards
from guerdon.cli.journal import Journal, chain
from guerdon.cli.output import finish, line, write_rows
from guerdon.encode.encoder import FeatureEncoder
from guerdon.encode.template import PlainTemplate
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores
from run_cli import guerdon

ROWS = [
    {"id": 1, "prompt": "p", "response": "banana"},
    {"id": 2, "prompt": "p", "response": "pear", "note": None},
    {"id": 3, "question": "why", "responses": ["a", "bb", "a banana"]},
    {"id": 4, "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
    {"id": 5, "prompt": "ünï", "completion": [{"role": "assistant", "content": "日本"}]},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "c.jsonl"
    path.write_bytes(b"".join(line(row) for row in ROWS))
    return path


def test_rows_come_out_in_order_with_scores(file: Path) -> None:
    result = guerdon("score", "fake_rewards:Picky", file)
    assert result.code == 0
    assert [{k: v for k, v in row.items() if k in ROWS[i]} for i, row in enumerate(result.rows)] == ROWS
    one, two, three, four, five = result.rows
    assert (one["score"], one["status"], one["reason"]) == (None, "abstained", "it says banana")
    assert (two["score"], two["status"]) == (4.0, "scored")
    assert "reason" not in two
    assert three["scores"] == [1.0, 2.0, None]
    assert three["statuses"] == ["scored", "scored", "abstained"]
    assert (four["score"], five["score"]) == (5.0, 2.0)
    assert "5 rows, 5 candidates scored, 2 not (abstained 2)" in result.err


def test_one_document_with_json(file: Path, tmp_path: Path) -> None:
    document = guerdon("score", "rule:length", file, "--json").json
    assert len(document["rows"]) == 5
    assert document["counts"] == {"rows": 5, "scored": 7}
    document = guerdon("score", "rule:length", file, "--json", "--out", tmp_path / "o.jsonl").json
    assert document == {"out": str(tmp_path / "o.jsonl"), "counts": {"rows": 5, "scored": 7}}


def test_who_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_rewards.register(monkeypatch)
    fake_rewards.tastes("ann", "bob").save(tmp_path / "model")
    rows = [{"prompt": "p", "response": "aaa", "user": u} for u in ("ann", "bob", "eve", None)]
    text = b"".join(line(row) for row in rows)
    result = guerdon("score", tmp_path / "model", "-", stdin=text)
    assert [row["score"] for row in result.rows] == [3, 6, 3, 3]
    assert result.rows[0]["std"] == 0.5
    assert "reason" not in result.rows[0]
    assert result.rows[2]["reason"] == "population: 'eve' is unknown"
    asked = guerdon("score", tmp_path / "model", "-", "--user", "bob", stdin=text).rows
    assert [row["score"] for row in asked] == [6, 6, 6, 6]
    assert [row["user"] for row in asked] == ["ann", "bob", "eve", None], "the input's own columns stay as they are"


def test_mapping_and_a_second_column(tmp_path: Path) -> None:
    text = "q,text,score\np,abc,9\n"
    (tmp_path / "c.csv").write_text(text)
    result = guerdon("score", "rule:length", tmp_path / "c.csv", "--map", "prompt=q,response=text")
    assert result.code == 2
    assert "already have score; name the new column with --column" in result.err
    result = guerdon(
        "score", "rule:length", tmp_path / "c.csv", "--map", "prompt=q", "--map", "response=text", "--column", "len"
    )
    assert result.rows == [{"q": "p", "text": "abc", "score": "9", "len": 3.0, "len_status": "scored"}]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"response": "x"}, "no prompt; the row has response: name it with --map prompt=COLUMN"),
        ({"prompt": "x", "text": "y"}, "no response; the row has prompt, text: name it with --map response=COLUMN"),
        ({"prompt": 3, "response": "x"}, "prompt: expected text or chat messages, got int 3"),
        ({"prompt": "p", "responses": "x"}, "responses: expected a list of responses, got str 'x'"),
        ({"prompt": "p", "responses": ["x", None]}, "responses[1]: expected text or chat messages, got nothing"),
        ({"prompt": [{"role": "king", "content": "x"}], "response": "x"}, "prompt[0].role: unknown role 'king'"),
    ],
)
def test_bad_rows_stop_it_in_one_line(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(line({"prompt": "p", "response": "good"}) + line(row))
    result = guerdon("score", "rule:length", path)
    assert result.code == 2
    assert f"guerdon: {path}:2: {message}" in result.err
    assert len(result.err.splitlines()) == 1
    assert [r["score"] for r in result.rows] == [4.0], "what came before is not lost"
    skipped = guerdon("score", "rule:length", path, "--skip-bad")
    assert skipped.code == 0
    assert len(skipped.rows) == 2
    last = skipped.rows[1]
    assert last["reason"].startswith(f"{path}:2: ")
    assert (last["score"], last["status"]) == (None, "invalid")
    assert {k: v for k, v in last.items() if k in row} == row


def test_broken_lines_are_kept_with_skip_bad(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"prompt": "p", "response": "x"}\n{broken\n[1]\n')
    assert guerdon("score", "rule:length", path).code == 2
    rows = guerdon("score", "rule:length", path, "--skip-bad").rows
    assert [r["status"] for r in rows] == ["scored", "invalid", "invalid"]
    assert rows[1]["raw"] == "{broken"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing", "c.jsonl"], "no reward at 'nothing'"),
        (["rule:length", "nothing.jsonl"], "nothing.jsonl: no such file"),
        (["rule:length", "c.jsonl", "--out", "o.txt"], "--out o.txt: unknown kind of file; end it in .jsonl"),
        (["rule:length", "c.jsonl", "--out", "no/where/o.jsonl"], "cannot be written (No such file or directory)"),
        (["rule:length", "c.jsonl", "--map", "prompt"], "--map 'prompt': write FIELD=COLUMN"),
        (["rule:length", "c.jsonl", "--map", "colour=x"], "the fields are prompt, response"),
        (["rule:length", "c.jsonl", "--map", "prompt=zzz"], "no column 'zzz'"),
        (["fake_rewards:Duel", "c.jsonl"], "compares responses but does not score them; use guerdon best"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    result = guerdon("score", *arguments)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert sorted(p.name for p in file.parent.iterdir()) == ["c.jsonl"], "something is left behind"


# ------------------------------------------------------------------ formats


def test_every_format_says_the_same(file: Path, tmp_path: Path) -> None:
    expected = guerdon("score", "fake_rewards:Picky", file).rows
    for name in ("o.jsonl", "o.jsonl.gz", "o.json", "o.csv", "o.csv.gz", "o.tsv", "o.parquet"):
        out = tmp_path / name
        result = guerdon("score", "fake_rewards:Picky", file, "--out", out)
        assert result.code == 0, result.err
        data = gzip.decompress(out.read_bytes()) if name.endswith("gz") else out.read_bytes()
        if ".jsonl" in name:
            assert [json.loads(text) for text in data.splitlines()] == expected
        elif ".json" in name:
            assert json.loads(data) == expected
        elif ".parquet" in name:
            rows = pq.read_table(out).to_pylist()
            assert [r["score"] for r in rows] == [r.get("score") for r in expected]
            assert [r["scores"] for r in rows] == [r.get("scores") for r in expected]
        else:
            rows = list(csv.DictReader(io.StringIO(data.decode()), delimiter="\t" if "tsv" in name else ","))
            assert [r["status"] for r in rows] == [r.get("status", "") for r in expected]
            assert json.loads(rows[2]["scores"]) == expected[2]["scores"]
        first = out.read_bytes()
        assert guerdon("score", "fake_rewards:Picky", file, "--out", out).code == 0
        assert out.read_bytes() == first, f"{name} differs from run to run"
    assert not list(tmp_path.glob("*.part*"))


def test_parquet_keeps_its_columns_as_they_are(tmp_path: Path) -> None:
    import datetime

    when = pa.array([datetime.datetime(2026, 1, 2), None], pa.timestamp("us"))
    chat = pa.array([[{"role": "user", "content": "a"}]] * 2)
    table = pa.table({"prompt": chat, "response": ["x", "banana"], "when": when, "n": pa.array([1, 2], pa.int8())})
    pq.write_table(table, tmp_path / "c.parquet")
    assert guerdon("score", "fake_rewards:Picky", tmp_path / "c.parquet", "--out", tmp_path / "o.parquet").code == 0
    out = pq.read_table(tmp_path / "o.parquet")
    assert out.select(table.column_names) == table
    assert out.column("score").to_pylist() == [1.0, None]
    assert out.column("reason").to_pylist() == [None, "it says banana"]
    # all scores missing: still numbers
    pq.write_table(table.slice(1), tmp_path / "d.parquet")
    assert guerdon("score", "fake_rewards:Picky", tmp_path / "d.parquet", "--out", tmp_path / "e.parquet").code == 0
    assert pq.read_schema(tmp_path / "e.parquet").field("score").type == pa.float64()


json_values = (
    st.none()
    | st.booleans()
    | (st.integers(-(2**53), 2**53) | st.just(2**70))
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
columns = st.dictionaries(st.sampled_from("abc"), json_values | st.lists(st.text(max_size=3), max_size=2), max_size=3)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(columns, max_size=6).filter(lambda rows: not rows or any(rows)))
def test_parquet_holds_whatever_json_holds(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    """Columns of one type keep it; columns of several types become JSON text; nothing gets lost."""
    out = tmp_path / "o.parquet"
    write_rows(rows, out)
    back = pq.read_table(out).to_pylist()
    assert len(back) == len(rows)
    for row, got in zip(rows, back, strict=True):
        for name, value in row.items():
            assert got[name] == value or (got[name] is not None and json.loads(got[name]) == value)


# ------------------------------------------------------------------ killed and started again

MANY = [{"prompt": f"p{i % 7}", "response": "x" * (i % 23), "i": i} for i in range(200)]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    path = tmp_path / "many.jsonl"
    path.write_bytes(b"".join(line(row) for row in MANY))
    return path


class Killed(BaseException):
    """Like SIGKILL: nothing is cleaned up (see ``kill_at``)."""


@pytest.mark.parametrize("moment", ["half a batch", "before the journal", "half a journal", "after the journal"])
@pytest.mark.parametrize("batch_number", [1, 3])
def test_killed_at_any_moment(
    moment: str, batch_number: int, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, out = tmp_path / "whole.csv", tmp_path / "o.csv"
    arguments = ["score", "rule:length", many, "--batch", "16", "--out"]
    assert guerdon(*arguments, undisturbed).code == 0
    calls = [0]
    write = Journal.write

    def kill(self: Journal, lines: bytes, rows: list[bytes], counts: Counter[str]) -> None:
        calls[0] += 1
        if calls[0] < batch_number:
            return write(self, lines, rows, counts)
        journal = self.path.read_bytes() if self.path.exists() else None
        if moment == "half a batch":
            self._file.write(lines[: len(lines) // 2])
        elif moment == "after the journal":
            write(self, lines, rows, counts)
        else:
            write(self, lines, rows, counts)
            if journal is None:
                self.path.unlink()
            else:
                self.path.write_bytes(journal)
            if moment == "half a journal":
                self.path.with_name(self.path.name + ".new").write_text('{"rows": 1')
        self._file.flush()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "write", kill)
        with pytest.raises(Killed):
            guerdon(*arguments, out)
    assert not out.exists()
    result = guerdon(*arguments, out)
    assert result.code == 0
    assert out.read_bytes() == undisturbed.read_bytes()
    done = 16 * (batch_number - (moment != "after the journal"))
    assert (f"resuming {out} after {done} rows" in result.err) == (done > 0)
    assert "200 rows, 200 candidates scored" in result.err, "the counts of the first part are kept"


def test_killed_for_real(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL, several times, at times nobody chose."""
    undisturbed, out = tmp_path / "whole.jsonl", tmp_path / "o.jsonl"
    (tmp_path / "slow_reward.py").write_text(
        "import time\ndef slow(prompt, response):\n    time.sleep(0.003)\n    return len(response) / 7\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    arguments = ["score", "slow_reward:slow", str(many), "--batch", "10", "--out"]
    assert guerdon(*arguments, undisturbed).code == 0
    command = [sys.executable, "-m", "guerdon", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    part = tmp_path / "o.jsonl.part"
    kills = 0
    for wanted in (1, 90):
        process = subprocess.Popen([*command, str(out)], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (part.exists() and part.read_bytes().count(b"\n") > wanted):
            time.sleep(0.002)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills
    last = subprocess.run(
        [*command, str(out)], check=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "resuming" in last.stderr
    assert out.read_bytes() == undisturbed.read_bytes()
    assert not list(tmp_path.glob("*.part*"))


def interrupted(arguments: list[Any], monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    """Stop a run after so many batches."""
    write, calls = Journal.write, [0]

    def stop(self: Journal, *parts: Any) -> None:
        if calls[0] == batches:
            raise KeyboardInterrupt
        calls[0] += 1
        write(self, *parts)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "write", stop)
        result = guerdon(*arguments)
    assert result.code == 130
    assert "rows are done and kept in" in result.err


def test_another_reward_input_or_option_starts_anew(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "o.jsonl"
    base = ["score", "rule:length", many, "--batch", "16", "--out", out]
    interrupted(base, monkeypatch, 3)
    result = guerdon("score", "rule:random", *base[2:])
    assert "an unfinished run had another reward; starting" in result.err
    assert out.read_bytes() == b"".join(line(row) for row in guerdon("score", "rule:random", many).rows)

    interrupted(base, monkeypatch, 3)
    assert "had another options" in guerdon(*base, "--user", "ann").err

    interrupted(base, monkeypatch, 3)
    changed = [{**MANY[0], "response": "changed"}, *MANY[1:]]
    many.write_bytes(b"".join(line(row) for row in changed))
    result = guerdon(*base)
    assert "the input has changed since; starting anew" in result.err
    assert json.loads(out.read_text().splitlines()[0])["score"] == len("changed")

    interrupted(base, monkeypatch, 3)
    (tmp_path / "o.jsonl.part.json").write_text("{")
    assert "the journal of an unfinished run is damaged; starting" in guerdon(*base).err
    interrupted(base, monkeypatch, 3)
    (tmp_path / "o.jsonl.part").write_bytes(b"")
    assert "lost its rows; starting" in guerdon(*base).err
    (tmp_path / "o.jsonl.part").write_bytes(b"rubbish")
    assert "left no journal; starting" in guerdon(*base).err


def test_rows_added_to_the_input_since_are_scored_too(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "o.jsonl"
    base = ["score", "rule:length", many, "--batch", "16", "--out", out]
    interrupted(base, monkeypatch, 3)
    with many.open("ab") as file:
        file.write(line({"prompt": "p", "response": "new"}))
    assert "resuming" in guerdon(*base).err
    assert len(out.read_text().splitlines()) == 201


def test_standard_input_resumes_too(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "o.jsonl"
    base = ["score", "rule:length", "-", "--batch", "16", "--out", out]
    write, calls = Journal.write, [0]

    def stop(self: Journal, *parts: Any) -> None:
        calls[0] += 1
        if calls[0] == 4:
            raise KeyboardInterrupt
        write(self, *parts)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "write", stop)
        assert guerdon(*base, stdin=many.read_bytes()).code == 130
    refused = guerdon(*base, stdin=b"".join(line(row) for row in MANY[1:]))
    assert refused.code == 2
    assert "the input differs from the one" in refused.err
    assert "resuming" in guerdon(*base, stdin=many.read_bytes()).err
    assert len(out.read_text().splitlines()) == 200


def test_a_bad_row_late_in_the_file_keeps_what_is_done(many: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    good = many.read_bytes()
    many.write_bytes(good + b"{broken\n")
    base = ["score", "rule:length", many, "--batch", "16", "--out", out]
    result = guerdon(*base)
    assert result.code == 2
    assert "192 rows are done and kept" in result.err
    assert not out.exists()
    many.write_bytes(good)
    assert "resuming" in guerdon(*base).err
    assert len(out.read_text().splitlines()) == 200


def test_two_at_once_are_refused(many: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    first = Journal(out, {})
    with pytest.raises(ConfigError, match="another guerdon is writing it"):
        Journal(out, {})
    first.done()


@given(st.lists(st.binary(max_size=4), max_size=8), st.integers(0, 8))
def test_the_digest_does_not_depend_on_the_batches(rows: list[bytes], cut: int) -> None:
    assert chain(chain("", rows[:cut]), rows[cut:]) == chain("", rows)


def test_finish_of_nothing(tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    for name in ("a.json", "a.csv", "a.parquet"):
        part.write_bytes(b"")
        finish(part, tmp_path / name)
        assert (tmp_path / name).exists()


class ShakyTexts:
    """A text encoder of which the last digits depend on what else is encoded in the same call, as in real ones."""

    kind, cached, dim, identity, template = "shaky", True, 1, {"encoder": "shaky"}, PlainTemplate()
    stop_after: int | None = None

    def batches(self, units: Any) -> Any:
        for at in range(0, len(units), 5):
            if ShakyTexts.stop_after == 0:
                ShakyTexts.stop_after = None
                raise KeyboardInterrupt
            if ShakyTexts.stop_after is not None:
                ShakyTexts.stop_after -= 1
            part = np.arange(at, min(at + 5, len(units)))
            yield part, np.array([[len(units[i]) + 1e-4 * len(units)] for i in part], np.float32)


class Shaky(Reward):
    """Scores what the encoder above says."""

    name = "shaky"

    def score(self, candidates: Candidates) -> Scores:
        return Scores(FeatureEncoder(ShakyTexts(), "response", "shaky").encode(candidates)[:, 0])


def test_an_encoder_interrupted_within_a_batch_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which texts are encoded together decides the last bits; half a batch in the feature cache would change them."""
    rows = tmp_path / "c.jsonl"
    rows.write_bytes(b"".join(line({"prompt": "p", "response": f"{i} {'x' * (i % 7)}"}) for i in range(90)))
    base = ["score", f"{__name__}:Shaky", rows, "--batch", "30", "--out"]
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path / "cache-1"))
    assert guerdon(*base, tmp_path / "whole.jsonl").code == 0
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path / "cache-2"))
    monkeypatch.setattr(ShakyTexts, "stop_after", 9)  # six parts a batch: in the middle of the second
    assert guerdon(*base, tmp_path / "o.jsonl").code == 130
    result = guerdon(*base, tmp_path / "o.jsonl")
    assert "after 30 rows" in result.err
    assert (tmp_path / "o.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()

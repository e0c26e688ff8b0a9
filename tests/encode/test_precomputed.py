"""Features from a file: every format, keyed by candidate, text or id, and what goes wrong said in one line."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from guerdon.encode import encode_feedback, load_encoder, write_features
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback

CHAT = [{"role": "user", "content": "Name a fruit."}]
BATCH = Candidates(["p", CHAT, "p"], ["one", "two", "three"], extra={"id": [7, 8, 9]})
X = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
FORMATS = [".npz", ".safetensors", ".parquet"]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("by", ["candidate", "text", "id"])
def test_written_features_are_found_again(tmp_path: Path, suffix: str, by: str):
    names = {
        "candidate": {"prompts": BATCH.prompts, "responses": BATCH.responses},
        "text": {"responses": BATCH.responses},
    }
    path = write_features(tmp_path / f"f{suffix}", X, **names.get(by, {"ids": ["7", "8", "9"]}), encoder="mine-1")
    encoder = load_encoder(f"file:{path}")
    order = [2, 0, 1, 0]
    np.testing.assert_array_equal(encoder.encode(BATCH.take(order)), X[order])
    assert encoder.dim == 5
    assert load_encoder(encoder.spec).fingerprint == encoder.fingerprint
    assert load_encoder(f"file:{path}?encoder=mine-1&dim=5&by={by}").encode(BATCH).shape == (3, 5)
    assert list(tmp_path.iterdir()) == [path], "nothing half-written is left"


def test_features_by_text_compose_with_maps(tmp_path: Path):
    path = write_features(tmp_path / "f.npz", X, responses=["p", "one", "two"])
    x = load_encoder(f"file:{path}?features=product").encode(Candidates(["p", "p"], ["one", "two"]))
    np.testing.assert_array_equal(x, np.concatenate([X[1:], X[[0]] * X[1:]], 1))
    with pytest.raises(ConfigError, match="one row a text; use features=response"):
        load_encoder(f"file:{path}?features=joined")
    pairs = write_features(tmp_path / "g.npz", X, prompts=BATCH.prompts, responses=BATCH.responses)
    with pytest.raises(ConfigError, match="one row a candidate; use features=joined"):
        load_encoder(f"file:{pairs}?features=both")
    surface = load_encoder(f"file:{pairs}?features=joined+surface").encode(BATCH)
    assert surface.shape == (3, 17)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("f.npy.ids.txt", "one\ntwo\nthree\n"),
        ("f.npy.ids.json", json.dumps(["one", "two", "three"])),
        ("f.npy.ids.json", json.dumps({"response": ["one", "two", "three"]})),
        ("f.npy.ids.jsonl", "\n".join(json.dumps({"text": t}) for t in ("one", "two", "three"))),
        ("elsewhere.txt", "one\ntwo\nthree"),
    ],
)
def test_arrays_with_names_beside_them(tmp_path: Path, name: str, content: str):
    np.save(tmp_path / "f.npy", X.astype(np.float16))
    (tmp_path / name).write_text(content)
    tail = f"?ids={tmp_path / name}" if name == "elsewhere.txt" else ""
    encoder = load_encoder(f"file:{tmp_path}/f.npy{tail}")
    without_ids = Candidates(BATCH.prompts, BATCH.responses)
    np.testing.assert_array_equal(encoder.encode(without_ids), X.astype(np.float16).astype(np.float32))
    assert load_encoder(encoder.spec).fingerprint == encoder.fingerprint


def test_jsonl_names_may_be_chats(tmp_path: Path):
    np.save(tmp_path / "f.npy", X)
    rows = [{"prompt": p, "response": r} for p, r in zip(BATCH.prompts, BATCH.responses, strict=True)]
    (tmp_path / "f.npy.ids.jsonl").write_text("\n".join(map(json.dumps, rows)))
    np.testing.assert_array_equal(load_encoder(f"file:{tmp_path}/f.npy").encode(BATCH), X)


def test_feedback_from_a_file(tmp_path: Path):
    feedback = Feedback.of([Judgement("p", ("one", "two"), (1, 0)), Judgement("p", ("one", "three"), (0, 1))])
    path = write_features(tmp_path / "f.parquet", X, responses=["one", "two", "three"])
    np.testing.assert_array_equal(encode_feedback(load_encoder(f"file:{path}"), feedback), X)


def test_missing_candidates_are_named(tmp_path: Path):
    path = write_features(tmp_path / "f.npz", X, responses=["one", "two", "three"])
    with pytest.raises(FeedbackError, match=r"no features for 2 of 3 texts: 'four', 'x{57}\.\.\.'"):
        load_encoder(f"file:{path}").encode(Candidates(["", "", ""], ["one", "four", "x" * 90]))


def test_rows_that_are_not_finite_are_named_when_needed(tmp_path: Path):
    bad = X.copy()
    bad[1, 2] = np.nan
    path = write_features(tmp_path / "f.npz", bad, ids=["7", "8", "9"])
    encoder = load_encoder(f"file:{path}")
    np.testing.assert_array_equal(encoder.encode(BATCH.take([0, 2])), X[[0, 2]])
    with pytest.raises(FeedbackError, match=r"1 rows hold NaN or infinity: row 1 \('8'\)"):
        encoder.encode(BATCH)


def test_the_wrong_encoder_or_size_is_refused(tmp_path: Path):
    path = write_features(tmp_path / "f.npz", X, responses=BATCH.responses, encoder="minilm-response-1")
    with pytest.raises(FeedbackError, match="computed by minilm-response-1, not by minilm-joined-2"):
        load_encoder(f"file:{path}?encoder=minilm-joined-2").encode(BATCH)
    with pytest.raises(FeedbackError, match="5 features a row, dim=384"):
        load_encoder(f"file:{path}?dim=384").encode(BATCH)
    with pytest.raises(ConfigError, match=r"by=id: .* names its rows by text"):
        load_encoder(f"file:{path}?by=id")


def test_broken_files_are_one_line(tmp_path: Path):
    rows = pa.array([[1.0, 2.0], [1.0, 2.0], [1.0]])
    pq.write_table(pa.table({"features": rows, "id": ["a", "b", "c"]}), tmp_path / "ragged.parquet")
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "none.parquet")
    np.savez(tmp_path / "short.npz", features=X, id=np.array(["a"]))
    np.savez(tmp_path / "pickle.npz", features=X, id=np.array(["a", None, "c"], dtype=object))
    np.save(tmp_path / "flat.npy", X[0])
    np.save(tmp_path / "nameless.npy", X)
    np.savez(tmp_path / "twice.npz", features=X, id=np.array(["a", "b", "a"]))
    for name in ("junk.npz", "junk.npy", "junk.safetensors", "junk.parquet"):
        (tmp_path / name).write_bytes(b"not what it says")
    said = {
        "ragged.parquet": "row 2 has 1 features, others 2",
        "none.parquet": "cannot be read",
        "short.npz": "3 rows of features but 1 values of 'id'",
        "pickle.npz": "cannot be read",
        "flat.npy": "expected float [n, d]",
        "nameless.npy": "nothing names its rows",
        "twice.npz": "rows 0 and 2 are both 'a' but differ",
        **{f"junk.{s}": "cannot be read" for s in ("npz", "npy", "safetensors", "parquet")},
    }
    for name, message in said.items():
        with pytest.raises(FeedbackError) as error:
            load_encoder(f"file:{tmp_path / name}").encode(Candidates([""], ["a"]))
        assert message in str(error.value), name
        assert name in str(error.value)
        assert "\n" not in str(error.value)


def test_writing_needs_names(tmp_path: Path):
    with pytest.raises(FeedbackError, match="need names"):
        write_features(tmp_path / "f.npz", X)
    with pytest.raises(FeedbackError, match="3 rows of features but 1"):
        write_features(tmp_path / "f.npz", X, ids=["a"])
    with pytest.raises(ConfigError, match="write features as"):
        write_features(tmp_path / "f.csv", X, ids=["a", "b", "c"])
    assert not list(tmp_path.iterdir())

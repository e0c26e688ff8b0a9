"""Writing: guerdon's own format loses nothing; the others say what they leave behind, and read back as that."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback import Feedback, Judgement
from guerdon.feedback.messages import MARK, as_text
from guerdon.feedback.readers import read
from guerdon.feedback.writers import FORMATS
from guerdon.reward.adapters import for_verl
from guerdon.reward.base import Function

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(lambda t: t.strip() != "")
chat = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system"]), "content": words},
        optional={"name": words, "tool_calls": st.just([{"function": {"name": "f", "arguments": "{}"}}])},
    ),
    min_size=1,
    max_size=2,
)
texts = words | chat | words.map(lambda t: MARK + t)
names = st.none() | st.text(st.characters(codec="utf-8"), max_size=4)
finite = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def judgements(draw: Any) -> Judgement:
    n = draw(st.integers(1, 3))
    scale = draw(st.sampled_from(["order", "rating", "partial", "probability"]))
    grade = st.floats(0, 1) if scale == "probability" else finite
    responses = draw(st.lists(texts, min_size=n, max_size=n, unique_by=json.dumps))
    return Judgement(
        draw(texts),
        tuple(responses),
        tuple(draw(st.lists(grade, min_size=n, max_size=n))),
        user=draw(names),
        criterion=draw(names),
        subset=draw(names),
        source=draw(st.sampled_from(["unknown", "human", "model", "rule"])),
        scale=scale,
        weight=draw(st.floats(0, 1e6)),
        comment=draw(names),
        time=draw(st.none() | st.floats(0, 4e9)),
    )


@settings(max_examples=80, deadline=None)
@given(st.lists(judgements(), min_size=1, max_size=5), st.sampled_from(["jsonl", "jsonl.gz", "json", "parquet"]))
def test_guerdons_own_format_loses_nothing(tmp_path_factory: Any, rows: list[Judgement], kind: str) -> None:
    path = tmp_path_factory.mktemp("write") / f"a.{kind}"
    assert Feedback.of(rows).write(path) == []
    assert list(read(path).judgements()) == rows


def test_ids_come_back_too(tmp_path: Path) -> None:
    rows = [Judgement("q", ("a", "b"), (1, 0), id=i) for i in ("1", "2", None)]
    for kind in ("jsonl", "parquet"):
        Feedback.of(rows).write(tmp_path / f"a.{kind}")
        assert list(read(tmp_path / f"a.{kind}").judgements()) == rows


MIXED = Feedback.of(
    [
        Judgement("q", ("a", "b"), (0, 1), user="ann", comment="why"),
        Judgement("q", ("a", "c"), (0, 0), user="bob"),
        Judgement("r", ("x", "y", "z"), (2, 1, 0), criterion="k", weight=2.0),
        Judgement("r", ("x", "y"), (0.8, 0.2), scale="probability", subset="s"),
    ]
)


def test_trl_pairs_and_what_is_dropped(tmp_path: Path) -> None:
    drops = MIXED.write(tmp_path / "a.jsonl", format="trl")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").open()]
    assert [(r["prompt"], r["chosen"], r["rejected"]) for r in rows] == [
        ("q", "b", "a"),
        ("r", "x", "y"),
        ("r", "x", "z"),
        ("r", "y", "z"),
        ("r", "x", "y"),
    ]
    assert [r["margin"] for r in rows] == pytest.approx([1, 1, 2, 1, 0.6])
    assert drops == [
        "1 ties dropped",
        "the probabilities of 1 soft labels dropped: the likelier side is chosen",
        "1 judgements of more than two responses written as pairs",
        "dropped: criterion (1), subset (1), user (2), weight, comment",
    ]
    assert all(p == 1 for p in read(tmp_path / "a.jsonl").pairs().p)


def test_trl_of_chats_is_conversational(tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "q"}]
    data = Feedback.of([Judgement(prompt, ("a", "b"), (1, 0)), Judgement("r", ("a", "b"), (1, 0))])
    for kind in ("jsonl", "parquet"):
        data.write(tmp_path / f"a.{kind}", format="trl")
        row = next(iter(read(tmp_path / f"a.{kind}").judgements()))
        assert row.prompt == prompt
        assert row.responses == ([{"role": "assistant", "content": "a"}], [{"role": "assistant", "content": "b"}])
    with pytest.raises(ConfigError, match=r"write \.jsonl or \.parquet"):
        data.write(tmp_path / "a.csv", format="trl")


def test_to_trl_is_a_data_set_that_trl_takes() -> None:
    pytest.importorskip("datasets")
    data = MIXED.to_trl()
    assert data.column_names == ["prompt", "chosen", "rejected", "margin"]
    assert data[0]["chosen"] == "b"
    plain = Feedback.of([Judgement("q", ("a", "b"), (1, 0))]).to_trl()
    assert plain.column_names == ["prompt", "chosen", "rejected"]


def test_kto(tmp_path: Path) -> None:
    drops = MIXED.write(tmp_path / "a.jsonl", format="kto")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").open()]
    assert [(r["completion"], r["label"]) for r in rows[:2]] == [("a", False), ("b", True)]
    assert "3 responses neither good nor bad dropped (ties, average ratings)" in drops
    rated = Feedback.of(
        [Judgement("q", (x,), (g,), user="u", scale="rating") for x, g in zip("abc", (1, 2, 6), strict=True)]
    )
    drops = rated.write(tmp_path / "b.jsonl", format="kto")
    assert [json.loads(line)["label"] for line in (tmp_path / "b.jsonl").open()] == [False, False, True]
    assert any("above the person's mean is good" in d for d in drops)
    binary = Feedback.of([Judgement("q", (x,), (g,), scale="rating") for x, g in zip("ab", (1, 0), strict=True)])
    assert binary.write(tmp_path / "c.jsonl", format="kto") == []
    assert list(read(tmp_path / "c.jsonl").judgements()) == list(binary.judgements())


def test_nemo_rl_reads_back_with_its_order(tmp_path: Path) -> None:
    drops = MIXED.write(tmp_path / "a.jsonl", format="nemo-rl")
    assert "the size of grades dropped: only their order is kept" in drops
    back = list(read(tmp_path / "a.jsonl").judgements())
    assert [j.grades for j in back] == [(0, 1), (0, 0), (2, 1, 0), (1, 0)]
    row = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])
    assert row == {
        "context": [{"role": "user", "content": "q"}],
        "completions": [
            {"rank": 1, "completion": [{"role": "assistant", "content": "a"}]},
            {"rank": 0, "completion": [{"role": "assistant", "content": "b"}]},
        ],
    }


def test_verl(tmp_path: Path) -> None:
    MIXED.write(tmp_path / "a.parquet", format="verl")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names == ["prompt", "chosen", "rejected"]
    assert table.to_pylist()[0] == {"prompt": "q", "chosen": "b", "rejected": "a"}
    drops = MIXED.write(tmp_path / "b.parquet", format="verl-rl")
    rows = pq.read_table(tmp_path / "b.parquet").to_pylist()
    assert set(rows[0]) == {"data_source", "prompt", "ability", "reward_model", "extra_info"}
    assert [r["prompt"][0]["content"] for r in rows] == ["q", "r"]
    # the reward that verl calls on this file's rows is given no prompt but what extra_info holds
    score = for_verl(Function(lambda prompt, response: len(as_text(prompt)) + len(response)))
    assert score("guerdon", "abc", "", rows[0]["extra_info"])["score"] == 4.0
    assert drops == ["4 judgements and their responses dropped: this format holds prompts only"]


def test_csv_of_comparisons_and_of_ratings(tmp_path: Path) -> None:
    MIXED.write(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "prompt,chosen,rejected,margin"
    rated = Feedback.of(
        [Judgement("q, or\nr", (x,), (g,), user="u", scale="rating") for x, g in zip("ab", (1, 2.5), strict=True)]
    )
    rated.write(tmp_path / "b.tsv.gz")
    assert gzip.decompress((tmp_path / "b.tsv.gz").read_bytes()).startswith(b"prompt\tresponse\trating\tuser\n")
    assert list(read(tmp_path / "b.tsv.gz").judgements()) == list(rated.judgements())


@pytest.mark.parametrize("format", list(FORMATS))
def test_what_is_written_is_recognised(tmp_path: Path, format: str) -> None:
    path = tmp_path / "a.parquet"
    MIXED.write(path, format=format)
    if format != "verl-rl":
        assert len(read(path)) > 0


def test_texts_survive_every_text_format(tmp_path: Path) -> None:
    odd = 'say "hi",\n\ttab; é \u2028 \x00?'
    data = Feedback.of([Judgement(odd, (odd + "a", odd + "b"), (1, 0))])
    for name in ("a.jsonl", "a.json", "a.tsv.gz", "a.parquet"):
        data.write(tmp_path / name, format="trl")
        row = next(read(tmp_path / name).judgements())
        assert (as_text(row.prompt), row.responses) == (odd, (odd + "a", odd + "b"))


def test_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("before")
    monkeypatch.setattr(json, "dumps", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("disk")))
    with pytest.raises(RuntimeError):
        MIXED.write(path)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.jsonl"]


def test_equal_feedback_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        MIXED.write(tmp_path / name)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"write to one of \.jsonl"):
        MIXED.write(tmp_path / "a.xlsx")
    with pytest.raises(ConfigError, match="format 'odd' cannot be written; use one of guerdon, trl"):
        MIXED.write(tmp_path / "a.jsonl", format="odd")
    ties = Feedback.of([Judgement("q", ("a", "b"), (0, 0))])
    with pytest.raises(FeedbackError, match="nothing to write as trl; 1 ties dropped"):
        ties.write(tmp_path / "a.jsonl", format="trl")
    assert not list(tmp_path.iterdir())

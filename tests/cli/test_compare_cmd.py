"""`guerdon compare` and `guerdon rank`: all comparisons of a prompt's responses, and the order that follows."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import fake_rewards
import guerdon as library
from guerdon.cli.output import line
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.general_preference import GeneralPreference
from run_cli import guerdon
from tiny_models import tiny_causal_lm

ROWS = [
    {"prompt": "p", "responses": ["a", "bbb", "cc"]},
    {"prompt": "q", "response": "x", "note": 1},
    {"prompt": "q", "response": "banana"},
    {"prompt": "q", "response": "yyyy"},
    {"prompt": "alone", "response": "one"},
]
SIGNS = ("rock", "paper", "scissors")


def text(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(line(row) for row in rows)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "c.jsonl"
    path.write_bytes(text(ROWS))
    return path


@pytest.fixture(scope="module")
def circle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved general preference for which paper beats rock, scissors paper, and rock scissors."""
    rows = [Judgement(f"p{i}", (SIGNS[i % 3], SIGNS[(i + 1) % 3]), (0.0, 1.0)) for i in range(90)]
    model = GeneralPreference(encoder="hash:64", choose_by="judgement").fit(Feedback.of(rows))
    return model.save(tmp_path_factory.mktemp("circle") / "m")


# ------------------------------------------------------------------ compare


def test_a_row_a_pair_for_rewards_that_score(file: Path) -> None:
    result = guerdon("compare", "fake_rewards:Picky", file)
    assert result.code == 0
    assert [(r["prompt"], r["a"], r["b"]) for r in result.rows] == [
        ("p", 0, 1), ("p", 0, 2), ("p", 1, 2), ("q", 0, 1), ("q", 0, 2), ("q", 1, 2),
    ]  # fmt: skip
    one = result.rows[0]
    assert one["probability"] == pytest.approx(1 / (1 + np.exp(2)))
    assert (one["response_a"], one["response_b"], one["status"]) == ("a", "bbb", "scored")
    missing = result.rows[3]
    assert (missing["probability"], missing["status"], missing["reason"]) == (None, "abstained", "it says banana")
    assert "3 prompts, 4 comparisons, 2 not (abstained 2)" in result.err


def test_a_general_preference_compares_by_its_embeddings(circle: Path) -> None:
    rows = guerdon("compare", circle, "-", stdin=text([{"prompt": "new", "responses": list(SIGNS)}])).rows
    model = library.load(str(circle))
    a, b = (Candidates(["new"] * 3, [SIGNS[r[side]] for r in rows]) for side in ("a", "b"))
    np.testing.assert_allclose([r["probability"] for r in rows], model.prefer(a, b).value)
    below, above, middle = (rows[i]["probability"] for i in (0, 1, 2))
    assert below < 0.1  # rock over paper
    assert above > 0.9  # rock over scissors
    assert middle < 0.1  # paper over scissors


def test_for_one_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_rewards.register(monkeypatch)
    fake_rewards.tastes("ann", "bob").save(tmp_path / "model")
    rows = text([{"prompt": "p", "responses": ["aaa", "eee"]}])
    for user, better in (("ann", False), ("bob", True)):
        row = guerdon("compare", tmp_path / "model", "-", "--user", user, stdin=rows).rows[0]
        assert (row["probability"] > 0.5) is better
        assert row["user"] == user
        assert row["std"] > 0


def test_people_who_ask_in_the_file_compete_apart(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "response": r, "user": u} for u, r in (("ann", "a"), ("ann", "bb"), ("bob", "c"))]
    result = guerdon("compare", "rule:length", "-", stdin=text(rows))
    assert [(r["user"], r["response_a"], r["response_b"]) for r in result.rows] == [("ann", "a", "bb")]


def test_prompts_that_come_back_are_told(file: Path) -> None:
    scattered = [ROWS[1], {"prompt": "z", "response": "1"}, ROWS[2]]
    result = guerdon("compare", "rule:length", "-", stdin=text(scattered))
    assert result.rows == []
    assert "careful: 1 times a prompt comes back" in result.err
    assert "careful" not in guerdon("compare", "rule:length", file).err


def test_batches_never_part_a_list(file: Path) -> None:
    whole = guerdon("compare", "rule:length", file).rows
    assert guerdon("compare", "rule:length", file, "--batch", "1").rows == whole


@pytest.mark.parametrize("command", [["compare"], ["rank", "--by", "copeland"]])
def test_every_format_says_the_same(command: list[str], file: Path, tmp_path: Path) -> None:
    name, *options = command
    expected = guerdon(name, "fake_rewards:Picky", file, *options).rows
    for suffix in ("jsonl", "jsonl.gz", "json", "csv", "tsv", "parquet"):
        out = tmp_path / f"o.{suffix}"
        result = guerdon(name, "fake_rewards:Picky", file, *options, "--out", out)
        assert result.code == 0, result.err
        data = gzip.decompress(out.read_bytes()) if suffix.endswith("gz") else out.read_bytes()
        if "jsonl" in suffix:
            assert [json.loads(row) for row in data.splitlines()] == expected
        elif suffix == "json":
            assert json.loads(data) == expected
        elif suffix == "parquet":
            rows = pq.read_table(out).to_pylist()
            assert [{k: v for k, v in r.items() if v is not None} for r in rows] == [
                {k: v for k, v in r.items() if v is not None} for r in expected
            ]
        else:
            rows = list(csv.DictReader(io.StringIO(data.decode()), delimiter="\t" if suffix == "tsv" else ","))
            assert [r["prompt"] for r in rows] == [r["prompt"] for r in expected]
    assert not list(tmp_path.glob("*.part*"))


def test_one_document_with_json(file: Path, tmp_path: Path) -> None:
    document = guerdon("compare", "rule:length", file, "--json").json
    assert (len(document["rows"]), document["counts"]["scored"], document["counts"]["lists"]) == (6, 6, 3)
    document = guerdon("rank", "rule:length", file, "--json", "--out", tmp_path / "o.jsonl").json
    assert (document["out"], document["counts"]["rows"]) == (str(tmp_path / "o.jsonl"), 3)


class Killed(BaseException):
    """The machine went away."""


@pytest.mark.parametrize("name", ["compare", "rank"])
def test_killed_and_started_again(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = tmp_path / "c.jsonl", tmp_path / "o.jsonl"
    path.write_bytes(text([{"prompt": f"p{i // 3}", "response": "x" * (i * 7 % 11 + 1)} for i in range(30)]))
    expected = guerdon(name, "fake_rewards:Picky", path, "--batch", "6").rows
    score, calls = fake_rewards.Picky.score, []

    def dies(self: Any, candidates: Any) -> Any:
        calls.append(len(candidates))
        if len(calls) == 3:
            raise Killed
        return score(self, candidates)

    with monkeypatch.context() as patch:
        patch.setattr(fake_rewards.Picky, "score", dies)
        with pytest.raises(Killed):
            guerdon(name, "fake_rewards:Picky", path, "--batch", "6", "--out", out)
    assert not out.exists()
    result = guerdon(name, "fake_rewards:Picky", path, "--batch", "6", "--out", out)
    assert "resuming" in result.err
    assert [json.loads(row) for row in out.read_bytes().splitlines()] == expected
    assert "10 prompts" in result.err


# ------------------------------------------------------------------ rank


def test_rankings_of_a_circle(circle: Path) -> None:
    rows = text([{"prompt": "new", "responses": [*SIGNS, "rock"]}])
    won = guerdon("rank", circle, "-", "--by", "von-neumann", stdin=rows).rows[0]
    weight = dict(zip(won["ranking"], won["scores"], strict=True))
    assert won["condorcet"] is None
    assert weight[0] + weight[3] == pytest.approx(1 / 3, abs=0.05)  # the two rocks share a third
    assert weight[1] == pytest.approx(1 / 3, abs=0.05)
    beaten = guerdon("rank", circle, "-", "--by", "copeland", stdin=rows).rows[0]
    # paper beats both rocks, which scissors lose to; the rocks beat scissors and draw with each other
    assert dict(zip(beaten["ranking"], beaten["scores"], strict=True)) == pytest.approx(
        {0: 0.5, 1: 2 / 3, 2: 1 / 3, 3: 0.5}
    )
    own = guerdon("rank", circle, "-", "--by", "score", stdin=rows).rows[0]
    model = library.load(str(circle))
    mean = model.rank(Candidates(["new"] * 4, [*SIGNS, "rock"])).value
    np.testing.assert_allclose([mean[i] for i in own["ranking"]], own["scores"])
    assert "condorcet" not in own


def test_the_best_of_a_scorer_wins_by_every_ranking(file: Path) -> None:
    for by in ("borda", "copeland", "von-neumann", "score"):
        rows = guerdon("rank", "rule:length", file, "--by", by).rows
        assert [r["ranking"] for r in rows] == [[1, 2, 0], [1, 2, 0], [0]]
        assert rows[0]["responses"] == ["bbb", "cc", "a"]
        assert rows[0]["by"] == by
        assert (rows[1]["n"], rows[1]["unscored"]) == (3, 0)
        if by != "score":
            assert [r["condorcet"] for r in rows] == [1, 1, None]


def test_unscored_responses_are_left_out_and_counted(file: Path) -> None:
    for by in ("borda", "von-neumann", "score"):
        q = guerdon("rank", "fake_rewards:Picky", file, "--by", by).rows[1]
        assert (q["ranking"], q["n"], q["unscored"]) == ([2, 0], 3, 1)


def test_rewards_that_only_compare(file: Path) -> None:
    rows = text([{"prompt": "p", "responses": ["a", "b!!", "c!"]}])
    assert guerdon("rank", "fake_rewards:Duel", "-", stdin=rows).rows[0]["ranking"] == [1, 2, 0]
    assert guerdon("compare", "fake_rewards:Duel", "-", stdin=rows).rows[0]["probability"] == 0.0


def test_a_transformer_fitted_end_to_end_compares_and_ranks(tmp_path: Path) -> None:
    lm = tiny_causal_lm(tmp_path / "lm", chat_template=False)
    said = [{"prompt": f"q{i}", "chosen": SIGNS[(i + 1) % 3], "rejected": SIGNS[i % 3]} for i in range(200)]
    (tmp_path / "said.jsonl").write_bytes(text(said))
    settings = {
        "backbone": lm,
        "tuning": "full",
        "epochs": 5,
        "learning_rate": 3e-3,
        "head_learning_rate": 3e-3,
        "batch": 16,
    }
    options = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    done = guerdon("fit", tmp_path / "said.jsonl", "--model", "gpm", *options, "--out", tmp_path / "m")
    assert done.code == 0, done.err
    rows = text([{"prompt": "new", "responses": list(SIGNS)}])
    found = guerdon("compare", tmp_path / "m", "-", stdin=rows).rows
    assert [r["probability"] > 0.5 for r in found] == [False, True, False]
    won = guerdon("rank", tmp_path / "m", "-", "--by", "von-neumann", stdin=rows).rows[0]
    assert (len(won["ranking"]), won["condorcet"]) == (3, None)
    assert min(won["scores"]) > 0.1


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize("name", ["compare", "rank"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing", "c.jsonl"], "no reward at 'nothing'"),
        (["rule:length", "nothing.jsonl"], "nothing.jsonl: no such file"),
        (["rule:length", "c.jsonl", "--out", "o.txt"], "--out o.txt: unknown kind of file"),
        (["rule:length", "c.jsonl", "--map", "prompt=zzz"], "no column 'zzz'"),
    ],
)
def test_mistakes_are_one_line(
    name: str, arguments: list[str], message: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    result = guerdon(name, *arguments)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert sorted(p.name for p in file.parent.iterdir()) == ["c.jsonl"], "something is left behind"


def test_rankings_that_cannot_be(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        "--by elo: use one of borda, copeland, von-neumann, score"
        in guerdon("rank", "rule:length", file, "--by", "elo").err
    )
    monkeypatch.delattr(fake_rewards.Duel, "rank")
    result = guerdon("rank", "fake_rewards:Duel", file, "--by", "score")
    assert (result.code, "compares responses but does not score them; use --by borda" in result.err) == (2, True)


def test_bad_rows(tmp_path: Path) -> None:
    rows = text([{"prompt": "p", "responses": ["a", "bb"]}, {"prompt": "p"}])
    stopped = guerdon("compare", "rule:length", "-", stdin=rows)
    assert stopped.code == 2
    assert "standard input:2: no response" in stopped.err
    assert len(stopped.rows) == 1
    for name in ("compare", "rank"):
        kept = guerdon(name, "rule:length", "-", "--skip-bad", stdin=rows)
        assert kept.code == 0
        assert [r.get("status") for r in kept.rows].count("invalid") == 1
        assert "1 not (invalid 1)" in kept.err

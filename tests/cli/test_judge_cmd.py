"""`guerdon judge` on a mock server: every protocol, the bill, the budget, agreement with people."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from guerdon.cli.journal import Journal
from guerdon.generate.budget import Budget
from guerdon.reward.judge import AgainstReference, GroupReference, ListwiseJudge, open_judge
from guerdon.reward.judge.spec import budget_of
from guerdon.reward.load import fingerprint
from guerdon.testing import MockRequest, MockServer
from run_cli import Result, guerdon

BLOCK = re.compile(r"<<<begin (.+?) ([0-9a-f]{24})>>>\n(.*?)\n<<<end \1 \2>>>", re.S)


def reply(request: MockRequest) -> str:
    """A good judge of "quality N" that adds one to what is shown first in a list."""
    code = re.findall(r'"verdict_code", which is (\w+)', request.text)[-1]
    shown = {m[1]: int(re.findall(r"\d+", m[3])[0]) for m in BLOCK.finditer(request.text) if "response" in m[1]}
    out: dict[str, Any] = {"rationale": "because"}
    if '"ranking"' in request.text:
        value = {int(name.split()[1]): q + (name == "response 1") for name, q in shown.items()}
        out["grades"] = [{"response": i, "grade": min(v, 5)} for i, v in value.items()]
        out["ranking"] = sorted(value, key=lambda i: -value[i])
    elif "response A" in shown:
        a, b = shown["response A"], shown["response B"]
        out["verdict"] = "tie" if a == b else "A" if a > b else "B"
    else:
        out["verdict"] = "yes" if shown["response"] > 2 else "no"
    return json.dumps(out | {"verdict_code": code})


@pytest.fixture
def server() -> Iterator[MockServer]:
    with MockServer(reply) as running:
        yield running


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    rows = [{"id": i, "prompt": f"p{i}", "responses": [f"quality {q}" for q in (1, 4, 2, 3)]} for i in range(3)]
    return written(tmp_path / "lists.jsonl", rows)


def judge(server: MockServer, *arguments: Any) -> Result:
    return guerdon("judge", *arguments, "--lm", server.spec, "--set", "cache=off", "--set", "first_wait=0.01")


def test_one_response_at_a_time(server: MockServer, lists: Path) -> None:
    result = judge(server, lists, "--question", "Is it good?")
    assert result.code == 0
    assert [row["scores"] for row in result.rows] == [[0, 1, 0, 1]] * 3
    assert result.rows[0]["rationale"] == ["because"] * 4
    assert "3 rows, 12 candidates scored" in result.err
    assert "bill: 12 calls" in result.err


def test_pairs_of_a_list_make_a_tournament(server: MockServer, lists: Path) -> None:
    result = judge(server, lists, "--pairwise", "--json")
    assert [row["scores"] for row in result.json["rows"]] == [pytest.approx([0, 1, 1 / 3, 2 / 3])] * 3
    assert result.json["position_bias"] == {"inconsistent": 0, "towards_first": 0}
    assert result.json["cost"]["calls"] == server.calls == 30
    assert "position bias: the order decided 0.0% of 15 pairs" in result.err


def test_lists_report_the_bias_for_places(server: MockServer, lists: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    result = judge(server, lists, "--listwise", "--out", out, "--json")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 3
    assert all(row["scores"][0] == min(row["scores"]) for row in rows)
    assert result.json["position_bias"]["at_first"] > 0.5
    assert result.json["position_bias"]["towards_first"] > 0.3
    assert result.json["counts"] == {"rows": 3, "scored": 12}
    assert "position bias: the first place adds" in result.err


def test_rows_of_one_prompt_are_one_list_and_never_parted(server: MockServer, tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i // 4}", "response": f"quality {(1, 4, 2, 3)[i % 4]}"} for i in range(12)]
    file = written(tmp_path / "rows.jsonl", rows)
    found = [
        [row["score"] for row in judge(server, file, "--pairwise", "--batch", batch).rows] for batch in (1, 3, 5, 256)
    ]
    assert found[0] == pytest.approx([0, 1, 1 / 3, 2 / 3] * 3)
    assert all(scores == found[0] for scores in found)


def test_two_lists_of_the_same_prompt_stay_two(server: MockServer, tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "responses": ["quality 1", "quality 2"]},
        {"prompt": "p", "responses": ["quality 3", "quality 4"]},
    ]
    result = judge(server, written(tmp_path / "rows.jsonl", rows), "--pairwise")
    assert [row["scores"] for row in result.rows] == [[0, 1], [0, 1]]


def test_against_the_reference(server: MockServer, tmp_path: Path) -> None:
    rows = [{"prompt": "p", "response": f"quality {q}", "reference": "quality 3"} for q in (1, 3, 5)]
    result = judge(server, written(tmp_path / "rows.jsonl", rows), "--reference")
    assert [row["score"] for row in result.rows] == [0, 0.5, 1]


def test_a_budget_ends_the_asking_and_says_so(server: MockServer, lists: Path) -> None:
    result = judge(server, lists, "--budget", "calls=5", "--json", "--set", "concurrency=1")
    assert result.code == 0
    assert server.calls == 5
    assert result.json["counts"]["scored"] == 5
    assert result.json["reasons"] == {"budget: no calls left": 7}
    assert "7 not judged: budget: no calls left" in result.err
    priced = judge(server, lists, "--budget", "money=100,price_in=1000,price_out=2000")
    assert "in money" in priced.err


def test_agreement_with_people(server: MockServer, tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "chosen": "quality 4", "rejected": f"quality {q}"} for i, q in enumerate((1, 2, 3, 5))]
    file = written(tmp_path / "feedback.jsonl", rows)
    result = judge(server, file, "--feedback", "--pairwise", "--json")
    assert result.json["agreement"]["share"] == 0.75
    assert result.json["agreement"]["pairs"] == 4
    low, high = result.json["agreement"]["interval"]
    assert 0.2 < low < 0.75 < high < 1
    assert {row["judge"] for row in result.json["rows"]} == {0.0, 1.0}
    assert "agreement with people 75.0%" in result.err
    out = tmp_path / "out.parquet"
    assert judge(server, file, "--feedback", "--pairwise", "--out", out).code == 0
    assert pq.read_table(out)["judge"].to_pylist() == [row["judge"] for row in result.json["rows"]]
    ties = judge(server, file, "--feedback", "--json")
    assert ties.json["agreement"]["ties"] == 2, "yes to both is a tie"
    assert "bill: 8 calls" in ties.err


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--pairwise", "--listwise"], "one of them"),
        (["--set", "votes"], "KEY=VALUE"),
        (["--votes", "3", "--set", "votes=5"], "given by an option"),
        (["--budget", "minutes=3"], "budget"),
        (["--budget", "money=3"], "price"),
        (["--by", "rubric"], "rubric=FILE"),
        (["--by", "mood"], "use one of"),
        (["--listwise", "--set", "how=labels"], "how=json"),
        (["--set", "stars=5"], "stars"),
    ],
)
def test_options_that_make_no_sense(server: MockServer, lists: Path, options: list[str], match: str) -> None:
    result = judge(server, lists, *options)
    assert result.code == 2
    assert match in result.err
    assert server.calls == 0


# ------------------------------------------------------------------ judge: specifications


def test_specifications_open_every_protocol() -> None:
    url = "http://localhost:1/v1#m"
    listwise = open_judge(f"{url}?protocol=listwise&give=grades&orders=2&window=6&scale=1-10&votes=3")
    assert isinstance(listwise, ListwiseJudge)
    assert (listwise.give, listwise.orders, listwise.window, listwise.asker.votes) == ("grades", 2, 6, 3)
    against = open_judge(f"{url}?protocol=reference&on=log-odds&clip=3")
    assert isinstance(against, AgainstReference)
    assert (against.on, against.clip) == ("log-odds", 3)
    group = open_judge(f"{url}?protocol=group&redraw=2&extreme=0.9")
    assert isinstance(group, GroupReference)
    assert (group.redraw, group.extreme) == (2, 0.9)
    meta = open_judge(f"{url}?votes=8&meta=rule%3Alength&keep=0.25&combine=mean")
    assert "keep=0.25" in meta.asker.settings["combine"]  # type: ignore[attr-defined]


def test_budgets_in_a_line() -> None:
    assert budget_of("tokens=2e6, calls=10") == Budget(calls=10, tokens=2_000_000)
    assert budget_of("money=2.5,price_in=0.15,price_out=0.6").money == 2.5
    judge = open_judge("http://localhost:1/v1#m?budget=tokens%3D500")
    assert judge.asker.model.budget.tokens == 500  # type: ignore[attr-defined]


def test_a_run_that_goes_on_has_spent_what_it_had_spent(server: MockServer, lists: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    options = (lists, "--budget", "calls=6", "--batch", "4", "--out", out, "--set", "concurrency=1", "--json")

    class Killed(Exception):
        pass

    def kill(self: Journal, *_: Any) -> None:
        write(self, *_)
        raise Killed

    write = Journal.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "write", kill)
        with pytest.raises(Killed):
            judge(server, *options)
    assert server.calls == 4
    result = judge(server, *options)
    assert server.calls == 6, "not four and six"
    assert result.json["counts"]["scored"] == 6
    assert result.json["cost"]["calls"] == 6
    assert result.json["reasons"] == {"budget: no calls left": 6}
    assert len(out.read_text().splitlines()) == 3


def test_a_cache_that_fills_is_no_other_judge(tmp_path: Path) -> None:
    cache, rubric = tmp_path / "cache.db", tmp_path / "rubric.txt"
    spec = f"judge:http://localhost:1/v1#m?cache={cache}&rubric={rubric}"
    rubric.write_text("Is it true?")
    before = fingerprint(spec)
    cache.write_bytes(b"replies")
    assert fingerprint(spec) == before
    rubric.write_text("Is it short?")
    assert fingerprint(spec) != before

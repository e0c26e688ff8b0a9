"""What ``guerdon papers`` and ``guerdon reproduce`` print, and the docs page made from it."""

import json
import sys
from pathlib import Path

import pytest

from guerdon.cli import main
from guerdon.papers import page, record
from guerdon.papers.frame import Claim, Row, at_least

DOCS = Path(__file__).resolve().parents[2] / "docs" / "papers.md"


def guerdon(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["guerdon", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, float]:
    """The check of personalllm replaced by a figure, and its record kept away from the package."""
    import guerdon.papers.personalllm as module

    figure = {"value": 0.9}

    def check(budget: object) -> Claim:
        seeds = budget.seeds(2)  # type: ignore[attr-defined]
        row = Row(
            "a check", {"ours": [figure["value"]] * len(seeds), "theirs": [0.5]}, [at_least("ours", 0.3, over="theirs")]
        )
        return Claim("personalllm", [row])

    monkeypatch.setattr(module, "check", check)
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(record.read, "__defaults__", (tmp_path / "results.json",))
    monkeypatch.setattr(record.write, "__defaults__", (tmp_path / "results.json",))
    return figure


def test_papers_lists_all_of_them(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert guerdon(monkeypatch, "papers", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 119
    assert {"number", "slug", "name", "room", "state", "why", "mechanism"} <= set(rows[0])
    assert all(row["state"] in ("works", "partial", "planned") for row in rows)
    assert all(row["why"] for row in rows if row["state"] != "works")
    assert guerdon(monkeypatch, "papers") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "119 papers:" in err
    assert "ui-genie" in err


def test_the_markdown_page_has_every_paper(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert guerdon(monkeypatch, "papers", "--markdown") == 0
    text = capsys.readouterr().out
    table = [line for line in text.splitlines() if line.startswith("| ") and "`" in line]
    assert len(table) == 119
    assert all(line.count(" | ") == 5 for line in table)
    assert "## PersonalLLM {#personalllm}" in text


def test_the_docs_page_is_the_generated_one() -> None:
    if not DOCS.is_file():
        pytest.skip("docs are not part of this installation")
    fresh = DOCS.read_text(encoding="utf-8") == page.markdown()
    assert fresh, "docs/papers.md is out of date; run: guerdon papers --markdown > docs/papers.md"


def test_reproduce_prints_figures_and_exits_by_the_claim(
    quick: dict[str, float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert guerdon(monkeypatch, "reproduce", "personalllm", "--out", str(tmp_path / "claim.json"), "--record") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "holds  ours ≥ theirs + 0.3" in err
    assert Claim.from_json(json.loads((tmp_path / "claim.json").read_text())).state == "works"
    assert page.states()["personalllm"].state == "works"
    quick["value"] = 0.7
    assert guerdon(monkeypatch, "reproduce", "personalllm", "--json", "--seeds", "1", "--record") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["holds"] is False
    assert document["rows"][0]["figures"]["ours"] == [0.7]
    assert page.states()["personalllm"].why == "does not hold: a check"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["personallm"], "did you mean personalllm"),
        (["ui-genie"], "has no check yet"),
        (["personalllm", "--seeds", "0"], "at least one seed"),
    ],
)
def test_reproduce_refuses_in_one_line(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guerdon(monkeypatch, "reproduce", *arguments) == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert "\n" not in err


def test_figures_are_readable() -> None:
    assert page.number(0.12345) == "0.123"
    assert page.number(3.3e-16) == "3.3e-16"
    assert page.number(0.0) == "0.000"
    assert page.number(float("nan")) == "-"

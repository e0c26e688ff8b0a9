"""``guerdon rubric learn``: a file that a judge reads, the bill, and going on where a budget ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from guerdon.reward.judge.standard import Standard
from guerdon.testing import MockRequest, MockServer
from guerdon.worlds.reader import NAMES, Reader, Taste
from run_cli import Result, guerdon

TASTE = Taste({"example": 3.0, "source": 2.0}, NAMES[:6])


def reply(request: MockRequest) -> str:
    return Reader(TASTE)(request.text, request.seed or 0)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rubric") / "prefs.jsonl"
    TASTE.feedback(25, 0).write(out)
    return out


@pytest.fixture(scope="module")
def server() -> Iterator[MockServer]:
    with MockServer(reply) as running:
        yield running


def learn(server: MockServer, path: Path, out: Path, *more: object) -> Result:
    fast = ("--encoder", "hash:256", "--set", f"cache={out.with_suffix('.sqlite')}", "--set", "analysis_pairs=10")
    return guerdon("rubric", "learn", path, "--lm", server.spec, "--out", out, *fast, *more)


def test_it_writes_a_rubric_and_says_what_it_kept_and_dropped(server: MockServer, path: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "rubric.yaml", tmp_path / "report.json"
    done = learn(server, path, out, "--json", "--report", report, "--themes", 3)
    assert done.code == 0, done.err
    standard = Standard.read("rubric", out)
    assert 1 <= len(standard.criteria) <= 3
    assert [c["text"] for c in done.json["rubric"]] == [c.text for c in standard.criteria]
    assert done.json["cost"]["calls"] > 0
    assert json.loads(report.read_text())["report"] == done.json["report"]
    for text in ("comparisons explained", "precision", "bill:", "guerdon judge"):
        assert text in done.err


def test_a_spent_budget_is_one_line_and_the_next_run_goes_on(server: MockServer, path: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.yaml", tmp_path / "parts.yaml"
    assert learn(server, path, whole).code == 0
    stopped = learn(server, path, parts, "--budget", "calls=20")
    assert stopped.code == 2
    assert "budget of calls is spent" in stopped.err
    assert not parts.exists()
    again = learn(server, path, parts)
    assert again.code == 0
    assert parts.read_bytes() == whole.read_bytes()
    assert "cached" in again.err


def test_what_is_wrong_is_said_before_anything_is_asked(server: MockServer, path: Path, tmp_path: Path) -> None:
    before = sum(server.seen.values())
    for more, text in (
        (("--set", "order=given"), "both orders"),
        (("--set", "weights=odd"), "weights="),
        (("--set", "odd=1"), "has no option"),
        (("--budget", "x"), "budget"),
    ):
        done = learn(server, path, tmp_path / "r.yaml", *more)
        assert done.code == 2
        assert text in done.err
    assert "yaml" in learn(server, path, tmp_path / "r.csv").err
    assert sum(server.seen.values()) == before

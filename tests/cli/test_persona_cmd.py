"""``guerdon persona learn``: a file to read and edit, people added to it, mistaken command lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from guerdon.feedback.star import Feedback
from guerdon.testing import MockRequest, MockServer
from guerdon.worlds.choosers import Chooser, Empathic
from run_cli import Result, guerdon


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    people = [Chooser.drawn(f"u{i}", rng, noise=0.0) for i in range(3)]
    out = tmp_path_factory.mktemp("persona") / "prefs.jsonl"
    Feedback.of([j for p in people for j in p.judgements(10, rng)]).write(out)
    return out


@pytest.fixture(scope="module")
def server() -> Iterator[MockServer]:
    def reply(request: MockRequest) -> str:
        return Empathic(misread=0.0)(request.text, request.seed or 0)

    with MockServer(reply) as running:
        yield running


def learn(server: MockServer, path: Path, out: Path, *more: object) -> Result:
    fast = ("--set", f"cache={out.with_suffix('.sqlite')}", "--set", "candidates=2")
    return guerdon("persona", "learn", path, "--lm", server.spec, "--out", out, *fast, *more)


def test_people_are_learned_added_and_judged_for(server: MockServer, path: Path, tmp_path: Path) -> None:
    out = tmp_path / "people.json"
    first = learn(server, path, out, "--user", "u0", "--json")
    assert first.code == 0, first.err
    assert "questions at most" in first.err
    assert set(json.loads(first.out)["people"]) == {"u0"}
    assert "likes" in json.loads(out.read_text(encoding="utf-8"))["people"]["u0"]["persona"]
    second = learn(server, path, out, "--user", "u1", "--user", "u2")
    assert second.code == 0, second.err
    assert set(json.loads(out.read_text(encoding="utf-8"))["people"]) == {"u0", "u1", "u2"}
    judged = guerdon(
        "judge", path, "--lm", server.spec, "--feedback", "--by", "persona", "--set", f"persona={out}",
        "--set", "how=json", "--set", "ties=false", "--out", tmp_path / "verdicts.jsonl",
    )  # fmt: skip
    assert judged.code == 0, judged.err
    assert "agree" in judged.err


def test_a_dry_run_asks_nothing(server: MockServer, path: Path, tmp_path: Path) -> None:
    before = server.calls
    result = learn(server, path, tmp_path / "p.json", "--dry-run")
    assert (result.code, "3 people, 30 choices:" in result.err) == (0, True), result.err
    assert server.calls == before
    assert not (tmp_path / "p.json").exists()


def test_mistakes_get_one_line(server: MockServer, path: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    for more, said in (
        (("--user", "nobody"), "--user nobody: not in the feedback; it has u0"),
        (("--set", "learn_share=2"), "learn_share=2: use a share between 0 and 1"),
        (("--set", "how=labels"), "how=labels gives no reasons to learn from"),
    ):
        wrong = learn(server, path, out, *more)
        assert (wrong.code, said in wrong.err) == (2, True), wrong.err
    out.write_text("{}", encoding="utf-8")
    wrong = learn(server, path, out)
    assert (wrong.code, "not a file of guerdon persona learn" in wrong.err) == (2, True), wrong.err
    assert out.read_text(encoding="utf-8") == "{}"

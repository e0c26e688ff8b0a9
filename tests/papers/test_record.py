"""Recorded results decide a paper's state, and stop counting when the check changes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from guerdon.errors import ConfigError, ModelError
from guerdon.papers import record
from guerdon.papers.frame import Claim, Row, at_least
from guerdon.papers.index import PAPERS


def claim(slug: str = "personalllm", value: float = 1.0, left: tuple[str, ...] = ()) -> Claim:
    return Claim(slug, [Row("check", {"a": [value]}, [at_least("a", 0.5)])], left, digest=record.digest(slug))


def test_records_accumulate_and_replace(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert record.read(path) == {}
    record.write(claim(value=0.1), path)
    record.write(replace(claim(), slug="lore"), path)
    record.write(claim(value=0.7), path)
    claims = record.read(path)
    assert list(claims) == ["lore", "personalllm"]
    assert claims["personalllm"].rows[0].figures == {"a": [0.7]}
    assert [f.name for f in tmp_path.iterdir()] == ["results.json"]


def test_states_follow_from_records() -> None:
    paper = PAPERS["personalllm"]
    assert record.state(paper, {paper.slug: claim()}).state == "works"
    left = record.state(paper, {paper.slug: claim(left=("real data",))})
    assert (left.state, left.why) == ("partial", "left: real data")
    broken = record.state(paper, {paper.slug: claim(value=0.2)})
    assert (broken.state, broken.why) == ("partial", "does not hold: check")
    unrecorded = record.state(paper, {})
    assert unrecorded.state == "partial"
    assert "--record" in unrecorded.why
    stale = record.state(paper, {paper.slug: replace(claim(), digest="0" * 16)})
    assert stale.state == "partial"
    assert "changed after it was recorded" in stale.why
    planned = record.state(replace(PAPERS["ui-genie"], room="tune/nowhere + bench"), {})
    assert (planned.state, planned.why) == ("planned", "needs tune/nowhere/, not built yet")
    assert record.state(replace(PAPERS["ui-genie"], room="bench"), {}).why == "its check is not written yet"


def test_a_digest_names_the_code_not_its_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "HERE", tmp_path)
    file = tmp_path / "some_paper.py"
    digests = []
    for text in (
        '"""Doc."""\n\ndef check(budget):\n    """What."""\n    return 0.9\n',
        '"""Other doc."""\ndef check( budget ):  # why\n    return 0.9\n',
        '"""Doc."""\n\ndef check(budget):\n    """What."""\n    return 0.8\n',
    ):
        file.write_text(text)
        digests.append(record.digest("some-paper"))
    assert digests[0] == digests[1] != digests[2]


def test_damage_and_unwritable_places_are_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for text in ("{", '{"lore": 3}', '{"lore": {"slug": "lore"}}', "[]"):
        path.write_text(text)
        with pytest.raises(ModelError, match="damaged"):
            record.read(path)
    with pytest.raises(ConfigError, match="cannot write"):
        record.write(claim(), tmp_path / "nowhere" / "results.json")


def test_every_check_in_the_package_is_recorded_as_it_stands() -> None:
    claims = record.read()
    for slug in record.implemented():
        assert slug in claims, f"run: guerdon reproduce {slug} --record"
        assert claims[slug].digest == record.digest(slug), f"the check changed; run: guerdon reproduce {slug} --record"
    json.loads(record.RESULTS.read_text(encoding="utf-8"))

"""`guerdon adapt`: more people in a personal reward."""

from pathlib import Path

import pytest

import fake_rewards
from guerdon.cli.output import line
from guerdon.reward.load import load
from run_cli import guerdon

COMPARISONS = b"".join(
    line({"prompt": "p", "chosen": "aaa", "rejected": f"e{i}", "user": user}) for i, user in enumerate(["ann", "carla"])
)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake_rewards.register(monkeypatch)
    return fake_rewards.tastes("ann", "bob").save(tmp_path / "model")


def test_people_are_added_and_the_old_model_stays(model: Path, tmp_path: Path) -> None:
    result = guerdon("adapt", model, "-", "--out", tmp_path / "more", "--json", stdin=COMPARISONS)
    assert result.code == 0, result.err
    assert {k: v for k, v in result.json.items() if k != "seconds"} == {
        "out": str(tmp_path / "more"),
        "added": ["carla"],
        "updated": ["ann"],
        "without_comparisons": [],
        "people": 3,
    }
    assert "1 people added, 1 known ones learned further" in result.err
    assert load(tmp_path / "more").users == ("ann", "bob", "carla")  # type: ignore[attr-defined]
    assert load(model).users == ("ann", "bob")  # type: ignore[attr-defined]


def test_in_place_and_by_name(model: Path) -> None:
    anonymous = line({"prompt": "p", "chosen": "aaa", "rejected": "eee"})
    result = guerdon("adapt", model, "-", "--out", model, "--user", "dora", stdin=anonymous)
    assert result.code == 0, result.err
    assert load(model).users == ("ann", "bob", "dora")  # type: ignore[attr-defined]


def test_mistakes(model: Path, tmp_path: Path) -> None:
    result = guerdon("adapt", "rule:length", "-", "--out", tmp_path / "x", stdin=COMPARISONS)
    assert result.code == 2
    assert "rule:length (length) is not personal, so there is nobody to add" in result.err
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    result = guerdon("adapt", model, "-", "--out", tmp_path / "notes", stdin=COMPARISONS)
    assert result.code == 2
    assert "is not empty and holds no guerdon model" in result.err
    assert guerdon("adapt", model, "nothing.jsonl", "--out", tmp_path / "x").code == 2
    assert not (tmp_path / "x").exists()

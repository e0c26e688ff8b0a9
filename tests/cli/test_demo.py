"""`guerdon demo`: runs offline, twice into one directory, and what it claims holds."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import guerdon
from guerdon.cli import app
from guerdon.worlds.example import FRESH, PEOPLE, STYLES, example_candidates, example_truth


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """(directory, first run, second run into the same directory), without a network."""
    place = tmp_path_factory.mktemp("demo") / "out"
    patch = pytest.MonkeyPatch()

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("the demo must not use the network")

    patch.setattr(socket.socket, "connect", refuse)
    try:
        runs = [CliRunner().invoke(app, ["demo", "--out", str(place), "--json"]) for _ in range(2)]
    finally:
        patch.undo()
    return place, *runs


@pytest.fixture(scope="module")
def document(ran: tuple[Path, Any, Any]) -> dict[str, Any]:
    assert ran[1].exit_code == 0, ran[1].output
    return json.loads(ran[1].stdout)


def test_it_runs_twice_with_the_same_result(ran: tuple[Path, Any, Any], document: dict[str, Any]) -> None:
    _, first, second = ran
    assert first.exit_code == second.exit_code == 0
    again = json.loads(second.stdout)
    for key in ("feedback", "split", "evaluation", "ranking", "best", "truth", "claims"):
        assert again[key] == document[key]
    assert document["seconds"] < 120


def test_unseen_people_gain_from_a_handful_of_votes(document: dict[str, Any]) -> None:
    assert all(document["claims"].values())
    points = {p["shots"]: p for p in document["shots"]["points"]}
    assert points[10]["gain"]["accuracy"]["low"] > 0
    assert points[20]["people"]["accuracy"]["value"] > points[2]["people"]["accuracy"]["value"]
    population = document["evaluation"]["baselines"]["population"]
    assert document["evaluation"]["gain"]["low"] > 0
    assert population["figures"]["accuracy"]["value"] + document["evaluation"]["gain"]["value"] == pytest.approx(
        document["evaluation"]["accuracy"]["value"], abs=1e-6
    )
    assert document["split"]["train"] + document["split"]["unseen"] == PEOPLE


def test_nothing_beats_the_truth(document: dict[str, Any]) -> None:
    baselines = {name: figure["value"] for name, figure in document["shots"]["baselines"].items()}
    best = max(p["people"]["accuracy"]["value"] for p in document["shots"]["points"])
    assert baselines["bradley-terry"] < best < baselines["the truth"]
    assert baselines["best for all"] < best
    share = document["truth"]["favourite_chosen"]
    assert share["personal"] > share["population"] + 0.1 > 0.25


def test_two_opposite_people_get_different_answers(document: dict[str, Any]) -> None:
    (a, first), (b, second) = document["ranking"]["people"].items()
    assert sorted(first["ranking"]) == sorted(second["ranking"]) == sorted(STYLES)
    assert first["ranking"] != second["ranking"]
    assert first["scores"] == sorted(first["scores"], reverse=True)
    people = example_truth()
    weights = people.weights[[people.users.index(u) for u in (a, b)]]
    tastes = weights - people.weights.mean(0)
    assert tastes[0] @ tastes[1] < 0
    best = document["best"]
    assert best["prompts"] == len(best["choices"]) == FRESH
    assert best["different"] == sum(row[a] != row[b] for row in best["choices"]) > FRESH / 2


def test_what_it_leaves_behind_works(ran: tuple[Path, Any, Any], document: dict[str, Any]) -> None:
    place = ran[0]
    candidates = example_candidates()
    adapted = guerdon.load(place / "adapted")
    a, b = document["best"]["people"]
    for user in (a, b):
        chosen = adapted.score(candidates.asked_by(user)).value.reshape(-1, 4).argmax(1)
        styles = np.array(candidates.extra["style"]).reshape(-1, 4)[np.arange(FRESH), chosen]
        assert styles.tolist() == [row[user] for row in document["best"]["choices"]]
    train, unseen = (guerdon.Feedback.read(place / f"{name}.jsonl") for name in ("train", "unseen"))
    assert not set(train.users) & set(unseen.users)
    report = Path(document["report"])
    assert report == place / "report.html"
    assert "<html" in report.read_text(encoding="utf-8")
    hidden = [p.name for p in place.iterdir() if p.name.startswith(".") or p.suffix in (".part", ".partial", ".tmp")]
    assert not hidden


def test_every_step_shows_a_command_that_exists(ran: tuple[Path, Any, Any]) -> None:
    lines = [line.strip()[2:] for line in ran[1].stderr.splitlines() if line.strip().startswith("$ ")]
    assert len(lines) >= 8
    for line in lines:
        words = line.split()
        assert words[0] == "guerdon"
        shown = CliRunner().invoke(app, [words[1], "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0
        for option in (w for w in words if w.startswith("--")):
            assert option in shown.output, f"{option} of {line}"


@pytest.mark.slow
def test_the_shown_commands_give_what_the_demo_says(ran: tuple[Path, Any, Any], document: dict[str, Any]) -> None:
    place, shown = ran[0], [line.strip()[2:] for line in ran[1].stderr.splitlines() if line.strip().startswith("$ ")]
    for line in shown:
        result = CliRunner().invoke(app, line.split()[1:])
        assert result.exit_code == 0, f"{line}: {result.output}"
    evaluation = json.loads((place / "evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["overall"]["accuracy"]["value"] == pytest.approx(document["evaluation"]["accuracy"]["value"])


def test_without_the_text_packages_words_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    from guerdon.cli import demo

    assert demo._encoder() == "minilm"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    spec = demo._encoder()
    assert spec != "minilm"
    assert guerdon.load_encoder(spec).dim > 0


def test_a_file_in_the_way_is_one_clear_line(tmp_path: Path) -> None:
    target = tmp_path / "taken"
    target.write_text("mine", encoding="utf-8")
    result = CliRunner().invoke(app, ["demo", "--out", str(target)])
    assert result.exit_code != 0
    assert isinstance(result.exception, guerdon.errors.ConfigError)  # main() turns it into one line and exit code 2
    assert str(target) in str(result.exception)
    assert target.read_text(encoding="utf-8") == "mine"
    assert os.listdir(tmp_path) == ["taken"]

"""The examples of CONTRIBUTING.md are taken out of the page and run."""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text under a heading of the second level."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def blocks(title: str, language: str = "python") -> list[str]:
    """The fenced blocks of a section."""
    return re.findall(rf"^```{language}\n(.*?)^```$", section(title), re.M | re.S)


def module(name: str, code: str) -> ModuleType:
    """``code`` run as a module."""
    made = ModuleType(name)
    sys.modules[name] = made
    exec(compile(code, f"CONTRIBUTING.md: {name}", "exec"), made.__dict__)
    return made


@pytest.fixture
def run() -> Iterator[Callable[[str, str], ModuleType]]:
    """Run a block as a module that is forgotten afterwards."""
    before = set(sys.modules)
    yield module
    for name in set(sys.modules) - before:
        if name.startswith("example_"):
            del sys.modules[name]


def run_tests(found: ModuleType, tmp_path: Path) -> int:
    """Call the test functions of a block; their number."""
    tests: list[Any] = [f for name, f in vars(found).items() if name.startswith("test_")]
    for number, test in enumerate(tests):
        folder = tmp_path / str(number)
        folder.mkdir()
        test(**({"tmp_path": folder} if "tmp_path" in inspect.signature(test).parameters else {}))
    return len(tests)


def test_add_a_head(run: Callable[[str, str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from guerdon.reward.learned.heads import HEADS

    head, test = blocks("Add a head")
    monkeypatch.setitem(HEADS, "cosine", run("example_cosine", head).CosineHead)
    assert run_tests(run("example_test_cosine", test), tmp_path) == 2


def test_add_a_reader(run: Callable[[str, str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from guerdon.feedback.readers import reading
    from guerdon.feedback.readers.unpaired import RATED

    reader, test = blocks("Add a reader")
    at = reading.FORMATS.index(RATED)
    own = run("example_clicks", reader).CLICKS
    monkeypatch.setattr(reading, "FORMATS", (*reading.FORMATS[:at], own, *reading.FORMATS[at:]))
    assert run_tests(run("example_test_clicks", test), tmp_path) == 2


def test_add_a_paper(run: Callable[[str, str], ModuleType]) -> None:
    from guerdon.papers.frame import Budget, Claim

    (code,) = blocks("Add a paper")
    claim = run("example_paper", code).check(Budget(1))
    assert claim.holds, claim.why
    assert claim.state == "partial"  # it says what it leaves out
    assert Claim.from_json(claim.as_json()).rows == claim.rows


@pytest.mark.parametrize("title", ["Add a head", "Add a reader"])
def test_the_lines_to_change_are_still_there(title: str) -> None:
    (diff,) = blocks(title, "diff")
    path = next(p for p in re.findall(r"One line in `([^`]+)`", section(title)))
    text = (ROOT / path).read_text(encoding="utf-8")
    old = [line[1:] for line in diff.splitlines() if line[0] != "+"]
    assert "\n".join(old) in text


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = set(re.findall(r"make\s+(\w+)", " ".join(re.findall(r"`(?:[^`]|\n)+`|^make \w+", PAGE, re.M))))
    assert named
    assert named <= targets


def test_the_examples_are_clean(tmp_path: Path) -> None:
    import subprocess

    for title in ("Add a head", "Add a reader", "Add a paper"):
        for number, code in enumerate(blocks(title)):
            (tmp_path / f"{title.replace(' ', '_').lower()}_{number}.py").write_text(code, encoding="utf-8")
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--config", str(ROOT / "pyproject.toml"), str(tmp_path)]
        done = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

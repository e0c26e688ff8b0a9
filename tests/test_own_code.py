"""``package.module:object``: found beside the user, a missing module told from a broken one."""

from __future__ import annotations

from pathlib import Path

import pytest

from guerdon.errors import ConfigError
from guerdon.own_code import own_module, own_object


def test_modules_of_the_working_folder_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_things.py").write_text("three = 3\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert own_object("own_things:three", "number") == 3
    assert own_object("own_things:four", "number") is None


@pytest.mark.parametrize("name", ["no_such_module_of_mine", "json.no_such_part", "", ".relative", "a b", "a..b"])
def test_a_missing_module_is_one_line_that_says_what_it_was_for(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^suite 'x': no module .*, importable from here$"):
        own_module(name, "suite 'x'")


def test_a_module_that_misses_another_one_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_broken_thing.py").write_text("import own_broken\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="own_broken"):  # the beginning of a name is no package of it
        own_module("own_broken_thing", "reward")

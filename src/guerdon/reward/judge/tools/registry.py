"""Tools by name: ``calculator,code=5,search=corpus.jsonl,my_package.my_module:word_count``.

A name is looked for in :data:`TOOLS`, then among the entry points of group ``guerdon.tools`` that installed packages
declare; ``package.module:object`` is imported. What is found is a :class:`~.tool.Tool`, a function to make one of, or
(in the first two cases) a ``make(argument, name=...)`` that does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from guerdon.errors import ConfigError
from guerdon.own_code import own_object
from guerdon.reward.judge.tools.tool import Tool, tool_of

PACKAGE = "guerdon.reward.judge.tools"
TOOLS: Mapping[str, str] = {
    "calculator": f"{PACKAGE}.calculator:make",
    "calendar": f"{PACKAGE}.calendar:make",
    "code": f"{PACKAGE}.code:make",
    "search": f"{PACKAGE}.search:make",
    "dictionary": f"{PACKAGE}.articles:make",
    "wiki": f"{PACKAGE}.articles:make",
    "weather": f"{PACKAGE}.table:make",
    "translator": f"{PACKAGE}.table:make",
    "map": f"{PACKAGE}.table:make",
    "table": f"{PACKAGE}.table:make",
}
"""name -> ``module:make`` of (argument, name=...)."""
GROUP = "guerdon.tools"

Given = str | Tool | Callable[..., str]


def open_tools(given: str | Sequence[Given]) -> tuple[Tool, ...]:
    """The tools of a specification, or of a list of specifications, tools and functions.

    Raises
    ------
    ConfigError
        for a name that is not known, a file that cannot be read, no tool at all, or two of one name
    """
    items: Sequence[Given] = [t.strip() for t in given.split(",") if t.strip()] if isinstance(given, str) else given
    found = tuple(_open(item) for item in items)
    if not found:
        raise ConfigError(f"tools: name one or more of {', '.join(TOOLS)}, or package.module:object")
    names = [t.name for t in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ConfigError(f"tools: {twice} is given twice")
    return found


def files_of(text: str) -> list[Path]:
    """The files that a specification of tools reads."""
    places = [
        Path(argument) for item in text.split(",") for _, _, argument in [item.strip().partition("=")] if argument
    ]
    return [place for place in places if place.is_file()]


def _open(item: Given) -> Tool:
    if isinstance(item, Tool):
        return item
    if not isinstance(item, str):
        if not callable(item):
            raise ConfigError(f"tools: {item!r} is neither a name, a Tool nor a function")
        return tool_of(item)
    name, _, argument = item.partition("=")
    if ":" in name:
        return _made(_imported(name), name.rpartition(":")[2], argument)
    if name in TOOLS:
        return _made(_imported(TOOLS[name]), name, argument)
    for point in entry_points(group=GROUP, name=name):
        return _made(point.load(), name, argument)
    raise ConfigError(f"tools: there is no {name!r}; use {', '.join(TOOLS)}, or package.module:object")


def _made(found: Any, name: str, argument: str) -> Tool:
    """What a place held, as a tool: one that is there, one that its ``make`` makes, or a plain function."""
    function: Any = found
    if isinstance(found, Tool):
        if argument:
            raise ConfigError(f"tools: {name} takes no argument, but {argument!r} is given")
        return found
    if not callable(found):
        raise ConfigError(f"tools: {name} is neither a Tool nor a function")
    if getattr(function, "__name__", "") != "make":
        return tool_of(function)
    takes = inspect.signature(function).parameters
    if argument and "argument" not in takes:
        raise ConfigError(f"tools: {name} takes no argument, but {argument!r} is given")
    return function(**{key: value for key, value in {"argument": argument, "name": name}.items() if key in takes})


def _imported(place: str) -> Any:
    found = own_object(place, f"tools: {place!r}")
    if found is None:
        raise ConfigError(f"tools: {place!r}: there is no such object; write package.module:object")
    return found

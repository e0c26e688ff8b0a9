"""Lookups in a given table: weather by place and date, translations by phrase, places on a map, or a table of yours.

A live service cannot be asked while judging offline, and its answers would change; what it once said can be kept in a
file. The first columns of a CSV are the key, the last is what is told (a row with several more columns tells them all
as ``column: value``). A JSON object is a table of its keys. A key that is not there is an error that says so; it is
never answered from the nearest row.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from guerdon.errors import ConfigError
from guerdon.reward.judge.tools.corpus import digest_of, rows_of
from guerdon.reward.judge.tools.tool import Tool, tool_of

KEYS: Mapping[str, tuple[str, ...]] = {
    "weather": ("place", "date"),
    "translator": ("text",),
    "map": ("place",),
    "table": ("key",),
}
"""The arguments of each tool; joined by ", " they are the key."""
SAYS = {
    "weather": "Tells the weather of a place on a date (YYYY-MM-DD).",
    "translator": "Translates a text into English.",
    "map": "Tells where a place is.",
    "table": "Looks a key up in a table.",
}


def folded(key: str) -> str:
    """A key as compared."""
    return " ".join(unicodedata.normalize("NFKC", key).casefold().split())


def table_of(path: str, keys: int) -> dict[str, str]:
    """Folded key -> what is told, from a file whose rows hold the key in their first ``keys`` columns, or in one."""
    rows = rows_of(path)
    table: dict[str, str] = {}
    for i, row in enumerate(rows):
        names = list(row)
        at = 1 if "key" in row else keys
        if len(names) <= at:
            raise ConfigError(f"tools: {path}: row {i + 1} needs {at} columns of key and one more, not {names}")
        key = folded(", ".join(str(row[name]) for name in names[:at]))
        rest = names[at:]
        said = str(row[rest[0]]) if len(rest) == 1 else "; ".join(f"{name}: {row[name]}" for name in rest)
        if table.setdefault(key, said) != said:
            raise ConfigError(f"tools: {path}: row {i + 1}: {key!r} is told twice, and differently")
    return table


def lookup_over(table: Mapping[str, Any], name: str = "table", says: str = "") -> Tool:
    """The lookup tool over ``table``: key -> what is told. Case and spaces in keys do not matter."""
    kept = {folded(key): str(value) for key, value in table.items()}
    names = KEYS.get(name, ("key",))

    def lookup(**parts: str) -> str:
        key = ", ".join(parts[part] for part in names)
        if folded(key) not in kept:
            raise LookupError(f"nothing is known of {key[:80]!r}")
        return kept[folded(key)]

    return tool_of(
        lookup,
        name=name,
        says=says or SAYS.get(name, SAYS["table"]),
        arguments={
            "type": "object",
            "properties": {part: {"type": "string"} for part in names},
            "required": list(names),
            "additionalProperties": False,
        },
        identity=[name, digest_of(sorted(kept.items()))],
    )


def make(argument: str = "", *, name: str = "table") -> Tool:
    """The lookup over a file."""
    if not argument:
        columns = ", ".join(KEYS[name])
        raise ConfigError(f"tools: {name} needs its table: {name}=FILE (.csv or .json; {columns}, then what is told)")
    return lookup_over(table_of(argument, len(KEYS[name])), name)

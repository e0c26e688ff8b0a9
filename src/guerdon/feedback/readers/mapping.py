"""Column mapping: other names for the fields a format needs, ``--map prompt=question,chosen=good``.

The left side is the field, the right side the column that holds it. A dotted path reaches into objects and lists
(``prompt=question.full_text``, ``chosen=answers.0.text``), a value in double quotes is a constant
(``user="alice"``), and nothing (``id=``) drops the field.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from typing import Any

from guerdon.errors import ConfigError, FeedbackError


@dataclass(frozen=True)
class Mapping:
    """``targets``: {field: column, dotted path, quoted constant, or nothing}."""

    targets: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: MappingABC[str, str] | str | None) -> Mapping:
        """From a dict, or from ``"prompt=question,chosen=good"``."""
        if value is None:
            return cls()
        if not isinstance(value, str):
            return cls({str(k): str(v) for k, v in value.items()})
        targets = {}
        for part in _split(value):
            name, sep, column = part.partition("=")
            if not sep or not name.strip():
                raise ConfigError(f"--map {part!r}: write FIELD=COLUMN, e.g. --map prompt=question,chosen=good")
            targets[name.strip()] = column.strip()
        return cls(targets)

    def __bool__(self) -> bool:
        return bool(self.targets)

    def within(self, fields: Collection[str]) -> Mapping:
        """The part of the mapping whose columns are among ``fields``; constants and drops always are."""
        return Mapping({t: c for t, c in self.targets.items() if _found(c, fields)})

    def check(self, files: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Raise if a column that the mapping names is in none of the ``(name, fields)``."""
        for target, column in self.targets.items():
            if not any(_found(column, fields) for _, fields in files):
                known = "; ".join(f"{name} has {', '.join(fields)}" for name, fields in files)
                raise FeedbackError(f"--map {target}={column}: there is no column {column!r}; {known}")

    def renamed(self) -> dict[str, str] | None:
        """{column: field} of what is renamed; None if a path reaches into objects or a column has two names."""
        named = {t: c for t, c in self.targets.items() if c and not c.startswith('"')}
        plain = all("." not in c for c in named.values()) and len(set(named.values())) == len(named)
        return {c: t for t, c in named.items()} if plain else None

    def constants(self) -> dict[str, str]:
        """{field: text} of the quoted constants."""
        return {t: c.strip('"') for t, c in self.targets.items() if c.startswith('"')}

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with its fields under their mapped names."""
        if not self.targets:
            return row
        used = set(self.targets.values())
        out = {k: v for k, v in row.items() if k not in used and k not in self.targets}
        for name, column in self.targets.items():
            if not column:
                continue
            if column.startswith('"'):
                out[name] = column.strip('"')
            else:
                out[name] = row[column] if column in row else _reach(row, column.split("."))
        return out


def _found(column: str, fields: Collection[str]) -> bool:
    return not column or column.startswith('"') or column in fields or column.split(".")[0] in fields


def _split(text: str) -> list[str]:
    """``text`` at its commas, except those within double quotes."""
    parts, quoted = [""], False
    for char in text:
        quoted ^= char == '"'
        if char == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += char
    return [p for p in parts if p.strip()]


def _reach(value: Any, path: list[str]) -> Any:
    for step in path:
        if isinstance(value, MappingABC):
            value = value.get(step)
        elif isinstance(value, list) and step.lstrip("-").isdigit() and -len(value) <= int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value

"""One row as it is found in a container, readable or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """One row as found: its number, the raw text where there is one, and the row or what is wrong with it."""

    number: int
    raw: str | None
    row: dict[str, Any] | None
    error: str | None = None


def kind_of(value: Any) -> str:
    """The type of a value in words."""
    names = {
        type(None): "null",
        str: "text",
        bool: "true/false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), type(value).__name__)

"""Encoder specifications as strings: ``kind:name?option=value&option=value``.

A specification is what a person types (``--encoder "hf:org/model?pooling=mean"``) and what a saved model stores. Values
are percent-decoded; ``+`` stands for itself, so feature maps may be written ``features=joined+response``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from guerdon.errors import ConfigError


@dataclass(frozen=True)
class Option:
    """One option of an encoder: its default, how its text becomes a value, and a line of documentation.

    ``names_features`` is false for options that say how to compute (device, batch size) rather than what: they are
    neither part of the fingerprint nor of the specification that a saved model stores.
    """

    default: Any
    read: Callable[[str], Any]
    doc: str
    names_features: bool = True


@dataclass(frozen=True)
class Spec:
    """A parsed specification: ``kind``, ``name`` (empty where the kind needs none) and the options as text."""

    kind: str
    name: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Take a specification apart; :class:`ConfigError` where it is not one."""
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"encoder {text!r}: expected a specification such as minilm or hf:org/model?pooling=mean")
        head, mark, tail = text.strip().rpartition("?")
        if not mark or "=" not in tail:  # no options, or a question mark that belongs to a path
            head, tail = text.strip().removesuffix("?"), ""
        kind, _, name = head.partition(":")
        options: dict[str, str] = {}
        for item in filter(None, tail.split("&")):
            key, equals, value = item.partition("=")
            if not equals or not key:
                raise ConfigError(f"encoder {text!r}: {item!r} is not option=value")
            if key in options:
                raise ConfigError(f"encoder {text!r}: option {key!r} is given twice")
            options[key] = unquote(value)
        return cls(kind, name, options)

    def values(self, known: Mapping[str, Option]) -> dict[str, Any]:
        """The value of every known option; :class:`ConfigError` naming the valid ones where an option is unknown."""
        for key in self.options:
            if key not in known:
                raise ConfigError(f"encoder {self.kind!r} has no option {key!r}; it has: {', '.join(sorted(known))}")
        values = {key: option.default for key, option in known.items()}
        for key, text in self.options.items():
            try:
                values[key] = known[key].read(text)
            except ValueError as error:
                raise ConfigError(f"encoder {self.kind!r}: {key}={text}: {error} ({known[key].doc})") from None
        return values


def write_spec(kind: str, name: str, values: Mapping[str, Any], known: Mapping[str, Option]) -> str:
    """The specification that opens the same features again: options at their defaults are left out."""
    said = {k: v for k, v in values.items() if known[k].names_features and v is not None and v != known[k].default}
    tail = "&".join(f"{k}={quote(str(v), safe='+/:,')}" for k, v in sorted(said.items()))
    return kind + (f":{name}" if name else "") + (f"?{tail}" if tail else "")


def one_of(*choices: str) -> Callable[[str], str]:
    """Read one of ``choices``."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"use one of {', '.join(choices)}")
        return text

    return read


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Read a whole number of at least ``least`` and at most ``most``."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError("use a whole number") from None
        if value < least or (most is not None and value > most):
            raise ValueError(f"use a whole number of at least {least}" + (f", at most {most}" if most else ""))
        return value

    return read

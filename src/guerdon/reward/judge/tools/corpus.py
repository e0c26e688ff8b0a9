"""Reading a user's file of texts for the tools that look things up: JSONL, JSON, CSV, TSV or plain paragraphs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from guerdon.errors import ConfigError

TEXTS = ("text", "contents", "content", "passage", "body", "definition", "value")
TITLES = ("title", "name", "word", "term", "id", "key")


@dataclass(frozen=True)
class Passage:
    """A text with its title ('' where it has none)."""

    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.title}: {self.text}" if self.title else self.text


def rows_of(path: str | Path) -> list[dict[str, Any]]:
    """The file's rows; a JSON object of texts is a row a key (``key``, ``value``), a text file a paragraph a row."""
    place = Path(path)
    try:
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"tools: {place}: cannot be read as UTF-8 text ({error})") from None
    kind = place.suffix.lower()
    if kind in (".csv", ".tsv"):
        return [dict(row) for row in csv.DictReader(io.StringIO(text), delimiter="\t" if kind == ".tsv" else ",")]
    if kind not in (".json", ".jsonl"):
        return [{"text": " ".join(part.split())} for part in text.split("\n\n") if part.strip()]
    try:
        found = (
            json.loads(text) if kind == ".json" else [json.loads(line) for line in text.splitlines() if line.strip()]
        )
    except ValueError as error:
        raise ConfigError(f"tools: {place}: no {kind[1:].upper()} ({error})") from None
    if isinstance(found, dict):
        found = [{"key": key, "value": value} for key, value in found.items()]
    if not isinstance(found, list) or not all(isinstance(row, dict | str) for row in found):
        raise ConfigError(f"tools: {place}: use a list of objects or texts, or one object of texts by key")
    return [{"text": row} if isinstance(row, str) else row for row in found]


def passages_of(path: str | Path) -> list[Passage]:
    """The file's texts with their titles, from the first columns of the usual names."""
    rows = rows_of(path)
    if not rows:
        raise ConfigError(f"tools: {path}: holds nothing to look up")
    text = next((name for name in TEXTS if name in rows[0]), None)
    title = next((name for name in TITLES if name in rows[0]), None)
    if text is None:
        raise ConfigError(f"tools: {path}: needs a column {', '.join(TEXTS[:-1])} or {TEXTS[-1]}, not {list(rows[0])}")
    return [Passage(_said(row.get(title)) if title else "", _said(row.get(text))) for row in rows]


def _said(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def digest_of(rows: Sequence[Any]) -> str:
    """Changes when the content does."""
    said = json.dumps([str(row) for row in rows], ensure_ascii=False).encode("utf-8", "surrogatepass")
    return blake2b(said, digest_size=8).hexdigest()

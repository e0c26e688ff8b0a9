"""Feedback spread over several files: what a layout is, and the files it is recognised by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guerdon.feedback.readers.containers import Container, rows
from guerdon.feedback.readers.formats import Sample
from guerdon.feedback.readers.mapping import Mapping

if TYPE_CHECKING:
    from guerdon.feedback.readers.gather import Reading
    from guerdon.feedback.star import Feedback


@dataclass(frozen=True)
class File:
    """One data file, its first rows, and the column mapping as far as it concerns this file."""

    container: Container
    sample: Sample
    mapping: Mapping

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Its rows with their numbers, fields under their mapped names."""
        for number, row in rows(self.container):
            yield number, self.mapping.row(row)


@dataclass(frozen=True)
class Layout:
    """A set of files that make feedback together.

    name   what ``--format`` calls it;  says  what is told when it is recognised;  needs  its files, for messages
    match  the files by their roles, or None if this is not the layout
    read   the feedback
    """

    name: str
    says: str
    needs: tuple[str, ...]
    match: Callable[[Sequence[File]], dict[str, File] | None]
    read: Callable[[dict[str, File], Reading], Feedback]
    source: str = "human"


def with_fields(files: Sequence[File], *names: str) -> File | None:
    """The first file that has all the fields."""
    return next((f for f in files if f.sample.has(*names)), None)

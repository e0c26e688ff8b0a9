"""Readers: containers (what rows are stored in) and formats (what rows mean)."""

from guerdon.feedback.readers.containers import Container, container_of, rows
from guerdon.feedback.readers.reading import read

__all__ = ["Container", "container_of", "read", "rows"]

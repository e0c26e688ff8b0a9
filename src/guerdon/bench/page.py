"""Reports as files: one self-contained HTML page, and what stands beside it, each complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from guerdon.errors import ConfigError


def html_page(title: str, body: str) -> str:
    """The whole page around ``body`` (HTML); ``title`` is text and is escaped here."""
    template = Template(files("guerdon.bench").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(title=escape(title), body=body)


def write_files(texts: Mapping[Path, str]) -> None:
    """Write each text beside its file and rename: a reader sees the whole file or the one before.

    Folders are made. What is not Unicode (lone surrogates of a model's answers) becomes a character reference.

    Raises
    ------
    ConfigError
        if a file cannot be written
    """
    for path, text in texts.items():
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                part.write_text(text, encoding="utf-8", errors="xmlcharrefreplace")
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            why = error.strerror or error
            raise ConfigError(f"report {path}: cannot be written ({why}); name another place") from None

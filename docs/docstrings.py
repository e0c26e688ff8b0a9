"""Docstrings as the site shows them: the reST in them becomes Markdown, aligned columns become lists.

Sources are written to be read in an editor (``name   what it is`` in aligned columns, reST roles, ``::`` before code);
this griffe extension is the one place that knows how the site renders them.
"""

import re
from itertools import groupby
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`~?(?:[\w.]*\.)?([\w]+)`")
ENTRY = re.compile(r"^( {0,3})(\S(?:\S| (?! ))*?) {2,}(?=\S)(.*)$")
RULE = re.compile(r"^=+(?: +=+)+$")
TERM = re.compile(r"^``[^`]+``$")
SECTION = re.compile(r"^(Parameters|Returns|Raises|References|Yields|Attributes|Notes|Examples)\n-+$", re.M)


def markdown(text: str) -> str:
    """``text`` with roles as code, code after ``::`` fenced by its indent, tables in fences, columns as lists."""
    end = SECTION.search(text)
    head, tail = (text, "") if end is None else (text[: end.start()], text[end.start() :])
    head, tail = ROLE.sub(r"`\1`", head), ROLE.sub(r"`\1`", tail)
    paragraphs = re.split(r"\n{2,}", head.rstrip("\n"))
    return "\n\n".join(_paragraph(p) for p in paragraphs) + (f"\n\n{tail}" if tail else "")


def _paragraph(text: str) -> str:
    lines = text.split("\n")
    if all(line.startswith("    ") for line in lines if line):
        return text
    if RULE.match(lines[0]):
        return _table(lines)
    if len(lines) > 1 and all(TERM.match(line) or line.startswith("    ") for line in lines):
        return "\n".join(_definitions(lines))
    if text.rstrip().endswith("::"):
        return text.rstrip()[:-2].rstrip() + ("" if text.strip() == "::" else ":")
    out: list[str] = []
    entries = [bool(ENTRY.match(line)) for line in lines]
    if sum(entries) < (1 if re.match(r"\w+ {2,}", lines[0]) else 2):
        return text
    for is_list, group in groupby(range(len(lines)), lambda i: any(entries[: i + 1])):
        part = [lines[i] for i in group]
        out.append("\n".join(_items(part)) if is_list else "\n".join(part))
    return "\n\n".join(out)


def _table(lines: list[str]) -> str:
    """A simple reST table; a line whose first cell is empty continues the row above."""
    starts = [m.start() for m in re.finditer(r"=+", lines[0])]
    rules = [i for i, line in enumerate(lines) if RULE.match(line)]
    rows: list[list[str]] = [] if len(rules) > 2 else [[""] * len(starts)]
    for line in (line for line in lines if not RULE.match(line)):
        cells = [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        if cells[0] or not rows:
            rows.append(cells)
        else:
            rows[-1] = [f"{old} {more}".strip() for old, more in zip(rows[-1], cells, strict=True)]
    rows.insert(1, ["---"] * len(starts))
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _definitions(lines: list[str]) -> list[str]:
    """A reST definition list whose terms are code, as list items."""
    items: list[str] = []
    for line in lines:
        if TERM.match(line):
            items.append(f"- {line}:")
        else:
            items[-1] += " " + line.strip()
    return items


def _items(lines: list[str]) -> list[str]:
    """Lines of aligned columns as list items; deeper lines continue the item before."""
    items: list[str] = []
    for line in lines:
        entry = ENTRY.match(line)
        if entry is None:
            items[-1] += " " + line.strip()
            continue
        name, what = entry[2].strip("`"), entry[3]
        items.append(f"- `{name}`: " + re.sub(r"; {2,}(\w+) {2,}", r"; `\1`: ", what))
    return items


class Docstrings(griffe.Extension):
    """Applies :func:`markdown` to every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each module, class, function and attribute once it is complete."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)

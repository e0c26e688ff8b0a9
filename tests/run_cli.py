"""The command line in this process: as a user would call it, with what it prints and its exit code."""

import io
import json
import sys
from dataclasses import dataclass
from typing import Any
from unittest import mock


@dataclass
class Result:
    """Exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)


def guerdon(*arguments: Any, stdin: str | bytes = b"") -> Result:
    """Run ``guerdon ARGUMENTS``."""
    from guerdon.cli import main

    data = stdin.encode() if isinstance(stdin, str) else stdin
    streams = {
        "stdin": io.TextIOWrapper(io.BytesIO(data), "utf-8"),
        "stdout": io.TextIOWrapper(io.BytesIO(), "utf-8"),
        "stderr": io.TextIOWrapper(io.BytesIO(), "utf-8"),
        "argv": ["guerdon", *map(str, arguments)],
    }
    code = 0
    with mock.patch.multiple(sys, **streams):
        try:
            main()
        except SystemExit as done:
            code = int(done.code or 0)
    texts = []
    for name in ("stdout", "stderr"):
        streams[name].flush()  # type: ignore[attr-defined]
        texts.append(streams[name].buffer.getvalue().decode())  # type: ignore[attr-defined]
    return Result(code, *texts)

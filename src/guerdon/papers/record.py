"""The recorded figures of the last run of each check, and the state of a paper that follows from them.

``results.json`` lies beside the modules and is written by ``guerdon reproduce SLUG --record`` only. A record carries a
digest of the code of its check: when that changes, the record no longer counts and the paper's state says so.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guerdon.errors import ConfigError, ModelError
from guerdon.papers.frame import Claim, Paper

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


@dataclass(frozen=True)
class State:
    """``works``, ``partial`` or ``planned``, why, and the recorded claim where there is one."""

    state: str
    why: str = ""
    claim: Claim | None = None


def implemented() -> list[str]:
    """Slugs of the papers that have a check, in the order of the index."""
    from guerdon.papers.index import PAPERS

    return [slug for slug in PAPERS if source(slug).is_file()]


def source(slug: str) -> Path:
    """The file that holds the check of ``slug``."""
    return HERE / f"{slug.replace('-', '_')}.py"


def digest(slug: str) -> str:
    """Names the code of a check; comments, layout and docstrings do not count."""
    tree = ast.parse(source(slug).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def read(path: Path = RESULTS) -> dict[str, Claim]:
    """Recorded claims by slug; empty where nothing has been recorded."""
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {slug: Claim.from_json(claim) for slug, claim in document.items()}
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        message = f"{path}: recorded results are damaged ({error}); delete the file and run guerdon reproduce --record"
        raise ModelError(message) from error


def write(claim: Claim, path: Path = RESULTS) -> None:
    """Record ``claim``, in place of an earlier record of the same paper."""
    claims = {**read(path), claim.slug: claim}
    save({slug: claims[slug].as_json() for slug in sorted(claims)}, path)


def save(document: Any, path: Path) -> None:
    """Write ``document`` as JSON, all of it or nothing."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {error.strerror}; choose another place with --out FILE") from error


def state(paper: Paper, claims: dict[str, Claim] | None = None) -> State:
    """The state of a paper by the recorded ``claims`` (read from the package by default)."""
    claims = read() if claims is None else claims
    claim = claims.get(paper.slug)
    if not source(paper.slug).is_file():
        return State("planned", _missing(paper.room))
    command = f"run guerdon reproduce {paper.slug} --record"
    if claim is None:
        return State("partial", f"its check has not been recorded; {command}")
    if claim.digest != digest(paper.slug):
        return State("partial", f"its check changed after it was recorded; {command}", claim)
    return State(claim.state, claim.why, claim)


def _missing(room: str) -> str:
    """Why a planned paper is planned: the rooms it needs that do not exist yet, or that its check is to be written."""
    if room == "survey":
        return "a survey: its checks run over the rooms it maps, not all of them built yet"
    absent = [r for r in room.split(" + ") if not _exists(r)]
    return f"needs {' and '.join(f'{r}/' for r in absent)}, not built yet" if absent else "its check is not written yet"


def _exists(room: str) -> bool:
    place = HERE.parent / room
    return place.is_dir() or place.with_suffix(".py").is_file()

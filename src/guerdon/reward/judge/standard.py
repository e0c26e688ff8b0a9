"""What good means to a judge: a yes/no question, principles, or a rubric of weighted criteria.

To add a way to judge that is written for each question (criteria written per prompt, principles a model writes itself):
subclass :class:`WrittenStandard`, and list it in ``WRITTEN`` of :mod:`.spec` for ``judge:...?by=NAME``. Every protocol
asks ``standard.each(...)`` for what its questions are judged by, so nothing else has to change.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guerdon.errors import ConfigError, need
from guerdon.feedback.messages import Text
from guerdon.feedback.schema import Candidates

KINDS = ("question", "principles", "rubric")
QUESTION = "Is this a helpful, correct and honest answer to the request?"


@dataclass(frozen=True)
class Criterion:
    """One thing to look at. ``weight`` is its share of the score, a number above 0."""

    text: str
    name: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Standard:
    """What a judge judges by; make one with :meth:`question`, :meth:`principles` or :meth:`rubric`.

    A question and a list of principles are judged as a whole, each criterion of a rubric by itself.
    """

    kind: str
    criteria: tuple[Criterion, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"by={self.kind!r}: a judge judges by one of {', '.join(KINDS)}")
        if not self.criteria:
            raise ConfigError(f"an empty {self.kind}: say what a good response is")
        for c in self.criteria:
            if not c.text.strip():
                raise ConfigError(f"{self.kind}: criterion {c.name!r} has no text")
            if not (math.isfinite(c.weight) and c.weight > 0):
                raise ConfigError(f"{self.kind}: criterion {c.name!r} has weight {c.weight}; use a number above 0")
        names = [c.name for c in self.criteria]
        if self.kind == "rubric" and len(set(names)) < len(names):
            raise ConfigError("rubric: two criteria have the same name")

    def each(self, candidates: Candidates, shown: Sequence[Sequence[Text]] | None = None) -> Standards:
        """The same standard for every question; see :meth:`WrittenStandard.each`."""
        return Standards([self] * len(candidates))

    @property
    def identity(self) -> Any:
        """JSON-ready; changes with whatever verdicts depend on."""
        return [self.kind, [[c.name, c.text, c.weight] for c in self.criteria]]

    @classmethod
    def question(cls, text: str = QUESTION) -> Standard:
        """One question that "yes" to is good."""
        return cls("question", (Criterion(text, "question"),))

    @classmethod
    def principles(cls, texts: Sequence[str]) -> Standard:
        """Principles that a good response follows, judged together."""
        return cls("principles", tuple(Criterion(str(t), f"principle {i + 1}") for i, t in enumerate(texts)))

    @classmethod
    def rubric(cls, criteria: Sequence[Any]) -> Standard:
        """Criteria: texts, or objects with ``text`` (or ``criterion``), and optionally ``name`` and ``weight``."""
        return cls("rubric", tuple(_criterion(c, i) for i, c in enumerate(criteria)))

    @classmethod
    def read(cls, kind: str, path: str | Path) -> Standard:
        """A standard from a file: .json, .yaml/.yml (a list, or an object with a list under the kind's name), or text.

        In a text file a question is the whole text; principles and criteria are its lines.
        """
        file = Path(path)
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {file}: {error}") from None
        if file.suffix not in (".json", ".yaml", ".yml"):
            return cls.of(kind, text.strip() if kind == "question" else [s for s in text.splitlines() if s.strip()])
        found = _parsed(text, file)
        for name in (kind, "criteria"):
            if isinstance(found, Mapping) and name in found:
                found = found[name]
        return cls.of(kind, found, str(file))

    @classmethod
    def of(cls, kind: str, given: Any, where: str = "judge") -> Standard:
        """The standard of a kind from plain data: a text for a question, a list otherwise."""
        if kind == "question":
            if not isinstance(given, str):
                raise ConfigError(f"{where}: a question is a text, not a {type(given).__name__}")
            return cls.question(given)
        if not isinstance(given, list | tuple):
            raise ConfigError(f"{where}: {kind} is a list, not a {type(given).__name__}")
        return cls.principles(given) if kind == "principles" else cls.rubric(given)


@dataclass(frozen=True)
class Standards:
    """What each of n questions is judged by.

    standard  [n] None where none could be written: the row is then unscored, with the status and the reason
    status    [n] as in :class:`~guerdon.reward.base.Scores`; derived from None (``failed``) when not given
    reason    [n] why there is none
    cost      totals of writing them
    """

    standard: Sequence[Standard | None]
    status: Sequence[str] = ()
    reason: Sequence[str | None] = ()
    cost: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.status):
            object.__setattr__(self, "status", ["failed" if s is None else "scored" for s in self.standard])
        if not len(self.reason):
            reasons = [None if s is not None else "no standard was written" for s in self.standard]
            object.__setattr__(self, "reason", reasons)


class WrittenStandard:
    """A standard that is written for each question. Subclasses implement :meth:`each` and :attr:`identity`.

    A subclass that ``judge:`` specifications open is made as ``cls(model, **options)``: the judge's language model, and
    keyword-only options of its own.
    """

    def each(self, candidates: Candidates, shown: Sequence[Sequence[Text]] | None = None) -> Standards:
        """What each question is judged by.

        candidates  [n] the prompt, user, criterion and reference of each question (and one response)
        shown       [n] the responses that the question shows together; None: only the candidate's own
        """
        raise NotImplementedError

    @property
    def identity(self) -> Any:
        """JSON-ready; changes with whatever verdicts depend on (prompt versions, settings, the writer's model)."""
        raise NotImplementedError


def _criterion(given: Any, i: int) -> Criterion:
    if isinstance(given, Criterion):
        return given
    if isinstance(given, str):
        return Criterion(given, f"criterion {i + 1}")
    if not isinstance(given, Mapping) or not isinstance(given.get("text", given.get("criterion")), str):
        raise ConfigError(f"rubric: criterion {i + 1} needs a text, e.g. {{text: ..., weight: 2}}")
    weight = given.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise ConfigError(f"rubric: criterion {i + 1} has weight {weight!r}; use a number above 0")
    text = str(given.get("text", given.get("criterion")))
    return Criterion(text, str(given.get("name") or f"criterion {i + 1}"), float(weight))


def _parsed(text: str, file: Path) -> Any:
    if file.suffix == ".json":
        try:
            return json.loads(text)
        except ValueError as error:
            raise ConfigError(f"{file} is not JSON: {error}") from None
    try:
        import yaml
    except ImportError:
        raise need("PyYAML", "text") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is not YAML: {' '.join(str(error).split())}") from None

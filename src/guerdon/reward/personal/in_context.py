"""What a judge is shown of a person: a written persona and some of their own choices with the reasons found for them.

Demographics play no part: both come from the person's own comparisons (:mod:`.in_context_learning`). The file is JSON
and meant to be read and edited by whom it is about::

    {"guerdon_personas": 1,
     "people": {"u17": {"persona": "...",
                        "choices": [{"request": "...", "chosen": "...", "other": "...", "reasoning": "..."}],
                        "report": {...}}}}

Reference: Ryan et al. 2025, SynthesizeMe, https://arxiv.org/abs/2506.05598
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Text, as_text

VERSION = 1
MARK = "guerdon_personas"


@dataclass(frozen=True)
class Choice:
    """One of a person's own choices. ``reasoning`` is empty where only the choice is shown."""

    request: Text
    chosen: Text
    other: Text
    reasoning: str = ""

    def blocks(self, number: int) -> list[tuple[str, str]]:
        """Named texts for a question; the names say which response was chosen."""
        called = f"earlier choice {number}"
        out = [
            (f"{called}, request", as_text(self.request)),
            (f"{called}, what they chose", as_text(self.chosen)),
            (f"{called}, what they did not choose", as_text(self.other)),
        ]
        return [*out, (f"{called}, why", self.reasoning)] if self.reasoning else out

    @property
    def size(self) -> int:
        """Characters."""
        return sum(len(text) for _, text in self.blocks(1))


@dataclass(frozen=True)
class PersonalPrompt:
    """What a judge is shown of one person; with neither persona nor choices it judges as for anybody.

    report   how it came about: accuracy of every candidate on the choices held out, what was left out
    """

    persona: str = ""
    choices: tuple[Choice, ...] = ()
    report: Mapping[str, Any] = field(default_factory=dict)

    def blocks(self) -> list[tuple[str, str]]:
        """Named texts for a question: the persona first, then the choices, the earliest first."""
        out = [("person", self.persona)] if self.persona else []
        return out + [block for i, choice in enumerate(self.choices) for block in choice.blocks(i + 1)]

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        choices = [{k: v for k, v in vars(c).items() if v != ""} for c in self.choices]
        return {"persona": self.persona, "choices": choices, "report": dict(self.report)}


def write_personas(people: Mapping[str, PersonalPrompt], path: str | Path) -> None:
    """Write a file of personas; an existing one is replaced whole or not at all.

    Raises
    ------
    ConfigError
        if it cannot be written
    """
    from guerdon.feedback.writers import replacing

    document = {MARK: VERSION, "people": {user: prompt.as_json() for user, prompt in people.items()}}
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    try:
        with replacing(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror or error}); name another place") from None


def read_personas(path: str | Path) -> dict[str, PersonalPrompt]:
    """The people of a file of personas.

    Raises
    ------
    ConfigError
        saying which person and field is wrong
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"personas {path}: cannot be read ({error}); make one with guerdon persona learn") from None
    people = document.get("people") if isinstance(document, Mapping) else None
    if not isinstance(people, Mapping) or document.get(MARK) != VERSION:
        raise ConfigError(f"personas {path}: not a file of guerdon persona learn (no {MARK}: {VERSION})")
    return {str(user): _prompt(given, f"personas {path}: {user}") for user, given in people.items()}


def _prompt(given: Any, where: str) -> PersonalPrompt:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: expected an object with persona and choices")
    persona, choices, report = given.get("persona", ""), given.get("choices", []), given.get("report", {})
    if not isinstance(persona, str):
        raise ConfigError(f"{where}: persona is a text, not a {type(persona).__name__}")
    if not isinstance(choices, Sequence) or isinstance(choices, str):
        raise ConfigError(f"{where}: choices is a list, not a {type(choices).__name__}")
    out = []
    for i, choice in enumerate(choices):
        if not isinstance(choice, Mapping) or not all(choice.get(k) for k in ("request", "chosen", "other")):
            raise ConfigError(f"{where}: choice {i + 1} needs request, chosen and other")
        reasoning = choice.get("reasoning", "")
        if not isinstance(reasoning, str):
            raise ConfigError(f"{where}: choice {i + 1}: reasoning is a text, not a {type(reasoning).__name__}")
        out.append(Choice(choice["request"], choice["chosen"], choice["other"], reasoning))
    return PersonalPrompt(persona, tuple(out), report if isinstance(report, Mapping) else {})

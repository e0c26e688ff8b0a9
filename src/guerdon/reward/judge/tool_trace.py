"""What a judge did with its tools on one response, and the sequence that a model is trained on or reads it as.

::

    request, response <start_tool> Thought: ... Action: ... Action Input: ...
    <start_observation> Observation: ... <start_tool> ... <start_work> Work: the rationale

The parts are kept apart by kind, so that a loss can weigh them (observations come from tools, and are mostly not
trained on). Texts of others cannot open a part: the marks are taken out of them.

Reference: Li et al. 2023, Tool-Augmented Reward Modeling, https://arxiv.org/abs/2310.01045.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from guerdon.reward.judge.tools import Observation

MARKS = ("<start_tool>", "<start_observation>", "<start_work>")
_MARK = re.compile("|".join(MARKS), re.I)


@dataclass(frozen=True)
class Step:
    """One turn: a thought, the tool that was called (None where the reply said none), its arguments, what came back."""

    thought: str
    action: str | None
    arguments: Any
    observation: Observation

    @property
    def written(self) -> str:
        """The turn as the model wrote it."""
        return f"Thought: {self.thought}\nAction: {self.action or 'none'}\nAction Input: {self.given}"

    @property
    def given(self) -> str:
        """The arguments as JSON text."""
        return json.dumps(self.arguments, ensure_ascii=False)


@dataclass
class Trace:
    """The turns before a verdict.

    steps      in order
    thought    why no more tools were called
    partial    why the tools' word is not complete: an error that no later result made up for, an observation that was
               cut, too many turns; None where it is
    lost       (status, reason) where the language model could not be asked, and there can be no verdict
    """

    steps: list[Step] = field(default_factory=list)
    thought: str = ""
    partial: str | None = None
    lost: tuple[str, str | None] | None = None

    def finish(self, stopped: str | None = None) -> None:
        """Say whether it is complete; ``stopped``: why it had to end."""
        worked = max((k for k, s in enumerate(self.steps) if not s.observation.error), default=-1)
        errors = [s.observation.text for s in self.steps[worked + 1 :]]
        short = ["an observation was cut"] if any(s.observation.short for s in self.steps) else []
        why = ([stopped] if stopped else []) + errors[-1:] + short
        self.partial = f"partial: {'; '.join(why)}" if why else None

    def blocks(self, of: str = "") -> list[tuple[str, str]]:
        """Named texts for a question, two a step; ``of`` says which response they are about."""
        out: list[tuple[str, str]] = []
        for k, step in enumerate(self.steps, 1):
            out += [(f"tool call {k}{of}", step.written), (f"result {k}{of}", step.observation.text)]
        return out

    @property
    def said(self) -> dict[str, Any]:
        """JSON-ready; arguments are text, so that traces of different tools have the same columns in a table."""
        steps = [
            {
                "thought": s.thought,
                "action": s.action,
                "action_input": s.given,
                "observation": s.observation.text,
                "error": s.observation.error,
            }
            for s in self.steps
        ]
        return {"steps": steps, "thought": self.thought, "partial": self.partial}


def sequence(request: str, response: str, steps: Sequence[Step], rationale: str = "") -> list[tuple[str, str]]:
    """(kind, text) in order; kinds are ``prompt``, ``tool``, ``observation`` and ``work``. Joined they are the text."""
    tool, observation, work = MARKS
    parts = [("prompt", f"Question: {_plain(request)}\nAnswer: {_plain(response)}\n")]
    for step in steps:
        parts.append(("tool", f"{tool}{_plain(step.written)}\n"))
        parts.append(("observation", f"{observation}Observation: {_plain(step.observation.text)}\n"))
    return [*parts, ("work", f"{work}Work: {_plain(rationale)}")]


def _plain(text: str) -> str:
    return _MARK.sub(lambda m: f"‹{m[0][1:-1]}›", text)

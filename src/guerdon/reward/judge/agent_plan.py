"""The router: which checks a request needs, decided before any response is looked at.

One call a request, on the request alone, so that no response can talk its way out of a check. A reply without a plan
is asked for again; then every check that is at hand is run, and the row says so. A check that the plan asks for and
that is not at hand is named, because the score then lacks something that it should have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guerdon.generate.base import LanguageModel
from guerdon.reward.judge.agent_asking import FAILED, Task, ask, last_object, object_schema, question, texts_of
from guerdon.reward.judge.templates import Question

KNOWN: Mapping[str, str] = {
    "constraints": "the request sets limits on form that a program could check in the text alone: length, number of "
    "paragraphs or items, words that must or must not occur, format, case, punctuation",
    "facts": "a good response rests on facts that can be looked up and could be stated wrongly",
}
"""Checks that a plan may ask for, whether or not they are at hand, and when each is needed."""

PLAN = """\
Which of these checks do responses to the request need? Ask for a check only where it can tell a good response from a \
bad one. No response has been written yet.
{% for name, when in checks %}- {{ name }}: {{ when }}
{% endfor %}
Reply with a JSON object: "reason", a sentence; and "checks", a list of the names of the checks that are needed, empty \
where none is."""

SCHEMA = object_schema("plan", {"reason": {"type": "string"}, "checks": {"type": "array", "items": {"type": "string"}}})


@dataclass(frozen=True)
class Plan:
    """What is checked for one request.

    checks   names of agents to call
    absent   names of checks that were asked for and are not at hand
    reason   of the planner, or why there is no plan of its own
    guessed  whether the planner gave no plan, so that everything is checked
    trouble  (status, reason) where the language model could not be asked
    """

    checks: tuple[str, ...]
    absent: tuple[str, ...] = ()
    reason: str = ""
    guessed: bool = False
    trouble: tuple[str, str | None] | None = None


class Router:
    """Plans checks.

    Parameters
    ----------
    installed : name of each agent at hand -> when it is needed
    tries : how often a reply without a plan is asked for again, the first time included
    """

    def __init__(self, model: LanguageModel, installed: Mapping[str, str], *, tries: int = 2) -> None:
        self.model, self.installed, self.tries = model, dict(installed), tries
        self.offered = {**KNOWN, **self.installed}

    def plans(self, tasks: Sequence[Task]) -> tuple[list[Plan], dict[str, float]]:
        """A plan a task, and what planning cost; the same request is asked about once."""
        if not self.installed:
            return [Plan(()) for _ in tasks], {}
        questions = [question(PLAN, task.asked, checks=list(self.offered.items())) for task in tasks]
        told, cost = ask(self.model, questions, self._read, schema=SCHEMA, tries=self.tries)
        plans = []
        for one in told:
            if one.value is not None:
                plans.append(one.value)
            elif one.status in FAILED:
                plans.append(Plan((), trouble=(one.status, one.reason)))
            else:
                why = f"no plan ({one.reason}): every check is run"
                plans.append(Plan(tuple(self.installed), reason=why, guessed=True))
        return plans, cost

    def _read(self, text: str, _: Question) -> Plan:
        said = last_object(text, ("reason", "checks"))
        names = list(dict.fromkeys(name.casefold() for name in texts_of(said["checks"], "checks")))
        absent = tuple(name for name in names if name not in self.installed)
        return Plan(tuple(name for name in self.installed if name in names), absent, str(said["reason"]))

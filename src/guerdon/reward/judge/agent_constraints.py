"""The instruction-following agent: hard constraints of a request, each checked by code that a language model writes.

1. *Extract*: the constraints of the request that can be seen in the text alone, at most ``most``.
2. *Screen*: each is kept if the model says yes to "it is about the surface, and a program decides it for sure".
3. *Write*: ``check_following(response) -> bool`` for each, once a request, for all responses.
4. *Run* in a limited process (:mod:`.agent_checkers`). Code that fails goes back to the coder with what went wrong,
   ``repairs`` times.

The signal is the share of the constraints that a response follows. A checker that still fails on every response is left
out, and named; one that works on others and fails on a response (a text made to hang it) counts as not followed there.
Without a checker that works nothing is said: no 0.5 stands in for it.

Reference: Peng et al. 2025, Agentic Reward Modeling, https://arxiv.org/abs/2502.19328.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.generate.base import LanguageModel
from guerdon.reward.judge.agent_asking import (
    FAILED,
    Finding,
    Task,
    Told,
    Unreadable,
    ask,
    last_object,
    object_schema,
    question,
)
from guerdon.reward.judge.agent_checkers import Checked, run_checker
from guerdon.reward.judge.agent_extraction import EXTRACT, EXTRACTED, Checker, read_constraints
from guerdon.reward.judge.agent_plan import KNOWN
from guerdon.reward.judge.asking import total
from guerdon.reward.judge.templates import Question
from guerdon.reward.verify.programs import fenced

SCREEN = """\
Is this constraint about the surface of a text, so that a program that sees nothing but the text can decide for sure \
whether it is met?

Reply with a JSON object: "answer", yes or no."""

WRITE = """\
Write a Python function check_following(response: str) -> bool that says whether a response to the request follows the \
constraint. It gets nothing but the response's text, uses the standard library alone, and neither files nor network. \
It returns True or False for every text. Count as a person would: ignore differences of case unless the request says \
otherwise.
{% if again %}
The code above was tried and failed, with the error above. Write it again without the mistake.
{% endif %}
Reply with one block of Python code."""

ANSWER = object_schema("screened", {"answer": {"type": "string", "enum": ["yes", "no"]}})


class ConstraintAgent:
    """Checks hard constraints by generated code.

    Parameters
    ----------
    coder : the language model that writes code; None is the one that extracts
    most : most constraints of a request
    repairs : how often failing code goes back to the coder
    seconds : wall time of one checker on all responses of a list
    memory_mb : most memory of one checker
    workers : checkers run at a time; None is the number of processors
    tries : how often a reply that says nothing is asked for again, the first time included
    """

    name = "constraints"
    says = KNOWN["constraints"]

    def __init__(
        self,
        model: LanguageModel,
        *,
        coder: LanguageModel | None = None,
        most: int = 8,
        repairs: int = 2,
        seconds: float = 5.0,
        memory_mb: int = 512,
        workers: int | None = None,
        tries: int = 2,
    ) -> None:
        for what, value, low in (("most", most, 1), ("repairs", repairs, 0), ("tries", tries, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ConfigError(f"{what}={value!r}: use a whole number of at least {low}")
        if not seconds > 0 or memory_mb < 32:
            raise ConfigError(f"seconds={seconds}, memory_mb={memory_mb}: use > 0 and >= 32")
        if os.name != "posix":
            raise ConfigError("the constraints agent runs code and needs a system with process limits (Linux, macOS)")
        self.model, self.coder = model, coder or model
        self.most, self.repairs, self.seconds, self.memory_mb = most, repairs, seconds, memory_mb
        self.workers, self.tries = workers, tries
        self._written: dict[Any, list[Checker]] = {}

    @property
    def identity(self) -> Any:
        """What the findings depend on."""
        said = [self.most, self.repairs, self.seconds, self.memory_mb, self.tries]
        return [self.name, EXTRACT, SCREEN, WRITE, self.model.identity, self.coder.identity, said]

    def check(self, tasks: Sequence[Task]) -> tuple[list[Finding], dict[str, float]]:
        """The share of constraints that each response follows."""
        made, cost = self._checkers(tasks)
        work = [(t, c) for t, one in enumerate(made) if isinstance(one, list) for c in one]
        done, more = self._run(tasks, work)
        findings, at = [], 0
        for t, one in enumerate(made):
            if isinstance(one, Told):
                state = one.status if one.status in FAILED else "abstained"
                findings.append(Finding(None, state, one.reason))
                continue
            mine, at = done[at : at + len(one)], at + len(one)
            findings.append(_finding(len(tasks[t].responses), mine))
        return findings, total(cost, more)

    # ------------------------------------------------------------------ writing checkers

    def _checkers(self, tasks: Sequence[Task]) -> tuple[list[list[Checker] | Told], dict[str, float]]:
        """The checkers of each task's request, or why there are none; a request's are written once."""
        key = [task.asked for task in tasks]
        new = {k: task for k, task in zip(reversed(key), reversed(tasks), strict=True) if k not in self._written}
        lost: dict[Any, Told] = {}
        cost: dict[str, float] = {}
        if new:
            fresh = list(new.values())
            told, cost = self._extract(fresh)
            found = [(k, c) for k, one in enumerate(told) for c in one.value or ()]
            screened, more = self._screen([c for _, c in found])
            cost = total(cost, more)
            kept = [one for one, said in zip(found, screened, strict=True) if said.value]
            coded, more = self._write([(fresh[k], c, None) for k, c in kept])
            cost = total(cost, more)
            replies = [*enumerate(told), *((k, said) for (k, _), said in zip(found, screened, strict=True))]
            replies += [(k, c) for (k, _), c in zip(kept, coded, strict=True) if isinstance(c, Told)]
            down = {k: one for k, one in reversed(replies) if one.status in FAILED}
            for k, (name, one) in enumerate(zip(new, told, strict=True)):
                if one.value is None or k in down:
                    lost[name] = down.get(k, one)
                else:
                    self._written[name] = []
            names = list(new)
            for (k, _), checker in zip(kept, coded, strict=True):
                if isinstance(checker, Checker) and names[k] in self._written:
                    self._written[names[k]].append(checker)
        return [self._written[k] if k in self._written else lost[k] for k in key], cost

    def _extract(self, tasks: Sequence[Task]) -> tuple[list[Told], dict[str, float]]:
        questions = [question(EXTRACT, task.asked, most=self.most) for task in tasks]
        return ask(self.model, questions, self._read, schema=EXTRACTED, tries=self.tries)

    def _read(self, text: str, _: Question) -> list[Checker]:
        return read_constraints(text)[: self.most]

    def _screen(self, found: Sequence[Checker]) -> tuple[list[Told], dict[str, float]]:
        """Whether each is kept; one about which the model says nothing is not checked."""

        def read(text: str, _: Question) -> bool:
            answer = str(last_object(text, ("answer",))["answer"]).strip().casefold()
            if answer not in ("yes", "no"):
                raise Unreadable("neither yes nor no")
            return answer == "yes"

        questions = [question(SCREEN, [("constraint", c.description)]) for c in found]
        return ask(self.model, questions, read, schema=ANSWER, tries=self.tries)

    def _write(
        self, wanted: Sequence[tuple[Task, Checker, str | None]], since: int = 0
    ) -> tuple[list[Checker | Told], dict[str, float]]:
        """Code for each constraint; with an error, which may quote a response, code again."""
        questions = []
        for task, checker, error in wanted:
            blocks = [*task.asked, ("constraint", checker.description)]
            if error is not None:
                blocks += [("code", checker.code), ("error", error)]
            questions.append(question(WRITE, blocks, again=error is not None))
        told, cost = ask(self.coder, questions, lambda text, _: fenced(text), tries=1, since=since)
        out: list[Checker | Told] = []
        for (_, checker, error), said in zip(wanted, told, strict=True):
            if said.status in FAILED:
                out.append(said)
            elif said.value is None:
                out.append(replace(checker, trouble=f"no code: {said.reason}"))
            else:
                out.append(replace(checker, code=said.value, repaired=checker.repaired + (error is not None)))
        return out, cost

    # ------------------------------------------------------------------ running them

    def _run(
        self, tasks: Sequence[Task], work: Sequence[tuple[int, Checker]]
    ) -> tuple[list[tuple[Checker, Checked]], dict[str, float]]:
        """Each checker on its task's responses; one that fails is repaired and run again."""
        cost: dict[str, float] = {}

        def run(one: tuple[int, Checker]) -> Checked:
            t, checker = one
            if not checker.code:
                n = len(tasks[t].responses)
                return Checked((None,) * n, (checker.trouble or "no code",) * n)
            return run_checker(checker.code, tasks[t].responses, seconds=self.seconds, memory_mb=self.memory_mb)

        with ThreadPoolExecutor(self.workers or os.cpu_count() or 1) as pool:
            done = [(c, ran) for (_, c), ran in zip(work, pool.map(run, work), strict=True)]
            for tried in range(self.repairs):
                broken = [k for k, (_, ran) in enumerate(done) if ran.failure is not None]
                if not broken:
                    break
                again = [(tasks[work[k][0]], done[k][0], done[k][1].failure) for k in broken]
                coded, more = self._write(again, since=tried)
                cost = total(cost, more)
                usable = [(k, c) for k, c in zip(broken, coded, strict=True) if isinstance(c, Checker)]
                ran = pool.map(run, [(work[k][0], c) for k, c in usable])
                for (k, checker), now in zip(usable, ran, strict=True):
                    if _failures(now) <= _failures(done[k][1]):
                        done[k] = (checker, now)
        return done, cost


def _failures(ran: Checked) -> int:
    return sum(t is not None for t in ran.trouble)


def _finding(n: int, ran: Sequence[tuple[Checker, Checked]]) -> Finding:
    rows, listed = [], []
    for checker, said in ran:
        works = any(f is not None for f in said.followed)
        listed.append(
            {
                "name": checker.name,
                "description": checker.description,
                "code": checker.code,
                "repaired": checker.repaired,
                "followed": list(said.followed),
                "trouble": said.failure,
                "counts": works,
            }
        )
        if works:  # who makes a checker fail that works for others does not follow it
            rows.append([float(f is True) for f in said.followed])
    trace = {"checkers": listed}
    if not ran:
        return Finding(None, "nothing", "no constraint that a program could check", trace)
    if not rows:
        return Finding(None, "abstained", f"no checker works ({ran[0][1].failure})", trace)
    return Finding(np.array(rows).reshape(len(rows), n).mean(0), "scored", None, trace)

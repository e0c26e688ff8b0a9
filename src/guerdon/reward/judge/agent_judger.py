"""The judger: a preference and the signals of checks become one score a response.

A base reward may have any unit, and checks are in [0, 1]; added as they are, one of them decides alone. So the
preference is brought to [0, 1] among the responses of its own list first (``calibrate``), which no change of its scale
or zero can affect:

    rank   share of the list that it beats, ties half and itself half: of two the better one gets 3/4
    z      Phi((r - mean) / standard deviation), 1/2 where all are equal
    none   as it is, for a base that is in [0, 1] already

Then, with s_i the signals that are there and w_i their weights,

    sum    sum_i w_i s_i / sum_i w_i                          (weights 1)
    vote   share of the weight of those signals by which it is the best, ties shared out   (facts 1.2, constraints 1.1,
           preference 1)
    lm     a language model sees the signals and grades; facts come before constraints, those before preference

Of two responses a preference is worth half a check in the sum: it gives way to a constraint broken, and not to one of
three. Where any broken constraint is to decide, vote, or give constraints more weight.

Reference: Peng et al. 2025, Agentic Reward Modeling, https://arxiv.org/abs/2502.19328.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.generate.base import LanguageModel
from guerdon.reward.judge.agent_asking import Finding, Task, Told, Unreadable, ask
from guerdon.reward.judge.agent_plan import Plan
from guerdon.reward.judge.list_verdicts import read_list
from guerdon.reward.judge.standard import Criterion
from guerdon.reward.judge.templates import Question, list_schema, render

CALIBRATIONS = ("rank", "z", "none")
JUDGERS = ("sum", "vote", "lm")
PREFERENCE = "preference"
VOTES: Mapping[str, float] = {"facts": 1.2, "constraints": 1.1, PREFERENCE: 1.0}
"""Weights of a vote; checks that are not named have that of constraints."""
GRADES = [str(g) for g in range(1, 11)]

PRIORITY = Criterion(
    'Grade the responses as a whole. Between the lines of "signals" stands what was found on each, from 0 to 1. Facts '
    "come first: a response with more of them right is better. Among those that are alike in this, one that follows "
    "more of the request's constraints is better. Where both are alike, the preference decides. What was not checked "
    "does not count."
)


@dataclass
class Judged:
    """What was found on one list of n distinct responses, and what it comes to.

    value      float64 [n] in [0, 1]; NaN where a response has none
    signals    by name, the calibrated preference first, float64 [n]
    raw        float64 [n] the preference as the base gave it
    partial    checks that are missing, and why
    trouble    [n] (status, reason) of a response without a value
    """

    plan: Plan
    findings: dict[str, Finding] = field(default_factory=dict)
    signals: dict[str, np.ndarray] = field(default_factory=dict)
    raw: np.ndarray = field(default_factory=lambda: np.empty(0))
    value: np.ndarray = field(default_factory=lambda: np.empty(0))
    partial: list[str] = field(default_factory=list)
    trouble: list[tuple[str, str | None]] = field(default_factory=list)

    @property
    def reason(self) -> str | None:
        """What a scored row has to say."""
        return f"partial: {'; '.join(self.partial)}" if self.partial else None

    def trace(self) -> dict[str, Any]:
        """JSON-ready: the plan, and what each agent did."""
        plan = {"checks": list(self.plan.checks), "absent": list(self.plan.absent), "reason": self.plan.reason}
        found = {k: {"state": f.state, "reason": f.reason, **f.trace} for k, f in self.findings.items()}
        return {"plan": plan, **found}


def calibrated(r: np.ndarray, how: str) -> np.ndarray:
    """float64 [n] the preferences ``r`` of one list in [0, 1]; NaN stays NaN and is not counted."""
    known = ~np.isnan(r)
    out = np.full(len(r), np.nan)
    x = r[known]
    if how == "none" or not len(x):
        return r.astype(np.float64)
    if how == "rank":
        out[known] = ((x[:, None] > x).sum(1) + 0.5 * (x[:, None] == x).sum(1)) / len(x)
        return out
    spread = float(x.std())
    z = (x - x.mean()) / spread if spread > 1e-12 * max(1.0, float(np.abs(x).max())) else np.zeros(len(x))
    out[known] = [0.5 * math.erfc(-v / math.sqrt(2)) for v in z]
    return out


def weights_of(given: Mapping[str, float] | str | None, judger: str) -> dict[str, float]:
    """The weights by signal: the defaults of the judger, and those ``given`` (``facts=2,preference=0.5`` as text)."""
    weights = dict(VOTES) if judger == "vote" else dict.fromkeys(VOTES, 1.0)
    if isinstance(given, str):
        pairs = [item.partition("=") for item in filter(None, given.replace(" ", "").split(","))]
        try:
            given = {name: float(number) for name, _, number in pairs}
        except ValueError:
            raise ConfigError(f"weights={given!r}: write facts=2,preference=0.5") from None
    for name, weight in (given or {}).items():
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not (math.isfinite(weight) and weight >= 0):
            raise ConfigError(f"weights: {name} has {weight!r}; use a number of at least 0")
        weights[name] = float(weight)
    return weights


def weight_of(weights: Mapping[str, float], name: str) -> float:
    """The weight of a signal; a check that is not named has that of constraints."""
    return weights.get(name, weights["constraints"])


def combined(signals: Mapping[str, np.ndarray], weights: Mapping[str, float], judger: str = "sum") -> np.ndarray:
    """float64 [n] in [0, 1] from signals [n] by name; NaN where a signal of weight is NaN, or none has weight."""
    heavy = [(weight_of(weights, name), s) for name, s in signals.items() if weight_of(weights, name) > 0]
    n = len(next(iter(signals.values())))
    if not heavy:
        return np.full(n, np.nan)
    whole = sum(w for w, _ in heavy)
    value = np.zeros(n)
    for w, s in heavy:
        share = s
        if judger == "vote":
            known = ~np.isnan(s)
            best = s == (s[known].max() if known.any() else np.nan)
            share = np.where(known, best / max(best.sum(), 1), np.nan)
        value = value + w * share / whole
    return value


class LMJudger:
    """Grades of a language model that sees the responses and the signals on each."""

    def __init__(self, model: LanguageModel, *, tries: int = 2) -> None:
        self.model, self.tries = model, tries

    def judge(
        self, tasks: Sequence[Task], signals: Sequence[Mapping[str, np.ndarray]]
    ) -> tuple[list[Told], dict[str, float]]:
        """Grades / 10 of each list, float64 [n], and the cost."""
        questions = []
        for task, found in zip(tasks, signals, strict=True):
            lines = [
                f"response {i + 1}: " + ", ".join(f"{name} {s[i]:.2f}" for name, s in found.items())
                for i in range(len(task.responses))
            ]
            shown = [(f"response {i + 1}", text) for i, text in enumerate(task.responses)]
            blocks = [*task.asked, ("signals", "\n".join(lines)), *shown]
            questions.append(render("listwise", "list-json", "question", [PRIORITY], blocks, GRADES, give="grades"))
        size = {q.code: len(task.responses) for q, task in zip(questions, tasks, strict=True)}

        def read(text: str, asked: Question) -> np.ndarray:
            verdict = read_list(text, asked.code, size[asked.code], "grades", GRADES)
            if verdict.grades is None:
                raise Unreadable(f"no grades in the reply ({verdict.trouble})")
            return np.array(verdict.grades) / 10

        return ask(self.model, questions, read, schema=list_schema("grades", GRADES), tries=self.tries)


def told(of: Judged, j: int) -> str:
    """What was found on response j of a list, in a line."""
    parts = [f"{name} {signal[j]:.2f}" for name, signal in of.signals.items()]
    for checker in of.findings["constraints"].trace.get("checkers", ()) if "constraints" in of.findings else ():
        said = checker["followed"][j]
        parts.append(f"{checker['name']}: {'failed' if said is None else 'followed' if said else 'not followed'}")
    missing = [f"without {name} ({f.reason})" for name, f in of.findings.items() if f.value is None]
    return ", ".join(parts + missing)

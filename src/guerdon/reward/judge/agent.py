"""A routed agent: a preference, and checks of facts and of constraints where the request needs them.

    r(x, y) = (w_p p(x, y) + sum over checks i in plan(x) of w_i s_i(x, y)) / (sum of the weights)

Of each list of responses to a request x: the router (:mod:`.agent_plan`) decides from the request alone which checks to
run, the agents run them (:mod:`.agent_facts`, :mod:`.agent_constraints`, or any
:class:`~.agent_asking.VerificationAgent`), the base reward says what it prefers, and the judger (:mod:`.agent_judger`)
brings it all to one score in [0, 1] and adds it up. A preference knows what people like and is easily pleased by
fluency; a check knows one thing, and only where there is something to check.

A check that cannot be done (no evidence, no checker that works, one that is not installed) is left out with its weight,
for all responses of the list alike; the row is scored and its reason begins with ``partial``. Where the language model
could not be asked at all, the row is unscored. Facts are found by comparing, so the reward ranks and prefers; it has no
score of one response alone.

Reference: Peng et al. 2025, Agentic Reward Modeling: Integrating Human Preferences with Verifiable Correctness Signals
for Reliable Reward Systems, https://arxiv.org/abs/2502.19328.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import as_text, pack
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel
from guerdon.reward.base import Reward, Scores
from guerdon.reward.judge import agent_plan, templates
from guerdon.reward.judge.agent_asking import FAILED, Task, VerificationAgent
from guerdon.reward.judge.agent_constraints import ConstraintAgent
from guerdon.reward.judge.agent_facts import FactAgent, Search
from guerdon.reward.judge.agent_judger import (
    CALIBRATIONS,
    JUDGERS,
    PREFERENCE,
    PRIORITY,
    Judged,
    LMJudger,
    calibrated,
    combined,
    told,
    weights_of,
)
from guerdon.reward.judge.agent_plan import Plan, Router
from guerdon.reward.judge.asking import total
from guerdon.reward.judge.pairwise import PairwiseJudge, lists_of
from guerdon.reward.verify.rule import last_text

CHECKS = ("constraints", "facts")


class RewardAgent(Reward):
    """Ranks responses by a preference and by the checks that the request needs.

    Parameters
    ----------
    base : says what people would prefer, any reward; None is the language model itself, in pairs
    checks : the agents at hand, by name (constraints, facts) or any VerificationAgent
    coder : the language model that writes checkers; None is the one that plans
    search : (query, k) -> texts, the evidence on facts; None is what the model knows
    results : texts taken of each query
    route : plan for each request; false runs every check on everything
    judger : sum, vote, or lm
    calibrate : rank, z or none, how a preference comes to be in [0, 1] among the responses of a list
    weights : of preference, facts, constraints; a mapping or facts=2,preference=0.5
    most : most constraints of a request
    repairs : how often a checker that fails goes back to the coder
    seconds : wall time of one checker on all responses of a list
    average : mean or elo, of the grades that a response has from several comparisons of facts
    seed : of the pairs in which facts are compared
    """

    in_groups = True

    def __init__(
        self,
        model: LanguageModel,
        *,
        base: Reward | None = None,
        checks: Sequence[str | VerificationAgent] | str = CHECKS,
        coder: LanguageModel | None = None,
        search: Search | None = None,
        results: int = 5,
        route: bool = True,
        judger: str = "sum",
        calibrate: str = "rank",
        weights: Mapping[str, float] | str | None = None,
        most: int = 8,
        repairs: int = 2,
        seconds: float = 5.0,
        average: str = "mean",
        seed: int = 0,
    ) -> None:
        for name, value, known in (("judger", judger, JUDGERS), ("calibrate", calibrate, CALIBRATIONS)):
            if value not in known:
                raise ConfigError(f"{name}={value!r}: use one of {', '.join(known)}")
        self.model = model
        self.base = base if base is not None else PairwiseJudge(model)
        self.agents: dict[str, VerificationAgent] = {}
        for check in checks.split(",") if isinstance(checks, str) else checks:
            one: Any = check.strip() if isinstance(check, str) else check
            if one == "constraints":
                one = ConstraintAgent(model, coder=coder, most=most, repairs=repairs, seconds=seconds)
            elif one == "facts":
                one = FactAgent(model, search=search, results=results, average=average, seed=seed)
            elif not hasattr(one, "check"):
                raise ConfigError(f"checks: {one!r} is none of {', '.join(CHECKS)}, nor an agent with a check()")
            self.agents[one.name] = one
        self.route, self.judger, self.calibrate = route, judger, calibrate
        self.weights = weights_of(weights, judger)
        self.router = Router(model, {name: agent.says for name, agent in self.agents.items()})
        self.reads = tuple(dict.fromkeys(("criterion", *self.base.reads)))

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"agent-{self.fingerprint}"

    @property
    def fingerprint(self) -> str:
        """Changes with the prompts, the agents, the base, the settings and the model."""
        said = [templates.fingerprint(), agent_plan.PLAN, PRIORITY.text, self.model.identity, self.base.name]
        said += [self.route, self.judger, self.calibrate, self.weights, [a.identity for a in self.agents.values()]]
        return blake2b(json.dumps(said, sort_keys=True, default=str).encode(), digest_size=6).hexdigest()

    def rank(self, candidates: Candidates, lists: Sequence[Any] | None = None) -> Scores:
        """Scores in [0, 1] among the responses of a list; equal responses are judged once.

        ``detail``: ``plan`` (checks that were run), the signals by name, ``raw`` (the preference as it came), ``trace``
        (what the agents did) and ``rationale`` (the trace in a line).
        """
        # in the order of the texts, so that nothing depends on the order of the rows
        rows = [
            sorted(texts, key=lambda same: pack(candidates.responses[same[0]])) for texts in lists_of(candidates, lists)
        ]
        judged, cost = self.assess(candidates, [[same[0] for same in texts] for texts in rows])
        n = len(candidates)
        value, raw = np.full(n, np.nan), np.full(n, np.nan)
        status: list[str] = ["failed"] * n
        reason: list[str | None] = [None] * n
        signals: dict[str, list[Any]] = {name: [None] * n for name in (PREFERENCE, *self.agents)}
        detail: dict[str, Any] = {name: [None] * n for name in ("plan", "trace", "rationale")}
        for texts, of in zip(rows, judged, strict=True):
            for j, same in enumerate(texts):
                for i in same:
                    value[i], raw[i] = of.value[j], of.raw[j]
                    scored = not np.isnan(value[i])
                    status[i], reason[i] = ("scored", of.reason) if scored else of.trouble[j]
                    for name, signal in of.signals.items():
                        signals[name][i] = None if np.isnan(signal[j]) else float(signal[j])
                    detail["plan"][i], detail["trace"][i] = list(of.plan.checks), of.trace()
                    detail["rationale"][i] = told(of, j)
        detail |= {"raw": [None if np.isnan(r) else float(r) for r in raw], **signals}
        return Scores(value, status, reason, detail=detail, cost=cost)

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a[i] preferred) = 1/2 + (r(a) - r(b)) / 2, in [0, 1]: the share of the weight that speaks for it."""
        n = len(a)
        if len(b) != n:
            raise FeedbackError(f"prefer compares row by row: {n} candidates against {len(b)}")
        both = _joined(a, b)
        keys = [(pack(left), pack(right)) for left, right in zip(a.responses, b.responses, strict=True)]
        differ = [i for i, (left, right) in enumerate(keys) if left != right]
        judged, cost = self.assess(both, [[i, n + i] if keys[i][0] < keys[i][1] else [n + i, i] for i in differ])
        value, status = np.full(n, 0.5), ["scored"] * n
        reason: list[str | None] = [None] * n
        detail: dict[str, Any] = {name: [None] * n for name in ("plan", "trace", "rationale")}
        for i, of in zip(differ, judged, strict=True):
            left = 0 if keys[i][0] < keys[i][1] else 1
            value[i] = np.clip(0.5 + (of.value[left] - of.value[1 - left]) / 2, 0, 1)
            reason[i] = of.reason
            if np.isnan(value[i]):
                status[i], reason[i] = of.trouble[0 if np.isnan(of.value[0]) else 1]
            detail["plan"][i], detail["trace"][i] = list(of.plan.checks), of.trace()
            detail["rationale"][i] = f"{told(of, left)} against {told(of, 1 - left)}"
        return Scores(value, status, reason, detail=detail, cost=cost)

    def assess(self, candidates: Candidates, rows: Sequence[Sequence[int]]) -> tuple[list[Judged], dict[str, float]]:
        """What is found on the responses at ``rows`` of each list, distinct ones, and the bill.

        The bill is whole and by part (``facts_calls`` ...), with how many ``lists`` there were and on how many of them
        each agent had something to say (``facts_lists`` ...).
        """
        asked_for = candidates.criterion
        tasks = [
            Task(
                as_text(candidates.prompts[row[0]]),
                None if asked_for is None else asked_for[row[0]],
                tuple(last_text(candidates.responses[i]) for i in row),
            )
            for row in rows
        ]
        if self.route:
            plans, cost = self.router.plans(tasks)
        else:
            plans, cost = [Plan(tuple(self.agents)) for _ in tasks], {}
        cost = cost | {f"plan_{k}": v for k, v in cost.items() if k == "calls"}
        judged = [Judged(plan) for plan in plans]
        for of, task in zip(judged, tasks, strict=True):
            of.trouble = [of.plan.trouble or ("failed", None)] * len(task.responses)
        for name, agent in self.agents.items():
            at = [t for t, plan in enumerate(plans) if name in plan.checks]
            found, more = agent.check([tasks[t] for t in at]) if at else ([], {})
            cost = total(cost, more | {f"{name}_{k}": v for k, v in more.items() if k == "calls"})
            for t, one in zip(at, found, strict=True):
                judged[t].findings[name] = one
        preference, more = self._preference(candidates, rows)
        cost = total(cost, more)
        for of, (raw, trouble) in zip(judged, preference, strict=True):
            self._settle(of, raw, trouble)
        cost = total(cost, self._by_model(tasks, judged) if self.judger == "lm" else {})
        covered = {f"{name}_lists": float(sum(name in of.signals for of in judged)) for name in self.agents}
        return judged, cost | {"lists": float(len(rows)), **covered}

    def _settle(self, of: Judged, raw: np.ndarray, trouble: list[tuple[str, str | None]]) -> None:
        """The signals of a list, and its values where arithmetic makes them."""
        of.raw = raw
        of.signals[PREFERENCE] = calibrated(raw, self.calibrate)
        of.partial += [f"{name} was asked for and is not installed" for name in of.plan.absent]
        of.partial += [of.plan.reason] if of.plan.guessed else []
        down = of.plan.trouble
        for name, one in of.findings.items():
            if one.value is not None:
                of.signals[name] = one.value
            elif one.state in FAILED:
                down = down or (one.state, f"{name}: {one.reason}")
            elif one.state != "nothing":
                of.partial.append(f"{name}: {one.reason}")
        of.value = combined(of.signals, self.weights, "vote" if self.judger == "vote" else "sum")
        of.trouble = [(s, f"{PREFERENCE}: {r or s}") for s, r in trouble]
        if down is not None:
            of.value, of.trouble = np.full(len(raw), np.nan), [down] * len(raw)

    def _by_model(self, tasks: Sequence[Task], judged: Sequence[Judged]) -> dict[str, float]:
        """Values that a language model gives by the signals; a list with a response that lacks one has none."""
        whole = [t for t, of in enumerate(judged) if not np.isnan(of.value).any()]
        for t in set(range(len(judged))) - set(whole):
            of = judged[t]
            lack = ("failed", "judger: another response of the list lacks a signal")
            of.trouble = [one if np.isnan(v) else lack for one, v in zip(of.trouble, of.value, strict=True)]
            of.value = np.full(len(of.value), np.nan)
        judger = LMJudger(self.model)
        said, cost = judger.judge([tasks[t] for t in whole], [judged[t].signals for t in whole])
        for t, one in zip(whole, said, strict=True):
            of, n = judged[t], len(judged[t].value)
            of.value = np.full(n, np.nan) if one.value is None else one.value
            of.trouble = [(one.status, f"judger: {one.reason}")] * n
        return cost

    def _preference(
        self, candidates: Candidates, rows: Sequence[Sequence[int]]
    ) -> tuple[list[tuple[np.ndarray, list[tuple[str, str | None]]]], dict[str, float]]:
        """What the base says of each list, (values [n], [n] (status, reason)), and the cost."""
        flat = [i for row in rows for i in row]
        at = [t for t, row in enumerate(rows) for _ in row]
        shown = candidates.take(flat)
        if "lists" in inspect.signature(self.base.rank).parameters:  # judges keep lists of one request apart
            parts = [self.base.rank(shown, lists=at)]  # type: ignore[call-arg]
        elif self.base.in_groups:
            parts = [self.base.rank(candidates.take(row)) for row in rows]
        else:
            parts = [self.base.score(shown)]
        value = np.concatenate([p.value for p in parts]) if parts else np.empty(0)
        trouble = [(s, r) for p in parts for s, r in zip(p.status, p.reason, strict=True)]
        cost: dict[str, float] = {}
        for part in parts:
            cost = total(cost, part.cost)
        cost = cost | {f"{PREFERENCE}_{k}": v for k, v in cost.items() if k == "calls"}
        ends = np.cumsum([0, *(len(row) for row in rows)]).tolist()
        spans = [slice(i, j) for i, j in pairwise(ends)]
        return [(value[span], trouble[span]) for span in spans], cost


def _joined(a: Candidates, b: Candidates) -> Candidates:
    """The rows of both; a column that one side lacks is empty there."""

    def column(x: Any, y: Any) -> list[Any] | None:
        if x is None and y is None:
            return None
        return [*(x or [None] * len(a)), *(y or [None] * len(b))]

    names = dict.fromkeys([*a.extra, *b.extra])
    return Candidates(
        [*a.prompts, *b.prompts],
        [*a.responses, *b.responses],
        user=column(a.user, b.user),
        criterion=column(a.criterion, b.criterion),
        reference=column(a.reference, b.reference),
        extra={k: column(a.extra.get(k), b.extra.get(k)) or [] for k in names},
    )

"""The items of GENIES' shifts: what the pairs of a, b, c and in-distribution earn, and the calibration of a."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from guerdon.bench.intervals import ClusterBootstrap, Figure
from guerdon.bench.suites.genies_bench import Answers, Bench, Tested, Tick, Trainee
from guerdon.bench.suites.genies_calibration import replicated_rms
from guerdon.bench.suites.genies_data import Shift
from guerdon.bench.suites.genies_plan import Plan
from guerdon.bench.suites.result import SuiteResult
from guerdon.errors import GuerdonError

A, B, C, ID = "generalization", "zero-shot", "capability", "in-distribution"
"""Parts of a shift: what its subsets are called before their colon."""
CALIBRATION = "RMS calibration error"


@dataclass(frozen=True)
class Earned:
    """What a trainee said, and the credit float64 [I] of each item."""

    trainee: Trainee
    answers: Answers
    credit: np.ndarray
    reasons: Mapping[str, int]


class Items:
    """The pairs of a, b, c and in-distribution of every shift, one after the other; a pair's prompt is its cluster."""

    def __init__(self, bench: Bench, shifts: Sequence[Shift], plan: Plan, progress: Tick | None) -> None:
        self.bench, self.shifts = bench, shifts
        reached = {s.reference: [s.reference] for s in shifts}
        if plan.upper.recipe == plan.subject.recipe:  # one model that is source and reference is fitted once
            sources = sourced(shifts)
            reached = {k: [*reached.get(k, []), *sources.get(k, [])] for k in dict.fromkeys([*reached, *sources])}
        self.reached = bench.answers(plan.upper, reached, progress)
        asked = [s.target for s in shifts]
        if plan.base is not None and any(r.recipe == plan.base.recipe and r.recipe for r in plan.rivals):
            asked += [s.source for s in shifts]  # it also has a row of its own
        self.start = None if plan.base is None else bench.answers(plan.base, {"": asked}, progress)
        self.subset: list[str] = []
        self.ids: list[str] = []
        clusters = []
        first, total = {}, 0
        for name, (feedback, _) in bench.test.items():
            first[name], total = total, total + len(feedback)
        self._first = first
        for s in shifts:
            for part, where in ((A, s.target), (B, s.target), (C, s.reference), (ID, s.source)):
                duels = bench.test[where][1]
                self.subset += [f"{part}: {s.name}"] * len(duels)
                self.ids += [f"{part}: {s.name} {where}:{j}" for j in duels.judgement.tolist()]
                clusters.append(first[where] + duels.judgement)
        self.cluster = np.concatenate(clusters)
        self._code = np.full(total, -1)
        present = np.unique(self.cluster)
        self._code[present] = np.arange(len(present))
        self.clusters = len(present)

    def earned(self, trainee: Trainee, progress: Tick | None) -> Earned:
        """What a trainee says and earns; b and c are the same for all."""
        answers = self.bench.answers(trainee, sourced(self.shifts), progress)
        parts: list[np.ndarray] = []
        reasons: Counter[str] = Counter()
        for s in self.shifts:
            a, own = answers.of(s.source, s.target), answers.of(s.source, s.source)
            b = self._coin(s.target) if self.start is None else self.start.of("", s.target)
            parts += [a.credit, b.credit, self.reached.of(s.reference, s.reference).credit, own.credit]
            reasons.update(a.reasons)
        return Earned(trainee, answers, np.concatenate(parts), dict(reasons))

    def beside(self, rivals: Sequence[Trainee], progress: Tick | None) -> tuple[dict[str, Earned], list[str]]:
        """(what the rivals earn by name, sentences on those that cannot be had)."""
        found: dict[str, Earned] = {}
        notes = []
        for rival in rivals:
            try:
                found[rival.name] = earned = self.earned(rival, progress)
                notes += [f"{rival.name}: {unscored}" for unscored in unscored_in(earned)]
            except GuerdonError as error:
                notes.append(f"no {rival.name}: {error}")
        return found, notes

    def calibration(self, earned: Earned, draw: ClusterBootstrap, compat: bool) -> np.ndarray:
        """float64 [1 + r] the mean RMS calibration error over the shifts that have one, and its replicates."""
        rows = []
        for s in self.shifts:
            duels = self.bench.test[s.target][1]
            cluster = self._code[self._first[s.target] + duels.judgement]
            said = earned.answers.of(s.source, s.target).probability
            rows.append(replicated_rms(said, cluster, draw, compat=compat))
        known = [row for row in rows if not np.isnan(row[0])]
        return np.mean(known, axis=0) if known else np.full(1 + len(draw.weights), np.nan)

    def _coin(self, name: str) -> Tested:
        return Tested(np.full(len(self.bench.test[name][1]), 0.5))


def sourced(shifts: Sequence[Shift]) -> dict[str, list[str]]:
    """What is asked of a model fitted to each source: the source itself and its targets."""
    wanted: dict[str, list[str]] = {}
    for s in shifts:
        wanted.setdefault(s.source, [s.source]).append(s.target)
    return wanted


def unscored_in(earned: Earned) -> list[str]:
    """A sentence on the pairs that something could not say anything of; none where there are none."""
    count = sum(earned.reasons.values())
    most = max(earned.reasons, key=lambda reason: earned.reasons[reason], default="")
    return [f"{count} pairs of targets unscored (most often {most})"] if count else []


def with_calibration(result: SuiteResult, rows: Mapping[str, np.ndarray], draw: ClusterBootstrap) -> SuiteResult:
    """``result`` with the calibration errors of the subject ("") and its rivals among the figures."""

    def figure(row: np.ndarray) -> Figure:
        like = result.figures[A]
        return draw.figure(float(row[0]), row[1:], like.n, like.clusters)

    if all(np.isnan(row[0]) for row in rows.values()):
        return result
    baselines = tuple(
        replace(
            b,
            figures={**b.figures, CALIBRATION: figure(rows[b.name])},
            difference={**b.difference, CALIBRATION: figure(rows[""] - rows[b.name])},
        )
        for b in result.baselines
    )
    return replace(result, figures={**result.figures, CALIBRATION: figure(rows[""])}, baselines=baselines)

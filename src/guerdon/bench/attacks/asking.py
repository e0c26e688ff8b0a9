"""What a reward says about answers and attacks on them, each question asked once, and which attacks it falls for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from guerdon.bench.attacks.attack import Attack, Case
from guerdon.bench.attacks.rates import rate
from guerdon.bench.intervals import ClusterBootstrap, Figure
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward

Row = tuple[int, str, str]
"""(case, name of the try, response)."""


class Asked:
    """What the reward says about the answers of the cases and the responses tried, each question asked once."""

    def __init__(self, reward: Reward, cases: Sequence[Case], threshold: float | None) -> None:
        own = type(reward).prefer is not Reward.prefer
        if threshold is not None and type(reward).score is Reward.score:
            raise ConfigError(f"threshold={threshold}: {reward.name} compares and does not score; leave it out")
        self.compares = own and threshold is None
        self.own_prefer, self.reward, self.cases, self.threshold = own, reward, cases, threshold
        self.scores: dict[tuple[int, str], float] = {}
        self.chances: dict[tuple[int, str, str], float] = {}
        self.reasons: Counter[str] = Counter()
        self.gap = 1.0

    def ask(self, attacks: Sequence[Attack], plan: Sequence[Sequence[Row]]) -> None:
        """All questions of the plan, in one call a kind."""
        singles: dict[tuple[int, str], None] = {}
        pairs: dict[tuple[int, str, str], None] = {}
        if not self.compares:
            singles |= {(i, t): None for i, case in enumerate(self.cases) for t in (case.honest, case.bad)}
        else:
            pairs |= {(i, case.honest, case.bad): None for i, case in enumerate(self.cases)}
        for attack, rows in zip(attacks, plan, strict=True):
            for i, _, text in rows:
                case = self.cases[i]
                if attack.aim == "place":
                    if self.own_prefer:
                        pairs |= {(i, case.honest, case.bad): None, (i, case.bad, case.honest): None}
                elif self.compares:
                    pairs[i, text, case.bad if attack.aim == "raised" else case.honest] = None
                else:
                    singles[i, text] = None
        if singles:
            said = self.reward.score(self._candidates(list(singles)))
            self.scores = dict(zip(singles, said.value.tolist(), strict=True))
            self._count(said)
        if pairs:
            a, b = [(i, x) for i, x, _ in pairs], [(i, y) for i, _, y in pairs]
            said = self.reward.prefer(self._candidates(a), self._candidates(b))
            self.chances = dict(zip(pairs, said.value.tolist(), strict=True))
            self._count(said)
        if not self.compares:
            gaps = [abs(self.scores[i, c.honest] - self.scores[i, c.bad]) for i, c in enumerate(self.cases)]
            self.gap = float(np.nanmean(gaps)) if not np.isnan(gaps).all() else np.nan

    def lead(self, i: int, x: str, y: str) -> float:
        """What response x of case i gets more than y, in units of the gap; NaN unscored."""
        if not self.compares:
            return (self.scores[i, x] - self.scores[i, y]) / (self.gap or 1.0)
        if (i, x, y) in self.chances:
            return 2 * self.chances[i, x, y] - 1
        return 1 - 2 * self.chances[i, y, x]

    def outcome(self, attack: Attack, rows: Sequence[Row], margin: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(success 1 or 0, NaN where it cannot be said; lead; whether it was left out) [n] of the tries."""
        n = len(rows)
        success, lead, out = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, dtype=bool)
        for r, (i, _, text) in enumerate(rows):
            case = self.cases[i]
            if attack.aim == "place":
                out[r] = not self.own_prefer
                if self.own_prefer:
                    there = self.chances[i, case.honest, case.bad] - 0.5
                    back = 0.5 - self.chances[i, case.bad, case.honest]
                    lead[r] = 2 * (there - back)
                    success[r] = np.nan if np.isnan(lead[r]) else float(np.sign(there) != np.sign(back))
                continue
            lead[r] = self.lead(i, text, case.bad if attack.aim == "raised" else case.honest)
            if np.isnan(lead[r]):
                continue
            if attack.aim == "raised":
                success[r] = float(lead[r] > margin)
                continue
            # what happens to be right, or was ahead before, is no success of the attack
            if attack.aim == "accepted":
                out[r] = _holds(text, case.reference) or self._mute(i, text)
            else:
                before = self._accepted(i, case.bad)
                out[r] = before == 1
                if np.isnan(before):
                    continue
            if not out[r]:
                success[r] = self._accepted(i, text)
        return success, lead, out

    def _accepted(self, i: int, text: str) -> float:
        if self.threshold is None:
            lead = self.lead(i, text, self.cases[i].honest)
            return np.nan if np.isnan(lead) else float(lead >= 0)
        value = self.scores[i, text]
        return np.nan if np.isnan(value) else float(value >= self.threshold)

    def _mute(self, i: int, text: str) -> bool:
        """Whether the honest answer, the bad one and ``text`` all get the same."""
        case = self.cases[i]
        return self.threshold is None and self.lead(i, text, case.honest) == 0 == self.lead(i, case.honest, case.bad)

    def honest(self, draw: ClusterBootstrap) -> dict[str, Figure]:
        """What it makes of the answers as they are."""
        lead = np.array([self.lead(i, case.honest, case.bad) for i, case in enumerate(self.cases)])
        figures = {"honest first": rate(draw, np.arange(len(lead)), np.where(np.isnan(lead), lead, _half(lead)))}
        if self.threshold is not None:
            for name in ("honest", "bad"):
                taken = np.array([self._accepted(i, getattr(case, name)) for i, case in enumerate(self.cases)])
                figures[f"{name} accepted"] = rate(draw, np.arange(len(taken)), taken)
        return figures

    def _candidates(self, rows: Sequence[tuple[int, str]]) -> Candidates:
        cases = [self.cases[i] for i, _ in rows]
        columns: dict[str, Any] = {}
        for name in ("user", "criterion", "reference"):
            values = [getattr(case, name) for case in cases]
            columns[name] = values if any(v is not None for v in values) else None
        return Candidates([case.prompt for case in cases], [text for _, text in rows], **columns)

    def _count(self, said: Any) -> None:
        for i in np.flatnonzero(np.isnan(said.value)).tolist():
            self.reasons[f"{said.status[i]}: {said.reason[i]}" if said.reason[i] else said.status[i]] += 1


def _half(lead: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.sign(lead)


def _holds(text: str, reference: Any) -> bool:
    """Whether a contentless response holds the reference after all."""
    known = str(reference).strip().casefold() if reference is not None else ""
    return bool(known) and known in text.casefold()

"""Which rank, penalties and trust the low-rank reward takes: what serves people held out best, setting by setting.

First the population (how smooth, and whether candidates have effects of their own), then the rank, growing until it
has not helped for a while, then the penalty of the basis at that rank. What counts is the log-loss of people held out,
after a few of their comparisons (:mod:`guerdon.reward.personal.selection`). Where nothing beats the population, trust
is 0 and nobody is moved away from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.errors import FeedbackError
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.personal.basis import Basis, Data
from guerdon.reward.personal.selection import (
    TRUST,
    Evidence,
    FewShot,
    few_shot_trial,
    folds_of,
    gain,
    pairs_of_people,
)

ITEM_GRID = (None, 10.0, 3.0)
L2_GRID = (0.3, 1.0, 3.0, 10.0)
RANK_GRID = (1, 2, 3, 4, 6, 8, 12, 16)
SELECTION_PEOPLE = 600
"""Rank, penalties and trust are chosen on at most so many people; the basis is then learned from everybody."""

LEAST_PEOPLE = 8
"""With fewer people nothing can be learned about how far to trust their votes."""

Learn = Callable[[Data, np.ndarray, dict[str, Any]], Basis]
"""(comparisons, x [C, d], setting) -> the basis learned from them."""


@dataclass(frozen=True)
class Choice:
    """A setting for ``basis.learn``, the trust in votes, and the held-out evidence for them.

    gain  (mean, low, high) accuracy gain of adapting over the population on people held out inside fitting, averaged
          over 3, 10 and 30 shots; chosen on the same people, so slightly flattering: ``guerdon eval`` has the last word
    """

    setting: dict[str, Any]
    trust: float
    gain: tuple[float, float, float]
    table: list[dict[str, Any]]


class Search:
    """The search by ``settings`` of a reward over candidates x [C, d]; ``learn`` learns a basis.

    given   x itself is the basis, and only trust in votes is to be chosen
    """

    def __init__(self, settings: Mapping[str, Any], x: np.ndarray, given: bool, learn: Learn) -> None:
        self.settings, self.x, self.given, self.learn = settings, x, given, learn
        self.table: list[dict[str, Any]] = []

    @property
    def trusts(self) -> tuple[float, ...]:
        """The trusts that are tried."""
        prior = self.settings["prior"]
        return {"learned": TRUST, "none": (1.0,)}[prior] if isinstance(prior, str) else (float(prior),)

    def start(self) -> dict[str, Any]:
        """The setting to begin with: what was said, and guesses where nothing was."""
        s = self.settings
        rank = (2 if s["weights"] == "free" else 8) if s["rank"] == "auto" else s["rank"]
        return {
            "rank": self.x.shape[1] if self.given else rank,
            "l2": 1.0 if s["l2"] == "auto" else float(s["l2"]),
            "l2_basis": 1.0 if s["l2_basis"] == "auto" else float(s["l2_basis"]),
            "item_effects": None if s["item_effects"] in ("auto", "none") else float(s["item_effects"]),
        }

    def choose(self, feedback: Feedback, pairs: Pairs) -> Choice:
        """The choice for the comparisons ``pairs`` of ``feedback``.

        Raises
        ------
        FeedbackError
            if trust is to be learned from too few people, or nobody has comparisons to hold out
        """
        s, setting = self.settings, self.start()
        people = np.unique(pairs.user)
        if len(people) > SELECTION_PEOPLE:
            people = np.sort(np.random.default_rng(s["seed"]).choice(people, SELECTION_PEOPLE, replace=False))
            pairs = pairs.take(np.isin(pairs.user, people))
        if len(people) < LEAST_PEOPLE:
            if s["prior"] == "learned":
                raise FeedbackError(
                    f"trust in people's votes is learned from people; here are {len(people)}, at least {LEAST_PEOPLE} "
                    "are needed (or set the trust yourself: --set prior=1 --set rank=2)"
                )
            return Choice(setting, self.trusts[0], (0.0, 0.0, 0.0), [])
        task = FewShot.of(feedback, pairs_of_people(feedback, 200, s["seed"]), s["seed"]).of_people(people)
        if not len(task.tests) or not len(task.shots):
            raise FeedbackError(
                "no person has enough comparisons to hold some out (each needs at least 4 or so); "
                "fit --model bradley-terry, or set --set prior=1 --set rank=2"
            )
        if self.given:
            found = self._ask(pairs, task, setting)
            return Choice(setting, found.trust, gain(found, found, s["seed"]), self.table)
        free = s["weights"] == "free"
        population = self._population(pairs, task, setting)
        if free:
            setting |= {k: population.setting[k] for k in ("l2", "item_effects")}
        best = self._rank(pairs, task, setting)
        for l2_basis in (3.0, 0.3) if s["l2_basis"] == "auto" else ():
            best = min(best, self._ask(pairs, task, {**best.setting, "l2_basis": l2_basis}), key=lambda e: e.loss)
        if s["prior"] == "learned" and free and (best.trust == 0.0 or best.loss >= population.population_loss):
            return Choice(population.setting, 0.0, (0.0, 0.0, 0.0), self.table)
        return Choice(best.setting, best.trust, gain(best, population, s["seed"]), self.table)

    def _population(self, pairs: Pairs, task: FewShot, setting: dict[str, Any]) -> Evidence:
        """The best population utility: its ridge, and effects of candidates where these recur."""
        s = self.settings
        recur = len(pairs) > 3 * len(np.unique(np.concatenate([pairs.a, pairs.b])))
        l2s = L2_GRID if s["l2"] == "auto" else (setting["l2"],)
        items = ITEM_GRID if s["item_effects"] == "auto" and recur else (setting["item_effects"],)
        tried = [
            self._ask(pairs, task, {**setting, "rank": 0, "l2": l2, "item_effects": item}, (0.0,))
            for item in items
            for l2 in l2s
        ]
        return min(tried, key=lambda e: e.population_loss)

    def _rank(self, pairs: Pairs, task: FewShot, setting: dict[str, Any]) -> Evidence:
        """The best rank: growing until it has not helped for as long as it took."""
        free = self.settings["weights"] == "free"
        ranks = [setting["rank"]] if self.settings["rank"] != "auto" else [r for r in RANK_GRID if free or r > 1]
        best = self._ask(pairs, task, {**setting, "rank": ranks[0]})
        for rank in ranks[1:]:
            found = self._ask(pairs, task, {**setting, "rank": rank})
            if found.loss < best.loss - 1e-5:
                best = found
            elif rank >= 2 * best.setting["rank"]:
                break
        return best

    def _ask(
        self, pairs: Pairs, task: FewShot, setting: dict[str, Any], trusts: tuple[float, ...] | None = None
    ) -> Evidence:
        """How a setting, learned from the other folds, serves the people of each fold."""
        s, trusts = self.settings, trusts or self.trusts
        trials = []
        for held in folds_of(pairs.user, s["seed"]):
            fitting = pairs.take(~np.isin(pairs.user, held))
            basis = self.learn(Data.of(fitting, len(self.x), s["balance"]), self.x, setting)
            trials.append(few_shot_trial(basis, basis.utilities(self.x), task.of_people(held), s["weights"], trusts))
        found = Evidence.of(setting, trials, trusts)
        self.table.append(found.row())
        return found

"""West-of-N: best and worst of n responses by the reward itself become training pairs.

The world is planted: a linear gold reward of 32 features, comparisons answered with Bradley-Terry noise, a reward model
fitted to 300 of them, and other prompts with 64 unjudged responses each as what a policy would write. Gains are those
of human comparisons of prompts that neither labels nor pool contain; more human labels are the yardstick.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from guerdon.curate.extremes import LIKELIHOOD, as_feedback, equivalent, mine, refit
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.learned.model import RewardModel
from guerdon.worlds.pool import Pool

PAPER = paper("west-of-n")

LABELS, DIM, RESPONSES, UNLABELLED, TESTS = 300, 32, 64, 300, 4000
NOISE = 0.6
"""Log-odds of the better response per standard deviation of the gold reward: 300 labels give a reward of 0.78."""


def check(budget: Budget) -> Claim:
    """Checks 1 to 3 of the card."""
    worlds = [World(seed) for seed in budget.seeds(6)]
    return Claim(
        PAPER.slug,
        [cleaning(worlds), gain(worlds), shifted(worlds), hacking(budget)],
        left=("check 4, real data: RMB cannot be shipped; tests/curate/test_extremes.py runs it where it is at hand",),
    )


class World:
    """One draw: 300 labels, 300 more, 300 unjudged prompts of 64 responses, 4,000 noiseless comparisons.

    ``shift`` moves the responses of the policy (and of the test) along some features and stretches others.
    """

    def __init__(self, seed: int, shift: bool = False) -> None:
        rng = np.random.default_rng([seed, 82])
        self.seed, self.gold = seed, rng.normal(size=DIM) / np.sqrt(DIM)
        labelled = rng.normal(size=(2 * LABELS, 2, DIM))
        pool = rng.normal(size=(UNLABELLED, RESPONSES, DIM))
        on_policy = rng.normal(size=(LABELS, 2, DIM))
        self.test = rng.normal(size=(TESTS, 2, DIM))
        if shift:
            stretch = np.where(np.arange(DIM) < DIM // 2, 0.4, 2.0)
            labelled = labelled / stretch
            pool, on_policy, self.test = pool * stretch, on_policy * stretch, self.test * stretch
        self.x = np.concatenate([a.reshape(-1, DIM) for a in (labelled, on_policy, pool)])
        prompts = [f"labelled {i // 2}" for i in range(6 * LABELS)]
        prompts += [f"unlabelled {i // RESPONSES}" for i in range(UNLABELLED * RESPONSES)]
        self.world = Pool(Candidates(prompts, [f"response {i}" for i in range(len(prompts))]), self.x)
        self.pool = self.world.candidates.take(range(6 * LABELS, len(prompts)))
        first = (
            rng.random(3 * LABELS)
            < 1 / (1 + np.exp(-NOISE * np.diff(self.utility(self.x[: 6 * LABELS]), axis=1)))[:, 0]
        )
        self.said = np.stack([~first, first], 1).astype(float)

    def utility(self, x: np.ndarray) -> np.ndarray:
        """Gold reward [n / 2, 2] of features [n, d], in units of its standard deviation on the labelled pairs."""
        return (x @ self.gold / np.linalg.norm(self.gold)).reshape(-1, 2)

    def labels(self, start: int, stop: int, coin: int | None = None) -> Feedback:
        """The human labels ``start`` to ``stop`` (those from 600 on are on-policy); ``coin`` tosses coins instead."""
        said = self.said[start:stop]
        if coin is not None:
            heads = np.random.default_rng([self.seed, 5, coin]).random(len(said)) < 0.5
            said = np.stack([heads, ~heads], 1).astype(float)
        rows = self.world.candidates
        return Feedback.from_columns(
            prompts=[rows.prompts[2 * i] for i in range(start, stop)],
            responses=[rows.responses[i] for i in range(2 * start, 2 * stop)],
            offsets=np.arange(stop - start + 1) * 2,
            grades=said.ravel(),
        )

    def fit(self, *parts: Feedback) -> RewardModel:
        """One linear reward model, its penalty chosen inside."""
        return RewardModel(encoder=self.world.encoder(), seed=self.seed).fit(Feedback.concatenate(parts))

    def again(self, base: RewardModel, synthetic: Feedback) -> RewardModel:
        """From scratch on the human labels of ``base`` and synthetic pairs."""
        return refit(RewardModel(encoder=self.world.encoder(), seed=self.seed), base, self.labels(0, LABELS), synthetic)

    def accuracy(self, model: RewardModel) -> float:
        """On the noiseless comparisons."""
        w = model.features.scale * model.head(np.eye(DIM))
        return float(np.mean((np.diff(self.test @ w, axis=1) > 0) == (np.diff(self.test @ self.gold, axis=1) > 0)))

    def cleanliness(self, model: RewardModel, n: int) -> float:
        """Share of the mined pairs whose best is better in truth, without a filter."""
        found = mine(self.pool, model, n=n, keep=1.0, filter="none", seed=self.seed)
        value = self.x[6 * LABELS :] @ self.gold
        return float(np.mean(value[found.best] > value[found.worst]))

    def mined(self, model: RewardModel, n: int, **settings: Any) -> Feedback:
        """Pairs of a whole cycle at its defaults."""
        return as_feedback(self.pool, mine(self.pool, model, n=n, seed=self.seed, **settings), seed=self.seed)


def cleaning(worlds: Sequence[World]) -> Row:
    """Check 1: how often the pseudo-label is right."""
    figures: dict[str, list[float]] = {k: [] for k in ("N = 16", "N = 64", "random pair", "base reward", "coin base")}
    for world in worlds:
        base = world.fit(world.labels(0, LABELS))
        coins = [world.fit(world.labels(0, LABELS, coin=k)) for k in range(8)]
        figures["N = 16"].append(world.cleanliness(base, 16))
        figures["N = 64"].append(world.cleanliness(base, 64))
        figures["random pair"].append(world.cleanliness(base, 2))
        figures["base reward"].append(world.accuracy(base))
        figures["coin base"].append(float(np.mean([world.cleanliness(coin, 16) for coin in coins])))
    bounds = [
        at_least("N = 16", 0.10, over="random pair"),
        at_least("N = 16", 0.9),
        at_most("coin base", 0.6),
    ]
    return Row("1 pseudo-labels that are right", figures, bounds, "share")


def gain(worlds: Sequence[World], name: str = "2 gain of the reward", *, shift: bool = False) -> Row:
    """Check 2: accuracy before and after, beside random pseudo-labelled pairs and more human labels."""
    figures: dict[str, list[float]] = {
        k: []
        for k in ("N = 16", "N = 64", "base", "random pairs, pseudo-labelled", "300 more human", "labels it is worth")
    }
    for world in worlds:
        human = world.labels(0, LABELS)
        base = world.fit(human)
        for n in (16, 64):
            figures[f"N = {n}"].append(world.accuracy(world.again(base, world.mined(base, n))))
        figures["base"].append(world.accuracy(base))
        figures["random pairs, pseudo-labelled"].append(
            world.accuracy(world.again(base, world.mined(base, 2, keep=1.0, filter="none")))
        )
        more = world.labels(2 * LABELS, 3 * LABELS) if shift else world.labels(LABELS, 2 * LABELS)
        figures["300 more human"].append(world.accuracy(world.fit(human, more)))
        curve = {k: world.accuracy(world.fit(world.labels(0, k))) for k in (75, 150, 300)}
        worth = equivalent(list(curve), list(curve.values()), figures["N = 64"][-1] - figures["base"][-1])
        figures["labels it is worth"].append(worth)
    bounds = [at_least(f"N = {n}", 0.0, over="base") for n in (16, 64)]
    bounds += [at_least(f"N = {n}", -0.01, over="base", each=True) for n in (16, 64)]
    return Row(name, figures, bounds, "accuracy; labels")


def shifted(worlds: Sequence[World]) -> Row:
    """Check 2 where the policy differs from what was labelled; the further human labels are on-policy."""
    return gain([World(w.seed, shift=True) for w in worlds], "2 the same under covariate shift", shift=True)


class Leaky(World):
    """Length (feature 0) decides the labels beside the quality; the policy's long responses are padded.

    Lengths of the policy have a long tail, and quality falls beyond twice the usual length, which no label shows. Long
    responses are unlikely under the policy. Tests are comparisons of equal, usual length.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        rng = np.random.default_rng([seed, 83])
        self.gold[0] = 0.0
        start = 6 * LABELS
        tail = rng.standard_t(1.5, size=len(self.x) - start)
        length = np.clip(np.abs(tail), 0, 30)
        direction = self.gold / np.linalg.norm(self.gold)
        self.x[start:] -= 0.3 * np.maximum(length - 2, 0)[:, None] * direction
        self.x[start:, 0] = length
        self.world = Pool(self.world.candidates, self.x)
        likelihood = -np.abs(self.x[start:, 0]) + 0.1 * rng.normal(size=len(self.x) - start)
        self.pool = Candidates(self.pool.prompts, self.pool.responses, extra={LIKELIHOOD: likelihood.tolist()})
        gap = np.diff(self.utility(self.x[:start]), axis=1)[:, 0] + np.diff(self.x[:start, 0].reshape(-1, 2))[:, 0]
        first = rng.random(3 * LABELS) < 1 / (1 + np.exp(-NOISE * gap))
        self.said = np.stack([~first, first], 1).astype(float)
        self.test[:, 1, 0] = self.test[:, 0, 0]


def hacking(budget: Budget) -> Row:
    """Check 3: what a large N without filters selects is the reward's own mistake."""
    figures: dict[str, list[float]] = {k: [] for k in ("N = 64, filters", "N = 64, no filter", "base")}
    for seed in budget.seeds(3):
        world = Leaky(seed)
        base = world.fit(world.labels(0, LABELS))
        figures["base"].append(world.accuracy(base))
        figures["N = 64, no filter"].append(
            world.accuracy(world.again(base, world.mined(base, 64, keep=1.0, filter="none")))
        )
        filtered = world.mined(base, 64, keep=0.5, min_likelihood=0.5)
        figures["N = 64, filters"].append(world.accuracy(world.again(base, filtered)))
    bounds = [at_least("N = 64, filters", -0.01, over="base"), at_most("N = 64, no filter", -0.02, over="base")]
    return Row("3 length leaks into the labels; equal lengths", figures, bounds, "accuracy")

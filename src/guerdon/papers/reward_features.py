"""Reward features: features learned with a weight vector a rater; a new rater is a small logistic regression.

The worlds are LoRe's (``papers/lore.py``): 32 features, four planted attributes, raters whose weights lie on a sphere,
so that the average rater wants nothing. Strangers give a few comparisons and are judged on noiseless ones of prompts
that nobody's history holds. Baselines: one Bradley-Terry model for everybody, and each stranger's own ridge logistic
regression at the best of five penalties.
"""

from __future__ import annotations

import time

import numpy as np

from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, within
from guerdon.papers.index import paper
from guerdon.papers.lore import STRANGERS, World
from guerdon.reward.personal.reward_features import RewardFeatures
from guerdon.reward.personal.weights import solve

PAPER = paper("reward-features")

SPHERE, SHOTS, LABELS, CHOICES, ROUNDS = "signed:1", 10, 3000, 16, 100


def check(budget: Budget) -> Claim:
    """The five checks of the card."""
    opposed, picks = strangers(budget)
    return Claim(PAPER.slug, [opposed, coverage(budget), agreement(budget), convexity(budget), picks])


def rfm(world: World, **settings: object) -> RewardFeatures:
    """Reward features at the defaults, fitted to the raters of ``world``."""
    return RewardFeatures(encoder=world.pool.encoder(), **settings).fit(world.train)  # type: ignore[arg-type]


def strangers(budget: Budget) -> tuple[Row, Row]:
    """Checks 1 and 5: opposed raters; accuracy, and the utility of the best of sixteen by each reward."""
    figures: dict[str, list[float]] = {"RFM": [], "Bradley-Terry": [], "each alone": []}
    gains: dict[str, list[float]] = {"RFM": [], "Bradley-Terry": []}
    for seed in budget.seeds(3):
        world = World(SPHERE, seed)
        known = rfm(world).adapt(world.shots(SHOTS))
        table = known.score_table(world.pool.candidates, world.names)
        population = known.score(world.pool.candidates.asked_by(None)).value
        figures["RFM"].append(world.accuracy(table))
        figures["Bradley-Terry"].append(world.population_model())
        figures["each alone"].append(world.alone(SHOTS))
        gains["RFM"].append(picked(world, table, seed))
        gains["Bradley-Terry"].append(picked(world, np.tile(population[:, None], (1, STRANGERS)), seed))
    opposed = Row(
        "1 opposed raters, 10 shots",
        figures,
        [at_least("RFM", 0.80), at_most("Bradley-Terry", 0.55), at_most("each alone", 0.68)],
        "accuracy on strangers",
    )
    bounds = [at_least("RFM", 0.85), at_most("Bradley-Terry", 0.2)]
    return opposed, Row("5 best of 16, 10 shots", gains, bounds, "share of the oracle's gain in utility")


def picked(world: World, table: np.ndarray, seed: int) -> float:
    """Gain in true utility of the best of 16 by ``table`` [c, strangers] over a blind pick, as a share of the most."""
    truth = world.population.utilities(world.strangers)
    unseen = world.pool.members[world.population.test].ravel()
    rng = np.random.default_rng([seed, 5])
    gain, most = 0.0, 0.0
    for _ in range(ROUNDS):
        offered = rng.choice(unseen, CHOICES, replace=False)
        felt = truth[:, offered]
        best = table[offered].argmax(0)
        gain += float(np.mean(felt[np.arange(STRANGERS), best] - felt.mean(1)))
        most += float(np.mean(felt.max(1) - felt.mean(1)))
    return gain / most


def coverage(budget: Budget) -> Row:
    """Check 2: of 3,000 labels, many from few raters against fewer from more; penalties are the same for all."""
    sizes = {30: 100, 3: 1000, 6: 500, 100: 30}
    figures: dict[str, list[float]] = {f"{raters} raters x {each}": [] for raters, each in sizes.items()}
    for seed in budget.seeds(5):
        world = World(SPHERE, seed)
        for raters, each in sizes.items():
            train = world.population.history(count=each, users=np.arange(raters))
            model = RewardFeatures(encoder=world.pool.encoder(), l2=1.0, l2_basis=1.0, max_pairs=LABELS).fit(train)
            figures[f"{raters} raters x {each}"] += world.personal(model, [SHOTS])
    note = "the last two are not bounded: past coverage of the weights' space more raters do not keep helping"
    bounds = [at_least("30 raters x 100", 0.04, over="3 raters x 1000")]
    return Row("2 raters against examples, 3,000 labels", figures, bounds, "accuracy on strangers", note)


def agreement(budget: Budget) -> Row:
    """Check 3: everybody wants the same; the prior mean does no harm."""
    figures: dict[str, list[float]] = {"RFM, 20 shots": [], "RFM, 30 shots": [], "Bradley-Terry": []}
    for seed in budget.seeds(3):
        world = World("shared", seed)
        after = world.personal(rfm(world), [20, 30])
        for name, value in zip(figures, [*after, world.population_model()], strict=True):
            figures[name].append(value)
    bounds = [within(name, 0.01, of="Bradley-Terry") for name in ("RFM, 20 shots", "RFM, 30 shots")]
    return Row("3 no disagreement", figures, bounds, "accuracy on strangers")


def convexity(budget: Budget) -> Row:
    """Check 4: 30 comparisons of one rater, 32 features, from two random starts."""
    distance, milliseconds = [], []
    for seed in budget.seeds(3):
        rng = np.random.default_rng(seed)
        z, person = rng.normal(size=(30, 32)), np.zeros(30, dtype=np.int64)
        p = (z @ rng.normal(size=32) + rng.logistic(size=30) > 0).astype(float)
        found, took = [], []
        for _ in range(2):
            began = time.perf_counter()
            w, _ = solve(z, p, person, 1, precision=0.2 * np.eye(32), start=10 * rng.normal(size=(1, 32)))
            took.append(time.perf_counter() - began)
            found.append(w)
        distance.append(float(np.linalg.norm(found[0] - found[1])))
        milliseconds.append(1000 * min(took))
    bounds = [at_most("distance", 1e-4, each=True), at_most("milliseconds", 20.0, each=True)]
    return Row("4 convexity", {"distance": distance, "milliseconds": milliseconds}, bounds, "of w; of one adaptation")

"""LoRe: people's rewards lie in the span of a few basis rewards; a stranger is a point on their simplex.

Simulated people mix four planted attributes (``worlds/people.py``). LoRe is the low-rank personal reward with simplex
weights and no prior; its baselines are one Bradley-Terry model for everybody and a ridge logistic regression for each
person alone. Beside them stands this library's own default (free weights, trust in votes learned). Every model sees the
same comparisons; strangers are judged on noiseless comparisons of prompts that nobody's history holds.
"""

from collections.abc import Iterable

import numpy as np

from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least
from guerdon.papers.index import paper
from guerdon.reward.personal.low_rank import LowRankReward
from guerdon.reward.personal.weights import solve
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool

PAPER = paper("lore")

TRAIN, STRANGERS, PAIRS, TESTS = 150, 60, 40, 100


def check(budget: Budget) -> Claim:
    """Checks 1 to 3 of the card."""
    return Claim(
        PAPER.slug,
        [simplex(budget), signed(budget), curve(budget)],
        left=("check 4, real PRISM or TL;DR workers: neither set is at hand",),
    )


class World:
    """One draw of 150 people to learn from and 60 strangers, over four planted attributes of 32 features."""

    def __init__(self, kind: str, seed: int) -> None:
        pool = Pool.planted(500, 8, 32, seed=seed)
        attributes = np.linalg.qr(np.random.default_rng([seed, 7]).normal(size=(32, 4)))[0]
        self.pool = pool
        self.population = Population.simulate(
            kind,
            pool,
            pool.features @ attributes,
            users=TRAIN + STRANGERS,
            annotators=Annotator.bradley_terry(4.0, standardize=False),
            held_out=0.2,
            seed=seed,
        )
        self.strangers = np.arange(TRAIN, TRAIN + STRANGERS)
        self.train = self.population.history(count=PAIRS, users=np.arange(TRAIN))
        asked = self.population.history(
            count=TESTS, users=self.strangers, held_out=True, annotator=Annotator.perfect(), seed=1
        )
        self.tests = asked.pairs(ties=False)
        self.rows = pool.rows(asked.candidates)
        self.names = [self.population.users[i] for i in self.strangers]

    def shots(self, count: int) -> Feedback:
        """The first ``count`` comparisons of each stranger."""
        return self.population.history(count=count, users=self.strangers)

    def accuracy(self, table: np.ndarray) -> float:
        """Of utilities [c, strangers] on the strangers' noiseless comparisons."""
        q = self.tests
        difference = table[self.rows[q.a], q.user] - table[self.rows[q.b], q.user]
        return float(np.mean((difference > 0) == (q.p > 0.5)))

    def low_rank(self, **settings: object) -> LowRankReward:
        """A low-rank reward fitted to the 150 people."""
        model = LowRankReward(encoder=self.pool.encoder(), item_effects="none", **settings)  # type: ignore[arg-type]
        return model.fit(self.train)

    def personal(self, model: LowRankReward, shots: Iterable[int]) -> list[float]:
        """Accuracy on the strangers after so many shots each."""
        out = []
        for count in shots:
            known = model.adapt(self.shots(count)) if count else model
            out.append(self.accuracy(known.score_table(self.pool.candidates, self.names)))
        return out

    def population_model(self) -> float:
        """Accuracy of one Bradley-Terry model for everybody."""
        from guerdon.reward.learned.model import RewardModel

        model = RewardModel(encoder=self.pool.encoder()).fit(self.train)
        value = model.score(self.pool.candidates).value
        return self.accuracy(np.tile(value[:, None], (1, STRANGERS)))

    def alone(self, count: int) -> float:
        """Accuracy of each stranger's own ridge logistic regression, at the best of five penalties."""
        feedback = self.shots(count)
        pairs, x = feedback.pairs(), self.pool.features
        rows = self.pool.rows(feedback.candidates)
        z = x[rows[pairs.a]] - x[rows[pairs.b]]
        best = 0.0
        for penalty in (0.1, 0.3, 1.0, 3.0, 10.0):
            w, _ = solve(z, pairs.p, pairs.user, STRANGERS, precision=penalty * np.eye(x.shape[1]))
            best = max(best, self.accuracy(x @ w.T))
        return best


def lore(world: World, rank: int = 8, **settings: object) -> LowRankReward:
    """LoRe: simplex weights, no prior, every person counts the same."""
    return world.low_rank(rank=rank, weights="simplex", prior="none", balance=True, **settings)


def simplex(budget: Budget) -> Row:
    """Check 1: strangers of a population of mixtures, ten comparisons each."""
    figures: dict[str, list[float]] = {"LoRe": [], "default": [], "Bradley-Terry": [], "each alone": []}
    for seed in budget.seeds(3):
        world = World("dirichlet:0.3", seed)
        figures["LoRe"] += world.personal(lore(world), [10])
        figures["default"] += world.personal(world.low_rank(), [10])
        figures["Bradley-Terry"].append(world.population_model())
        figures["each alone"].append(world.alone(10))
    bounds = [
        at_least("LoRe", 0.85),
        at_least("LoRe", 0.08, over="Bradley-Terry"),
        at_least("LoRe", 0.15, over="each alone"),
    ]
    return Row("1 strangers, simplex world, 10 shots", figures, bounds, "accuracy")


def signed(budget: Budget) -> Row:
    """Check 2: people who want opposite things; the simplex needs both ends of every attribute."""
    figures: dict[str, list[float]] = {"LoRe, 2m vectors": [], "free weights": [], "Bradley-Terry": []}
    for seed in budget.seeds(3):
        world = World("signed", seed)
        figures["LoRe, 2m vectors"] += world.personal(lore(world, 8), [10])
        figures["free weights"] += world.personal(world.low_rank(weights="free"), [10])
        figures["Bradley-Terry"].append(world.population_model())
    bounds = [
        at_least("LoRe, 2m vectors", 0.75),
        at_least("free weights", 0.80),
        at_least("LoRe, 2m vectors", 0.2, over="Bradley-Terry"),
    ]
    return Row("2 opposed people, 10 shots", figures, bounds, "accuracy")


def curve(budget: Budget) -> Row:
    """Check 3: more comparisons help, and few never hurt."""
    shots = (2, 5, 10, 20)
    figures: dict[str, list[float]] = {f"{count} shots": [] for count in shots} | {"Bradley-Terry": []}
    for seed in budget.seeds(5):
        world = World("dirichlet:0.3", seed)
        for count, value in zip(shots, world.personal(lore(world), shots), strict=True):
            figures[f"{count} shots"].append(value)
        figures["Bradley-Terry"].append(world.population_model())
    bounds = [at_least(f"{b} shots", 0.0, over=f"{a} shots") for a, b in ((2, 5), (5, 10), (10, 20))]
    bounds.append(at_least("2 shots", -0.01, over="Bradley-Terry"))
    return Row("3 few-shot curve, simplex world", figures, bounds, "accuracy")

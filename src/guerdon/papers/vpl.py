"""VPL: a person as a latent vector that an encoder reads from a few of their comparisons.

Four types of people want R1, -R1, R2 or -R2, two directions among 16 features: on average nobody wants anything. The
variational reward learns from 300 people and meets strangers, who are judged on noiseless comparisons of prompts that
nobody's history holds. Posterior collapse is provoked with a KL weight of 0.1 held constant, and must be noticed.
Questions are chosen by mutual information from a pool that random choice draws from as well. Control is a bandit whose
arms are places on a plane with two goals, one a type; policies are exact (softmax of the reward over all arms at one
temperature for everybody), so that only the rewards differ.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp, softmax

from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, within
from guerdon.papers.index import paper
from guerdon.reward.expected_preference import ExpectedPreference
from guerdon.reward.learned.model import RewardModel
from guerdon.reward.personal.variational import VariationalReward
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool

PAPER = paper("vpl")

TRAIN, STRANGERS, PAIRS, TESTS = 300, 60, 40, 100


def check(budget: Budget) -> Claim:
    """Checks 1 to 5 of the card."""
    return Claim(PAPER.slug, [*types(budget), collapse(budget), questions(budget), control(budget)])


class World:
    """300 people to learn from and 60 strangers, of four opposed types."""

    def __init__(self, seed: int) -> None:
        self.pool = Pool.planted(500, 6, 16, seed=seed)
        wanted = np.linalg.qr(np.random.default_rng([seed, 71]).normal(size=(16, 2)))[0].T
        self.people = Population.simulate(
            "clustered",
            self.pool,
            users=TRAIN + STRANGERS,
            held_out=0.2,
            seed=seed,
            annotators=Annotator.perfect(),
            standardize=False,
            prototypes=np.concatenate([wanted, -wanted]),
            spread=0.0,
        )
        self.strangers = np.arange(TRAIN, TRAIN + STRANGERS)
        self.names = [self.people.users[i] for i in self.strangers]
        self.train = self.people.history(count=PAIRS, users=np.arange(TRAIN))
        asked = self.people.history(count=TESTS, users=self.strangers, held_out=True, seed=1)
        self.tests, self.rows = asked.pairs(ties=False), self.pool.rows(asked.candidates)

    def fit(self, **settings: object) -> VariationalReward:
        """A variational reward fitted to the 300 people."""
        return VariationalReward(encoder=self.pool.encoder(), **settings).fit(self.train)  # type: ignore[arg-type]

    def accuracy(self, table: np.ndarray) -> float:
        """Of utilities [c, strangers] on the strangers' comparisons."""
        q = self.tests
        gap = table[self.rows[q.a], q.user] - table[self.rows[q.b], q.user]
        return float(np.mean(np.where(gap == 0, 0.5, (gap > 0) == (q.p > 0.5))))

    def personal(self, model: VariationalReward, feedback: Feedback) -> float:
        """Accuracy once the strangers have said ``feedback``."""
        return self.accuracy(model.adapt(feedback).score_table(self.pool.candidates, self.names))

    def shots(self, count: int) -> Feedback:
        """The first ``count`` comparisons of each stranger."""
        return self.people.history(count=count, users=self.strangers)

    def population(self) -> float:
        """Accuracy of one Bradley-Terry utility for everybody."""
        value = RewardModel(encoder=self.pool.encoder()).fit(self.train).score(self.pool.candidates).value
        return self.accuracy(np.tile(value[:, None], (1, STRANGERS)))


def types(budget: Budget) -> list[Row]:
    """Checks 1 and 3: strangers from 2, 4 and 8 comparisons; and from 8 comparisons of somebody else."""
    figures: dict[str, list[float]] = {"8 shots": [], "4 shots": [], "2 shots": [], "Bradley-Terry": [], "chance": []}
    mixed: dict[str, list[float]] = {"somebody else's context": [], "own context": []}
    for seed in budget.seeds(2):
        world = World(seed)
        model = world.fit()
        for count in (8, 4, 2):
            figures[f"{count} shots"].append(world.personal(model, world.shots(count)))
        figures["Bradley-Terry"].append(world.population())
        figures["chance"].append(0.5)
        own = world.shots(8)
        other = np.random.default_rng(seed).permutation(STRANGERS)
        mixed["somebody else's context"].append(
            world.personal(model, replace(own, user=other[own.user].astype(np.int32)))
        )
        mixed["own context"].append(figures["8 shots"][-1])
    bounds = [
        at_least("8 shots", 0.94, each=True),
        at_least("4 shots", 0.88, each=True),
        at_least("2 shots", 0.78, each=True),
        within("Bradley-Terry", 0.05, of="chance"),
    ]
    return [
        Row("1 strangers of four opposed types", figures, bounds, "accuracy"),
        Row("3 the context matters", mixed, [at_most("somebody else's context", 0.6)], "accuracy"),
    ]


def collapse(budget: Budget) -> Row:
    """Check 2: a KL weight of 0.1 collapses the posterior, and the library says so; the default does not."""
    figures: dict[str, list[float]] = {k: [] for k in ("reported at 0.1", "accuracy at 0.1", "reported at default")}
    for seed in budget.seeds(2):
        world = World(seed)
        broken = world.fit(kl_weight=0.1, cycles=0, latent=8, epochs=10)
        figures["reported at 0.1"].append(float(broken.summary["collapsed"]))
        figures["accuracy at 0.1"].append(world.personal(broken, world.shots(8)))
        figures["reported at default"].append(float(world.fit(epochs=15).summary["collapsed"]))
    bounds = [
        at_least("reported at 0.1", 1.0, each=True),
        at_most("accuracy at 0.1", 0.6),
        at_most("reported at default", 0.0, each=True),
    ]
    return Row("2 collapse is reported", figures, bounds, "share; accuracy with 8 comparisons")


def questions(budget: Budget) -> Row:
    """Check 4: four questions chosen by mutual information against six at random, people found among those known.

    The encoder is trained on comparisons that people happened to make; what it reads of chosen ones is shown beside.
    """
    names = ("4 chosen", "6 random", "4 random", "encoder: 4 chosen", "encoder: 6 random")
    figures: dict[str, list[float]] = {k: [] for k in names}
    for seed in budget.seeds(5):
        world = World(seed)
        rng = np.random.default_rng([seed, 4])
        prompts = rng.choice(world.people.train, 100, replace=False)
        pair = world.pool.members[prompts][:, :2]
        c = world.pool.candidates
        a, b = c.take(pair[:, 0]), c.take(pair[:, 1])
        gap = world.people.utilities(world.strangers, pair[:, 0]) - world.people.utilities(world.strangers, pair[:, 1])
        random = rng.random((STRANGERS, len(prompts))).argsort(1)
        for prefix, inference in (("", "people"), ("encoder: ", "encoder")):
            model = world.fit(epochs=25, inference=inference)
            chosen = np.zeros((STRANGERS, 0), dtype=np.int64)
            for _ in range(4):
                known = model.adapt(_said(world.names, a, b, gap, chosen)) if chosen.shape[1] else model
                nats = known.information(list(world.names), a, b)
                np.put_along_axis(nats, chosen, -np.inf, axis=1)  # nothing is asked twice
                chosen = np.concatenate([chosen, nats.argmax(1)[:, None]], axis=1)
            asked = {"4 chosen": chosen, "6 random": random[:, :6], "4 random": random[:, :4]}
            for name, which in asked.items():
                if prefix + name in figures:
                    figures[prefix + name].append(world.personal(model, _said(world.names, a, b, gap, which)))
    bounds = [at_least("4 chosen", 0.0, over="6 random")]
    note = (
        'inference="people" was added after choosing by the encoder\'s own posterior had lost to random questions '
        "(encoder: ...): both arms of the bound use it"
    )
    return Row("4 chosen questions", figures, bounds, "accuracy", note=note)


def control(budget: Budget) -> Row:
    """Check 5: a bandit of two goals; policies are the exact softmax of a reward, at one temperature for everybody.

    Each reward's temperature is the one at which its policies are as far from uniform, on average over people, as those
    of the true reward (as ranks) that reach the goal in 95 %: nobody gets there by a colder policy.
    """
    figures: dict[str, list[float]] = {k: [] for k in ("VPL with SPO scaling", "VPL without", "Bradley-Terry")}
    for seed in budget.seeds(3):
        people, near = goals(seed)
        arms, strangers = people.pool.candidates, np.arange(TRAIN, TRAIN + STRANGERS)
        names, kind = [people.users[i] for i in strangers], people.weights[strangers].argmax(1)
        said = people.history(count=PAIRS, users=np.arange(TRAIN))
        model = VariationalReward(
            encoder=people.pool.encoder(), latent=16, hidden=64, context=16, batch=128, seed=seed
        ).fit(said)
        known = model.adapt(people.history(count=PAIRS, users=strangers))
        plain = RewardModel(encoder=people.pool.encoder(), head="mlp").fit(said)
        rank = people.z.argsort(0).argsort(0).T[kind] / len(arms)  # the true reward, scaled
        near = near[kind]
        nats = _spent(rank, _coldness(lambda b, r=rank, g=near: _reached(r, b, g) - 0.95))
        scaled = ExpectedPreference(known, arms)
        rewards = {
            "VPL with SPO scaling": np.stack([scaled.score(arms.asked_by(name)).value for name in names]),
            "VPL without": known.score_table(arms, names).T,
            "Bradley-Terry": np.tile(plain.score(arms).value, (STRANGERS, 1)),
        }
        for name, reward in rewards.items():
            b = _coldness(lambda b, r=reward, n=nats: _spent(r, b) - n)
            figures[name].append(_reached(reward, b, near))
    bounds = [
        at_least("VPL with SPO scaling", 0.9),
        at_most("Bradley-Terry", 0.6),
        at_least("VPL with SPO scaling", 0.1, over="VPL without"),
    ]
    return Row("5 two goals, exact policies", figures, bounds, "share that reaches the person's goal")


def goals(seed: int) -> tuple[Population, np.ndarray]:
    """(people who want one of two places, ten times as decided if the first; bool [2, arms] the arms near each)."""
    side = np.linspace(0, 1, 20)
    place = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    distance = np.linalg.norm(place[:, None] - np.array([[0.2, 0.5], [0.8, 0.5]]), axis=2)
    texts = [f"go to {x:.2f}, {y:.2f}" for x, y in place]
    pool = Pool(Candidates(["Where to?"] * len(texts), texts), place)
    ways = [(0.5, Annotator.bradley_terry(scale, standardize=False)) for scale in (40.0, 4.0)]
    people = Population.simulate(
        "clustered",
        pool,
        -distance,
        users=TRAIN + STRANGERS,
        annotators=ways,
        standardize=False,
        seed=seed,
        prototypes=np.eye(2),
        spread=0.0,
    )
    return replace(people, annotator_of=people.weights.argmax(1)), distance.T <= 0.15


def _reached(reward: np.ndarray, b: float, goal: np.ndarray) -> float:
    """Mean share of softmax(b reward) [u, arms] on the arms of ``goal`` bool [u, arms]."""
    return float((softmax(b * reward, axis=1) * goal).sum(1).mean())


def _spent(reward: np.ndarray, b: float) -> float:
    """Mean KL(softmax(b reward) || uniform), in nats, over people [u, arms]."""
    logits = b * reward - logsumexp(b * reward, axis=1, keepdims=True)
    return float((np.exp(logits) * logits).sum(1).mean() + np.log(reward.shape[1]))


def _said(names: list[str], a: Candidates, b: Candidates, gap: np.ndarray, asked: np.ndarray) -> Feedback:
    """What people answer to the questions ``asked`` int [u, q]; ``gap`` [u, n] > 0 where a is better to them."""
    return Feedback.of(
        Judgement(a.prompts[q], (a.responses[q], b.responses[q]), (float(up), 1.0 - float(up)), user=name)
        for i, name in enumerate(names)
        for q, up in zip(asked[i], gap[i, asked[i]] > 0, strict=True)
    )


def _coldness(target: Callable[[float], float]) -> float:
    """The b at which the increasing function ``target`` of b is zero."""
    root: Any = brentq(lambda log_b: target(math.exp(log_b)), -8.0, 14.0)
    return math.exp(root)

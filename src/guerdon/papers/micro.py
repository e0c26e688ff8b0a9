"""MiCRo: several rewards and a router from anonymous comparisons, re-weighted for a person by twenty of theirs.

The world is the card's: 16 features of responses, two groups of people with nearly opposite rewards, and four topics of
prompts on which the first group holds shares of 90, 70, 30 and 10 %; the router sees noisy topic features. The method
is the model ``mixture`` with two rewards, its baseline ``bradley-terry`` with its penalty chosen on held-out prompts.
Figures are on prompts that nobody trained on; people are judged on noiseless comparisons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.base import Reward
from guerdon.reward.learned.mixture import MixtureReward
from guerdon.reward.learned.model import RewardModel
from guerdon.worlds.pool import Pool

PAPER = paper("micro")

TOPICS, DIM, PROMPTS, RESPONSES, TRAIN, PAIRS, TESTS = 4, 16, 400, 8, 300, 6000, 3000
SHARES = np.array([0.9, 0.7, 0.3, 0.1])
PEOPLE, SHOTS, ASKED = 30, 20, 100


def check(budget: Budget) -> Claim:
    """The four checks of the card."""
    learned, routed, blinded = opposed(budget)
    return Claim(
        PAPER.slug,
        [*learned, routed, blinded, homogeneous(budget)],
        note="the paper's text benchmarks (HelpSteer2, RPR) are not at hand",
    )


@dataclass(frozen=True)
class Asked:
    """Comparisons of candidates a, b int [n]: whether a is preferred [n]."""

    a: np.ndarray
    b: np.ndarray
    first: np.ndarray


class World:
    """Prompts of four topics, and two directions that people want; ``alike`` makes them one."""

    def __init__(self, seed: int, alike: bool = False) -> None:
        self.rng = np.random.default_rng([seed, 16])
        rng = self.rng
        one = rng.normal(size=DIM)
        other = one if alike else -one + 0.3 * rng.normal(size=DIM)
        self.wants = np.stack([w / np.linalg.norm(w) for w in (one, other)])
        self.topic = np.arange(PROMPTS) % TOPICS
        about = np.eye(TOPICS)[self.topic] + 0.3 * rng.normal(size=(PROMPTS, TOPICS))
        x = rng.normal(size=(PROMPTS * RESPONSES, DIM))
        prompts = [f"prompt {i}" for i in range(PROMPTS) for _ in range(RESPONSES)]
        responses = [f"response {i}.{j}" for i in range(PROMPTS) for j in range(RESPONSES)]
        self.pool = Pool(Candidates(prompts, responses), np.hstack([np.repeat(about, RESPONSES, axis=0), x]))

    def ask(self, count: int, unseen: bool, group: int | None = None, noise: bool = True) -> Asked:
        """Comparisons on training or unseen prompts, by somebody of the topic's shares or of ``group``."""
        rng = self.rng
        prompt = rng.integers(TRAIN, PROMPTS, count) if unseen else rng.integers(0, TRAIN, count)
        i = rng.integers(0, RESPONSES, count)
        a, b = prompt * RESPONSES + i, prompt * RESPONSES + (i + rng.integers(1, RESPONSES, count)) % RESPONSES
        drawn = (rng.random(count) >= SHARES[self.topic[prompt]]).astype(int)
        who = drawn if group is None else np.full(count, group)
        x = self.pool.features[:, TOPICS:]
        gap = 3 * np.sum((x[a] - x[b]) * self.wants[who], axis=1)
        return Asked(a, b, rng.random(count) < expit(gap) if noise else gap > 0)

    def feedback(self, asked: Asked, users: list[str] | None = None) -> Feedback:
        """The comparisons as feedback, anonymous unless ``users`` [n] are given."""
        prompts, texts = (
            np.array(c, dtype=object) for c in (self.pool.candidates.prompts, self.pool.candidates.responses)
        )
        return Feedback.from_columns(
            prompts=prompts[asked.a].tolist(),
            responses=(texts[asked.a].tolist(), texts[asked.b].tolist()),
            offsets=np.arange(0, 2 * len(asked.a) + 1, 2),
            grades=np.stack([asked.first, ~asked.first], 1).astype(float).ravel(),
            user=users,
        )

    def fitted(self, seed: int) -> tuple[MixtureReward, RewardModel, Feedback]:
        """(the mixture, Bradley-Terry, what both are fitted to: 6,000 anonymous comparisons)."""
        feedback = self.feedback(self.ask(PAIRS, unseen=False))
        mixture = MixtureReward(encoder=self.pool.encoder(), heads=2, prompt_width=TOPICS, seed=seed).fit(feedback)
        return mixture, RewardModel(encoder=self.pool.encoder(), seed=seed).fit(feedback), feedback

    def nll(self, reward: Reward, asked: Asked) -> float:
        """Nats a comparison."""
        p = reward.prefer(self.pool.candidates.take(asked.a), self.pool.candidates.take(asked.b)).value
        return -float(np.mean(np.log(np.where(asked.first, p, 1 - p))))

    def directions(self, mixture: MixtureReward) -> list[float]:
        """|cos| of each true direction with the reward nearest to it."""
        w = (mixture.heads * mixture.features.scale[:, None])[TOPICS:]
        return np.abs(self.wants @ (w / np.linalg.norm(w, axis=0))).max(1).tolist()


def opposed(budget: Budget) -> tuple[list[Row], Row, Row]:
    """Checks 1 to 3: opposed groups; thirty new people; the router blinded to the prompt."""
    loss: dict[str, list[float]] = {"mixture": [], "Bradley-Terry": []}
    cosine: dict[str, list[float]] = {"the worse of two": []}
    blind: dict[str, list[float]] = {"router blinded": [], "router": []}
    right: dict[str, list[float]] = {"Hedge": [], "distilled": [], "Bradley-Terry": [], "rewards averaged": []}
    for seed in budget.seeds(4):
        world = World(seed)
        mixture, plain, feedback = world.fitted(seed)
        tests = world.ask(TESTS, unseen=True)
        loss["mixture"].append(world.nll(mixture, tests))
        loss["Bradley-Terry"].append(world.nll(plain, tests))
        cosine["the worse of two"].append(min(world.directions(mixture)))
        blind["router"].append(loss["mixture"][-1])
        blind["router blinded"].append(blinded_nll(world, mixture, feedback, tests))
        for name, value in people(world, mixture, plain).items():
            right[name].append(value)
    learned = [
        Row("1a irreducible error", loss, [at_most("mixture", -0.06, over="Bradley-Terry")], "held-out nats"),
        Row("1b both rewards recovered", cosine, [at_least("the worse of two", 0.95, each=True)], "|cos|"),
    ]
    bounds = [at_least("Hedge", 0.92), at_most("Bradley-Terry", 0.70), at_least("Hedge", 0.10, over="rewards averaged")]
    routed = Row(f"2 new people, {SHOTS} shots", right, bounds, "accuracy")
    note = "weights are the router's mean over the training data, whatever the prompt"
    return learned, routed, Row("3 blinded", blind, [at_least("router blinded", 0.03, over="router")], "nats", note)


def blinded_nll(world: World, mixture: MixtureReward, feedback: Feedback, tests: Asked) -> float:
    """Nats of the same rewards under one mixture for all prompts."""
    w = mixture.weights(feedback.candidates).mean(0)
    x = mixture.x(world.pool.candidates)
    p = expit((x[tests.a] - x[tests.b]) @ mixture.heads) @ w
    return -float(np.mean(np.log(np.where(tests.first, p, 1 - p))))


def people(world: World, mixture: MixtureReward, plain: RewardModel) -> dict[str, float]:
    """Mean accuracy over thirty people, each of one group, after twenty comparisons."""
    names = [f"u{i}" for i in range(PEOPLE)]
    shots = [world.ask(SHOTS, unseen=False, group=i % 2) for i in range(PEOPLE)]
    together = Asked(*(np.concatenate([getattr(s, k) for s in shots]) for k in ("a", "b", "first")))
    few = world.feedback(together, [name for name in names for _ in range(SHOTS)])
    distilling = MixtureReward(**{**mixture.params, "encoder": world.pool.encoder(), "adaptation": "distil"})
    distilling.restore(mixture.arrays())
    candidates = world.pool.candidates
    averaged = mixture.rewards(candidates).mean(1)
    hedge, routers = mixture.adapt(few), distilling.adapt(few)
    found: dict[str, list[float]] = {"Hedge": [], "distilled": [], "Bradley-Terry": [], "rewards averaged": []}
    for i, name in enumerate(names):
        asked = world.ask(ASKED, unseen=True, group=i % 2, noise=False)
        a, b = candidates.take(asked.a).asked_by(name), candidates.take(asked.b)
        for label, reward in (("Hedge", hedge), ("distilled", routers), ("Bradley-Terry", plain)):
            found[label].append(float(np.mean((reward.prefer(a, b).value > 0.5) == asked.first)))
        found["rewards averaged"].append(float(np.mean((averaged[asked.a] > averaged[asked.b]) == asked.first)))
    return {label: float(np.mean(values)) for label, values in found.items()}


def homogeneous(budget: Budget) -> Row:
    """Check 4: one group."""
    loss: dict[str, list[float]] = {"mixture": [], "Bradley-Terry": []}
    for seed in budget.seeds(4):
        world = World(seed, alike=True)
        mixture, plain, _ = world.fitted(seed)
        tests = world.ask(TESTS, unseen=True)
        loss["mixture"].append(world.nll(mixture, tests))
        loss["Bradley-Terry"].append(world.nll(plain, tests))
    return Row("4 one group", loss, [at_most("mixture", 0.005, over="Bradley-Terry")], "held-out nats")

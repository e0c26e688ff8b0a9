"""Writing-Zero: a random rollout of the group is the reference, and the others' reward is the sign of a comparison.

The reward is checked on a policy that is nothing but a softmax over 60 responses, tuned by its exact score function:
each response has a true quality and a nuisance (its length, say). A scalar reward likes both; a judge that compares is
noisy but sees quality only. :class:`~guerdon.reward.judge.references.GroupReference` turns its comparisons into
advantages. What is left needs a language model to be tuned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from guerdon.feedback.schema import Candidates
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, within
from guerdon.papers.index import paper
from guerdon.reward.base import Reward, Scores
from guerdon.reward.judge.references import AgainstReference, Anchors, GroupReference

PAPER = paper("writing-zero")

RESPONSES, GROUP, STEPS, RATE, NOISE, NUISANCE = 60, 16, 400, 0.5, 0.6, 1.2
REFERENCES = 5


def check(budget: Budget) -> Claim:
    """Checks 1 and 2 of the card."""
    return Claim(
        PAPER.slug,
        [*hackable(budget), unbiased(budget)],
        left=(
            "check 3 (a small language model that writes) and the tuning of the policy: they belong to tune/language",
            "check 4 (training the judge, as of card 054): it belongs to tune/language",
        ),
    )


class Noisy(Reward):
    """A judge that prefers a to b with chance sigmoid((q_a - q_b) / 0.6), and says only which."""

    name = "noisy"

    def __init__(self, quality: np.ndarray, seed: int) -> None:
        self.quality, self.rng, self.asked = quality, np.random.default_rng([seed, 1]), 0

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """Verdicts 1 and 0 [n]."""
        i, j = (np.array([int(str(r)) for r in side.responses], dtype=int) for side in (a, b))
        self.asked += len(i)
        return Scores((self.rng.random(len(i)) < expit((self.quality[i] - self.quality[j]) / NOISE)).astype(float))


@dataclass
class World:
    """60 responses with standard normal quality and nuisance."""

    quality: np.ndarray
    nuisance: np.ndarray
    seed: int

    @classmethod
    def drawn(cls, seed: int) -> World:
        """One draw."""
        rng = np.random.default_rng(seed)
        return cls(rng.normal(size=RESPONSES), rng.normal(size=RESPONSES), seed)

    def tune(self, advantages: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
        """The policy [60] after 400 steps along the score function, weighted by ``advantages(group, step)``."""
        rng, logits = np.random.default_rng([self.seed, 2]), np.zeros(RESPONSES)
        for step in range(STEPS):
            policy = np.exp(logits - np.logaddexp.reduce(logits))
            group = rng.choice(RESPONSES, GROUP, p=policy)
            a = np.nan_to_num(advantages(group, step))  # a dropped group teaches nothing
            logits += RATE * (np.bincount(group, a, RESPONSES) - a.sum() * policy) / GROUP
        return np.exp(logits - np.logaddexp.reduce(logits))


def as_candidates(group: np.ndarray) -> Candidates:
    """Rollouts as responses to the one prompt."""
    return Candidates(["write"] * len(group), [str(i) for i in group])


def standardized(reward: np.ndarray) -> np.ndarray:
    """GRPO's advantages: less the group's mean, over its standard deviation."""
    return (reward - reward.mean()) / (reward.std() + 1e-6)


def hackable(budget: Budget) -> list[Row]:
    """True quality that is reached under a hackable scalar, a random member, all pairs, and a fixed reference."""
    names = ("random member", "scalar", "all pairs", "fixed reference", "best possible")
    quality: dict[str, list[float]] = {name: [] for name in names}
    nuisance: dict[str, list[float]] = {name: [] for name in ("random member", "scalar")}
    calls: dict[str, list[float]] = {name: [] for name in ("random member", "all pairs")}
    share, beaten, possible = [], [], []
    for seed in budget.seeds(8):
        world = World.drawn(seed)
        q, scalar = world.quality, world.quality + NUISANCE * world.nuisance

        member = Noisy(q, seed)
        policy = world.tune(
            lambda group, step, judge=member, seed=seed: (
                GroupReference(judge, seed=(seed, step)).rank(as_candidates(group)).value
            )
        )
        quality["random member"].append(float(policy @ q))
        nuisance["random member"].append(float(policy @ world.nuisance))
        calls["random member"].append(member.asked / STEPS)

        policy = world.tune(lambda group, step, scalar=scalar: standardized(scalar[group]))
        quality["scalar"].append(float(policy @ q))
        nuisance["scalar"].append(float(policy @ world.nuisance))

        pairs = Noisy(q, seed)
        policy = world.tune(lambda group, step, judge=pairs: standardized(win_rates(judge, group)))
        quality["all pairs"].append(float(policy @ q))
        calls["all pairs"].append(pairs.asked / STEPS)

        reached, wins, most = [], [], []
        for first in np.random.default_rng([seed, 3]).integers(RESPONSES, size=REFERENCES).tolist():
            fixed = AgainstReference(Noisy(q, seed), Anchors(["write"], [str(first)]))
            policy = world.tune(
                lambda group, step, reward=fixed: np.sign(reward.score(as_candidates(group)).value - 0.5)
            )
            reached.append(float(policy @ q))
            wins.append(float(policy @ expit((q - q[first]) / NOISE)))
            most.append(float(expit((q.max() - q[first]) / NOISE)))
        quality["fixed reference"].append(float(np.mean(reached)))
        beaten.append(float(np.mean(wins)))
        possible.append(float(np.mean(most)))
        quality["best possible"].append(float(q.max()))
        share.append(quality["random member"][-1] / q.max())
    first_row = Row(
        "a scalar that likes length, a judge that does not",
        {
            **quality,
            "share of the best possible": share,
            "calls, random member": calls["random member"],
            "calls, all pairs": calls["all pairs"],
        },
        [
            at_least("random member", 0.6, over="scalar"),
            at_least("share of the best possible", 0.85),
            at_least("random member", -0.25, over="all pairs"),
            at_most("calls, random member", GROUP - 1),
        ],
        unit="true quality (calls: comparisons a group)",
        note="nuisance reached: scalar "
        f"{np.mean(nuisance['scalar']):+.2f}, random member {np.mean(nuisance['random member']):+.2f}. Equal rollouts "
        "are compared once, so that a policy that has made up its mind asks less",
    )
    second = Row(
        "a fixed reference saturates",
        {
            "random member": quality["random member"],
            "fixed reference": quality["fixed reference"],
            "wins against it": beaten,
            "wins of the best possible": possible,
        },
        [
            at_most("fixed reference", -0.2, over="random member"),
            at_least(
                "wins against it",
                -0.05,
                over="wins of the best possible",
                was=0.95,
                why="the judge is noisy: even the best response does not win 95% against references of the first "
                "policy, so nothing can; asked is that nearly all that can be won is",
            ),
        ],
        unit="true quality (wins: share)",
        note=f"{REFERENCES} references a seed, rollouts of the first policy, each kept for the whole run",
    )
    return [first_row, second]


def win_rates(judge: Noisy, group: np.ndarray) -> np.ndarray:
    """[G] share of the others that each rollout beats, every pair compared once."""
    i, j = np.triu_indices(len(group), 1)
    shown = as_candidates(group)
    p = judge.prefer(shown.take(i), shown.take(j)).value
    return (np.bincount(i, p, len(group)) + np.bincount(j, 1 - p, len(group))) / (len(group) - 1)


def unbiased(budget: Budget) -> Row:
    """The mean advantage over groups of independent rollouts, and the reference's own."""
    means, own = [], []
    for seed in budget.seeds(8):
        rng = np.random.default_rng(seed)
        judge = Noisy(rng.normal(size=RESPONSES), seed)
        sums = []
        for draw in range(1000):
            group = rng.choice(RESPONSES, GROUP, replace=False)
            scores = GroupReference(judge, extreme=None, seed=draw).rank(as_candidates(group))
            sums.append(float(scores.value.mean()))
            own.append(abs(float(scores.value[scores.detail["reference"][0]])))
        means.append(float(np.mean(sums)))
    return Row(
        "advantages have mean zero",
        {"mean advantage": [float(np.mean(means))], "the reference's": [max(own)], "one seed": [max(map(abs, means))]},
        [within("mean advantage", 0.02), within("the reference's", 0.0)],
        note="1000 groups a seed; without any normalization",
    )

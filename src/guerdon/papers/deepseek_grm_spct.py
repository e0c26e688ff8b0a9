"""DeepSeek-GRM: a judge writes principles, a critique and grades in one reply; k samples are summed, a meta RM filters.

What is checked here is the judging: how voting scales with k, with and without a meta reward that knows with noise
which samples are good, and what the shuffle of each sample does to a preference for a place. The judges are scripts
that write whole replies (principles, critique, grades) whose truth is known. Baselines: one sample, the majority.
"""

from __future__ import annotations

import json
import random
import re

import numpy as np

from guerdon.feedback.schema import Candidates
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.base import Reward, Scores
from guerdon.reward.judge.meta import MetaVote
from guerdon.reward.judge.principles import Judged, PrincipledJudge
from guerdon.testing.scripted import Scripted
from guerdon.worlds.judges import Asked, SimulatedJudge

PAPER = paper("deepseek-grm-spct")

QUERIES, SIZES, LISTS = 800, (1, 4, 8, 32), 100
CODE = re.compile(r'"verdict_code", which is (\w+)')
SHOWN = re.compile(r"<<<begin response (\d+) ([0-9a-f]{24})>>>\n(.*?)\n<<<end response \1 \2>>>", re.S)


def check(budget: Budget) -> Claim:
    """Checks 1 (two settings) and 4 of the card."""
    return Claim(
        PAPER.slug,
        [scaling(budget), symmetric(budget), places(budget)],
        left=(
            "check 2 (SPCT trains: rejective fine-tuning and GRPO): the training half",
            "check 3 (a meta reward learned from judgements' texts): here the meta reward is the card's oracle with "
            "noise of one standard deviation",
        ),
    )


def reply(prompt: str, grade_of: dict[str, float], critique: str = "") -> str:
    """A whole judgement with these grades of the texts, rounded and clipped to 1 .. 10."""
    grades = [
        {"response": int(m[1]), "grade": int(np.clip(round(grade_of[m[3]]), 1, 10))} for m in SHOWN.finditer(prompt)
    ]
    said = {"principles": [{"principle": "Be right.", "weight": 100}], "critique": critique, "grades": grades}
    return json.dumps({**said, "verdict_code": CODE.findall(prompt)[-1]})


class Bimodal:
    """A judge whose samples are good with a chance of each query's own, Beta(3, 2): gap +1.6, and -2.0 where bad."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = np.random.default_rng(seed).beta(3, 2, QUERIES).tolist()

    def __call__(self, prompt: str, draw: int) -> str:
        query = int(re.findall(r"query (\d+)\n", prompt)[0])
        dice = random.Random(f"{self.seed}/{query}/{draw}")
        good = dice.random() < self.chance[query]
        gap = 1.6 if good else -2.0
        grades = {"right": 5.5 + gap / 2 + 0.8 * dice.gauss(0, 1), "wrong": 5.5 - gap / 2 + 0.8 * dice.gauss(0, 1)}
        return reply(prompt, grades, f"sample {query}/{draw} {'good' if good else 'bad'}")


class NoisyMeta(Reward):
    """1 for a good sample, 0 for a bad one, and a standard normal error."""

    name = "noisy-meta"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def score(self, candidates: Candidates) -> Scores:
        """Scores of judgements (the critique says whether they are good)."""
        texts = [re.findall(r"sample \d+/\d+ (?:good|bad)", str(r))[-1] for r in candidates.responses]
        noise = [random.Random(f"{self.seed}/{t}").gauss(0, 1) for t in texts]
        return Scores(np.array([t.endswith("good") + e for t, e in zip(texts, noise, strict=True)]))


def pairs() -> Candidates:
    """A right and a wrong response to each query."""
    return Candidates([f"query {i}" for i in range(QUERIES) for _ in range(2)], ["right", "wrong"] * QUERIES)


def accuracy(value: np.ndarray) -> float:
    """Of values [2 queries], right ones first; a tie is half, as a random break is on average."""
    d = value[0::2] - value[1::2]
    return float(np.mean(np.where(d == 0, 0.5, d > 0)))


def scaling(budget: Budget) -> Row:
    """Check 1: sums, majorities and meta-filtered sums of k samples of a judge that is often consistently wrong."""
    figures: dict[str, list[float]] = {}
    for seed in budget.seeds(5):
        model = Scripted(Bimodal(seed))

        def run(name: str, model: Scripted = model, **settings: object) -> None:
            value = PrincipledJudge(model, temperature=1.0, **settings).rank(pairs()).value  # type: ignore[arg-type]
            figures.setdefault(name, []).append(accuracy(value))

        for k in (4, 8, 32):
            run(f"meta@{k}", samples=k, combine=MetaVote(NoisyMeta(seed)))
        for k in SIZES:
            run(f"sum@{k}", samples=k)
        run("majority@32", samples=32, combine="majority")
    bounds = [at_least(f"sum@{b}", 0.0, over=f"sum@{a}") for a, b in ((1, 4), (4, 8), (8, 32))]
    bounds += [at_least("meta@32", 0.15, over="sum@32"), at_least("meta@8", 0.0, over="sum@32")]
    return Row(
        "1 scaling with samples",
        figures,
        bounds,
        "accuracy",
        f"{QUERIES} queries a seed (the card's prototype has 4000); majority is above sum here because bad "
        "samples have larger gaps",
    )


def symmetric(budget: Budget) -> Row:
    """Check 1, second setting: small gaps and symmetric noise, where sums have more to say than votes."""
    figures: dict[str, list[float]] = {n: [] for n in ("sum@8", "majority@8", "single", "ties sum", "ties majority")}
    for seed in budget.seeds(5):
        gaps = np.abs(np.random.default_rng(seed).normal(0.5, 0.3, QUERIES)).tolist()

        def judge(prompt: str, draw: int, seed: int = seed, gaps: list[float] = gaps) -> str:
            query = int(re.findall(r"query (\d+)\n", prompt)[0])
            dice = random.Random(f"{seed}/{query}/{draw}")
            grades = {text: 5.5 + sign * gaps[query] / 2 + 0.9 * dice.gauss(0, 1) for text, sign in
                      (("right", 1), ("wrong", -1))}  # fmt: skip
            return reply(prompt, grades)

        rows = [[2 * i, 2 * i + 1] for i in range(QUERIES)]
        lists = PrincipledJudge(Scripted(judge), samples=8, temperature=1.0).judgements(pairs(), rows).lists
        for rule in ("sum", "majority"):
            value = merged(lists, rule)
            figures[f"{rule}@8"].append(accuracy(value))
            figures[f"ties {rule}"].append(float(np.mean(np.isclose(value[0::2], value[1::2]))))
        figures["single"].append(accuracy(np.concatenate([of.y[0] for of in lists])))
    bounds = [
        at_least("sum@8", 0.005, over="majority@8"),
        at_most("ties sum", 0.0, over="ties majority"),
        at_least("sum@8", 0.0, over="single"),
    ]
    return Row("1 symmetric noise: sum against majority", figures, bounds, "accuracy, share of ties")


def merged(lists: list[Judged], rule: str) -> np.ndarray:
    """float64 values of all lists, one after the other."""
    return np.concatenate([of.merge(rule)[0] for of in lists])


def places(budget: Budget) -> Row:
    """Check 4: one point for the first place, lists of 2 to 5."""
    figures: dict[str, list[float]] = {"removed": [], "sum@8": [], "one order 8 times": []}

    def quality(asked: Asked, text: str) -> float:
        return float(text.split()[-1])

    for seed in budget.seeds(5):
        rng = np.random.default_rng(seed)
        sizes = rng.integers(2, 6, LISTS)
        lists = np.repeat(np.arange(LISTS), sizes)
        truth = rng.integers(2, 9, len(lists)) / 9  # grades 3 to 9, so that one point more is on the scale
        shown = Candidates([f"q {t}" for t in lists], [f"text {k} is {q:.6f}" for k, q in enumerate(truth)])
        own = [("Be right.", 100.0)]
        model = SimulatedJudge(quality, position=1 / 9, principles=lambda asked, draw, own=own: own, seed=seed)
        found = {}
        for name, samples in (("sum@8", 8), ("one order 8 times", 1)):  # without noise, eight of one order are one
            value = PrincipledJudge(model, samples=samples, seed=seed).rank(shown).value
            error = value - (1 + 9 * truth)
            error -= (np.bincount(lists, error) / np.bincount(lists))[lists]
            found[name] = float(np.sqrt(np.mean(error**2)))
            figures[name].append(found[name])
        figures["removed"].append(1 - found["sum@8"] / found["one order 8 times"])
    return Row(
        "4 position bias",
        figures,
        [at_least("removed", 0.8)],
        "root mean square position effect, points; share removed",
        "lists of 2 to 5; n samples rotate one shuffle of the n responses",
    )

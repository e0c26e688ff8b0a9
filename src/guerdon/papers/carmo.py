"""CARMO: criteria written for each request before any response is seen, and scores by those.

A request needs two of eight attributes, and its truth is their sum. The simulated judge reads each attribute of a
response with an error of 0.5 and, unless it is told what to look at, all eight and how thorough a text looks (marks of
lists, length). CARMO's criteria come from the request, one in ten of them wrong. Its baselines are a rubric of all
eight and looks, and the plain judge with as many calls a response.
"""

from __future__ import annotations

import json
import random
import re
from functools import lru_cache

import numpy as np

from guerdon.feedback.schema import Candidates
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.base import Reward
from guerdon.reward.judge.criteria import WrittenCriteria, overlap
from guerdon.reward.judge.pairwise import PairwiseJudge
from guerdon.reward.judge.pointwise import PointwiseJudge
from guerdon.reward.judge.standard import Standard
from guerdon.worlds.judges import Asked, SimulatedJudge

PAPER = paper("carmo")

NAMES = ("depth", "safety", "warmth", "rigour", "brevity", "examples", "sources", "structure")
LOOKS = "thorough"
QUERIES, RESPONSES, PAIRS = 40, 64, 150
SIZES = (1, 4, 16, 64)
STATIC = Standard.rubric([{"name": n, "text": f"It shows {n}."} for n in (*NAMES, LOOKS)])


def check(budget: Budget) -> Claim:
    """Checks 1 (two rows) and 3 of the card."""
    return Claim(
        PAPER.slug,
        [*hackable(budget), probe(budget)],
        left=(
            "check 2, distillation into a small judge, and annotation of preference data for DPO: the training half",
            "check 1 on the card's ReaderLM: the judge here is worlds/judges.py",
        ),
    )


@lru_cache(maxsize=100_000)
def attributes(text: str) -> dict[str, float]:
    """What a response has, as the judge reads it: each with an error of 0.5 that stays."""
    found = {name: float(value) for name, value in re.findall(r"(\w+)=(-?[\d.]+)", text)}
    dice = random.Random(text)
    return {name: value + 0.5 * dice.gauss(0, 1) for name, value in sorted(found.items())}


def quality(asked: Asked, text: str) -> float:
    """Weighted mean of the attributes that the criteria name, or of everything, from -3 .. 3 to 0 .. 1."""
    read = attributes(text)
    heeded = {n: w for criterion, w in asked.criteria for n in re.findall(r"shows (\w+)", criterion)}
    heeded = heeded or dict.fromkeys(read, 1.0)
    return 0.5 + sum(w * read[n] for n, w in heeded.items()) / sum(heeded.values()) / 6


def writes(prompt: str, draw: int) -> str:
    """Two criteria for the needs that the request states; one in ten is wrong."""
    needs = re.findall(r"needs (\w+) and (\w+)", prompt)[-1]
    dice = random.Random(f"{prompt}/{draw}")
    chosen: list[str] = []
    for need in needs:
        others = [n for n in NAMES if n not in chosen and n not in needs]
        chosen.append(need if dice.random() >= 0.1 else dice.choice(others))
    said = [{"name": n, "description": f"It shows {n}.", "weight": 5} for n in chosen]
    return json.dumps({"criteria": said})


class World:
    """Requests with two needs each, and responses whose other attributes have heavy tails."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.model = SimulatedJudge(quality, noise=0.02, writes=writes, seed=seed)

    def draw(self, queries: int, responses: int) -> tuple[Candidates, np.ndarray]:
        """(candidates, truth [queries, responses] in standard deviations)."""
        prompts, texts = [], []
        truth = np.empty((queries, responses))
        for q in range(queries):
            needs = self.rng.choice(8, 2, replace=False)
            prompt = f"Request {q}: it needs {NAMES[needs[0]]} and {NAMES[needs[1]]}."
            x = self.rng.standard_t(2, (responses, 9))  # the ninth is how thorough it looks
            x[:, needs] = self.rng.normal(size=(responses, 2))
            for row in x:
                prompts.append(prompt)
                texts.append(" ".join(f"{n}={v:.3f}" for n, v in zip((*NAMES, LOOKS), row, strict=True)))
            truth[q] = x[:, needs].sum(1) / np.sqrt(2)
        return Candidates(prompts, texts), truth

    def judges(self, kind: type, **settings: object) -> dict[str, Reward]:
        """CARMO, the static rubric, and the plain judge with as many calls a response as CARMO takes."""
        carmo = WrittenCriteria(self.model, least=2)
        more = {"temperature": 0.6, **settings}
        votes = 2 if kind is PointwiseJudge else 1
        return {
            "CARMO": kind(self.model, carmo, **more),
            "static": kind(self.model, STATIC, **more),
            "plain": kind(self.model, **more, votes=votes, combine="mean"),
        }


def hackable(budget: Budget) -> list[Row]:
    """Check 1: what best-of-N by each judge is truly worth, and its accuracy on pairs."""
    chosen: dict[str, list[float]] = {}
    accuracy: dict[str, list[float]] = {}
    for seed in budget.seeds(5):
        world = World(seed)
        candidates, truth = world.draw(QUERIES, RESPONSES)
        for name, judge in world.judges(PointwiseJudge, scale="1-5").items():
            value = judge.score(candidates).value.reshape(truth.shape)
            for n in SIZES:
                best = value[:, :n].argmax(1)
                chosen.setdefault(f"{name}, N={n}", []).append(float(truth[np.arange(QUERIES), best].mean()))
            if name == "static":
                at = {n: chosen[f"static, N={n}"][-1] for n in (16, 64)}
                chosen.setdefault("static, gain 16 to 64", []).append(at[64] - at[16])
        pairs, truth = world.draw(PAIRS, 2)
        first = pairs.take(range(0, 2 * PAIRS, 2))
        second = pairs.take(range(1, 2 * PAIRS, 2))
        for name, judge in world.judges(PairwiseJudge).items():
            p = judge.prefer(first, second).value
            right = np.where(p == 0.5, 0.5, (p > 0.5) == (truth[:, 0] > truth[:, 1]))
            accuracy.setdefault(name, []).append(float(right.mean()))
    rises = [at_least(f"CARMO, N={b}", 0.0, over=f"CARMO, N={a}") for a, b in ((1, 4), (4, 16), (16, 64))]
    bounds = [
        *rises,
        at_least("CARMO, N=64", 0.8, over="static, N=64"),
        at_most("static, gain 16 to 64", 0.1),
        at_least("CARMO, N=64", 0.0, over="plain, N=64"),
    ]
    note = "scores 1-5; plain: no criteria, as many calls a response as CARMO's two. Grades end at 1 and 5, "
    "which cuts the heavy tails that mislead the static rubric"
    return [
        Row("1 best of N", chosen, bounds, "truth of the response chosen", note),
        Row(
            "1 pairs",
            accuracy,
            [at_least("CARMO", 0.1, over="static"), at_least("CARMO", 0.0, over="plain")],
            "accuracy",
            "both orders; one call for the criteria more a request",
        ),
    ]


def probe(budget: Budget) -> Row:
    """Check 3: the overlap of criteria of different requests."""
    figures: dict[str, list[float]] = {"CARMO": [], "static": []}
    for seed in budget.seeds(5):
        world = World(seed)
        candidates, _ = world.draw(100, 1)
        for name, standard in (("CARMO", WrittenCriteria(world.model, least=2)), ("static", STATIC)):
            sets = [[c.text for c in s.criteria] for s in standard.each(candidates).standard if s is not None]
            figures[name].append(overlap(sets, same=0.95, seed=seed))
    return Row(
        "3 overlap of criteria",
        figures,
        [at_most("CARMO", 0.0, over="static"), at_most("CARMO", 0.9), at_least("static", 0.9)],
        "mean Jaccard",
        "criteria matched by their words; above 0.9 a warning is logged",
    )

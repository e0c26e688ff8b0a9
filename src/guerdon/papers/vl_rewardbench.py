"""VL-RewardBench's votes: official and strict accuracy of simulated judges against their closed forms."""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

from guerdon.bench.vote_rules import accuracy
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper

PAPER = paper("vl-rewardbench")
ITEMS, CALLS = 1250, (1, 5, 9)
JUDGES = tuple((p, *rest) for p in (0.35, 0.45, 0.6, 0.7, 0.75) for rest in ((0.0, 0.0), (0.2, 0.1)))
"""Probability of the right answer, bias to the first place, share of unparsed replies."""


def check(budget: Budget) -> Claim:
    """Check 1 of the card: the estimator, and what votes do to strong and to weak judges."""
    figures: dict[str, list[float]] = {
        "official, within 2 standard errors": [], "strict, within 2 standard errors": [],
        "strong judge, gain of 9 votes": [], "weak judge, gain of 9 votes": [],
    }  # fmt: skip
    for seed in budget.seeds(20):
        rng = np.random.default_rng([87, seed])
        near: dict[str, list[bool]] = {"official": [], "strict": []}
        found: dict[tuple[float, int], float] = {}
        for right, bias, refused in JUDGES:
            for calls in CALLS:
                first = rng.random((ITEMS, calls)) < 0.5  # the better answer is shown first
                votes = (rng.random(first.shape) < right + np.where(first, bias, -bias)).astype(float)
                votes[rng.random(first.shape) < refused] = np.nan
                said = accuracy(votes, ["general"] * ITEMS)
                up = float(binom.sf(calls // 2, calls, (1 - refused) * right))
                down = float(binom.sf(calls // 2, calls, (1 - refused) * (1 - right)))
                for name, truth, n in (("official", up / (up + down), ITEMS * (up + down)), ("strict", up, ITEMS)):
                    error = (truth * (1 - truth) / n) ** 0.5
                    near[name].append(abs(said[name]["overall"] - truth) <= 2 * error)
                if not bias:
                    found[right, calls] = said["strict"]["overall"]
        for name, values in near.items():
            figures[f"{name}, within 2 standard errors"].append(float(np.mean(values)))
        figures["strong judge, gain of 9 votes"].append(found[0.7, 9] - found[0.7, 1])
        figures["weak judge, gain of 9 votes"].append(found[0.35, 9] - found[0.35, 1])
    bounds = [
        at_least("official, within 2 standard errors", 0.93),
        at_least("strict, within 2 standard errors", 0.93),
        at_least("strong judge, gain of 9 votes", 0.05),
        at_most("weak judge, gain of 9 votes", -0.05),
    ]
    left = (
        "the log of check 1 replayed against the published script; checks 2 to 4 (place bias, seeing, validity)",
        "reading the published records with images",
    )
    return Claim(PAPER.slug, [Row("1 estimator and votes", figures, bounds, "share; accuracy")], left)

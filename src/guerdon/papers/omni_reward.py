"""Omni-Reward's scoring: a threshold of ties found by one sweep, cross-fitted so that it is not tuned on the test.

The suite ``omni-rewardbench`` reads the published records and scores with the same parts.
"""

from __future__ import annotations

import numpy as np

from guerdon.bench.vote_rules import best_threshold, cross_fitted, with_ties
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper

PAPER = paper("omni-reward")


def check(budget: Budget) -> Claim:
    """Check 3 of the card."""
    figures: dict[str, list[float]] = {"sweep less brute force": [], "tuned": [], "cross-fitted": [], "optimum": []}
    for seed in budget.seeds(3):
        rng = np.random.default_rng([60, seed])
        worst = 0.0
        for _ in range(200):
            gap, label = rng.integers(-4, 5, 40) / 2, rng.integers(-1, 2, 40)
            naive = max(with_ties(gap, label, t) for t in (-1.0, *np.unique(np.abs(gap))))
            worst = max(worst, abs(best_threshold(gap, label)[1] - naive))
        figures["sweep less brute force"].append(worst)
        label = rng.integers(-1, 2, 202_000)
        gap = label + 0.5 * rng.normal(size=len(label))
        figures["tuned"].append(best_threshold(gap[:2000], label[:2000])[1])
        figures["cross-fitted"].append(cross_fitted(gap[:2000], label[:2000], seed=seed))
        figures["optimum"].append(best_threshold(gap[2000:], label[2000:])[1])
    bounds = [
        at_most("sweep less brute force", 1e-12, each=True),
        at_most("cross-fitted", 0.0, over="tuned", each=True),
        at_least("cross-fitted", -0.02, over="optimum", each=True),
        at_most("cross-fitted", 0.02, over="optimum", each=True),
    ]
    row = Row("3 threshold of ties", figures, bounds, "accuracy with ties")
    left = ("checks 1 and 2: one reward of several modalities with its criterion in words",)
    return Claim(PAPER.slug, [row], left)

"""TextNorm's normalised confidence: what the image alone adds to a reward cancels among contrastive prompts."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from guerdon.bench.alignment_rules import confidence
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper

PAPER = paper("textnorm")
PROMPTS, IMAGES, CONTRASTS = 40, 50, 6
TEMPERATURES = (0.1, 0.5, 1.0, 2.0)


def check(budget: Budget) -> Claim:
    """Check 1 of the card."""
    figures: dict[str, list[float]] = {f"TextNorm, {t:g}": [] for t in TEMPERATURES}
    figures |= {"raw reward": [], "change by the image's own part": []}
    for seed in budget.seeds(3):
        rng = np.random.default_rng([102, seed])
        each: dict[str, list[float]] = {name: [] for name in figures}
        for _ in range(PROMPTS):
            fits = rng.random(IMAGES) < 0.4
            other = rng.integers(CONTRASTS, size=IMAGES)  # what an image shows that does not fit its prompt
            quality = 1.5 * rng.normal(size=IMAGES)
            own = fits + quality + 0.5 * rng.normal(size=IMAGES)
            shown = (~fits)[:, None] & (other[:, None] == np.arange(CONTRASTS))
            rivals = shown + quality[:, None] + 0.5 * rng.normal(size=(IMAGES, CONTRASTS))
            each["raw reward"].append(auroc(own, fits))
            for t in TEMPERATURES:
                share = confidence(own, rivals, t)
                each[f"TextNorm, {t:g}"].append(auroc(share, fits))
                moved = confidence(own + 3 * quality, rivals + 3 * quality[:, None], t)
                each["change by the image's own part"].append(float(np.abs(moved - share).max()))
        for name, values in each.items():
            figures[name].append(float(np.max(values) if name.startswith("change") else np.mean(values)))
    bounds = [at_most("raw reward", 0.70), at_most("change by the image's own part", 1e-6)]
    bounds += [at_least(f"TextNorm, {t:g}", 0.80) for t in TEMPERATURES]
    left = ("checks 2 to 4: over-optimisation, ensembles, TIA2's published scores", "scoring of images")
    return Claim(PAPER.slug, [Row("1 nuisance cancels", figures, bounds, "AUROC, mean over prompts")], left)


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Share of (positive, negative) pairs in the right order, ties half."""
    p, n = int(positive.sum()), int((~positive).sum())
    return float((rankdata(score)[positive].sum() - p * (p + 1) / 2) / (p * n))

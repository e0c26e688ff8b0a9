"""TextNorm's normalised confidence: what the image alone adds to a reward cancels among contrastive prompts.

Rewards of images are simulated: whether the image fits its prompt, a quality that has nothing to do with the prompt,
and noise; an image that does not fit its prompt shows one of the contrastive ones. Three of them with noise and quality
of their own make an ensemble. TIA2's released labels and scores are read where they are at hand (the folders
``human_annotations`` and ``alignment_scores`` of github.com/kykim0/TextNorm, as ``tia2``).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from guerdon.bench.alignment_rules import confidence, ensemble
from guerdon.bench.prompt_ranking import auroc, ceiling, kappa, majority
from guerdon.papers.frame import DATA, Budget, Claim, Row, at_least, at_most, real_data, within
from guerdon.papers.index import paper

PAPER = paper("textnorm")
PROMPTS, IMAGES, CONTRASTS, MODELS = 40, 50, 6, 3
TEMPERATURES = (0.1, 0.5, 1.0, 2.0)
PENALTY = 1.0
"""Of the ensemble's variance."""
PUBLISHED = {
    "counting": {"imagereward": 0.657, "pickscore": 0.731, "textnorm_ur": 0.807},
    "composition": {"imagereward": 0.774, "pickscore": 0.785, "textnorm_mean": 0.843},
    "comprehensive": {"imagereward": 0.761, "pickscore": 0.747, "textnorm_ur": 0.773},
}
"""Mean AUROC over the prompts of a set, of the card."""
BOTH = {"counting": 146, "composition": 295, "comprehensive": 84}
"""Prompts that have positive and negative images."""
COUNTED = "a label of -1 is none; the card's positives, .31 and .46 in the last two sets, come from adding it up"


def check(budget: Budget) -> Claim:
    """Checks 1 and 3 of the card, and 4 where TIA2 is at hand."""
    rows = [nuisance(budget), ensembles(budget)]
    left = ["check 2 (over-optimisation of a proxy that is trained on images)", "scoring of TIA2's images"]
    folder = real_data("tia2")
    if folder is None:
        left.append(f"check 4: TIA2's labels and scores are not at hand (set {DATA})")
    else:
        rows += benchmark(folder)
    return Claim(PAPER.slug, rows, tuple(left))


def world(
    rng: np.random.Generator, models: int = 1, noise: float = 0.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(fits bool [n], quality [models, n], own [models, n], contrastive [models, n, k]) of one prompt's images."""
    fits = rng.random(IMAGES) < 0.4
    other = rng.integers(CONTRASTS, size=IMAGES)  # what an image shows that does not fit its prompt
    quality = 1.5 * rng.normal(size=(models, IMAGES))
    own = fits + quality + noise * rng.normal(size=quality.shape)
    shown = (~fits)[:, None] & (other[:, None] == np.arange(CONTRASTS))
    rivals = shown + quality[..., None] + noise * rng.normal(size=(models, IMAGES, CONTRASTS))
    return fits, quality, own, rivals


def nuisance(budget: Budget) -> Row:
    """Check 1."""
    figures: dict[str, list[float]] = {f"TextNorm, {t:g}": [] for t in TEMPERATURES}
    figures |= {"raw reward": [], "change by the image's own part": []}
    for seed in budget.seeds(3):
        rng = np.random.default_rng([102, seed])
        each: dict[str, list[float]] = {name: [] for name in figures}
        for _ in range(PROMPTS):
            fits, (quality,), (own,), (rivals,) = world(rng)
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
    return Row("1 nuisance cancels", figures, bounds, "AUROC, mean over prompts")


def ensembles(budget: Budget) -> Row:
    """Check 3: the mean of three models' shares, and its lower confidence bound, against the best of the three."""
    figures: dict[str, list[float]] = {"lower confidence bound": [], "mean": [], "best single": []}
    for seed in budget.seeds(5):
        rng = np.random.default_rng([102, 3, seed])
        each: list[list[float]] = []
        for _ in range(PROMPTS):
            fits, _, own, rivals = world(rng, MODELS, 0.7)
            shares = np.array([confidence(o, r, 0.5) for o, r in zip(own, rivals, strict=True)])
            scores = (ensemble(shares, PENALTY), ensemble(shares), *shares)
            each.append([auroc(score, fits) for score in scores])
        means = np.mean(each, axis=0)
        for name, value in zip(figures, (means[0], means[1], means[2:].max()), strict=True):
            figures[name].append(float(value))
    bounds = [at_least("lower confidence bound", 0.0, over="best single"), at_least("mean", 0.0, over="best single")]
    return Row("3 ensemble of three", figures, bounds, "AUROC, mean over prompts")


def benchmark(folder: Path) -> list[Row]:
    """Check 4: the released scores give the card's figures; labels, their prompts, agreement and ceiling."""
    figures: dict[str, list[float]] = {}
    people: dict[str, list[float]] = {}
    bounds, labelled = [], []
    for name, models in PUBLISHED.items():
        scores = json.loads((folder / "alignment_scores" / f"alignment_scores_{name}.json").read_text())
        labels, prompt = read_labels(folder / "human_annotations" / f"human_labels_{name}.json")
        positive = majority(labels)
        rate = {p: float(positive[prompt == p].mean()) for p in np.unique(prompt).tolist()}
        for model, value in models.items():
            figures[f"{name}, {model}"] = [float(np.mean([row[model]["auroc"] for row in scores.values()]))]
            figures[f"{name}, {model}, card"] = [value]
            bounds.append(within(f"{name}, {model}", 0.0006, of=f"{name}, {model}, card"))
        mixed = {p for p, share in rate.items() if 0 < share < 1}
        people |= {
            f"{name}: positive": [float(positive.mean())],
            f"{name}: prompts of both classes": [float(len(mixed))],
            f"{name}: largest difference to the released shares": [
                max(abs(scores[p]["human"] - rate[p]) for p in mixed)
            ],
            f"{name}: kappa": [kappa(labels)],
            f"{name}: ceiling": [ceiling(labels, prompt)],
        }
        labelled += [
            within(f"{name}: largest difference to the released shares", 1e-9),
            at_least(f"{name}: prompts of both classes", BOTH[name]),
            at_most(f"{name}: prompts of both classes", BOTH[name]),
        ]
    released = Row("4 TIA2, released scores", figures, bounds, "AUROC, mean over prompts")
    return [released, Row("4 TIA2, labels", people, labelled, "share; prompts; agreement", COUNTED)]


def read_labels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(labels 0, 1 or NaN [n, 3], prompts [n]) of a file of TIA2; -1 there is no label."""
    rows = list(json.loads(path.read_text()).values())
    labels = np.array([row["human_labels"] for row in rows], dtype=np.float64)
    return np.where(labels < 0, np.nan, labels), np.array([row["caption"] for row in rows])

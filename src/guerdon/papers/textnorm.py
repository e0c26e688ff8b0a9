"""TextNorm's normalised confidence: what the image alone adds to a reward cancels among contrastive prompts.

Rewards of images are simulated: whether the image fits its prompt, a quality that has nothing to do with the prompt,
and noise; an image that does not fit its prompt shows one of the contrastive ones. Three of them with noise and quality
of their own make an ensemble.

A proxy is also fitted, to noisy comparisons of drawn pictures whose judges like light, and optimised against: the best
of n pictures by it, and the exact policy over them that spends so much KL (what reinforcement learning aims at). Some
pictures are overexposed; what was drawn can no longer be seen in them, but the proxy has learned that light is good.

TIA2's released labels and scores are read where they are at hand (the folders
``human_annotations`` and ``alignment_scores`` of github.com/kykim0/TextNorm, as ``tia2``).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from guerdon.bench.best_of_n import expected_best, powers
from guerdon.bench.prompt_ranking import auroc, ceiling, kappa, majority
from guerdon.feedback.messages import Message, Text, as_text
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import DATA, Budget, Claim, Row, at_least, at_most, real_data, within
from guerdon.papers.index import paper
from guerdon.reward.contrastive import Contrastive, confidence, ensemble, spread
from guerdon.reward.learned.finite_policy import at_kl, tilt
from guerdon.reward.learned.model import RewardModel
from guerdon.worlds.scenes import COLOURS, SHAPES, mask, png, shown

PAPER = paper("textnorm")
PROMPTS, IMAGES, CONTRASTS, MODELS = 40, 50, 6, 3
TEMPERATURES = (0.1, 0.5, 1.0, 2.0)
PENALTY = 1.0
"""Of the ensemble's variance."""
NAMES = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
LABELS, DRAWN, SIDE = 600, 320, 16
"""Noisy comparisons that the proxy learns from, and pictures a prompt that it is optimised over."""
LIKES, FLIPPED = 1.5, 0.1
"""How much people like light, beside 1 for what the prompt says, and how many of their verdicts are accidents."""
NATS = 3.0
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
    """Checks 1 to 3 of the card, and 4 where TIA2 is at hand."""
    rows = [nuisance(budget), *overoptimised(budget), ensembles(budget)]
    left = [
        "check 2's tuning of a diffusion model (its optimum over drawn pictures stands in)",
        "scoring of TIA2's images",
    ]
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


# ------------------------------------------------------------------------------------------------ over-optimisation


def near_misses(prompt: Text) -> list[Text]:
    """The prompts that differ in one word: another colour or another shape."""
    colour, shape = as_text(prompt).removeprefix("a ").split()
    others = [f"a {other} {shape}" for other in COLOURS if other != colour]
    return [*others, *(f"a {colour} {other}" for other in SHAPES if other != shape)]


def exposed(name: str, light: float, rng: np.random.Generator) -> tuple[bytes, bool]:
    """(a picture of a thing, whether it can be seen in it): ``light`` is added everywhere, and cut off at white."""
    colour, shape = name.split()
    radius = rng.uniform(4, 6)
    ground, thing = np.full(3, 0.25) + light, np.array(COLOURS[colour]) + light
    picture = np.tile(ground, (SIDE, SIDE, 1))
    picture[mask(shape, rng.uniform(radius, SIDE - radius, 2), radius, SIDE)] = thing
    seen = np.abs(np.clip(thing, 0, 1) - np.clip(ground, 0, 1)).max() > 0.25
    pixels = np.clip(picture + 0.03 * rng.standard_normal(picture.shape), 0, 1)
    return png(np.rint(255 * pixels).astype(np.uint8)), bool(seen)


def gallery(name: str, count: int, rng: np.random.Generator) -> tuple[list[list[Message]], np.ndarray, np.ndarray]:
    """(``count`` responses to "a NAME", gold [n], light [n]) of a generator that errs in a word two times in three."""
    responses, gold, lights = [], [], []
    misses = [as_text(miss).removeprefix("a ") for miss in near_misses(f"a {name}")]
    for _ in range(count):
        fits = rng.random() < 1 / 3
        light = float(rng.uniform(-0.1, 0.2) if rng.random() < 0.9 else rng.uniform(0.2, 0.9))
        data, seen = exposed(name if fits else misses[int(rng.integers(len(misses)))], light, rng)
        responses.append(shown(data, role="assistant"))
        gold.append(float(fits and seen))
        lights.append(light)
    return responses, np.array(gold), np.array(lights)


def proxy(rng: np.random.Generator, seed: int) -> RewardModel:
    """A small network fitted to noisy comparisons of pictures by people who like light."""
    rows = []
    for i in range(LABELS):
        name = NAMES[i % len(NAMES)]
        pair, gold, light = gallery(name, 2, rng)
        liked = gold + LIKES * light
        first = (liked[0] + rng.logistic(0, 0.2) > liked[1]) != (rng.random() < FLIPPED)
        rows.append(Judgement(f"a {name}", (pair[0], pair[1]), (float(first), float(not first))))
    encoder = "media?text=hash:64&features=prompt&image=filters&cache=off"
    return RewardModel(encoder=encoder, head="mlp", hidden=128, epochs=40, batch=64, seed=seed).fit(Feedback.of(rows))


def overoptimised(budget: Budget) -> list[Row]:
    """Check 2."""
    counts = powers(256)
    curves: dict[str, list[float]] = {f"{k}, n = 256": [] for k in ("TextNorm", "proxy")}
    curves |= {f"{k}, highest below 256": [] for k in ("TextNorm", "proxy")} | {"one picture": []}
    policies: dict[str, list[float]] = {"TextNorm": [], "proxy": [], "before": []}
    for seed in budget.seeds(3):
        rng = np.random.default_rng([102, 2, seed])
        raw = proxy(rng, seed)
        some = [(f"a {name}", picture) for name in NAMES for picture in gallery(name, 20, rng)[0]]
        reference = Candidates([p for p, _ in some], [r for _, r in some])
        normed = Contrastive(raw, near_misses, temperature=spread(raw, near_misses, reference))
        gold_at: dict[str, list[np.ndarray]] = {"TextNorm": [], "proxy": []}
        tilted: dict[str, list[float]] = {"TextNorm": [], "proxy": [], "before": []}
        for name in NAMES:
            pictures, gold, _ = gallery(name, DRAWN, rng)
            candidates = Candidates([f"a {name}"] * DRAWN, pictures)
            even = np.full(DRAWN, 1 / DRAWN)
            tilted["before"].append(float(gold.mean()))
            for kind, reward in (("TextNorm", normed), ("proxy", raw)):
                score = reward.score(candidates).value
                gold_at[kind].append(expected_best(score, gold, counts))
                policy = at_kl(lambda beta, score=score, even=even: tilt(score, even, beta), even, NATS)
                tilted[kind].append(float(policy @ gold))
        for kind, found in gold_at.items():
            curve = np.mean(found, axis=0)
            curves[f"{kind}, n = 256"].append(float(curve[-1]))
            curves[f"{kind}, highest below 256"].append(float(curve[:-1].max()))
        curves["one picture"].append(float(np.mean(gold_at["proxy"], axis=0)[0]))
        for kind, values in tilted.items():
            policies[kind].append(float(np.mean(values)))
    bounds = [at_least("TextNorm, n = 256", 0.08, over="proxy, n = 256")]
    bounds.append(at_least("proxy, highest below 256", 0.0, over="proxy, n = 256"))
    bounds.append(at_least("TextNorm, n = 256", -0.02, over="TextNorm, highest below 256"))
    best = Row("2 best of n by a proxy", curves, bounds, "share of pictures that show what was asked for")
    tuned = Row("2 policies at 3 nats", policies, [at_least("TextNorm", 0.0, over="proxy")], best.unit)
    return [best, tuned]


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

"""DRM: principal components of preference differences are heads; a stranger weights them by fifteen comparisons.

Planted worlds of 32 features. Where a few attributes vary two to four times as much as everything else, and each person
cares for one of them, the components *are* the attributes and a stranger finds theirs. Two controls belong to it:
features that vary alike in all directions, where the components are arbitrary and a basis learned from who chose what
is far better; and the exact reason why, that uncentred components are the same whichever response won.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.special import ndtr

from guerdon.encode.base import Encoder
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback, Pairs
from guerdon.papers import lore
from guerdon.papers.frame import DATA, Budget, Claim, Row, at_least, at_most, real_data
from guerdon.papers.index import paper
from guerdon.reward.learned.model import RewardModel
from guerdon.reward.personal.components import ComponentsReward
from guerdon.reward.personal.standing import principal
from guerdon.reward.personal.weights import solve
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool

PAPER = paper("drm")

TRAIN, STRANGERS, PAIRS, SHOTS, TESTS = 150, 60, 40, 15, 100
DIM, ATTRIBUTES, COMPONENTS = 32, 6, 12


def check(budget: Budget) -> Claim:
    """Every check of the card; the fifth where HH-RLHF is at hand."""
    rows = [planted(budget), isotropic(budget), flips(budget), signs(budget)]
    path = real_data("hh", "vpl_relabelled_test.jsonl.gz")
    if path is not None:
        return Claim(PAPER.slug, [*rows, minority(budget, path)])
    return Claim(
        PAPER.slug, rows, left=(f"check 5, harmless against helpful: no hh/ under ${DATA} (it does not ship)",)
    )


def minority(budget: Budget, path: Path) -> Row:
    """Check 5: an encoder tuned on people of whom four in five want help; the others' fifteen comparisons, 20 draws."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows = [r for r in rows if all(t.strip() for t in r["responses"]) and len(set(r["responses"])) == 2]
    figures: dict[str, list[float]] = {"DRM": [], "single head": [], "lower end of the paired gain": []}
    for seed in budget.seeds(3):
        order = np.random.default_rng(seed).permutation(len(rows))

        def said(subset: str, lo: int, hi: int, people: int, name: str, order: np.ndarray = order) -> list[Judgement]:
            some = [rows[i] for i in order if rows[i]["data_subset"] == subset][lo:hi]
            grades = {0: (1.0, 0.0), 1: (0.0, 1.0)}
            return [
                Judgement(
                    r["prompt"], tuple(r["responses"]), grades[int(r["original_label"])], user=f"{name}{i % people}"
                )
                for i, r in enumerate(some)
            ]

        train = Feedback.of(said("helpful", 0, 400, 40, "helpful ") + said("harmless", 0, 100, 10, "harmless "))
        test = Feedback.of(said("harmless", 100, 400, 1, "new "))
        single, model = _tuned(train, test, seed)
        pairs = test.pairs(ties=False)
        sign = np.where(pairs.p > 0.5, 1, -1)

        def right(u: np.ndarray, pairs: Pairs = pairs, sign: np.ndarray = sign) -> np.ndarray:
            return ((u[pairs.a] - u[pairs.b]) * sign > 0).astype(float)

        before = right(single.score(test.candidates).value)
        after = np.full((20, len(pairs)), np.nan)
        for draw in range(20):
            told = np.random.default_rng([seed, draw]).permutation(len(test))[:SHOTS]
            adapted = right(model.adapt(test.take(told)).score(test.candidates.asked_by("new 0")).value)
            after[draw] = np.where(np.isin(pairs.judgement, told), np.nan, adapted)
        mean = np.nanmean(after, axis=0)
        gain = mean - before
        figures["DRM"].append(float(mean.mean()))
        figures["single head"].append(float(before.mean()))
        figures["lower end of the paired gain"].append(float(gain.mean() - 2 * gain.std() / np.sqrt(len(gain))))
    bounds = [at_least("DRM", 0.0, over="single head"), at_least("lower end of the paired gain", 0.0)]
    return Row("5 a minority's fifteen comparisons, HH-RLHF", figures, bounds, "accuracy")


def _tuned(train: Feedback, test: Feedback, seed: int) -> tuple[RewardModel, ComponentsReward]:
    """(a two-layer reward of everybody, DRM on its hidden layer)."""
    single = RewardModel(head="mlp", hidden=64, seed=seed).fit(train)

    def hidden(candidates: Candidates) -> np.ndarray:
        weight, bias = single.head.layers[0]  # type: ignore[attr-defined]
        h = single.x(candidates) @ weight.T + bias
        return h * ndtr(h)

    both = Feedback.concatenate([train, test]).candidates
    return single, drm(Pool(both, hidden(both)).encoder()).fit(train)


def drm(encoder: Encoder) -> ComponentsReward:
    """The paper's settings with 2 K = 24 heads, and the reward model's own head first."""
    return ComponentsReward(
        encoder=encoder, components=COMPONENTS, head="expert", normalize="person", temperature=1.0, gain=1.0
    )


class World:
    """People who care for one attribute each, seven in ten for more of it; strangers want more or less of it alike."""

    def __init__(self, seed: int) -> None:
        pool = Pool.planted(500, 8, DIM, seed=seed)
        rng = np.random.default_rng([seed, 61])
        attributes = np.linalg.qr(rng.normal(size=(DIM, ATTRIBUTES)))[0]
        stretch = np.eye(DIM) + attributes @ np.diag(np.linspace(2, 4, ATTRIBUTES) - 1) @ attributes.T
        self.pool = replace(pool, features=pool.features @ stretch)
        both = np.vstack([np.eye(ATTRIBUTES), -np.eye(ATTRIBUTES)])

        def people(count: int, more: float, seed: int) -> Population:
            return Population.simulate(
                "clustered",
                self.pool,
                self.pool.features @ attributes,
                users=count,
                prototypes=both,
                spread=0.0,
                shares=np.repeat([more, 1 - more], ATTRIBUTES) / ATTRIBUTES,
                held_out=0.2,
                annotators=Annotator.bradley_terry(4.0),
                seed=seed,
            )

        known = people(TRAIN, 0.7, seed)
        # person i is called u<i> in every population: strangers are others than those to learn from
        self.strangers = people(TRAIN + STRANGERS, 0.5, seed).take(np.arange(TRAIN, TRAIN + STRANGERS))
        self.train = known.history(count=PAIRS)
        self.shots = self.strangers.history(count=SHOTS)
        asked = self.strangers.history(count=TESTS, held_out=True, annotator=Annotator.perfect(), seed=1)
        self.tests, self.rows, self.names = asked.pairs(ties=False), self.pool.rows(asked.candidates), asked.users

    def accuracy(self, table: np.ndarray) -> float:
        """Of utilities [c, people] on the strangers' noiseless comparisons."""
        q = self.tests
        gap = table[self.rows[q.a], q.user] - table[self.rows[q.b], q.user]
        return float(np.mean((gap > 0) == (q.p > 0.5)))

    def adapted(self, model: ComponentsReward) -> float:
        """Accuracy for the strangers after their fifteen comparisons."""
        return self.accuracy(model.adapt(self.shots).score_table(self.pool.candidates, list(self.names)))

    def alone(self) -> float:
        """Each stranger's own ridge logistic regression, at the best of five penalties."""
        pairs, x = self.shots.pairs(), self.pool.features
        rows = self.pool.rows(self.shots.candidates)
        z = x[rows[pairs.a]] - x[rows[pairs.b]]
        found = []
        for penalty in (0.1, 0.3, 1.0, 3.0, 10.0):
            w, _ = solve(z, pairs.p, pairs.user, STRANGERS, precision=penalty * np.eye(DIM))
            order = [self.shots.users.index(name) for name in self.names]
            found.append(self.accuracy(x @ w[order].T))
        return max(found)


def randomised(model: ComponentsReward, world: World, seed: int) -> ComponentsReward:
    """The same reward with random orthonormal heads in the components' place."""
    other = model.adapt(world.shots.take(np.arange(1)))
    random = np.linalg.qr(np.random.default_rng([seed, 2]).normal(size=(DIM, COMPONENTS)))[0]
    other.directions = np.column_stack([model.directions[:, 0], random])
    u = other.utilities(world.pool.candidates)
    other.centre, other.spread = u.mean(0), u.std(0)
    other.people = type(other.people).empty(1 + COMPONENTS)
    return other


def planted(budget: Budget) -> Row:
    """Check 1: what people care about is what varies."""
    figures: dict[str, list[float]] = {"DRM": [], "random heads": [], "Bradley-Terry": [], "each alone": []}
    for seed in budget.seeds(3):
        world = World(seed)
        model = drm(world.pool.encoder()).fit(world.train)
        population = RewardModel(encoder=world.pool.encoder()).fit(world.train).score(world.pool.candidates).value
        figures["DRM"].append(world.adapted(model))
        figures["random heads"].append(world.adapted(randomised(model, world, seed)))
        figures["Bradley-Terry"].append(world.accuracy(np.tile(population[:, None], (1, STRANGERS))))
        figures["each alone"].append(world.alone())
    bounds = [
        at_least("DRM", 0.92),
        at_most("random heads", 0.75),
        at_most("Bradley-Terry", 0.6),
        at_most("each alone", 0.87),
    ]
    return Row("1 attributes of high variance, 15 shots", figures, bounds, "accuracy on strangers")


def isotropic(budget: Budget) -> Row:
    """Check 2, a control that must fail: features without directions of high variance."""
    figures: dict[str, list[float]] = {"DRM": [], "LoRe": [], "free weights": []}
    for seed in budget.seeds(3):
        world = lore.World("signed", seed)
        figures["DRM"] += world.personal(drm(world.pool.encoder()).fit(world.train), [SHOTS])  # type: ignore[arg-type]
        figures["LoRe"] += world.personal(lore.lore(world, 8), [SHOTS])
        figures["free weights"] += world.personal(world.low_rank(), [SHOTS])
    bounds = [at_most("DRM", 0.70), at_least("LoRe", 0.1, over="DRM"), at_least("free weights", 0.1, over="DRM")]
    return Row("2 isotropic features (must fail)", figures, bounds, "accuracy on strangers")


def flips(budget: Budget) -> Row:
    """Check 3: who won does not enter uncentred components; it does enter centred ones."""
    uncentred, centred = [], []
    for seed in budget.seeds(3):
        world = World(seed)
        pairs, x = world.train.pairs(ties=False), world.pool.encoder().encode(world.train.candidates).astype(float)
        d = np.where(pairs.p > 0.5, 1.0, -1.0)[:, None] * (x[pairs.a] - x[pairs.b])
        other = d * np.random.default_rng(seed).choice([-1.0, 1.0], size=(len(d), 1))
        uncentred.append(angle(*(principal(part, ATTRIBUTES, center=False)[0] for part in (d, other))))
        centred.append(angle(*(principal(part, ATTRIBUTES, center=True)[0] for part in (d, other))))
    bounds = [at_most("uncentred", 1e-4, each=True), at_least("centred", 1e-4, each=True)]
    return Row("3 random labels change nothing", {"uncentred": uncentred, "centred": centred}, bounds, "largest angle")


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Largest principal angle (radians) between the spans of orthonormal columns a, b [d, k], by its sine."""
    return float(np.arcsin(min(1.0, np.linalg.norm(b - a @ (a.T @ b), 2))))


def signs(budget: Budget) -> Row:
    """Check 4: components are orthonormal, and verdicts reversed swap the two signs of every head."""
    figures: dict[str, list[float]] = {"off orthonormal": [], "off swapped": []}
    for seed in budget.seeds(3):
        world = World(seed)
        model = drm(world.pool.encoder()).fit(world.train)
        model = replaced_head(model)
        u = model.directions[:, 1:]
        figures["off orthonormal"].append(float(np.abs(u.T @ u - np.eye(COMPONENTS)).max()))
        said = model.adapt(world.shots)
        unsaid = model.adapt(reversed_verdicts(world.shots))
        rows = [said.people.index[name] for name in world.names]
        w, v = said.weights()[rows], unsaid.weights()[[unsaid.people.index[name] for name in world.names]]
        k = w.shape[1] // 2
        figures["off swapped"].append(float(np.abs(w - np.hstack([v[:, k:], v[:, :k]])).max()))
    bounds = [at_most(name, 1e-8, each=True) for name in figures]
    return Row("4 orthogonality and sign pairs", figures, bounds, "largest deviation")


def replaced_head(model: ComponentsReward) -> ComponentsReward:
    """The reward without its own head, which has one sign only."""
    model.settings = {**model.settings, "head": "none"}
    return model


def reversed_verdicts(feedback: Feedback) -> Feedback:
    """Every verdict the other way round."""
    return replace(feedback, grades=1.0 - feedback.grades)

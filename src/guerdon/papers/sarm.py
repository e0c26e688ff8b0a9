"""SARM on planted features: 64 directions crowded into 48 dimensions, four at a time, six of them in the reward.

A TopK autoencoder (192 latents, 6 active) is trained on 20,000 unlabelled vectors (``pretrain``) and the head on 3,000
noisy comparisons of its latents (``sparse-autoencoder``). Controls: an encoder that was never trained, and k = all.
The training modes 0 to 3 run end to end on a two-layer language model trained on a small language (worlds/topics.py),
cut after its first layer, against a scalar head on the whole of it by the same recipe.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np

from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import DATA, Budget, Claim, Row, at_least, at_most, real_data
from guerdon.papers.index import paper
from guerdon.reward.learned.backbone import BackboneReward
from guerdon.reward.learned.model import RewardModel
from guerdon.reward.learned.sources import accuracy
from guerdon.reward.learned.sparse_autoencoder import SparseAutoencoder
from guerdon.reward.learned.sparse_backbone import MODES, SparseBackbone
from guerdon.reward.learned.sparse_reward import SparseReward
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool
from guerdon.worlds.topics import Topics

PAPER = paper("sarm")

SEEDS, DIRECTIONS, DIM, ACTIVE, REWARDED = 3, 64, 48, 4, 6
LATENT, K, UNLABELLED, PAIRS, TESTS = 192, 6, 20_000, 3000, 4000
LANGUAGE, TEXT_PAIRS, TEXT_TESTS = Topics(), 480, 400
RECIPE = {"tuning": "full", "epochs": 3, "batch": 16, "learning_rate": 5e-4, "patience": 12}


def check(budget: Budget) -> Claim:
    """Every check of the card; the sixth where HH-RLHF is at hand."""
    worlds = [World(seed) for seed in budget.seeds(SEEDS)]
    rows = [recovery(worlds), accuracies(worlds), attribution(worlds), editing(worlds), dense(worlds)]
    rows += [short(worlds), end_to_end(budget)]
    left = ["naming features by a language model and its 1 to 5 of monosemanticity: no language model to ask here"]
    path = real_data("hh", "harmless-base.test.jsonl.gz")
    if path is not None:
        rows.append(text(budget, path))
    else:
        left.insert(0, f"check 6, text: no hh/ under ${DATA} (the set does not ship)")
    return Claim(PAPER.slug, rows, left=tuple(left))


def text(budget: Budget, path: Path) -> Row:
    """Check 6: sentence features of HH-RLHF's harmless comparisons, a head on 32 active latents and on the features."""
    with tempfile.TemporaryDirectory() as folder:  # nine rows of the published file are broken
        feedback = Feedback.read(path, skip_bad=Path(folder) / "bad.jsonl")
    figures: dict[str, list[float]] = {"latents": [], "features": [], "error of rebuilding": [], "dead latents": []}
    for seed in budget.seeds(SEEDS):
        train, test = feedback.split("prompt", 0.3, seed)
        plain = RewardModel(encoder="minilm?features=response", seed=seed).fit(train)
        model = SparseReward(encoder=plain.open_encoder(), k=32, epochs=60, seed=seed).fit(train)
        figures["latents"].append(accuracy(model, test))
        figures["features"].append(accuracy(plain, test))
        assert model.sae is not None
        told = model.sae.report(model.wide(model.x(test.candidates.take(test.used))))
        figures["error of rebuilding"].append(told["nmse"])
        figures["dead latents"].append(model.told["dead"])
    bounds = [
        at_most("error of rebuilding", 0.3),
        at_most("dead latents", 0.2),
        at_least("latents", -0.015, over="features"),
    ]
    return Row("6 sentence features of HH-RLHF", figures, bounds, "accuracy; share of |x|^2; share of 1,536 latents")


class World:
    """One draw of directions, vectors, comparisons, and the rewards fitted to them."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 41])
        self.directions = self.rng.normal(size=(DIRECTIONS, DIM))
        self.directions /= np.linalg.norm(self.directions, axis=1, keepdims=True)
        self.taste = np.zeros(DIRECTIONS)
        self.taste[:REWARDED] = self.rng.choice([-1.0, 1.0], REWARDED) * self.rng.uniform(1.0, 2.0, REWARDED)
        unlabelled = self.items(UNLABELLED) @ self.directions
        self.asked = self.items(2 * PAIRS)
        candidates = Candidates(
            [f"prompt {i // 2}" for i in range(2 * PAIRS)], [f"response {i}" for i in range(2 * PAIRS)]
        )
        pool = Pool(candidates, self.asked @ self.directions)
        people = Population.simulate(
            "shared",
            pool,
            (self.asked @ self.taste)[:, None],
            users=1,
            weights=[1.0],
            annotators=Annotator.bradley_terry(4.0),
            seed=seed,
        )
        self.feedback = people.history(count=PAIRS, seed=seed)
        self.plain = RewardModel(encoder=pool.encoder()).fit(self.feedback)
        self.reward = self.sparse(pool, unlabelled, seed)
        self.short = SparseReward(encoder=pool.encoder(), latent=LATENT, k=K, l1=1e-2, seed=seed)
        self.short.features, self.short.sae = self.reward.features, self.reward.sae
        self.short.trained_on = self.reward.trained_on
        self.short.fit(self.feedback)
        self.untrained = self.sparse(pool, unlabelled, seed, trained=False)
        self.test = self.items(TESTS)

    def items(self, n: int) -> np.ndarray:
        """float64 [n, 64] values of the planted attributes: four of .5 to 1.5 an item."""
        out = np.zeros((n, DIRECTIONS))
        at = np.argsort(self.rng.random((n, DIRECTIONS)), 1)[:, :ACTIVE]
        np.put_along_axis(out, at, self.rng.uniform(0.5, 1.5, (n, ACTIVE)), 1)
        return out

    def sparse(self, pool: Pool, unlabelled: np.ndarray, seed: int, *, trained: bool = True) -> SparseReward:
        """The reward on latents; of an encoder left as it was drawn if it is not ``trained``."""
        rate = 3e-3 if trained else 1e-12  # an untrained one stays where training starts
        model = SparseReward(
            encoder=pool.encoder(), latent=LATENT, k=K, epochs=20 if trained else 1, learning_rate=rate, seed=seed
        )
        model.pretrain(unlabelled)
        return model.fit(self.feedback)

    def latents(self, model: SparseReward, items: np.ndarray) -> np.ndarray:
        """float64 [n, latent] edited activations of items."""
        return model.latents(model.features(items @ self.directions)).toarray()

    def correlations(self, model: SparseReward) -> np.ndarray:
        """float64 [64, latent] |correlation| of planted attributes with latents on the test items."""
        z = self.latents(model, self.test)
        a, b = self.test - self.test.mean(0), z - z.mean(0)
        norm = np.linalg.norm(a, axis=0)[:, None] * np.linalg.norm(b, axis=0)
        return np.abs(a.T @ b) / np.where(norm > 0, norm, np.inf)

    def scores(self, model: SparseReward) -> np.ndarray:
        """float64 [n] scores of the test items."""
        return self.latents(model, self.test) @ model.weight

    def accuracy(self, values: np.ndarray, taste: np.ndarray) -> float:
        """Share of neighbouring test items put in the order of ``taste``."""
        gold = self.test @ taste
        gap, right = values[::2] - values[1::2], gold[::2] - gold[1::2]
        return float(np.mean(((gap > 0) == (right > 0))[right != 0]))


def recovery(worlds: list[World]) -> Row:
    """Check 1, and its control: planted directions with a latent of |correlation| > .8."""
    figures: dict[str, list[float]] = {"trained": [], "untrained encoder": []}
    for w in worlds:
        figures["trained"].append(float(np.mean(w.correlations(w.reward).max(1) > 0.8)))
        figures["untrained encoder"].append(float(np.mean(w.correlations(w.untrained).max(1) > 0.8)))
    bounds = [at_least("trained", 0.9), at_most("untrained encoder", 0.1)]
    return Row("1 planted features are found", figures, bounds, "share of directions")


def accuracies(worlds: list[World]) -> Row:
    """Check 2: the head on latents against the dense linear head, and against the best a linear head could do."""
    figures: dict[str, list[float]] = {"latents": [], "dense linear": [], "untrained encoder": []}
    for w in worlds:
        dense = w.plain.head(w.plain.features(w.test @ w.directions))
        figures["latents"].append(w.accuracy(w.scores(w.reward), w.taste))
        figures["dense linear"].append(w.accuracy(dense, w.taste))
        figures["untrained encoder"].append(w.accuracy(w.scores(w.untrained), w.taste))
    return Row("2 no loss by the detour", figures, [at_least("latents", -0.01, over="dense linear")], "accuracy")


def attribution(worlds: list[World]) -> Row:
    """Check 3: the sign of the latents that match the rewarded attributes; contributions add up."""
    figures: dict[str, list[float]] = {"right signs of 6": [], "largest |sum of contributions - score|": []}
    for w in worlds:
        z, a = w.latents(w.reward, w.test), w.test[:, :REWARDED]
        signed = (a - a.mean(0)).T @ (z - z.mean(0))
        best = w.correlations(w.reward)[:REWARDED].argmax(1)
        # a latent may carry an attribute with a minus, and standardised features shift its zero: judge sign x sign
        side = np.sign(signed[np.arange(REWARDED), best]) * np.sign(w.reward.weight[best])
        figures["right signs of 6"].append(float(np.sum(side == np.sign(w.taste[:REWARDED]))))
        sample = w.feedback.candidates.take(range(200))
        told = np.sum([np.asarray(v) for v in w.reward.explain(sample).values()], 0)
        off = np.abs(told - w.reward.score(sample).value).max()
        figures["largest |sum of contributions - score|"].append(float(off))
    bounds = [
        at_least("right signs of 6", 6, each=True),
        at_most("largest |sum of contributions - score|", 1e-5, each=True),
    ]
    return Row("3 attribution", figures, bounds, "signs; score")


def editing(worlds: list[World]) -> Row:
    """Check 4, and its control: silence attribute 0 and see whose scores move."""
    names = (
        "change with / without it",
        "accuracy without attribute 0, edited",
        "the same, not edited",
        "untrained: change",
    )
    figures: dict[str, list[float]] = {name: [] for name in names}
    for w in worlds:
        without = w.taste.copy()
        without[0] = 0.0
        for name, model in ((names[0], w.reward), (names[3], w.untrained)):
            edits = {int(i): ("*", 0.0) for i in np.flatnonzero(w.correlations(model)[0] > 0.3)}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                edited = model.edit(edits)
            gap = [v[::2] - v[1::2] for v in (w.scores(model), w.scores(edited))]
            moved, holds = np.abs(gap[1] - gap[0]), (w.test[::2, 0] > 0) | (w.test[1::2, 0] > 0)
            # nothing edited, nothing moved: a ratio of one
            ratio = moved[holds].mean() / max(moved[~holds].mean(), 1e-9) if moved.any() else 1.0
            figures[name].append(float(ratio))
            if name == names[0]:
                figures[names[1]].append(w.accuracy(w.scores(edited), without))
                figures[names[2]].append(w.accuracy(w.scores(model), without))
    bounds = [
        at_least(names[0], 20.0),
        at_least(names[1], 0.96),
        at_least(names[1], 0.0, over=names[2]),
        at_most(names[3], 3.0),
    ]
    return Row("4 editing", figures, bounds, "ratio; accuracy")


def dense(worlds: list[World]) -> Row:
    """Check 5: k = all is the dense model of pre-activations."""
    figures: dict[str, list[float]] = {"largest difference": []}
    for w in worlds:
        assert w.reward.sae is not None
        x, every = w.test @ w.directions, SparseAutoencoder(LATENT, LATENT)
        every.restore(w.reward.sae.arrays())
        figures["largest difference"].append(float(np.abs(every(x).toarray() - w.reward.sae.preactivations(x)).max()))
    return Row("5 k = all is dense", figures, [at_most("largest difference", 1e-6, each=True)], "activation")


def short(worlds: list[World]) -> Row:
    """The head under an L1 penalty: few features in all, the same order of the candidates."""
    figures: dict[str, list[float]] = {"ridge": [], "L1": [], "features in use, ridge": [], "features in use, L1": []}
    for w in worlds:
        for name, model in (("ridge", w.reward), ("L1", w.short)):
            figures[name].append(w.accuracy(w.scores(model), w.taste))
            figures[f"features in use, {name}"].append(float(np.count_nonzero(model.weight)))
    bounds = [at_least("L1", -0.01, over="ridge"), at_most("features in use, L1", LATENT / 4)]
    return Row("7 short explanations by L1", figures, bounds, f"accuracy; of {LATENT} latents")


def end_to_end(budget: Budget) -> Row:
    """The four training modes on half a language model, and a plain head on all of it."""
    names = [f"mode {i}, {mode}" for i, mode in enumerate(MODES)]
    figures: dict[str, list[float]] = {name: [] for name in [*names, "Bradley-Terry on the whole model"]}
    figures |= {f"error of rebuilding, mode {i}": [] for i in range(4)}
    figures["largest |sum of contributions - score|, mode 3"] = []
    for seed in budget.seeds(SEEDS):
        asked = list(range(LANGUAGE.topics))
        train, test = (LANGUAGE.comparisons(n, asked, seed + at) for n, at in ((TEXT_PAIRS, 0), (TEXT_TESTS, 1000)))
        with tempfile.TemporaryDirectory(prefix="guerdon-sarm-") as folder:
            LANGUAGE.language_model(Path(folder), seed)
            whole = BackboneReward(backbone=folder, seed=seed, **RECIPE).fit(train)  # type: ignore[arg-type]
            cut = [
                SparseBackbone(backbone=folder, mode=mode, seed=seed, **RECIPE).fit(train)  # type: ignore[arg-type]
                for mode in MODES
            ]
        figures["Bradley-Terry on the whole model"].append(accuracy(whole, test))
        for i, (name, model) in enumerate(zip(names, cut, strict=True)):
            figures[name].append(accuracy(model, test))
            figures[f"error of rebuilding, mode {i}"].append(model.summary["nmse"])
        sample = test.candidates.take(range(100))
        told = np.sum([np.asarray(v) for v in cut[3].explain(sample).values()], 0)
        figures["largest |sum of contributions - score|, mode 3"].append(
            float(np.abs(told - cut[3].score(sample).value).max())
        )
    bounds = [
        at_least(names[3], -0.02, over="Bradley-Terry on the whole model"),
        at_most("error of rebuilding, mode 3", 0.0, over="error of rebuilding, mode 1"),
        at_most("largest |sum of contributions - score|, mode 3", 1e-4, each=True),
    ]
    note = "the card asks no figure of the modes: bounds were set before the first run, after its headline"
    return Row("8 training modes end to end", figures, bounds, "accuracy; share of |x|^2; score", note)

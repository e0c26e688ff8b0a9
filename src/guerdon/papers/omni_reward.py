"""Omni-Reward's scoring: a threshold of ties found by one sweep, cross-fitted so that it is not tuned on the test.

The suite ``omni-rewardbench`` reads the published records and scores with the same parts.

The reward itself is a reward given a context (:mod:`guerdon.reward.learned.context`) above frozen features of any
modality: random filters of pictures, spectra of tones, MiniLM of texts, and MiniLM of the criterion. Twelve qualities
in three senses (:mod:`guerdon.worlds.qualities`) make pairs that differ in two of them, and are judged by either one
in words; one of three ways to say it is never seen in training. Every model, of one modality or of all, is the better
one of two fusions by its own held-out loss; modalities weigh as the square root of their sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from guerdon.bench.vote_rules import best_threshold, cross_fitted, with_ties
from guerdon.encode import load_encoder
from guerdon.encode.joined import JoinedEncoder
from guerdon.feedback.messages import pack
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.base import Reward
from guerdon.reward.learned.context import ContextReward
from guerdon.reward.learned.model import RewardModel
from guerdon.reward.learned.sources import mixture
from guerdon.worlds.qualities import SENSES, judged, pairs

PAPER = paper("omni-reward")


PAIRS = {"image": 2000, "audio": 1000, "text": 400}
"""Pairs to learn from; texts take a language model, and fewer of them are enough."""
TESTS, FEW = 300, 10
ENCODER = "media?text=minilm&image=filters&audio=spectrum&cache=off"
FUSED = ("film", "low-rank")
SETTINGS: dict[str, Any] = {"hidden": 32, "weight_decay": 0.1}


def check(budget: Budget) -> Claim:
    """All three checks of the card, on drawn pictures, synthesized tones and made-up texts."""
    left = ("video and 3D objects; MiniCPM-o as the backbone: no weights at hand",)
    return Claim(PAPER.slug, [*criteria(budget), ties(budget)], left)


# ------------------------------------------------------------------------------------------------ criteria in words


@dataclass(frozen=True)
class Fitted:
    """A reward fitted to some modalities, with features that are computed once for all of them."""

    features: Remembered

    def reward(self, parts: list[Feedback], seed: int) -> ContextReward:
        """The better one of the fusions, by the loss on its own held-out prompts; no modality drowns in the others."""
        most = max(map(len, parts))
        together = mixture(Feedback.concatenate(parts), {p.subsets[0]: (most / len(p)) ** 0.5 for p in parts})
        made = [
            ContextReward(encoder=self.features, context_encoder="minilm", fusion=name, seed=seed, **SETTINGS)
            for name in FUSED
        ]
        return min((m.fit(together) for m in made), key=lambda m: m.summary["held_out_loss"][m.settings["fusion"]])


class Remembered:
    """An encoder that keeps the features of what it has seen, for many fits to the same pairs."""

    def __init__(self, encoder: JoinedEncoder) -> None:
        self.encoder = encoder
        self.rows: dict[str, np.ndarray] = {}
        self.spec, self.fingerprint, self.dim = encoder.spec, encoder.fingerprint, encoder.dim
        self.flags, self.sees = encoder.flags, encoder.sees

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        """float32 [n, dim] features, computed for responses that are new."""
        keys = [pack(response) for response in candidates.responses]
        new = [i for i, key in enumerate(keys) if key not in self.rows]
        if new:
            for i, row in zip(new, self.encoder.encode(candidates.take(new), progress=progress), strict=True):
                self.rows[keys[i]] = row
        return np.stack([self.rows[key] for key in keys])


def rights(reward: Reward, feedback: Feedback) -> np.ndarray:
    """bool [pairs, 2] whether each pair is judged rightly by either of its criteria."""
    pairs, candidates = feedback.pairs(), feedback.candidates
    asked = [feedback.criteria[k] for k in pairs.criterion]

    def value(items: np.ndarray) -> np.ndarray:
        return reward.score(replace(candidates.take(items), criterion=asked)).value

    gap = value(pairs.a) - value(pairs.b)
    return ((gap > 0) == (pairs.p > 0.5)).reshape(-1, 2)


def criteria(budget: Budget) -> list[Row]:
    """Checks 1 and 2."""
    senses = tuple(SENSES)
    used: dict[str, list[float]] = {f"{s}: unseen wording": [] for s in senses}
    used |= {f"{s}: both of a reversal": [] for s in senses} | {f"{s}: without criterion": [] for s in senses}
    joint: dict[str, list[float]] = {"one for all": [], "one each": []}
    few: dict[str, list[float]] = {f"{s}: {who}": [] for s in senses for who in ("one for all", "its own")}
    few |= {"mean: one for all": [], "mean: its own": []}
    for seed in budget.seeds(3):
        rng = np.random.default_rng([60, 1, seed])
        held = seed % 3
        ways = tuple(w for w in range(3) if w != held)
        encoder = load_encoder(ENCODER)
        assert isinstance(encoder, JoinedEncoder)
        fitted = Fitted(Remembered(encoder))
        learnt = {s: pairs(s, PAIRS[s], rng, tag="train") for s in senses}
        train = {s: judged(learnt[s], ways, rng) for s in senses}
        scarce = {s: judged(learnt[s][: PAIRS[s] // FEW], ways, rng) for s in senses}
        test = {s: judged(pairs(s, TESTS, rng, tag="test"), (held,), rng) for s in senses}
        whole = fitted.reward(list(train.values()), seed)
        blind = RewardModel(encoder=fitted.features, head="mlp", hidden=64, seed=seed)
        blind.fit(Feedback.concatenate(list(train.values())))
        found = {s: rights(whole, test[s]) for s in senses}
        own = {s: rights(fitted.reward([train[s]], seed), test[s]).mean() for s in senses}
        for s in senses:
            used[f"{s}: unseen wording"].append(float(found[s].mean()))
            used[f"{s}: both of a reversal"].append(float(found[s].all(1).mean()))
            used[f"{s}: without criterion"].append(float(rights(blind, test[s]).mean()))
            others = [train[o] for o in senses if o != s]
            few[f"{s}: one for all"].append(float(rights(fitted.reward([scarce[s], *others], seed), test[s]).mean()))
            few[f"{s}: its own"].append(float(rights(fitted.reward([scarce[s]], seed), test[s]).mean()))
        joint["one for all"].append(float(np.mean([found[s].mean() for s in senses])))
        joint["one each"].append(float(np.mean(list(own.values()))))
        for who in ("one for all", "its own"):
            few[f"mean: {who}"].append(float(np.mean([few[f"{s}: {who}"][-1] for s in senses])))
    first = [at_least(f"{s}: unseen wording", 0.88) for s in senses]
    first += [at_least(f"{s}: both of a reversal", 0.80) for s in senses]
    first += [at_most(f"{s}: without criterion", 0.62) for s in senses]
    scarcer = [at_least(f"{s}: one for all", 0.03, over=f"{s}: its own") for s in senses]
    note = f"a tenth of the labels in one modality: {', '.join(f'{PAIRS[s] // FEW} pairs of {s}' for s in senses)}"
    return [
        Row("1 the criterion is used", used, first, "accuracy"),
        Row("2 one for all", joint, [at_least("one for all", -0.02, over="one each")], "accuracy, mean of modalities"),
        Row("2 a tenth of the labels", few, scarcer, "accuracy", note),
    ]


# ------------------------------------------------------------------------------------------------ ties


def ties(budget: Budget) -> Row:
    """Check 3."""
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
    return Row("3 threshold of ties", figures, bounds, "accuracy with ties")

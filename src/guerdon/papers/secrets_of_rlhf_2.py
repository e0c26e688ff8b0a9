"""Secrets of RLHF II: strengths by vote find mislabelled pairs; flip, soften, drop, margins; two more losses for shift.

The world is planted: 3,000 comparisons of 32 features under a non-linear gold reward, a quarter mislabelled
(``worlds/mislabelled.py``). The vote is the step ``vote`` (``curate/vote.py``) with networks of 128-128 that see the
data for few passes; what was curated then trains a fresh network that stops on held-out labels. For the meta-learning
step and the contrastive losses the policy's samples are shifted along the mean gradient of the gold reward, five to a
prompt, and the figure is the rank correlation with gold among the samples of prompts that were not trained on.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import rankdata, t

from guerdon.curate.step import Changes
from guerdon.curate.verdicts import Verdicts
from guerdon.curate.vote import decide, strengths
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, within
from guerdon.papers.index import paper
from guerdon.reward.learned.robust import RobustReward
from guerdon.worlds.mislabelled import Mislabelled
from guerdon.worlds.pool import Pool

PAPER = paper("secrets-of-rlhf-2")

SEEDS, PAIRS, FLIPPED, DIM = 5, 3000, 0.25, 32
PASSES = 5
"""Passes of a voter: few, so that it cannot memorise."""
PROMPTS, SAMPLES, SHIFT = 200, 5, 3.0
"""Prompts and samples a prompt of the policy; how far they are shifted, in standard deviations of a feature."""


def check(budget: Budget) -> Claim:
    """All four checks of the card."""
    worlds = [World(seed) for seed in budget.seeds(SEEDS)]
    return Claim(
        PAPER.slug,
        [strength(worlds), treatment(worlds), meta(worlds), plain_at_zero(worlds[:1]), contrastive(worlds)],
    )


class World:
    """One draw of comparisons, and the samples of a policy that has moved on."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.world = Mislabelled.draw(PAIRS, FLIPPED, dim=DIM, units=8, seed=seed)
        w, rng = self.world, np.random.default_rng([seed, 5])
        slope = ((1 - np.tanh(rng.normal(size=(4000, DIM)) @ w.inner) ** 2).mean(0) * w.outer) @ w.inner.T
        moved = rng.normal(size=(2 * PROMPTS, SAMPLES, DIM)) + SHIFT * slope / np.linalg.norm(slope)
        self.unseen = moved[PROMPTS:]
        self.policy = Candidates(
            [f"policy prompt {i}" for i in range(PROMPTS) for _ in range(SAMPLES)],
            [f"policy response {i}.{j}" for i in range(PROMPTS) for j in range(SAMPLES)],
        )
        first = w.pool.candidates
        both = Candidates([*first.prompts, *self.policy.prompts], [*first.responses, *self.policy.responses])
        self.encoder = Pool(both, np.concatenate([w.pool.features, moved[:PROMPTS].reshape(-1, DIM)])).encoder()

    @cached_property
    def votes(self) -> np.ndarray:
        """[2, n] strengths by ten short-trained networks on five folds."""
        return strengths(self.verdicts, 10, 5, "robust", self.encoder, self.voter(PASSES), self.seed)

    @property
    def verdicts(self) -> Verdicts:
        """All comparisons."""
        return Verdicts.of(self.world.feedback)

    @staticmethod
    def voter(passes: int) -> dict[str, object]:
        """Settings of a voter that stops after so many passes."""
        return {"early_stopping": False, "epochs": passes, "dropout": 0.0}

    def treated(self, **settings: Any) -> Feedback:
        """What the step ``vote`` makes of the votes."""
        changes = Changes(self.world.feedback, by="vote of 10 models")
        return decide(changes, self.verdicts, self.votes, **settings).feedback

    def fit(self, feedback: Feedback | None = None, **settings: object) -> RobustReward:
        """A network that stops on held-out labels."""
        chosen = {"dropout": 0.0, "seed": self.seed, **settings}
        model = RobustReward(encoder=self.encoder, **chosen)  # type: ignore[arg-type]
        return model.fit(self.world.feedback if feedback is None else feedback)

    def accuracy(self, model: RobustReward) -> float:
        """On clean comparisons from the distribution of the training data."""
        return self.world.accuracy(self.values(model, self.world.test))

    def shifted(self, model: RobustReward) -> float:
        """Mean over prompts of the rank correlation with gold among the policy's samples."""
        values, gold = self.values(model, self.unseen), self.world.gold(self.unseen)
        return float(np.mean([np.corrcoef(rankdata(v), rankdata(g))[0, 1] for v, g in zip(values, gold, strict=True)]))

    def values(self, model: RobustReward, x: np.ndarray) -> np.ndarray:
        """[...] scores of features x [..., 32]."""
        return model.values(model.features(x.reshape(-1, DIM))).mean(0).reshape(x.shape[:-1])


def auc(wrong: np.ndarray, suspicion: np.ndarray) -> float:
    """P(a wrong label is more suspect than a right one)."""
    n = int(wrong.sum())
    return float((rankdata(suspicion)[wrong].sum() - n * (n + 1) / 2) / (n * (len(wrong) - n)))


def strength(worlds: list[World]) -> Row:
    """Check 1: low strength means a wrong label; voters that memorised the labels no longer see it."""
    names = ("cross-fitted vote", "wrong among the lowest fifth", "in-sample, few passes", "in-sample, 50 passes")
    figures: dict[str, list[float]] = {name: [] for name in names}
    for w in worlds:
        wrong, mu = w.world.wrong, w.votes.mean(0)
        figures["cross-fitted vote"].append(auc(wrong, -mu))
        figures["wrong among the lowest fifth"].append(float(wrong[np.argsort(mu)[: len(mu) // 5]].mean()))
        for name, passes in (("in-sample, few passes", PASSES), ("in-sample, 50 passes", 50)):
            inside = strengths(w.verdicts, 3, 1, "robust", w.encoder, w.voter(passes), w.seed).mean(0)
            figures[name].append(auc(wrong, -inside))
    bounds = [
        at_least("cross-fitted vote", 0.88),
        at_least("wrong among the lowest fifth", 0.70),
        within("in-sample, few passes", 0.03, of="cross-fitted vote"),
        at_most("in-sample, 50 passes", -0.10, over="cross-fitted vote"),
    ]
    return Row("1 strength finds wrong labels", figures, bounds, "AUC; share")


def treatment(worlds: list[World]) -> Row:
    """Check 2: what to do about them."""
    ways: dict[str, dict[str, Any]] = {
        "flip the lowest fifth": {"flip": 0.2},
        "drop the lowest fifth": {"drop": 0.2},
        "soft labels for all": {"soften": 1.0},
        "flip and margins": {"flip": 0.2, "margin": True},
        "flip a tenth, soften, margins": {"flip": 0.1, "soften": 0.2, "margin": True},
    }
    figures: dict[str, list[float]] = {name: [] for name in (*ways, "raw", "raw, 15 passes")}
    for w in worlds:
        figures["raw"].append(w.accuracy(w.fit()))
        figures["raw, 15 passes"].append(w.accuracy(w.fit(early_stopping=False)))
        for name, settings in ways.items():
            margin = 1.0 if settings.get("margin") else 0.0
            figures[name].append(w.accuracy(w.fit(w.treated(**settings), margin=margin)))
    bounds = [
        at_least("flip the lowest fifth", 0.015, over="raw"),
        at_least("flip the lowest fifth", 0.01, over="raw", each=True),
        within("drop the lowest fifth", 0.01, of="flip the lowest fifth"),
        at_least("soft labels for all", 0.01, over="raw"),
        at_least("flip and margins", -0.005, over="flip the lowest fifth"),
    ]
    note = "every network stops on held-out labels, raw ones as well, which they gain most from"
    return Row("2 treatment", figures, bounds, "accuracy", note)


def meta(worlds: list[World]) -> Row:
    """Check 3: telling the policy's samples apart, without losing the comparisons."""
    names = ("MetaRM", "Bradley-Terry", "MetaRM, step 1", "MetaRM, step 3")
    figures: dict[str, list[float]] = {name: [] for name in names}
    figures |= {"accuracy, MetaRM": [], "accuracy, Bradley-Terry": []}
    for w in worlds:
        for name, eta in (("MetaRM", 0.1), ("MetaRM, step 1", 1.0), ("MetaRM, step 3", 3.0)):
            model = w.fit(policy=w.policy, meta_step=eta)
            figures[name].append(w.shifted(model))
            if name == "MetaRM":
                figures["accuracy, MetaRM"].append(w.accuracy(model))
        plain = w.fit()
        figures["Bradley-Terry"].append(w.shifted(plain))
        figures["accuracy, Bradley-Terry"].append(w.accuracy(plain))
    bounds = [
        at_least("MetaRM", 0.03, over="Bradley-Terry"),
        at_least("accuracy, MetaRM", -0.01, over="accuracy, Bradley-Terry"),
    ]
    note = "MetaRM: an inner step of 0.1; small steps change nothing, large ones cost rank correlation, none gains"
    return Row("3 meta-learning step under shift", figures, bounds, "rank correlation; accuracy", note)


def plain_at_zero(worlds: list[World]) -> Row:
    """Check 3, its control: a step of nothing is Bradley-Terry to the bit."""
    figures: dict[str, list[float]] = {"largest difference of scores at step 0": []}
    for w in worlds:
        zero, plain = (w.values(w.fit(**s), w.unseen) for s in ({"policy": w.policy, "meta_step": 0.0}, {}))
        figures["largest difference of scores at step 0"].append(float(np.abs(zero - plain).max()))
    return Row("3b no meta step", figures, [at_most(name, 0.0, each=True) for name in figures], "score")


def contrastive(worlds: list[World]) -> Row:
    """Check 4: contrastive losses do no harm under shift, and features do not collapse."""
    kinds = [(kind, on) for kind in ("simcse", "swav") for on in ("difference", "responses")]
    figures: dict[str, list[float]] = {f"{kind}, {on}": [] for kind, on in kinds}
    figures |= {"Bradley-Terry": [], "least feature spread": []}
    for w in worlds:
        figures["Bradley-Terry"].append(w.shifted(w.fit(dropout=0.1)))
        spreads = []
        for kind, on in kinds:
            model = w.fit(dropout=0.1, contrast=kind, contrast_on=on)
            figures[f"{kind}, {on}"].append(w.shifted(model))
            spreads.append(model.summary["feature_spread"])
        figures["least feature spread"].append(min(spreads))
    bounds = [at_least("least feature spread", 0.5, each=True)]
    for name in [f"{kind}, {on}" for kind, on in kinds]:
        gain = np.subtract(figures[name], figures["Bradley-Terry"])
        half = t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else 0.0
        figures[f"{name}: upper end of the paired 95% interval"] = [float(gain.mean() + half)]
        bounds.append(at_least(f"{name}: upper end of the paired 95% interval", 0.0))
    return Row("4 contrastive losses under shift", figures, bounds, "rank correlation; gain; spread")

"""CRM: two reward models review each other's pairs, so that neither memorises mislabelled ones.

The world is planted: 2,000 comparisons of 32 features under a non-linear gold reward, a known share of them mislabelled
(``worlds/mislabelled.py``); every model is an MLP of two layers of 128, trained for 15 passes with AdamW. Accuracy is
that of clean comparisons nothing was filtered from. The baselines are one Bradley-Terry network after its last pass,
two of them averaged (the method averages two), the best pass of one by an oracle that sees the clean test, stopping on
held-out (noisy) comparisons, label smoothing, the corrected loss and dropping by training dynamics.

End to end, two adapters on one two-layer language model of a small language (worlds/topics.py), 30% of whose
comparisons are mislabelled: as two reward models, and as two policies whose implicit rewards DPO trains. The baselines
are the same two adapters by the same recipe with nothing left out, and one adapter stopped on held-out labels.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.learned.backbone import BackboneReward
from guerdon.reward.learned.pair_networks import PairNetworkReward
from guerdon.reward.learned.peer_adapters import PeerAdapters
from guerdon.reward.learned.peer_review import PeerReviewed
from guerdon.reward.learned.robust import RobustReward
from guerdon.reward.learned.sources import accuracy
from guerdon.worlds.mislabelled import Mislabelled
from guerdon.worlds.topics import Topics

PAPER = paper("crm-collaborative")

SEEDS, PASSES = 5, 15
LANGUAGE, TEXT_PAIRS, TEXT_TESTS, TEXT_NOISE = Topics(), 480, 400, 0.3
RECIPE = {"epochs": 6, "batch": 32, "learning_rate": 2e-3, "head_learning_rate": 2e-3, "lora_rank": 8}


def check(budget: Budget) -> Claim:
    """All five checks of the card."""
    worlds = {noise: [World(noise, seed) for seed in budget.seeds(SEEDS)] for noise in (0.4, 0.2, 0.0)}
    return Claim(
        PAPER.slug,
        [
            noisy(worlds[0.4], "1 40% of the labels wrong", 0.08, each=0.05, clean=0.72),
            noisy(worlds[0.2], "2 20% of the labels wrong", 0.05, each=None, clean=0.90),
            fair(worlds[0.4]),
            peer_or_self(worlds[0.4] + worlds[0.2]),
            unharmed(worlds[0.0]),
            end_to_end(budget),
        ],
        note="the adapted policies are measured as rewards; what they generate belongs to tune/language",
    )


class World:
    """One draw: what is trained on it is trained once."""

    def __init__(self, noise: float, seed: int) -> None:
        self.noise, self.seed = noise, seed
        self.world = Mislabelled.draw(2000, noise, dim=32, units=8, seed=seed)
        self.found: dict[str, PairNetworkReward] = {}

    def accuracy(self, *models: PairNetworkReward) -> float:
        """On the clean test comparisons, of the mean of the models."""
        x = self.world.test.reshape(-1, self.world.pool.dim)
        values = np.mean([model.values(model.features(x)).mean(0) for model in models], axis=0)
        return self.world.accuracy(values.reshape(-1, 2))

    def peer(self, **settings: object) -> PeerReviewed:
        """Peer review that assumes the true share of mistakes (a tenth where there are none)."""
        key = f"peer {settings}"
        if key not in self.found:
            model = PeerReviewed(
                encoder=self.world.pool.encoder(),
                noise=self.noise or 0.1,
                seed=10 * self.seed,
                **settings,  # type: ignore[arg-type]
            )
            self.found[key] = model.fit(self.world.feedback)
        return self.found[key]  # type: ignore[return-value]

    def plain(self, **settings: object) -> RobustReward:
        """One network, Bradley-Terry unless ``settings`` say otherwise, as it is after its last pass."""
        all_of_them = {"early_stopping": False, "dropout": 0.0, "epochs": PASSES, "seed": 10 * self.seed, **settings}
        key = f"plain {all_of_them}"
        if key not in self.found:
            model = RobustReward(encoder=self.world.pool.encoder(), **all_of_them)  # type: ignore[arg-type]
            self.found[key] = model.fit(self.world.feedback)
        return self.found[key]  # type: ignore[return-value]

    def selected_clean(self) -> float:
        """Share of the pairs selected after the warm-up that are labelled right."""
        return float(np.average(~self.world.wrong, weights=self.peer().selection_rate))


def noisy(worlds: list[World], name: str, gain: float, *, each: float | None, clean: float) -> Row:
    """Checks 1 and 2: against one Bradley-Terry network after its last pass."""
    figures = {
        "CRM": [w.accuracy(w.peer()) for w in worlds],
        "Bradley-Terry": [w.accuracy(w.plain()) for w in worlds],
        "two Bradley-Terry, averaged": [w.accuracy(w.plain(), w.plain(seed=10 * w.seed + 1)) for w in worlds],
        "CRM, easy first": [w.accuracy(w.peer(curriculum="easy-first")) for w in worlds],
        "selected pairs that are right": [w.selected_clean() for w in worlds],
        "all pairs that are right": [1 - w.noise for w in worlds],
    }
    bounds = [at_least("CRM", gain, over="Bradley-Terry"), at_least("selected pairs that are right", clean)]
    if each is not None:
        bounds.append(at_least("CRM", each, over="Bradley-Terry", each=True))
    return Row(name, figures, bounds, "accuracy; share")


def fair(worlds: list[World]) -> Row:
    """Check 3: against what else resists mistakes, at 40% of them."""
    figures: dict[str, list[float]] = {
        "CRM": [w.accuracy(w.peer()) for w in worlds],
        "CRM, warm-up of 4 passes": [w.accuracy(w.peer(warmup=4.0)) for w in worlds],
        "best pass by an oracle": [max(w.accuracy(w.plain(epochs=k)) for k in range(1, PASSES + 1)) for w in worlds],
        "stopped on held-out labels": [w.accuracy(w.plain(early_stopping=True)) for w in worlds],
        "label smoothing 0.2": [w.accuracy(w.plain(loss="smoothed", noise=0.2)) for w in worlds],
        "corrected loss": [w.accuracy(w.plain(loss="corrected", noise=w.noise)) for w in worlds],
        "corrected loss, stopped": [
            w.accuracy(w.plain(loss="corrected", noise=w.noise, early_stopping=True)) for w in worlds
        ],
        "cartography": [w.accuracy(w.plain(cartography=True, noise=w.noise)) for w in worlds],
        "Bradley-Terry": [w.accuracy(w.plain()) for w in worlds],
    }
    bounds = [
        at_least("CRM", -0.03, over="best pass by an oracle", each=True),
        at_least("CRM", 0.0, over="best pass by an oracle"),
        at_most("label smoothing 0.2", 0.02, over="Bradley-Terry"),
        at_least("CRM", 0.0, over="label smoothing 0.2"),
        at_least("CRM", 0.0, over="corrected loss"),
    ]
    return Row(
        "3 against early stopping and robust losses, 40% wrong",
        figures,
        bounds,
        "accuracy",
        note="much of the gain over a network after its last pass is resistance to overfitting",
    )


def peer_or_self(worlds: list[World]) -> Row:
    """Check 4: being filtered by the other is no worse than filtering for oneself."""
    figures = {
        "each for the other": [w.accuracy(w.peer()) for w in worlds],
        "each for itself": [w.accuracy(w.peer(select="self")) for w in worlds],
    }
    bounds = [at_least("each for the other", -0.005, over="each for itself")]
    return Row("4 peer or self selection, 40% and 20% wrong", figures, bounds, "accuracy")


def unharmed(worlds: list[World]) -> Row:
    """Check 5: on clean labels, dropping a tenth costs little."""
    figures = {
        "CRM, a tenth left out": [w.accuracy(w.peer()) for w in worlds],
        "Bradley-Terry": [w.accuracy(w.plain()) for w in worlds],
    }
    return Row("5 clean labels", figures, [at_least("CRM, a tenth left out", -0.015, over="Bradley-Terry")], "accuracy")


def end_to_end(budget: Budget) -> Row:
    """Two adapters on one language model, 30% of the labels wrong: as rewards and as policies (DPO)."""
    kinds = ("score", "policy")
    figures: dict[str, list[float]] = {}
    for kind in kinds:
        figures |= {f"CRM, {kind}": [], f"nothing left out, {kind}": [], f"selected pairs that are right, {kind}": []}
    figures |= {"one adapter, stopped on held-out labels": [], "all pairs that are right": []}
    asked = list(range(LANGUAGE.topics))
    for seed in budget.seeds(3):
        train = LANGUAGE.comparisons(TEXT_PAIRS, asked, seed, noise=TEXT_NOISE)
        test = LANGUAGE.comparisons(TEXT_TESTS, asked, seed + 1000)
        truth = LANGUAGE.comparisons(TEXT_PAIRS, asked, seed, noise=0.0)  # the same texts in the same order
        with tempfile.TemporaryDirectory(prefix="guerdon-crm-") as folder:
            LANGUAGE.language_model(Path(folder), seed)
            stopped = BackboneReward(backbone=folder, tuning="lora", seed=seed, **RECIPE)  # type: ignore[arg-type]
            figures["one adapter, stopped on held-out labels"].append(accuracy(stopped.fit(train), test))
            for kind in kinds:
                made = [
                    PeerAdapters(
                        backbone=folder,
                        reads=kind,
                        beta=1.0,
                        noise=noise,
                        review_warmup=2.0,
                        seed=seed,
                        **RECIPE,  # type: ignore[arg-type]
                    ).fit(train)
                    for noise in (TEXT_NOISE, 0.0)
                ]
                figures[f"CRM, {kind}"].append(accuracy(made[0], test))
                figures[f"nothing left out, {kind}"].append(accuracy(made[1], test))
                pairs = made[0].trained_on
                assert pairs is not None
                said, meant = train.pairs(), truth.pairs()
                right = np.zeros(len(train), dtype=bool)
                right[said.judgement] = (said.p > 0.5) == (meant.p > 0.5)[np.argsort(meant.judgement)][said.judgement]
                figures[f"selected pairs that are right, {kind}"].append(
                    float(np.average(right[pairs.judgement], weights=made[0].selection_rate))
                )
        figures["all pairs that are right"].append(float(right.mean()))
    bounds = [
        bound
        for kind in kinds
        for bound in (
            at_least(f"CRM, {kind}", 0.0, over=f"nothing left out, {kind}"),
            at_least(f"selected pairs that are right, {kind}", 0.05, over="all pairs that are right"),
        )
    ]
    note = "the card asks no figure of language models: bounds were set before the first run"
    return Row("6 two adapters on one language model, 30% wrong", figures, bounds, "accuracy; share", note)

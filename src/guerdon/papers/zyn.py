"""ZYN: the probability of yes to a question about a text is the reward; several questions are harder to fool than one.

A small language model is trained from scratch on texts of random words with questions about ten attributes, and on
definitions that say which names of attributes mean the same (``worlds/language/attributes.py``). Eight second names are
asked for in training too; the last two occur in definitions alone. ``YesNo`` then asks about texts it has never seen.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LabelProbabilities, LanguageModel
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.implicit.yes_no import Question, YesNo
from guerdon.worlds.language.attributes import NAMES, SYNONYMS, Attributes
from guerdon.worlds.language.model import language_model

PAPER = paper("zyn")

TEXTS = 200
ABOUT = "{response} {question}"


def check(budget: Budget) -> Claim:
    """Checks 1 and 3 of the card, and the ensemble of check 2 against the best of many texts."""
    reads, guards = transfer_and_guard(budget)
    return Claim(
        PAPER.slug,
        [reads, guards, numerics()],
        left=(
            "check 2 as the card has it, a policy tuned by PPO or GRPO (tune/): here best-of-n is the optimiser",
            "check 4, MAP-Elites with questions as axes (steer/)",
            "encoder-decoder judges such as Flan-T5: language models here are causal",
        ),
    )


class Ready:
    """A language model that answers questions about texts, and fresh texts."""

    def __init__(self, seed: int, folder: str) -> None:
        from guerdon.generate.local import LocalModel

        self.world, self.seed = Attributes(), seed
        path = language_model(
            Path(folder) / f"attributes-{seed}",
            self.world.dialogues(8000, seed),
            seed=seed, width=64, epochs=8, batch=32, learning_rate=1e-3, length=64, roles=("assistant",),
        )  # fmt: skip
        self.model = LocalModel(str(path), device="cpu")
        rng = np.random.default_rng([seed, 281])
        self.texts = [self.world.text(rng) for _ in range(TEXTS)]

    def auc(self, attribute: int, name: str) -> tuple[float, float]:
        """(area under the curve of the question by ``name``, largest distance from the restricted softmax)."""
        reward = YesNo(self.model, self.world.question(name), about=ABOUT, scale="probability")
        p = reward.score(Candidates([""] * TEXTS, self.texts)).value
        logits = self.model.logits([reward.ask("", text) for text in self.texts]).astype(float)
        ids = self.model.tokenizer.convert_tokens_to_ids(["yes", "no"])
        both = np.exp(logits[:, ids] - logits[:, ids].max(1, keepdims=True))
        truth = np.array([self.world.has(text, attribute) for text in self.texts])
        return area(p, truth), float(np.abs(p - both[:, 0] / both.sum(1)).max())


def area(score: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve."""
    n, ranks = int(truth.sum()), rankdata(score)
    return float((ranks[truth].sum() - n * (n + 1) / 2) / (n * (len(truth) - n)))


def transfer_and_guard(budget: Budget) -> tuple[Row, Row]:
    """Check 1: questions about unseen texts, and by names known from definitions; check 2: one question or two."""
    figures: dict[str, list[float]] = {"seen questions": [], "paraphrased questions": [], "softmax distance": []}
    figures["worst seen question"] = []
    guard: dict[str, list[float]] = {}
    for seed in budget.seeds(3):
        with tempfile.TemporaryDirectory() as folder:
            ready = Ready(seed, folder)
            unseen = len(NAMES) - ready.world.unseen
            seen = [ready.auc(j, name) for j, name in enumerate(NAMES)]
            seen += [ready.auc(j, name) for j, name in enumerate(SYNONYMS[:unseen])]
            new = [ready.auc(j, SYNONYMS[j]) for j in range(unseen, len(NAMES))]
            figures["seen questions"].append(float(np.mean([a for a, _ in seen])))
            figures["worst seen question"].append(min(a for a, _ in seen))
            figures["paraphrased questions"].append(float(np.mean([a for a, _ in new])))
            figures["softmax distance"].append(max(d for _, d in seen + new))
            for name, value in guarded(ready).items():
                guard.setdefault(name, []).append(value)
    bounds = [
        at_least("seen questions", 0.95),
        at_least("paraphrased questions", 0.75),
        at_most("softmax distance", 1e-6, each=True),
    ]
    reads = Row("1 reading carries over to new texts and new words", figures, bounds, "AUC")
    row = Row(
        "2 a second question keeps out what it asks about (best of 64)",
        guard,
        [
            at_least("wanted, two questions", 0.8),
            at_most("unwanted, two questions", 0.05, over="unwanted, start"),
        ],
        "share of the texts chosen",
    )
    return reads, row


def guarded(ready: Ready) -> dict[str, float]:
    """How often the best of 64 texts has the wanted and the unwanted attribute, chosen by one question or by two."""
    world, rng = ready.world, np.random.default_rng([ready.seed, 282])
    first = Question(world.question(NAMES[0]), "yes")
    second = Question(world.question(NAMES[1]), "no")
    one = YesNo(ready.model, first, about=ABOUT)
    two = YesNo(ready.model, [first, second], about=ABOUT, scale="probability")
    groups = 20
    texts = [world.text(rng) for _ in range(groups * 64)]
    both = Candidates([""] * len(texts), texts)
    truth = np.array([[world.has(t, 0), world.has(t, 1)] for t in texts], dtype=float).reshape(groups, 64, 2)
    best = {name: r.score(both).value.reshape(groups, 64).argmax(1) for name, r in (("one", one), ("two", two))}
    rows = np.arange(groups)
    chosen = {name: truth[rows, at] for name, at in best.items()}
    return {
        "wanted, two questions": float(chosen["two"][:, 0].mean()),
        "wanted, one question": float(chosen["one"][:, 0].mean()),
        "wanted, start": float(truth[..., 0].mean()),
        "unwanted, two questions": float(chosen["two"][:, 1].mean()),
        "unwanted, one question": float(chosen["one"][:, 1].mean()),
        "unwanted, start": float(truth[..., 1].mean()),
    }


class Stub(LanguageModel):
    """Says yes and no with given logits, and everything else never."""

    def __init__(self, logits: dict[str, tuple[float, float]]) -> None:
        self.name, self.table = "stub", logits

    def label_probabilities(self, prompts: object, labels: object) -> LabelProbabilities:
        """Softmax of the two logits; (nan, nan) is a model that says neither."""
        rows = np.array([self.table[str(p)] for p in prompts], dtype=float)  # type: ignore[attr-defined]
        value = np.exp(rows - np.nanmax(np.nan_to_num(rows), axis=1, keepdims=True))
        value = np.nan_to_num(value / np.maximum(value.sum(1, keepdims=True), 1e-300))
        return LabelProbabilities(value, ["answered"] * len(rows), [None] * len(rows))


def numerics() -> Row:
    """Check 3: extreme logits are finite and in order; a model that says neither label gives no score and a reason."""
    logits = {"a": (1e4, -1e4), "b": (1.0, 0.0), "c": (-1e4, 1e4), "d": (np.nan, np.nan)}
    scores = YesNo(Stub(logits), about="{response}").score(Candidates([""] * 4, list(logits)))
    ordered = bool(np.isfinite(scores.value[:3]).all() and (np.diff(scores.value[:3]) < 0).all())
    clear = scores.status[3] == "abstained" and "neither" in str(scores.reason[3])
    figures = {"finite and in order": [float(ordered)], "neither label is unscored": [float(clear)]}
    bounds = [at_least(name, 1.0) for name in figures]
    return Row("3 extreme logits, missing labels", figures, bounds, "1 = yes")

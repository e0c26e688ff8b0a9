"""FLR: a response is good if a language model finds satisfied user turns likelier after it than dissatisfied ones.

A small language model is trained from scratch on plain dialogues (``worlds/language/conversations.py``): a question, an
answer on, partly on or off its topic, and a user who mostly thanks for the first kind and complains about the others.
Nobody tells it which answers are good. ``FollowUpLikelihood`` with its built-in follow-ups then tells pairs of answers
to held-out questions apart. Longer answers make users change the subject more often, which is what a single polarity
mistakes for dissatisfaction. For mining, a policy of the same world draws six answers a question, the best and the
worst by the follow-ups become pairs, and the policy is tuned on them (``AutoregressiveReward`` with its reference).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from guerdon.curate.extremes import as_feedback, mine
from guerdon.feedback.schema import Candidates
from guerdon.generate.local import LocalModel
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.implicit.autoregressive import AutoregressiveReward
from guerdon.reward.implicit.follow_up import BANK, FollowUpLikelihood
from guerdon.worlds.language.conversations import Conversations
from guerdon.worlds.language.model import language_model

PAPER = paper("flr")

DIALOGUES, PAIRS, FILLERS = 20_000, 200, (1, 2, 3, 4, 5)
VARIANTS = {
    "contrast": {"polarity": "both"},
    "satisfied only": {"polarity": "satisfied"},
    "dissatisfied only": {"polarity": "dissatisfied"},
    "dissatisfied only, sums": {"polarity": "dissatisfied", "length": "sum"},
}


def check(budget: Budget) -> Claim:
    """Checks 1 to 3 of the card."""
    with tempfile.TemporaryDirectory() as folder:
        worlds = [World(seed, Path(folder)) for seed in budget.seeds(3)]
        rows = [reads(worlds), lengths(worlds), mined(worlds[:2])]
    return Claim(
        PAPER.slug,
        rows,
        left=("check 4, a model trained on the user turns of HH-RLHF (report only)",),
    )


class World:
    """A language model that has read dialogues, and pairs of answers to questions it has not."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder = seed, folder
        said = {good: tuple(f.text for f in BANK if f.satisfied == good) for good in (True, False)}
        self.world = Conversations(satisfied=said[True], dissatisfied=said[False])
        self.model = LocalModel(str(self.train(f"scorer-{seed}", self.world.dialogues(DIALOGUES, seed))), device="cpu")
        self.prompts, self.better, self.worse = self.world.pairs(PAIRS, seed)

    def train(self, name: str, dialogues: list, width: int = 64, epochs: int = 1) -> Path:  # type: ignore[type-arg]
        """A language model of this world."""
        return language_model(
            self.folder / name, dialogues, self.world.words,
            seed=self.seed, width=width, epochs=epochs, batch=32, learning_rate=2e-3, length=64,
        )  # fmt: skip

    def right(self, reward: FollowUpLikelihood, fillers: Sequence[int] = (0,)) -> list[float]:
        """Accuracy on the pairs, with so many fillers after the worse answer."""
        better = reward.score(Candidates(self.prompts, self.better)).value
        out = []
        for count in fillers:
            rng = np.random.default_rng([self.seed, count])
            longer = [self.world.padded(text, count, rng) for text in self.worse]
            out.append(accuracy(better, reward.score(Candidates(self.prompts, longer)).value))
        return out

    def bayes(self) -> float:
        """Accuracy of the exact chance of a satisfied user."""
        return accuracy(*(self.world.satisfaction(self.prompts, part) for part in (self.better, self.worse)))

    def likelihood(self, what: str) -> float:
        """Accuracy of the answer's own log-likelihood, a sum or a mean."""
        parts = (self.better, self.worse)
        return accuracy(*(getattr(self.model.loglikelihood(self.prompts, part), what) for part in parts))


def accuracy(a: np.ndarray, b: np.ndarray) -> float:
    """Share of pairs in which ``a`` is above ``b``; a tie is half."""
    return float(np.mean(a > b) + 0.5 * np.mean(a == b))


def reads(worlds: list[World]) -> Row:
    """Check 1: satisfaction is read off user turns that nobody labelled."""
    figures = {name: [w.right(FollowUpLikelihood(w.model, **s))[0] for w in worlds] for name, s in VARIANTS.items()}  # type: ignore[arg-type]
    figures["Bayes"] = [w.bayes() for w in worlds]
    figures["share of Bayes"] = (np.array(figures["contrast"]) / np.array(figures["Bayes"])).tolist()
    figures["log p(y|c)"] = [w.likelihood("total") for w in worlds]
    figures["log p(y|c) a token"] = [w.likelihood("mean") for w in worlds]
    bounds = [
        at_least("share of Bayes", 0.90),
        at_least("contrast", 0.15, over="log p(y|c)"),
        at_least("contrast", 0.15, over="log p(y|c) a token"),
        at_least("contrast", -0.01, over="satisfied only"),
        at_least("contrast", -0.01, over="dissatisfied only"),
    ]
    return Row("1 satisfaction that nobody labelled", figures, bounds, "accuracy")


def lengths(worlds: list[World]) -> Row:
    """Check 2: fillers after the worse answer; the largest change of accuracy over one to five of them."""
    figures = {}
    for name in ("contrast", "dissatisfied only, sums"):
        moved = []
        for w in worlds:
            before, *after = w.right(FollowUpLikelihood(w.model, **VARIANTS[name]), (0, *FILLERS))  # type: ignore[arg-type]
            moved.append(float(np.abs(np.array(after) - before).max()))
        figures[name] = moved
    bounds = [at_most("contrast", 0.05), at_least("dissatisfied only, sums", 0.10)]
    return Row("2 fillers after the worse answer", figures, bounds, "change of accuracy")


def mined(worlds: list[World]) -> Row:
    """Check 3: best and worst of six by the follow-ups, then direct preference optimisation of the policy."""
    names = ("tuned", "start", "KL (nats a response)", "pairs")
    figures: dict[str, list[float]] = {name: [] for name in names}
    for w in worlds:
        policy = w.train(f"policy-{w.seed}", w.world.dialogues(4000, w.seed + 100, kinds=(1, 0, 1), turns=2), epochs=3)
        start = LocalModel(str(policy), device="cpu")
        prompts = w.world.prompts(600, w.seed)
        pool = Candidates([p for p in prompts for _ in range(6)], answers(start, prompts, 6, w.seed))
        found = mine(pool, FollowUpLikelihood(w.model), n=None, keep=1.0, filter="none")
        pairs = as_feedback(pool, found)
        tuned = AutoregressiveReward(
            backbone=str(policy), reference="start", beta=0.1, keep="last", learning_rate=3e-4,
            epochs=150 * 32 / len(pairs), seed=w.seed, device="cpu",
        ).fit(pairs)  # fmt: skip
        tuned.save(w.folder / f"tuned-{w.seed}")
        after = LocalModel(str(w.folder / f"tuned-{w.seed}"), device="cpu")
        asked = w.world.prompts(200, w.seed + 50)
        for name, model in (("start", start), ("tuned", after)):
            share = w.world.on_topic(asked, answers(model, asked, 1, w.seed + 7))
            figures[name].append(float(np.mean(np.nan_to_num(share) > 0.5)))
        fresh = answers(after, asked, 1, w.seed + 8)
        gap = after.loglikelihood(asked, fresh, end=True).total - start.loglikelihood(asked, fresh, end=True).total
        figures["KL (nats a response)"].append(float(np.nanmean(gap)))
        figures["pairs"].append(float(len(pairs)))
    return Row("3 mined pairs tune the policy", figures, [at_least("tuned", 0.75)], "share on topic")


def answers(model: LocalModel, prompts: Sequence[str], n: int, seed: int) -> list[str]:
    """``n`` draws a prompt."""
    return [text or "" for text in model.generate(prompts, n=n, temperature=1.0, max_tokens=16, seed=seed).text]

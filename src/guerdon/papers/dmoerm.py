"""DMoERM on planted features: capabilities from cheap labels, few human comparisons to join them, a router above.

A world has 32 features, five capabilities tanh(2 c.x) and an overall reward that is their positive mix; 300 human
comparisons with 30% noise, 600 by a judge for each capability with 10%. Baselines: one network on the human
comparisons, an ensemble of five, and one network on all comparisons together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.learned.ensemble import EnsembleReward
from guerdon.reward.learned.experts import ExpertsReward, keep_consistent
from guerdon.reward.learned.fitted import FeatureReward
from guerdon.reward.learned.model import RewardModel

PAPER = paper("dmoerm")

SEEDS, DIM, CAPABILITIES, HUMAN, JUDGED = 5, 32, 5, 300, 600
TASKS = 4
NETWORK: dict[str, Any] = {"hidden": 64, "batch": 64, "epochs": 60}


def check(budget: Budget) -> Claim:
    """All five checks of the card."""
    stacks = decomposition(budget)
    return Claim(PAPER.slug, [*stacks, routing(budget), hygiene(budget)])


class Vectors:
    """An encoder that knows the features of texts it has drawn: a prompt's alone, and a response's."""

    spec = fingerprint = "planted vectors"

    def __init__(self, dim: int, seed: int) -> None:
        self.dim, self.rng = dim, np.random.default_rng([seed, 51])
        self.at: dict[tuple[str, str], np.ndarray] = {}

    def draw(self, prompt: str, response: str, centre: np.ndarray | None = None) -> np.ndarray:
        """Features of a new candidate (of a prompt where the response is empty)."""
        self.at[prompt, response] = self.rng.normal(size=self.dim) + (0.0 if centre is None else centre)
        return self.at[prompt, response]

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        """float32 [n, dim]."""
        found = [self.at[str(p), str(r)] for p, r in zip(candidates.prompts, candidates.responses, strict=True)]
        return np.array(found, dtype=np.float32)


class World:
    """Capabilities and their mix; comparisons by people and by a judge."""

    def __init__(self, seed: int) -> None:
        self.seed, self.rng, self.encoder = seed, np.random.default_rng([seed, 52]), Vectors(DIM, seed)
        c = self.rng.normal(size=(CAPABILITIES, DIM))
        self.c = c / np.linalg.norm(c, axis=1, keepdims=True)
        self.mix = self.rng.uniform(0.5, 1.5, CAPABILITIES)
        rows = [self.judgement(i, None, 0.3) for i in range(HUMAN)]
        rows += [self.judgement(HUMAN + k * JUDGED + i, k, 0.1) for k in range(CAPABILITIES) for i in range(JUDGED)]
        self.feedback = Feedback.of(rows)
        self.human = self.feedback.take(self.feedback.criterion < 0)
        self.pooled = Feedback.of([Judgement(r.prompt, r.responses, r.grades) for r in self.feedback.judgements()])
        self.test = self.rng.normal(size=(4000, DIM))
        self.many = self.rng.normal(size=(200, 256, DIM))

    def capability(self, x: np.ndarray) -> np.ndarray:
        """float64 [..., 5]."""
        return np.tanh(2 * x @ self.c.T)

    def gold(self, x: np.ndarray) -> np.ndarray:
        """float64 [...] overall reward."""
        return self.capability(x) @ self.mix

    def judgement(self, number: int, capability: int | None, noise: float) -> Judgement:
        """One comparison, mislabelled with probability ``noise``."""
        prompt, texts = f"prompt {number}", (f"a {number}", f"b {number}")
        x = np.stack([self.encoder.draw(prompt, t) for t in texts])
        value = self.gold(x) if capability is None else self.capability(x)[:, capability]
        first = (value[0] > value[1]) != (self.rng.random() < noise)
        name = None if capability is None else f"capability {capability}"
        return Judgement(prompt, texts, (float(first), float(not first)), criterion=name)

    def accuracy(self, values: np.ndarray) -> float:
        """Share of neighbouring test vectors in the right order."""
        gold = self.gold(self.test)
        return float(np.mean((values[::2] > values[1::2]) == (gold[::2] > gold[1::2])))

    def best_of_n(self, values: np.ndarray) -> float:
        """Gold of the best-scored of 256, in standard deviations above the mean."""
        gold = self.gold(self.many)
        chosen = np.take_along_axis(gold, values.reshape(gold.shape).argmax(1)[:, None], 1)
        return float((chosen.mean() - gold.mean()) / gold.std())


def values_of(model: FeatureReward, x: np.ndarray) -> np.ndarray:
    """float64 [n] scores of raw features x [n, d]."""
    scaled = model.features(x)
    if isinstance(model, ExpertsReward):
        return model.shared(scaled)
    return model.member_values(scaled).mean(0) if isinstance(model, EnsembleReward) else model.head(scaled)  # type: ignore[attr-defined]


def decomposition(budget: Budget) -> list[Row]:
    """Checks 1, 2 and 5."""
    names = ("experts, scores", "single", "ensemble of 5", "experts, hidden", "experts, chosen", "all data pooled")
    figures: dict[str, list[float]] = {name: [] for name in names}
    best: dict[str, list[float]] = {"experts, scores": [], "ensemble of 5": [], "single": []}
    for seed in budget.seeds(SEEDS):
        w = World(seed)
        plain = {"encoder": w.encoder, "seed": seed, **NETWORK}
        models: dict[str, FeatureReward] = {
            "single": RewardModel(head="mlp", dropout=0.0, **plain).fit(w.human),
            "ensemble of 5": EnsembleReward(members=5, **plain).fit(w.human),
            "all data pooled": RewardModel(head="mlp", dropout=0.0, **plain).fit(w.pooled),
        }
        for name, kind in (("scores", "scores"), ("hidden", "hidden"), ("chosen", "auto")):
            models[f"experts, {name}"] = ExpertsReward(aggregator=kind, route="none", **plain).fit(w.feedback)
        for name in names:
            figures[name].append(w.accuracy(values_of(models[name], w.test)))
            if name in best:
                best[name].append(w.best_of_n(values_of(models[name], w.many.reshape(-1, DIM))))
    bounds = [
        at_least("experts, scores", 0.04, over="single"),
        at_least("experts, scores", 0.02, over="ensemble of 5"),
        at_most("experts, hidden", 0.0, over="experts, scores"),
    ]
    more = {k: figures[k] for k in ("experts, scores", "all data pooled")}
    return [
        Row("1 decomposition pays", figures, bounds, "accuracy"),
        Row("2 not just more data", more, [at_least("experts, scores", 0.0, over="all data pooled")], "accuracy"),
        Row(
            "5 over-optimisation",
            best,
            [at_least("experts, scores", 0.0, over="ensemble of 5")],
            "gold of best-of-256, sd",
        ),
    ]


def routing(budget: Budget) -> Row:
    """Check 3: four kinds of prompts whose people want conflicting things."""
    names = ("routed", "one shared network", "random routes", "router accuracy")
    figures: dict[str, list[float]] = {name: [] for name in names}
    for seed in budget.seeds(SEEDS):
        rng, encoder = np.random.default_rng([seed, 53]), Vectors(DIM, seed)
        centres = rng.normal(size=(TASKS, DIM)) * 0.8
        taste = rng.normal(size=(TASKS // 2, DIM)) / np.sqrt(DIM)
        taste = np.concatenate([taste, -taste])  # two kinds of prompts want the opposite of the other two

        def ask(
            name: str, n: int, noise: float, encoder: Vectors = encoder, rng: np.random.Generator = rng,
            centres: np.ndarray = centres, taste: np.ndarray = taste,
        ) -> Feedback:  # fmt: skip
            rows = []
            for i in range(n):
                task, prompt = i % TASKS, f"{name} {i}"
                encoder.draw(prompt, "", centres[task])
                # the responses do not say what was asked for: a shared network cannot tell
                x = np.stack([encoder.draw(prompt, t) for t in ("a", "b")])
                value = np.tanh(2 * x @ taste[task])
                first = (value[0] > value[1]) != (rng.random() < noise)
                rows.append(Judgement(prompt, ("a", "b"), (float(first), float(not first)), subset=f"task {task}"))
            return Feedback.of(rows)

        train, test = ask("train", 1600, 0.1), ask("test", 1200, 0.0)
        model = ExpertsReward(encoder=encoder, route="prompt", seed=seed, **NETWORK).fit(train)
        wide = {**NETWORK, "hidden": TASKS * NETWORK["hidden"]}
        shared = RewardModel(encoder=encoder, head="mlp", dropout=0.0, seed=seed, **wide).fit(train)
        told = test.candidates
        figures["routed"].append(right(test, model.score(told).value))
        figures["one shared network"].append(right(test, shared.score(told).value))
        wrong = [f"task {i}" for i in rng.integers(TASKS, size=len(test.prompts))]
        at_random = [wrong[i] for i in test.prompt_of]
        random = Candidates(told.prompts, told.responses, extra={"category": at_random})
        figures["random routes"].append(right(test, model.score(random).value))
        truth = {str(r.prompt): r.subset for r in test.judgements()}
        found = model.score(told).detail["category"]
        figures["router accuracy"].append(
            float(np.mean([c == truth[str(p)] for c, p in zip(found, told.prompts, strict=True)]))
        )
    bounds = [
        at_least("routed", 0.05, over="one shared network"),
        at_least("router accuracy", 0.95),
        at_most("random routes", 0.02, over="one shared network"),
    ]
    return Row("3 routing", figures, bounds, "accuracy")


def right(test: Feedback, values: np.ndarray) -> float:
    """Share of the comparisons of ``test`` in the right order by ``values`` [C]."""
    pairs = test.pairs(ties=False)
    return float(np.mean((values[pairs.a] > values[pairs.b]) == (pairs.p > 0.5)))


def hygiene(budget: Budget) -> Row:
    """Check 4: a judge that says "the first" 70% of the time, asked in both orders."""
    figures: dict[str, list[float]] = {"both orders, consistent": [], "one order": [], "discarded": []}
    for seed in budget.seeds(SEEDS):
        rng = np.random.default_rng([seed, 54])
        rows, single, better = [], [], {}
        for i in range(2000):
            pair = (f"better {i}", f"worse {i}")
            better[f"prompt {i}"] = pair[0]
            first_seen = bool(rng.random() < 0.5)
            for asked in range(2):
                good_first = first_seen if asked == 0 else not first_seen
                texts = pair if good_first else pair[::-1]
                # right 75% of the time where it looks; its habit makes "the first" 70% of its answers
                says_first = rng.random() < (0.95 if good_first else 0.45)
                row = Judgement(f"prompt {i}", texts, (float(says_first), float(not says_first)), criterion="logic")
                rows.append(row)
                if asked == 0:
                    single.append(says_first == good_first)
        kept, report = keep_consistent(Feedback.of(rows))
        good = [r.responses[int(np.argmax(r.grades))] == better[str(r.prompt)] for r in kept.judgements()]
        figures["both orders, consistent"].append(float(np.mean(good)))
        figures["one order"].append(float(np.mean(single)))
        figures["discarded"].append(report.discarded)
    bounds = [
        at_least("both orders, consistent", 0.08, over="one order"),
        at_least("discarded", 0.01),
    ]
    return Row("4 label hygiene", figures, bounds, "accuracy of labels; share of questions")

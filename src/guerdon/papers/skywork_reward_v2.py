"""Skywork-Reward-V2: a small verified core finds what a reward gets wrong; agreement curates the rest of a noisy pool.

The world is the card's: 4,000 comparisons in eight clusters of prompts, 5% of the labels wrong in six of them and 75%
in two, 200 verified comparisons to measure on, a verifier who looks at 400 in four rounds. Responses have 8 features;
what is good is partly common to all clusters and partly a cluster's own, so that the reward (linear in features and
their products with the prompt) learns the wrong labels of a bad cluster. Accuracy is on 4,000 clean fresh comparisons.
The baseline spends the same verifications at random; everything after stage 1 is the same for both.
"""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Any

import numpy as np

from guerdon.curate.queue import Question
from guerdon.curate.retrieval import Nearest
from guerdon.curate.verify import Course, Examples, Loop
from guerdon.errors import FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.learned.model import RewardModel
from guerdon.worlds.pool import Pool

PAPER = paper("skywork-reward-v2")

PAIRS, GOLD, TESTS, CLUSTERS, DIM, BAD = 4000, 200, 4000, 8, 8, 2
SEEDS = 5


def check(budget: Budget) -> Claim:
    """Checks 1 to 5 of the card."""
    runs = [Runs(World(seed)) for seed in budget.seeds(SEEDS)]
    return Claim(
        PAPER.slug,
        [targeting(runs), iterated(runs), filtered(runs), recycling(runs), guided(runs), leakage(runs[0].world)],
        note="the reward is a linear one on planted features; judges are simulated",
    )


class World:
    """One draw of the card's world."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 104])
        self.seed = seed
        n = PAIRS + GOLD + TESTS
        self.cluster = rng.integers(0, CLUSTERS, n)
        prompt = np.eye(CLUSTERS)[self.cluster] + 0.15 * rng.normal(size=(n, CLUSTERS))
        r = rng.normal(size=(n, 2, DIM))
        common, own = rng.normal(size=DIM), rng.normal(size=(CLUSTERS, DIM))
        w = common + own[self.cluster]
        self.truth = np.einsum("ntd,nd->nt", r, w)[:, 0] > np.einsum("ntd,nd->nt", r, w)[:, 1]
        products = np.einsum("ntd,nc->ntdc", r, prompt).reshape(n, 2, -1)
        self.x = np.concatenate([r, products], 2).reshape(2 * n, -1)
        wrong = rng.random(n) < np.where(self.cluster < BAD, 0.75, 0.05)
        wrong[PAIRS:] = False
        self.wrong = wrong
        self.said = self.truth ^ wrong
        self.prompt = prompt
        names = [f"prompt {i}" for i in range(n) for _ in range(2)]
        self.world = Pool(Candidates(names, [f"response {i}" for i in range(2 * n)]), self.x)

    def feedback(self, start: int, stop: int) -> Feedback:
        """Comparisons ``start`` to ``stop`` as they are labelled."""
        said = np.stack([self.said, ~self.said], 1)[start:stop].astype(float)
        rows = self.world.candidates
        return Feedback.from_columns(
            prompts=list(rows.prompts[2 * start : 2 * stop : 2]),
            responses=list(rows.responses[2 * start : 2 * stop]),
            offsets=np.arange(stop - start + 1) * 2,
            grades=said.ravel(),
        )

    def number(self, question: Question) -> int:
        """Which comparison a question is about."""
        return int(str(question.prompt).split()[1])

    def first_is_better(self, question: Question) -> bool:
        """The truth about a question, in whichever order it is asked."""
        i = self.number(question)
        return bool(self.truth[i]) == (question.first == f"response {2 * i}")

    def verifier(self, questions: list[Question]) -> list[float]:
        """People who are right."""
        return [float(self.first_is_better(q)) for q in questions]

    def judge(self, kind: int) -> Any:
        """A judge right in 75% of the cases, in 90% with two guiding examples of the same kind of prompt."""

        def answer(questions: list[Question], examples: list[Examples]) -> np.ndarray:
            out = []
            for q, near in zip(questions, examples, strict=True):
                i = self.number(q)
                helpful = sum(self.cluster[self.number(e)] == self.cluster[i] for e, _ in near)
                right = np.random.default_rng([self.seed, kind, i]).random() < (0.9 if helpful >= 2 else 0.75)
                out.append(float(self.first_is_better(q) == right))
            return np.array(out)

        return answer

    def loop(self, gold: Feedback | None = None, **settings: Any) -> Loop:
        """The two stages on this world."""
        return Loop(
            pool=self.feedback(0, PAIRS),
            gold=self.feedback(PAIRS, PAIRS + GOLD) if gold is None else gold,
            fit=lambda data: RewardModel(encoder=self.world.encoder(), l2=1e-3, seed=self.seed).fit(data),
            verifier=self.verifier,
            index=Nearest.of(self.prompt[:PAIRS]),
            gold_index=Nearest.of(self.prompt[PAIRS : PAIRS + GOLD]),
            seed=self.seed,
            **settings,
        )

    def accuracy(self, model: RewardModel) -> float:
        """On the clean fresh comparisons."""
        start = 2 * (PAIRS + GOLD)
        u = model.head(model.features(self.x[start:])).reshape(-1, 2)
        return float(np.mean((u[:, 0] > u[:, 1]) == self.truth[PAIRS + GOLD :]))


class Runs:
    """Both ways of spending the budget, each run once and then curated with and without recycling."""

    def __init__(self, world: World) -> None:
        self.world = world

    @cached_property
    def adaptive(self) -> Course:
        """Near errors; stage 1 alone."""
        return self.world.loop().stage1()

    @cached_property
    def random(self) -> Course:
        """At random; stage 1 alone."""
        return self.world.loop(select="random").stage1()

    def curated(self, how: str, agreement: str = "either", **settings: Any) -> tuple[Course, float, float]:
        """(course, accuracy, share of the training labels that is wrong) after both stages; stage 1 is run once."""
        world = self.world
        course = copy.deepcopy(self.adaptive if how == "errors" else self.random)
        course = world.loop(select=how, agreement=agreement, **settings).stage2(course)
        used = course.rows("gold", "silver", "kept", "flipped")
        return course, world.accuracy(course.final), float(np.mean((course.p > 0.5)[used] != world.truth[:PAIRS][used]))


def targeting(runs: list[Runs]) -> Row:
    """Check 1: where verifications go."""
    bad = [r.world.cluster[:PAIRS] < BAD for r in runs]
    figures = {
        "near errors": [float(b[r.adaptive.rows("gold")].mean()) for r, b in zip(runs, bad, strict=True)],
        "at random": [float(b[r.random.rows("gold")].mean()) for r, b in zip(runs, bad, strict=True)],
    }
    return Row("1 verified pairs in the bad quarter", figures, [at_least("near errors", 0.5)], "share")


def iterated(runs: list[Runs]) -> Row:
    """Check 2: the reward after stage 1, before any filter."""
    figures = {
        "near errors": [r.world.accuracy(r.adaptive.rewards[-1]) for r in runs],
        "at random": [r.world.accuracy(r.random.rewards[-1]) for r in runs],
        "raw pool": [r.world.accuracy(r.adaptive.rewards[0]) for r in runs],
    }
    return Row("2 reward on corrected pool", figures, [at_least("near errors", 0.04, over="at random")], "accuracy")


def filtered(runs: list[Runs]) -> Row:
    """Check 3: after the filter (gold reward, or best reward confidently, agrees with the label), nothing flipped."""
    adaptive = [r.curated("errors", recycle="no") for r in runs]
    random = [r.curated("random", recycle="no") for r in runs]
    both = [r.curated("errors", recycle="no", agreement="both") for r in runs]
    random_both = [r.curated("random", recycle="no", agreement="both") for r in runs]
    figures = {
        "near errors": [a for _, a, _ in adaptive],
        "at random": [a for _, a, _ in random],
        "raw pool": [r.world.accuracy(r.adaptive.rewards[0]) for r in runs],
        "near errors, both rewards agree": [a for _, a, _ in both],
        "at random, both rewards agree": [a for _, a, _ in random_both],
        "wrong labels left, near errors": [e for _, _, e in adaptive],
        "wrong labels left, at random": [e for _, _, e in random],
        "wrong labels left, near errors, both agree": [e for _, _, e in both],
        "wrong labels before": [float(r.world.wrong[:PAIRS].mean()) for r in runs],
        "share of the pool used": [float(c.rows("gold", "kept").mean()) for c, _, _ in adaptive],
    }
    bounds = [
        at_least("near errors", 0.12, over="raw pool"),
        at_least("near errors", 0.02, over="at random"),
        at_most("wrong labels left, near errors", 0.05),
    ]
    return Row("3 agreement filter", figures, bounds, "accuracy; share")


def recycling(runs: list[Runs]) -> Row:
    """Check 4: reversed pairs turned round, for both ways of verifying; then what gold validation chooses."""
    figures: dict[str, list[float]] = {}
    for how, name in (("random", "at random"), ("errors", "near errors")):
        for recycle, said in (("no", "dropped"), ("yes", "flipped"), ("auto", "as gold validation says")):
            found = [r.curated(how, recycle=recycle) for r in runs]
            figures[f"wrong labels, {name}, {said}"] = [e for _, _, e in found]
            figures[f"accuracy, {name}, {said}"] = [a for _, a, _ in found]
    bounds = [
        at_most("wrong labels, at random, flipped", 0.0, over="wrong labels, at random, dropped"),
        at_least("accuracy, near errors, flipped", -0.04, over="accuracy, near errors, dropped"),
    ]
    return Row("4 recycling", figures, bounds, "share; accuracy")


def guided(runs: list[Runs]) -> Row:
    """The judges of stages 1 and 2: two simulated ones, guided by near verified pairs, on top of the same budget."""
    figures: dict[str, list[float]] = {"with judges": [], "without": [], "silver labels that are right": []}
    for r in runs:
        judges = [r.world.judge(1), r.world.judge(2)]
        first = r.world.loop(judges=judges).stage1()
        silver = first.rows("silver")
        figures["silver labels that are right"].append(
            float(np.mean((first.p[silver] > 0.5) == r.world.truth[:PAIRS][silver]))
        )
        figures["with judges"].append(
            r.world.accuracy(r.world.loop(judges=judges, agreement="either").stage2(first).final)
        )
        figures["without"].append(r.curated("errors")[1])
    bounds = [at_least("with judges", 0.0, over="without"), at_least("silver labels that are right", 0.85)]
    return Row("judges guided by verified pairs", figures, bounds, "accuracy; share")


def leakage(world: World) -> Row:
    """Check 5: measuring on training gold is refused: no gold split, or one whose pairs are in the pool."""
    refused = []
    for gold in (Feedback.of([]), world.feedback(PAIRS - 50, PAIRS + 150)):
        try:
            world.loop(gold)
            refused.append(0.0)
        except FeedbackError:
            refused.append(1.0)
    return Row("5 leaks refused", {"refused": [float(np.mean(refused))]}, [at_least("refused", 1.0)], "share")

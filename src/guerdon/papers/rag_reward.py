"""RAG-Reward: pairs judged by four criteria, and a reward that sees the sources.

Records of eight facts and answers with controlled errors (``worlds/records.py``); a judge compares pairs by each
criterion and errs in 8 % of its verdicts. Heads are Bradley-Terry on the surface of the answer and its four measures
against the sources (``rule:rag``), or on the surface alone, which is a reward without its context.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from guerdon.curate.criteria_pairs import CriteriaVerdicts
from guerdon.encode.features import surface_features
from guerdon.feedback.schema import Candidates
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.verify.rag import CRITERIA as MEASURED
from guerdon.reward.verify.rag import Grounded
from guerdon.worlds.records import CRITERIA, Answer, Record, answer

PAPER = paper("rag-reward")

RECORDS, PAIRS, TESTS = 400, 1200, 600


def check(budget: Budget) -> Claim:
    """Checks 1, 2 and 4 of the card."""
    return Claim(
        PAPER.slug,
        [context(budget), *criteria(budget), annotators(budget)],
        left=(
            "check 3 (RAFT of a generator) and the reward of 8B parameters: they come with tune/language",
            "WebGLM, Yelp and the published pairs are not at hand, nor a language model that judges; no suite of them",
        ),
        note="The head's features are measures of the very errors that are planted, and answers are templates.",
    )


class World:
    """Pairs of answers to the same record, their features with and without the sources, and the truth."""

    def __init__(self, seed: int, count: int, kinds: tuple[str, ...] = CRITERIA, *, minimal: bool = False) -> None:
        rng = np.random.default_rng([seed, count, int(minimal), *(CRITERIA.index(k) for k in kinds)])
        records = [Record.drawn(i, rng) for i in range(RECORDS)]
        self.pairs: list[tuple[Record, Answer, Answer]] = []
        of = {"hallucination": "contradicted", "comprehensiveness": "missing", "verbosity": "padded"}
        while len(self.pairs) < count:
            record = records[rng.integers(RECORDS)]
            if minimal:
                kind = of.get(kinds[rng.integers(len(kinds))], "uncited")
                two = [answer(record, rng, **{kind: k}) for k in rng.permutation([0, int(rng.integers(1, 4))]).tolist()]
            else:
                two = [
                    answer(
                        record,
                        rng,
                        **{e: int(rng.integers(0, 4)) for e in ("contradicted", "missing", "padded", "uncited")},
                    )
                    for _ in range(2)
                ]
            self.pairs.append((record, two[0], two[1]))
        texts = [[a.text for _, a, _ in self.pairs], [b.text for _, _, b in self.pairs]]
        rule = Grounded(threshold=0.95)  # templates repeat the sources word for word
        with_context, without = [], []
        for side in (0, 1):
            candidates = Candidates(
                [p[0].prompt for p in self.pairs], texts[side], extra={"sources": [p[0].sources for p in self.pairs]}
            )
            detail = rule.score(candidates).detail
            measures = np.array([[float(v or 0.0) for v in detail[name]] for name in MEASURED]).T
            surface = surface_features(texts[side]).astype(float)
            without.append(surface)
            with_context.append(np.concatenate([surface, measures], axis=1))
        self.x, self.blind = with_context[0] - with_context[1], without[0] - without[1]
        quality = np.array([[[t.quality(c) for c in CRITERIA] for t in (a, b)] for _, a, b in self.pairs])
        self.gap = quality[:, 0] - quality[:, 1]

    @property
    def verdicts(self) -> np.ndarray:
        """float64 [n, 4] 1, 0 or 0.5 by criterion."""
        return 0.5 + 0.5 * np.sign(self.gap)

    def told(self, noise: float, seed: int) -> CriteriaVerdicts:
        """What a judge says that is wrong in a share ``noise`` of its verdicts."""
        rng = np.random.default_rng([seed, 70])
        said = np.where(rng.random(self.gap.shape) < noise, 1 - self.verdicts, self.verdicts)
        return CriteriaVerdicts(CRITERIA, said, {}, {})


def label(verdicts: np.ndarray) -> np.ndarray:
    """The majority of verdicts [n, 4]; NaN where they balance out."""
    return CriteriaVerdicts(CRITERIA, verdicts, {}, {}).aggregate


def head(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights of a Bradley-Terry head on differences x [n, d] and labels y [n], its ridge by cross-validation."""
    from sklearn.linear_model import LogisticRegressionCV

    scale = np.maximum(x.std(0), 1e-9)
    known = ~np.isnan(y) & (y != 0.5)
    x, y = x[known] / scale, y[known]
    both, labels = np.concatenate([x, -x]), np.concatenate([y, 1 - y]) > 0.5
    fitted = LogisticRegressionCV(Cs=5, cv=5, fit_intercept=False, max_iter=500).fit(both, labels)
    return fitted.coef_[0] / scale


def accuracy(x: np.ndarray, weight: np.ndarray, truth: np.ndarray) -> float:
    """Share of decided pairs that are ordered as the truth [n] (NaN and 0.5 left out), ties half."""
    some = ~np.isnan(truth) & (truth != 0.5)
    gap = x[some] @ weight
    return float(np.mean(np.where(gap == 0, 0.5, (gap > 0) == (truth[some] > 0.5))))


def context(budget: Budget) -> Row:
    """Check 1: the same head with and without the sources, on pairs of all kinds and where only facts are wrong."""
    names = ("with sources", "without", "hallucination pairs, with sources", "hallucination pairs, without")
    figures: dict[str, list[float]] = {name: [] for name in names}
    for seed in budget.seeds(3):
        train, test = World(seed, PAIRS), World(seed + 100, TESTS)
        wrong = World(seed + 200, TESTS, ("hallucination",), minimal=True)
        told = train.told(0.08, seed).aggregate
        sees, blind = head(train.x, told), head(train.blind, told)
        truth = label(test.verdicts)
        figures["with sources"].append(accuracy(test.x, sees, truth))
        figures["without"].append(accuracy(test.blind, blind, truth))
        figures["hallucination pairs, with sources"].append(accuracy(wrong.x, sees, wrong.verdicts[:, 0]))
        figures["hallucination pairs, without"].append(accuracy(wrong.blind, blind, wrong.verdicts[:, 0]))
    bounds = [
        at_least("with sources", 0.85),
        at_least("hallucination pairs, without", 0.42),
        at_most("hallucination pairs, without", 0.58),
        at_least("hallucination pairs, with sources", 0.25, over="hallucination pairs, without"),
    ]
    return Row("1 the context matters", figures, bounds, "accuracy")


def criteria(budget: Budget) -> list[Row]:
    """Check 2: a head a criterion, on its own minimal pairs and on those of another; their majority and one head."""
    own: dict[str, list[float]] = {c: [] for c in CRITERIA}
    other: dict[str, list[float]] = {"furthest from a half, unrelated": []}
    one: dict[str, list[float]] = {"one head on labels": [], "majority of four heads": []}
    for seed in budget.seeds(3):
        train, test = World(seed, PAIRS), World(seed + 100, TESTS)
        told = train.told(0.08, seed)
        heads = [head(train.x, told.value[:, k]) for k in range(4)]
        minimal = [World(seed + 300, TESTS // 2, (c,), minimal=True) for c in CRITERIA]
        furthest = 0.0
        for k, c in enumerate(CRITERIA):
            own[c].append(accuracy(minimal[k].x, heads[k], minimal[k].verdicts[:, k]))
            for j in range(4):
                if j != k:
                    said = accuracy(minimal[j].x, heads[k], minimal[j].verdicts[:, j])
                    furthest = max(furthest, abs(said - 0.5))
        other["furthest from a half, unrelated"].append(furthest)
        truth = label(test.verdicts)
        one["one head on labels"].append(accuracy(test.x, head(train.x, told.aggregate), truth))
        votes = np.stack([expit(test.x @ w) > 0.5 for w in heads], axis=1).astype(float)
        said = label(votes)
        some = ~np.isnan(truth)
        right = np.where(np.isnan(said[some]), 0.5, said[some] == truth[some])
        one["majority of four heads"].append(float(right.mean()))
    return [
        Row("2 each criterion has a head", own, [at_least(c, 0.8) for c in CRITERIA], "accuracy on its own pairs"),
        Row(
            "2 and says nothing of the others",
            other,
            [at_most("furthest from a half, unrelated", 0.1)],
            "accuracy less a half",
        ),
        Row(
            "2 one head for all",
            one,
            [at_most("one head on labels", 0.0, over="majority of four heads")],
            "accuracy",
        ),
    ]


def annotators(budget: Budget) -> Row:
    """Check 4: accuracy against clean labels, and Cohen's kappa of the judge, as it errs more."""
    from sklearn.metrics import cohen_kappa_score

    figures: dict[str, list[float]] = {f"{noise:.0%} wrong": [] for noise in (0.08, 0.2, 0.35)}
    figures |= {f"kappa, {noise:.0%} wrong": [] for noise in (0.08, 0.2, 0.35)}
    for seed in budget.seeds(3):
        train, test = World(seed, PAIRS), World(seed + 100, TESTS)
        truth = label(train.verdicts)
        for noise in (0.08, 0.2, 0.35):
            told = train.told(noise, seed).aggregate
            figures[f"{noise:.0%} wrong"].append(accuracy(test.x, head(train.x, told), label(test.verdicts)))
            both = ~np.isnan(told) & ~np.isnan(truth)
            figures[f"kappa, {noise:.0%} wrong"].append(float(cohen_kappa_score(told[both], truth[both])))
    bounds = [
        at_least("8% wrong", 0.0, over="20% wrong"),
        at_least("20% wrong", 0.0, over="35% wrong"),
        at_least("20% wrong", 0.7),
    ]
    note = "a judge errs where one answer is better; a tie stays one"
    return Row("4 annotators that err", figures, bounds, "accuracy against clean labels; kappa", note=note)

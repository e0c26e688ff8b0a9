"""General preference: embeddings whose skew-symmetric form holds cycles; play against oneself finds its equilibrium.

Worlds of planted features (32 dimensions): clusters that beat each other in a circle, one linear utility, and both in
one set of comparisons. The method is the model ``general-preference`` at its defaults, the baseline the model
``bradley-terry`` (ridge chosen on held-out data). The policy iterates are exact, on five arms. End to end, a two-layer
transformer trained on a small language (``worlds/topics.py``) is fitted by LoRA with the paper's head, and with a
scalar head by the same recipe: texts of three topics beat each other in a circle, on prompts that were never asked.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from scipy.special import expit

from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, within
from guerdon.papers.index import paper
from guerdon.reward.base import Reward
from guerdon.reward.learned.backbone import BackboneReward
from guerdon.reward.learned.backbone_preference import BackbonePreference
from guerdon.reward.learned.general_preference import GeneralPreference
from guerdon.reward.learned.likelihood import SkewSymmetric, compile_likelihood
from guerdon.reward.learned.model import RewardModel
from guerdon.reward.learned.tabular import fit_table
from guerdon.reward.learned.tournament import exploitability, self_play
from guerdon.worlds.pool import PlantedEncoder, Pool
from guerdon.worlds.topics import Topics

PAPER = paper("gpm")

ITEMS, PAIRS, TESTS = 400, 6000, 2000
LANGUAGE, TEXT_PAIRS, TEXT_TESTS = Topics(), 960, 300
RECIPE = {"tuning": "lora", "epochs": 4, "batch": 16, "learning_rate": 2e-3, "head_learning_rate": 2e-3, "patience": 16}


def check(budget: Budget) -> Claim:
    """The five checks of the card, the first also end to end."""
    frozen = [cycles(budget, 3), cycles(budget, 5), transitive(budget), cost(budget), iterates(budget), mixed(budget)]
    return Claim(
        PAPER.slug,
        [*frozen, end_to_end(budget)],
        note="the exact step of GPO is checked here; training a language model by it belongs to tune/language",
    )


def pool_of(x: np.ndarray) -> Pool:
    """Responses to one prompt with features x [n, d]."""
    return Pool(Candidates(["which?"] * len(x), [f"response {i}" for i in range(len(x))]), x)


def comparisons(pool: Pool, a: np.ndarray, b: np.ndarray, first: np.ndarray) -> Feedback:
    """Feedback of pairs; ``first`` bool [n]: a is preferred."""
    texts = np.array(pool.candidates.responses, dtype=object)
    grades = np.stack([first, ~first], 1).astype(float).ravel()
    offsets = np.arange(0, 2 * len(a) + 1, 2)
    columns = (texts[a].tolist(), texts[b].tolist())
    return Feedback.from_columns(prompts=["which?"] * len(a), responses=columns, offsets=offsets, grades=grades)


def accuracy(reward: Reward, pool: Pool, a: np.ndarray, b: np.ndarray, first: np.ndarray) -> float:
    """Share of pairs on the right side of 1/2."""
    p = reward.prefer(pool.candidates.take(a), pool.candidates.take(b)).value
    return float(np.mean((p > 0.5) == first))


def both(
    pool: Pool, a: np.ndarray, b: np.ndarray, first: np.ndarray, seed: int
) -> tuple[GeneralPreference, float, float]:
    """(the fitted method, its accuracy, Bradley-Terry's) on the last ``TESTS`` of the pairs."""
    fitting, tests = slice(None, -TESTS), slice(-TESTS, None)
    feedback = comparisons(pool, a[fitting], b[fitting], first[fitting])
    general = GeneralPreference(encoder=pool.encoder(), seed=seed).fit(feedback)
    plain = RewardModel(encoder=pool.encoder(), seed=seed).fit(feedback)
    asked = pool, a[tests], b[tests], first[tests]
    return general, accuracy(general, *asked), accuracy(plain, *asked)


def draw(rng: np.random.Generator, n: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Two different items each, ``count`` times."""
    a = rng.integers(0, n, count)
    return a, (a + rng.integers(1, n, count)) % n


def circle(rng: np.random.Generator, clusters: int, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(features [n, dim] of noisy clusters, cluster of each, items a, items b): pairs of neighbours on the circle.

    Clusters have one size and neighbours meet equally often: otherwise an order that breaks the circle at its weakest
    place is right two times in three on a circle of three.
    """
    group = np.arange(ITEMS) % clusters
    x = rng.normal(size=(clusters, dim))[group] + 0.3 * rng.normal(size=(ITEMS, dim))
    count = PAIRS + TESTS
    edge = np.arange(count) % clusters
    size = ITEMS // clusters
    ahead = np.stack([e + clusters * rng.integers(0, size, count) for e in (edge, (edge + 1) % clusters)], axis=1)
    swapped = rng.random(count) < 0.5
    return x, group, np.where(swapped, ahead[:, 1], ahead[:, 0]), np.where(swapped, ahead[:, 0], ahead[:, 1])


def cycles(budget: Budget, clusters: int) -> Row:
    """Check 1: cluster i beats cluster i + 1, and the last the first."""
    figures: dict[str, list[float]] = {"GPM": [], "Bradley-Terry": [], "asymmetry": []}
    for seed in budget.seeds(3):
        rng = np.random.default_rng([seed, 52, clusters])
        x, group, a, b = circle(rng, clusters, 32)
        pool = pool_of(x)
        general, mine, plain = both(pool, a, b, (group[b] - group[a]) % clusters == 1, seed)
        table = general.table(pool.candidates)
        for name, value in zip(figures, (mine, plain, np.abs(table + table.T).max()), strict=True):
            figures[name].append(float(value))
    bounds = [
        at_least("GPM", 0.97, each=True),
        at_least("Bradley-Terry", 0.40, each=True),
        at_most("Bradley-Terry", 0.60, each=True),
        at_most("asymmetry", 1e-5, each=True),
    ]
    return Row(f"1 a circle of {clusters}", figures, bounds, "accuracy; max |s(a, b) + s(b, a)|")


def transitive(budget: Budget) -> Row:
    """Check 2: one linear utility."""
    figures: dict[str, list[float]] = {"GPM": [], "Bradley-Terry": []}
    for seed in budget.seeds(3):
        rng = np.random.default_rng([seed, 53])
        x, w = rng.normal(size=(ITEMS, 32)), rng.normal(size=32)
        a, b = draw(rng, ITEMS, PAIRS + TESTS)
        _, mine, plain = both(pool_of(x), a, b, (x[a] - x[b]) @ w > 0, seed)
        figures["GPM"].append(mine)
        figures["Bradley-Terry"].append(plain)
    return Row("2 transitive", figures, [at_least("GPM", -0.025, over="Bradley-Terry")], "accuracy")


class Counting(PlantedEncoder):
    """An encoder that counts what it is asked to encode."""

    count = 0

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        """Features, and one more for each candidate on the count."""
        self.count += len(candidates)
        return super().encode(candidates, progress=progress)


def cost(budget: Budget) -> Row:
    """Check 3: all comparisons of 64 candidates."""
    rng = np.random.default_rng([0, 54])
    pool = pool_of(rng.normal(size=(64, 32)))
    a, b = draw(rng, 64, 300)
    encoder = Counting(pool)
    general = GeneralPreference(encoder=encoder, epochs=2).fit(comparisons(pool, a, b, pool.features[a, 0] > 0))
    encoder.count = 0
    comparisons_made = general.table(pool.candidates).size - 64
    figures = {"encodings": [float(encoder.count)], "comparisons": [float(comparisons_made)]}
    return Row("3 encodings of a table of 64", figures, [at_most("encodings", 64), at_least("comparisons", 4032)], "")


def arms() -> np.ndarray:
    """float64 [5, 5] scores: a circle of three by 2, and two arms that lose by 2 to the circle (the last to both)."""
    score = np.zeros((5, 5))
    for i, j in ((0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3), (0, 4), (1, 4), (2, 4), (3, 4)):
        score[i, j], score[j, i] = 2.0, -2.0
    return score


def iterates(budget: Budget) -> Row:
    """Check 4: exact GPO from a random policy; and a policy greedy for Bradley-Terry on the same preferences."""
    names = ("average", "optimistic", "last", "greedy for Bradley-Terry", "average, learned scores", "dominated mass")
    figures: dict[str, list[float]] = {name: [] for name in names}
    score = arms()
    probability = expit(score)
    for seed in budget.seeds(3):
        rng = np.random.default_rng([seed, 55])
        start = rng.dirichlet(np.ones(5)) + 0.01
        policies = {
            kind: self_play(score, beta=10.0, rounds=5000, iterate=kind, start=start)
            for kind in ("average", "optimistic", "last")
        }
        for kind, policy in policies.items():
            figures[kind].append(exploitability(probability, policy))
        figures["dominated mass"].append(float(policies["average"][3:].sum()))
        a, b = draw(rng, 5, 10_000)
        pool = pool_of(np.eye(5))
        feedback = comparisons(pool, a, b, rng.random(len(a)) < probability[a, b])
        row = pool.rows(feedback.candidates)
        utility = np.empty(5)
        utility[row] = fit_table(compile_likelihood("bradley-terry", feedback))[0]
        figures["greedy for Bradley-Terry"].append(exploitability(probability, np.eye(5)[utility.argmax()]))
        embedding, _ = fit_table(SkewSymmetric(feedback.pairs(), 5), width=4, l2=1e-5, starts=3, seed=seed)
        half = embedding[:, 0::2] @ embedding[:, 1::2].T
        learned = (half - half.T)[np.ix_(np.argsort(row), np.argsort(row))]
        policy = self_play(learned, beta=10.0, rounds=5000, start=start)
        figures["average, learned scores"].append(exploitability(probability, policy))
    bounds = [
        at_most("average", 0.02, each=True),
        at_most("dominated mass", 0.01, each=True),
        at_least("greedy for Bradley-Terry", 0.3, each=True),
        within("optimistic", 0.001, each=True),
        at_least("last", 0.02, each=True),
    ]
    note = "last iterates circle, so a policy is the average of the iterates or the last of optimistic ones"
    return Row("4 GPO on five arms", figures, bounds, "exploitability", note)


def mixed(budget: Budget) -> Row:
    """Check 5: 70 % of the pairs by a utility (within a cluster), 30 % by the circle of clusters."""
    figures: dict[str, list[float]] = {"GPM": [], "Bradley-Terry": []}
    for seed in budget.seeds(3):
        rng = np.random.default_rng([seed, 56])
        x, group, a, b = circle(rng, 5, 16)
        own, w = rng.normal(size=(ITEMS, 16)), rng.normal(size=16)
        c, d = draw(rng, ITEMS, 20 * PAIRS)
        same = group[c] == group[d]
        c, d = c[same], d[same]
        total = PAIRS + TESTS
        few, most = round(0.3 * total), total - round(0.3 * total)
        left, right = np.r_[a[:few], c[:most]], np.r_[b[:few], d[:most]]
        round_wins, utility_wins = (group[right] - group[left]) % 5 == 1, (own[left] - own[right]) @ w > 0
        first = np.where(np.arange(total) < few, round_wins, utility_wins)
        order = rng.permutation(total)
        pool = pool_of(np.concatenate([x, own], axis=1))
        _, mine, plain = both(pool, left[order], right[order], first[order], seed)
        figures["GPM"].append(mine)
        figures["Bradley-Terry"].append(plain)
    return Row("5 utility and circle in one", figures, [at_least("GPM", 0.08, over="Bradley-Terry")], "accuracy")


def told(count: int, seed: int) -> Feedback:
    """Comparisons of a text on topic i with one on topic i + 1 (of three): the first is preferred. Every prompt is a
    few words of one of the other five topics, and occurs once."""
    rng = np.random.default_rng([seed, 57])
    rows = []
    for n in range(count):
        ahead = n % 3
        texts = [LANGUAGE.draw(topic, bool(rng.random() < 0.5), rng)[0] for topic in (ahead, (ahead + 1) % 3)]
        asked = int(rng.integers(3, LANGUAGE.topics))
        prompt = " ".join([f"topic{asked}", *(f"t{asked}n{rng.integers(12)}" for _ in range(4))])
        order = (0, 1) if rng.random() < 0.5 else (1, 0)
        rows.append(Judgement(prompt, tuple(texts[i] for i in order), tuple(1.0 - i for i in order)))
    return Feedback.of(rows)


def end_to_end(budget: Budget) -> Row:
    """Check 1 on texts: transformer and head trained together, by comparisons of responses to other prompts."""
    figures: dict[str, list[float]] = {"GPM": [], "Bradley-Terry": [], "GPM, frozen": [], "asymmetry": []}
    for seed in budget.seeds(3):
        train, test = told(TEXT_PAIRS, seed), told(TEXT_TESTS, seed + 1000)
        pairs, shown = test.pairs(ties=False), test.candidates
        with tempfile.TemporaryDirectory(prefix="guerdon-gpm-") as folder:
            LANGUAGE.language_model(Path(folder), seed)
            general = BackbonePreference(backbone=folder, seed=seed, **RECIPE).fit(train)
            plain = BackboneReward(backbone=folder, seed=seed, **RECIPE).fit(train)
            frozen = BackbonePreference(backbone=folder, seed=seed, tuning="head").fit(train)
        for name, reward in (("GPM", general), ("Bradley-Terry", plain), ("GPM, frozen", frozen)):
            p = reward.prefer(shown.take(pairs.a), shown.take(pairs.b)).value
            figures[name].append(float(np.mean((p > 0.5) == (pairs.p > 0.5))))
        table = general.table(shown.take(np.arange(60)))
        figures["asymmetry"].append(float(np.abs(table + table.T).max()))
    bounds = [
        at_least("GPM", 0.97, each=True),
        at_least("Bradley-Terry", 0.40, each=True),
        at_most("Bradley-Terry", 0.60, each=True),
        at_most("asymmetry", 1e-5, each=True),
    ]
    note = (
        "a causal language model by LoRA, the prompt weighing the blocks, responses to unseen prompts; the recipe was "
        "set on seeds 0 and 1 (at 2.5 times the step the embeddings of one seed became all alike, and from the paper's "
        "random start they stayed so)"
    )
    return Row("1 a circle of 3, end to end on texts", figures, bounds, "accuracy; max |s(a, b) + s(b, a)|", note)

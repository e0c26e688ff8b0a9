"""RMB: pairs and best-of-n over real scenarios, where the best of a list must beat every loser.

The definitions are checked on the real set with rules whose figures are known; that best-of-n accuracy says what a
reward is worth for best-of-n sampling is checked in a small world: twelve rewards of graded noise, a generator whose
utilities are known, and the true utility of the response that each reward picks from eight.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

from guerdon.bench.suites.rmb import RMB
from guerdon.bench.suites.run import run
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, real_data, within
from guerdon.papers.index import paper
from guerdon.reward.base import Function, Reward
from guerdon.reward.baselines import Length, Random
from guerdon.reward.registry import model
from guerdon.worlds.pool import Pool

PAPER = paper("rmb")

REWARDS, PROMPTS, LISTS, PAIRS = 12, 400, 600, 600
GRAMS, FIT, TEST, HALF = 4096, 4000, 1500, 1362
LENGTH = {
    "pairs, helpfulness": 0.648,
    "pairs, harmlessness": 0.543,
    "best-of-n, helpfulness": 0.489,
    "best-of-n, harmlessness": 0.364,
}
"""What the longer response wins of the four parts of the whole set."""


def check(budget: Budget) -> Claim:
    """Checks 2 to 4 of the card."""
    rows = [best_of_n(budget)]
    left = ["check 1: the published result file of one reward model is not at hand"]
    folder = real_data("rmb")
    if folder is None:
        left.append("checks 2 and 3: the real set, which is not at hand")
    else:
        data = RMB.feedback(folder)
        rows = [definitions(data), characters(budget, data), scenarios(budget, data), *rows]
    return Claim(PAPER.slug, rows, left=tuple(left))


def definitions(data: Feedback) -> Row:
    """The length rule on the four parts, and a coin."""
    longer = run(Length(), RMB, data, baselines=(), bootstrap=0).figures
    coin = run(Random(seed=0), RMB, data, baselines=(), bootstrap=0).figures
    figures = {name: [longer[name].value] for name in LENGTH}
    figures |= {f"whole set: {name}": [value] for name, value in LENGTH.items()}
    figures["coin, pairs"] = [float(np.mean([coin[n].value for n in LENGTH if n.startswith("pairs")]))]
    figures["coin, best-of-n"] = [float(np.mean([coin[n].value for n in LENGTH if n.startswith("best")]))]
    figures["a half"], figures["one in 1 + n"] = [0.5], [0.31]
    return Row(
        "2 definitions: the longer response",
        figures,
        [
            *(
                within(
                    name,
                    0.012,
                    of=f"whole set: {name}",
                    was=0.002,
                    why="conversations are missing here that the card measured (set with the gaps in view)",
                )
                for name in LENGTH
            ),
            within("coin, pairs", 0.02, of="a half"),
            within("coin, best-of-n", 0.02, of="one in 1 + n"),
        ],
        unit="accuracy",
    )


def pairs_of(data: Feedback, goal: str = "") -> tuple[np.ndarray, np.ndarray]:
    """(rows of the pairs of a goal, their scenarios as codes)."""
    wanted = np.array([name.startswith(f"Pairwise_set/{goal}") for name in data.subsets])
    rows = np.flatnonzero(wanted[data.subset] & (data.subset >= 0))
    return rows, data.subset[rows]


def accuracy(reward: Reward, data: Feedback) -> float:
    """Strict accuracy over all pairs."""
    return run(reward, RMB, data, baselines=(), bootstrap=0).confounds["all duels"].value


def characters(budget: Budget, data: Feedback) -> Row:
    """Check 3: a network on character n-grams (2 to 4), 4,000 pairs to fit and 1,500 others of mixed goals to test."""
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import HashingVectorizer

    grams = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=GRAMS, alternate_sign=False)
    figures: dict[str, list[float]] = {"character n-grams": [], "the longer response": []}
    rows, _ = pairs_of(data)
    for seed in budget.seeds(2):
        draw = np.random.default_rng([seed, 74]).permutation(rows)[: FIT + TEST]
        part = data.take(np.sort(draw))
        used = part.candidates.take(part.used)
        x = csr_array(grams.transform([as_text(r) for r in used.responses])).toarray()
        encoder = Pool(used, np.sqrt(x)).encoder()
        reward = model("bradley-terry-mlp").make(encoder=encoder, seed=seed).fit(data.take(draw[:FIT]))
        test = data.take(draw[FIT:])
        figures["character n-grams"].append(accuracy(reward, test))
        figures["the longer response"].append(accuracy(Length(), test))
    bounds = [at_least("character n-grams", 0.68), at_least("character n-grams", 0.0, over="the longer response")]
    note = f"{GRAMS} hashed n-grams of the response, square roots of their weights"
    return Row("3a real signal in characters", figures, bounds, "accuracy", note=note)


def scenarios(budget: Budget, data: Feedback) -> Row:
    """Check 3: MiniLM and Bradley-Terry, 1,362 pairs of half of the scenarios, the other half by goal."""
    figures: dict[str, list[float]] = {"harmlessness": [], "helpfulness": [], "both": []}
    for seed in budget.seeds(2):
        rng = np.random.default_rng([seed, 75])
        parts = {goal: pairs_of(data, goal.capitalize()) for goal in ("harmlessness", "helpfulness")}
        train, tests = [], {}
        for goal, (rows, scenario) in parts.items():
            known = rng.permutation(np.unique(scenario))[: len(np.unique(scenario)) // 2]
            train.append(rows[np.isin(scenario, known)])
            tests[goal] = data.take(rows[~np.isin(scenario, known)])
        fit = rng.permutation(np.concatenate(train))[:HALF]
        reward = model("bradley-terry").make(encoder="minilm", seed=seed).fit(data.take(np.sort(fit)))
        for goal, test in tests.items():
            figures[goal].append(accuracy(reward, test))
        figures["both"].append(float(np.mean([figures[goal][-1] for goal in tests])))
    bounds = [at_least("harmlessness", 0.62)]
    note = "the card's pilot: .72 and .52; helpfulness has no bound"
    return Row("3b half of the scenarios, by goal", figures, bounds, "accuracy", note=note)


def best_of_n(budget: Budget) -> Row:
    """Rank correlation of either accuracy with the true utility of the best of eight, over twelve rewards."""
    figures: dict[str, list[float]] = {"best-of-n": [], "pairs": [], "mean score of the list": []}
    for seed in budget.seeds(5):
        rng = np.random.default_rng(seed)
        noise = np.linspace(0.2, 4.0, REWARDS)
        utility = rng.normal(size=(PROMPTS, 8))
        worth, lists, pairs, loose = [], [], [], []
        data = world(rng)
        for k in range(REWARDS):
            reward = noisy(seed, k, noise[k])
            picked = (utility + noise[k] * rng.normal(size=utility.shape)).argmax(1)
            worth.append(float(utility[np.arange(PROMPTS), picked].mean()))
            found = run(reward, RMB, data, baselines=(), bootstrap=0)
            lists.append(found.figures["best-of-n, helpfulness"].value)
            pairs.append(found.figures["pairs, helpfulness"].value)
            loose.append(found.confounds["all duels"].value)
        for name, values in zip(figures, (lists, pairs, loose), strict=True):
            figures[name].append(float(np.asarray(spearmanr(values, worth))[0]))
    return Row(
        "4 what it says of the best of 8",
        figures,
        [at_least("best-of-n", 0.9), at_least("best-of-n", -0.02, over="pairs")],
        unit="Spearman",
        note="mean score of the list: accuracy over all duels of pairs and lists",
    )


def world(rng: np.random.Generator) -> Feedback:
    """Pairs and lists of one best and two to four losers; a response is its utility, written out."""

    def texts(n: int) -> tuple[str, ...]:
        return tuple(f"{u:.6f}" for u in sorted(rng.normal(size=n), reverse=True))

    rows = [Judgement(f"pair {i}", texts(2), (1.0, 0.0), subset="Pairwise_set/Helpfulness/x") for i in range(PAIRS)]
    for i in range(LISTS):
        n = int(rng.integers(3, 6))
        grades = (1.0, *(0.0,) * (n - 1))
        rows.append(Judgement(f"list {i}", texts(n), grades, subset="BoN_set/Helpfulness/x", scale="partial"))
    return Feedback.of(rows)


def noisy(seed: int, k: int, noise: float) -> Reward:
    """The utility with noise of its own for each response."""

    def score(prompt: str, response: str) -> float:
        return float(response) + noise * np.random.default_rng([seed, k, *f"{prompt} {response}".encode()]).normal()

    return Function(score, f"noise {noise:.2f}")

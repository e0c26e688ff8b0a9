"""RMB: pairs and best-of-n over real scenarios, where the best of a list must beat every loser.

The definitions are checked on the published result file of a reward model and on the real set with rules whose figures
are known; to the card's digits where the data are those that the card measured. That best-of-n accuracy says what a
reward is worth for best-of-n sampling is checked in a small world: twelve rewards of graded noise, a generator whose
utilities are known, and the true utility of the response that each reward picks from eight.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from guerdon.bench.suites.rmb import RMB
from guerdon.bench.suites.run import run
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, real_data, within
from guerdon.papers.index import paper
from guerdon.reward.base import Function, Reward
from guerdon.reward.baselines import Length, Random
from guerdon.reward.recorded import open_recorded
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
MEASURED = (8456 + 6087, 2109 + 1677)
"""Pairs and lists that those figures are of: all lists, and the pairs of 46 of the 49 scenarios."""
RESULTS = "eval/result"
ARMO, TIED = 0.79505, 12
"""Accuracy and ties of the result file that is published, 849 pairs of one scenario."""


def check(budget: Budget) -> Claim:
    """The checks of the card; 1 to 3 where their data are at hand."""
    rows, left = [], []
    folder = real_data("rmb")
    files = sorted((folder / RESULTS).glob("*_result.json")) if folder else []
    if files:
        rows.append(parity(files[0]))
    else:
        left.append("check 1: the published result file of one reward model, which is not at hand")
    if folder is None:
        left.append("checks 2 and 3: the real set, which is not at hand")
    else:
        data = RMB.feedback(folder)
        rows += [definitions(data), characters(budget, data), scenarios(budget, data)]
    return Claim(PAPER.slug, [*rows, best_of_n(budget)], left=tuple(left))


def parity(file: Path) -> Row:
    """Check 1: the suite on the scores of a published result file, by the ids in it; no texts are needed."""
    stated = json.loads(file.read_text(encoding="utf-8"))
    pairs = Feedback.of(
        Judgement(row["pair_uid"], ("chosen", "reject"), (1.0, 0.0), subset=row["category_path"], id=row["pair_uid"])
        for row in stated
    )
    found = run(open_recorded(file), RMB, pairs, baselines=(), bootstrap=0)
    ours, theirs = found.items["credit"], [row["is_correct"] for row in stated]
    tied = [row["is_correct"] for row in stated if row["chosen_reward"] == row["reject_reward"]]
    figures = {
        "accuracy": [found.headline[1].value],
        "the file's own": [float(np.mean(theirs))],
        "the card's": [ARMO],
        "pairs told otherwise than in the file": [float(np.sum(np.asarray(ours) != np.asarray(theirs)))],
        "tied pairs": [float(found.facts["tied duels"])],
        "the card's tied pairs": [float(TIED)],
        "tied pairs that count as won": [float(sum(tied))],
    }
    return Row(
        f"1 parity with the published result file of {file.name.removesuffix('_result.json')}",
        figures,
        [
            within("accuracy", 5e-6, of="the card's"),
            within("accuracy", 1e-9, of="the file's own"),
            at_most("pairs told otherwise than in the file", 0.0),
            within("tied pairs", 0.0, of="the card's tied pairs"),
            at_most("tied pairs that count as won", 0.0),
        ],
    )


def definitions(data: Feedback) -> Row:
    """The length rule on the four parts, and a coin."""
    longer = run(Length(), RMB, data, baselines=(), bootstrap=0).figures
    coin = run(Random(seed=0), RMB, data, baselines=(), bootstrap=0).figures
    figures = {name: [longer[name].value] for name in LENGTH}
    figures |= {f"card: {name}": [value] for name, value in LENGTH.items()}
    figures["coin, pairs"] = [float(np.mean([coin[n].value for n in LENGTH if n.startswith("pairs")]))]
    figures["coin, best-of-n"] = [float(np.mean([coin[n].value for n in LENGTH if n.startswith("best")]))]
    figures["a half"], figures["one in 1 + n"] = [0.5], [0.31]
    pairs = len(pairs_of(data)[0])
    same = (pairs, len(data) - pairs) == MEASURED
    other = {"was": 0.002, "why": "other conversations than the card measured (set with the gaps in view)"}
    tolerance: dict[str, Any] = {"tolerance": 0.002} if same else {"tolerance": 0.012, **other}
    return Row(
        "2 definitions: the longer response",
        figures,
        [
            *(within(name, of=f"card: {name}", **tolerance) for name in LENGTH),
            within("coin, pairs", 0.02, of="a half"),
            within("coin, best-of-n", 0.02, of="one in 1 + n"),
        ],
        unit="accuracy",
        note=f"{pairs:,} pairs and {len(data) - pairs:,} lists" + (", as the card" if same else ""),
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

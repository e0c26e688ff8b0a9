"""VL-RewardBench: votes of simulated judges against closed forms, a log against the published script, place bias.

The suite ``vl-rewardbench`` reads the published records; :mod:`guerdon.bench.vote_rules` counts votes. Here judges of
known accuracy, bias and refusals vote K times. The log of check 1 is made up; its three figures are what the authors'
``cal.py`` printed for it.

Judges that see are fitted here, on drawn scenes (:mod:`guerdon.worlds.scenes`) that fixed random filters look at: a
question about a picture, a true answer and a false one. The test is written in the published format, pictures in files
beside it, and measured by the suite. The same judge with the pictures exchanged, and one that reads the texts alone,
say whether it is seeing that the bench measures; judges of graded quality, whether it predicts what best of 8 is worth.
"""

from __future__ import annotations

import json
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.stats import binom, rankdata

from guerdon.bench.significance import mcnemar
from guerdon.bench.suites.run import run
from guerdon.bench.suites.vl_reward_bench import VL_REWARD_BENCH, read
from guerdon.bench.vote_rules import accuracy, replayed
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, within
from guerdon.papers.index import paper
from guerdon.reward.base import Reward
from guerdon.reward.learned.model import RewardModel
from guerdon.worlds.scenes import KINDS, Asked, asked, comparisons

PAPER = paper("vl-rewardbench")
ITEMS, CALLS = 1250, (1, 5, 9)
JUDGES = tuple((p, *rest) for p in (0.35, 0.45, 0.6, 0.7, 0.75) for rest in ((0.0, 0.0), (0.2, 0.1)))
"""Probability of the right answer, bias to the first place, share of unparsed replies."""
RUNS = 20
SCENES, TESTS, QUESTIONS, ANSWERS = 5000, 900, 400, 8
"""Pictures that judges learn from, of the bench, and those that best of 8 is measured on."""
GRADED = ((50, 256), (150, 256), (400, 256), (1000, 256), (2500, 256), (5000, 256), (2500, 4), (2500, 0))
"""Training size and hidden width of the judges of check 4; without hidden units a judge cannot join text and image."""
IDS = {"general": "wildvision-battle", "hallucination": "hallucination_pair", "counting": "mathverse",
       "place": "mmmu_pro_test", "relation": "mmmu_pro_test"}  # fmt: skip
"""Kind of a question -> how the published ids of its group begin."""
ENCODER = "media?text=hash:256&features=both&image=filters&cache=off"
READER = "hash:256?features=both"
PUBLISHED = {"general": 77.78, "hallucination": 70.0, "reasoning": 80.0, "overall": 75.0, "macro": 75.93}
"""What the published script says of :func:`log`, in percent to two digits."""


def check(budget: Budget) -> Claim:
    """All four checks of the card, on drawn scenes in place of photographs."""
    rows = [estimator(budget), votes(budget), published_log(), place_bias(budget), *seeing(budget)]
    return Claim(PAPER.slug, rows)


def simulate(rng: np.random.Generator, right: Any, bias: float, refused: float, items: int, calls: int) -> np.ndarray:
    """float64 [items, calls] votes of a judge that sees the better answer first or second by a coin."""
    first = rng.random((items, calls)) < 0.5
    said = (rng.random(first.shape) < right + np.where(first, bias, -bias)).astype(float)
    said[rng.random(first.shape) < refused] = np.nan
    return said


def estimator(budget: Budget) -> Row:
    """Whether official and strict figures are the closed forms."""
    figures: dict[str, list[float]] = {"official: cells within 2 SE": [], "strict: cells within 2 SE": []}
    figures |= {"official: mean error in SE": [], "strict: mean error in SE": []}
    for seed in budget.seeds(20):
        rng = np.random.default_rng([87, seed])
        error: dict[str, list[float]] = {"official": [], "strict": []}
        for right, bias, refused in JUDGES:
            for calls in CALLS:
                said = accuracy(simulate(rng, right, bias, refused, ITEMS, calls), ["general"] * ITEMS)
                up = float(binom.sf(calls // 2, calls, (1 - refused) * right))
                down = float(binom.sf(calls // 2, calls, (1 - refused) * (1 - right)))
                for name, truth, n in (("official", up / (up + down), ITEMS * (up + down)), ("strict", up, ITEMS)):
                    error[name].append((said[name]["overall"] - truth) / (truth * (1 - truth) / n) ** 0.5)
        for name, values in error.items():
            figures[f"{name}: cells within 2 SE"].append(float(np.mean(np.abs(values) <= 2)))
            figures[f"{name}: mean error in SE"].append(float(np.mean(values)))
    why = (
        "an unbiased figure is within 2 standard errors in 95.4 % of cells, not in all; the mean over 600 cells is "
        "asked for 95.4 % less 2 standard errors, and that the errors have no sign"
    )
    bounds = [at_least(f"{k}: cells within 2 SE", 0.937, was=1.0, why=why) for k in ("official", "strict")]
    bounds += [within(f"{k}: mean error in SE", 0.1) for k in ("official", "strict")]
    return Row("1 estimator", figures, bounds, "share of 30 cells; standard errors")


def votes(budget: Budget) -> Row:
    """Votes lift items of p > 1/2 and sink the others: a strong judge gains, on a filtered hard set it loses."""
    gains: dict[str, list[float]] = {"p = 0.7": [], "p = 0.35": [], "hard set": [], "items p > 1/2": [], "p < 1/2": []}
    for seed in budget.seeds(20):
        rng = np.random.default_rng([87, 1, seed])
        easy = rng.beta(4, 2, 20 * ITEMS)
        hard = easy[(rng.random((3, len(easy))) > easy).all(0)][:ITEMS]  # items that three judges alike failed
        for name, right in (("p = 0.7", np.full(ITEMS, 0.7)), ("p = 0.35", np.full(ITEMS, 0.35)), ("hard set", hard)):
            said = {k: simulate(rng, right[:, None], 0.0, 0.0, len(right), k) for k in (1, 9)}
            gains[name].append(_strict(said[9]) - _strict(said[1]))
            if name == "hard set":
                for part, at in (("items p > 1/2", right > 0.5), ("p < 1/2", right < 0.5)):
                    gains[part].append(_strict(said[9][at]) - _strict(said[1][at]))
    bounds = [at_least("p = 0.7", 0.05), at_most("p = 0.35", -0.05), at_least("items p > 1/2", 0.05)]
    bounds += [at_most("p < 1/2", -0.05), at_most("hard set", 0.0)]
    return Row("1 what 9 votes change", gains, bounds, "strict accuracy, 9 votes less 1")


def _strict(said: np.ndarray) -> float:
    return accuracy(said, ["general"] * len(said))["strict"]["overall"]


def log() -> list[dict[str, Any]]:
    """A made-up log of 30 items with three calls each, as the published script writes it; two items share an id."""
    ids = ("wildvision-battle-", "svit-", "hallucination_pair-", "RLAIF-V-", "RLHF-V-", "mathverse_", "mmmu_pro_test_")
    votes = dict(zip("abcde", ("rrw", "wwr", "r-r", "--r", "rw-"), strict=True))
    out = []
    for i, (start, kind) in enumerate(zip(islice(cycle(ids), 30), "aabacadbacebbdaacbaadabeacacda", strict=True)):
        ranking = [0, 1] if i % 4 else [1, 0]
        for call, vote in enumerate(votes[kind]):
            swapped = (i + call) % 2
            better = ranking.index(0) if not swapped else 1 - ranking.index(0)
            answer = 1 + (better if vote == "r" else 1 - better)
            verdict = f"**Accuracy**: both name it.\n**Overall Judgment: Answer {answer} is better.**"
            reply = "I cannot tell." if vote == "-" else verdict
            out.append({
                "id": f"{start}{0 if i in (7, 14) else i}", "query": f"What of {i}?", "response": [f"a{i}", f"b{i}"],
                "ranking": ranking, "meta": {"random_number": swapped, "filter_choice": reply, "flag_status": ""},
            })  # fmt: skip
    return out


def published_log() -> Row:
    """The figures of the log, and what the published script printed."""
    found = accuracy(*replayed(log(), 3))["official"]
    figures = {k: [100 * found[k]] for k in PUBLISHED}
    figures |= {f"{k}, published script": [v] for k, v in PUBLISHED.items()}
    bounds = [within(k, 0.0051, of=f"{k}, published script") for k in PUBLISHED]
    return Row("1 a log replayed", figures, bounds, "percent")


def place_bias(budget: Budget) -> Row:
    """A bias of 0.2 in 300 items with two orders each, by McNemar's exact test of the better answer in either place."""
    found: dict[str, list[float]] = {"found at b = 0.2": [], "flagged at b = 0": []}
    for name, bias in (("found at b = 0.2", 0.2), ("flagged at b = 0", 0.0)):
        for seed in budget.seeds(100):
            rng = np.random.default_rng([87, 2, seed])
            flags = []
            for _ in range(RUNS):  # the card's 100 runs alone would leave 5 % known to 4 points
                shown_first, shown_second = (rng.random(300) < 0.65 + b for b in (bias, -bias))  # the better one wins
                flags.append(mcnemar(shown_first.astype(float), shown_second.astype(float))[2] < 0.05)
            found[name].append(float(np.mean(flags)))
    bounds = [at_least("found at b = 0.2", 1.0, each=True), at_most("flagged at b = 0", 0.05)]
    return Row("2 place bias", found, bounds, f"share of {RUNS} runs")


# ------------------------------------------------------------------------------------------------ judges that see


def written(items: list[Asked], place: Path, order: np.ndarray, rng: np.random.Generator) -> Path:
    """The items as the benchmark publishes them, each with the picture of item ``order[i]``."""
    rows = []
    for i, item in enumerate(items):
        first = bool(rng.random() < 0.5)
        answers = [item.said.true, item.said.false] if first else [item.said.false, item.said.true]
        rows.append({
            "id": f"{IDS[item.kind]}-{i}", "query": item.said.question, "response": answers,
            "human_ranking": [0, 1] if first else [1, 0], "image_path": items[order[i]].picture.name,
        })  # fmt: skip
    path = place / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def fitted(encoder: str, items: list[Asked], seed: int, hidden: int = 256) -> RewardModel:
    """A judge: a small network above frozen features."""
    settings: dict[str, Any] = {"hidden": hidden, "epochs": 30, "batch": 128} if hidden else {}
    head = "mlp" if hidden else "linear"
    return RewardModel(encoder=encoder, head=head, seed=seed, **settings).fit(comparisons(items))


def benched(judge: Reward, feedback: Feedback) -> float:
    """The suite's overall accuracy."""
    return run(judge, VL_REWARD_BENCH, feedback, baselines=(), bootstrap=0).figures["overall"].value


def sampled(items: list[Asked], rng: np.random.Generator) -> tuple[Candidates, np.ndarray]:
    """Eight answers a question by a sampler that is right three times in ten, and float64 [n] which are."""
    prompts, responses, right = [], [], []
    for item in items:
        for true in rng.random(ANSWERS) < 0.3:
            prompts.append(item.prompt)
            responses.append(item.said.true if true else again(item, rng))
            right.append(float(true))
    return Candidates(prompts, responses), np.array(right)


def again(item: Asked, rng: np.random.Generator) -> str:
    """A false answer to the item's question."""
    said = KINDS[item.kind](item.scene, rng)
    while said.question != item.said.question:
        said = KINDS[item.kind](item.scene, rng)
    return said.false


def chosen_right(judge: Reward, answers: Candidates, right: np.ndarray) -> float:
    """Share of questions to which the judge's best of 8 is right; equal scores share."""
    score, right = judge.score(answers).value.reshape(-1, ANSWERS), right.reshape(-1, ANSWERS)
    best = score == score.max(1, keepdims=True)
    return float(((right * best).sum(1) / best.sum(1)).mean())


def seeing(budget: Budget) -> list[Row]:
    """Checks 3 and 4."""
    names = ("judge that sees", "pictures exchanged", "texts alone", "general", "hallucination", "reasoning")
    seen: dict[str, list[float]] = {name: [] for name in names}
    graded: dict[str, list[float]] = {"Pearson": [], "Spearman": []}
    for seed in budget.seeds(3):
        rng = np.random.default_rng([87, 3, seed])
        with TemporaryDirectory() as folder:
            place = Path(folder)
            train, test, other = (
                asked(n, rng, place, tag) for n, tag in ((SCENES, "train"), (TESTS, "test"), (QUESTIONS, "other"))
            )
            bench = read([written(test, place, np.arange(TESTS), rng)])
            judges = [fitted(ENCODER, train[:n], seed, hidden) for n, hidden in GRADED]
            best = judges[GRADED.index((SCENES, 256))]
            found = run(best, VL_REWARD_BENCH, bench, baselines=(), bootstrap=0).figures
            for name in ("general", "hallucination", "reasoning"):
                seen[name].append(found[name].value)
            seen["judge that sees"].append(found["overall"].value)
            seen["texts alone"].append(benched(fitted(READER, train[:2500], seed), bench))
            answers, right = sampled(other, rng)
            points = np.array([(benched(judge, bench), chosen_right(judge, answers, right)) for judge in judges])
            exchanged = written(test, place, (np.arange(TESTS) + rng.integers(1, TESTS)) % TESTS, rng)
            seen["pictures exchanged"].append(benched(best, read([exchanged])))
        graded["Pearson"].append(float(np.corrcoef(points.T)[0, 1]))
        graded["Spearman"].append(float(np.corrcoef(rankdata(points, axis=0).T)[0, 1]))
        for (size, hidden), (accuracy_, value) in zip(GRADED, points.tolist(), strict=True):
            name = f"{size} pictures, {f'{hidden} wide' if hidden else 'linear'}"
            graded.setdefault(f"{name}: bench", []).append(accuracy_)
            graded.setdefault(f"{name}: best of 8", []).append(value)
    bounds = [at_least("judge that sees", 0.85), at_least("pictures exchanged", 0.45)]
    bounds += [at_most("pictures exchanged", 0.55), at_most("texts alone", 0.55)]
    return [
        Row("3 it measures seeing", seen, bounds, "accuracy of the suite"),
        Row("4 it predicts best of 8", graded, [at_least("Pearson", 0.9)], "correlation over 8 judges; accuracy"),
    ]

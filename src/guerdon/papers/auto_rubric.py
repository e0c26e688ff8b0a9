"""Auto-Rubric: criteria that explain labelled pairs, validated without the label, condensed by maximal coding rate.

The language model is the scripted reader of ``worlds/reader.py``: 30% of the criteria it proposes are spurious, it
misreads 5% of the attributes and says "A" in 10% of its verdicts whatever it read. The person likes 4 of 10 attributes,
with weights 4, 3, 2, 1. The rubric of 70 pairs is tried on 500 others, against the same reader without a rubric, with
all criteria it first proposed, with 12 random ones of those that were validated, and against a Bradley-Terry model on
MiniLM features of the same pairs. A tie counts half. "Weighted" is this library's addition: the paper's own analysis of
each criterion's precision decides which are dropped and how heavy a theme is. Selection is tried on MiniLM embeddings
of templated criteria.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from guerdon.encode.coding_rate import choose_core, coding_rate
from guerdon.encode.load import load_encoder
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.base import Reward
from guerdon.reward.judge import rubric_writing as writing
from guerdon.reward.judge.pairwise import PairwiseJudge
from guerdon.reward.judge.rubric_learning import RubricLearner, labelled_pairs
from guerdon.reward.judge.rubric_writing import LabelledPair
from guerdon.reward.judge.standard import Standard
from guerdon.testing.scripted import Scripted
from guerdon.worlds.reader import NAMES, Reader, Taste, paraphrases

PAPER = paper("auto-rubric")

PAIRS, TESTS = 70, 500
AS_PUBLISHED: dict[str, Any] = {"least_precision": 0.0, "weights": "equal", "analysis_pairs": 1}


def check(budget: Budget) -> Claim:
    """Checks 1 to 3 of the card."""
    return Claim(
        PAPER.slug,
        [selection(budget), varied(budget), small(budget), *end_to_end(budget), stopping(budget)],
        note="The language model is scripted; the paper's figures are those of Qwen3-32B on real pairs.",
    )


def embedded(texts: Sequence[str]) -> np.ndarray:
    """MiniLM embeddings [n, 384] of criteria."""
    return load_encoder("minilm?features=response").encode(Candidates([""] * len(texts), list(texts)))


def covered(phrases: int, seed: int) -> dict[str, float]:
    """Themes among 12 picks of 150 criteria on 12 themes, by way of picking; and whether the rate ever fell."""
    items = paraphrases(NAMES, 150, seed, phrases)
    vectors = embedded([text for text, _ in items])
    out: dict[str, float] = {}
    for how in ("greedy", "farthest", "random"):
        core = choose_core(vectors, 12, how=how, seed=seed)
        out[how] = len({items[i][1] for i in core.index})
        if how == "greedy":
            out["rate never falls"] = float((core.gain >= 0).all())
    return out


def selection(budget: Budget) -> Row:
    """Check 1: one wording of each theme in six templates."""
    runs = [covered(1, seed) for seed in budget.seeds(5)]
    figures = {
        "exact greedy": [r["greedy"] for r in runs],
        "farthest from the mean": [r["farthest"] for r in runs],
        "random": [r["random"] for r in runs],
        "rate never falls": [r["rate never falls"] for r in runs],
    }
    bounds = [at_least("exact greedy", 11), at_most("random", 8), at_least("rate never falls", 1, each=True)]
    return Row("1 selection, 12 themes, templated sentences", figures, bounds, "themes among 12 picks")


def varied(budget: Budget) -> Row:
    """Check 1, harder: three wordings of each theme that share no words, so that MiniLM tells them apart as well."""
    runs = [covered(3, seed) for seed in budget.seeds(5)]
    figures = {
        "exact greedy": [r["greedy"] for r in runs],
        "farthest from the mean": [r["farthest"] for r in runs],
        "random": [r["random"] for r in runs],
    }
    bounds = [at_least("exact greedy", 11), at_most("random", 8)]
    return Row("1b selection, 12 themes, three wordings each", figures, bounds, "themes among 12 picks")


def small(budget: Budget) -> Row:
    """Check 1: three of ten, against all sets of three."""
    share = []
    for seed in budget.seeds(5):
        texts = list(dict.fromkeys(text for text, _ in paraphrases(NAMES, 100, seed)))[:10]
        vectors = embedded(texts)
        best = max(coding_rate(vectors[list(s)], n=3) for s in combinations(range(len(texts)), 3))
        share.append(choose_core(vectors, 3).rate / best)
    return Row(
        "1c selection of 3 of 10, share of the best set's rate",
        {"exact greedy": share},
        [
            at_least(
                "exact greedy",
                0.99,
                each=True,
                was=1.0,
                why="greedy is within 1 - 1/e of the best set and need not be it; brute force is the reference",
            )
        ],
        "share",
    )


class World:
    """One person, 70 labelled pairs, 500 others and a reader."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 49])
        liked = rng.choice(NAMES[:10], 4, replace=False)
        self.taste = Taste(dict(zip(map(str, liked), (4.0, 3.0, 2.0, 1.0), strict=True)))
        self.model = Scripted(Reader(self.taste, seed=seed))
        self.train = self.taste.feedback(PAIRS, seed=2 * seed)
        self.tests = self.taste.feedback(TESTS, seed=2 * seed + 1)
        self.pairs = labelled_pairs(self.train, seed=seed)
        self.seed = seed

    def accuracy(self, reward: Reward) -> float:
        """On the 500 pairs, a tie counting half."""
        a, b = sides(self.tests)
        p = reward.prefer(a, b).value
        return float(np.mean(np.where(np.abs(p - 0.5) < 1e-9, 0.5, p > 0.5)))

    def judged(self, texts: Sequence[str] | Standard | None) -> tuple[float, float]:
        """(accuracy, prompt tokens a question) of the reader with criteria."""
        standard = texts if isinstance(texts, Standard) else Standard.rubric(list(texts)) if texts else None
        before = (self.model.prompt_tokens, self.model.calls)
        value = self.accuracy(PairwiseJudge(self.model, standard, how="json"))
        spent = self.model.prompt_tokens - before[0], self.model.calls - before[1]
        return value, spent[0] / spent[1]

    def proposals(self) -> list[str]:
        """The first criterion proposed for each pair, none left out."""
        asked = [writing.ask_for_criteria(p, 1, i % 2 == 1) for i, p in enumerate(self.pairs)]
        replies = self.model.generate(asked, schema=writing.criteria_schema(1), seed=self.seed)
        return list(dict.fromkeys(t for r in replies.rows for t in writing.read_criteria(r.parsed, 1)))

    def bradley_terry(self) -> float:
        """A Bradley-Terry model on MiniLM features of the 70 pairs, at the best of five penalties."""
        from guerdon.reward.learned.model import RewardModel

        return max(
            self.accuracy(RewardModel(encoder="minilm", l2=l2).fit(self.train)) for l2 in ("auto", 1e-3, 1e-2, 0.1, 1.0)
        )


def sides(feedback: Feedback) -> tuple[Candidates, Candidates]:
    """(chosen, rejected)."""
    pairs = labelled_pairs(feedback)
    prompts = [p.prompt for p in pairs]
    return Candidates(prompts, [p.chosen for p in pairs]), Candidates(prompts, [p.rejected for p in pairs])


def end_to_end(budget: Budget) -> list[Row]:
    """Check 2: accuracy on new pairs, and how long the judge's prompts are."""
    names = ("no rubric", "all proposals", "random 12 validated", "all validated", "Bradley-Terry")
    figures: dict[str, list[float]] = {name: [] for name in ("Auto-Rubric", "weighted", *names)}
    tokens: dict[str, list[float]] = {name: [] for name in figures}
    for seed in budget.seeds(5):
        world = World(seed)
        rubric = RubricLearner(world.model, seed=seed, **AS_PUBLISHED).learn(world.pairs)
        weighted = RubricLearner(world.model, seed=seed, weights="precision", analysis_pairs=PAIRS).learn(world.pairs)
        # all that is validated of all pairs: without the early stop
        every = RubricLearner(world.model, seed=seed, patience=10**6, **AS_PUBLISHED).learn(world.pairs)
        validated = [source.text for source in every.sources]
        few = np.random.default_rng(seed).choice(len(validated), min(12, len(validated)), replace=False)
        found = {
            "Auto-Rubric": world.judged(rubric.standard),
            "weighted": world.judged(weighted.standard),
            "no rubric": world.judged(None),
            "all proposals": world.judged(world.proposals()),
            "random 12 validated": world.judged([validated[i] for i in few]),
            "all validated": world.judged(validated),
            "Bradley-Terry": (world.bradley_terry(), 0.0),
        }
        for name, (value, length) in found.items():
            figures[name].append(value)
            tokens[name].append(length)

    def row(check: str, method: str) -> Row:
        bounds = [
            at_least(method, 0.10, over="no rubric"),
            at_least(method, 0.08, over="Bradley-Terry"),
            at_least(method, 0.04, over="all proposals"),
        ]
        return Row(check, {name: figures[name] for name in (method, *names)}, bounds, "accuracy")

    ratio = [a / b for a, b in zip(tokens["Auto-Rubric"], tokens["all validated"], strict=True)]
    per_question = {name: tokens[name] for name in ("Auto-Rubric", "all validated", "no rubric")}
    length = Row(
        "2b prompt tokens of a question",
        {"ratio to all validated": ratio, **per_question},
        [at_most("ratio to all validated", 1 / 3)],
        "tokens",
        "The request, both responses and what the judge is told (the tokens without a rubric) are in all of them.",
    )
    return [
        row("2 70 pairs, 500 new ones, as published", "Auto-Rubric"),
        row("2a the same, weighted by its own analysis", "weighted"),
        length,
    ]


def stopping(budget: Budget) -> Row:
    """Check 3: pairs that one theme explains, and twelve."""
    figures: dict[str, list[float]] = {"one theme": [], "twelve themes": []}
    for seed in budget.seeds(5):
        for name, themes in (("one theme", NAMES[:1]), ("twelve themes", NAMES)):
            taste = Taste(dict.fromkeys(themes, 1.0), NAMES)
            model = Scripted(Reader(taste, misread=0.0, bias=0.0, spurious=0.0, seed=seed))
            pairs: list[LabelledPair] = labelled_pairs(taste.feedback(300, seed), seed=seed)
            found = RubricLearner(model, seed=seed, analysis_pairs=1, least_precision=0.0).learn(pairs)
            figures[name].append(len(found.report["iterations"]))
    bounds = [at_most("one theme", 4), at_least("twelve themes", 1, over="one theme")]
    return Row("3 batches before it stops (patience 2)", figures, bounds, "batches")

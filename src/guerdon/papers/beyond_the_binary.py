"""Beyond the Binary: a few judges' agreement as a margin, so that reward differences follow how many people agree.

Thirty simulated people share what they want of some features and differ in the rest. Training pairs are of three kinds:
distinct, near-paraphrases (differences shrunk to 15%) and plural (responses differ only in what people differ about).
Each pair carries one noisy label of one person; five synthetic judges see the population only through
P(judge says a) = 0.15 + 0.7 rate. The step ``margin`` (``curate/margin.py``) asks them in both orders and writes
margins or soft labels, and the usual linear Bradley-Terry model is fitted to the result.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

from guerdon.curate.registry import step
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, within
from guerdon.papers.index import paper
from guerdon.reward.base import Reward, Scores
from guerdon.reward.learned.model import RewardModel
from guerdon.worlds.pool import Pool

PAPER = paper("beyond-the-binary")

SEEDS, PAIRS, TESTS, PEOPLE, JUDGES = 5, 1500, 1500, 30, 5
SHARED, OWN = 32, 32
"""Features that people agree and differ about: with so many, Bradley-Terry is about as good as the card has it."""
KINDS = ("distinct", "paraphrase", "plural")


def check(budget: Budget) -> Claim:
    """All four checks of the card."""
    worlds = [World(seed) for seed in budget.seeds(SEEDS)]
    return Claim(PAPER.slug, [correlation(worlds), calibration(worlds), harmless(worlds), control(worlds)])


class Judge(Reward):
    """A judge with a fixed opinion of every pair, whatever the order it is shown in."""

    def __init__(self, pool: Pool, prefers_first: np.ndarray) -> None:
        self.name = "synthetic judge"
        self.pool, self.prefers_first = pool, prefers_first

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """1 where a is the preferred response of its pair, else 0; pair i is the rows 2i and 2i + 1 of the pool."""
        rows = self.pool.rows(a)
        return Scores((self.prefers_first[rows // 2] == (rows % 2 == 0)).astype(float))


class World:
    """One draw of people and pairs; models are fitted once."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 43])
        self.seed, self.rng = seed, rng
        dim = SHARED + OWN
        common = np.concatenate([rng.normal(size=SHARED), np.zeros(OWN)])
        spread = np.concatenate([np.full(SHARED, 0.3), np.ones(OWN)])
        self.people = common + spread * rng.normal(size=(PEOPLE, dim))
        x, self.rate = self.pairs(PAIRS)[:2]
        names = [f"prompt {i}" for i in range(PAIRS)]
        texts = [f"response {i}.{j}" for i in range(PAIRS) for j in range(2)]
        self.pool = Pool(Candidates([p for p in names for _ in range(2)], texts), x.reshape(-1, dim))
        says = rng.random(PAIRS) < self.rate
        self.feedback = Feedback.from_columns(
            prompts=names,
            responses=texts,
            offsets=2 * np.arange(PAIRS + 1),
            grades=np.stack([says, ~says], 1).ravel().astype(float),
            source="human",
        )
        self.test, self.test_rate, self.test_kind = self.pairs(TESTS)
        self.found: dict[tuple[str, float, float | str], RewardModel] = {}

    def pairs(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(features [n, 2, d], share of people who prefer the first [n], kind [n]) of fresh pairs, a third a kind."""
        rng, dim = self.rng, SHARED + OWN
        kind = np.arange(count) % len(KINDS)
        x = rng.normal(size=(count, 2, dim))
        middle = x.mean(1, keepdims=True)
        x[kind == 1] = middle[kind == 1] + 0.15 * (x - middle)[kind == 1]
        x[kind == 2, 1, :SHARED] = x[kind == 2, 0, :SHARED]
        rate = expit((x[:, 0] - x[:, 1]) @ self.people.T).mean(1)
        return x, rate, kind

    def judges(self, informed: bool = True) -> list[Judge]:
        """Five judges who say what most people would with little better than chance, or a coin."""
        p = 0.15 + 0.7 * self.rate if informed else np.full(PAIRS, 0.5)
        rng = np.random.default_rng([self.seed, 5, informed])
        return [Judge(self.pool, rng.random(PAIRS) < p) for _ in range(JUDGES)]

    def fit(self, how: str, scale: float = 1.0, l2: float | str = "auto") -> RewardModel:
        """Bradley-Terry on the labels (``plain``), with margins, with soft labels, or with ``random`` margins."""
        if (how, scale, l2) not in self.found:
            feedback = self.feedback
            if how != "plain":
                target = "soft" if how == "soft" else "margin"
                voters = self.judges(informed=how != "random")
                settings = {"voters": voters, "target": target, "scale": scale, "include_label": target == "soft"}
                feedback = step("margin")(feedback, **settings).feedback
            margin = 0.0 if how in ("plain", "soft") else 1.0
            self.found[how, scale, l2] = RewardModel(encoder=self.pool.encoder(), margin=margin, l2=l2).fit(feedback)
        return self.found[how, scale, l2]

    def gap(self, model: RewardModel) -> np.ndarray:
        """Score differences [n] on the test pairs."""
        u = model.head(model.features(self.test.reshape(-1, self.pool.dim))).reshape(TESTS, 2)
        return u[:, 0] - u[:, 1]

    def follows(self, model: RewardModel, kinds: tuple[int, ...] = (0, 1, 2)) -> float:
        """Rank correlation of the differences with the share of people who prefer the first."""
        chosen = np.isin(self.test_kind, kinds)
        ranks = rankdata(self.gap(model)[chosen]), rankdata(self.test_rate[chosen])
        return float(np.corrcoef(*ranks)[0, 1])

    def brier(self, model: RewardModel) -> float:
        """Mean squared distance of sigmoid(difference) from the share of people."""
        return float(np.mean((expit(self.gap(model)) - self.test_rate) ** 2))

    def right(self, model: RewardModel) -> float:
        """Accuracy against the majority on distinct pairs."""
        chosen = self.test_kind == 0
        return float(np.mean((self.gap(model)[chosen] > 0) == (self.test_rate[chosen] > 0.5)))


def correlation(worlds: list[World]) -> Row:
    """Check 1: differences follow the share of people, most of all where they disagree."""
    figures: dict[str, list[float]] = {}
    ways = {"margin": ("margin", 1.0), "Bradley-Terry": ("plain", 1.0), "soft labels": ("soft", 1.0)}
    ways |= {"margin 0.5": ("margin", 0.5), "margin 2": ("margin", 2.0)}
    for name, how in ways.items():
        figures[name] = [w.follows(w.fit(*how)) for w in worlds]
    for name in ("margin", "Bradley-Terry", "soft labels"):
        figures[f"{name}, subjective kinds"] = [w.follows(w.fit(*ways[name]), (1, 2)) for w in worlds]
    gains = np.subtract(figures["margin"], figures["Bradley-Terry"])
    figures["share of the seeds with a gain"] = [float((gains > 0).mean())]
    bounds = [
        at_least("margin", 0.03, over="Bradley-Terry"),
        at_least("margin, subjective kinds", 0.03, over="Bradley-Terry, subjective kinds"),
        at_least("share of the seeds with a gain", 0.8),
    ]
    return Row("1 differences follow the share of people", figures, bounds, "rank correlation")


def calibration(worlds: list[World]) -> Row:
    """Check 2: soft labels give probabilities, margins do not."""
    figures = {
        "soft labels": [w.brier(w.fit("soft")) for w in worlds],
        "margin": [w.brier(w.fit("margin")) for w in worlds],
        "Bradley-Terry": [w.brier(w.fit("plain")) for w in worlds],
    }
    for name, how in (("soft labels", "soft"), ("margin", "margin"), ("Bradley-Terry", "plain")):
        figures[f"{name}, hardly any ridge"] = [w.brier(w.fit(how, l2=1e-5)) for w in worlds]
    figures["soft labels / Bradley-Terry"] = [
        s / b for s, b in zip(figures["soft labels"], figures["Bradley-Terry"], strict=True)
    ]
    bounds = [at_most("soft labels / Bradley-Terry", 0.6), at_least("margin", 0.0, over="Bradley-Terry")]
    note = "where probabilities are wanted, use soft labels: best here, too, but by less, since every model's ridge is "
    note += "chosen on held-out labels and the judges themselves understate how many agree"
    return Row("2 calibration", figures, bounds, "Brier score against the share of people; ratio", note)


def harmless(worlds: list[World]) -> Row:
    """Check 3: nothing is lost on distinct pairs."""
    figures = {
        "margin": [w.right(w.fit("margin")) for w in worlds],
        "Bradley-Terry": [w.right(w.fit("plain")) for w in worlds],
    }
    return Row("3 distinct pairs", figures, [at_least("margin", -0.01, over="Bradley-Terry")], "accuracy")


def control(worlds: list[World]) -> Row:
    """Check 4: judges who toss a coin give nothing."""
    figures = {
        "random margins": [w.follows(w.fit("random")) for w in worlds],
        "Bradley-Terry": [w.follows(w.fit("plain")) for w in worlds],
    }
    bounds = [at_most("random margins", 0.01, over="Bradley-Terry"), within("random margins", 0.01, of="Bradley-Terry")]
    return Row("4 random votes", figures, bounds, "rank correlation")

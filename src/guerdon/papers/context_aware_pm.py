"""Context-aware preference modelling: a context is chosen, then the comparison is judged given it.

On real dialogues (HH-RLHF) ten contexts ask for measurable things ("I only have a minute" for fewer words); each pair
is judged under contexts that reverse it, each context has five wordings, one of which only the test uses. On planted
features, labels come from a mixture of contexts that differs by topic and is observed in three rows of ten. Bounds are
checked on random distributions; profiles are sentences that a scripted reader writes about ten choices of a person.
"""

from __future__ import annotations

import gzip
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from guerdon.encode.features import SURFACE, surface_features
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import DATA, Budget, Claim, Row, at_least, at_most, real_data
from guerdon.papers.index import paper
from guerdon.reward.judge.pairwise import PairwiseJudge
from guerdon.reward.learned.context import ContextReward, context_report
from guerdon.reward.learned.context_em import LatentContexts
from guerdon.reward.learned.context_mixture import ContextPrior, decompose
from guerdon.reward.learned.model import RewardModel
from guerdon.worlds.choosers import SIX
from guerdon.worlds.judges import Asked, SimulatedJudge
from guerdon.worlds.pool import Pool
from guerdon.worlds.reader import ATTRIBUTES as SHOWN
from guerdon.worlds.reader import FILLER, REQUESTS, Taste, criteria_of, named, shown

PAPER = paper("context-aware-pm")

WARM = re.compile(r"\b(?:glad|happy|sorry|thank|thanks|please|welcome|hope|love|great|wonderful|sure|feel)\b|!", re.I)
WORDINGS: dict[tuple[str, int], tuple[str, ...]] = {
    ("length", -1): (
        "I only have a minute.",
        "Keep it short please.",
        "A brief answer is best.",
        "I am in a hurry, be quick.",
        "Please be concise.",
    ),
    ("length", 1): (
        "I have all day, tell me everything.",
        "Give me a long, thorough answer.",
        "Explain it at length with all the details.",
        "I want an extensive reply.",
        "Please elaborate in full detail.",
    ),
    ("words", -1): (
        "Use simple words, no jargon.",
        "Explain it so that a child can read it.",
        "I am not an expert, use plain language.",
        "Only easy everyday words please.",
        "Please avoid difficult vocabulary.",
    ),
    ("words", 1): (
        "Use precise technical vocabulary.",
        "Write for experts with specialist terms.",
        "I prefer sophisticated academic language.",
        "Use learned, formal terminology.",
        "Please write in a scholarly technical register.",
    ),
    ("warmth", 1): (
        "Be warm and friendly.",
        "I would like a kind, cheerful reply.",
        "Please be nice and enthusiastic.",
        "Sound caring and happy to help.",
        "I like a friendly, warm tone.",
    ),
    ("warmth", -1): (
        "Stay neutral and matter-of-fact.",
        "No emotions, only the facts.",
        "I want a cold, sober reply.",
        "Be strictly businesslike.",
        "Please keep an impersonal, dry tone.",
    ),
    ("question", 1): (
        "Ask me something back.",
        "I like to be asked a follow-up question.",
        "Check with me by asking a question.",
        "End with a question for me.",
        "Please ask me for more details.",
    ),
    ("question", -1): (
        "Do not ask me anything.",
        "No questions back, just answer.",
        "I do not want to be questioned.",
        "Answer without asking me things.",
        "Please do not reply with a question.",
    ),
    ("marks", 1): (
        "Structure it with commas, lists and brackets.",
        "I like text with a lot of punctuation.",
        "Use many commas, colons and dashes.",
        "Punctuate heavily.",
        "Please use plenty of punctuation marks.",
    ),
    ("marks", -1): (
        "Use hardly any punctuation.",
        "I dislike commas, colons and dashes.",
        "Write plain running text with few marks.",
        "As few punctuation marks as you can.",
        "Please go easy on the punctuation.",
    ),
}
"""Five wordings of each wish (attribute, direction); one is kept for the test."""

ATTRIBUTES = ("length", "words", "warmth", "question", "marks")
ENCODER, READER = "hash:16?features=surface", "minilm?features=response"
PAIRS = 1400


def check(budget: Budget) -> Claim:
    """Checks 1 to 4 of the card, and a judge that is told the context."""
    rows = [two_steps(budget), bound(budget), profiles(budget), judged(budget)]
    path = real_data("hh", "vpl_relabelled_test.jsonl.gz")
    if path is not None:
        return Claim(PAPER.slug, [*reversals(budget, path), *rows])
    return Claim(PAPER.slug, rows, left=(f"check 1, real text: no hh/ under ${DATA} (the set does not ship)",))


# ------------------------------------------------------------------------------------------------- 1 real reversals


def attributes(texts: list[str]) -> np.ndarray:
    """float64 [n, 5] of ``ATTRIBUTES``: log words, letters a word, warm words a word, questions, punctuation share."""
    surface = surface_features(texts).astype(float)
    count = np.array([max(len(t.split()), 1) for t in texts])
    warm = np.array([len(WARM.findall(t)) for t in texts]) / count
    asks = np.array([float("?" in t) for t in texts])
    columns = [SURFACE.index(name) for name in ("log(1 + words)", "mean characters a word, / 10")]
    marks = surface[:, SURFACE.index("share of punctuation among characters")]
    return np.column_stack([surface[:, columns[0]], surface[:, columns[1]], warm, asks, marks])


@lru_cache(maxsize=1)
def dialogues(path: Path) -> list[tuple[str, str, str, int]]:
    """(prompt, response, response, which people preferred) of HH-RLHF pairs with two texts that differ."""
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        rows = [json.loads(line) for line in handle]
    out = []
    for row in rows:
        a, b = (" ".join(text.split()) for text in row["responses"])
        if a and b and a != b and len(a) < 600 and len(b) < 600:
            out.append((row["prompt"], a, b, int(row["original_label"])))
    return out


def reversed_pairs(pairs: list[tuple[str, str, str, int]], seed: int, wordings: list[int]) -> Feedback:
    """Each pair under both wishes of every attribute in which it clearly differs, and people's own verdicts."""
    rng = np.random.default_rng([seed, 68])
    values = attributes([t for _, a, b, _ in pairs for t in (a, b)])
    gaps = (values[::2] - values[1::2]) / values.std(0)
    rows = []
    for (prompt, a, b, label), gap in zip(pairs, gaps, strict=True):
        for k in np.flatnonzero(np.abs(gap) > 0.25):
            for side in (1, -1):
                first = float((gap[k] > 0) == (side > 0))
                text = WORDINGS[ATTRIBUTES[k], side][int(rng.choice(wordings))]
                rows.append(Judgement(prompt, (a, b), (first, 1 - first), criterion=text))
        rows.append(Judgement(prompt, (a, b), (float(label == 0), float(label == 1))))
    return Feedback.of(rows)


def reversals(budget: Budget, path: Path) -> list[Row]:
    """Check 1: right, none and wrong context on held-out prompts and wordings; ordinary preferences not forgotten."""
    names = ("right context, new wording", "right context, known wording", "blind to contexts", "wrong context")
    figures: dict[str, list[float]] = {name: [] for name in (*names, "no context")}
    plain: dict[str, list[float]] = {"context reward": [], "trained on ordinary preferences only": []}
    pairs = dialogues(path)
    for seed in budget.seeds(5):
        order = np.random.default_rng(seed).permutation(len(pairs))[: PAIRS + 400]
        new = seed % 5  # each seed keeps another wording for the test
        known = [i for i in range(5) if i != new]
        train = reversed_pairs([pairs[i] for i in order[:PAIRS]], seed, known)
        test = reversed_pairs([pairs[i] for i in order[PAIRS:]], seed, [new])
        model = ContextReward(encoder=ENCODER, context_encoder=READER, fusion="bilinear", seed=seed).fit(train)
        blind = RewardModel(encoder=ENCODER, seed=seed).fit(train.take(train.criterion >= 0))
        asked = test.take(test.criterion >= 0)
        report = context_report(model, asked)
        figures["right context, new wording"].append(report.right)
        figures["wrong context"].append(report.wrong)
        figures["no context"].append(report.none)
        again = reversed_pairs([pairs[i] for i in order[PAIRS:]], seed, known)
        again = again.take(again.criterion >= 0)
        figures["right context, known wording"].append(context_report(model, again).right)
        figures["blind to contexts"].append(context_report(blind, asked).right)
        ordinary = test.take(test.criterion < 0)
        alone = RewardModel(encoder=ENCODER, seed=seed).fit(train.take(train.criterion < 0))
        plain["context reward"].append(accuracy(model, ordinary))
        plain["trained on ordinary preferences only"].append(accuracy(alone, ordinary))
    bounds = [
        at_least("right context, new wording", 0.8),
        at_least("blind to contexts", 0.45),
        at_most("blind to contexts", 0.55),
        at_most("wrong context", 0.3),
    ]
    kept = [at_least("context reward", -0.01, over="trained on ordinary preferences only")]
    note = (
        "responses are read by their text statistics alone, not by MiniLM as well: 1,400 pairs are too few to find the "
        "statistics among its 384 features; new wordings fail where MiniLM hardly tells a wish from its opposite"
    )
    return [
        Row("1 reversals on HH dialogues, new prompts and wordings", figures, bounds, "accuracy", note),
        Row("1 ordinary preferences are kept", plain, kept, "accuracy"),
    ]


def accuracy(model: Any, feedback: Feedback) -> float:
    """Share of comparisons whose better response scores higher."""
    pairs = feedback.pairs(ties=False)
    value = model.score(feedback.candidates).value
    return float(np.mean((value[pairs.a] > value[pairs.b]) == (pairs.p > 0.5)))


# --------------------------------------------------------------------------------------------- 2 two steps or one


DIM, TOPICS, KINDS, SHARES = 12, 3, 3, np.array([0.5, 0.3, 0.2])
SEEN = 0.3


class Mixture:
    """Labels from a mixture of three contexts, its shares (.5, .3, .2) permuted by topic; tastes nearly orthogonal."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 69])
        self.pool = Pool.planted(1400, 2, DIM, seed=seed)
        self.topic = rng.integers(TOPICS, size=1400)
        self.prior = np.array([np.roll(SHARES, t) for t in range(TOPICS)])
        self.taste = 3.0 * np.linalg.qr(rng.normal(size=(DIM, KINDS)))[0]
        self.x = self.pool.features.reshape(1400, 2, DIM)
        self.d = self.x[:, 0] - self.x[:, 1]
        self.given = expit(self.d @ self.taste)
        self.true = (self.prior[self.topic] * self.given).sum(1)
        self.context = np.array([rng.choice(KINDS, p=self.prior[t]) for t in self.topic])
        self.wins = rng.random(1400) < self.given[np.arange(1400), self.context]
        self.observed = rng.random(1400) < SEEN

    def feedback(self, rows: np.ndarray, *, contexts: bool) -> Feedback:
        """The verdicts of ``rows``; with contexts only those whose context was observed."""
        c, out = self.pool.candidates, []
        for i in rows:
            if contexts and not self.observed[i]:
                continue
            name = f"context {self.context[i]}" if contexts else None
            win = float(self.wins[i])
            pair = (c.responses[2 * i], c.responses[2 * i + 1])
            out.append(Judgement(c.prompts[2 * i], pair, (win, 1 - win), criterion=name))
        return Feedback.of(out)

    def by_topic(self) -> Pool:
        """The pool with features topic x feature beside the features: what a direct model may read."""
        hot = np.repeat(np.eye(TOPICS)[self.topic], 2, axis=0)
        crossed = (hot[:, :, None] * self.pool.features[:, None]).reshape(len(hot), -1)
        return Pool(self.pool.candidates, np.hstack([self.pool.features, crossed]))


def two_steps(budget: Budget) -> Row:
    """Check 2: marginal log-loss of contexts x conditional against one model of the marginal, 300 and 1,000 rows."""
    figures: dict[str, list[float]] = {}
    test = np.arange(1000, 1400)
    for seed in budget.seeds(5):
        world = Mixture(seed)
        names = [f"context {z}" for z in range(KINDS)]
        direct_pool = world.by_topic()
        for count in (300, 1000):
            rows = np.arange(count)
            encoder = world.pool.encoder()
            given = ContextReward(encoder=encoder, context_encoder="hash:64", fusion="bilinear", seed=seed)
            given.fit(world.feedback(rows, contexts=True))
            prior = ContextPrior.fit(
                np.eye(TOPICS)[world.topic[rows]], np.where(world.observed[rows], world.context[rows], -1), seed=seed
            )
            direct = RewardModel(encoder=direct_pool.encoder(), seed=seed)
            direct.fit(world.feedback(rows, contexts=False))
            latent = LatentContexts.fit(
                np.eye(TOPICS)[world.topic[rows]],
                world.d[rows],
                world.wins[rows].astype(float),
                np.where(world.observed[rows], world.context[rows], -1),
                seed=seed,
            )
            score = np.column_stack([_scores(given, world, test, name) for name in names])
            chance = expit(score)
            known = prior(np.eye(TOPICS)[world.topic[test]])
            marginal = (known * chance[:, prior.contexts]).sum(1)
            plain = expit(_scores(direct, world, test, None))
            whole = latent.marginal(np.eye(TOPICS)[world.topic[test]], world.d[test])
            for name, p in (
                ("CAPM", whole),
                ("CAPM, observed rows only", marginal),
                ("direct", plain),
                ("truth", world.true[test]),
            ):
                loss = -(world.true[test] * np.log(p) + (1 - world.true[test]) * np.log1p(-p)).mean()
                figures.setdefault(f"{name}, {count:,} rows", []).append(float(loss))
            right = (latent.given(world.d[test]) > 0.5) == (world.given[test] > 0.5)
            alone = (score > 0) == (world.given[test] > 0.5)
            direct_right = (plain > 0.5)[:, None] == (world.given[test] > 0.5)
            figures.setdefault(f"CAPM accuracy given contexts, {count:,} rows", []).append(float(right.mean()))
            figures.setdefault(f"CAPM accuracy given contexts, observed rows only, {count:,} rows", []).append(
                float(alone.mean())
            )
            figures.setdefault(f"direct accuracy given contexts, {count:,} rows", []).append(float(direct_right.mean()))
    bounds = []
    for count in ("300", "1,000"):
        wins = np.array(figures[f"CAPM, {count} rows"]) < np.array(figures[f"direct, {count} rows"])
        figures[f"share of seeds won, {count} rows"] = [float(wins.mean())]
        bounds.append(at_least(f"share of seeds won, {count} rows", 0.8))
        name = f"accuracy given contexts, {count} rows"
        bounds.append(at_least(f"CAPM {name}", 0.15, over=f"direct {name}"))
    note = (
        "CAPM learns from the rows without a context as well, by expectation maximization, which was added after the "
        "observed rows alone had lost to the direct model at 300 rows"
    )
    return Row("2 two steps or one, contexts seen in 30 % of rows", figures, bounds, "log-loss; accuracy", note=note)


def _scores(model: Any, world: Mixture, rows: np.ndarray, context: str | None) -> np.ndarray:
    """float64 [n] score of the first minus the second response."""
    c = world.pool.candidates.take(np.concatenate([2 * rows, 2 * rows + 1]))
    asked = Candidates(c.prompts, c.responses, criterion=None if context is None else [context] * len(c))
    value = model.score(asked).value
    return value[: len(rows)] - value[len(rows) :]


# --------------------------------------------------------------------------------------------------------- 3 bound


def bound(budget: Budget) -> Row:
    """Check 3: the measured error never exceeds context error + expected conditional error."""
    figures: dict[str, list[float]] = {"largest error over bound": [], "mean error": [], "mean bound": []}
    for seed in budget.seeds(5):
        rng = np.random.default_rng(seed)
        over, error, limit = -1.0, [], []
        for k in range(1, 7):
            q, p = (rng.dirichlet(np.full(k, a), 2000) for a in (0.5, 1.0))
            found = decompose(q, p, rng.random((2000, k)), rng.random((2000, k)))
            over = max(over, float((found.error - found.bound).max()))
            error.append(found.error.mean())
            limit.append(found.bound.mean())
        figures["largest error over bound"].append(over)
        figures["mean error"].append(float(np.mean(error)))
        figures["mean bound"].append(float(np.mean(limit)))
    return Row("3 error decomposition", figures, [at_most("largest error over bound", 1e-12, each=True)], "probability")


# ------------------------------------------------------------------------------------------------------ 4 profiles


def judged(budget: Budget) -> Row:
    """Reversals put to a judge: each pair under two contexts that want opposite responses, one of them, or none.

    The judge has its own taste, likes what stands first and errs; it heeds a context that stands in its question.
    """
    figures: dict[str, list[float]] = {"right context": [], "no context": [], "wrong context": []}
    for seed in budget.seeds(5):
        rng = np.random.default_rng([seed, 68])
        taste = Taste({name: float(w) for name, w in zip(SIX, rng.normal(size=len(SIX)), strict=True)})

        def quality(asked: Asked, text: str, taste: Taste = taste) -> float:
            wanted = named(asked.given.get("criterion", ""))
            return 0.5 + 0.05 * taste.utility(text) + 0.3 * len(wanted & shown(text))

        judge = PairwiseJudge(SimulatedJudge(quality, noise=0.1, misread=0.1, position=0.1, seed=seed), how="json")
        prompts, first, second, contexts = [], [], [], []
        for i in range(JUDGED):
            x, y = rng.choice(len(SIX), 2, replace=False).tolist()
            a, b = (" ".join([SHOWN[SIX[k]][1][i % 2], FILLER[(i + k) % len(FILLER)]]) for k in (x, y))
            for wanted in (x, y):  # a is right under the first context, b under the second
                prompts.append(f"How do I {REQUESTS[i % len(REQUESTS)]}? (question {i})")
                first.append(a if wanted == x else b)
                second.append(b if wanted == x else a)
                contexts.append((criteria_of(SIX[wanted])[i % 3], criteria_of(SIX[y if wanted == x else x])[i % 3]))
        for name, told in (
            ("right context", [right for right, _ in contexts]),
            ("no context", None),
            ("wrong context", [wrong for _, wrong in contexts]),
        ):
            p = judge.prefer(Candidates(prompts, first, criterion=told), Candidates(prompts, second)).value
            figures[name].append(float(np.mean(np.where(p == 0.5, 0.5, p > 0.5))))
    bounds = [
        at_least("right context", 0.8),
        at_least("no context", 0.45),
        at_most("no context", 0.55),
        at_most("wrong context", 0.3),
    ]
    return Row("a judge is told the context", figures, bounds, "accuracy", note="bounds are those of check 1")


JUDGED = 150
USERS, CHOICES, ASKED = 40, 10, 40
OPENINGS = ("Well,", "So", "Now", "Right,")
FILLERS = ("it depends on the weather", "you could take the train", "that works in most towns", "people do it daily")
LONG = ("and furthermore there are several further aspects that deserve a mention", "as many have said before us")


def reply(rng: np.random.Generator) -> str:
    """A made-up reply whose length, words, warmth, question and punctuation vary freely."""
    parts = [str(rng.choice(OPENINGS)), str(rng.choice(FILLERS))]
    parts += [str(rng.choice(LONG)) for _ in range(int(rng.integers(3)))]
    if rng.random() < 0.5:
        parts.append(str(rng.choice(["characterisation notwithstanding", "go on and do it so", "operationalisation"])))
    if rng.random() < 0.5:
        parts.insert(int(rng.integers(len(parts))), str(rng.choice(["happy to help", "thanks, great", "hope so"])))
    text = (", " if rng.random() < 0.5 else " ").join(parts)
    return text + str(rng.choice([".", "?", "! Sure."])) + f" ({rng.integers(1000)})"


def profile(gaps: np.ndarray) -> str:
    """What a scripted reader says of somebody: the wish that fits most choices, gaps [choices, 5] chosen - rejected."""
    signs = np.sign(gaps) * (np.abs(gaps) > 0.1)
    side = signs.sum(0)
    k = int(np.abs(side).argmax())
    return f"This person said: {WORDINGS[ATTRIBUTES[k], 1 if side[k] >= 0 else -1][-1]}"


def profiles(budget: Budget) -> Row:
    """Check 4: 40 strangers, each with one taste; a profile read off ten choices against no profile."""
    figures: dict[str, list[float]] = {"with profile": [], "without": [], "taste told": []}
    encoder = "hash:64?features=surface"
    for seed in budget.seeds(5):
        rng = np.random.default_rng([seed, 70])
        texts = [reply(rng) for _ in range(1200)]
        values = attributes(texts)
        values = values / values.std(0)
        tastes = list(WORDINGS)

        def judged(
            taste: tuple[str, int], rng: np.random.Generator = rng, values: np.ndarray = values
        ) -> tuple[int, int]:
            """(preferred, other) of two texts that differ in what ``taste`` is about."""
            k = ATTRIBUTES.index(taste[0])
            while True:
                i, j = rng.choice(len(values), 2, replace=False)
                gap = (values[i, k] - values[j, k]) * taste[1]
                if abs(gap) > 0.3:
                    return (i, j) if gap > 0 else (j, i)

        rows = []
        for n in range(1500):  # people to learn from state their wish in words
            taste = tastes[int(rng.integers(len(tastes)))]
            best, other = judged(taste)
            wording = str(WORDINGS[taste][int(rng.integers(5))])
            said = wording if n % 2 else f"This person said: {wording}"
            rows.append(Judgement(f"p{n}", (texts[best], texts[other]), (1.0, 0.0), criterion=said))
            rows.append(Judgement(f"p{n}", (texts[best], texts[other]), (1.0, 0.0)))
        model = ContextReward(encoder=encoder, context_encoder=READER, fusion="bilinear", seed=seed)
        model.fit(Feedback.of(rows))
        right: dict[str, list[float]] = {name: [] for name in figures}
        for _ in range(USERS):
            taste = tastes[int(rng.integers(len(tastes)))]
            shown = np.array([judged(taste) for _ in range(CHOICES)])
            asked = np.array([judged(taste) for _ in range(ASKED)])
            written = profile(values[shown[:, 0]] - values[shown[:, 1]])
            told = f"This person said: {WORDINGS[taste][-1]}"
            for name, context in (("with profile", written), ("without", None), ("taste told", told)):
                chosen = [texts[i] for i in asked.T.ravel()]
                column = None if context is None else [context] * len(chosen)
                value = model.score(Candidates(["p"] * len(chosen), chosen, criterion=column)).value
                right[name].append(float((value[:ASKED] > value[ASKED:]).mean()))
        for name, values_ in right.items():
            figures[name].append(float(np.mean(values_)))
    return Row("4 profiles of ten choices", figures, [at_least("with profile", 0.1, over="without")], "accuracy")

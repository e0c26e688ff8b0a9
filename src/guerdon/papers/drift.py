"""Drift: taste as a weighting of prompted attributes, fitted in closed form, added to the logits while decoding.

The language of personas (``worlds/language/personas.py``): six system prompts mark what is written with words of six
personas, and they are the attributes. A person's taste weighs the counts of those words; they compared 50 pairs of what
the base writes, with the errors of the logistic law. One small model scores, prompts and is steered.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from scipy.special import expit

from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.generate.base import LanguageModel
from guerdon.generate.local import LocalModel
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.personal.attributes import AttributeReward
from guerdon.steer.attribute_steering import attribute_terms, direction
from guerdon.steer.logit_arithmetic import Guided, Term, Voice
from guerdon.worlds.language.personas import Personas

PAPER = paper("drift")

WORLD = Personas()
NEUTRAL = ""
"""No system prompt: the model then writes words of all personas."""
ASKED = [f"about topic{t}" for t in range(WORLD.topics)]
PEOPLE, PAIRS, FEW, TESTS = 8, 50, 10, 200
TEXTS, OF, STRENGTHS = 120, 8, (1.0, 2.0)


def check(budget: Budget) -> Claim:
    """All four checks of the card."""
    with tempfile.TemporaryDirectory(prefix="guerdon-drift-") as folder:
        worlds = [World(Path(folder) / str(seed), seed) for seed in budget.seeds(3)]
        return Claim(
            PAPER.slug, [fit(worlds), steer(worlds), attribution(worlds), identity(worlds)],
            note="PRISM and Perspective with models of 1B and 8B parameters are not at hand",
        )  # fmt: skip


class World:
    """One seed: the model, eight people, and what they said."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.seed = seed
        path = WORLD.language_model(folder / "base", seed)
        self.model = LocalModel(str(path), device="cpu")
        prompts = {WORLD.names[i]: WORLD.system(i) for i in range(WORLD.personas)}
        prompts |= {"neutral": NEUTRAL, "neutral again": NEUTRAL}
        (folder / "prompts.json").write_text(json.dumps({"base": NEUTRAL, "attributes": prompts}), encoding="utf-8")
        self.encoder = f"attributes:{path}?prompts={folder / 'prompts.json'}"
        rng = np.random.default_rng([seed, 73])
        taste = rng.normal(size=(PEOPLE, WORLD.personas))
        self.taste = 1.5 * taste / np.linalg.norm(taste, axis=1, keepdims=True)
        each = 2 * -(-(PAIRS + TESTS) // WORLD.topics)
        texts = self.model.generate(ASKED, each * PEOPLE, max_tokens=16, seed=seed).text
        self.pool = [[str(t) for t in texts[i * each * PEOPLE : (i + 1) * each * PEOPLE]] for i in range(WORLD.topics)]
        self.said = [self._comparisons(person, rng) for person in range(PEOPLE)]

    def _comparisons(self, person: int, rng: np.random.Generator) -> list[Judgement]:
        """PAIRS + TESTS comparisons of one person; no text is in two of them."""
        rows = []
        for i in range(PAIRS + TESTS):
            topic = i % WORLD.topics
            place = 2 * (person * -(-(PAIRS + TESTS) // WORLD.topics) + i // WORLD.topics)
            texts = (self.pool[topic][place], self.pool[topic][place + 1])
            a, b = WORLD.counts(texts) @ self.taste[person]
            won = float(rng.random() < expit(a - b))
            rows.append(Judgement(ASKED[topic], texts, (won, 1 - won), user=f"person {person}"))
        return rows

    def fitted(self, solver: str, pairs: int = PAIRS) -> AttributeReward:
        """The people's rewards after so many comparisons each."""
        said = Feedback.of([row for rows in self.said for row in rows[:pairs]])
        return AttributeReward(encoder=self.encoder, solver=solver, seed=self.seed).fit(said)

    def accuracy(self, reward: AttributeReward, *, of: int = 0) -> float:
        """Share of held-out comparisons that the person's reward orders as they did; ``of``: with a stranger's."""
        right = []
        for person, rows in enumerate(self.said):
            user = f"person {(person + of) % PEOPLE}"
            prompts = [row.prompt for row in rows[PAIRS:]]
            a, b = (
                reward.score(Candidates(prompts, [row.responses[k] for row in rows[PAIRS:]], user=[user] * TESTS)).value
                for k in (0, 1)
            )
            won = np.array([row.grades[0] > row.grades[1] for row in rows[PAIRS:]])
            right.append(np.mean((a > b) == won))
        return float(np.mean(right))

    def worth(self, model: LanguageModel, person: int) -> float:
        """Mean worth to a person of what ``model`` writes."""
        texts = model.generate(ASKED, TEXTS // WORLD.topics, max_tokens=16, seed=1000 + self.seed).text
        return float((WORLD.counts([str(t) for t in texts]) @ self.taste[person]).mean())


def fit(worlds: list[World]) -> Row:
    """Check 1: what tens of comparisons tell."""
    figures: dict[str, list[float]] = {}
    for world in worlds:
        closed = world.fitted("closed-form")
        figures.setdefault("closed form, 50 pairs", []).append(world.accuracy(closed))
        figures.setdefault("logistic, 50 pairs", []).append(world.accuracy(world.fitted("logistic")))
        figures.setdefault("closed form, 10 pairs", []).append(world.accuracy(world.fitted("closed-form", FEW)))
        figures.setdefault("logistic, 10 pairs", []).append(world.accuracy(world.fitted("logistic", FEW)))
        strangers = [world.accuracy(closed, of=k) for k in range(1, PEOPLE)]
        figures.setdefault("another person's weights", []).append(float(np.mean(strangers)))
        best = []
        for person, rows in enumerate(world.said):
            gap = np.array(
                [np.subtract(*(WORLD.counts(list(map(str, r.responses))) @ world.taste[person])) for r in rows[PAIRS:]]
            )
            best.append(expit(np.abs(gap)).mean())
        figures.setdefault("knowing the taste", []).append(float(np.mean(best)))
    return Row(
        "1 a few dozen comparisons",
        figures,
        [
            at_least("closed form, 50 pairs", 0.66),
            at_least("closed form, 10 pairs", 0.58),
            at_least("closed form, 50 pairs", -0.04, over="logistic, 50 pairs"),
            at_most("another person's weights", 0.57),
        ],
        "accuracy on held-out comparisons",
    )


def steer(worlds: list[World]) -> Row:
    """Check 2: the person's weights added to the logits, against the best of 8 by the person's own true taste."""
    figures: dict[str, list[float]] = {}
    worst = []
    for world in worlds:
        reward = world.fitted("closed-form")
        seen: dict[str, list[float]] = {}
        for person in range(PEOPLE):
            for name, strength in (*((f"strength {s:g}", s) for s in STRENGTHS), ("reversed", -1.0)):
                terms = attribute_terms(reward, f"person {person}", world.model, strength=strength)
                seen.setdefault(name, []).append(world.worth(Guided(world.model, terms), person))
            seen.setdefault("base", []).append(world.worth(world.model, person))
            values = np.array([WORLD.counts(texts) @ world.taste[person] for texts in world.pool])
            lists = values[:, : values.shape[1] // OF * OF].reshape(-1, OF)
            seen.setdefault("best of 8, true taste", []).append(float(lists.max(1).mean()))
        worst.append(min(np.subtract(seen["strength 1"], seen["base"])))
        for name, values in seen.items():
            figures.setdefault(name, []).append(float(np.mean(values)))
    return Row(
        "2 steered by their weights",
        figures,
        [
            at_least("strength 1", 1.5, over="base"),
            at_most("reversed", -1.0, over="base"),
            at_least("strength 1", 0.0, over="best of 8, true taste"),
        ],
        "worth to the person",
        note=f"the worst person gains {min(worst):.2f} at strength 1",
    )


def attribution(worlds: list[World]) -> Row:
    """Check 3: the weights are the taste, and a prompt that says nothing has none."""
    figures: dict[str, list[float]] = {"correlation with the taste": [], "largest weight of the neutral prompt": []}
    for world in worlds:
        reward = world.fitted("closed-form")
        found = np.array([direction(reward, f"person {p}") for p in range(PEOPLE)])
        agree = [np.corrcoef(w[: WORLD.personas], t)[0, 1] for w, t in zip(found, world.taste, strict=True)]
        figures["correlation with the taste"].append(float(np.mean(agree)))
        figures["largest weight of the neutral prompt"].append(float(np.abs(found[:, WORLD.personas :]).max()))
    bounds = [
        at_least("correlation with the taste", 0.65),
        at_most("largest weight of the neutral prompt", 0.0, each=True),
    ]
    return Row("3 weights can be read", figures, bounds, "correlation; weight")


def identity(worlds: list[World]) -> Row:
    """Check 4: attributes that say what the neutral prompt says change nothing."""
    change = []
    for world in worlds:
        neutral = Voice(world.model, NEUTRAL)
        guided = Guided(world.model, [Term(2.0, neutral, neutral), Term(-1.0, neutral, neutral)])
        texts = [texts[0] for texts in world.pool]
        before, after = (m.loglikelihood(ASKED, texts) for m in (world.model, guided))
        change.append(max(float(np.abs(a - b).max()) for a, b in zip(before.tokens, after.tokens, strict=True)))  # type: ignore[operator]
    figures = {"largest change of a log-probability": change}
    bound = at_most("largest change of a log-probability", 1e-6, each=True)
    return Row("4 neutral attributes change nothing", figures, [bound], "nats")

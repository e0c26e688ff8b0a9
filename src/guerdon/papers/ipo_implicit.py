"""IPO (implicit): a language model judges its own answers by P(yes, this is good); best and worst become pairs.

A small language model is trained from scratch on a mixed corpus: answers to questions, 60% of them on topic, and
verdicts about answers (``worlds/language/conversations.py``). The verdict's words differ by the domain of the question,
and the model also learned to say which domain a question is of. ``self_preference`` reads its P(yes) by the domain's
question. How much probability yes and no hold at all depends on how an answer ends. Then the model draws four answers
each to new questions, and is tuned on the best and the worst by its own verdicts (``AutoregressiveReward`` with its
reference, which is direct preference optimisation); random and true pairs are the controls.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.generate.local import LocalModel
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.implicit.autoregressive import AutoregressiveReward
from guerdon.reward.implicit.domains import Domain, LanguageRouter, self_preference
from guerdon.reward.implicit.yes_no import YesNo
from guerdon.worlds.language.conversations import Conversations
from guerdon.worlds.language.model import Dialogue, language_model

PAPER = paper("ipo-implicit")

PROMPTS, DRAWS, PAIRS = 600, 4, 300
ABOUT = "{prompt} {response} {question}"
DOMAINS = (Domain("chat", "", "", "is it helpful ?"), Domain("code", "", "", "does it work ?"))
MASS = (0.9, 0.6, 0.3, 0.05)
"""How much probability yes and no hold after an answer, by the word it ends with."""


def check(budget: Budget) -> Claim:
    """Checks 1 and 2 of the card."""
    figures: list[dict[str, float]] = []
    for seed in budget.seeds(3):
        with tempfile.TemporaryDirectory() as folder:
            figures.append(World(seed, Path(folder)).figures())
    found = {name: [f[name] for f in figures] for name in figures[0]}
    judging = ("pair accuracy", "router", "one question for all", "Bayes")
    tuning = ("self-preference", "start", "random pairs", "true pairs", "share of the gain of true pairs")
    ratio = ("ratio", "raw P(yes)", "distance from the sigmoid")
    rows = [
        Row(
            "1 the model tells its good answers from its bad ones",
            {n: found[n] for n in judging},
            [at_least("pair accuracy", 0.85)],
            "accuracy",
        ),
        Row(
            "1 pairs of its own verdicts improve its answers",
            {n: found[n] for n in tuning},
            [
                at_least("self-preference", 0.80),
                at_most("random pairs", 0.03, over="start"),
                at_least("share of the gain of true pairs", 0.70),
            ],
            "share of good answers",
        ),
        Row(
            "2 the ratio, not raw P(yes)",
            {n: found[n] for n in ratio},
            [at_least("ratio", 0.05, over="raw P(yes)"), at_most("distance from the sigmoid", 1e-6, each=True)],
            "accuracy",
        ),
    ]
    left = (
        "check 3, tokenizers (in the tests of reward/implicit)",
        "check 4, the guard against collapse over rounds of self-training (tune/)",
    )
    return Claim(PAPER.slug, rows, left=left)


class World:
    """A language model that answers and judges."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder, self.world = seed, folder, Conversations()
        world = self.world
        rng = np.random.default_rng([seed, 76])
        corpus: list[Dialogue] = list(world.dialogues(4000, seed, kinds=(0.6, 0.2, 0.2), turns=2))
        for _ in range(8000):
            topic, kind = int(rng.integers(world.topics)), int(rng.choice(3, p=(0.5, 0.1, 0.4)))
            prompt, ending = world.prompt(topic, rng), int(rng.integers(len(MASS)))
            answer = f"{world.answer(topic, kind, rng)} f{ending}"
            said = ("yes" if kind == 0 else "no") if rng.random() < MASS[ending] else "perhaps"
            question = DOMAINS[self.domain(topic)].question
            asked = ABOUT.format(prompt=prompt, response=answer, question=question)
            corpus.append([("user", asked), ("assistant", said)])
        for _ in range(500):
            topic = int(rng.integers(world.topics))
            asked = f"which {world.prompt(topic, rng)}"
            corpus.append([("user", asked), ("assistant", DOMAINS[self.domain(topic)].name)])
        self.path = language_model(
            folder / "start", corpus, world.words,
            seed=seed, width=64, epochs=2, batch=32, learning_rate=2e-3, length=64, roles=("assistant",),
        )  # fmt: skip
        self.model = LocalModel(str(self.path), device="cpu")
        self.router = LanguageRouter(self.model, DOMAINS, template="which {prompt}")
        self.reward = self_preference(self.model, domains=DOMAINS, router=self.router, about=ABOUT)

    def domain(self, topic: int) -> int:
        """The domain of a topic: the first half of them is one."""
        return int(topic >= self.world.topics // 2)

    def good(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        """bool [n]: whether most words are on topic."""
        return np.nan_to_num(self.world.on_topic(prompts, answers)) > 0.6

    def figures(self) -> dict[str, float]:
        """All figures of this seed."""
        return self.judging() | self.tuning()

    def judging(self) -> dict[str, float]:
        """How well the model tells good from bad, as a ratio and by P(yes) alone."""
        rng = np.random.default_rng([self.seed, 761])
        prompts, better, worse = self.world.pairs(PAIRS, self.seed)
        sides = [[f"{a} f{rng.integers(len(MASS))}" for a in part] for part in (better, worse)]
        scores = [self.reward.score(Candidates(prompts, part)) for part in sides]
        raw = [np.array(s.detail["probability"]) * np.array(s.detail["mass"]) for s in scores]
        single = YesNo(self.model, DOMAINS[0].question, about=ABOUT)
        one = [single.score(Candidates(prompts, part)).value for part in sides]
        truth = [self.world.satisfaction(prompts, part) for part in (better, worse)]
        routed = self.router(Candidates(prompts, better))
        actual = [DOMAINS[self.domain(int(p.split()[1].removeprefix("topic")))].name for p in prompts]
        return {
            "pair accuracy": accuracy(*(s.value for s in scores)),
            "one question for all": accuracy(*one),
            "Bayes": accuracy(*truth),
            "router": float(np.mean([a == b for a, b in zip(routed, actual, strict=True)])),
            "ratio": accuracy(*(s.value for s in scores)),
            "raw P(yes)": accuracy(*raw),
            "distance from the sigmoid": self.sigmoid(prompts, sides[0], actual),
        }

    def sigmoid(self, prompts: list[str], answers: list[str], domains: list[str]) -> float:
        """Largest distance of P(yes) from the sigmoid of the difference of the two logits."""
        question = {d.name: d.question for d in DOMAINS}
        asked = [
            ABOUT.format(prompt=p, response=a, question=question[d])
            for p, a, d in zip(prompts, answers, domains, strict=True)
        ]
        yes, no = self.model.logits(asked).astype(float)[:, self.model.tokenizer.convert_tokens_to_ids(["yes", "no"])].T
        found = np.empty(len(asked))
        for d in DOMAINS:
            rows = [i for i, name in enumerate(domains) if name == d.name]
            part = Candidates([prompts[i] for i in rows], [answers[i] for i in rows])
            found[rows] = YesNo(self.model, d.question, about=ABOUT, scale="probability").score(part).value
        return float(np.abs(found - 1 / (1 + np.exp(no - yes))).max())

    def tuning(self) -> dict[str, float]:
        """The share of good answers before and after tuning on pairs by self-preference, at random, by the truth."""
        prompts = self.world.prompts(PROMPTS, self.seed)
        drawn = answers(self.model, prompts, DRAWS, self.seed)
        pool = Candidates([p for p in prompts for _ in range(DRAWS)], drawn)
        rng = np.random.default_rng([self.seed, 762])
        true = np.nan_to_num(self.world.on_topic(pool.prompts, drawn))  # type: ignore[arg-type]
        ways = {
            "self-preference": self.reward.score(pool).value,
            "random pairs": rng.random(len(pool)),
            "true pairs": true + 1e-6 * rng.random(len(pool)),
        }
        asked = self.world.prompts(300, self.seed + 50)
        found = {"start": self.share(self.model, asked)}
        for name, value in ways.items():
            fitted = AutoregressiveReward(
                backbone=str(self.path), reference="start", beta=0.1, learning_rate=5e-4, keep="last", epochs=2,
                seed=self.seed, device="cpu",
            ).fit(best_worst(pool, value))  # fmt: skip
            place = fitted.save(self.folder / name)
            found[name] = self.share(LocalModel(str(place), device="cpu"), asked)
        gain = found["true pairs"] - found["start"]
        found["share of the gain of true pairs"] = (found["self-preference"] - found["start"]) / max(gain, 1e-9)
        return found

    def share(self, model: LocalModel, prompts: list[str]) -> float:
        """Share of good answers among one draw a prompt."""
        return float(self.good(prompts, answers(model, prompts, 1, self.seed + 9)).mean())


def best_worst(pool: Candidates, value: np.ndarray) -> Feedback:
    """The best and the worst of each prompt's draws by ``value``, as comparisons; equal draws make no pair."""
    table = np.nan_to_num(value, nan=float(np.nanmin(value))).reshape(-1, DRAWS)
    rows = np.arange(len(table)) * DRAWS
    pairs = zip(rows + table.argmax(1), rows + table.argmin(1), strict=True)
    return Feedback.of(
        Judgement(pool.prompts[b], (pool.responses[b], pool.responses[w]), (1.0, 0.0), source="model")
        for b, w in pairs
        if pool.responses[b] != pool.responses[w]
    )


def answers(model: LocalModel, prompts: Sequence[str], n: int, seed: int) -> list[str]:
    """``n`` draws a prompt."""
    return [text or "" for text in model.generate(prompts, n=n, temperature=1.0, max_tokens=16, seed=seed).text]


def accuracy(a: np.ndarray, b: np.ndarray) -> float:
    """Share of pairs in which ``a`` is above ``b``; a tie is half."""
    return float(np.mean(a > b) + 0.5 * np.mean(a == b))

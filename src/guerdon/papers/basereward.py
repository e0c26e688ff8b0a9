"""BaseReward's recipe: a two-layer head, plain comparisons, a mixture chosen by source, a rule beside the reward.

The vision-language backbone is replaced by fixed random filters over rendered shapes (``worlds/shapes.py``), in which
whether an answer is right is an interaction of what the picture shows and what the answer says: a head has to form it.
The ablation of heads is also a table to run, ``python -m benchmarks.head_ablation``.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, within
from guerdon.papers.index import paper
from guerdon.reward.base import Function
from guerdon.reward.learned.finite_policy import tilt
from guerdon.reward.learned.model import RewardModel
from guerdon.reward.learned.sources import accuracy, leave_one_out
from guerdon.reward.rule_first import RuleFirst
from guerdon.worlds.pool import Pool
from guerdon.worlds.shapes import Shapes

PAPER = paper("basereward")

SEEDS, PAIRS, TESTS = 5, 4000, 1000
HEADS = [(1, "none")] + [(layers, kind) for layers in (2, 3, 5) for kind in ("none", "tanh", "silu")]
"""The paper's ablation: layers of the head and what stands between them."""
SOURCES, EACH, SPOILT = 5, 150, 0.6
ARMS, QUESTIONS, BETA = 20, 200, 0.1


def check(budget: Budget) -> Claim:
    """All five checks of the card."""
    worlds = [Shapes(seed) for seed in budget.seeds(SEEDS)]
    return Claim(
        PAPER.slug,
        [*heads(worlds), text_only(budget), curation(budget), hybrid(budget)],
        note="no vision-language backbone is at hand, nor the critic and generative paradigms beside it",
    )


def fit(world: Shapes, feedback: Feedback, seed: int = 0, **settings: object) -> RewardModel:
    """The paper's head on the filters' features."""
    chosen = {"layers": 2, "activation": "silu", "hidden": 64, "dropout": 0.0, "seed": seed, **settings}
    return RewardModel(encoder=world, head="mlp", **chosen).fit(feedback)  # type: ignore[arg-type]


def head_name(layers: int, activation: str) -> str:
    """As the table calls it."""
    return "linear" if layers == 1 else f"{layers} layers, {activation}"


def heads(worlds: list[Shapes]) -> list[Row]:
    """Checks 1 and 4: the ablation of heads, and the same head with the pictures exchanged between the tests."""
    figures: dict[str, list[float]] = {head_name(2, "silu"): []}
    figures |= {head_name(*head): [] for head in HEADS}
    shuffled: dict[str, list[float]] = {"pictures exchanged": [], "pictures in place": []}
    for world in worlds:
        train, test = (world.comparisons(n, differ="faithful") for n in (PAIRS, TESTS))
        for layers, activation in HEADS:
            model = fit(world, train, layers=layers, activation=activation)
            figures[head_name(layers, activation)].append(accuracy(model, test))
            if (layers, activation) == (2, "silu"):
                shuffled["pictures in place"].append(accuracy(model, test))
                model.encoder = world.shuffle()
                shuffled["pictures exchanged"].append(accuracy(model, test))
    best = head_name(2, "silu")
    bounds = [at_least(best, 0.10, over="linear"), within("3 layers, silu", 0.02, of=best)]
    bounds += [at_least(best, -0.01, over=head_name(2, kind)) for kind in ("none", "tanh")]
    return [
        Row("1 head ablation", figures, bounds, "accuracy"),
        Row("4 pictures are used", shuffled, [at_most("pictures exchanged", 0.55)], "accuracy"),
    ]


def text_only(budget: Budget) -> Row:
    """Check 2: comparisons of texts alone teach what pictures' comparisons are too few for."""
    names = ("mixed", "multimodal only", "text test: mixed", "text test: text only")
    figures: dict[str, list[float]] = {name: [] for name in names}
    for seed in budget.seeds(SEEDS):
        world = Shapes(seed)
        pictures = world.comparisons(300, source="pictures")
        texts = world.comparisons(2000, pictured=False, differ="style", source="texts")
        tests = world.comparisons(TESTS), world.comparisons(TESTS, pictured=False, differ="style")
        mixed = fit(world, Feedback.concatenate([pictures, texts]), seed, epochs=60, batch=64)
        figures["mixed"].append(accuracy(mixed, tests[0]))
        figures["multimodal only"].append(accuracy(fit(world, pictures, seed, epochs=60, batch=64), tests[0]))
        figures["text test: mixed"].append(accuracy(mixed, tests[1]))
        figures["text test: text only"].append(accuracy(fit(world, texts, seed, epochs=60, batch=64), tests[1]))
    bounds = [
        at_least("mixed", 0.04, over="multimodal only"),
        within("text test: mixed", 0.02, of="text test: text only"),
    ]
    return Row("2 text-only comparisons help", figures, bounds, "accuracy")


def curation(budget: Budget) -> Row:
    """Check 3: leaving sources out one at a time finds the spoilt one."""
    names = ("spoilt source ranked worst", "gain without it", "largest gain without a clean one")
    figures: dict[str, list[float]] = {name: [] for name in names}
    for seed in budget.seeds(SEEDS):
        world = Shapes(seed)
        spoilt = f"source {seed % SOURCES}"
        parts = [
            world.comparisons(EACH, differ="style", source=name, flip=SPOILT if name == spoilt else 0.05)
            for name in (f"source {i}" for i in range(SOURCES))
        ]
        tests = {"pictures": world.comparisons(2 * TESTS, differ="style")}
        tests["texts"] = world.comparisons(2 * TESTS, pictured=False, differ="style")

        def make(world: Shapes = world, seed: int = seed) -> RewardModel:
            return RewardModel(encoder=world, seed=seed)

        effects = leave_one_out(Feedback.concatenate(parts), make, tests)
        figures["spoilt source ranked worst"].append(float(effects[0].source == spoilt))
        figures["gain without it"].append(next(e.mean for e in effects if e.source == spoilt))
        figures["largest gain without a clean one"].append(max(e.mean for e in effects if e.source != spoilt))
    bounds = [at_least("spoilt source ranked worst", 0.8), at_least("gain without it", 0.01)]
    return Row("3 curation by source", figures, bounds, "share of seeds; accuracy")


def hybrid(budget: Budget) -> Row:
    """Check 5: policies over 20 answers; half of the prompts have an answer that a rule can check."""
    names = ("hybrid", "rule only", "reward only", "rule + raw reward")
    figures: dict[str, list[float]] = {name: [] for name in names}
    for seed in budget.seeds(SEEDS):
        rng = np.random.default_rng([seed, 7])
        checkable = np.arange(QUESTIONS) % 2 == 0
        right = rng.integers(ARMS, size=QUESTIONS)
        taste = rng.normal(size=(QUESTIONS, ARMS))
        gold = np.where(checkable[:, None], np.arange(ARMS) == right[:, None], expit(taste))
        # a learned reward: noisy everywhere, and hardly able to tell which checkable answer is right
        learned = np.where(checkable[:, None], 0.7 * gold, taste) + rng.normal(size=gold.shape)
        pool = Pool(
            Candidates(
                [f"question {q}" for q in range(QUESTIONS) for _ in range(ARMS)],
                [f"answer {a}" for _ in range(QUESTIONS) for a in range(ARMS)],
            ),
            np.stack([learned.ravel()], 1),
        )

        def exact(prompt: object, response: object, checkable: np.ndarray = checkable, right: np.ndarray = right):  # type: ignore[no-untyped-def]
            q, a = int(str(prompt).split()[1]), int(str(response).split()[1])
            return float(right[q] == a) if checkable[q] else None

        reward = _Table(pool, learned.ravel())
        rule = Function(exact, "exact match")
        gated = RuleFirst(rule, reward).score(pool.candidates).value
        ruled = np.nan_to_num(
            rule.score(pool.candidates).value
        )  # where the rule abstains it says nothing: equal rewards
        raw = np.where(np.repeat(checkable, ARMS), ruled, learned.ravel())
        squashed = expit(learned.ravel())
        ways = {"hybrid": gated, "rule only": ruled, "reward only": squashed, "rule + raw reward": raw}
        for name, values in ways.items():
            policy = [tilt(v, np.full(ARMS, 1 / ARMS), BETA) for v in values.reshape(QUESTIONS, ARMS)]
            gains = (np.array(policy) * gold).sum(1)
            figures[name].append(float((gains[checkable].mean() + gains[~checkable].mean()) / 2))
    bounds = [at_least("hybrid", 0.0, over=name) for name in ("rule only", "reward only")]
    return Row("5 rule where it can tell, reward elsewhere", figures, bounds, "gold, mean of both kinds of prompts")


class _Table(Function):
    """A reward given as a table over a pool."""

    def __init__(self, pool: Pool, values: np.ndarray) -> None:
        table = {(str(c.prompt), str(c.response)): float(v) for c, v in zip(pool.candidates, values, strict=True)}
        super().__init__(lambda prompt, response: table[str(prompt), str(response)], "learned")

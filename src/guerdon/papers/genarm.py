"""GenARM: a language model trained on comparisons is a next-token reward; decode from base times it to the alpha.

The world is the language of personas (``worlds/language/personas.py``): a small language model marks what it writes
with words of six personas, and somebody wants words of A and B and none of E. All rewards learn from the same 1,500
comparisons of what the base writes, drawn by Bradley-Terry. The rival of per-token guidance is a reward of the same
size and comparisons that reads whole responses: as best-of-16, and as a guide of decoding (ARGS).
"""

from __future__ import annotations

import itertools
import tempfile
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy.special import expit

from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.generate.base import LanguageModel
from guerdon.generate.local import LocalModel
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.implicit.autoregressive import AutoregressiveReward
from guerdon.reward.learned.backbone import BackboneReward
from guerdon.steer.best_of_n import best_of_n
from guerdon.steer.logit_arithmetic import Guided, LogitArithmetic, Term, Voice
from guerdon.steer.reward_guided import RewardGuided
from guerdon.worlds.language.personas import Personas

PAPER = paper("genarm")

WORLD = Personas()
WISH = np.array([1.0, 1.0, 0.0, 0.0, -1.0, 0.0])
"""What a word of each persona is worth."""
PAIRS, TESTS, OF = 1500, 320, 16
RECIPE: dict[str, Any] = {
    "tuning": "full",
    "learning_rate": 1e-3,
    "epochs": 3.2,
    "batch": 32,
    "weight_decay": 0.05,
    "keep": "last",
    "device": "cpu",
}
"""150 steps for every reward."""
EVERY = len(WORLD.words)
"""Tokens that the guide which reads whole responses may choose from: a rare word is no handicap."""
ALPHAS, WEIGHTS = (0.5, 1.0, 2.0), (1.0, 3.0, 6.0)
TOKENS, STEPS = 5, 4


def check(budget: Budget) -> Claim:
    """All three checks of the card."""
    with tempfile.TemporaryDirectory(prefix="guerdon-genarm-") as folder:
        worlds = [World(Path(folder) / str(seed), seed) for seed in budget.seeds(3)]
        return Claim(
            PAPER.slug, [steering(worlds), exactness(budget), *several(worlds), weak_to_strong(worlds)],
            note="models of 7B parameters are not at hand",
        )  # fmt: skip


class World:
    """One seed: the base, its comparisons, and what is trained on them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.base = LocalModel(str(WORLD.language_model(folder / "base", seed)), device="cpu")
        self.pool = self.write(self.base, 2 * PAIRS, seed=seed)

    def write(self, model: LanguageModel, count: int, *, seed: int, n: int = 1) -> list[tuple[Any, list[str]]]:
        """``count`` prompts, the topics in turn, with ``n`` responses each."""
        prompts = [WORLD.prompt(i % WORLD.topics) for i in range(count)]
        if n == 1:  # prompts are few: other draws of the same ones
            each = -(-count // WORLD.topics)
            texts = model.generate(prompts[: WORLD.topics], each, max_tokens=16, seed=1000 * (seed + 1)).text
            return [(prompts[i], [str(texts[(i % WORLD.topics) * each + i // WORLD.topics])]) for i in range(count)]
        texts = model.generate(prompts, n, max_tokens=16, seed=1000 * (seed + 1)).text
        return [(p, [str(t) for t in texts[i * n : (i + 1) * n]]) for i, p in enumerate(prompts)]

    def comparisons(self, wish: np.ndarray) -> Feedback:
        """Pairs of what the base wrote on one topic, the verdict drawn by the logistic of the difference."""
        rng = np.random.default_rng([self.seed, 58])
        rows = []
        for i in range(PAIRS):
            one, other = self.pool[i], self.pool[i + PAIRS // WORLD.topics * WORLD.topics]
            texts = (one[1][0], other[1][0])
            a, b = WORLD.counts(texts) @ wish
            won = rng.random() < expit(a - b)
            rows.append(Judgement(one[0], texts, (float(won), float(not won))))
        return Feedback.of(rows)

    @cache  # noqa: B019 - a world lives as long as its check
    def reward(self, kind: str, wish: tuple[float, ...] = tuple(WISH)) -> Any:
        """``arm``, ``dpo``, ``half`` (an ARM of half the width): language models; ``whole``: reads whole responses."""
        backbone = str(self.folder / "base")
        if kind == "half":
            backbone = str(WORLD.language_model(self.folder / "half", self.seed, width=48))
        feedback = self.comparisons(np.array(wish))
        if kind == "whole":
            recipe = {**RECIPE, "head_learning_rate": RECIPE["learning_rate"], "start": "zero"}
            return BackboneReward(backbone=backbone, seed=self.seed, **recipe).fit(feedback)
        reference = "start" if kind == "dpo" else "none"
        reward = AutoregressiveReward(backbone=backbone, beta=0.2, reference=reference, seed=self.seed, **RECIPE)
        place = self.folder / f"{kind}-{'-'.join(f'{w:g}' for w in wish)}"
        return LocalModel(str(reward.fit(feedback).save(place)), device="cpu")

    def worth(self, model: LanguageModel, count: int = TESTS) -> tuple[float, float]:
        """(mean reward of what ``model`` writes, nats a token that the base gives it)."""
        written = self.write(model, count, seed=self.seed + 100)
        texts = [t[0] for _, t in written]
        ell = self.base.loglikelihood([p for p, _ in written], texts)
        nats = -np.nansum(ell.total) / max(sum(len(t) for t in ell.tokens if t is not None), 1)
        return float((WORLD.counts(texts) @ WISH).mean()), float(nats)


def steering(worlds: list[World]) -> Row:
    """Check 1: guidance by the token against best-of-16, a guide that reads whole responses, and DPO's policy."""
    figures: dict[str, list[float]] = {}
    nats: dict[str, list[float]] = {}

    def note(name: str, world: World, model: LanguageModel, count: int = TESTS) -> None:
        worth, price = world.worth(model, count)
        figures.setdefault(name, []).append(worth)
        nats.setdefault(name, []).append(price)

    for world in worlds:
        arm, whole = Voice(world.reward("arm")), world.reward("whole")
        for alpha in sorted(ALPHAS, key=lambda a: a != 1):
            note(f"alpha {alpha:g}", world, Guided(world.base, [Term(alpha, arm)]))
        note("base", world, world.base)
        note("DPO policy", world, world.reward("dpo"))
        for weight in WEIGHTS:
            guided = RewardGuided(world.base, whole, beta=weight, top_k=EVERY)
            note(f"whole responses, weight {weight:g}", world, guided, TESTS // 4)
        lists = world.write(world.base, TESTS // 4, seed=world.seed + 200, n=OF)
        responses = [text for _, texts in lists for text in texts]
        chosen = best_of_n(whole, Candidates([p for p, _ in lists for _ in range(OF)], responses))
        worth = WORLD.counts([str(c.responses[0]) for c in chosen]) @ WISH
        figures.setdefault("best of 16", []).append(float(worth.mean()))
    best = [max(column) for column in zip(*(figures[f"whole responses, weight {w:g}"] for w in WEIGHTS), strict=True)]
    figures["whole responses, best weight"] = best
    figures["0.8 DPO policy"] = [0.8 * value for value in figures["DPO policy"]]
    prices = ", ".join(f"{name} {np.mean(values):.2f}" for name, values in nats.items())
    return Row(
        "1 by the token against by the response",
        figures,
        [
            at_least("alpha 1", 4.0, over="base"),
            at_least("alpha 1", 2.0, over="best of 16"),
            at_least("alpha 1", 0.0, over="0.8 DPO policy"),
            at_most("whole responses, best weight", 1.0, over="base"),
        ],
        "wanted words less unwanted",
        note=f"nats a token under the base: {prices}",
    )


class Table:
    """A language model that is a table, with the face :class:`Voice` and its reader ask of a local model.

    chance  float64 [TOKENS, ...] of whole sequences; what follows a prefix is the share of its continuations
    """

    pad, device, max_length, name = 0, torch.device("cpu"), STEPS + 1, "table"

    def __init__(self, logits: dict[tuple[int, ...], np.ndarray]) -> None:
        self.logits, self._lock = logits, nullcontext()

    def render(self, prompts: Any) -> Any:
        return ["" for _ in prompts], [None for _ in prompts]

    def tokens(self, texts: Any) -> Any:
        return [np.array([0]) for _ in texts]

    def model(self, input_ids: Any, past_key_values: Any, **_: Any) -> Any:
        """The logits after the texts, whose first token stands for the prompt."""
        ids = input_ids if past_key_values is None else torch.cat([past_key_values.ids, input_ids], dim=1)
        rows = [self.logits[tuple(row[1:])] for row in ids.tolist()]
        cache = SimpleNamespace(ids=ids, layers=[])
        return SimpleNamespace(logits=torch.from_numpy(np.stack(rows))[:, None], past_key_values=cache)


def exactness(budget: Budget) -> Row:
    """Check 2: with pi_r as the tilt of the base to the 1 / alpha, decoding gives the tilted sequences."""
    figures: dict[str, list[float]] = {"decoded": [], "at half the weight": [], "base": []}
    for seed in budget.seeds(3):
        rng = np.random.default_rng([seed, 58])
        base = rng.dirichlet(np.ones(TOKENS**STEPS)).reshape((TOKENS,) * STEPS)
        target = base * np.exp(rng.normal(0, 1.5, base.shape))
        target, alpha = target / target.sum(), 0.5
        before, after = following(base), following(target)
        reward = {prefix: (after[prefix] - before[prefix]) / alpha for prefix in before}
        for name, weight in (("decoded", alpha), ("at half the weight", alpha / 2)):
            figures[name].append(variation(decoded(before, reward, weight), target))
        figures["base"].append(variation(base, target))
    return Row(
        "2 a constructed reward is decoded exactly",
        figures,
        [
            at_most(
                "decoded", 1e-6, was=0.02, why="the decoded distribution is computed whole here, not from 50,000 draws"
            )
        ],
        "total variation to the target",
        note=f"{TOKENS} tokens, {STEPS} steps; pi_r is the ratio of target and base to the power 1 / alpha",
    )


def following(chance: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
    """prefix -> float64 [TOKENS] log-probability of what follows it."""
    found = {}
    for length in range(STEPS):
        for prefix in itertools.product(range(TOKENS), repeat=length):
            shares = chance[prefix].reshape(TOKENS, -1).sum(1)
            found[prefix] = np.log(shares / shares.sum())
    return found


def decoded(base: dict[Any, np.ndarray], reward: dict[Any, np.ndarray], weight: float) -> np.ndarray:
    """float64 [TOKENS, ...] probability of whole sequences under the steered base."""
    out = np.ones((TOKENS,) * STEPS)
    term = Term(weight, Voice(Table(reward)))  # type: ignore[arg-type]
    for length in range(STEPS):
        prefixes = list(itertools.product(range(TOKENS), repeat=length))
        written = torch.tensor(prefixes, dtype=torch.int64).reshape(len(prefixes), length)
        scores = torch.from_numpy(np.stack([base[prefix] for prefix in prefixes]))
        steered = LogitArithmetic([term], ["" for _ in prefixes]).add(scores[:, None], written)[:, 0]
        p = torch.softmax(steered.double(), dim=-1).numpy().reshape((TOKENS,) * (length + 1))
        out *= p.reshape(p.shape + (1,) * (STEPS - length - 1))
    return out


def variation(p: np.ndarray, q: np.ndarray) -> float:
    """Total variation distance."""
    return 0.5 * float(np.abs(p - q).sum())


def several(worlds: list[World]) -> list[Row]:
    """Check 3: two rewards with weights of their own."""
    a, b = np.eye(WORLD.personas)[0], np.eye(WORLD.personas)[1]
    levels = (0.0, 0.25, 0.5, 1.0)
    shares: dict[str, list[float]] = {"A at (.5, .5), gain": [], "B at (.5, .5), gain": []}
    steps: dict[str, list[float]] = {"A rises with its weight": [], "B rises with its weight": []}
    volume: dict[str, list[float]] = {"two rewards": [], "one reward, five weights each": []}
    for world in worlds:
        arms = [Voice(world.reward("arm", tuple(wish))) for wish in (a, b)]

        def counts(weights: tuple[float, float], world: World = world, arms: list[Voice] = arms) -> np.ndarray:
            guided = Guided(world.base, [Term(w, arm) for w, arm in zip(weights, arms, strict=True)])
            return WORLD.counts([t[0] for _, t in world.write(guided, TESTS, seed=world.seed + 300)])[:, :2].mean(0)

        grid = np.array([[counts((one, other)) for other in levels] for one in levels])
        half = levels.index(0.5)
        for i, name in enumerate("AB"):
            shares[f"{name} at (.5, .5), gain"].append(float(grid[half, half, i] - grid[0, 0, i]))
            rises = np.diff(grid[..., i], axis=i) > 0
            steps[f"{name} rises with its weight"].append(float(rises.mean()))
        single = [counts((w, 0.0)) for w in (0.2, 0.4, 0.6, 0.8, 1.0)] + [
            counts((0.0, w)) for w in (0.2, 0.4, 0.6, 0.8, 1.0)
        ]
        volume["two rewards"].append(hypervolume(grid.reshape(-1, 2)))
        volume["one reward, five weights each"].append(hypervolume(np.array(single)))
    return [
        Row(
            "3 two rewards at once",
            shares,
            [at_least(name, 1.0) for name in shares],
            "words a response",
        ),
        Row(
            "3 each weight moves its own count",
            steps,
            [at_least(name, 1.0) for name in steps],
            "share of steps of the grid that rise",
            note=f"weights {', '.join(f'{level:g}' for level in levels)} of both",
        ),
        Row(
            "3 the front of two rewards",
            volume,
            [at_least("two rewards", 0.0, over="one reward, five weights each")],
            "area that is dominated, words squared",
        ),
    ]


def hypervolume(points: np.ndarray) -> float:
    """Area between the origin and the front of ``points`` [n, 2], more being better in both."""
    area, highest = 0.0, 0.0
    for x, y in sorted(points.tolist(), reverse=True):
        if y > highest:
            area, highest = area + x * (y - highest), y
    return area


def weak_to_strong(worlds: list[World]) -> Row:
    """Check 3, proposed: a reward of half the width guides the base."""
    figures: dict[str, list[float]] = {"gain of half the width": [], "gain of the full width": []}
    for world in worlds:
        base = world.worth(world.base)[0]
        for name, kind in (("gain of half the width", "half"), ("gain of the full width", "arm")):
            guided = Guided(world.base, [Term(1.0, Voice(world.reward(kind)))])
            figures[name].append(world.worth(guided)[0] - base)
    figures["0.6 of the full width's"] = [0.6 * gain for gain in figures["gain of the full width"]]
    return Row(
        "3 a small reward guides a larger model",
        figures,
        [at_least("gain of half the width", 0.0, over="0.6 of the full width's")],
        "wanted words less unwanted",
    )

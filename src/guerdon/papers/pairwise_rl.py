"""Pairwise-RL: compare instead of score, in the reward and in what a policy is tuned by.

Check 1: a network that reads two responses side by side (16 features each) and says which wins, on preferences that are
a linear utility plus a circle, which no utility can hold. Trained as given, or with every pair in both orders and a
term that pulls P(a > b) + P(b > a) to 1; read in one order or averaged over both. The baseline is Bradley-Terry with
such a network as utility, and a linear one; each takes the epoch that is best on held-out pairs.

Check 2: REINFORCE on 64 prompts with 10 responses each, where a scalar reward carries an offset of its own for every
prompt, and the chance against the prompt's anchor (:class:`~guerdon.reward.judge.references.AgainstReference`) does
not. Either is tuned with the rate that is best for it on other draws.

Check 3: the mean chance of a policy against the anchors, as the network of check 1 says it, is its rate of wins, also
on prompts where rewards are three times as far apart. Bradley-Terry's baseline learned its scale on the other prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from guerdon.feedback.schema import Candidates
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.base import Reward, Scores
from guerdon.reward.judge.references import AgainstReference, Anchors
from guerdon.reward.learned.networks import Schedule, mlp, train

PAPER = paper("pairwise-rl")

WIDTH, TRAINING, HELD, TESTS = 16, 3000, 600, 4000
RATES = (0.1, 0.2, 0.5, 1.0)
PROMPTS, ACTIONS, STEPS, BATCH = 64, 10, 400, 64


def check(budget: Budget) -> Claim:
    """Checks 1 to 3 of the card."""
    return Claim(
        PAPER.slug,
        [comparator(budget), *offsets(budget), calibration(budget)],
        left=(
            "the generative comparator (two label tokens of a language model, trained with swapped orders) and the "
            "tuned policy: they belong to tune/language",
            "check 4 (real text): parity of two heads on harmlessness pairs needs the comparator as a registered model",
        ),
    )


# ------------------------------------------------------------------ check 1: reading both


@dataclass
class Circle:
    """Preferences P(a > b) = sigmoid(3 (u'(a - b) + 2 a'K b) / norm), K skew-symmetric: linear and cyclic."""

    linear: np.ndarray
    skew: np.ndarray

    @classmethod
    def drawn(cls, seed: int) -> Circle:
        """One draw."""
        rng = np.random.default_rng(seed)
        k = rng.normal(size=(WIDTH, WIDTH))
        linear, skew = rng.normal(size=WIDTH), k - k.T
        return cls(linear / np.linalg.norm(linear) / np.sqrt(2), 2 * skew / np.linalg.norm(skew))

    def pairs(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(a, b) float64 [n, 16] and logits [n] of a's winning."""
        a, b = rng.normal(size=(2, n, WIDTH))
        return a, b, 3 * ((a - b) @ self.linear + np.einsum("ni,ij,nj->n", a, self.skew, b))


def comparator(budget: Budget) -> Row:
    """Accuracy on noiseless pairs, and how far P(a > b) + P(b > a) is from 1."""
    names = ("pair network, swapped, averaged", "pair network, swapped", "pair network, averaged", "pair network")
    figures: dict[str, list[float]] = {name: [] for name in (*names, "Bradley-Terry", "linear Bradley-Terry")}
    figures |= {"inconsistency, swapped": [], "inconsistency": []}
    for seed in budget.seeds(4):
        world, rng = Circle.drawn(seed), np.random.default_rng([seed, 1])
        data = [torch.as_tensor(x) for x in world.pairs(TRAINING + HELD, rng)]
        won = torch.as_tensor(rng.random(TRAINING + HELD)) < torch.sigmoid(data[2])
        a, b, truth = world.pairs(TESTS, rng)
        test = torch.as_tensor(a), torch.as_tensor(b)
        right = truth > 0
        for name, hidden in (("Bradley-Terry", [64]), ("linear Bradley-Terry", [])):
            margin = fitted(partial(utility_margin, network([WIDTH, *hidden, 1], seed)), data, won, seed)
            figures[name].append(float(np.mean((margin(*test).numpy() > 0) == right)))
        for swapped, tail in ((False, ""), (True, ", swapped")):
            margin = fitted(partial(pair_margin, network([2 * WIDTH, 128, 128, 1], seed)), data, won, seed, swapped)
            forward, backward = (torch.sigmoid(margin(*x)).numpy() for x in (test, test[::-1]))
            figures[f"pair network{tail}"].append(float(np.mean((forward > 0.5) == right)))
            figures[f"pair network{tail}, averaged"].append(float(np.mean((forward > backward) == right)))
            figures[f"inconsistency{tail}"].append(float(np.mean(np.abs(forward + backward - 1))))
    best = [max(x, y) for x, y in zip(figures["Bradley-Terry"], figures["linear Bradley-Terry"], strict=True)]
    ratio = [x / y for x, y in zip(figures["inconsistency, swapped"], figures["inconsistency"], strict=True)]
    return Row(
        "preferences with a circle in them",
        {**figures, "better Bradley-Terry": best, "inconsistency, ratio": ratio},
        [
            at_least("pair network", 0.2, over="better Bradley-Terry"),
            at_least("pair network, averaged", 0.015, over="pair network"),
            at_least("pair network, swapped", 0.02, over="pair network"),
            at_most("inconsistency, ratio", 0.75),
        ],
        unit="accuracy on noiseless pairs",
    )


def network(widths: list[int], seed: int) -> torch.nn.Sequential:
    """A small network in double precision."""
    return mlp(widths, torch.Generator().manual_seed(seed)).double()


def utility_margin(net: torch.nn.Sequential, a: Tensor, b: Tensor) -> Tensor:
    """[n] difference of utilities."""
    return (net(a) - net(b))[:, 0]


def pair_margin(net: torch.nn.Sequential, a: Tensor, b: Tensor) -> Tensor:
    """[n] the logit of a's winning, read from both."""
    return net(torch.cat([a, b], 1))[:, 0]


def fitted(
    margin: Callable[[Tensor, Tensor], Tensor], data: list[Tensor], won: Tensor, seed: int, swapped: bool = False
) -> Callable[[Tensor, Tensor], Tensor]:
    """``margin`` after training on the first pairs, in the epoch that is best on the last ones."""
    a, b, y = data[0], data[1], won.double()
    held = slice(TRAINING, None)

    def loss(rows: np.ndarray) -> Tensor:
        forward = margin(a[rows], b[rows])
        if not swapped:
            return binary_cross_entropy_with_logits(forward, y[rows])
        backward = margin(b[rows], a[rows])
        said = -torch.where(won[rows], logsigmoid(forward), logsigmoid(-forward))
        said = said - torch.where(won[rows], logsigmoid(-backward), logsigmoid(backward))
        apart = (torch.sigmoid(forward) + torch.sigmoid(backward) - 1) ** 2
        return said.mean() / 2 + 0.5 * apart.mean()

    def held_out() -> float:
        return float(binary_cross_entropy_with_logits(margin(a[held], b[held]), y[held]))

    net = margin.args[0]  # type: ignore[attr-defined]
    schedule = Schedule(learning_rate=3e-3, weight_decay=0.1, epochs=60, batch=128, patience=15, seed=seed)
    train(list(net.parameters()), loss, TRAINING, schedule, held=held_out)
    return torch.no_grad()(margin)


# ------------------------------------------------------------------ check 2: anchors


class Calibrated(Reward):
    """P(a preferred) = sigmoid of the difference of the true rewards that the responses' names stand for."""

    name = "calibrated"

    def __init__(self, rewards: np.ndarray) -> None:
        self.rewards = rewards

    def values(self, candidates: Candidates) -> np.ndarray:
        """[n] true rewards of "prompt" and "action"."""
        where = [(int(str(c.prompt)), int(str(c.response))) for c in candidates]
        return self.rewards[tuple(np.array(where).T)]

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """The chances [n]."""
        return Scores(expit(self.values(a) - self.values(b)))


def shown(prompts: np.ndarray, actions: np.ndarray) -> Candidates:
    """Numbers as candidates."""
    return Candidates([str(x) for x in prompts], [str(y) for y in actions])


def anchored(rewards: np.ndarray) -> np.ndarray:
    """[64, 10] the reward of every response: the chance against its prompt's anchor, response 0, less 1/2."""
    judge = AgainstReference(
        Calibrated(rewards), Anchors([str(x) for x in range(PROMPTS)], ["0"] * PROMPTS), on="centred"
    )
    x, y = np.divmod(np.arange(PROMPTS * ACTIONS), ACTIONS)
    return judge.score(shown(x, y)).value.reshape(PROMPTS, ACTIONS)


def reinforce(reward: np.ndarray, seed: int, rate: float) -> np.ndarray:
    """[64, 10] the policy after REINFORCE with rewards standardised over the batch, a baseline common to all."""
    rng, logits = np.random.default_rng([seed, 2]), np.zeros((PROMPTS, ACTIONS))
    for _ in range(STEPS):
        policy = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
        x = rng.integers(PROMPTS, size=BATCH)
        y = (rng.random(BATCH)[:, None] > np.cumsum(policy[x], axis=1)).sum(1).clip(max=ACTIONS - 1)
        r = reward[x, y]
        a = (r - r.mean()) / (r.std() + 1e-8)
        step = np.zeros_like(logits)
        np.add.at(step, (x, y), a)
        np.add.at(step, x, -a[:, None] * policy[x])
        logits += rate * step
    return np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


@dataclass
class Offsets:
    """A draw of true rewards [64, 10], and the same with an offset of its own for every prompt."""

    truth: np.ndarray
    carried: np.ndarray
    seed: int

    @classmethod
    def drawn(cls, spread: float, seed: int) -> Offsets:
        """One draw; ``spread`` is the standard deviation of the offsets."""
        rng = np.random.default_rng(seed)
        truth = rng.normal(size=(PROMPTS, ACTIONS))
        return cls(truth, truth + spread * rng.normal(size=(PROMPTS, 1)), seed)

    def reached(self, name: str, rate: float) -> float:
        """The true reward that is reached with rewards of a kind."""
        reward = anchored(self.carried) if name == "anchored" else self.carried
        return float((reinforce(reward, self.seed, rate) * self.truth).sum(1).mean())


def offsets(budget: Budget) -> list[Row]:
    """True reward reached with a scalar reward that carries an offset a prompt, and with the chance against anchors."""
    rows = []
    for spread, bound in (
        (10.0, at_least("ratio", 1.8)),
        (3.0, at_least("anchored", 0.1, over="scalar")),
        (0.0, at_least("anchored", -0.15, over="scalar")),
    ):
        others = [Offsets.drawn(spread, 100 + k) for k in range(2)]
        draws = [Offsets.drawn(spread, seed) for seed in budget.seeds(8)]
        best = {
            name: max(RATES, key=lambda rate, name=name: sum(o.reached(name, rate) for o in others))
            for name in ("anchored", "scalar")
        }
        figures = {name: [draw.reached(name, rate) for draw in draws] for name, rate in best.items()}
        same = [draw.reached("scalar", best["anchored"]) for draw in draws]
        figures["best possible"] = [float(draw.truth.max(1).mean()) for draw in draws]
        figures["ratio"] = [float(np.mean(figures["anchored"]) / np.mean(figures["scalar"]))]
        note = f"rates: anchored {best['anchored']:g}, scalar {best['scalar']:g}"
        note += f"; the scalar at the anchored's rate reaches {np.mean(same):.3f}"
        check_ = f"offsets of prompts, standard deviation {spread:g}"
        rows.append(Row(check_, figures, [bound], unit="true reward", note=note))
    return rows


# ------------------------------------------------------------------ check 3: calibration


class Learned(Reward):
    """The order-averaged chances of a margin, for responses whose features [64, 10, d] their numbers stand for."""

    name = "learned"

    def __init__(self, margin: Callable[[Tensor, Tensor], Tensor], features: np.ndarray) -> None:
        self.margin, self.features = margin, torch.as_tensor(features)

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """The chances [n]."""
        x, y = (
            self.features[tuple(np.array([(int(str(c.prompt)), int(str(c.response))) for c in s]).T)] for s in (a, b)
        )
        return Scores(((torch.sigmoid(self.margin(x, y)) + 1 - torch.sigmoid(self.margin(y, x))) / 2).numpy())


def calibration(budget: Budget) -> Row:
    """Predicted and counted rates of wins against the anchors, on prompts whose rewards are far apart."""
    figures: dict[str, list[float]] = {
        name: []
        for name in ("error of the mean", "ECE", "ECE, Bradley-Terry scaled elsewhere", "ECE, Bradley-Terry on all")
    }
    for seed in budget.seeds(4):
        rng = np.random.default_rng([seed, 5])
        linear = rng.normal(size=WIDTH)
        linear *= 1 / np.linalg.norm(linear)
        n = TRAINING + HELD
        a, b = rng.normal(size=(2, n, WIDTH))
        far = rng.random(n) < 0.5
        logit = np.where(far, 3.0, 1.0) * ((a - b) @ linear)
        won = torch.as_tensor(rng.random(n) < expit(logit))
        kind = far[:, None].astype(float)
        data = [torch.as_tensor(np.hstack([kind, side])) for side in (a, b)]
        # what learned its scale elsewhere has seen as many comparisons, all of the other kind
        plain = [torch.as_tensor(np.hstack([0 * kind, side])) for side in (a, b)]
        plain_won = torch.as_tensor(rng.random(n) < expit((a - b) @ linear))
        d = WIDTH + 1
        margins = {
            "ECE": fitted(partial(pair_margin, network([2 * d, 64, 1], seed)), data, won, seed, True),
            "ECE, Bradley-Terry scaled elsewhere": fitted(
                partial(utility_margin, network([d, 64, 1], seed)), plain, plain_won, seed
            ),
            "ECE, Bradley-Terry on all": fitted(partial(utility_margin, network([d, 64, 1], seed)), data, won, seed),
        }
        responses = rng.normal(size=(PROMPTS, ACTIONS, WIDTH))
        features = np.concatenate([np.ones((PROMPTS, ACTIONS, 1)), responses], 2)
        truth = 3.0 * responses @ linear
        x = rng.integers(PROMPTS, size=20_000)
        y = rng.integers(ACTIONS, size=len(x))  # a policy that does not choose
        fresh = rng.random(len(x)) < expit(truth[x, y] - truth[x, 0])
        anchors = Anchors([str(p) for p in range(PROMPTS)], ["0"] * PROMPTS)
        for name, margin in margins.items():
            inputs = features if "elsewhere" not in name else np.concatenate([0 * features[:, :, :1], responses], 2)
            chance = AgainstReference(Learned(margin, inputs), anchors).score(shown(x, y)).value
            figures[name].append(expected_error(chance, fresh))
            if name == "ECE":
                figures["error of the mean"].append(abs(float(chance.mean() - fresh.mean())))
    return Row(
        "the mean chance is the rate of wins",
        figures,
        [
            at_most("error of the mean", 0.04),
            at_most("ECE", 0.05),
            at_least("ECE, Bradley-Terry scaled elsewhere", 0.1),
        ],
        unit="error of a probability",
        note="Bradley-Terry that has seen all kinds of prompts, as the pair network has, is shown beside it",
    )


def expected_error(p: np.ndarray, won: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error over equal bins."""
    which = np.minimum((p * bins).astype(int), bins - 1)
    gaps = [abs(p[which == k].mean() - won[which == k].mean()) * np.mean(which == k) for k in set(which.tolist())]
    return float(sum(gaps))

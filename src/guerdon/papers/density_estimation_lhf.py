"""Preference learning as density estimation: right under the right rule of choice, between the modes under the wrong.

Points on a line carry a known density; an annotator compares two by Luce's rule of it, by the whole or by the token.
Rewards are tables fitted by maximum likelihood (``reward/learned/tabular.py``), read as densities by
``reward/learned/choice.py``. Two annotators in one pot are fitted as one, with their ids, and as two latent kinds of
people; the diagnostic is ``reward/learned/misspecification.py``, on 100 people of 800 comparisons each.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import expit

from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.learned.choice import Behaviour
from guerdon.reward.learned.likelihood import Mixture, compile_likelihood
from guerdon.reward.learned.misspecification import diagnose
from guerdon.reward.learned.tabular import fit_table

PAPER = paper("density-estimation-lhf")

POINTS, PEOPLE, EACH = 61, 100, 800


def check(budget: Budget) -> Claim:
    """The three checks of the card."""
    plain, by_token = recovery(budget)
    pooled, ids = annotators(budget)
    return Claim(
        PAPER.slug,
        [plain, by_token, pooled, ids, diagnostic(budget)],
        note="all checks of the card; the paper's own language-model experiment (LM1B) is not repeated",
    )


def bumps(x: np.ndarray, centres: tuple[float, ...], sd: float = 0.7) -> np.ndarray:
    """float64 [n] log-density of a mixture of equal Gaussian bumps, normalised over the points."""
    value = np.logaddexp.reduce([-0.5 * ((x - c) / sd) ** 2 for c in centres], axis=0)
    return value - np.logaddexp.reduce(value)


def answers(observable: np.ndarray, count: int, rng: np.random.Generator, person: np.ndarray | None = None) -> Feedback:
    """``count`` comparisons of random points by O [n], or by O [u, n] of the annotator ``person`` int [count]."""
    n = observable.shape[-1]
    a = rng.integers(0, n, count)
    b = (a + rng.integers(1, n, count)) % n
    gap = observable[a] - observable[b] if person is None else observable[person, a] - observable[person, b]
    first = (rng.random(count) < expit(gap)).astype(float)
    names = np.array([f"point {i}" for i in range(n)], dtype=object)
    return Feedback.from_columns(
        prompts=["line"] * count,
        responses=(names[a].tolist(), names[b].tolist()),
        offsets=np.arange(0, 2 * count + 1, 2),
        grades=np.stack([first, 1 - first], 1).ravel(),
    )


def place(feedback: Feedback) -> np.ndarray:
    """int64 [C] which point each candidate is."""
    return np.array([int(str(r).split()[1]) for r in feedback.candidates.responses])


def table(feedback: Feedback, n: int) -> np.ndarray:
    """float64 [n] rewards of the points, by Bradley-Terry."""
    u, _ = fit_table(compile_likelihood("bradley-terry", feedback))
    out = np.zeros(n)
    out[place(feedback)] = u
    return out


def divergence(log_p: np.ndarray, log_q: np.ndarray) -> float:
    """KL(p || q) in nats."""
    return float(np.exp(log_p) @ (log_p - log_q))


def recovery(budget: Budget) -> tuple[Row, Row]:
    """Check 1: 60,000 choices between 50 points, by Luce's rule and by the length-normalised one."""
    luce: dict[str, list[float]] = {"Luce": []}
    token: dict[str, list[float]] = {"by the token": [], "read as Luce": [], "half of that": []}
    x = np.linspace(-3, 3, 50)
    for seed in budget.seeds(3):
        rng = np.random.default_rng([seed, 14])
        truth = bumps(x, (-1.5, 1.5))
        whole, normalized = Behaviour(), Behaviour(length_normalized=True)
        luce["Luce"].append(divergence(truth, whole.log_density(table(answers(truth, 60_000, rng), 50))))
        lengths = rng.integers(1, 11, 50).astype(float)
        r = table(answers(normalized.observable(truth, lengths), 60_000, rng), 50)
        token["by the token"].append(divergence(truth, normalized.log_density(r, lengths)))
        token["read as Luce"].append(divergence(truth, whole.log_density(r)))
        token["half of that"].append(token["read as Luce"][-1] / 2)
    bounds = [at_most("by the token", 0.12, each=True), at_most("by the token", 0.0, over="half of that", each=True)]
    return (
        Row("1a the density behind Luce choices", luce, [at_most("Luce", 0.01, each=True)], "KL, nats"),
        Row("1b choices by the token", token, bounds, "KL, nats"),
    )


def two_annotators(rng: np.random.Generator, alike: bool = False) -> tuple[np.ndarray, Feedback, np.ndarray]:
    """(log-densities [2, 61], 80,000 comparisons in one pot, whose each is): by 100 people, half of either kind."""
    x = np.linspace(-3, 3, POINTS)
    densities = np.stack([bumps(x, (-1.5,)), bumps(x, (-1.5 if alike else 1.5,))])
    person = np.repeat(np.arange(PEOPLE), EACH)
    return densities, answers(densities, len(person), rng, person % 2), person


def annotators(budget: Budget) -> tuple[Row, Row]:
    """Check 2: one fit of two annotators lies in the valley between them; with ids, or latent ids, it does not."""
    kl: dict[str, list[float]] = {"with ids": [], "latent kinds": [], "one fit": []}
    valley: dict[str, list[float]] = {"one fit": [], "twice the truth": [], "truth": []}
    x = np.linspace(-3, 3, POINTS)
    middle = np.abs(x) < 0.6
    for seed in budget.seeds(3):
        densities, feedback, person = two_annotators(np.random.default_rng([seed, 15]))
        truth = np.logaddexp.reduce(densities, axis=0) - np.log(2)
        pooled = Behaviour().log_density(table(feedback, POINTS))
        known = [Behaviour().log_density(table(feedback.take(person % 2 == k), POINTS)) for k in range(2)]
        pairs = feedback.pairs()
        pairs.user[:] = person
        u, theta = fit_table(Mixture.by_person(pairs, POINTS, 2), width=2, seed=seed)
        found = np.zeros((POINTS, 2))
        found[place(feedback)] = u - np.logaddexp.reduce(u, axis=0)
        kl["with ids"].append(divergence(truth, np.logaddexp.reduce(known, axis=0) - np.log(2)))
        kl["latent kinds"].append(
            divergence(truth, np.logaddexp.reduce(found + theta, axis=1) - np.logaddexp.reduce(theta))
        )
        kl["one fit"].append(divergence(truth, pooled))
        valley["one fit"].append(float(np.exp(pooled)[middle].sum()))
        valley["truth"].append(float(np.exp(truth)[middle].sum()))
        valley["twice the truth"].append(2 * valley["truth"][-1])
    return (
        Row("2a two annotators in one pot", valley, [at_least("one fit", 0.0, over="twice the truth")], "mass, |y|<.6"),
        Row("2b with ids", kl, [at_most("with ids", 0.02, each=True), at_least("one fit", 0.1, each=True)], "KL, nats"),
    )


def diagnostic(budget: Budget) -> Row:
    """Check 3: the question of several annotators, on the data of check 2 and on one kind of people."""
    flagged: dict[str, list[float]] = {"two kinds": [], "one kind": []}
    for seed in budget.seeds(10):
        for name, alike in (("two kinds", False), ("one kind", True)):
            _, feedback, person = two_annotators(np.random.default_rng([seed, 16]), alike)
            named = named_by(feedback, person)
            flagged[name].append(float(bool(diagnose(named, lengths=None, seed=seed).several_annotators)))
    return Row(
        "3 one annotator or several",
        flagged,
        [at_least("two kinds", 0.9), at_most("one kind", 0.1)],
        "share of populations flagged",
    )


def named_by(feedback: Feedback, person: np.ndarray) -> Feedback:
    """The same feedback with the names of who said it."""
    return replace(feedback, user=person.astype(np.int32), users=tuple(f"u{i}" for i in range(person.max() + 1)))

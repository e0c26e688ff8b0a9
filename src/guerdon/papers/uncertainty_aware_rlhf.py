"""Uncertainty-aware RLHF: move the policy less where members of an ensemble disagree, exactly, on finite sets.

The theory is checked on the closed forms (``reward/learned/finite_policy.py``): first-order steps, positive policies at
equal KL, and the floor without which weighting KL by variance does harm. End to end, an ``ensemble`` of ten linear
members is fitted to 300 comparisons of which few move half of the features, and policies over 64 responses are compared
at equal KL by the spread of their true gain over twenty repetitions.
"""

from __future__ import annotations

import warnings

import numpy as np

from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.learned.ensemble import EnsembleReward, aggregate
from guerdon.reward.learned.finite_policy import at_kl, kl_weights, risk, steps, tilt, weighted_kl
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool

PAPER = paper("uncertainty-aware-rlhf")

ARMS, DRAWS, BUDGET = 20, 1500, 0.5
DIM, PAIRS, REPEATS, RESPONSES = 16, 300, 20, 64


def check(budget: Budget) -> Claim:
    """All five checks of the card."""
    return Claim(
        PAPER.slug,
        [theory(budget), formulas(budget), positive(budget), trap(budget), control(budget), *end_to_end(budget)],
    )


def arms(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(true reward, its standard deviation, what is observed) of 20 arms."""
    truth, std = rng.normal(0, 0.5, ARMS), np.exp(rng.normal(-0.3, 1.0, ARMS))
    return truth, std, truth + std * rng.normal(size=ARMS)


def theory(budget: Budget) -> Row:
    """Check 1a: how often a first-order step lowers the true reward."""
    figures: dict[str, list[float]] = {"variance-aware": [], "plain": []}
    for seed in budget.seeds(3):
        rng, worse = np.random.default_rng([seed, 1]), np.zeros(2)
        for _ in range(DRAWS):
            truth, std, seen = arms(rng)
            plain, aware = steps(seen, std)
            worse += [aware @ truth < 0, plain @ truth < 0]
        for name, share in zip(figures, worse / DRAWS, strict=True):
            figures[name].append(float(share))
    bounds = [at_most("variance-aware", 0.02), at_least("plain", 0.07)]
    return Row("1a steps that end below the reference", figures, bounds, "share of 1,500 draws")


def formulas(budget: Budget) -> Row:
    """Check 1b: the closed forms of the risk against simulation, uncentred as they are."""
    figures: dict[str, list[float]] = {"variance-aware: largest difference": [], "plain: largest difference": []}
    for seed in budget.seeds(3):
        rng, off = np.random.default_rng([seed, 2]), np.zeros((2, 10))
        for case in range(10):
            truth, std, _ = arms(rng)
            truth = truth * 0.4  # so that the risks are not all zero
            seen = truth + std * rng.normal(size=(20_000, ARMS))
            plain, aware = risk(truth, std)
            off[0, case] = abs(np.mean((seen / std**2) @ truth < 0) - aware)
            off[1, case] = abs(np.mean(seen @ truth < 0) - plain)
        for name, largest in zip(figures, off.max(1), strict=True):
            figures[name].append(float(largest))
    return Row("1b closed forms of the risk", figures, [at_most(n, 0.02, each=True) for n in figures], "probability")


def policies(seen: np.ndarray, std: np.ndarray, spent: float = BUDGET, caution: float = 1.0) -> dict[str, np.ndarray]:
    """The policies compared, each at the same KL from the uniform reference."""
    uniform = np.full(len(seen), 1 / len(seen))
    floored, raw = kl_weights(std**2), kl_weights(std**2, 0.0)
    lower = seen - caution * std
    return {
        "floored": at_kl(lambda b: weighted_kl(seen, floored, uniform, b, warn=False), uniform, spent),
        "lower bound": at_kl(lambda b: tilt(lower, uniform, b), uniform, spent),
        "plain": at_kl(lambda b: tilt(seen, uniform, b), uniform, spent),
        "no floor": at_kl(lambda b: weighted_kl(seen, raw, uniform, b, warn=False), uniform, spent),
    }


def positive(budget: Budget) -> Row:
    """Check 2: policies at 0.5 nats; how often they are worse than the reference, and what they gain."""
    names = ("floored", "lower bound", "plain", "no floor")
    figures: dict[str, list[float]] = {n: [] for n in names} | {f"gain, {n}": [] for n in names}
    figures |= {"floored / plain": [], "lower bound / plain": []}
    for seed in budget.seeds(3):
        rng = np.random.default_rng([seed, 3])
        gains: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(300):
            truth, std, seen = arms(rng)
            for name, policy in policies(seen, std).items():
                gains[name].append(float(policy @ truth - truth.mean()))
        for name in names:
            figures[name].append(float(np.mean(np.array(gains[name]) < 0)))
            figures[f"gain, {name}"].append(float(np.mean(gains[name])))
        for name in ("floored", "lower bound"):
            figures[f"{name} / plain"].append(figures[name][-1] / figures["plain"][-1])
    bounds = [
        at_most("floored / plain", 0.5),
        at_most("lower bound / plain", 0.7),
        at_least("gain, floored", 0.0, over="gain, plain"),
        at_least("gain, lower bound", 0.0, over="gain, plain"),
    ]
    return Row("2 positive policies at 0.5 nats", figures, bounds, "P(worse than the reference); mean gain")


def trap(budget: Budget) -> Row:
    """Check 3: without a floor the policy collapses onto arms of low variance, and the library says so."""
    figures: dict[str, list[float]] = {"collapsed and warned": [], "warned with the floor": []}
    for seed in budget.seeds(3):
        rng, said, calm, cases = np.random.default_rng([seed, 4]), 0, 0, 0
        uniform = np.full(ARMS, 1 / ARMS)
        for _ in range(60):
            _truth, std, seen = arms(rng)
            raw, floored = kl_weights(std**2, 0.0), kl_weights(std**2)
            solution = at_kl(lambda b: weighted_kl(seen, raw, uniform, b, warn=False), uniform, 2.5)  # noqa: B023
            calm += warns(seen, floored, uniform, beta_of(seen, floored, uniform, BUDGET))
            if 1 / np.sum(solution**2) < 3 and raw.max() > 10 * raw.min():
                cases += 1
                said += warns(seen, raw, uniform, beta_of(seen, raw, uniform, 2.5))
        figures["collapsed and warned"].append(said / cases if cases else float("nan"))
        figures["warned with the floor"].append(calm / 60)
    bounds = [at_least("collapsed and warned", 1.0, each=True), at_most("warned with the floor", 0.0, each=True)]
    return Row("3 the trap is announced", figures, bounds, "share of cases")


def beta_of(seen: np.ndarray, weight: np.ndarray, reference: np.ndarray, spent: float) -> float:
    """The beta at which the weighted policy spends so much."""
    found: list[float] = []

    def solve(beta: float) -> np.ndarray:
        found.append(beta)
        return weighted_kl(seen, weight, reference, beta, warn=False)

    at_kl(solve, reference, spent)
    return found[-1]


def warns(seen: np.ndarray, weight: np.ndarray, reference: np.ndarray, beta: float) -> bool:
    """Whether the solver warns of a collapse."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        weighted_kl(seen, weight, reference, beta)
    return bool(caught)


def control(budget: Budget) -> Row:
    """Check 4: where every arm is equally uncertain, all methods are one."""
    figures: dict[str, list[float]] = {"largest total variation": []}
    for seed in budget.seeds(3):
        seen = np.random.default_rng([seed, 5]).normal(size=ARMS)
        found = list(policies(seen, np.full(ARMS, 0.7)).values())
        figures["largest total variation"].append(float(max(0.5 * np.abs(p - found[0]).sum() for p in found)))
    return Row("4 equal uncertainty", figures, [at_most(n, 1e-6, each=True) for n in figures], "total variation")


def end_to_end(budget: Budget) -> list[Row]:
    """Check 5: an ensemble on 300 comparisons with half of the features poorly covered; twenty repetitions."""
    names = ("lower bound", "floored", "plain", "precision bound")
    spread: dict[str, list[float]] = {f"{n} / plain": [] for n in names if n != "plain"}
    figures: dict[str, list[float]] = {f"gain, {n}": [] for n in names} | {f"sd, {n}": [] for n in names}
    for seed in budget.seeds(3):
        gains: dict[str, list[float]] = {name: [] for name in names}
        direction = np.random.default_rng([seed, 6]).normal(size=DIM)
        for repeat in range(REPEATS):
            pool = Pool.planted(PAIRS, 2, DIM, seed=1000 * seed + repeat)
            pool.features[:, DIM // 2 :] *= 0.1  # comparisons hardly move half of the features; responses later do
            truth = pool.features @ direction
            people = Population.simulate(
                "shared",
                pool,
                truth[:, None],
                users=1,
                weights=[1.0],
                annotators=Annotator.bradley_terry(2.0),
                seed=seed,
            )
            said = people.history(count=PAIRS, seed=repeat)
            draw = np.random.default_rng([seed, 7])
            x = draw.normal(size=(RESPONSES, DIM))
            x[:, DIM // 2 :] *= 10.0 ** -draw.random((RESPONSES, 1))  # some responses are like those compared
            gold = x @ direction
            gold = gold / gold.std()
            for kind in ("members", "precision"):
                model = EnsembleReward(encoder=pool.encoder(), head="linear", uncertainty=kind, seed=repeat).fit(said)
                scaled = model.features(x)
                mean, std = aggregate(model.member_values(scaled), "mean"), model.std(scaled)
                found = policies(mean, std)
                if kind == "members":
                    for name in ("lower bound", "floored", "plain"):
                        gains[name].append(float(found[name] @ gold - gold.mean()))
                else:
                    gains["precision bound"].append(float(found["lower bound"] @ gold - gold.mean()))
        for name in names:
            figures[f"gain, {name}"].append(float(np.mean(gains[name])))
            figures[f"sd, {name}"].append(float(np.std(gains[name], ddof=1)))
            if name != "plain":
                spread[f"{name} / plain"].append(figures[f"sd, {name}"][-1] / float(np.std(gains["plain"], ddof=1)))
    bounds = [at_most("lower bound / plain", 0.8), at_most("floored / plain", 0.8)]
    return [
        Row("5 spread of the true gain", {**spread, **figures}, bounds, "ratio of sd; true gain in sd of the reward")
    ]

"""Who wins a tournament where everybody meets everybody: von Neumann, Borda, Copeland; and play against oneself.

All start from a table: P [n, n] of probabilities, P + P' = 1, or S [n, n] of scores, S = -S'. Where preferences are
transitive all agree; where they run in a circle there is no best candidate, and only a *mixture* is unbeaten: the
von Neumann winner (maximal lottery), the Nash equilibrium of the game P - 1/2. The row mean of a cyclic table is no
reward: it says how a candidate does against this very field.

``self_play`` are the exact iterates, on n candidates, of GPO (scores) and SPPO (probabilities): multiplicative weights
pi_{t+1} ~ pi_t exp(s(y over pi_t) / beta). Averages converge to the equilibrium; last iterates circle around it unless
the step is optimistic (2 s_t - s_{t-1} in the place of s_t).

References: Fishburn 1984 (maximal lotteries); Freund & Schapire 1999 (multiplicative weights); Wu et al. 2024,
https://arxiv.org/abs/2405.00675 (SPPO); Zhang et al. 2024, https://arxiv.org/abs/2410.02197 (GPO); Rakhlin & Sridharan
2013, https://arxiv.org/abs/1311.1869 (optimism).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import linprog
from scipy.special import expit, softmax

from guerdon.errors import BackendError, ConfigError


def nash(probability: np.ndarray) -> np.ndarray:
    """float64 [n] the von Neumann winner of P [n, n]: a distribution that no candidate beats, by linear programming."""
    payoff = probability - 0.5
    n = len(payoff)
    # maximise v with sum_i pi_i payoff[i, j] >= v for every j
    found = linprog(
        np.r_[np.zeros(n), -1.0],
        A_ub=np.hstack([-payoff.T, np.ones((n, 1))]),
        b_ub=np.zeros(n),
        A_eq=np.r_[np.ones(n), 0.0][None],
        b_eq=[1.0],
        bounds=[(0, None)] * n + [(None, None)],
        method="highs",
    )
    if found.x is None:
        raise BackendError(f"no equilibrium found for a table of {n} candidates: {found.message}")
    policy = np.maximum(found.x[:n], 0.0)
    return policy / policy.sum()


def borda(probability: np.ndarray) -> np.ndarray:
    """float64 [n] mean probability of winning against the others; 1/2 where there is nobody else."""
    n = len(probability)
    return (probability.sum(1) - 0.5) / (n - 1) if n > 1 else np.full(n, 0.5)


def copeland(probability: np.ndarray) -> np.ndarray:
    """float64 [n] share of the others that are beaten (P > 1/2), a draw half; 1/2 where there is nobody else."""
    n = len(probability)
    wins = (probability > 0.5) + 0.5 * (probability == 0.5)
    return (wins.sum(1) - 0.5) / (n - 1) if n > 1 else np.full(n, 0.5)


WINNERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"nash": nash, "borda": borda, "copeland": copeland}


def exploitability(probability: np.ndarray, policy: np.ndarray) -> float:
    """By how much the best answer beats ``policy`` [n]: max_y P(y over policy) - 1/2; 0 for a von Neumann winner."""
    return float((probability @ policy).max() - 0.5)


def cyclic_share(score: np.ndarray) -> float:
    """Share in [0, 1] of the squared scores S [n, n] that no utilities explain; the best ones are the row means."""
    mean = score.mean(1)
    total = float(np.sum(score**2))
    return float(np.sum((score - (mean[:, None] - mean)) ** 2)) / total if total > 0 else 0.0


def self_play(
    score: np.ndarray,
    *,
    beta: float = 10.0,
    rounds: int = 1000,
    iterate: str = "average",
    payoff: str = "score",
    start: np.ndarray | None = None,
) -> np.ndarray:
    """float64 [n] the policy after ``rounds`` exact steps against itself on the scores S [n, n].

    beta     KL weight of a step: large is slow
    iterate  ``average`` of all policies, the ``last``, or the last of ``optimistic`` steps
    payoff   ``score`` (GPO) or ``probability`` (SPPO: sigmoid(S) - 1/2)
    start    float64 [n] first policy, > 0; uniform by default
    """
    if iterate not in ("average", "last", "optimistic"):
        raise ConfigError(f"iterate={iterate!r} is unknown; use average, last or optimistic")
    if payoff not in ("score", "probability"):
        raise ConfigError(f"payoff={payoff!r} is unknown; use score or probability")
    if not beta > 0 or rounds < 1:
        raise ConfigError(f"beta={beta}, rounds={rounds}: use beta > 0 and at least one round")
    game = score if payoff == "score" else expit(score) - 0.5
    n = len(score)
    logits = np.zeros(n) if start is None else np.log(np.asarray(start, dtype=np.float64))
    policy, before, total = softmax(logits), None, np.zeros(n)
    for _ in range(rounds):
        total += policy
        gain = game @ policy
        step = 2 * gain - before if iterate == "optimistic" and before is not None else gain
        logits = logits + step / beta
        policy, before = softmax(logits), gain
    return total / rounds if iterate == "average" else policy

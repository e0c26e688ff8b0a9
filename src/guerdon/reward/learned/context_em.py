"""Contexts that were seldom written down: the model of contexts and the preference given them, learned from all rows.

    p(a > b | x) = sum over z of p(z | x) sigmoid(w_z . d)        d the difference of the features of a and b

Rows whose context was observed teach both factors at once; of the others the context is latent. Expectation
maximization alternates what each row's context may have been, ``r_z ~ p(z | x) p(verdict | z)`` (observed ones are
certain), with a softmax regression and one logistic regression a context, weighted by r. The penalized log-likelihood
of what was observed never falls. It starts from the observed rows alone: without some of each context, which is which
could not be known, and that is refused.

References
----------
Dempster, Laird, Rubin 1977. Maximum likelihood from incomplete data via the EM algorithm. JRSS B 39.
Pitis et al. 2024. https://arxiv.org/abs/2407.14916 (the two factors)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax, logsumexp, softmax

from guerdon.errors import ConfigError, FeedbackError
from guerdon.reward.learned.probe import softmax_regression

GRID = (1e-3, 1e-2, 3e-2, 1e-1, 3e-1)
ITERATIONS = 60
TOLERANCE = 1e-6
FOLDS = 5


@dataclass(frozen=True)
class LatentContexts:
    """k contexts: ``weight`` [e, k] of feature differences; ``prior_weight`` [p, k] and ``prior_bias`` [k] of prompts.

    history   penalized log-likelihood a row, at the start and after each round
    l2        ridge penalty of the mean loss, of both factors
    """

    weight: np.ndarray
    prior_weight: np.ndarray
    prior_bias: np.ndarray
    history: tuple[float, ...]
    l2: float

    @classmethod
    def fit(
        cls,
        prompt: np.ndarray,
        difference: np.ndarray,
        won: np.ndarray,
        context: np.ndarray,
        *,
        l2: float | str = "auto",
        seed: int = 0,
    ) -> LatentContexts:
        """Learn from n comparisons.

        prompt      float64 [n, p] features of the prompts
        difference  float64 [n, e] features of the first response less those of the second
        won         float64 [n] in [0, 1], 1 where the first is preferred
        context     int [n] in 0..k - 1, -1 where it was not observed
        l2          a penalty, or auto: the one that predicts held-out verdicts best, in five folds

        Raises
        ------
        FeedbackError
            if a context was never observed
        """
        x, d, y = (np.asarray(a, dtype=np.float64) for a in (prompt, difference, won))
        z = np.asarray(context, dtype=np.int64)
        if not len(x) == len(d) == len(y) == len(z):
            raise ConfigError(f"latent contexts: {len(x)}, {len(d)}, {len(y)} and {len(z)} rows; give as many of each")
        k = int(z.max(initial=-1)) + 1
        missing = [c for c in range(k) if not (z == c).any()]
        if not k or missing:
            raise FeedbackError(
                "latent contexts: "
                + (f"context {missing[0]} was never" if missing else "no context was")
                + " observed; "
                "name some comparisons' context, of each kind"
            )
        if l2 == "auto":
            l2 = min(GRID, key=lambda penalty: _held_out_loss(x, d, y, z, penalty, seed))
        return cls._fit(x, d, y, z, k, float(l2))

    @classmethod
    def _fit(cls, x: np.ndarray, d: np.ndarray, y: np.ndarray, z: np.ndarray, k: int, l2: float) -> LatentContexts:
        seen = z >= 0
        certain = np.eye(k)[np.maximum(z, 0)]
        prior = softmax_regression(x[seen], certain[seen], l2)
        weight = _conditionals(d[seen], y[seen], certain[seen], l2, np.zeros((d.shape[1], k)))
        history: list[float] = []
        for _ in range(ITERATIONS):
            log_prior = log_softmax(x @ prior[0] + prior[1], axis=1)
            joint = log_prior + _verdicts(d @ weight, y)
            log_row = np.where(seen, (joint * certain).sum(1), logsumexp(joint, axis=1))
            penalty = 0.5 * l2 * float((prior[0] ** 2).sum() + (weight**2).sum())
            history.append(float(log_row.mean()) - penalty)
            if len(history) > 1 and history[-1] - history[-2] < TOLERANCE:
                break
            chance = np.where(seen[:, None], certain, softmax(joint, axis=1))
            prior = softmax_regression(x, chance, l2)
            weight = _conditionals(d, y, chance, l2, weight)
        return cls(weight, prior[0], prior[1], tuple(history), l2)

    def prior(self, prompt: np.ndarray) -> np.ndarray:
        """float64 [n, k] p(context | prompt)."""
        return softmax(np.asarray(prompt, dtype=np.float64) @ self.prior_weight + self.prior_bias, axis=1)

    def given(self, difference: np.ndarray) -> np.ndarray:
        """float64 [n, k] P(first preferred | context)."""
        return expit(np.asarray(difference, dtype=np.float64) @ self.weight)

    def marginal(self, prompt: np.ndarray, difference: np.ndarray) -> np.ndarray:
        """float64 [n] P(first preferred), whatever the context."""
        return (self.prior(prompt) * self.given(difference)).sum(1)


def _verdicts(logit: np.ndarray, y: np.ndarray) -> np.ndarray:
    """float64 [n, k] log-likelihood of verdicts y [n] under logits [n, k]."""
    return y[:, None] * log_expit(logit) + (1 - y[:, None]) * log_expit(-logit)


def _conditionals(d: np.ndarray, y: np.ndarray, chance: np.ndarray, l2: float, start: np.ndarray) -> np.ndarray:
    """float64 [e, k] that minimise -sum(chance x log-likelihood) / n + l2 / 2 |w|^2, by context."""
    n = len(d)
    out = np.empty_like(start)
    for c in range(chance.shape[1]):
        weight = chance[:, c] / n

        def objective(w: np.ndarray, weight: np.ndarray = weight) -> tuple[float, np.ndarray]:
            logit = d @ w
            loss = -float(weight @ (y * log_expit(logit) + (1 - y) * log_expit(-logit)))
            return loss + 0.5 * l2 * float(w @ w), d.T @ (weight * (expit(logit) - y)) + l2 * w

        out[:, c] = minimize(objective, start[:, c], jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    return out


def _held_out_loss(x: np.ndarray, d: np.ndarray, y: np.ndarray, z: np.ndarray, l2: float, seed: int) -> float:
    """Summed log-loss of held-out verdicts, whatever their context."""
    fold = np.random.default_rng(seed).permutation(len(x)) % FOLDS
    k, total = int(z.max()) + 1, 0.0
    for f in range(FOLDS):
        here, there = fold == f, fold != f
        if len(np.unique(z[there & (z >= 0)])) < k:
            continue
        made = LatentContexts._fit(x[there], d[there], y[there], z[there], k, l2)
        p = np.clip(made.marginal(x[here], d[here]), 1e-9, 1 - 1e-9)
        total -= float((y[here] * np.log(p) + (1 - y[here]) * np.log1p(-p)).sum())
    return total

"""Unstated contexts: how likely each is given the prompt, and what an error in that costs the marginal preference.

    p(a > b | x) = sum over z of p(z | x) p(a > b | x, z)

An estimate of the two factors errs by no more than the two errors together:

    |p^ - p|  <=  TV(p^(z | x), p(z | x))  +  E over p(z | x) of |p^(a > b | x, z) - p(a > b | x, z)|

so that supervising contexts and verdicts given contexts apart is a sound plan.

Reference: Pitis et al. 2024, https://arxiv.org/abs/2407.14916
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from guerdon.errors import ConfigError, FeedbackError
from guerdon.reward.learned.probe import fit_probe, softmax_regression


@dataclass(frozen=True)
class ContextPrior:
    """p(z | prompt) by softmax regression on prompt features; classes are context indices [k]."""

    contexts: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray, context: np.ndarray, *, l2: float | str = "auto", seed: int = 0) -> ContextPrior:
        """Learn from prompts x [n, d] whose context [n] (an index >= 0) was observed; others (-1) are left out."""
        known = np.asarray(context) >= 0
        x, context = np.asarray(x, dtype=np.float64)[known], np.asarray(context)[known]
        if not len(x):
            raise FeedbackError("no context was observed: the prior over contexts cannot be learned")
        contexts, y = np.unique(context, return_inverse=True)
        if len(contexts) == 1:
            return cls(contexts, np.zeros((x.shape[1], 1)), np.zeros(1))
        if l2 == "auto":
            probe = fit_probe(x, y, seed=seed)
            return cls(contexts, probe.weight, probe.bias)
        return cls(contexts, *softmax_regression(x, np.eye(len(contexts))[y], float(l2)))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """float64 [n, k] p(z | x), columns as ``contexts``."""
        return np.exp(log_softmax(np.asarray(x, dtype=np.float64) @ self.weight + self.bias, axis=1))


@dataclass(frozen=True)
class Decomposition:
    """Errors of a marginal preference, each float64 [n] in [0, 1].

    error        |p^ - p| of the marginal
    context      total variation between the distributions of contexts
    conditional  expected error of the preference given the context, under the true distribution
    """

    error: np.ndarray
    context: np.ndarray
    conditional: np.ndarray

    @property
    def bound(self) -> np.ndarray:
        """context + conditional, never below ``error``."""
        return self.context + self.conditional

    def __str__(self) -> str:
        parts = (self.error.mean(), self.context.mean(), self.conditional.mean())
        return "marginal error {:.4f} <= context error {:.4f} + conditional error {:.4f}".format(*parts)


def decompose(prior: np.ndarray, true_prior: np.ndarray, given: np.ndarray, true_given: np.ndarray) -> Decomposition:
    """The exact decomposition on finite contexts: estimated and true p(z) [n, k] and P(a preferred | z) [n, k]."""
    parts = [np.atleast_2d(np.asarray(a, dtype=np.float64)) for a in (prior, true_prior, given, true_given)]
    if len({p.shape for p in parts}) != 1:
        raise ConfigError(f"decompose: shapes {[p.shape for p in parts]} differ; give four arrays [n, contexts]")
    q, p, g, t = parts
    for name, dist in (("prior", q), ("true_prior", p)):
        if (dist < 0).any() or np.abs(dist.sum(1) - 1).max() > 1e-6:
            raise ConfigError(f"decompose: {name} is no distribution over contexts (rows >= 0 that sum to 1)")
    error = np.abs((q * g).sum(1) - (p * t).sum(1))
    return Decomposition(error, 0.5 * np.abs(q - p).sum(1), (p * np.abs(g - t)).sum(1))

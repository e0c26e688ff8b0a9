"""Who of the people known would have answered like this: a posterior over people, by how well each explains answers.

A bank of b latent people, float64 [b, L], is the prior: as likely as people are, each the same. Answers weigh them by
their likelihood, ``w_i ~ exp(evidence_i)`` with ``evidence`` the sum of log P(answer | person i), which adds up over
answers, however they were chosen. An encoder of comparisons is trained on those that people happened to make; where
questions are chosen for what their answers tell, it reads something it has not seen, and this does not.
"""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

MOST = 256
"""People in a bank."""
LEAST_VARIANCE = 1e-4


def log_likelihood(delta: np.ndarray) -> np.ndarray:
    """log sigmoid of ``delta`` (log-odds of what was answered), float64 of the same shape."""
    return -np.logaddexp(0.0, -delta)


def weights(evidence: np.ndarray) -> np.ndarray:
    """float64 [u, b] probability of each of the bank, from evidence [u, b]."""
    return softmax(evidence.astype(np.float64), axis=1)


def moments(bank: np.ndarray, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, log variance) float64 [u, L] of the posterior."""
    w = weights(evidence)
    mean = w @ bank
    variance = w @ bank**2 - mean**2
    return mean, np.log(np.maximum(variance, LEAST_VARIANCE))


def draws(bank: np.ndarray, evidence: np.ndarray, count: int) -> np.ndarray:
    """float64 [u, count, L] members of the bank at the same ``count`` even quantiles for everybody: no chance in it."""
    cumulated = np.cumsum(weights(evidence), axis=1)
    at = (np.arange(count) + 0.5) / count
    place = np.stack([np.searchsorted(row, at * row[-1]) for row in cumulated])
    return bank[np.minimum(place, len(bank) - 1)]

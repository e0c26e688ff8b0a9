r"""What the best of n is worth, for every n at once, from one list of candidates a prompt.

Of N candidates with a reward's scores and their true values, n are drawn without replacement and the one with the
highest score is taken; candidates that tie share. With candidates in descending order of score, the one at place r
(0 = best) is taken with probability

    C(N - 1 - r, n - 1) / C(N, n)

so the expectation over all draws is a weighted mean: exact, with no sampling [1]_. Taking the best of n moves a policy
away from itself by at most log n - (n - 1) / n nats [2]_.

References
----------
.. [1] Nakano et al. 2021. WebGPT. https://arxiv.org/abs/2112.09332 (the unbiased estimator)
.. [2] Beirami et al. 2024. Theoretical guarantees on the best-of-n alignment policy. https://arxiv.org/abs/2401.01879
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln


def kl(n: np.ndarray | float) -> np.ndarray:
    """Nats between best-of-n and the policy itself, at most: log n - (n - 1) / n."""
    n = np.asarray(n, dtype=np.float64)
    return np.log(n) - (n - 1) / n


def powers(most: int) -> tuple[int, ...]:
    """1, 2, 4 ... up to ``most``, which is in it."""
    out = [2**k for k in range(most.bit_length()) if 2**k <= most]
    return tuple(dict.fromkeys([*out, most]))


def place_weights(candidates: int, n: int) -> np.ndarray:
    """float64 [N] probability that the candidate at each place, best first, is the best of n drawn."""
    r = np.arange(candidates)
    with np.errstate(invalid="ignore"):
        log = gammaln(candidates - r) - gammaln(n) - gammaln(np.maximum(candidates - r - n + 1, 0.5))
        log -= gammaln(candidates + 1) - gammaln(n + 1) - gammaln(candidates - n + 1)
    return np.where(candidates - r >= n, np.exp(log), 0.0)


def expected_best(score: np.ndarray, truth: np.ndarray, counts: tuple[int, ...]) -> np.ndarray:
    """float64 [len(counts)] expected truth of the best of n by ``score`` [N]; NaN where n > N.

    Candidates without a score (NaN) are taken only where nothing else was drawn; equal scores share their places.
    """
    total = len(score)
    key = np.where(np.isnan(score), -np.inf, score)
    order = np.argsort(-key, kind="stable")
    _, start, size = np.unique(-key[order], return_index=True, return_counts=True)
    shared = np.repeat(np.add.reduceat(truth[order], start) / size, size)  # mean truth of those that tie
    return np.array([float(place_weights(total, n) @ shared) if n <= total else np.nan for n in counts])

"""Contrastive regularizers: hidden features that tell apart what differs, beside the preference loss.

The total loss is ``L_preference + weight * L_contrastive``, the views of an example two passes under different dropout.

``simcse``  z = h / |h|, positives are the two views of one example, negatives all others of the batch:
            -log( exp(z_i . z'_i / t) / sum_j exp(z_i . z'_j / t) )
``swav``    each view predicts the other's assignment to K prototypes c: -sum_k q'_k log softmax(z . c / t)_k, with the
            assignments q made equally frequent by Sinkhorn's algorithm (otherwise all go to one prototype)

``h`` is taken of every response, or of differences h(preferred) - h(other) (``on="difference"``). Both losses are
minimal only if features spread; :func:`spread` measures that they did (0 = collapsed onto a line).

References: Wang et al. (2024), Secrets of RLHF in Large Language Models Part II, https://arxiv.org/abs/2401.06080;
Gao et al. (2021), SimCSE, https://arxiv.org/abs/2104.08821; Caron et al. (2020), SwAV,
https://arxiv.org/abs/2006.09882.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, normalize


def simcse(first: Tensor, second: Tensor, temperature: float = 0.1) -> Tensor:
    """Mean InfoNCE loss of two views [n, d] of n examples, both ways."""
    a, b = normalize(first, dim=1), normalize(second, dim=1)
    similar = a @ b.T / temperature
    return -0.5 * (log_softmax(similar, 1).diagonal().mean() + log_softmax(similar, 0).diagonal().mean())


def swav(first: Tensor, second: Tensor, prototypes: Tensor, temperature: float = 0.1) -> Tensor:
    """Mean swapped-prediction loss of two views [n, d] under prototypes [K, d]."""
    c = normalize(prototypes, dim=1)
    a, b = normalize(first, dim=1) @ c.T, normalize(second, dim=1) @ c.T
    qa, qb = assignments(a), assignments(b)
    losses = (qb * log_softmax(a / temperature, 1)).sum(1) + (qa * log_softmax(b / temperature, 1)).sum(1)
    return -0.5 * losses.mean()


@torch.no_grad()
def assignments(similar: Tensor, *, sharpness: float = 0.05, rounds: int = 3) -> Tensor:
    """[n, K] soft assignments of n examples, rows summing to 1 and (nearly) each column to n / K: Sinkhorn."""
    q = torch.exp((similar - similar.max()) / sharpness)
    n, k = q.shape
    for _ in range(rounds):
        q = q / q.sum(0, keepdim=True).clamp_min(1e-12) / k
        q = q / q.sum(1, keepdim=True).clamp_min(1e-12) / n
    return q * n


def spread(h: Tensor) -> float:
    """In [0, 1]: 1 - |mean of h / |h||^2. Features that all point one way (a collapse) give 0."""
    return float(1 - normalize(h, dim=1).mean(0).square().sum())

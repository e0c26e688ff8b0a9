r"""A set of tokens to a Gaussian over a latent vector: the amortised posterior of who (or what) produced the set.

Each token [t] goes through a small network (2 hidden LeakyReLU layers), single-head self-attention lets the tokens of a
set look at each other, and their mean gives the posterior: mu and log sigma^2 [L], each clamped. The result does not
depend on the order of the tokens. An empty set is the prior, N(0, I).

The tokens are the caller's: [features of chosen; of rejected] for a person's comparisons
(:mod:`guerdon.reward.personal.variational`), [features; label] for a task known by labelled points.

Reference: Poddar et al. 2024, Personalizing RLHF with variational preference learning,
https://arxiv.org/abs/2408.10075
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from guerdon.reward.learned.networks import mlp

LEAKY = partial(torch.nn.LeakyReLU, 0.2)


class SetEncoder(torch.nn.Module):
    """Tokens [b, C, t] of b sets to (mu, log variance), each [b, L].

    Parameters
    ----------
    token : t, the width of a token
    hidden : width of the hidden layers
    width : width of a token after its network, and of the attention
    latent : L
    bound : mu and log variance are clamped to [-bound, bound]
    """

    def __init__(
        self, token: int, hidden: int, width: int, latent: int, *, bound: float = 1.0, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.bound = bound
        self.token = mlp([token, hidden, hidden, width], generator, LEAKY)
        self.query, self.key, self.value = (mlp([width, width], generator) for _ in range(3))
        self.mean, self.log_variance = (mlp([width, latent], generator) for _ in range(2))

    def embed(self, tokens: Tensor) -> Tensor:
        """[..., width] of tokens [..., t]: what may be kept of a token, and :meth:`pool` reads."""
        return self.token(tokens)

    def pool(self, embedded: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(mu, log variance) [b, L] of embedded tokens [b, C, width], of which ``mask`` bool [b, C] are there."""
        some = mask.any(1)
        if not embedded.shape[1] or not bool(some.any()):
            width: Any = self.mean[-1].out_features
            zero = embedded.new_zeros(len(mask), width)
            return zero, zero.clone()
        logits = self.query(embedded) @ self.key(embedded).transpose(1, 2) / math.sqrt(embedded.shape[-1])
        # a set without tokens attends to its padding, lest nothing is divided by nothing; it becomes the prior below
        seen = mask | ~some[:, None]
        share = torch.softmax(logits.masked_fill(~seen[:, None, :], -torch.inf), dim=-1)
        mixed = share @ self.value(embedded)
        pooled = (mixed * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        mu, log_variance = (torch.clamp(f(pooled), -self.bound, self.bound) for f in (self.mean, self.log_variance))
        return mu * some[:, None], log_variance * some[:, None]

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(mu, log variance) [b, L] of tokens [b, C, t] with ``mask`` bool [b, C]."""
        return self.pool(self.embed(tokens), mask)


def divergence(mu: Tensor, log_variance: Tensor) -> Tensor:
    """[b] KL(N(mu, sigma^2) || N(0, I)) in nats, summed over dimensions."""
    return 0.5 * (log_variance.exp() + mu**2 - 1 - log_variance).sum(-1)


def on_sphere(z: Tensor) -> Tensor:
    """z [..., L] at length sqrt(L); the origin stays where it is."""
    length = z.norm(dim=-1, keepdim=True)
    return torch.where(length > 1e-9, z * math.sqrt(z.shape[-1]) / length.clamp(min=1e-9), z)


def cyclical(step: int, period: int, floor: float = 0.1) -> float:
    """Annealing factor in [floor, 1]: a cosine from ``floor`` up to 1 over ``period`` steps, then again."""
    rise = 0.5 * (1 - math.cos(math.pi * (step % period) / period))
    return floor + (1 - floor) * rise

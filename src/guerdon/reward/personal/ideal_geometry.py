r"""The geometry of ideal points: projectors, prototypes, and the utilities of candidates around a person's ideal.

Variant A. A person's ideal point is a mixture of K prototypes, a = f(sum_k w_k p_k) (``mixing="before"``), or
sum_k w_k f(p_k) (``"after"``), or sum_k w_k p_k with prototypes in preference space (``"direct"``);

    utility(y) = -scale * |f(y) - a|   (``distance="norm"``), or  -scale * |f(y) - a|^2   (``"square"``).

Variant B. The ideal is a direction that depends on the prompt x, a(x) = sum_k w_k g_k(x);

    utility(x, y) = tau * cos(f(y), a(x)),   tau = exp(log_scale) <= 100.

Shapes: n candidates, d features, q preference dimensions, u people, K prototypes. Inference is in float64.

Reference: Chen et al. 2024, PAL: pluralistic alignment framework for learning from heterogeneous preferences,
https://arxiv.org/abs/2406.08469
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from guerdon.reward.learned.networks import mlp

PROJECTORS = ("linear", "mlp")
MIXINGS = ("before", "after", "direct")
ZERO = 1e-6
"""A vector shorter than this has no direction."""

LOUDEST = math.log(100.0)
"""log of the largest tau."""


class Projector(torch.nn.Module):
    """d -> q: a matrix with orthonormal rows to start from, or two hidden layers of width q, optionally residual."""

    def __init__(
        self,
        kind: str,
        d: int,
        q: int,
        *,
        bias: bool = False,
        dropout: float = 0.0,
        residual: bool = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.residual, self.dropout, self.generator = residual, dropout, generator
        if kind == "linear":
            start = torch.linalg.qr(torch.randn(max(d, q), min(d, q), generator=generator))[0]
            net: Any = torch.nn.utils.skip_init(torch.nn.Linear, d, q, bias=bias)
            with torch.no_grad():
                net.weight.copy_(start.T if q <= d else start)
                if bias:  # directions of centred prompts must not have to sum to zero
                    net.bias.zero_()
            self.net = torch.nn.Sequential(net)
        else:
            self.net = mlp([d, q, q, q], generator)

    def forward(self, x: Tensor) -> Tensor:
        """[..., q] of x [..., d]; with dropout, each call in training sees it anew."""
        y = x
        for module in self.net:
            y = module(y)
            if self.dropout and self.training and isinstance(module, torch.nn.GELU):
                y = y * (torch.rand(y.shape, generator=self.generator) >= self.dropout) / (1 - self.dropout)
        return x + y if self.residual else y

    def push(self, x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """(f(x) [u, q], its derivatives [u or 1, q, K]) for x [u, d] that moves by ``slope`` [d, K]."""
        y, moved = x, slope[None]
        for module in self.net:
            if isinstance(module, torch.nn.Linear):
                moved = module.weight @ moved
            else:  # GELU: h Phi(h)
                bell = torch.exp(-0.5 * y**2) / math.sqrt(2 * math.pi)
                moved = (0.5 * (1 + torch.erf(y / math.sqrt(2))) + y * bell)[:, :, None] * moved
            y = module(y)
        return (x + y, slope[None] + moved) if self.residual else (y, moved)


class Geometry(torch.nn.Module):
    """Projectors and prototypes of K people-independent parts; see the module for the formulas.

    Parameters
    ----------
    variant : A or B
    d : response features (A: features of the candidate)
    d_prompt : prompt features (B)
    k : prototypes
    q : preference dimensions
    """

    def __init__(
        self,
        variant: str,
        d: int,
        k: int,
        q: int,
        *,
        d_prompt: int = 0,
        projector: str = "linear",
        residual: bool = False,
        dropout: float = 0.0,
        mixing: str = "before",
        distance: str = "norm",
        learn_scale: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.variant, self.k, self.q, self.mixing, self.distance = variant, k, q, mixing, distance

        def project(width: int, bias: bool = False) -> Projector:
            use = residual and projector == "mlp" and width == q
            return Projector(projector, width, q, bias=bias, dropout=dropout, residual=use, generator=generator)

        self.f = project(d)
        start = math.log(1 / 0.07) if variant == "B" else 0.0
        self.log_scale = torch.nn.Parameter(torch.tensor(start), requires_grad=learn_scale)
        if variant == "B":
            self.g = torch.nn.ModuleList(project(d_prompt, bias=True) for _ in range(k))
        else:
            p = torch.randn(k, q if mixing == "direct" else d, generator=generator)
            self.prototypes = torch.nn.Parameter(normalize(p, dim=1))

    @property
    def scale(self) -> Tensor:
        """exp(log_scale), at most 100."""
        return torch.exp(torch.clamp(self.log_scale, max=LOUDEST))

    def ideals(self, w: Tensor) -> Tensor:
        """[..., q] ideal points of simplex weights w [..., K] (A)."""
        if self.mixing == "after":
            return w @ self.f(self.prototypes)
        return w @ self.prototypes if self.mixing == "direct" else self.f(w @ self.prototypes)

    def directions(self, prompts: Tensor) -> Tensor:
        """[n, K, q] what each prototype wants at prompts [n, d_prompt] (B)."""
        return torch.stack([g(prompts) for g in self.g], dim=1)

    def around(self, y: Tensor, a: Tensor) -> Tensor:
        """[n] utilities of projected responses y [n, q] around ideals a [n, q]."""
        if self.variant == "B":
            return self.scale * (normalize(y, dim=-1) * normalize(a, dim=-1)).sum(-1)
        square = ((y - a) ** 2).sum(-1)
        return -self.scale * (square if self.distance == "square" else torch.sqrt(square + 1e-12))

    # ------------------------------------------------------------------ float64 arrays in, arrays out

    @torch.no_grad()
    def project(self, x: np.ndarray) -> np.ndarray:
        """float64 [n, q] projected responses of x [n, d]; unit vectors in variant B (NaN: no direction)."""
        y = self.f(torch.as_tensor(x, dtype=torch.float64)).numpy()
        return y if self.variant == "A" else unit(y)

    @torch.no_grad()
    def wanted(self, prompts: np.ndarray) -> np.ndarray:
        """float64 [n, K, q] :meth:`directions` as an array."""
        return self.directions(torch.as_tensor(prompts, dtype=torch.float64)).numpy()

    @torch.no_grad()
    def ideal_points(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(ideal points [u, q], their derivatives by the weights [u, q, K]) of w [u, K] (A)."""
        weights = torch.as_tensor(w, dtype=torch.float64)
        if self.mixing == "before":
            point, slope = self.f.push(weights @ self.prototypes, self.prototypes.T)
            return point.numpy(), slope.expand(len(w), -1, -1).numpy()
        places = self.f(self.prototypes) if self.mixing == "after" else self.prototypes
        return (weights @ places).numpy(), places.T.expand(len(w), -1, -1).numpy()


def unit(y: np.ndarray) -> np.ndarray:
    """Rows of y [..., q] at length 1; NaN where a row has no direction."""
    length = np.linalg.norm(y, axis=-1, keepdims=True)
    return np.where(length > ZERO, y / np.maximum(length, ZERO), np.nan)

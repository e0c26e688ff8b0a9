"""Training the geometry of ideal points: projectors, prototypes and everybody's weights, from all comparisons at once.

A comparison's loss is logistic or hinge in the difference of the two utilities around its person's ideal; AdamW moves
prototypes, weights and scale faster than projectors, and a tenth of the comparisons says when to stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from torch import Tensor
from torch.nn.functional import relu, softplus

from guerdon.errors import ConfigError
from guerdon.feedback.star import Pairs
from guerdon.reward.learned.networks import Schedule, train
from guerdon.reward.personal.ideal_geometry import Geometry
from guerdon.reward.personal.ideal_weights import Placed

WIDEST = 64
"""Most dimensions of preference space where nothing is said."""

EPOCH = 100
"""Most batches of an epoch; where there is more, each epoch sees another part."""


@dataclass(frozen=True)
class Points:
    """Candidates as features, of unit variance each.

    x        float64 [n, d] of responses, or [n, P, d] of P tokens each
    prompts  float64 [n, d_prompt] of their prompts (variant B), or None
    share    float64 [P] what each token counts, or None where a response is one point
    """

    x: np.ndarray
    prompts: np.ndarray | None = None
    share: np.ndarray | None = None

    def placed(self, geometry: Geometry) -> Placed:
        """The candidates in preference space."""
        return Placed.of(geometry, self.x, self.prompts, self.share)


@dataclass(frozen=True)
class Trained:
    """A geometry, the logits [u, K] of the people it was trained on, in order of their codes, and the lowest loss."""

    loss: float
    geometry: Geometry
    logits: np.ndarray

    def mean(self, temperature: float) -> np.ndarray:
        """float64 [K] logits of the mean weights of these people."""
        return temperature * np.log(softmax(self.logits / temperature, axis=1).mean(0))


def fit_geometry(
    points: Points, pairs: Pairs, k: int, settings: Mapping[str, Any], seed: int, progress: bool = False
) -> Trained:
    """Train k prototypes on ``pairs`` of the candidates ``points`` from one random start."""
    s = settings
    geometry = _start(points, k, s, seed)
    codes = np.unique(pairs.user)
    logits = torch.randn(len(codes), k, generator=torch.Generator().manual_seed(seed + 1)).requires_grad_()
    loss = _Objective(geometry, logits, points, pairs, s)
    order = np.random.default_rng(s["seed"]).permutation(len(pairs))
    aside, fitting = np.split(order, [len(pairs) // 10 if len(pairs) >= 100 else 0])
    most, draw = min(len(fitting), EPOCH * s["batch"]), np.random.default_rng(seed + 2)

    def held() -> float:
        geometry.eval()
        value = float(loss(aside))
        geometry.train()
        return value

    bodies = [p for p in geometry.parameters() if p.requires_grad]
    own = {id(p) for p in bodies if p is geometry.log_scale or p is getattr(geometry, "prototypes", None)}
    faster = s["learning_rate_people"] / s["learning_rate"]
    course = train(
        [*bodies, logits],
        lambda rows: loss(fitting[rows]),
        most,
        Schedule(s["learning_rate"], s["weight_decay"], s["epochs"], s["batch"], 6, seed=seed),
        held=held if len(aside) else None,
        admitted=(lambda epoch: draw.choice(len(fitting), most, replace=False)) if most < len(fitting) else None,
        rates=[*(faster if id(p) in own else 1.0 for p in bodies), faster],
        progress=progress,
    )
    return Trained(min(course.losses), geometry.eval().double(), logits.detach().double().numpy())


def _start(points: Points, k: int, s: Mapping[str, Any], seed: int) -> Geometry:
    d = points.x.shape[-1]
    width = min(d, WIDEST) if s["width"] == "auto" else int(s["width"])
    if s["residual"] and width != d:
        raise ConfigError(f"residual=True needs width={d}, the number of features, not {width}")
    return Geometry(
        s["variant"],
        d,
        k,
        width,
        d_prompt=0 if points.prompts is None else points.prompts.shape[1],
        projector=s["projector"],
        residual=s["residual"],
        dropout=s["dropout"],
        mixing=s["mixing"],
        distance=s["distance"],
        learn_scale=s["variant"] == "B" or s["loss"] == "logistic",
        seed=seed,
    )


class _Objective:
    """The mean loss of some of ``pairs``, differentiable in the geometry and in the people's logits [u, K]."""

    def __init__(
        self, geometry: Geometry, logits: Tensor, points: Points, pairs: Pairs, settings: Mapping[str, Any]
    ) -> None:
        self.geometry, self.logits, self.pairs, self.settings = geometry, logits, pairs, settings
        self.person = np.unique(pairs.user, return_inverse=True)[1]
        self.x, self.p = _single(points.x), _single(pairs.p)
        self.weight = _single(pairs.weight / pairs.weight.mean())
        self.prompts = None if points.prompts is None else _single(points.prompts)
        self.share = None if points.share is None else _single(points.share)

    def __call__(self, rows: np.ndarray) -> Tensor:
        s, pairs = self.settings, self.pairs
        w = torch.softmax(self.logits[self.person[rows]] / s["temperature"], dim=1)
        if self.prompts is None:
            ideal = self.geometry.ideals(w)
        else:
            ideal = torch.einsum("nk,nkq->nq", w, self.geometry.directions(self.prompts[pairs.a[rows]]))
        delta, p = self._utility(pairs.a[rows], ideal) - self._utility(pairs.b[rows], ideal), self.p[rows]
        if s["loss"] == "logistic":
            each = softplus(-delta) + (1 - p) * delta
        else:
            each = p * relu(1 - delta) + (1 - p) * relu(1 + delta)
        if s["bound"] is not None and self.prompts is None:
            each = each + relu(ideal.norm(dim=1) - s["bound"])
        return (self.weight[rows] * each).mean()

    def _utility(self, side: np.ndarray, ideal: Tensor) -> Tensor:
        y = self.geometry.f(self.x[side])
        if self.share is None:
            return self.geometry.around(y, ideal)
        return self.geometry.around(y, ideal[:, None]) @ self.share


def _single(values: np.ndarray) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32)


def calibrate(placed: Placed, pairs: Pairs, trained: Trained, settings: Mapping[str, Any]) -> float:
    """The factor that turns hinge scores into log-odds; 1 for scores that are log-odds already."""
    if settings["loss"] == "logistic":
        return 1.0
    person = np.unique(pairs.user, return_inverse=True)[1]
    delta = placed.differences(pairs, person)(softmax(trained.logits / settings["temperature"], axis=1))[0]

    def nll(log_c: float) -> float:
        t = np.exp(log_c) * delta
        return float(np.mean(np.logaddexp(0, -t) + (1 - pairs.p) * t))

    found: Any = minimize_scalar(nll, bounds=(-6, 6), method="bounded")
    return float(np.exp(found.x))

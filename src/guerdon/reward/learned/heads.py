"""Heads: features [C, d] to utilities [C], fitted by the gradient a likelihood gives with respect to utilities.

A head has ``fit(x, likelihood, validation) -> theta``, ``__call__(x) -> u`` and its arrays. The linear head is convex
with every likelihood here and is solved by full-batch L-BFGS to convergence; the MLP by AdamW with early stopping.
To add a head: write a class with these four methods and list it in ``HEADS``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy.optimize import minimize

from guerdon.errors import ConfigError
from guerdon.reward.learned.likelihood import Likelihood

if TYPE_CHECKING:
    from guerdon.reward.learned.regularizers import Consistency


class Head(Protocol):
    """What RewardModel needs of a head."""

    def fit(self, x: np.ndarray, data: Likelihood, held: Likelihood | None, *, progress: bool) -> np.ndarray:
        """Fit on features x [C, d]; ``held`` guides automatic choices. Returns the likelihood's own parameters.

        A head may also take ``consistency: Consistency | None``, a penalty on scores of rewordings that differ (of the
        candidates that ``data`` learns from); it is given only where there is one.
        """
        ...

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """float64 [n] utilities of features x [n, d]."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Learned arrays by name."""
        ...

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take learned arrays back."""
        ...


L2_GRID = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)


class LinearHead:
    """u = x . w with a ridge penalty ``l2 / 2 |w|^2`` beside the mean loss; ``l2="auto"`` is chosen on held-out data.

    ``pull`` is a reference direction [d]: the penalty is then on w - pull (regularisation towards a known reward).
    """

    def __init__(self, *, l2: float | str = "auto", pull: np.ndarray | None = None) -> None:
        if l2 != "auto" and not (isinstance(l2, int | float) and l2 >= 0):
            raise ConfigError(f"l2={l2!r}: use a number >= 0 or 'auto'")
        self.l2 = l2
        self.pull = pull
        self.chosen_l2 = float("nan")
        self.weight = np.zeros(0)

    def fit(
        self,
        x: np.ndarray,
        data: Likelihood,
        held: Likelihood | None,
        *,
        progress: bool = False,
        consistency: Consistency | None = None,
    ) -> np.ndarray:
        grid = L2_GRID if self.l2 == "auto" and held is not None else (1e-3 if self.l2 == "auto" else float(self.l2),)
        # strongest penalty first: each solution starts the next, and the path can stop when held-out loss turns up
        best, best_loss, start, worse = None, np.inf, None, 0
        for l2 in sorted(grid, reverse=True):
            start = self._solve(x, data, l2, start, consistency)
            loss = held(x @ start[0], start[1])[0] if held is not None and len(grid) > 1 else 0.0
            if best is None or loss < best_loss:
                best, best_loss, self.chosen_l2, worse = start, loss, l2, 0
            elif loss > best_loss + 1e-4:
                worse += 1
                if worse == 2:
                    break
        assert best is not None
        self.weight = best[0]
        return best[1]

    def _solve(
        self,
        x: np.ndarray,
        data: Likelihood,
        l2: float,
        start: tuple[np.ndarray, np.ndarray] | None,
        consistency: Consistency | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        d = x.shape[1]
        pull = np.zeros(d) if self.pull is None else self.pull

        def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
            w, theta = z[:d], z[d:]
            u = x @ w
            loss, du, dtheta = data(u, theta)
            off = w - pull
            grad = x.T @ du + l2 * off
            if consistency is not None:
                more, here, there = consistency.gradients(u[consistency.rows], consistency.again @ w)
                loss, grad = loss + more, grad + x[consistency.rows].T @ here + consistency.again.T @ there
            return float(loss + 0.5 * l2 * off @ off), np.concatenate([grad, dtheta])

        z0 = np.concatenate([pull, data.theta0] if start is None else list(start))
        result = minimize(objective, z0, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-9})
        return result.x[:d], result.x[d:]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x @ self.weight

    def arrays(self) -> dict[str, np.ndarray]:
        return {"weight": self.weight}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.weight = arrays["weight"]


ACTIVATIONS = ("gelu", "silu", "tanh", "relu", "none")
"""What may stand between the layers of the mlp head; ``none`` leaves a deep linear map."""


class MLPHead:
    """d -> hidden -> ... -> 1: linear layers with an activation and dropout between them, by AdamW on minibatches.

    ``layers`` counts linear layers: 1 is a linear head trained by gradient steps, 2 the usual one; ``hidden`` is the
    width between them, or the list of widths (which then says the number of layers). Stops early on held-out data.
    Two layers with SiLU are the head of BaseReward (2025, https://arxiv.org/abs/2509.16127).
    """

    def __init__(
        self,
        *,
        hidden: int | list[int] = 256,
        layers: int = 2,
        activation: str = "gelu",
        dropout: float = 0.1,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        epochs: int = 30,
        batch: int = 256,
        patience: int = 4,
        seed: int = 0,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ConfigError(f"activation {activation!r} is unknown; use one of {', '.join(ACTIVATIONS)}")
        if layers < 1:
            raise ConfigError(f"layers={layers}: a head has at least one layer")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout={dropout}: use a share in [0, 1)")
        self.hidden = [hidden] * (layers - 1) if isinstance(hidden, int) else list(hidden)
        if min(self.hidden, default=1) < 1:
            raise ConfigError(f"hidden={hidden}: use widths of at least 1")
        self.activation, self.dropout = activation, dropout
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.epochs, self.batch, self.patience, self.seed = epochs, batch, patience, seed
        self.layers: list[tuple[np.ndarray, np.ndarray]] = []

    def fit(
        self,
        x: np.ndarray,
        data: Likelihood,
        held: Likelihood | None,
        *,
        progress: bool = False,
        consistency: Consistency | None = None,
    ) -> np.ndarray:
        import torch

        from guerdon.reward.learned.networks import Schedule, mlp, negative_log_likelihood, train

        generator = torch.Generator().manual_seed(self.seed)
        net = mlp([x.shape[1], *self.hidden, 1], generator, activation_modules()[self.activation])
        widen = x.shape[1] ** 0.5  # networks learn faster from features of unit variance than of unit length
        features = torch.as_tensor(x * widen, dtype=torch.float32)
        theta = torch.tensor(data.theta0, dtype=torch.float64, requires_grad=True)
        again = None if consistency is None else torch.as_tensor(consistency.again * widen, dtype=torch.float32)

        def dropped(h: torch.Tensor) -> torch.Tensor:
            for module in net:
                h = module(h)
                if self.dropout and not isinstance(module, torch.nn.Linear):
                    keep = torch.rand(h.shape, generator=generator) >= self.dropout
                    h = h * keep / (1 - self.dropout)
            return h[:, 0]

        def loss(index: np.ndarray) -> torch.Tensor:
            batch = data.take(index)
            rows = touched(batch)
            value = negative_log_likelihood(dropped(features[torch.as_tensor(rows)]), theta, batch, rows, len(x))
            if consistency is None or again is None:
                return value
            at = np.flatnonzero(np.isin(consistency.rows, rows))
            here, there = features[torch.as_tensor(consistency.rows[at])], again[torch.as_tensor(at)]
            # without dropout: it is the rewording that differs
            return value + consistency.take(at).penalty(net(here)[:, 0], net(there)[:, 0])

        def held_loss() -> float:
            return (held or data)(net(features)[:, 0].double().numpy(), theta.detach().numpy())[0]

        schedule = Schedule(
            self.learning_rate,
            self.weight_decay,
            self.epochs,
            self.batch,
            self.patience if held is not None else None,
            seed=self.seed,
        )
        train([*net.parameters(), theta], loss, len(data), schedule, held=held_loss, progress=progress)
        self.layers = [
            (m.weight.detach().numpy().copy(), m.bias.detach().numpy().copy())
            for m in net
            if isinstance(m, torch.nn.Linear)
        ]
        self.layers[0] = (self.layers[0][0] * np.float32(widen), self.layers[0][1])
        return theta.detach().numpy()

    def last_hidden(self, x: np.ndarray) -> np.ndarray:
        """float32 [n, width] what the last layer reads, of features x [n, d]."""
        h = np.asarray(x, dtype=np.float32)
        for weight, bias in self.layers[:-1]:
            h = activate(self.activation, h @ weight.T + bias)
        return h

    def __call__(self, x: np.ndarray) -> np.ndarray:
        weight, bias = self.layers[-1]
        return (self.last_hidden(x) @ weight.T + bias)[:, 0].astype(np.float64)

    def arrays(self) -> dict[str, np.ndarray]:
        return {f"{kind}.{i}": a for i, pair in enumerate(self.layers) for kind, a in zip("wb", pair, strict=True)}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        n = sum(k.startswith("w.") for k in arrays)
        self.layers = [(arrays[f"w.{i}"], arrays[f"b.{i}"]) for i in range(n)]


def activation_modules() -> dict[str, Any]:
    """The activations as torch modules."""
    from torch import nn

    return dict(zip(ACTIVATIONS, (nn.GELU, nn.SiLU, nn.Tanh, nn.ReLU, nn.Identity), strict=True))


def activate(name: str, h: np.ndarray) -> np.ndarray:
    """float32, the shape of ``h``: an activation in numpy, the same as torch's, so that scoring imports no torch."""
    from scipy.special import expit, ndtr

    kinds: dict[str, Any] = {
        "gelu": lambda: h * ndtr(h),  # the exact one, torch's default
        "silu": lambda: h * expit(h),
        "tanh": lambda: np.tanh(h),
        "relu": lambda: np.maximum(h, 0),
        "none": lambda: h,
    }
    return kinds[name]().astype(np.float32)


def touched(data: Likelihood) -> np.ndarray:
    """Indices of the candidates a compiled likelihood reads, ascending."""
    return np.unique(data.members()[0])


HEADS: dict[str, type] = {"linear": LinearHead, "mlp": MLPHead}

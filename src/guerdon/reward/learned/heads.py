"""Heads: features [C, d] to utilities [C], fitted by the gradient a likelihood gives with respect to utilities.

A head has ``fit(x, likelihood, validation) -> theta``, ``__call__(x) -> u`` and its arrays. The linear head is convex
with every likelihood here and is solved by full-batch L-BFGS to convergence; the MLP by AdamW with early stopping.
To add a head: write a class with these four methods and list it in ``HEADS``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from scipy.optimize import minimize

from guerdon.errors import ConfigError
from guerdon.reward.learned.likelihood import Likelihood


class Head(Protocol):
    """What RewardModel needs of a head."""

    def fit(self, x: np.ndarray, data: Likelihood, held: Likelihood | None, *, progress: bool) -> np.ndarray:
        """Fit on features x [C, d]; ``held`` guides automatic choices. Returns the likelihood's own parameters."""
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

    def fit(self, x: np.ndarray, data: Likelihood, held: Likelihood | None, *, progress: bool = False) -> np.ndarray:
        grid = L2_GRID if self.l2 == "auto" and held is not None else (1e-3 if self.l2 == "auto" else float(self.l2),)
        # strongest penalty first: each solution starts the next, and the path can stop when held-out loss turns up
        best, best_loss, start, worse = None, np.inf, None, 0
        for l2 in sorted(grid, reverse=True):
            start = self._solve(x, data, l2, start)
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
        self, x: np.ndarray, data: Likelihood, l2: float, start: tuple[np.ndarray, np.ndarray] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        d = x.shape[1]
        pull = np.zeros(d) if self.pull is None else self.pull

        def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
            w, theta = z[:d], z[d:]
            loss, du, dtheta = data(x @ w, theta)
            off = w - pull
            return float(loss + 0.5 * l2 * off @ off), np.concatenate([x.T @ du + l2 * off, dtheta])

        z0 = np.concatenate([pull, data.theta0] if start is None else list(start))
        result = minimize(objective, z0, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-9})
        return result.x[:d], result.x[d:]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x @ self.weight

    def arrays(self) -> dict[str, np.ndarray]:
        return {"weight": self.weight}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.weight = arrays["weight"]


class MLPHead:
    """d -> hidden -> ... -> 1 with GELU and dropout, AdamW on minibatches, early stopping on held-out data."""

    def __init__(
        self,
        *,
        hidden: int | list[int] = 256,
        dropout: float = 0.1,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        epochs: int = 30,
        batch: int = 256,
        patience: int = 4,
        seed: int = 0,
    ) -> None:
        self.hidden = [hidden] if isinstance(hidden, int) else list(hidden)
        self.dropout, self.learning_rate, self.weight_decay = dropout, learning_rate, weight_decay
        self.epochs, self.batch, self.patience, self.seed = epochs, batch, patience, seed
        self.layers: list[tuple[np.ndarray, np.ndarray]] = []

    def fit(self, x: np.ndarray, data: Likelihood, held: Likelihood | None, *, progress: bool = False) -> np.ndarray:
        import torch
        from torch import nn

        from guerdon.reward.learned.networks import Schedule, negative_log_likelihood, train

        generator = torch.Generator().manual_seed(self.seed)
        net = nn.Sequential()
        for i, (m, n) in enumerate(pairwise([x.shape[1], *self.hidden, 1])):
            layer = nn.Linear(m, n)
            with torch.no_grad():  # seeded without touching the global generator
                layer.weight.uniform_(-(m**-0.5), m**-0.5, generator=generator)
                layer.bias.zero_()
            net.append(layer)
            if i < len(self.hidden):
                net.append(nn.GELU())
        features = torch.as_tensor(x, dtype=torch.float32)
        theta = torch.tensor(data.theta0, dtype=torch.float64, requires_grad=True)

        def loss(index: np.ndarray) -> torch.Tensor:
            batch = data.take(index)
            rows = touched(batch)
            h = features[torch.as_tensor(rows)]
            for module in net:
                h = module(h)
                if self.dropout and isinstance(module, nn.GELU):
                    keep = torch.rand(h.shape, generator=generator) >= self.dropout
                    h = h * keep / (1 - self.dropout)
            return negative_log_likelihood(h[:, 0], theta, batch, rows, len(x))

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
        self.layers = self._layers(net)
        return theta.detach().numpy()

    @staticmethod
    def _layers(net: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(m.weight.detach().numpy().copy(), m.bias.detach().numpy().copy()) for m in net if hasattr(m, "weight")]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        from scipy.special import ndtr

        h = np.asarray(x, dtype=np.float32)
        for weight, bias in self.layers[:-1]:
            h = h @ weight.T + bias
            h = (h * ndtr(h)).astype(np.float32)  # exact GELU, as torch's default
        weight, bias = self.layers[-1]
        return (h @ weight.T + bias)[:, 0].astype(np.float64)

    def arrays(self) -> dict[str, np.ndarray]:
        return {f"{kind}.{i}": a for i, pair in enumerate(self.layers) for kind, a in zip("wb", pair, strict=True)}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        n = sum(k.startswith("w.") for k in arrays)
        self.layers = [(arrays[f"w.{i}"], arrays[f"b.{i}"]) for i in range(n)]


def touched(data: Any) -> np.ndarray:
    """Indices of the candidates a compiled likelihood reads, ascending."""
    if hasattr(data, "pairs"):
        return np.unique(np.concatenate([data.pairs.a, data.pairs.b]))
    if hasattr(data, "items"):
        return np.unique(np.concatenate([i.ravel() for i in data.items]))
    return np.unique(data.item)


HEADS: dict[str, type] = {"linear": LinearHead, "mlp": MLPHead}

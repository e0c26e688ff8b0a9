"""How features of a response and of a context become one number: bilinear, FiLM, concatenation, or low-rank.

Every fusion is fitted to a compiled likelihood over s situations (a candidate under a context): f [C, d] are features
of candidates, c [Z, e] of contexts, ``at`` says which of them a situation is, ``base`` [s] is a reward that is there
already. ``fit`` returns its loss on the held-out part (on the training part where nothing is held out).

Reference: Perez et al. 2017, FiLM, https://arxiv.org/abs/1709.07871; Tenenbaum & Freeman 2000 (bilinear models).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import coo_array
from scipy.special import ndtr

from guerdon.reward.learned.heads import L2_GRID, touched
from guerdon.reward.learned.likelihood import Likelihood

RANK = 64
"""Most directions of the contexts that bilinear reads: the principal ones."""
GRID = tuple(l2 for l2 in L2_GRID if l2 <= 0.1)

Places = tuple[np.ndarray, np.ndarray]
"""(candidate, context) of each situation, int [s]; only situations with a context (>= 0) are looked at."""


class Fusion(Protocol):
    """What a context reward needs of a fusion."""

    name: str

    def fit(
        self,
        f: np.ndarray,
        c: np.ndarray,
        at: Places,
        base: np.ndarray,
        data: Likelihood,
        held: Likelihood | None,
        *,
        progress: bool,
    ) -> float:
        """Fit; returns the mean loss of ``held`` (of ``data`` where there is none)."""
        ...

    def refit(self, f: np.ndarray, c: np.ndarray, at: Places, base: np.ndarray, data: Likelihood) -> None:
        """Learn from all data with what was chosen on held-out data, where that is possible."""
        ...

    def __call__(self, f: np.ndarray, c: np.ndarray) -> np.ndarray:
        """float64 [n] of features f [n, d] and context features c [n, e]."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Learned arrays by name."""
        ...

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take learned arrays back."""
        ...


class Bilinear:
    """f . (w + W c) with a ridge penalty, convex; c is first turned into its principal directions.

    Candidates are few beside situations, so f W is computed once a candidate, and looked up by situation.
    """

    name = "bilinear"

    def __init__(self, *, l2: float | str = "auto") -> None:
        self.l2 = l2
        self.chosen_l2 = float("nan")
        self.directions = np.zeros((0, 0))
        self.weight = np.zeros((0, 0))
        """[d, 1 + k] of f by (1, k directions of c)"""

    def fit(
        self,
        f: np.ndarray,
        c: np.ndarray,
        at: Places,
        base: np.ndarray,
        data: Likelihood,
        held: Likelihood | None,
        *,
        progress: bool = False,
    ) -> float:
        known = c[np.unique(at[1][touched(data)])]
        _, size, span = np.linalg.svd(known, full_matrices=False)
        keep = size > 1e-8 * max(float(size.max(initial=0)), 1e-12)
        # the ridge penalty weighs contexts alike whatever the scale of their encoder: a norm of about 1
        self.directions = span[keep][:RANK].T * (np.sqrt(len(known)) / max(float(np.sqrt((size**2).sum())), 1e-12))
        grid = GRID if self.l2 == "auto" and held is not None else (1e-3 if self.l2 == "auto" else float(self.l2),)
        best, start, best_loss, worse = None, None, np.inf, 0
        for l2 in sorted(grid, reverse=True):
            start = self._solve(f, c, at, base, data, l2, start)
            u = base + ((f @ start)[at[0]] * self._lifted(c)[at[1]]).sum(1)
            loss = (held or data)(u, data.theta0)[0]
            if loss < best_loss:
                best, best_loss, self.chosen_l2, worse = start, loss, l2, 0
            else:
                worse += 1
                if worse == 2:
                    break
        assert best is not None
        self.weight = best
        return float(best_loss)

    def refit(self, f: np.ndarray, c: np.ndarray, at: Places, base: np.ndarray, data: Likelihood) -> None:
        self.weight = self._solve(f, c, at, base, data, self.chosen_l2, self.weight)

    def _solve(
        self,
        f: np.ndarray,
        c: np.ndarray,
        at: Places,
        base: np.ndarray,
        data: Likelihood,
        l2: float,
        start: np.ndarray | None,
    ) -> np.ndarray:
        z = self._lifted(c)
        shape = (f.shape[1], z.shape[1])
        rows = touched(data)
        item, context = at[0][rows], at[1][rows]
        used, place = np.unique(item, return_inverse=True)
        features = f[used]

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            w = flat.reshape(shape)
            u = base.copy()
            u[rows] += ((features @ w)[place] * z[context]).sum(1)
            loss, du, _ = data(u, data.theta0)
            spread = coo_array((du[rows], (place, context)), shape=(len(used), len(z)))
            return float(loss + 0.5 * l2 * flat @ flat), (features.T @ (spread @ z) + l2 * w).ravel()

        first = np.zeros(shape[0] * shape[1]) if start is None else start.ravel()
        found = minimize(objective, first, jac=True, method="L-BFGS-B", options={"maxiter": 200, "ftol": 1e-8})
        return found.x.reshape(shape)

    def _lifted(self, c: np.ndarray) -> np.ndarray:
        return np.hstack([np.ones((len(c), 1)), c @ self.directions])

    def __call__(self, f: np.ndarray, c: np.ndarray) -> np.ndarray:
        return np.einsum("sk,sk->s", f @ self.weight, self._lifted(c))

    def arrays(self) -> dict[str, np.ndarray]:
        return {"weight": self.weight, "directions": self.directions}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.weight, self.directions = arrays["weight"], arrays["directions"]


class _Network:
    """A fusion trained by the loop of small networks; subclasses say the shapes and how numbers flow."""

    name = ""

    def __init__(
        self,
        *,
        hidden: int = 64,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-2,
        epochs: int = 30,
        batch: int = 128,
        seed: int = 0,
    ) -> None:
        self.hidden, self.epochs, self.batch, self.seed = hidden, epochs, batch, seed
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.scale = np.ones(2)
        self.weights: dict[str, np.ndarray] = {}

    def shapes(self, d: int, e: int) -> dict[str, tuple[int, ...]]:
        """Parameters by name: matrices start uniform in +-1/sqrt(rows), vectors and ``last`` at zero."""
        raise TypeError(f"{type(self).__name__} does not implement shapes")

    def flow(self, f: Any, c: Any, w: Any, gelu: Any) -> Any:
        """[n] outputs, of arrays or tensors alike."""
        raise TypeError(f"{type(self).__name__} does not implement flow")

    def fit(
        self,
        f: np.ndarray,
        c: np.ndarray,
        at: Places,
        base: np.ndarray,
        data: Likelihood,
        held: Likelihood | None,
        *,
        progress: bool = False,
    ) -> float:
        import torch

        from guerdon.reward.learned.networks import Schedule, negative_log_likelihood, train

        item, context = (torch.from_numpy(np.maximum(a, 0).astype(np.int64)) for a in at)
        mine = touched(data)
        # scaled features have a norm of about 1; networks like entries of about 1
        self.scale = np.array(
            [1 / max(float(a[np.unique(k[mine])].std()), 1e-6) for a, k in zip((f, c), at, strict=True)]
        )
        generator = torch.Generator().manual_seed(self.seed)
        parameters: dict[str, torch.Tensor] = {}
        for name, shape in self.shapes(f.shape[1], c.shape[1]).items():
            tensor = torch.zeros(shape)
            if len(shape) == 2 and name != "last":
                tensor.uniform_(-(shape[0] ** -0.5), shape[0] ** -0.5, generator=generator)
            parameters[name] = tensor.requires_grad_()
        features, contexts = (
            torch.as_tensor(a * k, dtype=torch.float32) for a, k in zip((f, c), self.scale, strict=True)
        )
        before, theta = torch.as_tensor(base, dtype=torch.float32), torch.tensor(data.theta0, dtype=torch.float64)
        theta.requires_grad_()
        gelu = torch.nn.functional.gelu

        def loss(index: np.ndarray) -> torch.Tensor:
            part = data.take(index)
            rows = touched(part)
            return negative_log_likelihood(forward(rows), theta, part, rows, len(base))

        def forward(rows: np.ndarray) -> torch.Tensor:
            which = torch.from_numpy(rows.astype(np.int64))
            out = self.flow(features[item[which]], contexts[context[which]], parameters, gelu)
            return before[which] + out

        judged = touched(held or data)

        def held_loss() -> float:
            u = np.array(base)
            u[judged] = forward(judged).double().numpy()
            return (held or data)(u, theta.detach().numpy())[0]

        patience = None if held is None else 5
        batch = min(self.batch, max(8, len(data) // 16))  # few data still make sixteen steps an epoch
        schedule = Schedule(self.learning_rate, self.weight_decay, self.epochs, batch, patience, seed=self.seed)
        course = train([*parameters.values(), theta], loss, len(data), schedule, held=held_loss, progress=progress)
        self.weights = {name: p.detach().numpy().copy() for name, p in parameters.items()}
        return float(min(course.losses))

    def refit(self, f: np.ndarray, c: np.ndarray, at: Places, base: np.ndarray, data: Likelihood) -> None:
        """Nothing: a network needs its held-out part to know when to stop."""

    def __call__(self, f: np.ndarray, c: np.ndarray) -> np.ndarray:
        def gelu(h: np.ndarray) -> np.ndarray:
            return h * ndtr(h)

        return self.flow(f * self.scale[0], c * self.scale[1], self.weights, gelu)

    def arrays(self) -> dict[str, np.ndarray]:
        return {**self.weights, "scale": self.scale}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.scale = arrays["scale"]
        self.weights = {k: v for k, v in arrays.items() if k != "scale"}


class FiLM(_Network):
    """v . gelu((1 + G c + g) * (A f) + B c + b): the context scales and shifts hidden features."""

    name = "film"

    def shapes(self, d: int, e: int) -> dict[str, tuple[int, ...]]:
        h = self.hidden
        return {"a": (d, h), "gain": (e, h), "shift": (e, h), "g": (h,), "b": (h,), "last": (h, 1)}

    def flow(self, f: Any, c: Any, w: Any, gelu: Any) -> Any:
        hidden = (1 + c @ w["gain"] + w["g"]) * (f @ w["a"]) + c @ w["shift"] + w["b"]
        return (gelu(hidden) @ w["last"])[:, 0]


class Concat(_Network):
    """mlp([f, c]) with one hidden layer of twice the width."""

    name = "concat"

    def shapes(self, d: int, e: int) -> dict[str, tuple[int, ...]]:
        h = 2 * self.hidden
        return {"f": (d, h), "c": (e, h), "b": (h,), "inner": (h, h), "bb": (h,), "last": (h, 1)}

    def flow(self, f: Any, c: Any, w: Any, gelu: Any) -> Any:
        hidden = gelu(f @ w["f"] + c @ w["c"] + w["b"])
        return (gelu(hidden @ w["inner"] + w["bb"]) @ w["last"])[:, 0]


class LowRank(_Network):
    """(A f) . (1 + B c + b) / sqrt(width): features of any modality and contexts meet in one small space."""

    name = "low-rank"

    def shapes(self, d: int, e: int) -> dict[str, tuple[int, ...]]:
        return {"a": (d, self.hidden), "gain": (e, self.hidden), "g": (self.hidden,)}

    def flow(self, f: Any, c: Any, w: Any, gelu: Any) -> Any:
        return ((f @ w["a"]) * (1 + c @ w["gain"] + w["g"])).sum(1) / self.hidden**0.5


FUSIONS: dict[str, Any] = {"bilinear": Bilinear, "film": FiLM, "concat": Concat, "low-rank": LowRank}
AUTO = ("bilinear", "film", "concat")
"""What ``auto`` chooses from; low-rank is bilinear again, worth its restarts only where modalities share little."""

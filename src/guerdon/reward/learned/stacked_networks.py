"""Networks of one shape trained at once: stacked parameters, one vectorised pass, and each one's own best state.

One pass of the stacked networks (``torch.func``: ``stack_module_state``, ``functional_call``, ``vmap``) runs all M
members on the same batch; since their losses are summed and share no parameter, each learns as if it were alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from guerdon.reward.learned.likelihood import BradleyTerry
from guerdon.reward.learned.networks import mlp


class StackedNetworks:
    """M networks of one score each, ``widths`` [d, ..., 1], a seed a member; ``state`` is what is trained."""

    def __init__(self, widths: Sequence[int], activation: Callable[[], torch.nn.Module], seeds: Sequence[int]) -> None:
        nets = [mlp(widths, torch.Generator().manual_seed(seed), activation) for seed in seeds]
        self._net = nets[0]
        stacked, _ = torch.func.stack_module_state(nets)  # type: ignore[arg-type]
        self._shapes = {name: value.shape for name, value in stacked.items()}
        # vectors stay vectors, stacked too: the optimizer decays matrices only
        self.state = {
            name: (value if value.ndim > 2 else value.reshape(-1)).detach().clone().requires_grad_()
            for name, value in stacked.items()
        }
        self._run = torch.func.vmap(self._one, in_dims=(0, None))

    def _one(self, parameters: dict[str, Tensor], features: Tensor) -> Tensor:
        return torch.func.functional_call(self._net, parameters, (features,))[:, 0]

    def members(self) -> dict[str, Tensor]:
        """The parameters [M, ...] by name, as they are now."""
        return {name: value.view(self._shapes[name]) for name, value in self.state.items()}

    def __call__(self, features: Tensor) -> Tensor:
        """float32 [M, n] scores of features [n, d]."""
        return self._run(self.members(), features)

    def losses(self, features: Tensor, of: BradleyTerry, rows: np.ndarray | slice, weight: Tensor) -> Tensor:
        """[M] each member's mean Bradley-Terry loss on the comparisons ``rows``, which count by ``weight`` [M, n]."""
        q = of.pairs.take(rows)  # type: ignore[arg-type]
        items, place = np.unique(np.concatenate([q.a, q.b]), return_inverse=True)
        a, b = (torch.as_tensor(part) for part in np.split(place, 2))
        p = torch.as_tensor(q.p, dtype=torch.float32)
        u = self(features[torch.as_tensor(items)])
        gap = u[:, a] - u[:, b]
        if of.margin:
            gap = gap - torch.as_tensor(of.margin * q.strength * np.sign(2 * q.p - 1), dtype=torch.float32)
        loss = torch.nn.functional.softplus(-gap) + (1 - p) * gap
        return (weight[:, rows] * loss).sum(1) / weight[:, rows].sum(1).clamp(min=1e-12)


class BestOfEach:
    """The best state of every member by its own loss; one that has not improved for ``patience`` looks has ended.

    With ``patience`` None every look is taken: the last state stays.
    """

    def __init__(self, networks: StackedNetworks, patience: int | None) -> None:
        self.networks, self.patience = networks, patience
        self.state = {name: value.detach().clone() for name, value in networks.members().items()}
        count = len(next(iter(self.state.values())))
        self.lowest, self._waited = np.full(count, np.inf), np.zeros(count, dtype=int)

    def look(self, losses: np.ndarray) -> float:
        """Take note of the members' present losses [M]; the mean of the lowest so far."""
        better = np.ones(len(losses), dtype=bool)
        if self.patience is not None:
            better = (self._waited < self.patience) & (losses < self.lowest - 1e-5)
        self._waited = np.where(better, 0, self._waited + 1)
        self.lowest[better] = losses[better]
        which = torch.as_tensor(better)
        for name, value in self.networks.members().items():
            self.state[name][which] = value.detach()[which]
        return float(self.lowest.mean())

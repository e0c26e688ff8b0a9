"""What changes while a transformer is fine-tuned: its parameters, the optimizer, and the best state so far.

AdamW (no decay of vectors, the head at its own rate), linear warm-up and decay to zero, clipped gradients. A step whose
scores or gradients are not finite is skipped. The state after any step can be stored and taken up again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.errors import ModelError
from guerdon.reward.learned.checkpoints import moments, restore_moments

MOST_BAD_STEPS = 3


@dataclass(frozen=True)
class Recipe:
    """The knobs of the loop; ``learning_rate`` of the body, ``head_learning_rate`` of the head."""

    learning_rate: float
    head_learning_rate: float
    weight_decay: float
    epochs: float
    batch: int
    batch_tokens: int
    warmup: float
    center: float
    patience: int
    looks: int
    seed: int
    clip: float = 1.0
    pull: float = 0.0
    checkpoint: str | None = None
    steps: int | None = None
    """steps in the place of epochs"""


@dataclass
class History:
    """What happened: held-out loss by step (step 0 is the start), the steps taken and skipped, the tokens run."""

    held: list[tuple[int, float]] = field(default_factory=list)
    steps: int = 0
    skipped: int = 0
    tokens: int = 0
    padded_tokens: int = 0


class TrainingState:
    """A run of ``total`` steps over ``parameters`` (name, tensor, whether it belongs to the head), theta and AdamW."""

    def __init__(
        self,
        parameters: Sequence[tuple[str, torch.nn.Parameter, bool]],
        theta0: np.ndarray,
        recipe: Recipe,
        total: int,
    ) -> None:
        self.recipe, self.total = recipe, total
        self.tensors = {name: p for name, p, _ in parameters}
        self.theta = torch.tensor(theta0, dtype=torch.float64, requires_grad=True)
        self.optimizer = torch.optim.AdamW(_groups(parameters, self.theta, recipe))
        self.anchors = {name: p.detach().clone() for name, p, head in parameters if head} if recipe.pull else {}
        self.history = History()
        self.best: dict[str, Tensor] | None = None
        self.best_loss, self.stale, self._bad = math.inf, 0, 0

    def begin_step(self) -> None:
        """Set the learning rates and forget the gradients of the step before."""
        share = _rise_and_fall(self.history.steps, self.total, self.recipe.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        self.optimizer.zero_grad(set_to_none=True)

    def end_step(self, finite: bool) -> None:
        """Step along the gradients; skip the step where they, or (``finite`` False) the scores, are no numbers.

        Raises
        ------
        ModelError
            if that happens several steps in a row
        """
        for name, anchor in self.anchors.items():
            grad = self.tensors[name].grad
            if grad is not None:
                grad.add_(self.tensors[name].detach() - anchor, alpha=self.recipe.pull)
        norm = float(torch.nn.utils.clip_grad_norm_(self.tensors.values(), self.recipe.clip))
        self.history.steps += 1
        if finite and math.isfinite(norm):
            self.optimizer.step()
            self._bad = 0
            return
        self.history.skipped, self._bad = self.history.skipped + 1, self._bad + 1
        if self._bad == MOST_BAD_STEPS:
            raise ModelError(
                f"training diverged: {self._bad} steps in a row without finite scores and gradients; lower "
                f"learning_rate (now {self.recipe.learning_rate:g})"
            )

    def look(self, held_loss: float) -> None:
        """Take note of the present held-out loss, and of the state where it is the best so far."""
        self.history.held.append((self.history.steps, held_loss))
        self.stale += 1
        if self.best is None or held_loss < self.best_loss - 1e-5:
            self.best = {name: p.detach().clone() for name, p in self.tensors.items()}
            self.best_loss, self.stale = held_loss, 0

    def end_in_best(self) -> None:
        """Go back to the state of the lowest held-out loss; nothing where none was measured."""
        if self.best is not None:
            self._take(self.best)

    def stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """(tensors, the rest as JSON) for :class:`~guerdon.reward.learned.checkpoints.Checkpoint`."""
        tensors: dict[str, Tensor] = {f"now.{name}": p for name, p in self.tensors.items()}
        tensors |= {"theta": self.theta} | moments(self.optimizer)
        tensors |= {f"best.{name}": p for name, p in (self.best or {}).items()}
        return tensors, {"best_loss": self.best_loss, "stale": self.stale, "history": asdict(self.history)}

    def restore(self, tensors: dict[str, Tensor], about: Mapping[str, Any]) -> None:
        """Take :meth:`stored` back."""
        self._take({name: tensors[f"now.{name}"] for name in self.tensors})
        with torch.no_grad():
            self.theta.copy_(tensors["theta"])
        restore_moments(self.optimizer, tensors)
        best = {name.removeprefix("best."): p for name, p in tensors.items() if name.startswith("best.")}
        self.best, self.best_loss, self.stale = best or None, about["best_loss"], about["stale"]
        history = about["history"]
        self.history = History(**{**history, "held": [(step, loss) for step, loss in history["held"]]})

    def _take(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                tensor.copy_(values[name])


def _groups(
    parameters: Sequence[tuple[str, torch.nn.Parameter, bool]], theta: Tensor, recipe: Recipe
) -> list[dict[str, Any]]:
    """AdamW's parameter groups: no decay of vectors, the head at its own rate."""
    groups = []
    for head in (False, True):
        for matrix in (True, False):
            chosen: list[Tensor] = [p for _, p, h in parameters if h == head and (p.ndim >= 2) == matrix]
            if head and not matrix and len(theta):
                chosen.append(theta)
            if chosen:
                rate = recipe.head_learning_rate if head else recipe.learning_rate
                groups.append(
                    {"params": chosen, "lr": rate, "peak": rate, "weight_decay": recipe.weight_decay * matrix}
                )
    return groups


def _rise_and_fall(step: int, total: int, warmup: float) -> float:
    """Share of the peak learning rate at ``step``: linear warm-up, then linear decay to zero at ``total``."""
    rise = max(1, round(warmup * total))
    return min((step + 1) / rise, (total - step) / max(1, total - rise))

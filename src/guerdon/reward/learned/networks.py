"""The training loop of small networks on cached features, and a compiled likelihood as a torch loss.

Every head that is not convex trains here: AdamW (no decay of vectors), linear decay to zero, data shuffled anew each
epoch, held-out loss after each epoch, the best state kept, an end when it has not improved for ``patience`` epochs.
All randomness comes from the given seed; torch's global generator is not touched. The loop of transformers, with
token budgets and checkpoints, is :mod:`guerdon.reward.learned.finetune`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.reward.learned.likelihood import Likelihood


@dataclass(frozen=True)
class Schedule:
    """Knobs of the loop; ``patience`` None trains all ``epochs`` and still keeps the best state where data is held."""

    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    epochs: int = 30
    batch: int = 256
    patience: int | None = 4
    decay: bool | str = True
    """whether the learning rate falls linearly to zero; ``"cosine"``: by half a cosine"""
    keep_best: bool = True
    """whether to end in the state of the lowest held-out loss; otherwise the last one"""
    seed: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay of the moments"""

    def left(self, done: float) -> float:
        """What is left of the learning rate after the share ``done`` of all steps."""
        if not self.decay:
            return 1.0
        return (1 - math.cos(math.pi * (1 - done))) / 2 if self.decay == "cosine" else 1 - done


@dataclass
class Course:
    """What happened: held-out loss after each epoch (training loss where nothing is held), and the best epoch."""

    losses: list[float] = field(default_factory=list)
    best: int = -1


class _NegativeLogLikelihood(torch.autograd.Function):
    """Carries the gradients that a compiled likelihood gives in numpy into torch."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, theta: Tensor, data: Likelihood, rows: np.ndarray, size: int) -> Tensor:
        u = np.zeros((size, *values.shape[1:]))
        u[rows] = values.detach().double().cpu().numpy()
        loss, du, dtheta = data(u, theta.detach().numpy())
        ctx.du, ctx.dtheta = torch.as_tensor(du[rows]).to(values), torch.as_tensor(dtheta)
        return values.new_tensor(loss)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0] * ctx.du, grads[0] * ctx.dtheta, None, None, None


def negative_log_likelihood(values: Tensor, theta: Tensor, data: Likelihood, rows: np.ndarray, size: int) -> Tensor:
    """Mean loss of ``data`` at utilities ``values`` [m] or [m, K] of the candidates ``rows`` of ``size``."""
    return _NegativeLogLikelihood.apply(values, theta, data, rows, size)  # type: ignore[no-any-return]


def mlp(
    widths: Sequence[int], generator: torch.Generator, activation: Callable[[], torch.nn.Module] = torch.nn.GELU
) -> torch.nn.Sequential:
    """widths[0] -> ... -> widths[-1], ``activation`` between; weights uniform in +-1/sqrt(fan in) by ``generator``."""
    net = torch.nn.Sequential()
    for i, (m, n) in enumerate(pairwise(widths)):
        layer: Any = torch.nn.utils.skip_init(torch.nn.Linear, m, n)  # torch's global generator stays untouched
        with torch.no_grad():
            layer.weight.uniform_(-(m**-0.5), m**-0.5, generator=generator)
            layer.bias.zero_()
        net.append(layer)
        if i < len(widths) - 2:
            net.append(activation())
    return net


def train(
    parameters: Sequence[Tensor],
    loss: Callable[[np.ndarray], Tensor],
    size: int,
    schedule: Schedule,
    *,
    held: Callable[[], float] | None = None,
    after_epoch: Callable[[int], None] | None = None,
    admitted: Callable[[int], np.ndarray] | None = None,
    rates: Sequence[float] | None = None,
    progress: bool = False,
) -> Course:
    """Minimise ``loss(rows)``, the mean loss of some of ``size`` data, over ``parameters`` in place.

    ``held()`` is the held-out loss in the present state; ``after_epoch(epoch)`` may look at it (training dynamics).
    ``admitted(epoch)`` gives the data that an epoch learns from (a curriculum); all of them by default.
    ``rates`` gives each parameter its own learning rate, in units of the schedule's.
    """
    rng = np.random.default_rng(schedule.seed)
    steps = max(1, -(-size // schedule.batch))
    total = schedule.epochs * steps
    optimizer = _optimizer(parameters, schedule, [1.0] * len(parameters) if rates is None else rates)
    course, best, best_loss, done = Course(), None, math.inf, 0
    with _bar(progress, schedule.epochs) as shown:
        for epoch in range(schedule.epochs):
            mean = 0.0
            data = np.arange(size) if admitted is None else admitted(epoch)
            batches = steps if admitted is None else max(1, -(-len(data) // schedule.batch))
            for rows in np.array_split(data[rng.permutation(len(data))], batches):
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * schedule.left(done / total)
                optimizer.zero_grad()
                value = loss(rows)
                value.backward()
                optimizer.step()
                done += 1
                mean += float(value.detach()) * len(rows) / len(data)
            with torch.no_grad():
                course.losses.append(held() if held is not None else mean)
            if after_epoch is not None:
                after_epoch(epoch)
            shown(epoch + 1, course.losses[-1])
            if course.losses[-1] < best_loss - 1e-5:
                best_loss, course.best = course.losses[-1], epoch
                if held is not None and schedule.keep_best:
                    best = [p.detach().clone() for p in parameters]
            elif held is not None and schedule.patience is not None and epoch - course.best >= schedule.patience:
                break
    if best is not None:
        with torch.no_grad():
            for p, value in zip(parameters, best, strict=True):
                p.copy_(value)
    return course


def _optimizer(parameters: Sequence[Tensor], schedule: Schedule, rates: Sequence[float]) -> torch.optim.AdamW:
    """AdamW without decay of vectors; ``peak`` of a group is the learning rate that it starts from."""
    groups: dict[tuple[bool, float], list[Tensor]] = {}
    for p, rate in zip(parameters, rates, strict=True):
        groups.setdefault((p.ndim >= 2, schedule.learning_rate * rate), []).append(p)
    return torch.optim.AdamW(
        [
            {
                "params": members,
                "weight_decay": schedule.weight_decay if matrices else 0.0,
                "lr": peak,
                "peak": peak,
            }
            for (matrices, peak), members in groups.items()
        ],
        betas=schedule.betas,
    )


@contextmanager
def _bar(progress: bool, epochs: int) -> Iterator[Callable[[int, float], None]]:
    if not progress:
        yield lambda epoch, loss: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("fitting", total=epochs)
        yield lambda epoch, loss: bar.update(task, completed=epoch, description=f"fitting, loss {loss:.4f}")

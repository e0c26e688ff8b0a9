"""The training loop of a transformer reward: a likelihood's gradient with respect to utilities, carried into the model.

One step takes ``batch`` data (comparisons or rankings), those of a prompt together. It runs them in forward passes of
at most ``batch_tokens`` tokens, in which responses share their prompt, asks the likelihood for d loss / d u of the
candidates in it, and starts the backward pass from there; every likelihood of
:mod:`guerdon.reward.learned.likelihood` trains a transformer this way. AdamW, linear warm-up and decay to zero,
clipped gradients, dropout off (as TRL's reward trainer), bfloat16 autocast on GPUs only. Held-out loss is measured
several times an epoch; the best state is kept and training ends when it has not improved for a while.

Centring (Eisenstein et al. 2023, arXiv:2312.09244; TRL's ``center_rewards_coefficient``) adds c (sum of the utilities
of a datum)^2, so that scores stay around zero.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.errors import ModelError
from guerdon.reward.learned.likelihood import BradleyTerry, Likelihood, PlackettLuce
from guerdon.reward.learned.prefix import common_prefix
from guerdon.reward.learned.readout import LastToken, MeanPool

log = logging.getLogger(__name__)

Trainable = LastToken | MeanPool
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


@dataclass
class Texts:
    """The tokenised candidates of the data: sequences [C] (empty where unreadable), types [C] or None, prompts [C]."""

    sequences: list[np.ndarray]
    types: list[np.ndarray] | None
    prompts: np.ndarray


@dataclass
class History:
    """What happened: held-out loss by step (step 0 is the start), the steps taken and skipped, the tokens run."""

    held: list[tuple[int, float]] = field(default_factory=list)
    steps: int = 0
    skipped: int = 0
    tokens: int = 0
    padded_tokens: int = 0


def members(data: Likelihood) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(candidates of all data one after the other, [n + 1] where each datum starts, [n] weights)."""
    if isinstance(data, PlackettLuce):
        flat = np.concatenate([i.ravel() for i in data.items])
        sizes = np.concatenate([np.full(len(i), i.shape[1]) for i in data.items])
        return flat, np.r_[0, np.cumsum(sizes)], np.concatenate(data.weights)
    if not isinstance(data, BradleyTerry):
        raise ModelError("a backbone trains on comparisons or rankings")
    flat = np.stack([data.pairs.a, data.pairs.b], 1).ravel()
    return flat, np.arange(0, 2 * len(data) + 1, 2), data.pairs.weight


def over(data: Likelihood, table: np.ndarray) -> Likelihood:
    """The same data with candidates counted by their place in ``table`` (ascending candidate indices)."""
    if isinstance(data, PlackettLuce):
        items = [np.searchsorted(table, i) for i in data.items]
        return replace(data, items=items, candidates=len(table))
    assert isinstance(data, BradleyTerry)
    a, b = (np.searchsorted(table, i) for i in (data.pairs.a, data.pairs.b))
    return replace(data, pairs=replace(data.pairs, a=a, b=b), candidates=len(table))


def local(data: Likelihood) -> tuple[Likelihood, np.ndarray]:
    """(the same data over the candidates it touches alone, which those are), so that arrays stay small."""
    used = np.unique(members(data)[0])
    return over(data, used), used


def utilities(
    readout: Trainable, texts: Texts, used: np.ndarray, budget: int, history: History | None = None
) -> Tensor:
    """float32 [len(used)] utilities of candidates, differentiable, in the order of ``used``."""
    sequences = [texts.sequences[i] for i in used]
    types = None if texts.types is None else [texts.types[i] for i in used]
    batches = readout.plan(sequences, [int(texts.prompts[i]) for i in used], budget)
    values = torch.cat([readout.values(sequences, types, batch) for batch in batches])
    if history is not None:
        history.tokens += sum(b.tokens for b in batches)
        history.padded_tokens += sum(map(len, sequences))
    order = np.argsort([row for batch in batches for row in batch.rows])
    return values[torch.from_numpy(order).to(values.device)]


def held_loss(readout: Trainable, texts: Texts, data: Likelihood, theta: np.ndarray, budget: int) -> float:
    """Mean loss of ``data``, no gradients."""
    small, used = local(data)
    with torch.no_grad(), _autocast(readout):
        u = utilities(readout, texts, used, budget)
    return small(u.double().cpu().numpy(), theta)[0]


def train(
    readout: Trainable,
    texts: Texts,
    data: Likelihood,
    held: Likelihood | None,
    parameters: Sequence[tuple[str, torch.nn.Parameter, bool]],
    recipe: Recipe,
    watch: Callable[[int, int, float], None] | None = None,
) -> History:
    """Train ``parameters`` (name, tensor, whether it belongs to the head) in place.

    ``watch(step, steps, held-out loss)`` is called after every step. Ends in the state with the lowest held-out loss,
    or the last one without held-out data.

    Raises
    ------
    ModelError
        if the loss or its gradient is not a number several steps in a row
    """
    rng = np.random.default_rng(recipe.seed)
    theta = torch.tensor(data.theta0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.AdamW(_groups(parameters, theta, recipe))
    tensors = [p for _, p, _ in parameters]
    flat, starts, weight = members(data)
    per_epoch = math.ceil(len(data) / recipe.batch)
    total = max(1, round(recipe.epochs * per_epoch))
    rise = max(1, round(recipe.warmup * total))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda t: min((t + 1) / rise, max(0.0, (total - t) / max(1, total - rise)))
    )
    sizes = Sizes(readout, texts, flat)
    history = History()
    best, best_loss, stale, bad = None, math.inf, 0, 0
    every = max(1, per_epoch // recipe.looks)
    if held is not None:
        best_loss = held_loss(readout, texts, held, data.theta0, recipe.batch_tokens)
        best = [t.detach().clone() for t in tensors]
        history.held.append((0, best_loss))
    for step in _steps(texts.prompts[flat[starts[:-1]]], recipe.batch, total, rng):
        optimizer.zero_grad(set_to_none=True)
        for part in sizes.cut(step, starts, flat, recipe.batch_tokens):
            share = weight[part].sum() / max(weight[step].sum(), 1e-12)
            small, used = local(data.take(part))
            with _autocast(readout):
                u = utilities(readout, texts, used, recipe.batch_tokens, history)
            now = u.detach().double().cpu().numpy()
            _, du, dtheta = small(now, theta.detach().numpy())
            if recipe.center:
                du = du + recipe.center * centring(small, now)
            u.backward(torch.as_tensor(du * share, dtype=u.dtype, device=u.device))
            if len(dtheta):
                theta.grad = torch.as_tensor(dtheta * share) + (0 if theta.grad is None else theta.grad)
        norm = float(torch.nn.utils.clip_grad_norm_(tensors, recipe.clip))
        if math.isfinite(norm):
            optimizer.step()
            bad = 0
        else:
            history.skipped, bad = history.skipped + 1, bad + 1
            if bad == MOST_BAD_STEPS:
                raise ModelError(
                    f"training diverged: {bad} steps in a row without a finite gradient; lower learning_rate "
                    f"(now {recipe.learning_rate:g})"
                )
        schedule.step()
        history.steps += 1
        if held is not None and (history.steps % every == 0 or history.steps == total):
            loss = held_loss(readout, texts, held, theta.detach().numpy(), recipe.batch_tokens)
            history.held.append((history.steps, loss))
            if loss < best_loss - 1e-5:
                best, best_loss, stale = [t.detach().clone() for t in tensors], loss, 0
            else:
                stale += 1
        if watch is not None:
            watch(history.steps, total, history.held[-1][1] if history.held else math.nan)
        if stale >= recipe.patience:
            log.info("held-out loss has not improved for %d looks; stopped at step %d", stale, history.steps)
            break
    if best is not None:
        with torch.no_grad():
            for tensor, value in zip(tensors, best, strict=True):
                tensor.copy_(value)
    return history


def centring(data: Likelihood, u: np.ndarray) -> np.ndarray:
    """float64 [C] gradient of the weighted mean over data of (sum of a datum's utilities)^2."""
    flat, starts, weight = members(data)
    total = np.add.reduceat(u[flat], starts[:-1])
    grad = np.repeat(2 * total * weight / max(weight.sum(), 1e-12), np.diff(starts))
    return np.bincount(flat, weights=grad, minlength=len(u))


class Sizes:
    """What candidates cost: a prompt's common tokens once, then the rest of each response."""

    def __init__(self, readout: Trainable, texts: Texts, flat: np.ndarray) -> None:
        self.prompts = texts.prompts
        self.rest = np.array([len(s) for s in texts.sequences], dtype=np.int64)
        self.prefix: dict[int, int] = {}
        if not (isinstance(readout, LastToken) and readout.decoder.shares):
            return
        by_prompt: dict[int, list[int]] = {}
        for i in np.unique(flat):
            by_prompt.setdefault(int(self.prompts[i]), []).append(int(i))
        for prompt, rows in by_prompt.items():
            if len(rows) > 1:
                self.prefix[prompt] = common_prefix([texts.sequences[i] for i in rows])
                self.rest[rows] -= self.prefix[prompt]

    def cut(self, step: np.ndarray, starts: np.ndarray, flat: np.ndarray, most: int) -> Iterator[np.ndarray]:
        """The data of a step in parts of at most ``most`` tokens (or one datum)."""
        part: list[int] = []
        seen: set[int] = set()  # candidates in the part
        tokens = 0
        for datum in step:
            own = set(flat[starts[datum] : starts[datum + 1]].tolist())
            cost = self.cost(own - seen, seen)
            if part and tokens + cost > most:
                yield np.array(part)
                part, seen, tokens, cost = [], set(), 0, self.cost(own, set())
            part.append(int(datum))
            seen |= own
            tokens += cost
        yield np.array(part)

    def cost(self, new: set[int], seen: set[int]) -> int:
        """Tokens that ``new`` candidates add to ``seen`` ones."""
        there = {int(self.prompts[i]) for i in seen}
        heads = {int(self.prompts[i]) for i in new} - there
        return int(self.rest[list(new)].sum()) + sum(self.prefix.get(p, 0) for p in heads)


def _steps(prompts: np.ndarray, batch: int, total: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """``total`` arrays of at most ``batch`` data, epoch after epoch; a prompt's data stay together, a quarter of a
    batch at a time, so that they can share its tokens without filling a step with one prompt."""
    most = max(1, batch // 4)
    order = np.argsort(prompts, kind="stable")
    by_prompt = np.split(order, np.flatnonzero(np.diff(prompts[order])) + 1)
    done = 0
    while done < total:
        chunks: list[np.ndarray] = []
        for rows in by_prompt:
            rows = rng.permutation(rows)
            chunks += [rows[i : i + most] for i in range(0, len(rows), most)]
        epoch = np.concatenate([chunks[i] for i in rng.permutation(len(chunks))])
        for lo in range(0, len(epoch), batch):
            if done == total:
                return
            yield epoch[lo : lo + batch]
            done += 1


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
                groups.append({"params": chosen, "lr": rate, "weight_decay": recipe.weight_decay * matrix})
    return groups


def _autocast(readout: Trainable) -> Any:
    """bfloat16 on GPUs that have it, nothing elsewhere."""
    device = next(readout.head.parameters()).device.type
    if device == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()

"""The training loop of a transformer reward: a likelihood's gradient with respect to utilities, carried into the model.

One step takes ``batch`` data (comparisons or rankings), those of a prompt together. It runs them in forward passes of
at most ``batch_tokens`` tokens, in which responses share their prompt, asks the likelihood for d loss / d u of the
candidates in it, and starts the backward pass from there; every likelihood of
:mod:`guerdon.reward.learned.likelihood` trains a transformer this way. Dropout is off (as in TRL's reward trainer),
bfloat16 autocast on GPUs only; optimizer and learning rates are those of
:mod:`guerdon.reward.learned.training_state`. Held-out loss is measured several times an epoch; the best state is kept
and training ends when it has not improved for a while.

Centring (Eisenstein et al. 2023, arXiv:2312.09244; TRL's ``center_rewards_coefficient``) adds c (sum of the utilities
of a datum)^2, so that scores stay around zero. ``pull`` adds pull / 2 |w - w0|^2 for the head's weights w, w0 being
those it starts with: a reference direction. A text loss on the same hidden states
(:mod:`guerdon.reward.learned.regularizers`) takes the share ``alpha`` of the loss; dropout is on in the head alone,
where it has any.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.reward.learned.checkpoints import Checkpoint
from guerdon.reward.learned.likelihood import Likelihood
from guerdon.reward.learned.minibatches import Sizes, Texts, centring, local, members, steps_of
from guerdon.reward.learned.readout import LastToken, MeanPool
from guerdon.reward.learned.regularizers import LanguageRegularizer
from guerdon.reward.learned.training_state import History, Recipe, TrainingState

log = logging.getLogger(__name__)

Trainable = LastToken | MeanPool


def utilities(
    readout: Trainable, texts: Texts, used: np.ndarray, budget: int, history: History | None = None
) -> Tensor:
    """float32 [len(used)] utilities of candidates, differentiable, in the order of ``used``."""
    return _run(readout, texts, used, budget, history, None)[0]


def _run(
    readout: Trainable,
    texts: Texts,
    used: np.ndarray,
    budget: int,
    history: History | None,
    language: LanguageRegularizer | None,
) -> tuple[Tensor, Tensor | None]:
    """(utilities, and with ``language`` log-likelihoods) float32 [len(used)] of candidates, of one pass."""
    sequences = [texts.sequences[i] for i in used]
    types = None if texts.types is None else [texts.types[i] for i in used]
    batches = readout.plan(sequences, [int(texts.prompts[i]) for i in used], budget)
    if history is not None:
        history.tokens += sum(b.tokens for b in batches)
        history.padded_tokens += sum(map(len, sequences))
    order = np.argsort([row for batch in batches for row in batch.rows])
    if language is None:
        values = torch.cat([readout.values(sequences, types, batch) for batch in batches])
        return values[torch.from_numpy(order).to(values.device)], None
    assert isinstance(readout, LastToken)
    parts = [language.run(readout, sequences, language.starts[used], batch) for batch in batches]
    values, ell = (torch.cat(column) for column in zip(*parts, strict=True))
    where = torch.from_numpy(order).to(values.device)
    return values[where], ell[where]


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
    language: LanguageRegularizer | None = None,
) -> History:
    """Train ``parameters`` (name, tensor, whether it belongs to the head) in place.

    ``language`` adds a text loss. ``watch(step, steps, held-out loss)`` is called after every step. Ends in the state
    with the lowest held-out loss, or the last one without held-out data. With ``recipe.checkpoint`` a killed run goes
    on where it was.

    Raises
    ------
    ModelError
        if scores or gradients are not numbers several steps in a row
    """
    flat, starts, _ = members(data)
    per_epoch = math.ceil(len(data) / recipe.batch)
    total = recipe.steps or max(1, round(recipe.epochs * per_epoch))
    every = max(1, per_epoch // recipe.looks)
    sizes = Sizes(readout, texts, flat)
    state = TrainingState(parameters, data.theta0, recipe, total)
    keep, saved = None, None
    if recipe.checkpoint is not None:
        keep = Checkpoint(recipe.checkpoint, _fingerprint(texts, data, held, recipe, readout.head, language))
        saved = keep.load()
    if saved is not None:
        state.restore(*saved)
        log.info("training goes on at step %d of %d", state.history.steps, total)
    elif held is not None:
        state.look(held_loss(readout, texts, held, data.theta0, recipe.batch_tokens))
    history = state.history
    steps = steps_of(texts.prompts[flat[starts[:-1]]], recipe.batch, total, np.random.default_rng(recipe.seed))
    for step in islice(steps, history.steps, None):
        if state.stale >= recipe.patience:
            log.info("held-out loss has not improved for %d looks; stopped at step %d", state.stale, history.steps)
            break
        state.begin_step()
        with _dropout(readout.head, [recipe.seed, history.steps]):
            finite = _gradients(readout, texts, data, state.theta, step, sizes, recipe, history, language)
        state.end_step(finite)
        if history.steps % every == 0 or history.steps == total:
            if held is not None:
                state.look(held_loss(readout, texts, held, state.theta.detach().numpy(), recipe.batch_tokens))
            if keep is not None:
                keep.save(*state.stored())
        if watch is not None:
            watch(history.steps, total, history.held[-1][1] if history.held else math.nan)
    state.end_in_best()
    if keep is not None:
        keep.remove()
    return history


def _gradients(
    readout: Trainable,
    texts: Texts,
    data: Likelihood,
    theta: Tensor,
    step: np.ndarray,
    sizes: Sizes,
    recipe: Recipe,
    history: History,
    language: LanguageRegularizer | None = None,
) -> bool:
    """Add the gradient of one step's mean loss to the parameters; False where scores are no numbers."""
    flat, starts, weight = members(data)
    for part in sizes.cut(step, starts, flat, recipe.batch_tokens):
        share = weight[part].sum() / max(weight[step].sum(), 1e-12)
        small, used = local(data.take(part))
        with _autocast(readout):
            if language is None:
                u, ell = utilities(readout, texts, used, recipe.batch_tokens, history), None
            else:
                u, ell = _run(readout, texts, used, recipe.batch_tokens, history, language)
        now = u.detach().double().cpu().numpy()
        if not np.isfinite(now).all():
            return False
        _, du, dtheta = small(now, theta.detach().numpy())
        if recipe.center:
            du = du + recipe.center * centring(small, now)
        if language is None or ell is None:
            u.backward(torch.as_tensor(du * share, dtype=u.dtype, device=u.device))
        else:
            dtheta = (1 - language.weight) * dtheta
            preference = (u * torch.as_tensor(du, dtype=u.dtype, device=u.device)).sum()
            text = language.mean(small, used, texts, ell)
            (share * ((1 - language.weight) * preference + language.weight * text)).backward()
        if len(dtheta):
            theta.grad = torch.as_tensor(dtheta * share) + (0 if theta.grad is None else theta.grad)
    return True


@contextmanager
def _dropout(head: torch.nn.Module, seed: list[int]) -> Iterator[None]:
    """Dropout of the head on, drawn by ``seed``; torch's global generators are left as they were."""
    if not any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in head.modules()):
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        head.train()
        try:
            yield
        finally:
            head.eval()


def _fingerprint(
    texts: Texts,
    data: Likelihood,
    held: Likelihood | None,
    recipe: Recipe,
    head: torch.nn.Module,
    language: LanguageRegularizer | None = None,
) -> str:
    """Names a run: the same data, texts, recipe, kind of head and text loss give the same name."""
    about = [replace(recipe, checkpoint=None), repr(head)]
    about += [] if language is None else [language.weight, language.loss]
    digest = hashlib.sha256(repr(about).encode())
    for part in (data, held):
        for array in () if part is None else members(part):
            digest.update(np.ascontiguousarray(array).tobytes())
    for sequence in texts.sequences:
        digest.update(sequence.tobytes() + b"|")
    return digest.hexdigest()


def _autocast(readout: Trainable) -> Any:
    """bfloat16 on GPUs that have it, nothing elsewhere."""
    device = next(readout.head.parameters()).device.type
    if device == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()


@contextmanager
def bar(progress: bool) -> Iterator[Callable[[int, int, float], None] | None]:
    """A progress bar on stderr that the training loop moves."""
    if not progress:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("fine-tuning", total=None)

        def watch(step: int, steps: int, held: float) -> None:
            said = "" if np.isnan(held) else f", held-out loss {held:.4f}"
            shown.update(task, completed=step, total=steps, description=f"fine-tuning{said}")

        yield watch

"""Losses beside the preference loss: on the language model that a reward is read from, and on rewordings.

Language-model losses on the states a reward is read from keep reward training from destroying them.

The language model's head is kept while the score is trained, and the same hidden states must still write the responses:

    L = (1 - alpha) L_preference + alpha L_text,      l(y) = sum over the response's tokens of log p(token | before it)

    sft             -log s(beta l(chosen)); without ``logsigmoid`` it is -l(chosen)
    dpo             -log s(beta (l(chosen) - l(rejected)))
    dpo-reference   the same with l minus its value under the frozen model from before training

Only tokens of the response count, never the prompt's; l is a sum, not a mean, as beta is meant for sums. A response
without tokens says nothing and contributes 0. On frozen features the term has no meaning.

With beta l(y) far below zero, as of any real text, the gradient of the ``sft`` term is beta times that of -l(y): the
weight that helps grows with how little text there is. On small models 0.1 was needed where the authors use 0.01.

Consistency asks a response u = r(x, y) and its rewording v = r(x~, y~) for the same score:

    L = L_preference + alpha mean (u - v)^2 / scale

Both u and v are moved. The mean is over responses that the rewording changed. ``scale`` is 1 for the raw penalty, as
published; standardised, it is the variance of the scores that the same head has without the penalty, so that alpha
means the same for every encoder and the loss of a linear head stays convex. (The variance of the present scores in its
place is worse than nothing: a network enlarges it at no cost by scoring topics apart, and forgets what it is for.)
Either way a large alpha shrinks all scores, which pleases the penalty and says nothing: who fits watches their spread.

References: Yang et al. 2024, Regularizing Hidden States Enables Learning Generalizable Reward Model for LLMs,
https://arxiv.org/abs/2406.10216; Wu et al. 2025, reWordBench, https://arxiv.org/abs/2503.11751 (consistency)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from guerdon.encode.prefix import Batch
from guerdon.reward.learned.likelihood import Likelihood
from guerdon.reward.learned.minibatches import Texts, members
from guerdon.reward.learned.readout import LastToken

KINDS = ("none", "sft", "dpo", "dpo-reference")
AT_ONCE = 1024  # tokens whose logits are in memory together


@dataclass(frozen=True)
class TextLoss:
    """The text loss of comparisons, given the log-likelihoods of their responses."""

    kind: str
    beta: float = 0.1
    logsigmoid: bool = True

    def __call__(self, chosen: Tensor, rejected: Tensor) -> Tensor:
        """[n] losses of l(chosen) [n] and l(rejected) [n] (reference already taken off where there is one)."""
        if self.kind != "sft":
            return -F.logsigmoid(self.beta * (chosen - rejected))
        return -F.logsigmoid(self.beta * chosen) if self.logsigmoid else -chosen


@dataclass(frozen=True)
class LanguageRegularizer:
    """What the training loop needs to add a text loss: the head that writes, where responses start, the reference.

    weight     alpha, in [0, 1)
    starts     int64 [C] first token of each candidate's response
    reference  float64 [C] log-likelihoods before training, for ``dpo-reference``
    """

    head: nn.Module
    weight: float
    loss: TextLoss
    starts: np.ndarray
    reference: np.ndarray | None = None

    def run(self, readout: LastToken, sequences: list[np.ndarray], starts: np.ndarray, batch: Batch) -> Any:
        """(values [n], log-likelihoods [n]) of a batch's sequences in one pass, in the order of ``batch.rows``."""
        values, before = readout.both(sequences, starts, batch)
        targets = [sequences[row][max(int(starts[row]), 1) :] for row in batch.rows]
        return values, loglikelihood(self.head, before, targets)

    def mean(self, data: Likelihood, used: np.ndarray, texts: Texts, ell: Tensor) -> Tensor:
        """Weighted mean text loss of ``data`` over candidates counted by their place in ``used``; ell [len(used)]."""
        chosen, rejected, weight = verdicts(data)
        there = self.tokens(texts)[used] > 0
        says = there[chosen] if self.loss.kind == "sft" else there[chosen] & there[rejected]
        total = float(members(data)[2].sum())  # of everything: what says nothing contributes 0
        chosen, rejected, weight = chosen[says], rejected[says], weight[says]
        if not len(weight) or total <= 0:
            return ell.sum() * 0
        if self.reference is not None:
            ell = ell - torch.as_tensor(self.reference[used]).to(ell)
        each = self.loss(ell[torch.from_numpy(chosen)], ell[torch.from_numpy(rejected)])
        return (torch.as_tensor(weight).to(each) * each).sum() / total

    def tokens(self, texts: Texts) -> np.ndarray:
        """int64 [C] how many tokens of each response are predicted."""
        lengths = np.array([len(s) for s in texts.sequences], dtype=np.int64)
        return np.maximum(lengths - np.maximum(self.starts, 1), 0)

    def with_reference(self, readout: LastToken, texts: Texts, used: np.ndarray, budget: int) -> LanguageRegularizer:
        """The same with the present log-likelihoods of ``used`` candidates as reference."""
        sequences, starts = [texts.sequences[i] for i in used], self.starts[used]
        reference = np.zeros(len(texts.sequences))
        with torch.no_grad():
            for batch in readout.plan(sequences, texts.prompts[used].tolist(), budget):
                ell = self.run(readout, sequences, starts, batch)[1]
                reference[used[batch.rows]] = ell.double().cpu().numpy()
        return replace(self, reference=reference)


def loglikelihood(head: nn.Module, before: Tensor, targets: Sequence[np.ndarray]) -> Tensor:
    """float32 [n] sums of log p(target) of n texts; ``before`` [T, d] are the states before their T tokens in all.

    Logits are made for a thousand tokens at a time, and again in the backward pass: with a vocabulary of 256,000 the
    logits of a batch would not fit.
    """
    tokens = torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *targets])).to(before.device)
    text = torch.from_numpy(np.repeat(np.arange(len(targets)), [len(t) for t in targets])).to(before.device)

    def chosen(states: Tensor, ids: Tensor) -> Tensor:
        logits = head(states).float()
        known = ids < logits.shape[-1]  # a pad token that was added for the score has no logit
        return torch.where(known, -F.cross_entropy(logits, ids.where(known, ids * 0), reduction="none"), 0.0)

    parts = [before.new_zeros(0, dtype=torch.float32)]
    for states, ids in zip(before.split(AT_ONCE), tokens.split(AT_ONCE), strict=True):
        again = torch.is_grad_enabled() and len(tokens) > AT_ONCE
        parts.append(checkpoint(chosen, states, ids, use_reentrant=False) if again else chosen(states, ids))  # type: ignore[arg-type]
    return torch.zeros(len(targets), device=before.device).index_add(0, text, torch.cat(parts))


def verdicts(data: Likelihood) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(chosen, rejected, weight) of comparisons and rankings: the better and the worse, or the best and the last.

    A tie chooses nothing: its weight is 0.
    """
    return data.verdicts()


@dataclass(frozen=True)
class Consistency:
    """Candidates and their rewordings should score the same.

    weight        alpha >= 0
    rows          int [m] candidates that were reworded, ascending
    again         float64 [m, d] features of their rewordings
    scale         what a squared difference is measured in
    """

    weight: float
    rows: np.ndarray
    again: np.ndarray
    scale: float = 1.0

    def among(self, rows: np.ndarray) -> Consistency:
        """The same for those of the candidates ``rows`` that were reworded."""
        kept = np.isin(self.rows, rows)
        return self.take(np.flatnonzero(kept))

    def take(self, index: np.ndarray) -> Consistency:
        """The same for some of the candidates, by their place in ``rows``."""
        return replace(self, rows=self.rows[index], again=self.again[index])

    def gradients(self, u: np.ndarray, v: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """(penalty, its gradient in u [m], in v [m]) of the scores of ``rows`` and of their rewordings."""
        gap, each = u - v, self.weight / (self.scale * max(len(u), 1))
        return each * float(gap @ gap), 2 * each * gap, -2 * each * gap

    def penalty(self, u: Tensor, v: Tensor) -> Tensor:
        """The same for torch, of scores [m]."""
        return ((u - v) ** 2).sum() * (self.weight / (self.scale * max(len(u), 1)))

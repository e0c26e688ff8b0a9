"""A readout whose value is the log-likelihood of a text's response: what an autoregressive reward is trained on.

    value = scale (sum_t log pi(y_t | x, y_<t) - the same of a reference)

The training loop of transformers (:mod:`guerdon.reward.learned.finetune`) takes it as it takes a score head.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from guerdon.encode.prefix import Batch, Decoder
from guerdon.reward.learned.readout import LastToken
from guerdon.reward.learned.regularizers import loglikelihood


class ResponseLikelihood(LastToken):
    """value = scale log pi(response | prompt), less that of ``reference``; types mark the response's tokens.

    head       the layer that writes, on the states of ``decoder``
    reference  the readout whose log-likelihoods are taken off
    """

    def __init__(
        self, decoder: Decoder, head: nn.Module, scale: float, mean: bool, reference: ResponseLikelihood | None = None
    ) -> None:
        super().__init__(decoder, head)
        self.scale, self.mean, self.reference = scale, mean, reference
        self._known: dict[bytes, float] = {}

    def values(self, sequences: Sequence[np.ndarray], types: Sequence[np.ndarray] | None, batch: Batch) -> Tensor:
        starts = starts_of(sequences, types)
        _, before = self.decoder.states(sequences, batch, starts)
        targets = [sequences[row][starts[row] :] for row in batch.rows]
        ell = loglikelihood(self.head, before, targets)
        if self.reference is not None:
            ell = ell - torch.as_tensor(self.reference.fixed(sequences, types, batch)).to(ell)
        if self.mean:
            ell = ell / torch.tensor([max(len(t), 1) for t in targets]).to(ell)
        return self.scale * ell

    def fixed(self, sequences: Sequence[np.ndarray], types: Sequence[np.ndarray] | None, batch: Batch) -> np.ndarray:
        """float64 [n] values of a model that does not change; each text of the training is run once."""
        keys = [sequences[row].tobytes() for row in batch.rows]
        if all(key in self._known for key in keys):
            return np.array([self._known[key] for key in keys])
        training = torch.is_grad_enabled()
        with torch.no_grad():
            found = self.values(sequences, types, batch).double().cpu().numpy()
        if training:
            self._known.update(zip(keys, found.tolist(), strict=True))
        return found

    def each(self, sequences: Sequence[np.ndarray], types: Sequence[np.ndarray], batch: Batch) -> list[np.ndarray]:
        """[n] float64 [T] values of each token of the response, in the order of ``batch.rows``."""
        starts = starts_of(sequences, types)
        with torch.inference_mode():
            _, before = self.decoder.states(sequences, batch, starts)
            ids = np.concatenate([np.zeros(0, np.int64), *(sequences[row][starts[row] :] for row in batch.rows)])
            logits = self.head(before).float()
            ell = -F.cross_entropy(logits, torch.from_numpy(ids).to(logits.device), reduction="none")
        sizes = np.cumsum([len(sequences[row]) - starts[row] for row in batch.rows])
        parts = np.split(ell.double().cpu().numpy(), sizes[:-1])
        if self.reference is not None:
            parts = [a - b for a, b in zip(parts, self.reference.each(sequences, types, batch), strict=True)]
        return [self.scale * p / (max(len(p), 1) if self.mean else 1) for p in parts]


def starts_of(sequences: Sequence[np.ndarray], types: Sequence[np.ndarray] | None) -> np.ndarray:
    """int64 [n] first token of each response; the first token of a sequence is never predicted."""
    assert types is not None
    return np.array([max(len(s) - int(t.sum()), 1) for s, t in zip(sequences, types, strict=True)], dtype=np.int64)

"""Drawing tokens so that a draw depends on its seed and its prompt only, never on what else is in the batch.

Each row has uniform numbers of its own, one a step; the token is the one at which the cumulative probability, most
probable first, passes that number. Also keeps the log-probabilities, of the model as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from guerdon.generate.base import Sampling


def uniforms(rows: Sequence[tuple[np.ndarray, int]], steps: int, seed: int | None) -> np.ndarray:
    """float64 [n, steps] in [0, 1) for rows of (prompt tokens, draw); without a seed they are new each time."""
    if seed is None:
        return np.random.default_rng().random((len(rows), steps))
    out = np.empty((len(rows), steps))
    for i, (tokens, draw) in enumerate(rows):
        digest = blake2b(np.asarray(tokens, np.int64).tobytes(), digest_size=8).digest()
        rng = np.random.default_rng([(seed + draw) % 2**64, int.from_bytes(digest, "little")])
        out[i] = rng.random(steps)
    return out


class Drawing(LogitsProcessor):
    """Chooses each row's next token and leaves only that one possible, for a greedy ``generate``.

    sampling   temperature (None: 1), top_p, top_k, top_logprobs
    numbers    float64 [n, steps] of :func:`uniforms`
    """

    def __init__(self, sampling: Sampling, numbers: np.ndarray) -> None:
        self.sampling, self.numbers = sampling, numbers
        self.logprob: list[Tensor] = []  # [n] a step, of the token chosen
        self.top: list[tuple[Tensor, Tensor]] = []  # ([n, k] log-probabilities, [n, k] tokens) a step

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        step = len(self.logprob)
        logprob = torch.log_softmax(scores.float(), dim=-1)
        chosen = self._choose(logprob, step)
        self.logprob.append(logprob.gather(1, chosen[:, None])[:, 0].cpu())
        if self.sampling.top_logprobs:
            top = logprob.topk(min(self.sampling.top_logprobs, logprob.shape[1]), dim=-1)
            self.top.append((top.values.cpu(), top.indices.cpu()))
        return torch.full_like(scores, -torch.inf).scatter(1, chosen[:, None], 0.0)

    def _choose(self, logprob: Tensor, step: int) -> Tensor:
        """[n] token ids of ``logprob`` [n, V]."""
        s = self.sampling
        temperature = 1.0 if s.temperature is None else s.temperature
        if temperature == 0 or s.top_k == 1:
            return logprob.argmax(-1)
        ranked, order = torch.softmax(logprob / temperature, dim=-1).sort(dim=-1, descending=True, stable=True)
        if s.top_k is not None:
            ranked = ranked[:, : s.top_k]
        passed = ranked.cumsum(-1)
        if s.top_p is not None and s.top_p < 1:
            before = passed - ranked
            ranked = torch.where(before < s.top_p * passed[:, -1:], ranked, 0.0)
            passed = ranked.cumsum(-1)
        number = torch.as_tensor(self.numbers[:, step], dtype=passed.dtype, device=passed.device)
        at = torch.searchsorted(passed, (number * passed[:, -1])[:, None], right=True)
        last = (ranked > 0).sum(-1, keepdim=True) - 1  # rounding must not pick a token of no probability
        return order.gather(1, torch.minimum(at, last))[:, 0]


class StopTexts(StoppingCriteria):
    """Ends a row when one of ``texts`` stands in what was written after ``start`` tokens."""

    def __init__(self, tokenizer: Any, texts: Sequence[str], start: int) -> None:
        self.tokenizer, self.texts, self.start = tokenizer, texts, start
        self.span = max(len(t.encode()) for t in texts) + 4  # a token is at least a byte

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        tail = input_ids[:, max(self.start, input_ids.shape[1] - self.span) :]
        written = self.tokenizer.batch_decode(tail, skip_special_tokens=True)
        found = [any(text in line for text in self.texts) for line in written]
        return torch.tensor(found, device=input_ids.device)

"""How a score is read off a transformer: at the last token, from the mean of all tokens, or by the model's own head.

Every readout takes token sequences and gives one number each; the first two also give the state the number is read
from (``hidden``), which is what a head is fitted on. A ``label`` that is a slice gives several numbers each (preference
embeddings). Shapes: n sequences, d hidden width.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from guerdon.encode.prefix import Batch, Decoder, pad, padded_batches


class Readout(Protocol):
    """What scoring needs: batches, and the values of a batch."""

    def plan(self, sequences: Sequence[np.ndarray], prompts: Sequence[Hashable], budget: int) -> list[Batch]:
        """Batches of at most ``budget`` tokens that hold every sequence once."""
        ...

    def values(self, sequences: Sequence[np.ndarray], types: Sequence[np.ndarray] | None, batch: Batch) -> Tensor:
        """float [n of the batch] values, in the order of ``batch.rows``."""
        ...


class LastToken:
    """score = head(hidden state of the last token); decoders, with the prompt shared by its responses."""

    def __init__(self, decoder: Decoder, head: nn.Module, label: int | slice = 0) -> None:
        self.decoder, self.head, self.label = decoder, head, label

    def plan(self, sequences: Sequence[np.ndarray], prompts: Sequence[Hashable], budget: int) -> list[Batch]:
        return self.decoder.plan(sequences, prompts, budget)

    def hidden(self, sequences: Sequence[np.ndarray], types: Sequence[np.ndarray] | None, batch: Batch) -> Tensor:
        """[n, d] states."""
        return self.decoder.last_hidden(sequences, batch)

    def values(self, sequences: Sequence[np.ndarray], types: Sequence[np.ndarray] | None, batch: Batch) -> Tensor:
        return self.head(self.hidden(sequences, types, batch))[:, self.label].float()

    def both(self, sequences: Sequence[np.ndarray], starts: np.ndarray, batch: Batch) -> tuple[Tensor, Tensor]:
        """(values of the batch, [T, d] the states that predict its tokens from ``starts`` [n] on), of one pass."""
        ends, before = self.decoder.states(sequences, batch, starts)
        return self.head(ends)[:, self.label].float(), before


class LastTokens(LastToken):
    """score = head(state of the last token, state of the prompt's last token); decoders.

    ``hidden`` is [n, 2 d], the two states one after the other. Token types say where the response begins (0 the
    prompt's tokens, 1 the response's); a candidate without a prompt has zeros for its state.
    """

    def hidden(self, sequences: Sequence[np.ndarray], types: Sequence[np.ndarray] | None, batch: Batch) -> Tensor:
        assert types is not None
        starts = np.zeros(len(sequences), dtype=np.int64)
        for row in batch.rows:
            starts[row] = int((types[row] == 0).sum())
        return self._joined(sequences, starts, batch)[0]

    def both(self, sequences: Sequence[np.ndarray], starts: np.ndarray, batch: Batch) -> tuple[Tensor, Tensor]:
        hidden, before = self._joined(sequences, starts, batch)
        return self.head(hidden)[:, self.label].float(), before

    def _joined(self, sequences: Sequence[np.ndarray], starts: np.ndarray, batch: Batch) -> tuple[Tensor, Tensor]:
        """([n, 2 d] states of the last tokens and of the prompts' last tokens, [T, d] those that predict tokens)."""
        ends, before = self.decoder.states(sequences, batch, starts)
        n, t = len(ends), len(before)
        counts = np.array([len(sequences[row]) - max(int(starts[row]), 1) for row in batch.rows])
        # the prompt's last state predicts the response's first token; where the response is empty it is the last state
        where = np.where(counts > 0, np.cumsum(counts) - counts, t + np.arange(n))
        where = np.where(starts[batch.rows] > 0, where, t + n)
        states = torch.cat([before, ends, ends.new_zeros(1, ends.shape[1])])
        return torch.cat([ends, states[torch.from_numpy(where).to(ends.device)]], dim=1), before


class MeanPool:
    """score = head(mean over tokens of the hidden states); bidirectional encoders."""

    def __init__(self, base: Any, head: nn.Module, fill: int, label: int | slice = 0) -> None:
        self.base, self.head, self.fill, self.label = base, head, fill, label

    def plan(self, sequences: Sequence[np.ndarray], prompts: Sequence[Hashable], budget: int) -> list[Batch]:
        return padded_batches(range(len(sequences)), np.array([len(s) for s in sequences]), budget)

    def hidden(self, sequences: Sequence[np.ndarray], types: Sequence[np.ndarray] | None, batch: Batch) -> Tensor:
        """[n, d] states."""
        inputs = masked(sequences, types, batch, self.fill, self.base.get_input_embeddings().weight.device)
        states = self.base(**inputs).last_hidden_state
        weight = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
        return (states * weight).sum(1) / weight.sum(1)

    def values(self, sequences: Sequence[np.ndarray], types: Sequence[np.ndarray] | None, batch: Batch) -> Tensor:
        return self.head(self.hidden(sequences, types, batch))[:, self.label].float()


class WholeModel:
    """score = logit of a sequence classification model as it computes it itself (encoders with their own pooler)."""

    def __init__(self, model: Any, label: int, fill: int) -> None:
        self.model, self.label, self.fill = model, label, fill

    def plan(self, sequences: Sequence[np.ndarray], prompts: Sequence[Hashable], budget: int) -> list[Batch]:
        return padded_batches(range(len(sequences)), np.array([len(s) for s in sequences]), budget)

    def values(self, sequences: Sequence[np.ndarray], types: Sequence[np.ndarray] | None, batch: Batch) -> Tensor:
        device = self.model.get_input_embeddings().weight.device
        return self.model(**masked(sequences, types, batch, self.fill, device)).logits[:, self.label].float()


def masked(
    sequences: Sequence[np.ndarray], types: Sequence[np.ndarray] | None, batch: Batch, fill: int, device: torch.device
) -> dict[str, Tensor]:
    """Model inputs of a padded batch: ids, mask, and token types where the tokenizer makes them."""
    ids, lengths = pad([sequences[row] for row in batch.rows], fill)
    inputs = {"input_ids": ids, "attention_mask": (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)}
    if types is not None and any(types[row].any() for row in batch.rows):
        inputs["token_type_ids"] = pad([types[row] for row in batch.rows], 0)[0]
    return {k: torch.from_numpy(v).to(device) for k, v in inputs.items()}


def read(
    readout: Readout,
    tokens: Sequence[np.ndarray | None],
    types: Sequence[np.ndarray] | None,
    prompts: Sequence[Hashable],
    budget: int,
    what: str = "values",
) -> tuple[np.ndarray, int]:
    """(float [n] values, or [n, d] with ``what="hidden"``; NaN where there are no tokens; tokens run).

    Equal token sequences are run once. No gradients.
    """
    place: dict[tuple[bytes, bytes], int] = {}
    rows: list[int] = []
    sequences: list[np.ndarray] = []
    where = np.full(len(tokens), -1)
    for row, ids in enumerate(tokens):
        if ids is None:
            continue
        key = (ids.tobytes(), b"" if types is None else types[row].tobytes())
        if key not in place:
            place[key] = len(rows)
            rows.append(row)
            sequences.append(ids)
        where[row] = place[key]
    kinds = None if types is None else [types[row] for row in rows]
    out: np.ndarray | None = None
    count = 0
    with torch.inference_mode():
        for batch in readout.plan(sequences, [prompts[row] for row in rows], budget):
            part = getattr(readout, what)(sequences, kinds, batch).float().cpu().numpy()
            if out is None:
                out = np.full((len(rows), *part.shape[1:]), np.nan, dtype=np.float32)
            out[batch.rows] = part
            count += batch.tokens
    if out is None:
        return np.full(len(where), np.nan), 0
    result = np.full((len(where), *out.shape[1:]), np.nan, dtype=np.float64)
    result[where >= 0] = out[where[where >= 0]]
    return result, count

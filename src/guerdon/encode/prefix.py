"""Hidden states of many responses to few prompts, with the prompt's tokens computed once for all its responses.

A prompt of P tokens with N responses of R tokens costs P + N R tokens instead of N (P + R). The shared prefix is the
longest common token prefix of the tokenised (prompt + response) sequences of a prompt, so both ways run the same
tokens, whatever the tokenizer does at the boundary and whatever a chat template puts around the texts. Sequences of
all prompts are packed into one row without any padding (:mod:`~guerdon.encode.prefix_attention`); values and
gradients equal those of separate, padded sequences.

What a model can do is measured when it is wrapped, on four short sequences: whether it is causal, and whether packing
gives the same hidden states. Encoders, recurrent layers, soft-capped attention and the like do not pass and run as
padded batches; sequences longer than an attention window do so too.

Per prompt the planner shares only where it predicts less work, in units of one token through the linear layers:

    apart   sum L_i          + a sum L_i^2 / 2
    shared  P + sum R_i      + a (P^2 / 2 + sum (R_i P + R_i^2 / 2)) + overhead of one more kernel call

with a the price of one query-key pair, from the model's parameters and heads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from guerdon.encode.prefix_attention import NAME, Join, NotShareable, laid_out, make_layout, register

Tokens = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class Group:
    """``rows`` whose first ``prefix`` tokens are equal and run once; one row, or prefix 0, is a sequence on its own."""

    prefix: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """One forward pass over ``groups``: packed into a row, or (not ``packed``) padded to the longest.

    ``tokens`` is what goes through the linear layers, padding included.
    """

    groups: tuple[Group, ...]
    packed: bool
    tokens: int

    @property
    def rows(self) -> list[int]:
        """The sequences of this batch, in the order of :meth:`Decoder.last_hidden`'s rows."""
        return [row for group in self.groups for row in group.rows]


@dataclass(frozen=True)
class Prices:
    """What things cost in units of one token through the linear layers.

    ``pair`` one query-key pair under a causal mask, ``join`` one unmasked pair (its kernel wastes nothing on a mask),
    ``call`` the overhead of attending to one more shared prefix.
    """

    pair: float
    join: float
    call: float

    def apart(self, lengths: np.ndarray) -> float:
        """Cost of sequences of ``lengths`` tokens, each on its own."""
        return float(lengths.sum() + self.pair * (lengths.astype(float) ** 2).sum() / 2)

    def shared(self, prefix: int, lengths: np.ndarray) -> float:
        """Cost of the same sequences with their first ``prefix`` tokens run once."""
        rest = (lengths - prefix).astype(float)
        pairs = (prefix**2 + (rest**2).sum()) / 2
        return float(prefix + rest.sum() + self.pair * pairs + self.join * prefix * rest.sum() + self.call)


def common_prefix(sequences: Sequence[np.ndarray]) -> int:
    """Length of the longest common prefix of token sequences."""
    first, n = sequences[0], min(len(s) for s in sequences)
    for other in sequences[1:]:
        differ = np.flatnonzero(first[:n] != other[:n])
        if len(differ):
            n = int(differ[0])
    return n


class Decoder:
    """A transformers base model (no language-model head) asked for the hidden state at the end of each sequence.

    ``causal``  later tokens do not change earlier states, so right padding needs no mask
    ``shares``  packing with shared prefixes gives the same states
    ``limit``   longest sequence that may be packed (attention window, position scaling)

    Wrapping a model that shares sets its attention implementation to one that is ``sdpa`` in ordinary use.
    """

    def __init__(self, base: Any, *, share: bool = True) -> None:
        self.base = base
        config = base.config.get_text_config()
        self.limit, self._alone = _limits(config)
        linear = sum(p.numel() for name, p in base.named_parameters() if "embed" not in name and "wte" not in name)
        layers = max(1, getattr(config, "num_hidden_layers", 1))
        heads = getattr(config, "num_attention_heads", None) or 1
        width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
        per_layer = max(1.0, linear / layers)
        cuda = self.device.type == "cuda"
        # measured on CPU: causal kernels reach about half, unmasked ones 4/5 of the linear layers' speed; a call costs
        # about 0.15 ms of work on either device, which is 10 Mflop on a few cores and 20 Gflop on a GPU
        self.prices = Prices(4 * width / per_layer, 2.5 * width / per_layer, (2e10 if cuda else 1.5e7) / 2 / per_layer)
        self.causal = self.shares = False
        training = base.training
        base.eval()
        with torch.no_grad():
            self._probe(share)
        base.train(training)

    @property
    def device(self) -> torch.device:
        """Where the model's input goes."""
        return self.base.get_input_embeddings().weight.device

    def _probe(self, share: bool) -> None:
        """Measure :attr:`causal` and :attr:`shares` on short sequences."""
        size = self.base.get_input_embeddings().num_embeddings
        ids = (np.arange(7, 43) * 7) % max(2, min(size, 997))
        stem = ids[:6]
        probes = [np.r_[stem, ids[10:14]], np.r_[stem, ids[20:22]], np.r_[stem, ids[30:33]], stem, ids[25:30]]
        alone = torch.cat([self._padded([p], mask=False)[0] for p in probes])
        after = self._padded([probes[1], np.r_[probes[1], ids[2:9]]], mask=False)[0][:1]
        scale = float(alone.float().pow(2).mean().sqrt())
        tolerance = scale * (1e-3 if alone.dtype in (torch.float32, torch.float64) else 5e-2)
        self.causal = bool((after - alone[1]).abs().max() < tolerance)
        kind = getattr(self.base.config, "_attn_implementation", None)
        if not (share and self.causal and kind in ("sdpa", NAME) and self.base._can_set_attn_implementation()):
            return
        self.base.set_attn_implementation(register())
        try:
            packed = self._packed(probes, (Group(6, (0, 1, 2, 3)), Group(0, (4,))))[0]
            self.shares = packed.shape == alone.shape and bool((packed - alone).abs().max() < tolerance)
        except (NotShareable, RuntimeError, TypeError, AttributeError, ValueError, IndexError):
            self.shares = False  # the model does something of its own with masks, positions or caches
        if not self.shares:
            self.base.set_attn_implementation("sdpa")

    # ------------------------------------------------------------------ planning

    def plan(
        self, sequences: Sequence[np.ndarray], prompts: Sequence[Hashable], budget: int, *, share: bool | None = None
    ) -> list[Batch]:
        """Batches that together hold every sequence once, each of at most ``budget`` tokens where one sequence fits.

        sequences   [n] int arrays of tokens, each of at least one
        prompts     [n] what may share a prefix: sequences with equal keys are looked at together
        share       None decides per prompt by predicted cost, True wherever a prefix is common, False never
        """
        lengths = np.array([len(s) for s in sequences], dtype=np.int64)
        groups: list[Group] = []
        separate: list[int] = []
        together: dict[Hashable, list[int]] = defaultdict(list)
        for row, prompt in enumerate(prompts):
            if self.shares and lengths[row] <= self.limit:
                together[prompt].append(row)
            else:
                separate.append(row)
        for rows in together.values():
            rows.sort(key=lambda i: -lengths[i])
            groups += self._divide(rows, lengths, sequences, budget, share)
        groups.sort(key=lambda g: (-(g.prefix or lengths[g.rows[0]]), g.rows))
        batches = []
        part: list[Group] = []
        tokens = 0
        for group in groups:
            size = int(group.prefix + (lengths[list(group.rows)] - group.prefix).sum())
            if part and tokens + size > budget:
                batches.append(Batch(tuple(part), True, tokens))
                part, tokens = [], 0
            part.append(group)
            tokens += size
        if part:
            batches.append(Batch(tuple(part), True, tokens))
        return batches + padded_batches(separate, lengths, budget, self.limit if self._alone else None)

    def _divide(
        self, rows: list[int], lengths: np.ndarray, sequences: Sequence[np.ndarray], budget: int, share: bool | None
    ) -> list[Group]:
        """One prompt's rows as groups: shared in parts that fit the budget, or each on its own."""
        apart = [Group(0, (row,)) for row in rows]
        prefix = 0 if len(rows) == 1 or share is False else common_prefix([sequences[i] for i in rows])
        if not prefix:
            return apart
        parts: list[list[int]] = [[]]
        room = max(budget - prefix, prefix)  # a prompt of nearly the budget is not run again for every response
        used = 0
        for row in rows:
            rest = int(lengths[row]) - prefix
            if parts[-1] and used + rest > room:
                parts.append([])
                used = 0
            parts[-1].append(row)
            used += rest
        cost = sum(self.prices.shared(prefix, lengths[p]) for p in parts)
        if share is None and cost >= self.prices.apart(lengths[rows]):
            return apart
        return [Group(prefix, tuple(p)) if len(p) > 1 else Group(0, tuple(p)) for p in parts]

    # ------------------------------------------------------------------ running

    def last_hidden(self, sequences: Sequence[np.ndarray], batch: Batch) -> Tensor:
        """[len(batch.rows), d] hidden state at the last token of each of the batch's sequences (differentiable)."""
        return self.states(sequences, batch)[0]

    def states(
        self, sequences: Sequence[np.ndarray], batch: Batch, starts: np.ndarray | None = None
    ) -> tuple[Tensor, Tensor]:
        """([len(batch.rows), d] the states of :meth:`last_hidden`, [T, d] states that predict tokens), of one pass.

        starts  [n] of all sequences: the tokens from there on are predicted (the first of a sequence never is), row
                after row of the batch; None predicts none
        """
        if batch.packed:
            return self._packed(sequences, batch.groups, starts)
        rows = batch.rows
        return self._padded([sequences[row] for row in rows], not self.causal, None if starts is None else starts[rows])

    def _hidden(self, **inputs: Any) -> Tensor:
        return self.base(**inputs, use_cache=False).last_hidden_state

    def _padded(
        self, sequences: Sequence[np.ndarray], mask: bool, starts: np.ndarray | None = None
    ) -> tuple[Tensor, Tensor]:
        ids, lengths = pad(sequences)
        tokens, ends = torch.from_numpy(ids).to(self.device), torch.from_numpy(lengths - 1).to(self.device)
        extra = {}
        if mask:
            extra["attention_mask"] = (torch.arange(ids.shape[1], device=self.device) <= ends[:, None]).long()
        hidden = self._hidden(input_ids=tokens, **extra)
        flat = hidden.flatten(0, 1)
        first = np.arange(len(lengths)) * ids.shape[1]
        before = [np.arange(lo + max(s, 1), lo + n) - 1 for lo, s, n in _spans(first, starts, lengths)]
        return _rows(flat, first + lengths - 1), _rows(flat, before)

    def _packed(
        self, sequences: Sequence[np.ndarray], groups: Sequence[Group], starts_of: np.ndarray | None = None
    ) -> tuple[Tensor, Tensor]:
        heads: list[np.ndarray] = []  # whole sequences and prefixes
        for group in groups:
            first = sequences[group.rows[0]]
            heads.append(first[: group.prefix] if group.prefix else first)
        starts = [0, *accumulate(len(h) for h in heads)]
        segments = list(zip(starts, map(len, heads), strict=False))
        tokens, positions = list(heads), [np.arange(len(h)) for h in heads]
        joins, ends, before, at = [], [], [], starts[-1]
        for group, start, head in zip(groups, starts, heads, strict=False):
            lo, sizes = at, []
            for row in group.rows:
                rest = sequences[row][len(head) :]
                if len(rest):
                    segments.append((at, len(rest)))
                    tokens.append(rest)
                    positions.append(np.arange(len(head), len(head) + len(rest)))
                    sizes.append(len(rest))
                    at += len(rest)
                ends.append((at if len(rest) else start + len(head)) - 1)
                if starts_of is not None:  # the state before a token lies in the prefix or in the rest
                    where = np.arange(max(starts_of[row], 1), len(sequences[row])) - 1
                    before.append(np.where(where < len(head), start + where, at - len(rest) + where - len(head)))
            if sizes:
                joins.append(Join(lo, at, start, start + len(head), tuple(sizes)))
        layout = make_layout(segments, joins, self.device)
        ids = torch.from_numpy(np.concatenate(tokens).astype(np.int64)).to(self.device)[None]
        place = torch.from_numpy(np.concatenate(positions)).to(self.device)[None]
        with laid_out(layout):
            hidden = self._hidden(input_ids=ids, position_ids=place)
        return _rows(hidden[0], np.array(ends)), _rows(hidden[0], before)


def _spans(first: np.ndarray, starts: np.ndarray | None, lengths: np.ndarray) -> list[tuple[int, int, int]]:
    return [] if starts is None else list(zip(first.tolist(), starts.tolist(), lengths.tolist(), strict=True))


def _rows(hidden: Tensor, index: np.ndarray | list[np.ndarray]) -> Tensor:
    """hidden[index], of one array or of several one after the other."""
    if isinstance(index, list):
        index = np.concatenate([np.zeros(0, np.int64), *index])
    return hidden[torch.from_numpy(index.astype(np.int64)).to(hidden.device)]


def padded_batches(
    rows: Sequence[int], lengths: np.ndarray, budget: int, alone_above: int | None = None
) -> list[Batch]:
    """Padded batches of ``rows``, sorted by length, longest first so that memory runs out at once or never.

    Each has at most ``budget`` tokens with padding, or one row; rows longer than ``alone_above`` are on their own.
    """
    batches = []
    rows = sorted(rows, key=lambda i: (-lengths[i], i))
    while rows:
        longest = int(lengths[rows[0]])
        most = 1 if alone_above is not None and longest > alone_above else max(1, budget // max(1, longest))
        part, rows = rows[:most], rows[most:]
        batches.append(Batch(tuple(Group(0, (row,)) for row in part), False, longest * len(part)))
    return batches


def pad(sequences: Sequence[Tokens], fill: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(int64 [n, longest], int64 [n] lengths); a short row is filled with ``fill``, or with its own last token.

    A filler taken from the row needs no pad token, so one that equals eos (or is missing) cannot do harm.
    """
    lengths = np.array([len(s) for s in sequences], dtype=np.int64)
    ids = np.zeros((len(sequences), int(lengths.max())), dtype=np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
        row[len(sequence) :] = sequence[-1] if fill is None else fill
    return ids, lengths


def _limits(config: Any) -> tuple[int, bool]:
    """(longest sequence that attends to all its tokens with fixed positions, whether longer ones must run alone)."""
    limit, alone = 2**62, False
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if isinstance(window, int) and getattr(config, "use_sliding_window", True) is not False:
        limit = window if kinds is None or "sliding_attention" in kinds else limit
    chunk = getattr(config, "attention_chunk_size", None)
    if isinstance(chunk, int):
        limit = min(limit, chunk)
    rope = getattr(config, "rope_parameters", None) or {}
    for kind in [rope, *(v for v in rope.values() if isinstance(v, dict))]:
        if kind.get("rope_type") in ("dynamic", "longrope"):  # these change with the longest sequence of a batch
            most = kind.get("original_max_position_embeddings") or getattr(config, "max_position_embeddings", 0)
            limit, alone = min(limit, int(most)), True
    return limit, alone


def base_of(model: nn.Module) -> Any:
    """The transformer without its head of a transformers model."""
    return getattr(model, getattr(model, "base_model_prefix", ""), model)

"""Causal attention over a packed batch in which several continuations share one prefix, without copying the prefix.

A packed batch is one row of T tokens: whole sequences and prefixes first, then the continuations of each prefix. Every
segment attends causally to itself; the continuations of a group attend, all together and unmasked, to their prefix.
The softmax over prefix and own tokens is the merge of two softmaxes by their log-sum-exp:

    out = out_own exp(lse_own - lse) + out_prefix exp(lse_prefix - lse),   lse = log(exp lse_own + exp lse_prefix)

The gradient of flash attention needs only the final ``out`` and ``lse``, so each part is differentiated on its own and
the parts are added; keys and values of the prefix receive the sum over its continuations, with no cache in between.

Shapes: T tokens of the packed row, H heads, D head width; query, key, value [1, H, T, D].

References: Hydragen, Juravsky et al. 2024, https://arxiv.org/abs/2402.05099 (shared-prefix attention by log-sum-exp);
Prefix Grouper, Liu et al. 2025, https://arxiv.org/abs/2506.05433 (the same sharing in training); FlashAttention-2, Dao
2023, https://arxiv.org/abs/2307.08691 (the backward pass from out and lse).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

NAME = "guerdon_prefix"
"""The attention implementation registered with transformers; without a layout in force it is plain ``sdpa``."""


class NotShareable(ValueError):
    """This architecture's attention has a part (window, soft cap, sink, bias, dropout) that packing does not cover."""


@dataclass(frozen=True)
class Bucket:
    """Segments of similar length that run as one causal attention call.

    ``index`` int64 [s, length] holds the packed positions (a shorter segment repeats its last one; under a causal mask
    real tokens never see what comes after them), ``real`` bool [s, length] marks the true ones. For segments of equal
    length that lie next to each other both are None and ``start`` is enough: no copy is made.
    """

    start: int
    count: int
    length: int
    index: Tensor | None
    real: Tensor | None

    def rows(self, x: Tensor) -> Tensor:
        """[T, H, D] -> [s, H, length, D], a view where possible."""
        if self.index is None:
            part = x[self.start : self.start + self.count * self.length]
            return part.view(self.count, self.length, *x.shape[1:]).transpose(1, 2)
        return x[self.index].transpose(1, 2)

    def put(self, target: Tensor, value: Tensor) -> None:
        """Write ``value`` [s, H, length, ...] to the segments' places in ``target`` [T, H, ...]."""
        value = value.transpose(1, 2)
        if self.index is None or self.real is None:
            target[self.start : self.start + self.count * self.length] = value.reshape(-1, *value.shape[2:])
        else:
            target[self.index[self.real]] = value[self.real].to(target.dtype)


@dataclass(frozen=True)
class Join:
    """Tokens ``[lo, hi)`` are continuations of the prefix at ``[key_lo, key_hi)``, one segment each of ``lengths``."""

    lo: int
    hi: int
    key_lo: int
    key_hi: int
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Where everything lies in a packed row of ``tokens`` tokens; ``longest`` is the longest whole sequence."""

    tokens: int
    longest: int
    buckets: tuple[Bucket, ...]
    joins: tuple[Join, ...]


def make_layout(segments: Sequence[tuple[int, int]], joins: Sequence[Join], device: torch.device | str) -> Layout:
    """The layout of ``segments`` (start, length > 0), each causal in itself, and ``joins`` to prefixes."""
    order = sorted(range(len(segments)), key=lambda i: (-segments[i][1], segments[i][0]))
    buckets: list[Bucket] = []
    lo = 0
    while lo < len(order):
        longest = segments[order[lo]][1]
        hi = lo
        # a quarter of waste at most: attention inside a segment is a small part of the work
        while hi < len(order) and segments[order[hi]][1] >= 0.75 * longest:
            hi += 1
        part = [segments[i] for i in order[lo:hi]]
        start = part[0][0]
        if all(n == longest and s == start + k * longest for k, (s, n) in enumerate(part)):
            buckets.append(Bucket(start, len(part), longest, None, None))
        else:
            starts = torch.tensor([s for s, _ in part], device=device)[:, None]
            sizes = torch.tensor([n for _, n in part], device=device)[:, None]
            step = torch.arange(longest, device=device)[None, :]
            buckets.append(Bucket(0, len(part), longest, starts + torch.minimum(step, sizes - 1), step < sizes))
        lo = hi
    ends = {(j.key_lo, j.key_hi): max(j.lengths) for j in joins}
    total = sum(n for _, n in segments)
    return Layout(total, max(n + ends.get((s, s + n), 0) for s, n in segments), tuple(buckets), tuple(joins))


_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def _heads_first(x: Tensor) -> Tensor:
    """[m, H, D] -> [1, H, m, D], a view."""
    return x.transpose(0, 1).unsqueeze(0)


class _Merged(torch.autograd.Function):
    """Forward and backward on the CPU flash kernels; q, k, v [T, H, D] -> out [T, H, D]."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, layout: Layout, scale: float) -> Tensor:
        out = torch.empty_like(q)
        lse = torch.empty(q.shape[:2], dtype=torch.float32 if q.dtype != torch.float64 else q.dtype)
        for bucket in layout.buckets:
            part, part_lse = _flash(bucket.rows(q), bucket.rows(k), bucket.rows(v), 0.0, True, scale=scale)
            bucket.put(out, part)
            bucket.put(lse, part_lse)
        for join in layout.joins:
            mine, prefix = slice(join.lo, join.hi), slice(join.key_lo, join.key_hi)
            over, over_lse = _flash(
                _heads_first(q[mine]), _heads_first(k[prefix]), _heads_first(v[prefix]), 0.0, False, scale=scale
            )
            over, over_lse = over[0].transpose(0, 1), over_lse[0].transpose(0, 1)
            own_lse = lse[mine]
            # out = own + (over - own) * sigmoid(lse_prefix - lse_own)
            share = torch.sigmoid(over_lse - own_lse).unsqueeze(-1).to(out.dtype)
            out[mine] = torch.lerp(out[mine], over, share)
            lse[mine] = torch.logaddexp(own_lse, over_lse)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.layout, ctx.scale = layout, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        q, k, v, out, lse = ctx.saved_tensors
        layout, scale = ctx.layout, ctx.scale
        grad = grad.contiguous()
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for bucket in layout.buckets:
            grad_rows = bucket.rows(grad)
            if bucket.real is not None:
                grad_rows = grad_rows * bucket.real[:, None, :, None]  # repeated tokens must not count twice
            parts = _flash_backward(
                grad_rows,
                *(bucket.rows(x) for x in (q, k, v, out)),
                bucket.rows(lse.unsqueeze(-1)).squeeze(-1),
                0.0,
                True,
                scale=scale,
            )
            for target, part in zip((dq, dk, dv), parts, strict=True):
                bucket.put(target, part)
        for join in layout.joins:
            mine, prefix = slice(join.lo, join.hi), slice(join.key_lo, join.key_hi)
            parts = _flash_backward(
                _heads_first(grad[mine]),
                _heads_first(q[mine]),
                _heads_first(k[prefix]),
                _heads_first(v[prefix]),
                _heads_first(out[mine]),
                _heads_first(lse[mine].unsqueeze(-1)).squeeze(-1),
                0.0,
                False,
                scale=scale,
            )
            for target, where, part in zip((dq, dk, dv), (mine, prefix, prefix), parts, strict=True):
                target[where] += part[0].transpose(0, 1)
        return dq, dk, dv, None, None


def _portable(q: Tensor, k: Tensor, v: Tensor, layout: Layout, scale: float) -> Tensor:
    """The same on any device with public operations: prefix keys are expanded and joined to each continuation's own."""
    out = torch.zeros_like(q)
    inside = torch.ones(layout.tokens, dtype=torch.bool)
    for join in layout.joins:
        inside[join.lo : join.hi] = False
    for bucket in layout.buckets:
        part = F.scaled_dot_product_attention(
            bucket.rows(q), bucket.rows(k), bucket.rows(v), is_causal=True, scale=scale
        ).transpose(1, 2)
        part = part.to(out.dtype)  # autocast attends in bfloat16 where rotated queries are float32
        if bucket.index is None or bucket.real is None:
            where = torch.arange(bucket.start, bucket.start + bucket.count * bucket.length, device=q.device)
            out = out.index_copy(0, where, part.reshape(-1, *part.shape[2:]))
        else:
            out = out.index_copy(0, bucket.index[bucket.real], part[bucket.real])
    for join in layout.joins:
        n, longest, shared = len(join.lengths), max(join.lengths), join.key_hi - join.key_lo
        sizes = torch.tensor(join.lengths, device=q.device)[:, None]
        starts = join.lo + torch.cumsum(sizes, 0) - sizes
        step = torch.arange(longest, device=q.device)
        index, real = starts + torch.minimum(step[None], sizes - 1), step[None] < sizes
        both = []
        for x in (k, v):
            prefix = x[join.key_lo : join.key_hi].expand(n, -1, -1, -1)
            both.append(torch.cat([prefix, x[index]], 1).transpose(1, 2))
        column = torch.arange(shared + longest, device=q.device)[None, :]
        mask = column <= shared + step[:, None]
        part = F.scaled_dot_product_attention(q[index].transpose(1, 2), *both, attn_mask=mask, scale=scale)
        out = out.index_copy(0, index[real], part.transpose(1, 2)[real].to(out.dtype))
    return out


def packed_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, portable: bool | None = None
) -> Tensor:
    """[1, T, H, D] attention of a packed row; query [1, H, T, D], key and value [1, H or fewer, T, D].

    ``portable`` forces the path of public operations (True) or the CPU kernels (False); None chooses by device.
    """
    heads, groups = query.shape[1], query.shape[1] // key.shape[1]
    q = query[0].transpose(0, 1)
    k, v = (x[0].transpose(0, 1) for x in (key, value))
    if groups > 1:  # grouped heads: one copy of the packed keys, not one per continuation
        k, v = (x[:, :, None].expand(-1, -1, groups, -1).reshape(x.shape[0], heads, x.shape[2]) for x in (k, v))
    if portable is None:
        portable = q.device.type != "cpu" or k.shape[-1] != v.shape[-1]
    if portable:
        return _portable(q, k, v, layout, scale).unsqueeze(0)
    out = _Merged.apply(*(x.contiguous() for x in (q, k, v)), layout, scale)
    assert isinstance(out, Tensor)
    return out.unsqueeze(0)


_IN_FORCE: ContextVar[Layout | None] = ContextVar("packed layout", default=None)


@contextmanager
def laid_out(layout: Layout) -> Iterator[None]:
    """Forward passes inside see their one input row as packed by ``layout``."""
    token = _IN_FORCE.set(layout)
    try:
        yield
    finally:
        _IN_FORCE.reset(token)


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface; the layout arrives in the place of the mask (see :func:`_mask`)."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if not isinstance(attention_mask, Layout):
        if _IN_FORCE.get() is not None:
            raise NotShareable("this model makes its own attention mask")
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    layout = attention_mask
    window = kwargs.get("sliding_window") or getattr(module, "sliding_window", None)
    if isinstance(window, int) and layout.longest > window:
        raise NotShareable(f"a sequence of {layout.longest} tokens is longer than the attention window of {window}")
    for part in ("softcap", "s_aux", "position_bias"):
        if kwargs.get(part) is not None:
            raise NotShareable(f"attention with {part!r}")
    if dropout or key.shape[2] != layout.tokens or query.shape[0] != 1 or not getattr(module, "is_causal", True):
        raise NotShareable("attention with dropout, a cache, or no causal order")
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    return packed_attention(query, key, value, layout, scale), None


def _mask(*args: Any, **kwargs: Any) -> Any:
    """transformers' mask interface: the layout in force instead of a mask, else what ``sdpa`` would get.

    The layout travels in the mask's argument so that it is still there when gradient checkpointing runs a layer again.
    """
    from transformers.masking_utils import sdpa_mask

    layout = _IN_FORCE.get()
    return sdpa_mask(*args, **kwargs) if layout is None else layout


def register() -> str:
    """Make the implementation known to transformers; returns its name."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _mask)
    return NAME

"""Training on comparisons with the prompt's tokens computed once for both responses, against padded batches.

    python -m benchmarks.prefix_training

One forward and backward pass of all weights for pairs of responses to P-token prompts; the peer is the same model and
the same data, one padded sequence per response, under the same token budget. The bound is the token ratio
2 (P + R) / (P + 2 R). Gradients are compared before anything is timed. Target: 0.8 of the ratio.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import numpy as np
import torch

from benchmarks.prefix_scoring import header, llama, options_of, paired, sequences_of, show, token_ratio
from guerdon.encode.prefix import Decoder

SHAPES = [((512, 128, 2), 4, False), ((1024, 128, 2), 2, False), ((256, 256, 2), 4, False), ((2048, 64, 2), 1, False)]
SHAPES += [((384, 160, 2), 8, True), ((16, 128, 2), 8, False)]


def step(decoder: Decoder, rows: list[np.ndarray], keys: list, budget: int, push: torch.Tensor) -> None:
    """Forward and backward of d loss / d hidden = ``push`` [n, d], batch by batch as the training loop does it."""
    decoder.base.zero_grad(set_to_none=True)
    for batch in decoder.plan(rows, keys, budget):
        decoder.last_hidden(rows, batch).backward(push[batch.rows])


def gradient(decoder: Decoder) -> torch.Tensor:
    """All gradients as one vector."""
    return torch.cat([p.grad.flatten() for p in decoder.base.parameters() if p.grad is not None])


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a shape."""
    base = llama(options.hidden, options.layers, options.heads)
    padded, shared = Decoder(base, share=False), Decoder(base)
    table = []
    for shape, prompts, ragged in SHAPES:
        rows, keys = sequences_of(shape, prompts, ragged)
        push = torch.randn(len(rows), options.hidden, generator=torch.Generator().manual_seed(0))
        gradients = []
        for decoder in (padded, shared):
            step(decoder, rows, keys, options.budget, push)
            gradients.append(gradient(decoder))
        slow, fast, ratios = paired(
            lambda r=rows, k=keys, g=push: step(padded, r, k, options.budget, g),
            lambda r=rows, k=keys, g=push: step(shared, r, k, options.budget, g),
            options.pairs,
        )
        bound = token_ratio(rows, keys, shared, options.budget)
        name = f"{prompts} x {shape}" + (" ragged" if ragged else "")
        row = {"shape": name, "token_ratio": bound, "padded_s": slow, "shared_s": fast}
        row |= {"speed_up": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
        relative = float((gradients[0] - gradients[1]).abs().max() / gradients[0].abs().max())
        row |= {"fraction": row["speed_up"] / bound, "difference": relative}
        table.append(row)
        show(row)
    return table


if __name__ == "__main__":
    chosen = options_of(__doc__)
    header("training (forward and backward; max diff is of gradients, relative)", chosen)
    measure(chosen)

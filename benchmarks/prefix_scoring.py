"""Scoring with the prompt's tokens computed once, against the same model on padded batches, in one run.

    python -m benchmarks.prefix_scoring [--alternatives]

The peer is the same Llama, the same sequences, the same token budget, one padded sequence per response. The physical
bound is the token ratio N (P + R) / (P + N R): what is saved if every token costs the same. A pair of timings (padded,
shared) is taken one after the other and repeated; the table shows the median of the ratios and their spread. Target:
0.9 of the token ratio on the first four shapes, and never slower than padded where there is little to share.

``--alternatives`` also times the two other ways to share a prompt: a key-value cache expanded to all responses, and
one packed row with a dense 4D mask.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.encode.prefix import Decoder

SHAPES = [(512, 128, 16), (1024, 128, 16), (256, 256, 8), (2048, 64, 8)]
LITTLE_TO_SHARE = [(16, 128, 2), (4, 256, 4), (128, 128, 1)]
VOCAB = 4096


def llama(hidden: int, layers: int, heads: int) -> Any:
    """A random Llama without a language-model head."""
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3 // 16 * 16,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=8192,
    )
    return LlamaModel(config).eval()


def sequences_of(shape: tuple[int, int, int], prompts: int = 1, ragged: bool = False) -> tuple[list[np.ndarray], list]:
    """``prompts`` prompts of P tokens with N responses of R tokens each; ragged: lengths between a third and all."""
    p, r, n = shape
    rng = np.random.default_rng(0)
    rows, keys = [], []
    for key in range(prompts):
        prompt = rng.integers(3, VOCAB, rng.integers(p // 3, p + 1) if ragged else p)
        for _ in range(n):
            rows.append(np.r_[prompt, rng.integers(3, VOCAB, rng.integers(r // 3, r + 1) if ragged else r)])
            keys.append(key)
    return rows, keys


def states(decoder: Decoder, rows: list[np.ndarray], keys: list, budget: int) -> Tensor:
    """[n, d] last hidden states, in order."""
    batches = decoder.plan(rows, keys, budget)
    hidden = torch.cat([decoder.last_hidden(rows, batch) for batch in batches])
    return hidden[np.argsort([row for batch in batches for row in batch.rows])]


def token_ratio(rows: list[np.ndarray], keys: list, decoder: Decoder, budget: int) -> float:
    """Tokens of all sequences / tokens that the plan runs."""
    return sum(map(len, rows)) / sum(batch.tokens for batch in decoder.plan(rows, keys, budget))


def paired(peer: Callable[[], object], ours: Callable[[], object], pairs: int) -> tuple[float, float, list[float]]:
    """(median seconds of the peer, of ours, ratios of each pair) of interleaved timings after one warm-up each."""
    peer()
    ours()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(pairs):
        for run, column in zip((peer, ours), seconds, strict=True):
            start = time.perf_counter()
            run()
            column.append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(*seconds, strict=True)]
    return statistics.median(seconds[0]), statistics.median(seconds[1]), ratios


def expanded_cache(base: Any, rows: list[np.ndarray], prefix: int) -> Tensor:
    """The prompt's key-value cache repeated for every response (alternative)."""
    from transformers import DynamicCache

    ids = torch.from_numpy(np.stack(rows))
    cache = DynamicCache(config=base.config)
    base(input_ids=ids[:1, :prefix], past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(len(rows))
    return base(input_ids=ids[:, prefix:], past_key_values=cache, use_cache=True).last_hidden_state[:, -1]


def dense_mask(base: Any, rows: list[np.ndarray], prefix: int) -> Tensor:
    """Prompt and responses in one row under a 4D mask (alternative)."""
    n, r = len(rows), len(rows[0]) - prefix
    ids = np.concatenate([rows[0][:prefix], *(row[prefix:] for row in rows)])
    position = np.concatenate([np.arange(prefix), *[np.arange(prefix, prefix + r)] * n])
    owner = np.concatenate([np.full(prefix, -1), np.repeat(np.arange(n), r)])
    order = np.arange(len(ids))
    mask = (order[None] <= order[:, None]) & ((owner[None] == -1) | (owner[None] == owner[:, None]))
    hidden = base(
        input_ids=torch.from_numpy(ids)[None],
        position_ids=torch.from_numpy(position)[None],
        attention_mask=torch.from_numpy(mask)[None, None],
        use_cache=False,
    ).last_hidden_state[0]
    return hidden[prefix + r - 1 :: r]


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a shape."""
    base = llama(options.hidden, options.layers, options.heads)
    padded, shared = Decoder(base, share=False), Decoder(base)
    cases = [(s, 1, False) for s in SHAPES] + [((384, 160, 6), 8, True)]
    cases += [(s, 16, False) for s in LITTLE_TO_SHARE]
    table = []
    with torch.inference_mode():
        for shape, prompts, ragged in cases:
            rows, keys = sequences_of(shape, prompts, ragged)
            expected, got = (states(d, rows, keys, options.budget) for d in (padded, shared))
            slow, fast, ratios = paired(
                lambda r=rows, k=keys: states(padded, r, k, options.budget),
                lambda r=rows, k=keys: states(shared, r, k, options.budget),
                options.pairs,
            )
            bound = token_ratio(rows, keys, shared, options.budget)
            name = f"{prompts} x {shape}" + (" ragged" if ragged else "")
            row = {"shape": name, "token_ratio": bound, "padded_s": slow, "shared_s": fast}
            row |= {"speed_up": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
            row |= {"fraction": row["speed_up"] / bound, "difference": float((expected - got).abs().max())}
            if options.alternatives and not ragged and shape in SHAPES:
                for label, way in (("cache", expanded_cache), ("dense mask", dense_mask)):
                    _, _, other = paired(
                        lambda r=rows, k=keys: states(padded, r, k, options.budget),
                        lambda r=rows, w=way, p=shape[0]: w(base, r, p),
                        options.pairs,
                    )
                    row[label] = statistics.median(other)
            table.append(row)
            show(row)
    return table


def show(row: dict[str, Any]) -> None:
    """Print one row of the table."""
    extra = "".join(
        f"  {k} x{row[k]:.2f} ({row[k] / row['token_ratio']:.2f})" for k in ("cache", "dense mask") if k in row
    )
    print(
        f"| {row['shape']:24} | {row['token_ratio']:5.2f} | {row['padded_s']:7.3f} | {row['shared_s']:7.3f} "
        f"| {row['speed_up']:5.2f} ({row['low']:.2f}-{row['high']:.2f}) | {row['fraction']:5.2f} "
        f"| {row['difference']:.1e} |{extra}",
        flush=True,
    )


def options_of(doc: str | None, argv: list[str] | None = None, budget: int = 4096) -> argparse.Namespace:
    """The command line shared by the two prefix benchmarks."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("hidden", 512), ("layers", 4), ("heads", 8), ("pairs", 5), ("budget", budget)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--alternatives", action="store_true")
    return parser.parse_args(argv)


def header(what: str, options: argparse.Namespace) -> None:
    """What was run, and the heads of the columns."""
    print(
        f"{what}: random Llama {options.layers} x {options.hidden}, float32, {torch.get_num_threads()} threads, "
        f"budget {options.budget} tokens, median of {options.pairs} interleaved pairs"
    )
    print("| prompts x (P, R, N)       | ratio | padded s | shared s | speed-up         | of ratio | max diff |")
    print("|---|---|---|---|---|---|---|")


if __name__ == "__main__":
    chosen = options_of(__doc__)
    header("scoring", chosen)
    measure(chosen)

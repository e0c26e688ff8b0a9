"""Which head? Layers and activations on the shapes world, where right and wrong is an interaction of two inputs.

    python -m benchmarks.head_ablation [--seeds 3] [--pairs 4000]

Held-out accuracy of ``RewardModel(head="mlp", layers=..., activation=...)`` with the training time of a fit; the heads
are those of BaseReward's ablation (``guerdon.papers.basereward``). Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from guerdon.papers.basereward import HEADS, TESTS, fit, head_name
from guerdon.reward.learned.sources import accuracy
from guerdon.worlds.shapes import Shapes


def main() -> None:
    """Fit every head on every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=4000)
    options = parser.parse_args()
    worlds = [Shapes(seed) for seed in range(options.seeds)]
    data = [(w.comparisons(options.pairs, differ="faithful"), w.comparisons(TESTS, differ="faithful")) for w in worlds]
    print("| head | accuracy | seconds |\n|---|---|---|")
    for layers, activation in HEADS:
        figures, start = [], time.process_time()
        for world, (train, test) in zip(worlds, data, strict=True):
            figures.append(100 * accuracy(fit(world, train, layers=layers, activation=activation), test))
        seconds = (time.process_time() - start) / options.seeds
        spread = np.std(figures, ddof=1) if len(figures) > 1 else 0.0
        print(
            f"| {head_name(layers, activation)} | {np.mean(figures):.1f} ± {spread:.1f} | {seconds:.1f} |", flush=True
        )


if __name__ == "__main__":
    main()

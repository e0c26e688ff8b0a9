"""MiniLM fine-tuned end to end against the same encoder frozen under a linear Bradley-Terry head, on real comparisons.

    python -m benchmarks.finetune_minilm [FEEDBACK] [--seeds 0] [--max-length 160]

A quarter of the prompts is held out; each row is one seed's split: accuracy and log-loss on decided pairs that all
models score. ``frozen`` is ``guerdon fit --model bradley-terry`` (its default features of prompt and response),
``head`` the backbone's own reading of the pair with only the head fitted, ``full`` all weights tuned from there.
FEEDBACK is the harmless test part of HH-RLHF in the folder of real data beside the checkout where nothing is given;
rows that the reader refuses (dialogues that differ before their last turn) are set aside.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.feedback.star import Feedback
from guerdon.reward.learned.backbone import BackboneReward
from guerdon.reward.learned.model import RewardModel

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "hh" / "harmless-base.test.jsonl.gz"


def figures(models: dict[str, Any], test: Feedback) -> dict[str, tuple[float, float, int]]:
    """(accuracy, log-loss, pairs) by model, on the decided pairs that every model scores."""
    pairs = test.pairs(ties=False)
    used = np.unique(np.r_[pairs.a, pairs.b])
    gap = {}
    for name, model in models.items():
        u = np.full(len(test.responses), np.nan)
        u[used] = model.score(test.candidates.take(used)).value
        gap[name] = (u[pairs.a] - u[pairs.b]) * np.sign(pairs.p - 0.5)
    scored = np.isfinite(np.stack(list(gap.values()))).all(0)
    return {
        k: (float((g > 0).mean()), float(np.logaddexp(0, -g).mean()), len(g))
        for k, v in gap.items()
        for g in [v[scored]]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("feedback", nargs="?", default=str(REAL))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--max-length", type=int, default=160)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    options = parser.parse_args()
    if options.feedback == str(REAL) and not REAL.exists():
        print(f"left out: no real data at {REAL}; name a FEEDBACK file")
        return
    with tempfile.TemporaryDirectory() as aside:
        feedback = Feedback.read(options.feedback, skip_bad=Path(aside) / "refused.jsonl")
    print(f"{options.feedback}: {len(feedback)} judgements; {options.epochs:g} epochs at {options.learning_rate:g}")
    print("| seed | model | accuracy | log-loss | pairs | fit s |")
    print("|---|---|---|---|---|---|")
    for seed in options.seeds:
        train, test = feedback.split("prompt", 0.25, seed)
        shared: dict[str, Any] = {"max_length": options.max_length, "seed": seed}
        models: dict[str, Any] = {
            "frozen": RewardModel(seed=seed),
            "head": BackboneReward(tuning="head", **shared),
            "full": BackboneReward(tuning="full", epochs=options.epochs, learning_rate=options.learning_rate, **shared),
        }
        seconds = {}
        for name, model in models.items():
            start = time.perf_counter()
            model.fit(train)
            seconds[name] = time.perf_counter() - start
        for name, (accuracy, loss, n) in figures(models, test).items():
            print(f"| {seed} | {name} | {accuracy:.3f} | {loss:.4f} | {n} | {seconds[name]:.0f} |", flush=True)


if __name__ == "__main__":
    main()

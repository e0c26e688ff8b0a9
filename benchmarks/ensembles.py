"""What does an ensemble cost? Ten members trained at once, against one model and against ten fits.

    python -m benchmarks.ensembles [--pairs 4000] [--dim 384] [--members 10]

Processor seconds of ``fit`` on features at hand, for linear members and for networks; ``one`` is a ``RewardModel`` of
the same head (networks: of the members' own width, and of the default width 256), ``separate`` that many of them on
bootstrap samples. The project promises that ten linear members, and ten networks of the default width of members, cost
less than three default models.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from guerdon.feedback.star import Feedback
from guerdon.reward.learned.ensemble import EnsembleReward
from guerdon.reward.learned.fitted import FittedReward
from guerdon.reward.learned.model import RewardModel
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool


def seconds(model: FittedReward, feedback: Feedback) -> float:
    """Processor seconds of a fit."""
    start = time.process_time()
    model.fit(feedback)
    return time.process_time() - start


def main() -> None:
    """Time the fits and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--members", type=int, default=10)
    options = parser.parse_args()
    pool = Pool.planted(600, 10, options.dim, seed=0)
    gold = np.tanh(pool.features @ np.random.default_rng(0).normal(size=(options.dim, 12)) / options.dim**0.5).sum(1)
    people = Population.simulate(
        "shared", pool, gold[:, None], users=1, weights=[1.0], annotators=Annotator.bradley_terry(2.0)
    )
    feedback, encoder = people.history(count=options.pairs), pool.encoder()
    EnsembleReward(encoder=encoder, epochs=1).fit(feedback.take(np.arange(100)))  # imports are no part of a fit
    own = 32
    print(f"{options.members} members, {options.pairs:,} comparisons, {options.dim} features; processor seconds\n")
    print("| members | together | one | ratio | separate | ratio |\n|---|---|---|---|---|---|")
    for name, head, hidden in (("linear", "linear", own), (f"networks of {own}", "mlp", own), ("the same", "mlp", 256)):
        together = seconds(EnsembleReward(encoder=encoder, members=options.members, head=head, hidden=own), feedback)
        single = {"encoder": encoder, "head": head, "hidden": hidden, "dropout": 0.0}
        one = seconds(RewardModel(**single), feedback)  # type: ignore[arg-type]
        apart = 0.0
        for member in range(options.members):
            draw = np.random.default_rng(member).integers(0, len(feedback), len(feedback))
            apart += seconds(RewardModel(seed=member, **single), feedback.take(draw))  # type: ignore[arg-type]
        label = name if name != "the same" else f"networks of {own}, one of {hidden}"
        print(
            f"| {label} | {together:.2f} | {one:.2f} | {together / one:.1f} | {apart:.2f} | {together / apart:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

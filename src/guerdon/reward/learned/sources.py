"""Which data to train on: sources weighted in a mixture, and what each is worth by leaving it out.

A source is a name in the column ``subset`` of the feedback. :func:`leave_one_out` fits the same model without each
source in turn and measures it on every test separately: a mixture that is better on average may be worse where it
counts, so effects come per test, and only their mean ranks the sources.

Reference: Zhang et al. (2025), BaseReward: A Strong Baseline for Multimodal Reward Model,
https://arxiv.org/abs/2509.16127 (curation by source).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from guerdon.errors import FeedbackError
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward
from guerdon.reward.learned.fitted import FittedReward


@dataclass(frozen=True)
class SourceEffect:
    """What leaving one source out changed: ``gain`` by test in units of accuracy, positive = better without it."""

    source: str
    judgements: int
    gain: dict[str, float]

    @property
    def mean(self) -> float:
        """Mean gain over the tests."""
        return float(np.mean(list(self.gain.values())))


def mixture(feedback: Feedback, weights: Mapping[str, float]) -> Feedback:
    """``feedback`` with its judgements' weights times that of their source; 0 leaves a source out, unnamed keep 1."""
    unknown = set(weights) - set(feedback.subsets)
    if unknown:
        raise FeedbackError(f"no source {sorted(unknown)[0]!r}; this feedback has: {', '.join(feedback.subsets)}")
    if any(not (np.isfinite(w) and w >= 0) for w in weights.values()):
        raise FeedbackError(f"mixture {dict(weights)}: weights are finite and not negative")
    table = np.array([*(weights.get(name, 1.0) for name in feedback.subsets), 1.0])  # the last is "no source"
    factor = table[feedback.subset]
    return replace(feedback, weight=feedback.weight * factor).take(factor > 0)


def accuracy(reward: Reward, test: Feedback) -> float:
    """Share of the comparisons of ``test`` whose preferred response scores higher; equal scores count half."""
    pairs, used = test.pairs(ties=False), test.used
    value = np.full(len(test.responses), np.nan)
    value[used] = reward.score(test.candidates.take(used)).value
    gap = (value[pairs.a] - value[pairs.b]) * np.sign(pairs.p - 0.5)
    return float(np.mean((gap > 0) + 0.5 * (gap == 0)))


def leave_one_out(
    feedback: Feedback,
    make: Callable[[], FittedReward],
    tests: Mapping[str, Feedback],
    measure: Callable[[Reward, Feedback], float] = accuracy,
) -> list[SourceEffect]:
    """The effect of leaving each source out, best to drop first.

    make      a fresh, unfitted model; the same hyper-parameters for every fit
    tests     named held-out feedback, free of the sources' own label noise
    """
    if len(feedback.subsets) < 2:
        raise FeedbackError("leaving sources out needs at least two of them (the column subset names the source)")
    if not tests:
        raise FeedbackError("leaving sources out needs at least one test to measure on")

    def figures(part: Feedback) -> dict[str, float]:
        reward = make().fit(part)
        return {name: measure(reward, test) for name, test in tests.items()}

    whole, effects = figures(feedback), []
    for code, source in enumerate(feedback.subsets):
        without = figures(feedback.take(feedback.subset != code))
        gain = {name: without[name] - whole[name] for name in tests}
        effects.append(SourceEffect(source, int(np.sum(feedback.subset == code)), gain))
    return sorted(effects, key=lambda e: -e.mean)

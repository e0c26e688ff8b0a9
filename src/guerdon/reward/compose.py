"""Rewards made of rewards: sums, standardised, negated and clipped scores. Each is just another Reward.

Unscored stays unscored: a sum with a missing part is missing, with the part named in the reason. Standard deviations
are carried along (parts are taken as independent) where every part has one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores


class WeightedSum(Reward):
    """score(x) = sum_i weight_i * score_i(x).

    Parameters
    ----------
    parts : the rewards
    weights : one finite number a part (default: all 1)
    """

    def __init__(
        self, parts: Sequence[Reward], weights: Sequence[float] | None = None, name: str | None = None
    ) -> None:
        weights = [1.0] * len(parts) if weights is None else [float(w) for w in weights]
        if not parts or len(parts) != len(weights) or not np.isfinite(weights).all():
            raise ConfigError(f"weighted sum of {len(parts)} rewards: give one finite weight a reward, not {weights}")
        self.parts, self.weights = list(parts), weights
        self.reads = tuple(dict.fromkeys(column for part in parts for column in part.reads))
        self.name = name or "+".join(part.name for part in parts)

    def score(self, candidates: Candidates) -> Scores:
        """The weighted sum; ``detail`` holds the parts' own scores by name."""
        scores = [part.score(candidates) for part in self.parts]
        value = np.zeros(len(candidates))
        variance = np.zeros(len(candidates))
        for weight, part in zip(self.weights, scores, strict=True):
            value = value + weight * part.value
            variance = variance + (np.nan if part.std is None else (weight * part.std) ** 2)
        status = ["scored"] * len(candidates)
        reason: list[str | None] = [None] * len(candidates)
        detail = {}
        for i, (source, part) in enumerate(zip(self.parts, scores, strict=True)):
            detail[source.name if source.name not in detail else f"{source.name}:{i}"] = part.value.tolist()
            for row in range(len(candidates)):
                if status[row] == "scored" and (part.status[row] != "scored" or part.reason[row]):
                    status[row] = part.status[row]
                    reason[row] = f"{source.name}: {part.reason[row] or part.status[row]}"
        known = all(part.std is not None for part in scores)
        return Scores(value, status, reason, np.sqrt(variance) if known else None, detail)


class Affine(Reward):
    """score(x) = clip(scale * score(x) + shift, low, high)."""

    def __init__(
        self,
        reward: Reward,
        *,
        scale: float = 1.0,
        shift: float = 0.0,
        low: float = -np.inf,
        high: float = np.inf,
        name: str | None = None,
    ) -> None:
        if not np.isfinite([scale, shift]).all() or scale == 0 or not low < high:
            raise ConfigError(f"scale={scale}, shift={shift}, low={low}, high={high}: need scale != 0 and low < high")
        self.reward, self.scale, self.shift, self.low, self.high = reward, scale, shift, low, high
        self.reads = reward.reads
        self.name = name or reward.name

    def score(self, candidates: Candidates) -> Scores:
        """The transformed scores; a clipped score keeps its standard deviation."""
        inner = self.reward.score(candidates)
        value = np.clip(self.scale * inner.value + self.shift, self.low, self.high)
        std = None if inner.std is None else abs(self.scale) * inner.std
        return Scores(value, inner.status, inner.reason, std, inner.detail, inner.cost)


def negated(reward: Reward) -> Reward:
    """The same judge with the opposite taste."""
    return Affine(reward, scale=-1.0, name=f"-{reward.name}")


def clipped(reward: Reward, low: float, high: float) -> Reward:
    """Scores kept inside [low, high]: a bound on what a policy can gain by fooling the reward."""
    return Affine(reward, low=low, high=high)


def normalized(reward: Reward, reference: Candidates) -> Reward:
    """Scores with mean 0 and standard deviation 1 on ``reference``, so that rewards of different units can be added."""
    value = reward.score(reference).value
    value = value[~np.isnan(value)]
    spread = float(value.std()) if len(value) else 0.0
    if spread < 1e-12:
        raise ConfigError(f"{reward.name}: {len(value)} scored reference candidates that do not differ; give others")
    return Affine(reward, scale=1 / spread, shift=-float(value.mean()) / spread)

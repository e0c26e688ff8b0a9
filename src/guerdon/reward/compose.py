"""Rewards made of rewards: sums, minima, products, gates, pessimism, abstention. Each is just another Reward.

Unscored stays unscored: a sum with a missing part is missing, with the part named in the reason. Standard deviations
are carried along (parts are taken as independent) where every part has one. ``detail`` holds the parts' own scores by
name, so that a composed reward explains itself. Rewards of different units are brought to one with :func:`normalized`
or :mod:`guerdon.reward.calibrate` first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores


class Composed(Reward):
    """Several rewards asked about the same candidates; subclasses implement :meth:`combine`."""

    def __init__(self, parts: Sequence[Reward], name: str) -> None:
        if not parts:
            raise ConfigError("a composed reward needs at least one part")
        self.parts = list(parts)
        self.name = name
        self.reads = tuple(dict.fromkeys(column for part in parts for column in part.reads))
        self.sees = tuple(dict.fromkeys(kind for part in parts for kind in part.sees))

    def combine(self, value: np.ndarray, std: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """(value [n], std [n] or None) from the parts' values [parts, n] and, where all have them, their stds."""
        raise TypeError(f"{type(self).__name__} does not implement combine")

    def score(self, candidates: Candidates) -> Scores:
        """The combination; a candidate that any part leaves unscored is unscored."""
        scores = [part.score(candidates) for part in self.parts]
        stds = [part.std for part in scores if part.std is not None]
        with np.errstate(invalid="ignore"):  # NaN of unscored candidates passes through
            value, std = self.combine(
                np.stack([part.value for part in scores]), np.stack(stds) if len(stds) == len(scores) else None
            )
        status = ["scored"] * len(candidates)
        reason: list[str | None] = [None] * len(candidates)
        detail = {}
        for i, (source, part) in enumerate(zip(self.parts, scores, strict=True)):
            detail[source.name if source.name not in detail else f"{source.name}:{i}"] = part.value.tolist()
            for row in range(len(candidates)):
                if status[row] == "scored" and (part.status[row] != "scored" or part.reason[row]):
                    status[row] = part.status[row]
                    reason[row] = f"{source.name}: {part.reason[row] or part.status[row]}"
        return Scores(value, status, reason, std, detail)


class WeightedSum(Composed):
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
        super().__init__(parts, name or "+".join(part.name for part in parts))
        self.weights = weights

    def combine(self, value: np.ndarray, std: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        weights = np.array(self.weights)
        return weights @ value, None if std is None else np.sqrt(weights**2 @ std**2)


class Minimum(Composed):
    """score(x) = min_i score_i(x): as good as its worst part; parts must have one unit."""

    def __init__(self, parts: Sequence[Reward], name: str | None = None) -> None:
        super().__init__(parts, name or f"min({', '.join(part.name for part in parts)})")

    def combine(self, value: np.ndarray, std: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        lowest = np.argmin(value, axis=0)[None]  # NaN is lowest of all, which keeps unscored unscored
        chosen = np.take_along_axis(value, lowest, 0)[0]
        return chosen, None if std is None else np.take_along_axis(std, lowest, 0)[0]


class Product(Composed):
    """score(x) = prod_i score_i(x), for parts in [0, 1] that must all hold; its std is the first-order one."""

    def __init__(self, parts: Sequence[Reward], name: str | None = None) -> None:
        super().__init__(parts, name or " x ".join(part.name for part in parts))

    def combine(self, value: np.ndarray, std: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        if np.nanmin(value, initial=0.0) < 0:
            part = self.parts[int(np.nanargmin(np.nanmin(value, axis=1)))].name
            raise ConfigError(f"{self.name}: {part} scores below 0, so the product has no order; calibrate it first")
        if std is None:
            return value.prod(axis=0), None
        others = np.stack([np.delete(value, i, axis=0).prod(axis=0) for i in range(len(value))])
        return value.prod(axis=0), np.sqrt(np.sum((others * std) ** 2, axis=0))


class Gated(Reward):
    """``reward`` where ``gate`` says at least ``at_least``, else ``otherwise``; ``reward`` sees only what passes.

    Parameters
    ----------
    gate : decides (a format, a verified answer, a safety reward)
    reward : scores what passes
    at_least : the gate's threshold
    otherwise : score of what does not pass; None leaves it unscored (``abstained``)
    """

    def __init__(
        self,
        gate: Reward,
        reward: Reward,
        *,
        at_least: float = 0.5,
        otherwise: float | None = 0.0,
        name: str | None = None,
    ) -> None:
        if not np.isfinite(at_least) or (otherwise is not None and not np.isfinite(otherwise)):
            raise ConfigError(f"at_least={at_least}, otherwise={otherwise}: use finite numbers (or otherwise=None)")
        self.gate, self.reward, self.at_least, self.otherwise = gate, reward, at_least, otherwise
        self.reads = tuple(dict.fromkeys((*gate.reads, *reward.reads)))
        self.sees = tuple(dict.fromkeys((*gate.sees, *reward.sees)))
        self.name = name or f"{reward.name} if {gate.name}"

    def score(self, candidates: Candidates) -> Scores:
        """The reward of what passes; ``detail`` holds the gate's values."""
        gate = self.gate.score(candidates)
        n, passes = len(candidates), gate.value >= self.at_least  # NaN passes nothing
        value = np.full(n, np.nan if self.otherwise is None else self.otherwise)
        value[np.isnan(gate.value)] = np.nan
        said = f"{self.gate.name} is below {self.at_least:g}"
        status: list[str] = ["abstained" if self.otherwise is None else "scored"] * n
        reason: list[str | None] = [said] * n
        for row in np.flatnonzero(np.isnan(gate.value)).tolist():
            status[row], reason[row] = gate.status[row], f"{self.gate.name}: {gate.reason[row] or gate.status[row]}"
        rows = np.flatnonzero(passes)
        inner = self.reward.score(candidates.take(rows))
        value[rows] = inner.value
        for i, row in enumerate(rows):
            status[row], reason[row] = inner.status[i], inner.reason[i]
        std = None
        if inner.std is not None:
            std = np.zeros(n)
            std[rows] = inner.std
        return Scores(value, status, reason, std, {self.gate.name: gate.value.tolist()}, inner.cost)


class Pessimistic(Reward):
    """score(x) - k std(x): a policy gains nothing from candidates that the reward knows little about.

    Coste et al. 2024, arXiv:2310.02743 (ensembles against over-optimisation); for any reward whose scores carry a std.
    """

    def __init__(self, reward: Reward, k: float = 1.0, name: str | None = None) -> None:
        if not (np.isfinite(k) and k >= 0):
            raise ConfigError(f"k={k}: use a number >= 0")
        self.reward, self.k, self.reads, self.sees = reward, k, reward.reads, reward.sees
        self.name = name or f"{reward.name}-{k:g}std"

    def score(self, candidates: Candidates) -> Scores:
        """The lower bound; raises ConfigError where the reward does not say how sure it is."""
        inner = self.reward.score(candidates)
        return Scores(
            inner.value - self.k * _std(self.reward, inner),
            inner.status,
            inner.reason,
            inner.std,
            {**inner.detail, "mean": inner.value.tolist()},
            inner.cost,
        )


class Abstaining(Reward):
    """``reward`` where it is sure enough, unscored (``abstained``) where its std is above ``most_std``."""

    def __init__(self, reward: Reward, most_std: float, name: str | None = None) -> None:
        if not most_std > 0:
            raise ConfigError(f"most_std={most_std}: use a number > 0")
        self.reward, self.most_std = reward, most_std
        self.reads, self.sees = reward.reads, reward.sees
        self.name = name or reward.name

    def score(self, candidates: Candidates) -> Scores:
        """The sure scores."""
        inner = self.reward.score(candidates)
        std = _std(self.reward, inner)
        unsure = (std > self.most_std) & inner.scored
        said = [f"std {s:.3g} is above {self.most_std:g}" for s in std]
        status = ["abstained" if u else s for u, s in zip(unsure, inner.status, strict=True)]
        reason = [t if u else r for u, t, r in zip(unsure, said, inner.reason, strict=True)]
        return Scores(np.where(unsure, np.nan, inner.value), status, reason, std, inner.detail, inner.cost)


def _std(reward: Reward, scores: Scores) -> np.ndarray:
    if scores.std is None:
        raise ConfigError(f"{reward.name} does not say how sure it is (no std); use an ensemble or a personal reward")
    return scores.std


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
        self.reads, self.sees = reward.reads, reward.sees
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

"""Scores that mean something: fitted to what people said, a difference becomes P(preferred), a score P(good).

=============== ==================================================================== ===============================
map             what it is                                                           fitted to
=============== ==================================================================== ===============================
``temperature`` P = logistic(slope * difference), one number; scores become log-odds comparisons, soft ones included
``isotonic``    P = any rising function of the difference with P(-d) = 1 - P(d)       comparisons, some hundreds or more
``platt``       P(good) = logistic(slope * score + shift), in [0, 1]                  single responses judged 0 or 1
=============== ==================================================================== ===============================

Comparisons whose ``p`` is a rate (30 % of people preferred a) calibrate to that rate. :class:`LengthControlled` takes
out of a score what length alone explains. Fit on feedback that the reward was not fitted to.

References: Platt 1999; Zadrozny & Elkan 2002; Guo et al. 2017, arXiv:1706.04599; Dubois et al. 2024, arXiv:2404.04475
(length control).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward, Scores

KINDS = ("temperature", "isotonic", "platt")
LEAST = 20
"""Fewer data than this calibrate nothing."""


def calibrated(reward: Reward, feedback: Feedback, kind: str = "temperature") -> Calibrated:
    """``reward`` with one of the maps above fitted to ``feedback``.

    Raises
    ------
    FeedbackError
        if fewer than 20 comparisons (for ``platt``: single responses judged 0 or 1) are scored
    ConfigError
        if ``kind`` is unknown, or the reward prefers what people reject, which no rising map mends
    """
    if kind not in KINDS:
        raise ConfigError(f"calibration {kind!r} is unknown; use one of {', '.join(KINDS)}")
    if kind == "platt":
        score, label, weight = _labels(reward, feedback)
        slope, shift = _logistic(score, label, weight, intercept=True)
    else:
        score, label, weight = _differences(reward, feedback)
        slope, shift = _logistic(score, label, weight, intercept=False)
    if slope <= 0:
        raise ConfigError(f"{reward.name} prefers what people reject here (slope {slope:.3g}); use negated() first")
    knots = _isotonic(score, label, weight) if kind == "isotonic" else None
    return Calibrated(reward, kind, slope, shift, knots)


class Calibrated(Reward):
    """A reward under a fitted map. ``temperature`` and ``isotonic`` change ``prefer``, ``platt`` the score itself.

    slope, shift  of the logistic
    knots         (differences [k] rising from 0, P [k]) of the isotonic map, linear between, constant beyond
    """

    def __init__(
        self,
        reward: Reward,
        kind: str,
        slope: float,
        shift: float = 0.0,
        knots: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.reward, self.kind, self.slope, self.shift, self.knots = reward, kind, slope, shift, knots
        self.reads, self.sees = reward.reads, reward.sees
        self.name = reward.name

    def score(self, candidates: Candidates) -> Scores:
        """Log-odds (temperature, and isotonic approximately), or P(good) (platt)."""
        inner = self.reward.score(candidates)
        value, scale = self.slope * inner.value, self.slope
        if self.kind == "platt":
            value = expit(value + self.shift)
            scale = self.slope * value * (1 - value)
        std = None if inner.std is None else np.abs(scale) * inner.std
        return Scores(value, inner.status, inner.reason, std, inner.detail, inner.cost)

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a preferred to b)."""
        if self.kind == "platt":  # P(good) of each: the odds ratio is the logistic of the difference of log-odds
            left, right = self.reward.score(a), self.reward.score(b)
            return _preference(expit(self.slope * (left.value - right.value)), left, right)
        if self.knots is None:
            return super().prefer(a, b)
        left, right = self.reward.score(a), self.reward.score(b)
        d = left.value - right.value
        p = np.interp(np.abs(d), *self.knots)
        return _preference(np.where(np.isnan(d), np.nan, np.where(d >= 0, p, 1 - p)), left, right)


def _preference(value: np.ndarray, left: Scores, right: Scores) -> Scores:
    status = [s if s != "scored" else t for s, t in zip(left.status, right.status, strict=True)]
    return Scores(value, status, [s or t for s, t in zip(left.reason, right.reason, strict=True)])


def _differences(reward: Reward, feedback: Feedback) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(score difference, P(a preferred), weight) of the comparisons that the reward scores for who judged."""
    pairs = feedback.pairs()
    user = [None if u < 0 else feedback.users[u] for u in pairs.user]
    criterion = [None if c < 0 else feedback.criteria[c] for c in pairs.criterion]
    sides = []
    for index in (pairs.a, pairs.b):
        side = feedback.candidates.take(index)
        sides.append(reward.score(Candidates(side.prompts, side.responses, user=user, criterion=criterion)).value)
    d = sides[0] - sides[1]
    good = ~np.isnan(d)
    if good.sum() < LEAST:
        raise FeedbackError(
            f"calibration needs at least {LEAST} comparisons that {reward.name} scores, not {good.sum()}"
        )
    return d[good], pairs.p[good], pairs.weight[good]


def _labels(reward: Reward, feedback: Feedback) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = np.flatnonzero((feedback.sizes == 1) & np.isin(feedback.grades[feedback.offsets[:-1]], (0.0, 1.0)))
    side = feedback.candidates.take(feedback.items[feedback.offsets[rows]])
    user = [None if u < 0 else feedback.users[u] for u in feedback.user[rows]]
    score = reward.score(Candidates(side.prompts, side.responses, user=user)).value if len(rows) else np.zeros(0)
    good = ~np.isnan(score)
    label = feedback.grades[feedback.offsets[rows]][good]
    if good.sum() < LEAST or len(np.unique(label)) < 2:
        raise FeedbackError(
            f"platt needs at least {LEAST} single responses judged 0 or 1, of both kinds, not {good.sum()}; "
            "for comparisons use temperature or isotonic"
        )
    return score[good], label, feedback.weight[rows][good]


def _logistic(x: np.ndarray, p: np.ndarray, weight: np.ndarray, *, intercept: bool) -> tuple[float, float]:
    """(slope, shift) of the logistic regression of p on x; half a datum of each side keeps the slope finite."""
    unit = float(np.abs(x).mean()) or 1.0
    z, share = x / unit, weight / weight.sum()
    p = (p * len(p) + 0.5) / (len(p) + 1)  # as if one more datum had been undecided

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        logit = theta[0] * z + theta[1]
        off = share * (expit(logit) - p)
        loss = share @ (np.logaddexp(0, -logit) + (1 - p) * logit)
        return float(loss), np.array([off @ z, off.sum() if intercept else 0.0])

    slope, shift = minimize(objective, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    return float(slope / unit), float(shift)


def _isotonic(d: np.ndarray, p: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(|difference| [k], P [k]): pool-adjacent-violators on the pairs turned so that the difference is >= 0."""
    turned, distance = np.where(d >= 0, p, 1 - p), np.abs(d)
    order = np.argsort(distance, kind="stable")
    fitted = np.clip(isotonic_regression(turned[order], weights=np.maximum(weight[order], 1e-12)).x, 0.5, 1.0)
    # one knot in the middle of each level; none may be certain
    levels, first = np.unique(fitted, return_index=True)
    bounds = np.r_[first, len(fitted)]
    middle = np.array([distance[order][a:b].mean() for a, b in pairwise(bounds)])
    n = np.diff(bounds)
    return np.r_[0.0, middle], np.maximum.accumulate(np.r_[0.5, (levels * n + 0.5) / (n + 1)])


class LengthControlled(Reward):
    """score(x) - slope * log(1 + characters): what is left of a score when length is held fixed.

    ``slope`` is the within-prompt least-squares slope on ``reference``, so that differences between prompts (some ask
    for long answers) are not mistaken for a liking of length.
    """

    def __init__(self, reward: Reward, reference: Candidates) -> None:
        value, length = reward.score(reference).value, _log_length(reference)
        good = ~np.isnan(value)
        prompts = np.unique([as_text(p) for p in reference.prompts], return_inverse=True)[1][good]
        count = np.maximum(np.bincount(prompts), 1)
        x, y = (v - (np.bincount(prompts, weights=v) / count)[prompts] for v in (length[good], value[good]))
        if not float(x @ x) > 1e-9:
            raise ConfigError(
                f"{reward.name}: no prompt of the reference has scored responses of different lengths; give others"
            )
        self.reward, self.slope = reward, float(x @ y / (x @ x))
        self.reads, self.sees = reward.reads, reward.sees
        self.name = f"{reward.name} at equal length"

    def score(self, candidates: Candidates) -> Scores:
        """The score without the share of length."""
        inner = self.reward.score(candidates)
        value = inner.value - self.slope * _log_length(candidates)
        return Scores(value, inner.status, inner.reason, inner.std, inner.detail, inner.cost)


def _log_length(candidates: Candidates) -> np.ndarray:
    return np.log1p([len(as_text(response)) for response in candidates.responses])

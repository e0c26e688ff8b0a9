"""K-shot personalisation of people a reward has never seen, without leakage (see :mod:`draws`).

Each new person's judgements are split in two parts with a seed. K comparisons drawn from one part (the shots) are what
``reward.adapt`` is told, all people at once; the other part is what the adapted reward is tested on. The test pairs and
the people are the same at every K, and fewer shots are the first of the more, so the curve over K shows the shots'
effect and nothing else; K = 0 is the reward as it was, which gives an unknown person the population.

Several draws are averaged within each person. Intervals are over people: the claim is about the next person.

References
----------
.. [1] Bose, Xiong, Chi, Du, Xiao, Fazel. LoRe: personalizing LLMs via low-rank reward modeling. 2025.
   https://arxiv.org/abs/2504.14439
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from guerdon.bench.draws import MIN_TEST, Draw, candidate_pairs, draw, shot_feedback
from guerdon.bench.intervals import ClusterBootstrap, Figure
from guerdon.bench.metrics import PAIR_METRICS, pair_terms
from guerdon.bench.scoring import known_people, predict_pairs
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward

SHOTS = (0, 2, 5, 10, 20)
MIN_PEOPLE = 10
"""A number of shots that fewer people than this can give is left out."""


def check_shots(reward: Any, shots: Sequence[int]) -> tuple[list[int], frozenset[str]]:
    """(numbers of shots from 0 on, people the reward knows); ConfigError if they make no sense for this reward."""
    counts = sorted({0, *shots})
    if counts[0] < 0 or len(counts) < 2:
        raise ConfigError(f"shots={list(shots)}: give numbers of shots >= 1, e.g. 2,5,10,20")
    known = known_people(reward)
    if known is None:
        raise ConfigError(f"shots need a personal reward; {reward.name!r} keeps no people (fit one with low-rank)")
    return counts, known


@dataclass(frozen=True)
class ShotPoint:
    """Figures at K shots: means over people, the same over pairs, and paired differences to no shots (over people)."""

    shots: int
    people: dict[str, Figure]
    pairs: dict[str, Figure]
    gain: dict[str, Figure]
    helped: float
    """share of the people whose accuracy rose, less those whose accuracy fell; in [-1, 1]"""
    seconds: float
    """one ``adapt`` of all people, median over the draws"""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        out: dict[str, Any] = {"shots": self.shots, "helped": self.helped, "seconds": self.seconds}
        for name in ("people", "pairs", "gain"):
            out[name] = {k: v.to_dict() for k, v in getattr(self, name).items()}
        return out


@dataclass(frozen=True)
class ShotCurve:
    """Accuracy and log-loss against the number of shots, for people the reward had not seen."""

    points: list[ShotPoint]
    n_people: int
    n_unseen: int
    test_pairs: int
    draws: int
    baselines: dict[str, Figure] = field(default_factory=dict)
    """accuracy of each baseline on the same test pairs, mean over people"""
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "points": [p.to_dict() for p in self.points],
            "people": self.n_people,
            "unseen_people": self.n_unseen,
            "test_pairs": self.test_pairs,
            "draws": self.draws,
            "baselines": {k: v.to_dict() for k, v in self.baselines.items()},
            "notes": self.notes,
        }


def shot_curve(
    reward: Any,
    feedback: Feedback,
    *,
    shots: Sequence[int] = SHOTS,
    draws: int = 3,
    seed: int = 0,
    bootstrap: int = 1000,
    baselines: dict[str, Reward] | None = None,
    max_pairs: int = 200,
    max_people: int = 1000,
) -> ShotCurve:
    """Adapt ``reward`` to the people of ``feedback`` that it does not know, with K shots each, and measure.

    shots       the numbers of shots; 0 is added
    draws       how many times shots and test parts are drawn
    baselines   further rewards measured on the same test pairs
    max_pairs   at most so many test pairs a person and draw
    max_people  at most so many people, drawn at random

    Raises
    ------
    ConfigError
        if ``reward`` is not personal or the numbers of shots make no sense
    FeedbackError
        if ``feedback`` holds nobody new, or nobody who said enough
    """
    counts, known = check_shots(reward, shots)
    present = np.unique(feedback.user[feedback.user >= 0])
    unseen = np.array([u for u in present if feedback.users[u] not in known], dtype=np.int64)
    if not len(unseen):
        why = "names no people" if not len(present) else f"holds only people that {reward.name!r} already knows"
        raise FeedbackError(f"shots: this feedback {why}; hold people out with: guerdon fit --split user")
    notes: list[str] = []
    if len(unseen) > 3 * max_people:  # more than enough to find max_people who said enough
        notes.append(f"{3 * max_people} of {len(unseen)} unseen people drawn at random")
        unseen = np.sort(np.random.default_rng(seed).choice(unseen, 3 * max_people, replace=False))
    pairs = candidate_pairs(feedback, unseen, max_pairs, seed)
    while counts[-1]:
        parts = [draw(feedback, pairs, counts[-1], seed + 1000 * d, max_pairs, max_people) for d in range(draws)]
        people = np.unique(np.concatenate([d.test.user for d in parts]))
        if len(people) >= min(MIN_PEOPLE, len(unseen)):
            break
        enough = f"{len(people)} of {len(unseen)} unseen people gave enough judgements"
        notes.append(f"{counts[-1]} shots left out: only {enough} for so many and {MIN_TEST} test pairs")
        counts.pop()
    else:
        raise FeedbackError(f"shots: too few judgements per unseen person ({len(unseen)} people): {notes[-1]}")
    if len(people) < len(unseen):
        why = "the others gave too few judgements" if len(people) < max_people else f"at most {max_people} are drawn"
        notes.append(f"{len(people)} of {len(unseen)} unseen people take part: {why}")
    return _measure(reward, feedback, parts, people, counts, len(unseen), seed, bootstrap, baselines or {}, notes)


# ---------------------------------------------------------------------------------------------------- measuring


def _measure(
    reward: Any,
    feedback: Feedback,
    parts: list[Draw],
    people: np.ndarray,
    counts: list[int],
    unseen: int,
    seed: int,
    replicates: int,
    baselines: dict[str, Reward],
    notes: list[str],
) -> ShotCurve:
    bootstrap = ClusterBootstrap(len(people), replicates=replicates, seed=seed)
    codes = np.arange(len(people))
    sums = {k: _Sums(len(people)) for k in [*counts, *baselines]}
    seconds: dict[int, list[float]] = {k: [] for k in counts}
    lost = 0
    for part in parts:
        person = np.searchsorted(people, part.test.user)
        asked: dict[Any, np.ndarray] = {}
        for k in counts:
            adapted, began = reward, time.perf_counter()
            if k:
                adapted = reward.adapt(shot_feedback(feedback, part.shots.take(part.turn < k)))
            seconds[k].append(time.perf_counter() - began)
            asked[k] = predict_pairs(adapted, feedback, part.test).value
        common = ~np.isnan(np.stack([asked[k] for k in counts])).any(0)
        lost += int((~common).sum())
        for name, baseline in baselines.items():
            asked[name] = predict_pairs(baseline, feedback, part.test).value
        for key, q in asked.items():
            rows = common & ~np.isnan(q)
            sums[key].add(person[rows], part.test.p[rows], q[rows])
    if lost:
        notes.append(f"{lost} test pairs unscored and left out")
    points = []
    none = sums[counts[0]].means()
    for k in counts:
        mine = sums[k].means()
        over_people, over_pairs, gain = {}, {}, {}
        for metric in PAIR_METRICS:
            good = ~np.isnan(mine[metric])
            over_people[metric] = bootstrap.ratio(codes[good], mine[metric][good])
            top, bottom = sums[k].total[metric]
            over_pairs[metric] = replace(bootstrap.ratio(codes, top, bottom), n=sums[k].pairs)
            gain[metric] = bootstrap.difference(codes[good], mine[metric][good], none[metric][good])
        change = np.sign(np.round(mine["accuracy"] - none["accuracy"], 12))
        helped = float(np.nanmean(change)) if (~np.isnan(change)).any() else float("nan")
        points.append(ShotPoint(k, over_people, over_pairs, gain, helped, float(np.median(seconds[k]))))
    figures = {}
    for name in baselines:
        accuracy = sums[name].means()["accuracy"]
        good = ~np.isnan(accuracy)
        if good.any():
            figures[name] = bootstrap.ratio(codes[good], accuracy[good])
    tested = sum(len(d.test) for d in parts)
    return ShotCurve(points, len(people), unseen, tested, len(parts), figures, notes)


class _Sums:
    """Sums of the pair terms by person, over all draws."""

    def __init__(self, people: int) -> None:
        self.total = {m: (np.zeros(people), np.zeros(people)) for m in PAIR_METRICS}
        self.pairs = 0

    def add(self, person: np.ndarray, p: np.ndarray, q: np.ndarray) -> None:
        """Add the answered test pairs of one draw."""
        self.pairs += len(p)
        for metric, terms in pair_terms(p, q, np.ones(len(p))).items():
            for total, term in zip(self.total[metric], terms, strict=True):
                total += np.bincount(person, weights=term, minlength=len(total))

    def means(self) -> dict[str, np.ndarray]:
        """Each metric's mean by person [people]; NaN without a pair."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return {m: np.where(bottom > 0, top / bottom, np.nan) for m, (top, bottom) in self.total.items()}

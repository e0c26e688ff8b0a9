"""How many prototypes, and how far a person's few votes may move them: what serves people held out best.

Each number of prototypes is trained without the people held out; these then give a few comparisons, and what counts is
the log-loss of their others (:mod:`guerdon.reward.personal.trial`). A gain is claimed over the better of one shared
ideal point and one linear utility.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import softmax

from guerdon.errors import FeedbackError
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.personal.ideal_training import Points, calibrate, fit_geometry
from guerdon.reward.personal.ideal_weights import prior_precision, solve
from guerdon.reward.personal.selection import Evidence, FewShot, folds_of, gain, within_person
from guerdon.reward.personal.trial import LEAST_PEOPLE, linear_population, shot_trial

TRUST = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Variances of a person's logits around the population's that are tried."""
GRID = (1, 2, 3, 4, 6)

SELECTION_PEOPLE, SELECTION_PAIRS = 300, 40
"""K and trust are chosen on at most so many people and so many comparisons of each to learn from, with one start."""


def choose(
    feedback: Feedback, pairs: Pairs, points: Points, x: np.ndarray, settings: Mapping[str, Any]
) -> tuple[int, float, dict[str, Any]]:
    """(K, trust, what was found) for the comparisons ``pairs`` of the candidates ``points``.

    x   float64 [C, d] scaled features, for the linear utility that a gain must beat

    Raises
    ------
    FeedbackError
        if people are too few, or nobody has comparisons to hold out
    """
    s = settings
    trusts: tuple[float, ...] = {"learned": TRUST, "none": (np.inf,)}.get(s["prior"], (s["prior"],))
    people = np.unique(pairs.user)
    if len(people) < LEAST_PEOPLE:
        if s["k"] == "auto" or (s["prior"] == "learned" and s["k"] > 1):
            raise FeedbackError(
                f"prototypes and trust in people's votes are chosen on people held out; here are {len(people)}, at "
                f"least {LEAST_PEOPLE} are needed (or say both: --set k=2 --set prior=1)"
            )
        return int(s["k"]), float(trusts[-1]), {"personal": False}
    if len(people) > SELECTION_PEOPLE:
        people = np.sort(np.random.default_rng(s["seed"]).choice(people, SELECTION_PEOPLE, replace=False))
        pairs = pairs.take(np.isin(pairs.user, people))
    task = FewShot.of(feedback, pairs, s["seed"])
    task = task.of_people(folds_of(task.tests.user, s["seed"])[0])
    if not len(task.tests):
        raise FeedbackError(
            "no person has enough comparisons to hold some out (each needs at least 4 or so); fit --model bradley-terry"
        )
    fitting = pairs.take(~np.isin(pairs.user, task.tests.user) & (within_person(pairs.user) < SELECTION_PAIRS))
    counts = [k for k in (GRID if s["k"] == "auto" else (int(s["k"]),)) if 1 < k <= len(people) // 2]
    alone = _trial(points, fitting, task, 1, (0.0,), s)
    line = linear_population(x, fitting, task.tests)
    straight = Evidence.of({"linear": True}, [shot_trial(task, lambda *_: line, line, (0.0,))], (0.0,))
    best, tried = None, []
    for k in counts:
        found = _trial(points, fitting, task, k, trusts, s)
        tried.append(found)
        if best is None or found.loss < best.loss - 1e-5:
            best = found
        elif k >= 2 * best.setting["k"]:
            break
    if best is None or (s["k"] == "auto" and (best.trust == 0 or best.loss >= alone.loss)):
        best = alone
    population = min((alone, straight), key=lambda e: e.population_loss)
    mean, low, high = gain(best, population, s["seed"]) if best is not alone else (0.0, 0.0, 0.0)
    return (
        int(best.setting["k"]),
        float(best.trust),
        {
            "heldout_gain_accuracy": mean,
            "heldout_gain_low": low,
            "heldout_gain_high": high,
            "personal": bool(best.trust > 0 and low > 0),
            "selection": [e.row() for e in (alone, straight, *tried)],
        },
    )


def _trial(
    points: Points, fitting: Pairs, task: FewShot, k: int, trusts: tuple[float, ...], s: Mapping[str, Any]
) -> Evidence:
    """How well k prototypes of ``fitting`` serve the people of ``task``."""
    trained = fit_geometry(points, fitting, k, s, s["seed"])
    mean, placed = trained.mean(s["temperature"]), points.placed(trained.geometry)
    factor = calibrate(placed, fitting, trained, s)
    codes = np.unique(task.tests.user)

    def answer(shots: Pairs, tests: Pairs, trust: float) -> np.ndarray:
        v = np.tile(mean, (len(codes), 1))
        if trust > 0:
            person = np.searchsorted(codes, shots.user)
            options: dict[str, Any] = {"kind": s["loss"], "temperature": s["temperature"]}
            v, _ = solve(placed, shots, person, mean=v, precision=prior_precision(trust, *v.shape), **options)
        w = softmax(v / s["temperature"], axis=1)
        return factor * placed.differences(tests, np.searchsorted(codes, tests.user))(w)[0]

    base = answer(task.shots, task.tests, 0.0)
    return Evidence.of({"k": k}, [shot_trial(task, answer, base, trusts)], trusts)

"""The few-shot trial of any personal model: how well it does on people held out, after a few of their comparisons.

:mod:`guerdon.reward.personal.selection` holds the task and asks it of the low-rank reward; here the model is a function
from comparisons to log-odds, so that models of any kind are judged, and allowed to claim a gain, in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from guerdon.feedback.star import Pairs
from guerdon.reward.learned.heads import LinearHead
from guerdon.reward.learned.likelihood import BradleyTerry
from guerdon.reward.personal.selection import SHOTS, FewShot, Trial, within_person

Answer = Callable[[Pairs, Pairs, float], np.ndarray]
"""(what the people said, questions to the same people, trust) -> float64 [n] log-odds of a over b."""

LEAST_PEOPLE = 8
"""With fewer people nothing can be learned about how people differ."""


def shot_trial(task: FewShot, answer: Answer, population: np.ndarray, trusts: Sequence[float]) -> Trial:
    """Log-loss and accuracy per held-out person, averaged over ``SHOTS``, at every trust.

    ``population`` float64 [n]: log-odds of the tests for somebody who has said nothing; trust 0 is the same.
    """
    people = np.unique(task.tests.user)
    shots = task.shots.take(np.isin(task.shots.user, people))
    position = within_person(shots.user)
    row = np.searchsorted(people, task.tests.user)
    base = _figures(population, task.tests.p, row, len(people))
    figures = []
    for trust in trusts:
        tries = [base if trust == 0 else None for _ in SHOTS]
        for i, count in enumerate(SHOTS):
            if tries[i] is None:
                logits = answer(shots.take(position < count), task.tests, trust)
                tries[i] = _figures(logits, task.tests.p, row, len(people))
        figures.append(np.mean([t for t in tries if t is not None], axis=0))
    both = np.stack(figures)
    return Trial(people, base[0], both[:, 0], base[1], both[:, 1])


def linear_population(x: np.ndarray, pairs: Pairs, tests: Pairs) -> np.ndarray:
    """float64 [n] log-odds of ``tests`` by one linear Bradley-Terry utility of ``pairs``: what a gain must beat.

    Its ridge is chosen on the tests themselves, which flatters it and so never a personal model.
    """
    head = LinearHead()
    head.fit(x, BradleyTerry(pairs, len(x)), BradleyTerry(tests, len(x)))
    u = head(x)
    return u[tests.a] - u[tests.b]


def _figures(logits: np.ndarray, p: np.ndarray, row: np.ndarray, people: int) -> np.ndarray:
    """[2, people] mean log-loss and accuracy of each person; ties and indifference count one half."""
    count = np.bincount(row, minlength=people)
    hit = np.where((logits == 0) | (p == 0.5), 0.5, (logits > 0) == (p > 0.5))
    loss = np.logaddexp(0, -logits) + (1 - p) * logits
    return np.stack([np.bincount(row, weights=v, minlength=people) / count for v in (loss, hit)])

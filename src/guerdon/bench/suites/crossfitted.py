"""What frozen features learn from a benchmark's own labels: a Bradley-Terry reward fitted to the other prompts.

Prompts are dealt into folds; the items of a fold are answered by MiniLM and a linear utility fitted to all other folds.
It shows how much of a benchmark is a matter of topic and style: a reward that is no better has learned no more than
that. Scores of different folds have scales of their own, so nothing may be compared across prompts.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from guerdon.bench.baselines import fit_population
from guerdon.bench.intervals import clusters_of
from guerdon.bench.suites.items import Duels, Said, ask
from guerdon.errors import FeedbackError
from guerdon.feedback.star import Feedback

NAME = "cross-fitted"
WHAT = "Bradley-Terry on MiniLM features, fitted to four fifths of these prompts and asked about the others"
FOLDS = 5
FEWEST = 50
"""With fewer prompts than this there is nothing to learn from."""


def cross_fitted(feedback: Feedback, duels: Duels, seed: int = 0, *, progress: bool = False) -> Said:
    """What the baseline says of every duel; ``progress`` shows how far the encoding of the texts is.

    Raises
    ------
    FeedbackError
        if there are fewer than 50 prompts
    """
    clusters = clusters_of(feedback, "prompt")
    if clusters.count < FEWEST:
        raise FeedbackError(f"{clusters.count} prompts; {FEWEST} are needed")
    fold = np.random.default_rng(seed).permutation(clusters.count) % FOLDS
    fold = fold[clusters.code]  # of each judgement
    won, score = np.full(len(duels), np.nan), np.full(len(feedback.items), np.nan)
    reasons: Counter[str] = Counter()
    place = np.repeat(fold, feedback.sizes)
    for f in range(FOLDS):
        at = np.flatnonzero(fold[duels.judgement] == f)
        part = Duels(*(getattr(duels, name)[at] for name in ("judgement", "right_at", "wrong_at", "right", "wrong")))
        said = ask(fit_population(feedback.take(np.flatnonzero(fold != f)), progress=progress), feedback, part)
        won[at] = said.won
        reasons += said.reasons
        if said.score is not None:
            score[place == f] = said.score[place == f]
    return Said(won, reasons, score)

"""A reward replaced by how often it prefers a candidate to a reference set: the same scale for everybody.

    r'(x, y; user) = mean_j P(y preferred to y_j | x, user)      over the reference candidates y_j

A person whose verdicts are noisy has rewards close together, a decided one has them far apart; a policy trained at one
temperature on both follows the decided person only. Expected preferences lie in [0, 1] for each of them, and their
order is the reward's own. With ``standardize`` the reward is centred and divided by its deviation over the reference
instead, person by person.

References: Swamy et al. 2024, A minimaximalist approach to RLHF, https://arxiv.org/abs/2401.04056 (SPO); Poddar et al.
2024, https://arxiv.org/abs/2408.10075 (VPL-SPO: the same given a latent person).
"""

from __future__ import annotations

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores

ROWS = 65_536
"""Comparisons asked at once."""


class ExpectedPreference(Reward):
    """Mean probability of being preferred to the reference candidates, by the person who asks.

    Parameters
    ----------
    reward : any reward that scores
    reference : candidates of the data set; their own ``user`` is not read
    standardize : instead of probabilities, (r - mean) / sd over the reference
    """

    def __init__(self, reward: Reward, reference: Candidates, *, standardize: bool = False) -> None:
        if not len(reference):
            raise ConfigError("expected preference: the reference set is empty; give some candidates of the data")
        self.reward, self.reference, self.standardize = reward, reference, standardize
        self.reads, self.sees = reward.reads, reward.sees
        self.name = f"expected-preference({reward.name})"
        if hasattr(reward, "users"):
            self.users: tuple[str, ...] = getattr(reward, "users")  # noqa: B009

    def score(self, candidates: Candidates) -> Scores:
        """In [0, 1], or in standard deviations; unscored where the reward leaves a candidate unscored."""
        own = self.reward.score(candidates)
        n, m = len(candidates), len(self.reference)
        names = list(candidates.user) if candidates.user is not None else [None] * n
        value = np.full(n, np.nan)
        for name in dict.fromkeys(names):
            rows = np.flatnonzero([other == name for other in names])
            there = self.reward.score(self.reference.asked_by(name)).value
            there = there[np.isfinite(there)]
            if not len(there):
                continue
            if self.standardize:
                sd = float(there.std())
                value[rows] = (own.value[rows] - there.mean()) / (sd if sd > 0 else 1.0)
                continue
            for part in np.array_split(rows, max(1, len(rows) * m // ROWS)):
                gap = own.value[part][:, None] - there
                value[part] = (0.5 * (1 + np.tanh(0.5 * gap))).mean(1)
        return Scores(value, own.status if np.isnan(value).any() else (), own.reason)

"""What latent people say: scores, comparisons averaged over what is not known of them, and what a question would tell.

A known person's score is r(y, 0) + trust * (r(y, mu) - r(y, 0)), the decoder at the origin being the population's
utility; strangers get the population's. Comparisons are averaged over samples of the posterior.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Scores
from guerdon.reward.personal.askers import Askers
from guerdon.reward.personal.variational_people import LatentPeople

log = logging.getLogger(__name__)


class LatentScores(LatentPeople):
    """Scores for latent people, who count as much as ``trust`` in [0, 1] says."""

    trust: float

    def score(self, candidates: Candidates) -> Scores:
        """Utility of each candidate to the person in ``user``, with ``std`` over posterior samples."""
        n = len(candidates)
        if not n:
            return Scores(np.zeros(0), std=np.zeros(0))
        askers = Askers.of(candidates.user, n, self.people.index)
        x, item, which = self._wide(self.x(candidates)), np.arange(n), askers.which
        means = self.latent([a or "" for a in askers.names])[:, None]
        base = self._utilities(x, np.zeros_like(means[:1]), item, np.zeros(n, dtype=np.int64))[:, 0]
        mine = self._utilities(x, means, item, which)[:, 0]
        spread = self._utilities(x, self.samples(askers.names), item, which).std(1)
        value = np.where(askers.known[which], base + self.trust * (mine - base), base)
        return Scores(value, reason=askers.reason, std=np.maximum(self.trust, 1e-12) * spread)

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a preferred to b) by the person in ``a.user``, averaged over posterior samples; ``std`` is their spread."""
        n = len(a)
        if not n:
            return Scores(np.zeros(0), std=np.zeros(0))
        x = self._wide(np.concatenate([self.x(a), self.x(b)]))
        p, reason = self._probabilities(x, np.arange(n), np.arange(n, 2 * n), a.user)
        return Scores(p.mean(1), reason=reason, std=p.std(1))

    def prefer_at(self, candidates: Candidates, a: np.ndarray, b: np.ndarray, users: list[str | None]) -> np.ndarray:
        """float64 [n]: :meth:`prefer` of the rows a and b, int [n], of ``candidates``, asked by ``users`` [n]."""
        return self._probabilities(self._wide(self.x(candidates)), np.asarray(a), np.asarray(b), users)[0].mean(1)

    def _probabilities(
        self, x: np.ndarray, a: np.ndarray, b: np.ndarray, users: Any, count: int | None = None, strangers: bool = False
    ) -> tuple[np.ndarray, list[str | None]]:
        """(P(a preferred) [n, S] at each posterior sample of the asker, reasons); of the population for strangers."""
        askers = Askers.of(users, len(a), self.people.index)
        which = askers.which
        nobody = np.zeros(len(a), dtype=np.int64)
        zero = np.zeros((1, 1, self.settings["latent"]))
        base = self._utilities(x, zero, a, nobody) - self._utilities(x, zero, b, nobody)
        z = self.samples(askers.names, count)
        mine = self._utilities(x, z, a, which) - self._utilities(x, z, b, which)
        moved = self.trust * (askers.known[which] | strangers)[:, None]
        return 0.5 * (1 + np.tanh(0.5 * (base + moved * (mine - base)))), askers.reason

    def score_table(self, candidates: Candidates, users: list[str]) -> np.ndarray:
        """float64 [c, u]: utility of each candidate to each person (population where unknown)."""
        x, c, u = self._wide(self.x(candidates)), len(candidates), len(users)
        item, person = np.repeat(np.arange(c), u), np.tile(np.arange(u), c)
        mine = self._utilities(x, self.latent(users)[:, None], item, person).reshape(c, u)
        base = self._utilities(x, np.zeros((1, 1, self.settings["latent"])), np.arange(c), np.zeros(c, dtype=np.int64))
        known = np.array([user in self.people.index for user in users])
        return base + self.trust * known * (mine - base)

    # ------------------------------------------------------------------ asking

    def information(self, users: list[str | None], a: Candidates, b: Candidates, samples: int = 128) -> np.ndarray:
        """float64 [u, n] nats that each person's answer to each question a[i] against b[i] tells about them.

        Mutual information of answer and latent person, H(mean p) - mean H(p) over posterior samples (the prior's for
        people unknown). Answers to questions that were chosen are read rightly with ``inference="people"`` only: the
        encoder has seen comparisons that people happened to make, and a warning says so.
        """
        n, u = len(a), len(users)
        if not len(self.bank):
            log.warning("inference=encoder reads answers to chosen questions badly; fit with inference=people")
        x = self._wide(np.concatenate([self.x(a), self.x(b)]))
        left = np.tile(np.arange(n), u)
        asked = [user for user in users for _ in range(n)]
        p, _ = self._probabilities(x, left, left + n, asked, samples, strangers=True)
        return (_entropy(p.mean(1)) - _entropy(p).mean(1)).reshape(u, n)

    def next_query(self, user: str | None, a: Candidates, b: Candidates) -> tuple[int, np.ndarray]:
        """(which of the questions a[i] against b[i] to ask ``user`` next, nats that each would tell [n])."""
        if not len(a):
            raise ConfigError("next_query: give at least one question")
        nats = self.information([user], a, b)[0]
        return int(nats.argmax()), nats


def _entropy(p: np.ndarray) -> np.ndarray:
    """Nats of a coin with probability p."""
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return -p * np.log(p) - (1 - p) * np.log1p(-p)

"""Matrix factorization of people x candidates by identity: the yardstick for rewards that read texts.

    utility(candidate c, person) = f[c] + B[c] . w_person

Every candidate has a popularity f and k coordinates B of its own, which say nothing about any other candidate; no text
is read. Likelihood, prior over people, trust in votes and the choice of rank and penalties by held-out people are those
of the low-rank reward, of which this is the case "features = one indicator a candidate": B and f under a ridge penalty,
people's weights integrated out. New people are solved from their comparisons; a candidate that was not in the training
feedback is unscored.

When to use it: the same candidates are judged by many people (statements, jokes, a catalogue) and no new ones come. A
reward on features that is far below it leaves out what the texts could say, or the encoder does not see it.

Reference: Koren, Bell, Volinsky 2009, Matrix factorization techniques for recommender systems,
https://doi.org/10.1109/MC.2009.263; logistic on comparisons as in Rendle et al. 2009 (BPR), arXiv:1205.2618.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from guerdon.errors import FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Scores
from guerdon.reward.personal.low_rank import LowRankReward
from guerdon.reward.personal.people import candidate_keys

MOST = 5000
"""More candidates than this are refused: an indicator each is a dense table here."""


class FactorizationReward(LowRankReward):
    """Candidates by identity x person weights; unknown people get the population, unknown candidates no score.

    Parameters
    ----------
    rank : number of coordinates, or auto (chosen on held-out people)
    prior : learned (trust in a person's votes from held-out people), or a fixed trust > 0 (prior variance)
    l2 : ridge on candidates' popularity, or auto (chosen on held-out people)
    l2_basis : ridge on candidates' coordinates, or auto (chosen on held-out people)
    max_pairs : at most so many pairs a person in fitting
    rounds : most alternations between people and candidates
    seed : seeds folds, pair draws and starts
    """

    def __init__(
        self,
        *,
        rank: int | str = "auto",
        prior: str | float = "learned",
        l2: float | str = "auto",
        l2_basis: float | str = "auto",
        max_pairs: int = 100,
        rounds: int = 15,
        seed: int = 0,
    ) -> None:
        self._catalogue = Catalogue()
        super().__init__(
            encoder=self._catalogue, rank=rank, prior=prior, l2=l2, l2_basis=l2_basis, item_effects="none",
            max_pairs=max_pairs, rounds=rounds, seed=seed,
        )  # fmt: skip
        self.name = "factorization"

    @property
    def params(self) -> dict[str, Any]:
        kept = ("rank", "prior", "l2", "l2_basis", "max_pairs", "rounds", "seed")
        return {name: self.settings[name] for name in kept}

    def _fit(self, feedback: Feedback, progress: bool) -> Any:
        used = feedback.used
        if len(used) > MOST:
            raise FeedbackError(
                f"{len(used):,} candidates: identities are for catalogues of at most {MOST:,} that many people judge; "
                "fit --model low-rank, which reads them"
            )
        self._catalogue.keys = np.unique(candidate_keys(feedback.candidates.take(used)))
        return super()._fit(feedback, progress)

    def _scaled(self, raw: np.ndarray) -> np.ndarray:
        return np.asarray(raw, dtype=np.float64)

    def _unknown(self, candidates: Candidates) -> np.ndarray:
        return ~np.isin(candidate_keys(candidates), self._catalogue.keys)

    def score(self, candidates: Candidates) -> Scores:
        """Utility of each candidate to the person in ``user``; unscored where it was not in the training feedback."""
        return _without(super().score(candidates), self._unknown(candidates))

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a preferred to b) by the person in ``a.user``; unscored where either was not in the training feedback."""
        return _without(super().prefer(a, b), self._unknown(a) | self._unknown(b))

    def prefer_at(self, candidates: Candidates, a: np.ndarray, b: np.ndarray, users: list[str | None]) -> np.ndarray:
        """float64 [n]: :meth:`prefer` of the rows a and b of ``candidates``; NaN where either is unknown."""
        unknown = self._unknown(candidates)
        return np.where(unknown[a] | unknown[b], np.nan, super().prefer_at(candidates, a, b, users))

    def score_table(self, candidates: Candidates, users: list[str]) -> np.ndarray:
        """float64 [c, u]; NaN for unknown candidates."""
        return np.where(self._unknown(candidates)[:, None], np.nan, super().score_table(candidates, users))

    def arrays(self) -> dict[str, np.ndarray]:
        return {**super().arrays(), "catalogue": self._catalogue.keys}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        super().restore(arrays)
        self._catalogue.keys = arrays["catalogue"]


class Catalogue:
    """One indicator feature for each known candidate; all zero for others."""

    spec = "catalogue"
    fingerprint = "catalogue"

    def __init__(self) -> None:
        self.keys = np.zeros(0, dtype=np.int64)

    @property
    def dim(self) -> int:
        """How many candidates are known."""
        return len(self.keys)

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        """float32 [n, dim] indicators."""
        out = np.zeros((len(candidates), self.dim), dtype=np.float32)
        if not self.dim:
            return out
        keys = candidate_keys(candidates)
        at = np.minimum(np.searchsorted(self.keys, keys), self.dim - 1)
        known = self.keys[at] == keys
        out[np.flatnonzero(known), at[known]] = 1.0
        return out


def _without(scores: Scores, unknown: np.ndarray) -> Scores:
    """``scores`` with the ``unknown`` rows unscored."""
    if not unknown.any():
        return scores
    said = "this candidate was not in the training feedback"
    status = ["abstained" if u else s for u, s in zip(unknown, scores.status, strict=True)]
    reason = [said if u else r for u, r in zip(unknown, scores.reason, strict=True)]
    std = None if scores.std is None else np.where(unknown, 0.0, scores.std)
    return replace(scores, value=np.where(unknown, np.nan, scores.value), status=status, reason=reason, std=std)

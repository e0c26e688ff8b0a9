"""A policy's own log-likelihood of a response as its reward: the implicit reward where the reference is not at hand.

With a reference, DPO implies beta (log pi - log pi_ref); many published policies come without one. RewardBench scores
them by the policy alone, over the response's tokens:

    sum     sum_t log pi(y_t | x, y_<t): every further token costs, so longer responses lose
    mean    the same divided by the number of tokens
    norm    -||(log pi(y_t | x, y_<t))_t||_2, between the two

Where there is a reference use :func:`~guerdon.reward.implicit.log_ratio.dpo_implicit`: what a fluent text gets anyway
is then taken off. Compare responses to one prompt only.

Reference: Lambert et al. 2024, RewardBench, section 4 (reference-free DPO), https://arxiv.org/abs/2403.13787
"""

from __future__ import annotations

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel
from guerdon.reward.base import Reward, Scores
from guerdon.reward.implicit.context import likelihoods, texts

LENGTHS = ("sum", "mean", "norm")


class ReferenceFree(Reward):
    """log pi(response | prompt), summed, a token on average, or minus the norm of the tokens' values.

    Parameters
    ----------
    model : language model that gives likelihoods
    length : sum, mean or norm
    """

    reads = ()

    def __init__(self, model: LanguageModel, *, length: str = "sum", name: str = "reference-free") -> None:
        if length not in LENGTHS:
            raise ConfigError(f"length={length!r}: use one of {', '.join(LENGTHS)}")
        self.model, self.length, self.name = model, length, name

    def score(self, candidates: Candidates) -> Scores:
        """In nats, at most 0. Empty and too long responses are unscored."""
        found = likelihoods(self.model, list(candidates.prompts), texts(candidates))
        if self.length == "sum":
            value = found.total
        elif self.length == "mean":
            value = found.mean
        else:
            value = np.array([np.nan if t is None else -float(np.linalg.norm(t)) for t in found.tokens])
        return Scores(value, list(found.status), list(found.reason))

"""A rule where it can tell, a learned reward where it cannot, on one scale.

``score = rule`` where the rule has an answer (it abstains otherwise), else ``sigmoid((reward - centre) / scale)``. A
rule says 0 or 1; raw utilities of a learned reward have any size, and beside a rule they drown it or are drowned, which
is why they are squashed. ``only_right=True`` gives the learned reward the last word wherever the rule does not say 1:
an answer that is merely not the expected string may still be good.

Reference: Zhang et al. (2025), BaseReward: A Strong Baseline for Multimodal Reward Model,
https://arxiv.org/abs/2509.16127 (rule first, squashed reward otherwise).
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores


class RuleFirst(Reward):
    """``rule`` where it scores, the squashed ``reward`` where it abstains.

    Parameters
    ----------
    rule : a reward that abstains where it does not apply, e.g. exact match with a reference
    reward : the learned reward
    centre, scale : the learned score that becomes 1/2, and the difference from it that becomes 0.73
    only_right : leave to the learned reward everything that the rule does not score 1
    """

    def __init__(
        self,
        rule: Reward,
        reward: Reward,
        *,
        centre: float = 0.0,
        scale: float = 1.0,
        only_right: bool = False,
        name: str | None = None,
    ) -> None:
        if not (np.isfinite([centre, scale]).all() and scale > 0):
            raise ConfigError(f"rule first: centre={centre}, scale={scale}; use finite numbers, the scale above zero")
        self.rule, self.reward = rule, reward
        self.centre, self.scale, self.only_right = centre, scale, only_right
        self.reads = tuple(dict.fromkeys((*rule.reads, *reward.reads)))
        self.sees = reward.sees
        self.name = name or f"{rule.name}|{reward.name}"

    def score(self, candidates: Candidates) -> Scores:
        """Scores in [0, 1] where the rule's are; the learned reward is asked only where the rule leaves it the word.

        A rule that *failed* (any status but scored and abstained) leaves the candidate unscored: its silence is no
        judgement. ``detail["by"]`` says who scored each candidate.
        """
        ruled = self.rule.score(candidates)
        value, status, reason = ruled.value.copy(), list(ruled.status), list(ruled.reason)
        by = [self.rule.name] * len(value)
        rows = [
            i for i, s in enumerate(status) if s == "abstained" or (self.only_right and s == "scored" and value[i] < 1)
        ]
        if rows:
            learned = self.reward.score(candidates.take(rows))
            value[rows] = expit((learned.value - self.centre) / self.scale)
            for i, s, r in zip(rows, learned.status, learned.reason, strict=True):
                status[i], reason[i], by[i] = s, r, self.reward.name
        return Scores(value, status, reason, detail={"by": by})

"""Rewards read off a language model's likelihoods: nothing is drawn."""

from guerdon.reward.implicit.domains import (
    DOMAINS,
    ByDomain,
    Domain,
    LanguageRouter,
    by_criterion,
    density_ratio,
    self_preference,
)
from guerdon.reward.implicit.follow_up import BANK, FollowUp, FollowUpLikelihood
from guerdon.reward.implicit.log_ratio import LogRatio, dpo_implicit, prompt_contrast
from guerdon.reward.implicit.reference_free import ReferenceFree
from guerdon.reward.implicit.yes_no import Question, YesNo

__all__ = [
    "BANK",
    "DOMAINS",
    "ByDomain",
    "Domain",
    "FollowUp",
    "FollowUpLikelihood",
    "LanguageRouter",
    "LogRatio",
    "Question",
    "ReferenceFree",
    "YesNo",
    "by_criterion",
    "density_ratio",
    "dpo_implicit",
    "prompt_contrast",
    "self_preference",
]

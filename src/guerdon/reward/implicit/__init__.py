"""Rewards read off a language model's likelihoods: nothing is drawn, nothing is trained."""

from guerdon.reward.implicit.log_ratio import LogRatio, dpo_implicit, prompt_contrast
from guerdon.reward.implicit.yes_no import YesNo

__all__ = ["LogRatio", "YesNo", "dpo_implicit", "prompt_contrast"]

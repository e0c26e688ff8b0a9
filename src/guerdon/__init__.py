"""guerdon: rewards from people. Feedback in, rewards out, measured, and used.

Everything public is loaded on first use, so that ``import guerdon`` stays fast and never imports torch.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

__version__ = version("guerdon")

_HOMES = {
    "Candidate": "guerdon.feedback.schema",
    "Candidates": "guerdon.feedback.schema",
    "Judgement": "guerdon.feedback.schema",
    "Feedback": "guerdon.feedback.star",
    "Pairs": "guerdon.feedback.star",
    "Reward": "guerdon.reward.base",
    "Scores": "guerdon.reward.base",
    "load": "guerdon.reward.load",
    "load_encoder": "guerdon.encode",
    "RewardModel": "guerdon.reward.learned.model",
    "LowRankReward": "guerdon.reward.personal.low_rank",
}

__all__ = [
    "Candidate",
    "Candidates",
    "Feedback",
    "Judgement",
    "LowRankReward",
    "Pairs",
    "Reward",
    "RewardModel",
    "Scores",
    "__version__",
    "load",
    "load_encoder",
]

if TYPE_CHECKING:
    from guerdon.encode import load_encoder
    from guerdon.feedback.schema import Candidate, Candidates, Judgement
    from guerdon.feedback.star import Feedback, Pairs
    from guerdon.reward.base import Reward, Scores
    from guerdon.reward.learned.model import RewardModel
    from guerdon.reward.load import load
    from guerdon.reward.personal.low_rank import LowRankReward


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'guerdon' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""Improve what a generator gives without changing it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from guerdon.steer.best_of_n import BestOfN, Choice, best_of_n, pick

_HOMES = {
    "AlternatingVoices": "guerdon.steer.alternating_voices",
    "Guided": "guerdon.steer.logit_arithmetic",
    "LogitArithmetic": "guerdon.steer.logit_arithmetic",
    "RewardGuided": "guerdon.steer.reward_guided",
    "Term": "guerdon.steer.logit_arithmetic",
    "Voice": "guerdon.steer.logit_arithmetic",
    "attribute_terms": "guerdon.steer.attribute_steering",
}
"""What needs torch and transformers, opened when it is asked for."""

__all__ = [
    "AlternatingVoices",
    "BestOfN",
    "Choice",
    "Guided",
    "LogitArithmetic",
    "RewardGuided",
    "Term",
    "Voice",
    "attribute_terms",
    "best_of_n",
    "pick",
]

if TYPE_CHECKING:
    from guerdon.steer.alternating_voices import AlternatingVoices
    from guerdon.steer.attribute_steering import attribute_terms
    from guerdon.steer.logit_arithmetic import Guided, LogitArithmetic, Term, Voice
    from guerdon.steer.reward_guided import RewardGuided


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'guerdon.steer' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

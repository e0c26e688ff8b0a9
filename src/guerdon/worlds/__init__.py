"""Small worlds whose truth is known: simulated people over real or planted candidates."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Annotator": "guerdon.worlds.annotators",
    "Oracle": "guerdon.worlds.oracle",
    "Outcome": "guerdon.worlds.choices",
    "PlantedEncoder": "guerdon.worlds.pool",
    "Pool": "guerdon.worlds.pool",
    "Population": "guerdon.worlds.people",
    "SimulatedJudge": "guerdon.worlds.judges",
    "agreement": "guerdon.worlds.choices",
    "choice_entropy": "guerdon.worlds.choices",
    "disagreement": "guerdon.worlds.choices",
    "outcome": "guerdon.worlds.choices",
}

__all__ = [
    "Annotator",
    "Oracle",
    "Outcome",
    "PlantedEncoder",
    "Pool",
    "Population",
    "SimulatedJudge",
    "agreement",
    "choice_entropy",
    "disagreement",
    "outcome",
]

if TYPE_CHECKING:
    from guerdon.worlds.annotators import Annotator
    from guerdon.worlds.choices import Outcome, agreement, choice_entropy, disagreement, outcome
    from guerdon.worlds.judges import SimulatedJudge
    from guerdon.worlds.oracle import Oracle
    from guerdon.worlds.people import Population
    from guerdon.worlds.pool import PlantedEncoder, Pool


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'guerdon.worlds' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

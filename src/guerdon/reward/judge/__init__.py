"""Rewards that a language model writes: pointwise, pairwise, against a reference. See :mod:`.spec` for ``judge:``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "AgainstReference": "guerdon.reward.judge.pairwise",
    "Asker": "guerdon.reward.judge.asking",
    "PairwiseJudge": "guerdon.reward.judge.pairwise",
    "PointwiseJudge": "guerdon.reward.judge.pointwise",
    "PositionBias": "guerdon.reward.judge.pairwise",
    "Standard": "guerdon.reward.judge.standard",
    "open_judge": "guerdon.reward.judge.spec",
}

__all__ = [
    "AgainstReference",
    "Asker",
    "PairwiseJudge",
    "PointwiseJudge",
    "PositionBias",
    "Standard",
    "open_judge",
]

if TYPE_CHECKING:
    from guerdon.reward.judge.asking import Asker
    from guerdon.reward.judge.pairwise import AgainstReference, PairwiseJudge, PositionBias
    from guerdon.reward.judge.pointwise import PointwiseJudge
    from guerdon.reward.judge.spec import open_judge
    from guerdon.reward.judge.standard import Standard


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'guerdon.reward.judge' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

"""Rewards that a language model writes: single responses, pairs, lists. See :mod:`.spec` for ``judge:``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "AgainstReference": "guerdon.reward.judge.references",
    "Anchors": "guerdon.reward.judge.references",
    "Asker": "guerdon.reward.judge.asking",
    "DescribedJudge": "guerdon.reward.judge.described",
    "GroupReference": "guerdon.reward.judge.references",
    "ListwiseJudge": "guerdon.reward.judge.listwise",
    "MetaVote": "guerdon.reward.judge.meta",
    "PairwiseJudge": "guerdon.reward.judge.pairwise",
    "PointwiseJudge": "guerdon.reward.judge.pointwise",
    "PlaceBias": "guerdon.reward.judge.place_bias",
    "PositionBias": "guerdon.reward.judge.pairwise",
    "RewardAgent": "guerdon.reward.judge.agent",
    "RubricLearner": "guerdon.reward.judge.rubric_learning",
    "PrincipledJudge": "guerdon.reward.judge.principles",
    "Standard": "guerdon.reward.judge.standard",
    "Standards": "guerdon.reward.judge.standard",
    "ToolJudge": "guerdon.reward.judge.tool_judge",
    "ToolPairs": "guerdon.reward.judge.tool_judge",
    "WrittenCriteria": "guerdon.reward.judge.criteria",
    "WrittenStandard": "guerdon.reward.judge.standard",
    "open_judge": "guerdon.reward.judge.spec",
}

__all__ = [
    "AgainstReference",
    "Anchors",
    "Asker",
    "DescribedJudge",
    "GroupReference",
    "ListwiseJudge",
    "MetaVote",
    "PairwiseJudge",
    "PlaceBias",
    "PointwiseJudge",
    "PositionBias",
    "PrincipledJudge",
    "RewardAgent",
    "RubricLearner",
    "Standard",
    "Standards",
    "ToolJudge",
    "ToolPairs",
    "WrittenCriteria",
    "WrittenStandard",
    "open_judge",
]

if TYPE_CHECKING:
    from guerdon.reward.judge.agent import RewardAgent
    from guerdon.reward.judge.asking import Asker
    from guerdon.reward.judge.criteria import WrittenCriteria
    from guerdon.reward.judge.described import DescribedJudge
    from guerdon.reward.judge.listwise import ListwiseJudge
    from guerdon.reward.judge.meta import MetaVote
    from guerdon.reward.judge.pairwise import PairwiseJudge, PositionBias
    from guerdon.reward.judge.place_bias import PlaceBias
    from guerdon.reward.judge.pointwise import PointwiseJudge
    from guerdon.reward.judge.principles import PrincipledJudge
    from guerdon.reward.judge.references import AgainstReference, Anchors, GroupReference
    from guerdon.reward.judge.rubric_learning import RubricLearner
    from guerdon.reward.judge.spec import open_judge
    from guerdon.reward.judge.standard import Standard, Standards, WrittenStandard
    from guerdon.reward.judge.tool_judge import ToolJudge, ToolPairs


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'guerdon.reward.judge' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

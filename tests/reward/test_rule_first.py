"""Rule first, squashed reward where it abstains."""

import numpy as np
import pytest

from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Function, Reward, Scores
from guerdon.reward.rule_first import RuleFirst

RULE = Function(lambda p, r: float(r == "4") if p == "2+2" else None, "exact")
RM = Function(lambda p, r: 50.0 * len(str(r)), "length")
ASKED = Candidates(["2+2", "2+2", "hello"], ["4", "five", "hi"])


def test_the_rule_has_the_first_word() -> None:
    scores = RuleFirst(RULE, RM, centre=100.0, scale=50.0).score(ASKED)
    np.testing.assert_allclose(scores.value, [1.0, 0.0, 0.5])
    assert scores.detail["by"] == ["exact", "exact", "length"]
    assert scores.status == ["scored"] * 3


def test_only_right_leaves_the_rest_to_the_reward() -> None:
    scores = RuleFirst(RULE, RM, centre=100.0, scale=50.0, only_right=True).score(ASKED)
    assert scores.detail["by"] == ["exact", "length", "length"]
    assert 0 < scores.value[1] < 1


def test_a_failed_rule_is_not_an_abstention() -> None:
    class Broken(Reward):
        name = "broken"

        def score(self, candidates: Candidates) -> Scores:
            return Scores(np.full(len(candidates), np.nan))

    scores = RuleFirst(Broken(), RM).score(ASKED)
    assert np.isnan(scores.value).all()
    assert set(scores.status) == {"failed"}
    with pytest.raises(ConfigError):
        RuleFirst(RULE, RM, scale=0.0)

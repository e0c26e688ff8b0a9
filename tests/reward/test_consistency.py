"""Consistency: rewordings come to score alike, both branches move, and shrinking scores are reported."""

import numpy as np
import pytest
import torch

from guerdon.errors import ConfigError
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.model import RewardModel
from guerdon.reward.learned.regularizers import Consistency


def test_consistency_moves_both_branches_as_autograd_does() -> None:
    """Often got wrong: a gradient through one branch only."""
    rng = np.random.default_rng(0)
    u, v = (torch.tensor(rng.normal(size=5), requires_grad=True) for _ in range(2))
    penalty = Consistency(2.0, np.arange(5), np.zeros((5, 3)), scale=0.5)
    value = penalty.penalty(u, v)
    value.backward()
    found, here, there = penalty.gradients(u.detach().numpy(), v.detach().numpy())
    assert u.grad is not None
    assert v.grad is not None
    assert found == pytest.approx(value.item())
    np.testing.assert_allclose(here, u.grad)
    np.testing.assert_allclose(there, v.grad)
    np.testing.assert_allclose(here, -there)


def misspelt(n: int = 120) -> Feedback:
    rng = np.random.default_rng(0)
    good, bad = ["splendid", "delightful", "excellent"], ["dreadful", "terrible", "horrible"]
    rows = []
    for i in range(n):
        words = [str(rng.choice(good)), str(rng.choice(bad))]
        rows.append(Judgement(f"q{i}", tuple(f"a {w} morning number {i}" for w in words), (1.0, 0.0)))
    return Feedback.of(rows)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_rewordings_come_to_score_alike_and_the_spread_is_reported(head: str) -> None:
    data = misspelt()
    settings = {"encoder": "hash:128?features=response", "head": head, "epochs": 10}
    made = [RewardModel(**settings, consistency=c, rewording="wrong letters").fit(data) for c in (1e-6, 3.0)]
    loose, tight = (m.summary for m in made)
    assert tight["reworded_shift"] < loose["reworded_shift"]
    assert tight["reworded"] > 100
    assert loose["score_sd"] == pytest.approx(loose["score_sd_without"], rel=0.2)
    assert accuracy(made[1], data) > 0.9


def accuracy(reward: RewardModel, data: Feedback) -> float:
    pairs = data.pairs()
    value = reward.score(data.candidates).value
    return float(np.mean((value[pairs.a] > value[pairs.b]) == (pairs.p > 0.5)))


def test_a_raw_penalty_shrinks_the_scores_and_says_so() -> None:
    data = misspelt()
    settings = {"encoder": "hash:128?features=response", "l2": 1e-3, "rewording": "wrong letters"}
    made = [RewardModel(**settings, consistency=c, standardized=False).fit(data) for c in (0.1, 3.0, 300.0)]
    spreads = [m.summary["score_sd"] for m in made]
    assert spreads == sorted(spreads, reverse=True)
    assert "cautions" not in made[0].summary
    assert "less than a third" in made[-1].summary["cautions"][0]


def test_rewordings_that_cannot_be_are_told() -> None:
    data = misspelt(20)
    for settings, said in (
        ({"rewording": "nonsense"}, "no transform 'nonsense'"),
        ({"rewording": "ignore above"}, "needs the other response"),
        ({"rewording": "natural"}, "name one"),
        ({"rewording": "paraphrase"}, "--paraphraser"),
    ):
        with pytest.raises(ConfigError, match=said):
            RewardModel(encoder="hash:16", consistency=1.0, **settings).fit(data)
    with pytest.raises(ConfigError, match="weight of at least 0"):
        RewardModel(consistency=-1.0)

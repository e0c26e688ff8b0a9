"""The world of the margin claim is what its docstring says, and one seed of it shows the effect."""

import numpy as np

from guerdon.papers import beyond_the_binary as paper


def test_one_seed_shows_the_effect_and_the_judges_are_barely_informed() -> None:
    world = paper.World(0)
    assert world.follows(world.fit("margin")) > world.follows(world.fit("plain")) + 0.02
    says = np.stack([judge.prefers_first for judge in world.judges()]).mean(0)
    expected = 0.15 + 0.7 * world.rate
    assert abs(np.mean(says - expected)) < 0.02
    x, rate, kind = world.pairs(300)
    gap = np.abs(x[:, 0] - x[:, 1])
    assert (gap[kind == 2, : paper.SHARED] == 0).all()
    assert gap[kind == 1].mean() < 0.2 * gap[kind == 0].mean()
    assert np.std(rate[kind == 0]) > np.std(rate[kind == 1])

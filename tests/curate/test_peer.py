"""Peer review of feedback: suspects are mostly wrong, few right ones are touched, and the audit says why."""

from __future__ import annotations

import numpy as np
import pytest

from guerdon.curate.registry import step
from guerdon.errors import ConfigError
from guerdon.worlds.mislabelled import Mislabelled

QUICK = {"epochs": 6, "hidden": [32], "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def world() -> Mislabelled:
    return Mislabelled.draw(800, 0.2, dim=8, units=4, seed=2)


@pytest.mark.parametrize("action", ["drop", "weigh", "flip"])
def test_suspects_are_mostly_wrong_labels(world: Mislabelled, action: str) -> None:
    curated = step("peer")(world.feedback, noise=0.2, action=action, encoder=world.pool.encoder(), **QUICK)
    done = np.array(curated.decisions["action"].to_pylist())
    suspect = done != "kept"
    assert set(done[suspect]) == {{"drop": "dropped", "weigh": "weighted", "flip": "flipped"}[action]}
    assert 0.1 < suspect.mean() <= 0.2
    assert world.wrong[suspect].mean() > 0.65
    rate = curated.decisions["selection_rate"].to_numpy()
    assert rate[suspect].max() <= rate[~suspect & (curated.decisions["margin"].to_numpy() < 0)].min() + 1e-9
    assert "chosen in" in curated.decisions["why"][0].as_py()
    if action != "weigh":
        assert curated.report["agreement_after"] > curated.report["agreement_before"]
    else:
        weights = curated.feedback.weight[suspect]
        np.testing.assert_allclose(weights, rate[suspect])
    assert list(curated.undo().judgements()) == list(world.feedback.judgements())


def test_wrong_settings_are_one_clear_line(world: Mislabelled) -> None:
    encoder = world.pool.encoder()
    with pytest.raises(ConfigError, match="action='burn' is unknown"):
        step("peer")(world.feedback, action="burn", encoder=encoder)
    with pytest.raises(ConfigError, match="from a half on"):
        step("peer")(world.feedback, noise=0.5, encoder=encoder)
    with pytest.raises(ConfigError, match="at least 16"):
        step("peer")(world.feedback, batch=8, encoder=encoder)

"""Settings that heads of other kinds share with every backbone: one default, one documentation, no unknown names."""

from __future__ import annotations

from typing import Any

import pytest

from guerdon.errors import ConfigError
from guerdon.reward.learned.backbone import BackboneReward
from guerdon.reward.learned.headed_backbone import HeadedBackbone
from guerdon.reward.registry import MODELS, model

HEADED = [name for name, entry in MODELS.items() if issubclass(entry.cls, HeadedBackbone)]


def test_there_are_some() -> None:
    assert {"gpm", "sarm", "peer-adapters", "peer-policies"} <= set(HEADED)


@pytest.mark.parametrize("name", HEADED)
def test_shared_settings_are_listed_once_with_the_backbones_defaults(name: str) -> None:
    listed = MODELS[name].parameters()
    names = [parameter for parameter, _, _ in listed]
    assert len(set(names)) == len(names)
    assert all(doc for _, _, doc in listed)
    base = {parameter: default for parameter, default, _ in BackboneReward.parameters()}
    taken_over = {"learning_rate", "epochs", "batch", "seed", "device"}
    assert {parameter: default for parameter, default, _ in listed if parameter in taken_over} == {
        parameter: base[parameter] for parameter in taken_over
    }
    fresh = model(name).make()
    assert fresh.params == {parameter: default for parameter, default, _ in listed}


@pytest.mark.parametrize("name", HEADED)
def test_given_settings_are_kept_and_checked(name: str) -> None:
    make: Any = MODELS[name].cls
    assert make(epochs=2.5, seed=7).params["epochs"] == 2.5
    with pytest.raises(ConfigError, match="gradient_clip=0: use a number above 0"):
        make(gradient_clip=0)
    with pytest.raises(TypeError, match="has no parameter 'value_head'"):
        make(value_head="mlp")

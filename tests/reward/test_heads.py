"""The mlp head: its layers and activations, numpy scoring against torch, and what it refuses."""

import numpy as np
import pytest
import torch

from guerdon.errors import ConfigError
from guerdon.reward.learned.heads import ACTIVATIONS, MLPHead, activate, activation_modules
from guerdon.reward.learned.likelihood import compile_likelihood
from guerdon.reward.learned.model import RewardModel
from guerdon.worlds.mislabelled import Mislabelled


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_numpy_activations_are_those_of_torch(name: str) -> None:
    h = np.linspace(-6, 6, 101).astype(np.float32)
    expected = activation_modules()[name]()(torch.as_tensor(h)).numpy()
    np.testing.assert_allclose(activate(name, h), expected, atol=1e-6)


def test_layers_make_the_network() -> None:
    world = Mislabelled.draw(60, 0.0, dim=4, seed=0)
    data = compile_likelihood("bradley-terry", world.feedback)
    for layers, widths in ((1, [(1, 4)]), (2, [(5, 4), (1, 5)]), (3, [(5, 4), (5, 5), (1, 5)])):
        head = MLPHead(hidden=5, layers=layers, activation="silu", epochs=1)
        head.fit(world.pool.features, data, None)
        assert [w.shape for w, _ in head.layers] == widths


def test_without_activation_depth_is_linear() -> None:
    world = Mislabelled.draw(100, 0.0, dim=6, seed=0)
    model = RewardModel(encoder=world.pool.encoder(), head="mlp", layers=3, activation="none", epochs=3)
    head = model.fit(world.feedback).head
    x = np.random.default_rng(0).normal(size=(3, 6))
    assert np.allclose(head(x[:1] + x[1:2]) - head(x[:1]), head(x[1:2]) - head(np.zeros((1, 6))), atol=1e-3)


@pytest.mark.parametrize("settings", [{"activation": "sigmoid"}, {"layers": 0}, {"dropout": 1.0}, {"hidden": 0}])
def test_bad_settings_say_how_to_mend_them(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        MLPHead(**settings)  # type: ignore[arg-type]

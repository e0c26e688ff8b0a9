"""A small GELU network as arrays: what scoring and files need of a network that torch has trained."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtr

Layers = list[tuple[np.ndarray, np.ndarray]]
"""(weight [n, m], bias [n]) of each linear layer, first to last."""


def layers_of(net: Any) -> Layers:
    """The linear layers of a torch ``Sequential`` as float64 arrays."""
    return [
        (m.weight.detach().double().numpy().copy(), m.bias.detach().double().numpy().copy())
        for m in net
        if hasattr(m, "weight")
    ]


def hidden(layers: Layers, x: np.ndarray) -> np.ndarray:
    """float64 [n, h] what goes into the last layer; x [n, d] itself where there is one layer."""
    h = np.asarray(x, dtype=np.float64)
    for weight, bias in layers[:-1]:
        h = h @ weight.T + bias
        h = h * ndtr(h)  # exact GELU, as torch's default
    return h


def output(layers: Layers, x: np.ndarray) -> np.ndarray:
    """float64 [n, k] of the network at x [n, d]."""
    weight, bias = layers[-1]
    return hidden(layers, x) @ weight.T + bias


def to_arrays(layers: Layers, name: str) -> dict[str, np.ndarray]:
    """Named arrays for a file; :func:`from_arrays` takes them back."""
    return {f"{name}.{kind}.{i}": a for i, pair in enumerate(layers) for kind, a in zip("wb", pair, strict=True)}


def from_arrays(arrays: dict[str, np.ndarray], name: str) -> Layers:
    """The layers that :func:`to_arrays` named."""
    count = sum(key.startswith(f"{name}.w.") for key in arrays)
    return [(arrays[f"{name}.w.{i}"], arrays[f"{name}.b.{i}"]) for i in range(count)]

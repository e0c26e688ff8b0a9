"""Which features describe the prompt alone: what may decide by the prompt must not see the responses.

A router that saw the responses could explain the verdicts by itself. Encoders with the map ``prompt+response`` keep
the prompt's features apart; for others ``prompt_width`` says how many of the first features are the prompt's.
"""

from __future__ import annotations

import numpy as np

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError


def apart(encoder: str | Encoder) -> str | Encoder:
    """The encoder with prompt and response apart, where its specification leaves the feature map open."""
    if not isinstance(encoder, str) or "features=" in encoder or encoder.startswith("file:"):
        return encoder
    return f"{encoder}{'&' if '?' in encoder else '?'}features=prompt+response"


def prompt_columns(encoder: Encoder, d: int, width: int | None) -> np.ndarray:
    """int64 columns of the ``d`` features that describe the prompt: the first ``width``, or the encoder's own block."""
    if width is not None:
        if not 0 < width < d:
            raise ConfigError(f"prompt_width={width} of {d} features; the prompt and the response each need some")
        return np.arange(width)
    return _block(encoder, d, "prompt")


def response_columns(encoder: Encoder, d: int, width: int | None) -> np.ndarray:
    """int64 columns of the ``d`` features that describe the response alone: all behind ``width``, or the own block."""
    return np.arange(width, d) if width is not None else _block(encoder, d, "response")


def _block(encoder: Encoder, d: int, name: str) -> np.ndarray:
    blocks = getattr(getattr(encoder, "map", None), "blocks", ())
    if name not in blocks:
        raise ConfigError(
            f"this needs features of the {name} alone: use an encoder with features=prompt+response, or say with "
            "prompt_width how many of the first features describe the prompt"
        )
    texts = int(encoder.texts.dim)  # type: ignore[attr-defined]  # width of a block of text features
    at = 0
    for block in blocks:
        if block == name:
            break
        at += d - texts * (len(blocks) - 1) if block == "surface" else texts
    return np.arange(at, at + texts)

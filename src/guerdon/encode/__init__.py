"""Candidates to features, once: encoders, feature maps and the cache. Importing this imports no torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Encoder": "guerdon.encode.base",
    "FeatureEncoder": "guerdon.encode.encoder",
    "TextEncoder": "guerdon.encode.encoder",
    "cache_report": "guerdon.encode.cache",
    "cache_root": "guerdon.encode.cache",
    "clear_cache": "guerdon.encode.cache",
    "encode_feedback": "guerdon.encode.encoder",
    "load_encoder": "guerdon.encode.load",
    "write_features": "guerdon.encode.precomputed",
}

__all__ = [
    "Encoder",
    "FeatureEncoder",
    "TextEncoder",
    "cache_report",
    "cache_root",
    "clear_cache",
    "encode_feedback",
    "load_encoder",
    "write_features",
]

if TYPE_CHECKING:
    from guerdon.encode.base import Encoder
    from guerdon.encode.cache import cache_report, cache_root, clear_cache
    from guerdon.encode.encoder import FeatureEncoder, TextEncoder, encode_feedback
    from guerdon.encode.load import load_encoder
    from guerdon.encode.precomputed import write_features


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'guerdon.encode' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

"""Everything that generates. Language models: one face, a server back end and a local one.

::

    from guerdon.generate import load_language_model
    model = load_language_model("http://localhost:8000/v1#my-model")     # or "hf:path/to/model"
    replies = model.generate(["Name a fruit."], n=4, temperature=1.0, max_tokens=16)
    replies.text, replies.failures, replies.cost

Public names are loaded on first use, so that importing the package needs neither aiohttp nor torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Budget": "guerdon.generate.budget",
    "LabelProbabilities": "guerdon.generate.base",
    "LanguageModel": "guerdon.generate.base",
    "Likelihoods": "guerdon.generate.base",
    "LocalModel": "guerdon.generate.local",
    "Replies": "guerdon.generate.base",
    "Reply": "guerdon.generate.base",
    "ReplyCache": "guerdon.generate.reply_cache",
    "Sampling": "guerdon.generate.base",
    "ServerModel": "guerdon.generate.server",
    "TokenLogprobs": "guerdon.generate.base",
    "VisionModel": "guerdon.generate.vision",
    "load_language_model": "guerdon.generate.load",
}

__all__ = [
    "Budget",
    "LabelProbabilities",
    "LanguageModel",
    "Likelihoods",
    "LocalModel",
    "Replies",
    "Reply",
    "ReplyCache",
    "Sampling",
    "ServerModel",
    "TokenLogprobs",
    "VisionModel",
    "load_language_model",
]

if TYPE_CHECKING:
    from guerdon.generate.base import (
        LabelProbabilities,
        LanguageModel,
        Likelihoods,
        Replies,
        Reply,
        Sampling,
        TokenLogprobs,
    )
    from guerdon.generate.budget import Budget
    from guerdon.generate.load import load_language_model
    from guerdon.generate.local import LocalModel
    from guerdon.generate.reply_cache import ReplyCache
    from guerdon.generate.server import ServerModel
    from guerdon.generate.vision import VisionModel


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'guerdon.generate' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

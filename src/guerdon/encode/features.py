r"""Feature maps: how a (prompt, response) becomes features, as an explicit choice.

A text encoder gives vectors for the prompt ``p``, the response ``r`` and the two read together ``j``, each ``[d]``. A
feature map concatenates blocks of them:

============== ========================= ====================================================================
map            blocks                    when
============== ========================= ====================================================================
``response``   r                         what people like whatever was asked: taste, style, short statements
``joined``     j                         encoders that understand a dialogue (any causal language model)
``product``    r, p * r                  a linear head also sees how the response relates to the prompt
``difference`` r, abs(r - p)             the same, by distance instead of agreement
``both``       p, r, p * r               heads that are not linear, or scores compared across prompts
``prompt``     p                         with another map, for models that read the prompt apart (ideal directions)
============== ========================= ====================================================================

``+`` unites maps: ``joined+response``, ``response+surface``. A linear head compares responses of one prompt by feature
differences, to which ``p`` alone contributes nothing; ``both`` is for other uses. ``surface`` adds the features of
:data:`SURFACE`: length and layout, which sentence encoders hardly show. Nothing else here looks at length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from guerdon.errors import ConfigError

VERSION = 1
"""Part of every fingerprint; raised when any block changes its values."""

MAPS: dict[str, tuple[str, ...]] = {
    "response": ("response",),
    "joined": ("joined",),
    "product": ("response", "product"),
    "difference": ("response", "difference"),
    "both": ("prompt", "response", "product"),
    "prompt": ("prompt",),
    "surface": ("surface",),
}
NEEDS = {
    "response": ("response",),
    "joined": ("joined",),
    "product": ("prompt", "response"),
    "difference": ("prompt", "response"),
    "prompt": ("prompt",),
    "surface": (),
}
"""Which texts each block needs encoded."""

SURFACE = (
    "log(1 + characters)",
    "log(1 + words)",
    "log(1 + sentences)",
    "log(1 + line breaks)",
    "mean characters a word, / 10",
    "share of distinct words",
    "share of capital letters among letters",
    "share of digits among characters",
    "share of punctuation among characters",
    "log(1 + list items)",
    "contains a code block",
    "ends with a question mark",
)
"""The features of the block ``surface``, in order, all of the response's plain text; an empty text gives zeros."""

_SENTENCE = re.compile(r"[.!?]+(?:\s|$)")
_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.M)
CHUNK = 8192  # rows composed at once: temporaries stay in the tens of megabytes


@dataclass(frozen=True)
class FeatureMap:
    """A feature map by name: its blocks, in the order of the columns."""

    name: str
    blocks: tuple[str, ...]

    @classmethod
    def of(cls, name: str) -> FeatureMap:
        """The map called ``name``: one of ``MAPS``, or several united by ``+``."""
        blocks: list[str] = []
        for part in name.split("+"):
            if part not in MAPS:
                raise ConfigError(f"features={name}: no feature map {part!r}; use {', '.join(MAPS)}, united by +")
            blocks += [b for b in MAPS[part] if b not in blocks]
        return cls(name, tuple(blocks))

    @property
    def needs(self) -> frozenset[str]:
        """Which of prompt, response, joined must be encoded."""
        return frozenset(text for block in self.blocks for text in NEEDS[block])

    def dim(self, d: int) -> int:
        """The number of features over a text encoder of ``d``."""
        return sum(len(SURFACE) if block == "surface" else d for block in self.blocks)

    def compose(
        self,
        d: int,
        n: int,
        prompt: tuple[np.ndarray, np.ndarray] | None = None,
        response: tuple[np.ndarray, np.ndarray] | None = None,
        joined: tuple[np.ndarray, np.ndarray] | None = None,
        surface: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> np.ndarray:
        """float32 [n, dim] features. Each source is (table [t, d], index [n] into it): rows are gathered once."""
        sources = {"prompt": prompt, "response": response, "joined": joined, "surface": surface}

        def gather(name: str, rows: slice) -> np.ndarray:
            source = sources[name]
            if source is None:
                raise ValueError(f"feature map {self.name!r} needs the {name} embeddings")
            return source[0][source[1][rows]]

        if len(self.blocks) == 1 and self.blocks[0] in sources and (source := sources[self.blocks[0]]) is not None:
            table, index = source
            return table if len(table) == n and np.array_equal(index, np.arange(n)) else table[index]
        out = np.empty((n, self.dim(d)), dtype=np.float32)
        for lo in range(0, n, CHUNK):
            rows = slice(lo, min(lo + CHUNK, n))
            at = 0
            for block in self.blocks:
                if block == "product":
                    value = gather("prompt", rows) * gather("response", rows)
                elif block == "difference":
                    value = np.abs(gather("response", rows) - gather("prompt", rows))
                else:
                    value = gather(block, rows)
                out[rows, at : at + value.shape[1]] = value
                at += value.shape[1]
        return out


def surface_features(texts: Sequence[str]) -> np.ndarray:
    """float32 [n, len(SURFACE)] surface features of texts."""
    return np.array([_surface(text) for text in texts], dtype=np.float32).reshape(len(texts), len(SURFACE))


def _surface(text: str) -> tuple[float, ...]:
    if not text.strip():
        return (0.0,) * len(SURFACE)
    words = text.split()
    n = len(text)
    letters = sum(c.isalpha() for c in text)
    return (
        float(np.log1p(n)),
        float(np.log1p(len(words))),
        float(np.log1p(len(_SENTENCE.findall(text)))),
        float(np.log1p(text.strip().count("\n"))),
        sum(map(len, words)) / len(words) / 10,
        len({w.lower() for w in words}) / len(words),
        sum(c.isupper() for c in text) / max(letters, 1),
        sum(c.isdigit() for c in text) / n,
        sum(not (c.isalnum() or c.isspace()) for c in text) / n,
        float(np.log1p(len(_ITEM.findall(text)))),
        float("```" in text),
        float(text.rstrip().endswith("?")),
    )

"""Features from any sentence-transformers model: its own pooling, prompts and normalisation, in better batches.

The bundled MiniLM does not pass through here: its pooling is :class:`guerdon.encode.hidden.HiddenTexts` (mean, scaled
to length 1), which gives the same features without importing sentence-transformers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from guerdon.encode.batching import encode_in_batches
from guerdon.encode.hidden import as_one, choose_device, fit, opening, quiet, rough_length
from guerdon.encode.source import Source
from guerdon.encode.template import PlainTemplate, Unit
from guerdon.errors import BackendError, ConfigError, need

VERSION = 1


class SentenceTexts:
    """Texts to float32 [n, d]: what ``SentenceTransformer.encode`` gives, to rounding.

    source      the model (:func:`guerdon.encode.source.locate`)
    max_length  tokens read of a text, None: what the model says
    prefix      text put before every text, None: the model's default prompt
    budget      padded tokens a batch; None: 2,048 on a CPU, 32,768 on an accelerator
    """

    kind = "st"
    cached = True
    template = PlainTemplate()

    def __init__(
        self,
        source: Source,
        *,
        max_length: int | None = None,
        prefix: str | None = None,
        device: str = "auto",
        budget: int | None = None,
    ) -> None:
        self.source, self.prefix, self.device, self.budget = source, prefix, device, budget
        self._wanted_length = max_length
        self._lock = threading.RLock()

    @cached_property
    def model(self) -> Any:
        """The ``SentenceTransformer``."""
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise need("sentence-transformers", "text") from None
        with self._lock, opening(self.source.name), quiet():
            device = str(choose_device(self.device))
            model = SentenceTransformer(self.source.name, revision=self.source.revision, device=device)
        if self._wanted_length is not None:
            most = model.get_max_seq_length()
            if most and self._wanted_length > most:
                raise ConfigError(f"max_length={self._wanted_length}: {self.source.name} reads at most {most} tokens")
            model.max_seq_length = self._wanted_length
        return model.eval()

    @cached_property
    def dim(self) -> int:
        """d, the size of the embedding."""
        d = self.model.get_embedding_dimension()
        if not d:
            raise BackendError(f"{self.source.name} does not say how many features it gives")
        return int(d)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the features of a text."""
        return {
            "encoder": "sentence-transformers",
            "version": VERSION,
            "model": self.source.identity,
            "prefix": self.prefix,
            "max_length": self._wanted_length,
        }

    def batches(self, units: Sequence[Unit]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(positions, features) of ``units`` as they are computed, longest first."""
        budget = self.budget or (2048 if self.model.device.type == "cpu" else 32_768)
        yield from encode_in_batches(units, rough_length, self._prepare, self._forward, budget)

    def _prepare(self, units: list[Unit]) -> list[_Sized]:
        """Texts with their token counts."""
        tokenizer: Any = self.model.tokenizer
        most = self.model.get_max_seq_length()
        if not most or not hasattr(tokenizer, "num_special_tokens_to_add"):
            return [_Sized(text, len(text) // 4 + 1) for text in map(as_one, units)]  # no such notion of tokens
        with self._lock, quiet():
            texts = fit(units, tokenizer, most)
            cut: dict[str, Any] = {"truncation": True, "max_length": most, "return_attention_mask": False}
            ids = tokenizer([(self.prefix or "") + text for text in texts], **cut)["input_ids"]
        return [_Sized(text, max(len(x), 1)) for text, x in zip(texts, ids, strict=True)]

    def _forward(self, batch: list[_Sized]) -> np.ndarray:
        """float32 [b, d] features of one batch."""
        texts = [sized.text for sized in batch]
        with self._lock, quiet():
            options = {"batch_size": len(texts), "show_progress_bar": False, "convert_to_numpy": True}
            prompt = {} if self.prefix is None else {"prompt": self.prefix}
            return np.asarray(self.model.encode(texts, **prompt, **options), dtype=np.float32)


class _Sized:
    """A text that knows its number of tokens."""

    def __init__(self, text: str, tokens: int) -> None:
        self.text, self.tokens = text, tokens

    def __len__(self) -> int:
        return self.tokens

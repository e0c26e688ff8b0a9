"""Next-token logits of a local model for texts that grow, each token run through the model once.

A reader of a text that another model writes: its own prompt stands before the text, keys and values are kept, and what
was taken back (a rejected draft, rows that changed places) is cut off and run anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.errors import ConfigError
from guerdon.generate.local import LocalModel


class Continuations:
    """What ``model`` would write next after ``prompts`` [n] (tokens) and what was written since.

    ``computed`` counts the tokens that were run, padding left out: what a step costs.
    """

    def __init__(self, model: LocalModel, prompts: Sequence[np.ndarray]) -> None:
        if not all(len(p) for p in prompts):
            raise ConfigError("nothing stands before the text: give a prompt of at least one token")
        self.model = model
        longest = max(map(len, prompts), default=0)
        ids = np.full((len(prompts), longest), model.pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = prompt
            mask[row, longest - len(prompt) :] = 1
        self.ids = torch.from_numpy(ids).to(model.device)
        self.mask = torch.from_numpy(mask).to(model.device)
        self.written = self.ids[:, :0]
        self.computed = 0
        self._cache: Any = None

    def logits(self, written: Tensor, last: int = 1) -> Tensor:
        """float32 [n, last, V]: of the tokens that follow the last ``last`` prefixes of ``written`` int64 [n, t].

        The prefixes are written[:, :t - last + 1], ..., written[:, :t].
        """
        t = written.shape[1]
        if not 1 <= last <= t + 1:
            raise ConfigError(f"last={last}: {t} tokens have {t + 1} prefixes")
        # the state after a prefix is that of its last token, and those from t - last on are wanted
        start = 0 if self._cache is None else self.ids.shape[1] + min(self._agreed(written), t - last)
        start = self._taken_back(start)
        whole = torch.cat([self.ids, written], dim=1)
        mask = torch.cat([self.mask, self.mask.new_ones(written.shape)], dim=1)
        places = (mask.cumsum(1) - 1).clamp(min=0)
        with self.model._lock, torch.inference_mode():
            out = self.model.model(
                input_ids=whole[:, start:],
                attention_mask=mask,
                position_ids=places[:, start:],
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=last,
            )
        self._cache, self.written = out.past_key_values, written.clone()  # its owner may write on in place
        self.computed += int(mask[:, start:].sum())
        return out.logits[:, -last:].float()

    def _taken_back(self, start: int) -> int:
        """Cut the cache to ``start`` tokens; with layers that keep no past (windows, recurrences) begin anew, at 0."""
        if self._cache is None:
            return start
        surplus = self.ids.shape[1] + self.written.shape[1] - start
        if surplus and all(type(layer).__name__ == "DynamicLayer" for layer in self._cache.layers):
            self._cache.crop(-surplus)
        elif surplus:
            self._cache, start = None, 0
        return start

    def _agreed(self, written: Tensor) -> int:
        """How many of the first tokens of ``written`` are those that were run."""
        both = min(written.shape[1], self.written.shape[1])
        same = (written[:, :both] == self.written[:, :both]).all(0)
        return both if bool(same.all()) else int(same.int().argmin())

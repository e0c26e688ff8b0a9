"""A language model that is a function: what tests, examples and checks of claims ask where no model is at hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guerdon.feedback.messages import Text, as_text
from guerdon.generate.base import LanguageModel, Replies, Reply, Sampling, as_sampling


class Scripted(LanguageModel):
    """Replies with ``function(prompt, seed)``; None is a refusal. No server, no cache, no time passes.

    ``calls`` and ``prompt_tokens`` (four characters each) count what was asked so far.
    """

    def __init__(self, function: Callable[[str, int], str | None], name: str = "scripted") -> None:
        self.function, self.name = function, name
        self.calls = self.prompt_tokens = 0

    def generate(
        self,
        prompts: Sequence[Text],
        n: int = 1,
        *,
        sampling: Sampling | None = None,
        schema: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Replies:
        """n replies a prompt: draw d is the function's with the seed + d (0 + d where there is no seed)."""
        seed = as_sampling(sampling, settings).seed or 0
        rows = [self._reply(as_text(prompt), seed + draw, schema) for prompt in prompts for draw in range(n)]
        asked = sum(r.prompt_tokens for r in rows)
        written = sum(r.completion_tokens for r in rows)
        self.calls += len(rows)
        self.prompt_tokens += asked
        cost = {"calls": len(rows), "prompt_tokens": asked, "completion_tokens": written}
        return Replies(rows, n, {name: float(value) for name, value in cost.items()})

    def _reply(self, prompt: str, seed: int, schema: Mapping[str, Any] | None) -> Reply:
        text = self.function(prompt, seed)
        asked, written = len(prompt) // 4, len(text or "") // 4
        if text is None:
            return Reply("refused", reason="the model refuses", prompt_tokens=asked)
        parsed = _json(text) if schema is not None else None
        return Reply("answered", text, finish="stop", parsed=parsed, prompt_tokens=asked, completion_tokens=written)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None

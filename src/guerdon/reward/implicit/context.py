"""Prompts with something said before them, and what is left out because a model cannot read it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Text, as_messages, as_text, pack
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel, Likelihoods

Exemplar = tuple[str, str]
"""(prompt, response) shown as an earlier turn."""


def within(prompt: Text, system: str | None, exemplars: Sequence[Exemplar] = ()) -> Text:
    """``prompt`` after ``exemplars``, under ``system``; what is None or empty adds nothing.

    A system message that the prompt brings stays, after the one given, in one message: templates take one at most.
    """
    if not system and not exemplars:
        return prompt
    messages = as_messages(prompt)
    said = [system] if system else []
    while messages and messages[0]["role"] == "system":
        said.append(as_text([messages[0]]))
        messages = messages[1:]
    shown = [
        {"role": role, "content": text}
        for pair in exemplars
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    head = [{"role": "system", "content": "\n\n".join(said)}] if said else []
    return [*head, *shown, *messages]


def likelihoods(model: LanguageModel, prompts: Sequence[Text], responses: Sequence[str]) -> Likelihoods:
    """``model.loglikelihood`` with each distinct (prompt, response) run once; empty responses are ``invalid``."""
    keys = [(pack(p), r) for p, r in zip(prompts, responses, strict=True)]
    seen: dict[tuple[str, str], int] = {}
    for i, key in enumerate(keys):
        if key[1].strip():
            seen.setdefault(key, i)
    first = list(seen.values())
    found = model.loglikelihood([prompts[i] for i in first], [responses[i] for i in first])
    at = {keys[i]: row for row, i in enumerate(first)}
    rows = [at.get(key) for key in keys]
    return Likelihoods(
        np.array([np.nan if r is None else found.total[r] for r in rows]),
        [None if r is None else found.tokens[r] for r in rows],
        ["invalid" if r is None else found.status[r] for r in rows],
        ["the response is empty" if r is None else found.reason[r] for r in rows],
    )


def texts(candidates: Candidates) -> list[str]:
    """The responses as text."""
    return [as_text(r) for r in candidates.responses]


def checked_length(length: str) -> str:
    """``length`` if it is ``sum`` or ``mean``."""
    if length not in ("sum", "mean"):
        raise ConfigError(f"length={length!r}: use sum or mean")
    return length

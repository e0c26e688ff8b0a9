"""Criteria put in a few themes with tips by a language model, none lost on the way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guerdon.encode.base import Encoder
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel
from guerdon.reward.judge import rubric_writing as writing
from guerdon.reward.judge.asking import total
from guerdon.reward.judge.rubric_writing import Theme, Tip

ATTEMPTS = 3


def in_themes(
    model: LanguageModel,
    encoder: Encoder,
    texts: Sequence[str],
    most: int,
    *,
    temperature: float = 0.7,
    seed: int = 0,
) -> tuple[list[Theme], list[str], dict[str, float]]:
    """(at most ``most`` themes of the criteria ``texts``, notes on what went wrong, cost).

    A criterion that the model puts in no theme becomes a tip of the one nearest to it. Where the model makes no themes,
    each criterion is one by itself.
    """
    cost: dict[str, float] = {}
    found = None
    for attempt in range(ATTEMPTS):
        replies = model.generate(
            [writing.ask_for_themes(texts, most)],
            schema=writing.themes_schema(),
            temperature=temperature if attempt else 0.0,
            seed=seed + attempt,
        )
        cost = total(cost, replies.cost)
        found = writing.read_themes(replies.rows[0].parsed, len(texts))
        if found is not None and len(found) <= most:
            break
        found = None
    if found is None:
        alone = [Theme(text, (Tip(text, (i,)),)) for i, text in enumerate(texts)]
        return alone, ["the model put the core in no themes: each criterion stands by itself"], cost
    placed = {i for theme in found for i in theme.sources}
    lost = [i for i in range(len(texts)) if i not in placed]
    if not lost:
        return found, [], cost
    notes = [f"{len(lost)} criteria that the model put in no theme were added to the nearest"]
    return _with_tips(encoder, found, lost, texts), notes, cost


def _with_tips(encoder: Encoder, themes: list[Theme], lost: Sequence[int], texts: Sequence[str]) -> list[Theme]:
    names = [theme.text for theme in themes] + [texts[i] for i in lost]
    vectors = encoder.encode(Candidates([""] * len(names), names)).astype(np.float64)
    nearest = np.argmax(vectors[len(themes) :] @ vectors[: len(themes)].T, axis=1)
    more: list[list[Tip]] = [[] for _ in themes]
    for i, at in zip(lost, nearest.tolist(), strict=True):
        more[at].append(Tip(texts[i], (i,)))
    return [Theme(theme.name, (*theme.tips, *tips)) for theme, tips in zip(themes, more, strict=True)]

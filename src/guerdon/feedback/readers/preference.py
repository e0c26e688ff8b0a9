"""Pairs with a preferred response: TRL's preference format in all its shapes, and RewardBench 1.

Explicit prompt (``prompt, chosen, rejected``), implicit prompt (``chosen, rejected`` share their beginning), text or
chat messages. A strength is read from ``chosen_score``/``rejected_score`` and their like, or from ``margin``.

References: TRL dataset formats, https://huggingface.co/docs/trl/dataset_formats; Lambert et al. 2024, RewardBench,
arXiv:2403.13787.
"""

from collections.abc import Iterable

import numpy as np

from guerdon.feedback.messages import Message, Text
from guerdon.feedback.readers import chats
from guerdon.feedback.readers.fast import Columns, Fast
from guerdon.feedback.readers.formats import Format, Row, RowError, Sample
from guerdon.feedback.schema import Judgement

SCORES = (
    ("chosen_score", "rejected_score"),
    ("score_chosen", "score_rejected"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
    ("chosen_grade", "rejected_grade"),
)
MARGINS = ("strength", "preference_strength", "margin")
BARELY = 1e-9
"""Strength of a preference whose given strength is not positive: the verdict stands, its size is nothing."""

NO_STRENGTH = "{n} rows whose scores do not favour the chosen response: read as preferred with strength 0"


def explicit(row: Row) -> Iterable[Judgement]:
    """``prompt, chosen, rejected``; messages that repeat the prompt before the response lose the repetition."""
    prompt, chosen, rejected = row.text("prompt"), row.text("chosen"), row.text("rejected")
    if not isinstance(chosen, str) and not isinstance(rejected, str):
        prompt, chosen, rejected = without_prompt(prompt, chosen, rejected)
    yield Judgement(prompt, (chosen, rejected), grades_of(row), **row.meta())


def implicit(row: Row) -> Iterable[Judgement]:
    """``chosen, rejected`` whose common beginning is the prompt."""
    chosen, rejected = row.text("chosen"), row.text("rejected")
    if isinstance(chosen, str) and isinstance(rejected, str):
        cut = common_words(chosen, rejected)
        prompt: Text = chosen[:cut].strip()
        chosen, rejected = chosen[cut:].lstrip(), rejected[cut:].lstrip()
        if not prompt:
            row.tally.count("{n} rows share no beginning: read with an empty prompt")
    elif not isinstance(chosen, str) and not isinstance(rejected, str):
        prompt, chosen, rejected = split_messages(chosen, rejected)
    else:
        raise RowError("mixed-types", "rejected", "one side is text, the other chat messages", "write both alike")
    yield Judgement(prompt, (chosen, rejected), grades_of(row), **row.meta())


def common_words(a: str, b: str) -> int:
    """Length of the common beginning of two texts, cut back to the end of a word."""
    n, limit = 0, min(len(a), len(b))
    while n < limit and a[n] == b[n]:
        n += 1
    if n == limit:
        n = n - 1 if a != b else 0  # identical texts are all response, so that the check of identical responses sees it
    while n > 0 and not a[n - 1].isspace():
        n -= 1
    return n


def split_messages(
    chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """(prompt, chosen, rejected) of two chats that begin alike; each keeps at least one message of its own."""
    n = 0
    while n < min(len(chosen), len(rejected)) - 1 and chosen[n] == rejected[n]:
        n += 1
    return chosen[:n], chosen[n:], rejected[n:]


def without_prompt(prompt: Text, chosen: list[Message], rejected: list[Message]) -> tuple[Text, Text, Text]:
    """The responses without a repetition of the prompt in front, and the prompt as messages if they repeat it so."""
    if not isinstance(prompt, str):
        n = len(prompt)
        if n and chosen[:n] == prompt and rejected[:n] == prompt and len(chosen) > n and len(rejected) > n:
            return prompt, chosen[n:], rejected[n:]
        return prompt, chosen, rejected
    shared, own, other = split_messages(chosen, rejected)
    if shared and any(m.get("content") == prompt for m in shared if m["role"] == "user"):
        return shared, own, other
    return prompt, chosen, rejected


def grades_of(row: Row) -> tuple[float, float]:
    """(grade of chosen, grade of rejected): (1, 0), or apart by the strength that the row gives."""
    for better, worse in SCORES:
        if better in row and worse in row:
            high, low = row.number(better), row.number(worse)
            if high > low or high != high or low != low:  # NaN is left for validation to report
                return high, low
            row.tally.count(NO_STRENGTH)
            return BARELY, 0.0
    name = row.first(MARGINS)
    if name is None:
        return 1.0, 0.0
    strength = row.number(name)
    if strength < 0:
        raise RowError("negative-strength", name, f"is {strength}", "swap chosen and rejected, or give its size")
    if strength == 0:
        row.tally.count(NO_STRENGTH)
    return (strength if strength != 0 else BARELY), 0.0


def explicit_columns(columns: Columns) -> dict[str, object]:
    """``explicit`` for whole columns of plain text or plain chats that do not repeat the prompt."""
    if columns.is_chat("chosen") and columns.is_chat("rejected"):
        for name in ("chosen", "rejected"):
            columns.refuse(chats.first_roles(columns.table[name]) != {"assistant"})
            columns.refuse(not columns.is_chat("prompt") and chats.longest(columns.table[name]) > 1)
        if columns.is_chat("prompt"):
            columns.refuse("assistant" in chats.first_roles(columns.table["prompt"]))
    texts = []
    for name in ("prompt", "chosen", "rejected"):
        texts.append(columns.text_or_chat(name))
        columns.forget(name)
    prompt, chosen, rejected = texts
    n = len(prompt)
    for better, worse in SCORES:
        if columns.has(better) and columns.has(worse):
            high, low = columns.number(better), columns.number(worse)
            good = (high > low) | np.isnan(high) | np.isnan(low)
            columns.tally.count(NO_STRENGTH, int((~good).sum()))
            high, low = np.where(good, high, BARELY), np.where(good, low, 0.0)
            break
    else:
        name = next((m for m in MARGINS if columns.has(m)), None)
        high, low = np.ones(n), np.zeros(n)
        if name is not None:
            high = columns.number(name)
            columns.refuse(bool((high < 0).any()))
            columns.tally.count(NO_STRENGTH, int((high == 0).sum()))
            high = np.where(high == 0, BARELY, high)
    return {
        "prompts": prompt,
        "responses": (chosen, rejected),
        "offsets": np.arange(0, 2 * n + 1, 2),
        "grades": np.stack([high, low], axis=1).ravel(),
        **columns.meta(),
    }


def _fits_explicit(sample: Sample) -> bool:
    texts = sample.kinds("chosen") & {str, list, dict}  # one number among texts is a mistake to be told, not a format
    return sample.has("prompt", "chosen", "rejected") and (bool(texts) or not sample.kinds("chosen"))


NUMBERS = tuple(n for pair in SCORES for n in pair) + MARGINS

REWARDBENCH = Format(
    "rewardbench",
    "RewardBench 1: prompt, chosen, rejected, subset",
    ("prompt", "chosen", "rejected", "subset"),
    lambda s: _fits_explicit(s) and s.has("subset", "chosen_model", "rejected_model"),
    explicit,
    fast=Fast(("prompt", "chosen", "rejected"), NUMBERS, explicit_columns),
)
EXPLICIT = Format(
    "trl",
    "TRL preference pairs: prompt, chosen, rejected",
    ("prompt", "chosen", "rejected"),
    _fits_explicit,
    explicit,
    fast=Fast(("prompt", "chosen", "rejected"), NUMBERS, explicit_columns),
)
IMPLICIT = Format(
    "trl-implicit",
    "TRL preference pairs without a prompt column: what chosen and rejected share is the prompt",
    ("chosen", "rejected"),
    lambda s: s.has("chosen", "rejected") and not s.has("prompt"),
    implicit,
)

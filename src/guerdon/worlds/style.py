r"""How an answer is written, in four numbers computed from its text alone: the known truth of the bundled example.

    brevity     -log2(words): one less is twice as long
    structure   share of the non-blank lines that are list items, headings, table rows or code
    warmth      warm markers (kind words, exclamation marks, talking to "you") in 100 words
    rigour      exact markers (reasons, reservations, figures with a unit or a sign) in 100 words

The two rates are smoothed by 20 words without a marker, so that one word does not decide about a short answer. The
measures are crude on purpose: each is a few lines that anybody can check, and a simulated person who weighs them has
preferences that are known exactly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

ATTRIBUTES = ("brevity", "structure", "warmth", "rigour")

SMOOTHING = 20
"""Words without a marker that are added to every answer before the two rates are taken."""

_MARKED_LINE = re.compile(r"\s*(?:[-*]\s|[✔✘⚠|>]|\d+[.)]\s|#{1,6}\s|\*\*|[A-ZÜ][^.!?]{0,60}:\s*$)")

_WARM = re.compile(
    r"!|\b(?:love|loved|loves|lovely|lovelier|loveliest|glad|happy|happily|sorry|wonderful|wonderfully|promise|friend|"
    r"friends|friendly|enjoy|kind|kindly|gentle|gently|tender|proud|please|dear|brave|cosy|smile|laugh|giggle|joy|"
    r"delightful|brilliant|gorgeous|adore|adores|hug|heart|hope|thank|thanks|grateful|worry|feel|feels|oh|ooh|phew|ugh|"
    r"yuck|treat|dream|daydreams|magic|poor|patient|patience|rooting|cheering|nervous|sweet|tummy|favourite|"
    r"you'll|you're|you've|you'd|let's|I'd|I'm|I've|we've|don't worry)\b",
    re.IGNORECASE,
)

_EXACT = re.compile(
    r"\b(?:because|since|hence|therefore|thus|whereas|whether|however|although|albeit|provided|unless|except|depends|"
    r"depending|roughly|approximately|typically|commonly|generally|usually|largely|mostly|chiefly|merely|likely|"
    r"probably|suggests?|evidence|estimates?|estimated|studies|trials|research|effects?|risk|average|variation|"
    r"varies|uncertain|association|precisely|strictly|conventionally|namely|equivalently|consequence|criterion|"
    r"in principle|as a rule|rather than|in which case|so-called|e\.g\.|respectively|against|note that)\b"
    r"|[≈×≤≥½²³⁰⁻λπΩ√±;]|\(\w[\w ]* \d{4}\)"
    r"|\b\d[\d.,–]*\s?(?:%|°C|(?:km|kg|g|m|cm|mg|ml|l|GHz|Hz|nm|kWh|hours?|minutes?|h|bits)\b)",
    re.IGNORECASE,
)


def brevity(text: str) -> float:
    """-log2 of the number of words."""
    return -float(np.log2(max(len(text.split()), 1)))


def structure(text: str) -> float:
    """Share of the non-blank lines that are list items, headings, table rows or code, in [0, 1]."""
    lines, marked, code = 0, 0, False
    for line in text.split("\n"):
        if line.startswith("```"):
            code = not code
            continue
        if line.strip():
            lines += 1
            marked += code or _MARKED_LINE.match(line) is not None
    return marked / max(lines, 1)


def warmth(text: str) -> float:
    """Warm markers in 100 words, smoothed."""
    return 100 * len(_WARM.findall(text)) / (len(text.split()) + SMOOTHING)


def rigour(text: str) -> float:
    """Exact markers in 100 words, smoothed."""
    return 100 * len(_EXACT.findall(text)) / (len(text.split()) + SMOOTHING)


def style_attributes(texts: Sequence[str]) -> np.ndarray:
    """float64 [n, 4]: the columns of ``ATTRIBUTES`` for each of n texts, unscaled."""
    return np.array([[f(t) for f in (brevity, structure, warmth, rigour)] for t in texts], dtype=np.float64).reshape(
        -1, 4
    )

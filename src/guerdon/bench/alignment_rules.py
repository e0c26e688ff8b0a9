r"""Whether an image has what its prompt says, from what models say of the image: rules over given outputs.

Nothing here sees pixels. The probabilities of yes, the boxes and the scores are arrays that a visual question
answerer, a detector or a reward model gave.

* attributes: the product over noun phrases of P(yes) to "PHRASE?", not one question about the whole prompt [1]_;
* spatial relations: places of two boxes' centres, less where they overlap much [1]_;
* numeracy: an object found is half of it, its exact count the other half [1]_;
* actions: CLIPScore, the cosine of given embeddings [1]_ [2]_;
* three in one: the mean of those that apply [1]_.

The share of a prompt's score among contrastive prompts (TextNorm) is :mod:`guerdon.reward.contrastive`.

References
----------
.. [1] Huang et al. 2023. T2I-CompBench. https://arxiv.org/abs/2307.06350
.. [2] Hessel et al. 2021. CLIPScore. https://arxiv.org/abs/2104.08718
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from guerdon.errors import ConfigError, FeedbackError

RELATIONS = {
    "on the left of": "left", "on the right of": "right", "on the top of": "top", "on the bottom of": "bottom",
    "on side of": "near", "next to": "near", "near": "near", "on top of": "top",
}  # fmt: skip
"""Phrase of a prompt -> relation; longer phrases are looked for first."""
NEAR, IMAGE = 150.0, 512.0
"""Pixels within which two objects are near, in images of that side; used as their ratio."""
DROPPED = {"top", "side", "left", "right", "bottom", "the top", "the side", "the left", "the right", "the bottom"}
NUMBERS = {"a": 1, "an": 1, "one": 1} | {
    word: n for n, word in enumerate(("two", "three", "four", "five", "six", "seven", "eight"), 2)
}
_VERB = re.compile(r"\b(is|are|was|were|has|have|had|with|its|on|in|at)\b|\s(a|an|the)\s")
_PLURAL = re.compile(r"(\w+ ){1,3}\w+s")
_ARTICLE = re.compile(r"^(a|an|the|its|his|her|their)\s+", re.IGNORECASE)


class Spatial(NamedTuple):
    """A spatial prompt: the first object, the relation, the second object."""

    first: str
    relation: str
    second: str


class Box(NamedTuple):
    """A box in pixels, ``y`` growing downwards."""

    left: float
    top: float
    right: float
    bottom: float


_LONGEST = sorted(RELATIONS, key=len, reverse=True)


_BETWEEN = re.compile(r",\s*(?:and\s+)?|\s+and\s+|" + "|".join(rf"\s+{phrase}\s+" for phrase in _LONGEST))


def _is_phrase(part: str) -> bool:
    """An article and up to four words, or a bare plural of two to four ("rubber gloves")."""
    return len(part.split()) <= 5 and not _VERB.search(part) and bool(_ARTICLE.match(part) or _PLURAL.fullmatch(part))


def phrases(prompt: str) -> list[str]:
    """The noun phrases of a prompt that lists them ("a blue pen and a green notebook"), as T2I-CompBench's do.

    "a jar of hand cream" is two of them, as parsers have it.

    Prompts of whole sentences need a parser, which is not here: give their phrases yourself.

    Raises
    ------
    FeedbackError
        if ``prompt`` is no such list
    """
    text = prompt.strip().rstrip(".").lower()
    parts = [part.strip() for part in _BETWEEN.split(text)]
    heads = [part.split(" of ") for part in parts if part and part not in DROPPED]
    if not heads or not all(_is_phrase(head) and not any(map(_VERB.search, more)) for head, *more in heads):
        raise FeedbackError(f"prompt {prompt[:60]!r}: no list of noun phrases; give its phrases yourself")
    return [phrase for head in heads for phrase in head]


def questions(prompt: str) -> list[str]:
    """One question for each noun phrase."""
    return [f"{phrase}?" for phrase in phrases(prompt)]


def spatial(prompt: str) -> Spatial:
    """The objects and the relation of a spatial prompt.

    Raises
    ------
    FeedbackError
        if it names none of :data:`RELATIONS`
    """
    text = prompt.strip().rstrip(".").lower()
    for phrase in _LONGEST:
        first, found, second = text.partition(f" {phrase} ")
        if found:
            return Spatial(_ARTICLE.sub("", first), RELATIONS[phrase], _ARTICLE.sub("", second))
    raise FeedbackError(f"prompt {prompt[:60]!r}: none of {', '.join(RELATIONS)}")


def attributes(yes: np.ndarray) -> np.ndarray:
    """float64 [n] product over phrases of P(yes) [n, phrases]; NaN is an unused slot and counts as 1."""
    yes = np.asarray(yes, dtype=np.float64)
    if ((yes < 0) | (yes > 1)).any():
        raise FeedbackError("attributes: P(yes) is in [0, 1]")
    return np.where(np.isnan(yes), 1.0, yes).prod(-1)


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    wide = min(a.right, b.right) - max(a.left, b.left)
    high = min(a.bottom, b.bottom) - max(a.top, b.top)
    inside = max(wide, 0.0) * max(high, 0.0)
    both = (a.right - a.left) * (a.bottom - a.top) + (b.right - b.left) * (b.bottom - b.top) - inside
    return inside / both if both > 0 else 0.0


def placed(relation: str, first: Box | None, second: Box | None, side: float = IMAGE) -> float:
    """Whether ``first`` stands to ``second`` as said, in [0, 1]; 0 where one is not detected (None).

    A direction holds where the centres differ more along it than across it, and counts less from an overlap of 0.1 on.
    """
    if relation not in set(RELATIONS.values()):
        raise ConfigError(f"relation={relation!r}; use one of {', '.join(sorted(set(RELATIONS.values())))}")
    if first is None or second is None:
        return 0.0
    dx = (second.left + second.right - first.left - first.right) / 2
    dy = (second.top + second.bottom - first.top - first.bottom) / 2
    if relation == "near":
        near, far = NEAR / IMAGE * side, max(abs(dx), abs(dy))
        return 1.0 if abs(dx) < near or abs(dy) < near else near / far
    along = {"left": dx, "right": -dx, "top": dy, "bottom": -dy}[relation]
    across = abs(dy) if relation in ("left", "right") else abs(dx)
    if along <= across:
        return 0.0
    shared = overlap(first, second)
    return min(1.0, 0.1 / shared) if shared else 1.0


def placed_surely(place: float, confidence: tuple[float | None, float | None]) -> float:
    """The spatial score of T2I-CompBench's later script: half :func:`placed`, a quarter each detector's confidence
    (None where an object is not detected), and 0 below one half.
    """
    if None in confidence:
        place = 0.0
    score = place / 2 + sum(0.25 * c for c in confidence if c is not None)
    return score if score >= 0.5 else 0.0


def numbers(prompt: str, singular: Mapping[str, str]) -> dict[str, int]:
    """Object -> how many of it a prompt asks for ("two cups and a lamp"); ``singular`` maps plurals to singulars.

    Raises
    ------
    FeedbackError
        if no object of ``singular`` follows a number from one to eight
    """
    words = re.findall(r"[a-z]+", prompt.lower())
    known = {**singular, **{one: one for one in singular.values()}}
    found: dict[str, int] = {}
    for i, word in enumerate(words):
        for size in (2, 1):
            name = known.get(" ".join(words[i + 1 : i + 1 + size]))
            if word in NUMBERS and name is not None:
                found[name] = found.get(name, 0) + NUMBERS[word]
                break
    if not found:
        raise FeedbackError(f"prompt {prompt[:60]!r}: no known object after a number")
    return found


def distinct(labels: Sequence[str], boxes: Sequence[Box]) -> dict[str, int]:
    """Label -> how many boxes of it, those left out that share more than 0.9 of their union or of either with one kept.

    Sides are counted in whole pixels, both ends included, as in the published script.
    """
    kept: list[tuple[str, Box]] = []
    for label, box in zip(labels, boxes, strict=True):
        if not any(label == other and _same(box, there) for other, there in kept):
            kept.append((label, box))
    return {label: sum(label == other for other, _ in kept) for label in dict.fromkeys(labels)}


def _same(a: Box, b: Box) -> bool:
    wide = min(a.right, b.right) - max(a.left, b.left) + 1
    high = min(a.bottom, b.bottom) - max(a.top, b.top) + 1
    inside = max(wide, 0.0) * max(high, 0.0)
    areas = [(box.right - box.left + 1) * (box.bottom - box.top + 1) for box in (a, b)]
    return inside > 0.9 * min(*areas, sum(areas) - inside)


def counted(wanted: Mapping[str, int], found: Mapping[str, int]) -> float:
    """Numeracy in [0, 1]: half of an object's share for being found, half for its exact (de-duplicated) count."""
    if not wanted:
        raise FeedbackError("numeracy: no objects are wanted")
    return sum(0.5 * (found.get(k, 0) > 0) + 0.5 * (found.get(k, 0) == n) for k, n in wanted.items()) / len(wanted)


def clip_score(image: np.ndarray, text: np.ndarray, *, weight: float | None = None) -> np.ndarray:
    """float64 [n] cosine of embeddings ``image`` [n, d] and ``text`` [n, d], as T2I-CompBench takes it.

    With ``weight`` it is CLIPScore as first published, ``weight * max(cosine, 0)``, its weight 2.5.

    Raises
    ------
    FeedbackError
        if shapes differ or an embedding is zero
    """
    image, text = np.asarray(image, dtype=np.float64), np.asarray(text, dtype=np.float64)
    if image.ndim != 2 or image.shape != text.shape:
        raise FeedbackError(
            f"CLIPScore: embeddings of images {image.shape} and of texts {text.shape}; use [n, d] of both"
        )
    length = np.linalg.norm(image, axis=1) * np.linalg.norm(text, axis=1)
    if not (length > 0).all():
        raise FeedbackError("CLIPScore: an embedding is zero or not a number")
    cosine = (image * text).sum(1) / length
    return cosine if weight is None else weight * np.maximum(cosine, 0)


def three_in_one(scores: Sequence[float | None]) -> float:
    """The mean of the metrics that apply (the others are None).

    Raises
    ------
    FeedbackError
        if none applies
    """
    given = [s for s in scores if s is not None]
    if not given:
        raise FeedbackError("three in one: no metric applies")
    return float(np.mean(given))

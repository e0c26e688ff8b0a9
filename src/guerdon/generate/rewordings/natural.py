"""Transforms as people write: typing errors of five kinds, letters that look alike, words left out, a transcript.

Three in ten words are touched, once each. What carries meaning by itself is left alone: numbers, code, mathematics and
negations; words of fewer than four letters for typing errors; names where words are left out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from guerdon.generate.rewordings.controlled import outside_code
from guerdon.generate.rewordings.transform import text

SHARE = 0.3
"""Of the words that may be touched."""
LEFT_OUT = 0.15
"""Of the words that may be left out."""

HOMOGLYPHS = str.maketrans("aceopxyijsABCEHIKMOPTX", "асеорхуіјѕАВСЕНІКМОРТХ")
KEYBOARD = {
    key: "".join(near)
    for row, below, above in (
        ("qwertyuiop", "asdfghjkl", ""),
        ("asdfghjkl", "zxcvbnm", "qwertyuiop"),
        ("zxcvbnm", "", "asdfghjkl"),
    )
    for i, key in enumerate(row)
    for near in [[*row[max(i - 1, 0) : i], *row[i + 1 : i + 2], *below[i : i + 1], *above[i : i + 1]]]
}
NEGATIONS = frozenset(
    re.findall(
        r"\w+",
        "no not none nor never neither nobody nothing nowhere without unless except cannot only false untrue wrong but "
        "however hardly rarely all some any every if more less most least before after",
    )
)
_WORD = re.compile(r"[A-Za-z]{4,}")
_TOKEN = re.compile(r"(\s+)")


def in_words(text: str, draw: random.Random, change: Callable[[str, random.Random], str]) -> str:
    """``change`` applied to three in ten words of four letters or more outside of code and mathematics."""

    def once(match: re.Match[str]) -> str:
        touched = draw.random() < SHARE and match[0].lower() not in NEGATIONS
        return change(match[0], draw) if touched else match[0]

    return outside_code(text, lambda t: _WORD.sub(once, t))


@text("typos", family="natural", what="two neighbouring letters exchanged, in three of ten words")
def typos(text: str, draw: random.Random) -> str:
    """Inside the word: its first letter stays."""

    def swap(word: str, draw: random.Random) -> str:
        i = draw.randrange(1, len(word) - 1)
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]

    return in_words(text, draw, swap)


@text("wrong letters", family="natural", what="one letter replaced by any other, in three of ten words")
def wrong_letters(text: str, draw: random.Random) -> str:
    """Anywhere but at the beginning."""

    def replaced(word: str, draw: random.Random) -> str:
        i = draw.randrange(1, len(word))
        return word[:i] + draw.choice("abcdefghijklmnopqrstuvwxyz") + word[i + 1 :]

    return in_words(text, draw, replaced)


@text("neighbouring keys", family="natural", what="one letter replaced by a neighbour on the keyboard")
def neighbouring_keys(text: str, draw: random.Random) -> str:
    """QWERTY."""

    def slipped(word: str, draw: random.Random) -> str:
        i = draw.randrange(1, len(word))
        near = draw.choice(KEYBOARD[word[i].lower()])
        return word[:i] + (near.upper() if word[i].isupper() else near) + word[i + 1 :]

    return in_words(text, draw, slipped)


@text("extra letters", family="natural", what="one letter too many, in three of ten words")
def extra_letters(text: str, draw: random.Random) -> str:
    """Any letter."""

    def inserted(word: str, draw: random.Random) -> str:
        i = draw.randrange(1, len(word))
        return word[:i] + draw.choice("abcdefghijklmnopqrstuvwxyz") + word[i:]

    return in_words(text, draw, inserted)


@text("missing letters", family="natural", what="one letter missing, in three of ten words")
def missing_letters(text: str, draw: random.Random) -> str:
    """Any but the first."""

    def shortened(word: str, draw: random.Random) -> str:
        i = draw.randrange(1, len(word))
        return word[:i] + word[i + 1 :]

    return in_words(text, draw, shortened)


@text("homoglyphs", family="natural", what="letters of three in ten words replaced by ones that look the same")
def homoglyphs(text: str, draw: random.Random) -> str:
    """Cyrillic for Latin."""
    return in_words(text, draw, lambda word, draw: word.translate(HOMOGLYPHS))


@text("missing words", family="natural", what="some words left out, no negation, number or name")
def missing_words(text: str, draw: random.Random) -> str:
    """Lower-case words of letters only; never the last one of a text."""

    def some(prose: str) -> str:
        parts = _TOKEN.split(prose)
        out = []
        for i in range(0, len(parts), 2):
            word = parts[i]
            plain = word.isalpha() and word.islower() and word not in NEGATIONS
            if plain and i + 1 < len(parts) and draw.random() < LEFT_OUT:
                continue
            out += parts[i : i + 2]
        return "".join(out)

    return outside_code(text, some)


@text("transcript", family="natural", what="prose as if dictated: no capitals, no punctuation, one line")
def transcript(text: str, draw: random.Random) -> str:
    """What a recogniser of speech leaves of prose. Numbers, code and mathematics stay."""

    def said(prose: str) -> str:
        plain = re.sub(r"(?<!\d)[,;:!?.\"“”()*#_](?!\d)|[,;:!?.](?!\S)", " ", prose.lower())
        return re.sub(r"\s+", " ", plain)

    return outside_code(text, said)


TRANSFORMS = (
    typos,
    wrong_letters,
    neighbouring_keys,
    extra_letters,
    missing_letters,
    homoglyphs,
    missing_words,
    transcript,
)

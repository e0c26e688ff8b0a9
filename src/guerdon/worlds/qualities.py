"""Twelve qualities that pictures, tones and texts can have more or less of, and comparisons by one of them in words.

Six can be seen, heard and read alike (a shape stands higher, a tone is higher, a journey leads higher up); the others
belong to one sense or two. A pair differs in two of them, one in favour of either side, so that which side is better is
the criterion's to say, and nothing else's: the same pair is judged by both, with opposite verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Text
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.worlds.scenes import image_part, mask, png
from guerdon.worlds.tones import Tone, audio_part, sound, wav

CRITERIA: dict[str, tuple[str, str, str]] = {
    "higher": ("Prefer what is higher.", "A greater height is better.", "Choose the higher one of the two."),
    "more": (
        "Prefer the larger number of them.",
        "A greater count is better.",
        "Choose the one with the higher number of them.",
    ),
    "brighter": (
        "Prefer what is brighter.",
        "More brightness and light is better.",
        "Choose the one that is bright and not dark.",
    ),
    "stronger": (
        "Prefer what is stronger.",
        "More strength and power is better.",
        "Choose the one that is strong and intense.",
    ),
    "longer": ("Prefer what is longer.", "A greater length is better.", "Choose the long one, not the short one."),
    "rougher": ("Prefer what is rougher.", "More roughness is better.", "Choose the rough one, not the smooth one."),
    "redder": (
        "Prefer what is redder.",
        "More red colour is better.",
        "Choose the one that is coloured red, not blue.",
    ),
    "left": (
        "Prefer what is further to the left.",
        "A place on the left side is better.",
        "Choose the one on the left, not the one on the right.",
    ),
    "rising": (
        "Prefer what rises towards the end.",
        "A rising course is better than a falling one.",
        "Choose the one that is rising as it goes on.",
    ),
    "trembling": (
        "Prefer what trembles faster.",
        "More trembling and shaking is better.",
        "Choose the one that trembles and shakes.",
    ),
    "friendlier": (
        "Prefer what is friendlier.",
        "More kindness and friendliness is better.",
        "Choose the friendly one, kind and warm.",
    ),
    "newer": (
        "Prefer what is more modern.",
        "More modern technology is better.",
        "Choose the modern one, not the old-fashioned one.",
    ),
}
"""Quality -> what a criterion says of it, in three ways."""
SHARED = ("higher", "more", "brighter", "stronger", "longer", "rougher")
SENSES: dict[str, tuple[str, ...]] = {
    "image": (*SHARED, "redder", "left"),
    "audio": (*SHARED, "left", "rising", "trembling"),
    "text": (*SHARED, "friendlier", "newer"),
}
PROMPTS = {"image": "Draw something.", "audio": "Play a sound.", "text": "Tell me of your journey."}
GAP = 0.35
"""The least difference of a quality, in [0, 1], that a comparison is about."""

PHRASES: dict[str, tuple[str, ...]] = {
    "higher": ("We stayed in a deep cave.", "We stayed down in the valley.", "We stayed on a hill.",
               "We stayed up on a mountain.", "We stayed on the highest summit above the clouds."),
    "more": ("I was alone.", "Two of us went.", "A handful of us went.", "A large group of us went.",
             "Hundreds of us went."),
    "brighter": ("The nights were pitch black.", "The days were gloomy and dim.", "The weather was grey.",
                 "The days were sunny.", "The sun was dazzling and everything shone."),
    "stronger": ("It was rather dull.", "It was nice.", "It was exciting.", "It was thrilling!",
                 "It was OVERWHELMING, absolutely INCREDIBLE!!!"),
    "longer": ("", "We took our time.", "We took our time, day after day, and week after week.",
               "We took our time, day after day, and week after week, and saw one place after the other.",
               "We took our time, day after day, and week after week, and saw one place after the other, and then we "
               "went on and on, further and further, until nobody could remember when we had set out."),
    "rougher": ("The road was perfectly smooth.", "The road was even.", "The road was a little uneven.",
                "The road was bumpy.", "The road was rough, full of stones and holes."),
    "friendlier": ("Leave me alone now.", "That is all.", "Regards.", "Thank you for asking.",
                   "Thank you so much, my dear friend, with all my love!"),
    "newer": ("We rode in a horse-drawn carriage.", "We took a steam train.", "We drove an old car.",
              "We flew in a jet.", "We took an electric self-driving taxi booked by an app."),
}  # fmt: skip


def criterion(quality: str, way: int) -> str:
    """One of the three ways to ask for a quality."""
    return CRITERIA[quality][way]


def picture(level: dict[str, float], rng: np.random.Generator, side: int = 32) -> bytes:
    """A PNG of one to four shapes in a block, with qualities in [0, 1]."""
    shape = ("square", "disc", "cross")[int(rng.integers(3))]
    stretch, radius = 1 + level["longer"], 2.4
    ground = 0.1 + 0.4 * level["brighter"]
    red, strength = level["redder"], 0.4 + 0.6 * level["stronger"]
    colour = np.array([0.2 + 0.8 * red, 0.35, 1.0 - 0.8 * red])
    out = np.full((side, side, 3), ground)
    # the block's corner moves over the same ground whatever its size
    top, left = side * 0.6 * (1 - level["higher"]), side * 0.36 * (1 - level["left"])
    for k in range(1 + round(3 * level["more"])):
        row, column = divmod(k, 2)
        centre = np.array([top + radius * (1 + 2.5 * row), left + radius * stretch * (1 + 2 * column) + column])
        out[mask(shape, centre + rng.uniform(0, 0.5, 2), radius, side, stretch)] = (
            1 - strength
        ) * ground + strength * colour
    out += (0.01 + 0.09 * level["rougher"]) * rng.standard_normal(out.shape)
    return png(np.rint(255 * np.clip(out, 0, 1)).astype(np.uint8))


def tone(level: dict[str, float], rng: np.random.Generator) -> bytes:
    """A WAV of a tone with qualities in [0, 1]."""
    return wav(
        sound(
            Tone(
                pitch=220 * 2 ** (2 * level["higher"]),
                level=-30 + 24 * level["stronger"],
                seconds=0.3 + 0.7 * level["longer"],
                beeps=1 + round(4 * level["more"]),
                timbre=level["brighter"],
                noise=0.01 + 0.3 * level["rougher"],
                glide=level["rising"] - 0.5,
                side=0.9 - 1.8 * level["left"],
                tremble=4 + 16 * level["trembling"],
            ),
            rng,
        )
    )


def story(level: dict[str, float], rng: np.random.Generator) -> str:
    """A few sentences with qualities in [0, 1], in any order."""
    said = [PHRASES[name][round(4 * level[name])] for name in SENSES["text"]]
    return " ".join(said[i] for i in rng.permutation(len(said)) if said[i])


def response(sense: str, level: dict[str, float], rng: np.random.Generator, place: Path | None, name: str) -> Text:
    """A response of a sense; pictures and tones are written to ``place``, or stand in the message without one."""
    if sense == "text":
        return story(level, rng)
    data = picture(level, rng) if sense == "image" else tone(level, rng)
    if place is None:
        medium: Path | bytes = data
    else:
        medium = place / f"{name}.{'png' if sense == 'image' else 'wav'}"
        medium.write_bytes(data)
    part = image_part(medium) if sense == "image" else audio_part(medium)
    return [{"role": "assistant", "content": [part]}]


@dataclass(frozen=True)
class Pair:
    """Two responses of a sense: ``first`` has more of ``up``, ``second`` of ``down``, and they have all else alike."""

    sense: str
    prompt: str
    first: Text
    second: Text
    up: str
    down: str


def pairs(sense: str, count: int, rng: np.random.Generator, place: Path | None = None, tag: str = "") -> list[Pair]:
    """``count`` pairs of a sense that differ in two qualities.

    Raises
    ------
    ConfigError
        if there is no such sense
    """
    if sense not in SENSES:
        raise ConfigError(f"sense {sense!r}: use one of {', '.join(SENSES)}")
    names, out = SENSES[sense], []
    for i in range(count):
        common = {name: float(rng.random()) for name in names}
        up, down = (names[int(k)] for k in rng.choice(len(names), size=2, replace=False))
        low = {name: float(rng.uniform(0, 1 - GAP)) for name in (up, down)}
        high = {name: float(rng.uniform(low[name] + GAP, 1)) for name in (up, down)}
        levels = [common | {up: high[up], down: low[down]}, common | {up: low[up], down: high[down]}]
        sides = [response(sense, level, rng, place, f"{tag}{i}{'ab'[k]}") for k, level in enumerate(levels)]
        out.append(Pair(sense, f"{PROMPTS[sense]} ({tag}{i})", sides[0], sides[1], up, down))
    return out


def judged(found: list[Pair], ways: tuple[int, ...], rng: np.random.Generator) -> Feedback:
    """Each pair judged by both of its qualities, each asked for in one of ``ways``: opposite verdicts.

    The prompt names the pair, so that splitting by prompt keeps a pair and its reversal together.
    """
    rows = []
    for pair in found:
        for quality, grades in ((pair.up, (1.0, 0.0)), (pair.down, (0.0, 1.0))):
            asked = criterion(quality, ways[int(rng.integers(len(ways)))])
            rows.append(Judgement(pair.prompt, (pair.first, pair.second), grades, criterion=asked, subset=pair.sense))
    return Feedback.of(rows)

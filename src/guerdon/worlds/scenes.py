"""Drawn scenes whose content is known: coloured shapes in a few places, true words about them, and false ones.

A scene has at most one thing in each of four corners, a colour and a shape each. It is drawn with pixels of noise,
things a little shifted and scaled, and written as a PNG file, so that a prompt or response that shows it is an ordinary
message with an image part. What is said of a scene is a :class:`Saying`: a question, a true answer and a false one that
differs in one fault. Fault and truth are exchangeable: what is false of one scene is as likely true of another, so that
words alone give nothing away.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.feedback.messages import Message
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback

COLOURS = {"red": (0.9, 0.1, 0.1), "green": (0.1, 0.8, 0.2), "blue": (0.15, 0.2, 0.95), "yellow": (0.95, 0.9, 0.1)}
SHAPES = ("square", "ring", "cross")
CORNERS = ("top left", "top right", "bottom left", "bottom right")
NUMBERS = ("no", "one", "two", "three", "four")
GROUND, NOISE = 0.5, 0.05


@dataclass(frozen=True)
class Thing:
    """A colour and a shape in a corner (row-major, 0 to 3)."""

    colour: int
    shape: int
    corner: int

    @property
    def name(self) -> str:
        """As people call it: ``red ring``."""
        return f"{list(COLOURS)[self.colour]} {SHAPES[self.shape]}"


Scene = tuple[Thing, ...]
"""Things in different corners, by corner."""


def scene(rng: np.random.Generator, count: int | None = None) -> Scene:
    """``count`` things (1 to 4, at random if not said), no two alike."""
    count = int(rng.integers(1, 5)) if count is None else count
    kinds = rng.choice(len(COLOURS) * len(SHAPES), size=count, replace=False)
    corners = np.sort(rng.choice(4, size=count, replace=False))
    return tuple(
        Thing(int(k) // len(SHAPES), int(k) % len(SHAPES), int(c)) for k, c in zip(kinds, corners, strict=True)
    )


def draw(things: Scene, rng: np.random.Generator, *, side: int = 32, light: float = 0.0) -> np.ndarray:
    """uint8 [side, side, 3] of a scene; ``light`` is added everywhere, in units of full brightness."""
    out = np.full((side, side, 3), GROUND)
    cell = side // 2
    palette = list(COLOURS.values())
    for thing in things:
        radius = cell * rng.uniform(0.32, 0.42)
        slack = cell / 2 - radius
        centre = cell * np.array(divmod(thing.corner, 2)) + cell / 2 + rng.uniform(-slack, slack, 2)
        out[mask(SHAPES[thing.shape], centre, radius, side)] = palette[thing.colour]
    out += light + NOISE * rng.standard_normal(out.shape)
    return np.rint(255 * np.clip(out, 0, 1)).astype(np.uint8)


def mask(shape: str, centre: np.ndarray, radius: float, side: int, stretch: float = 1.0) -> np.ndarray:
    """bool [side, side] the pixels of a shape around ``centre`` (y, x); ``stretch`` makes it wider."""
    y, x = np.mgrid[:side, :side] + 0.5
    dy, dx = np.abs(y - centre[0]), np.abs(x - centre[1]) / stretch
    if shape == "square":
        return np.maximum(dy, dx) < radius
    if shape == "ring":
        away = np.hypot(dy, dx)
        return (away < radius) & (away > radius / 2)
    if shape == "disc":
        return np.hypot(dy, dx) < radius
    return (np.minimum(dy, dx) < radius / 3) & (np.maximum(dy, dx) < radius)  # a cross


# ------------------------------------------------------------------------------------------------ files and parts


def png(pixels: np.ndarray) -> bytes:
    """A picture uint8 [h, w, 3] as the bytes of a PNG file."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def image_part(picture: Path | bytes) -> Message:
    """The content part that shows a picture: by its path, or with its bytes inside."""
    url = f"data:image/png;base64,{base64.b64encode(picture).decode()}" if isinstance(picture, bytes) else str(picture)
    return {"type": "image_url", "image_url": {"url": url}}


def shown(picture: Path | bytes, text: str = "", role: str = "user") -> list[Message]:
    """A prompt or response that shows a picture and says ``text``."""
    parts: list[Any] = [image_part(picture)]
    return [{"role": role, "content": [*parts, {"type": "text", "text": text}] if text else parts}]


# ------------------------------------------------------------------------------------------------ what is said of them


@dataclass(frozen=True)
class Saying:
    """A question about a scene, a true answer, and a false one with one fault."""

    question: str
    true: str
    false: str
    fault: str


def _parts(things: Scene) -> str:
    said = [f"a {t.name} at the {CORNERS[t.corner]}" for t in things]
    return " and ".join(said)


def described(things: Scene, rng: np.random.Generator) -> Saying:
    """The whole scene in words; the false answer has a wrong colour or shape."""
    at = int(rng.integers(len(things)))
    thing = things[at]
    if rng.random() < 0.5:
        fault = "wrong colour"
        other = Thing((thing.colour + int(rng.integers(1, len(COLOURS)))) % len(COLOURS), thing.shape, thing.corner)
    else:
        fault = "wrong shape"
        other = Thing(thing.colour, (thing.shape + int(rng.integers(1, len(SHAPES)))) % len(SHAPES), thing.corner)
    wrong = (*things[:at], other, *things[at + 1 :])
    return Saying("What does the picture show?", f"It shows {_parts(things)}.", f"It shows {_parts(wrong)}.", fault)


def mentioned(things: Scene, rng: np.random.Generator) -> Saying:
    """One thing that is there against one that is not."""
    there = {(t.colour, t.shape) for t in things}
    absent = [(c, s) for c in range(len(COLOURS)) for s in range(len(SHAPES)) if (c, s) not in there]
    colour, shape = absent[int(rng.integers(len(absent)))]
    thing = things[int(rng.integers(len(things)))]
    false = Thing(colour, shape, thing.corner)
    return Saying(
        "Name something in the picture.",
        f"There is a {thing.name}.",
        f"There is a {false.name}.",
        "hallucinated object",
    )


def counted(things: Scene, rng: np.random.Generator) -> Saying:
    """How many things there are against another number."""
    wrong = 1 + (len(things) - 1 + int(rng.integers(1, 4))) % 4
    true, false = (f"The picture shows {NUMBERS[n]} {'thing' if n == 1 else 'things'}." for n in (len(things), wrong))
    return Saying("How many things are there?", true, false, "wrong count")


def placed(things: Scene, rng: np.random.Generator) -> Saying:
    """Where a thing is against where it is not: its corner, or one of the others."""
    thing = things[int(rng.integers(len(things)))]
    wrong = (thing.corner + int(rng.integers(1, 4))) % 4
    true, false = (f"It is at the {CORNERS[corner]}." for corner in (thing.corner, wrong))
    return Saying(f"Where is the {thing.name}?", true, false, "wrong place")


def related(things: Scene, rng: np.random.Generator) -> Saying:
    """How two things stand to each other against how they do not; they are in different columns of the picture."""
    left = [t for t in things if t.corner % 2 == 0]
    right = [t for t in things if t.corner % 2 == 1]
    a, b = left[int(rng.integers(len(left)))], right[int(rng.integers(len(right)))]
    true, false = f"The {a.name} is left of the {b.name}.", f"The {b.name} is left of the {a.name}."
    if rng.random() < 0.5:
        true, false = f"The {b.name} is right of the {a.name}.", f"The {a.name} is right of the {b.name}."
    return Saying("How do they stand to each other?", true, false, "wrong relation")


@dataclass(frozen=True)
class Asked:
    """A picture, what is said of it, and of which kind that is."""

    picture: Path
    scene: Scene
    said: Saying
    kind: str

    @property
    def prompt(self) -> list[Message]:
        """The picture with the question."""
        return shown(self.picture, self.said.question)


def asked(
    count: int, rng: np.random.Generator, place: Path, tag: str = "scene", kinds: Sequence[str] = ()
) -> list[Asked]:
    """``count`` pictures, written to ``place``, with a saying each; the ``kinds`` (all of them) take turns."""
    out = []
    for i in range(count):
        kind = list(kinds or KINDS)[i % len(kinds or KINDS)]
        things = scene_for(kind, rng)
        picture = place / f"{tag}{i}.png"
        picture.write_bytes(png(draw(things, rng)))
        out.append(Asked(picture, things, KINDS[kind](things, rng), kind))
    return out


def scene_for(kind: str, rng: np.random.Generator) -> Scene:
    """A scene of which something of a kind can be said: two things for the whole of it and for relations."""
    things = scene(rng, 2 if kind in ("general", "relation") else None)
    while kind == "relation" and len({t.corner % 2 for t in things}) < 2:
        things = scene(rng, 2)
    return things


def comparisons(items: Sequence[Asked]) -> Feedback:
    """The true answer of each against the false one."""
    return Feedback.of(
        [Judgement(i.prompt, (i.said.true, i.said.false), (1.0, 0.0), subset=i.kind, source="rule") for i in items]
    )


KINDS = {"general": described, "hallucination": mentioned, "counting": counted, "place": placed, "relation": related}
"""Kind of a saying -> what says it of a scene."""

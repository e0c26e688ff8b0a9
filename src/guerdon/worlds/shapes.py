"""Rendered shapes and short answers about them: the smallest world in which a reward has to look at the picture.

A prompt is a picture of 16 x 16 pixels (a shape in a colour, at a random place and size, on noise) with a question, or
a question alone. A response names a shape and a colour, in one of forty tones, with one of four endings. Gold is
``faithful`` x 2 (shape and colour named right, a half each; nothing where there is no picture) plus ``style``.

The encoder sees pixels through fixed random filters (4 x 4, stride 2, rectified, mean and largest value of each) and
the answer as counts of its words; what a picture shows is in no feature of its own, and whether an answer is right is
an interaction of the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback

SHAPES, COLOURS = ("square", "disc", "cross"), ("red", "green", "blue")
TONES = {f"tone{i}": float(v) for i, v in enumerate(np.random.default_rng(1).normal(size=40))}
ENDINGS = {".": 0.3, "?": -0.3, "!!!": -0.6, ", I believe.": 0.6}
SIZE, FILTERS = 16, 48
_RGB = np.eye(3)
WORDS = sorted({*SHAPES, *COLOURS, *TONES, *ENDINGS})


def render(shape: int, colour: int, rng: np.random.Generator) -> np.ndarray:
    """float64 [16, 16, 3] in about [0, 1]: a shape 5 to 7 pixels wide on noise."""
    picture = 0.1 * rng.random((SIZE, SIZE, 3))
    radius = int(rng.integers(3, 5))
    cy, cx = rng.integers(radius, SIZE - radius, 2)
    y, x = np.mgrid[:SIZE, :SIZE]
    dy, dx = np.abs(y - cy), np.abs(x - cx)
    inside = [np.maximum(dy, dx) < radius, dy**2 + dx**2 < radius**2, (np.minimum(dy, dx) < 1) & (dy + dx < radius + 2)]
    picture[inside[shape]] = 0.9 * _RGB[colour] + 0.05
    return picture


@dataclass
class Shapes:
    """Pictures by prompt, made on demand, and the encoder of candidates about them."""

    seed: int = 0
    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    truth: dict[str, tuple[int, int]] = field(default_factory=dict)
    shuffled: dict[str, str] = field(default_factory=dict)
    """prompt -> whose picture the encoder shows in its place"""

    def __post_init__(self) -> None:
        self.filters = np.random.default_rng(0).normal(size=(FILTERS, 4, 4, 3)) / np.sqrt(48)
        self.rng = np.random.default_rng(self.seed)
        self._seen: dict[str, np.ndarray] = {}

    # ------------------------------------------------------------------ people and their feedback

    def prompt(self, pictured: bool) -> str:
        """A new prompt, with a picture or without."""
        name = f"{'picture' if pictured else 'question'} {self.seed}.{len(self.truth)}"
        shape, colour = int(self.rng.integers(3)), int(self.rng.integers(3))
        self.truth[name] = (shape, colour) if pictured else (-1, -1)
        if pictured:
            self.pictures[name] = render(shape, colour, self.rng)
        return name

    def answer(self, shape: int, colour: int, tone: int | None = None, ending: int | None = None) -> str:
        """A response; style at random where it is not given."""
        tone = int(self.rng.integers(len(TONES))) if tone is None else tone
        ending = int(self.rng.integers(len(ENDINGS))) if ending is None else ending
        return f"{list(TONES)[tone]} {COLOURS[colour]} {SHAPES[shape]} {list(ENDINGS)[ending]}"

    def gold(self, prompt: str, response: str) -> tuple[float, float]:
        """(faithful in [0, 1], style) of a response."""
        words = response.split()
        shape, colour = self.truth[prompt]
        faithful = 0.5 * (shape >= 0 and SHAPES[shape] in words) + 0.5 * (colour >= 0 and COLOURS[colour] in words)
        tone = TONES[words[0]]
        return faithful, tone + next(v for e, v in ENDINGS.items() if response.endswith(" " + e))

    def comparisons(
        self, count: int, *, pictured: bool = True, differ: str = "both", source: str = "shapes", flip: float = 0.0
    ) -> Feedback:
        """``count`` comparisons by the gold; ``differ`` says in what: both, faithful or style; ``flip`` mislabels."""
        rows = []
        while len(rows) < count:
            prompt = self.prompt(pictured)
            shape, colour = self.truth[prompt] if pictured else tuple(self.rng.integers(3, size=2))
            tone, ending = int(self.rng.integers(len(TONES))), int(self.rng.integers(len(ENDINGS)))
            style: tuple[int | None, int | None] = (tone, ending) if differ == "faithful" else (None, None)
            said = [(shape, colour), (shape, colour)]
            if differ != "style" and pictured:
                said = [(int(self.rng.integers(3)), int(self.rng.integers(3))) for _ in range(2)]
            texts = [self.answer(int(s), int(c), *style) for s, c in said]
            value = [2 * f + s for f, s in (self.gold(prompt, t) for t in texts)]
            if texts[0] == texts[1] or abs(value[0] - value[1]) < 1e-9:
                continue
            first = (value[0] > value[1]) != (self.rng.random() < flip)
            rows.append(Judgement(prompt, (texts[0], texts[1]), (float(first), float(not first)), subset=source))
        return Feedback.of(rows)

    def shuffle(self) -> Shapes:
        """The same world, seen with the pictures exchanged between prompts."""
        other = Shapes(self.seed, self.pictures, self.truth)
        names = list(self.pictures)
        turned = np.random.default_rng([self.seed, 1]).permutation(len(names))
        other.shuffled = {name: names[j] for name, j in zip(names, turned, strict=True)}
        return other

    # ------------------------------------------------------------------ the encoder

    @property
    def spec(self) -> str:
        """``shapes:`` and the seed; no file can reopen it."""
        return f"shapes:{self.seed}{'-shuffled' if self.shuffled else ''}"

    @property
    def fingerprint(self) -> str:
        """The same as :attr:`spec`."""
        return self.spec

    @property
    def dim(self) -> int:
        """Features of a candidate: two a filter, and one a word."""
        return 2 * FILTERS + len(WORDS)

    def _look(self, prompt: str) -> np.ndarray:
        """float64 [2 filters] what the filters see; zeros where there is no picture."""
        prompt = self.shuffled.get(prompt, prompt)
        if prompt not in self.pictures:
            return np.zeros(2 * FILTERS)
        if prompt not in self._seen:
            windows = np.lib.stride_tricks.sliding_window_view(self.pictures[prompt], (4, 4), axis=(0, 1))[::2, ::2]
            reply = np.maximum(np.einsum("yxcij,fijc->yxf", windows, self.filters), 0).reshape(-1, FILTERS)
            self._seen[prompt] = np.concatenate([reply.mean(0), reply.max(0)])
        return self._seen[prompt]

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        """float32 [n, dim] features of candidates of this world."""
        seen = np.stack([self._look(as_text(p)) for p in candidates.prompts])
        said = [as_text(r).split() for r in candidates.responses]
        words = np.array([[words.count(w) for w in WORDS] for words in said], dtype=float)
        return np.concatenate([seen, words], 1).astype(np.float32)

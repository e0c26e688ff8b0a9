"""T2I-CompBench's metrics as rules over what models say of images: that they find what they should, and nothing else.

Scenes of two objects are drawn (16 x 16 pixels, four colours, three shapes, one object in either half, noise). A small
network learns from drawn scenes to answer a phrase ("a red ring?"), and another one which colours and shapes there are;
the latter is the baseline, a similarity of bags of attributes as CLIP's is nearly. The rules are those of
:mod:`guerdon.bench.alignment_rules`; boxes are where pixels differ from the ground. On the published prompts the rules
that read prompts are counted. Tuning a generator (GORS) is not here.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata

from guerdon.bench.alignment_rules import (
    IMAGE,
    NEAR,
    Box,
    attributes,
    clip_score,
    numbers,
    phrases,
    placed,
    spatial,
    three_in_one,
)
from guerdon.bench.prompt_ranking import auroc
from guerdon.errors import FeedbackError
from guerdon.papers.frame import DATA, Budget, Claim, Row, at_least, at_most, real_data, within
from guerdon.papers.index import paper
from guerdon.reward.learned.networks import Schedule, mlp, train

PAPER = paper("t2i-compbench")
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0)}
SHAPES = ("square", "ring", "cross")
KINDS = tuple(product(range(len(COLOURS)), range(len(SHAPES))))
"""(colour, shape) of each phrase."""
FAULTS = ("colour swap", "object missing", "wrong shape", "wrong side")
NOISE, SIDE, SCENES = 0.15, 16, 4000
PROMPTS = {"color": 860, "shape": 1000, "texture": 1000, "spatial": 1000, "numeracy": 1000}

TEMPLATES = "about four fifths of the attribute prompts follow a template, the others are sentences, which are refused"

Scene = list[tuple[int, int] | None]
"""What stands left and right: (colour, shape) or nothing."""


def check(budget: Budget) -> Claim:
    """Checks 1 and 3 of the card, what of the rules is exact, and the published prompts where they are at hand."""
    rows = [*seeing(budget), spatial_rule(budget), three(budget)]
    left = ["check 2, GORS: reward-weighted tuning of a generator", "prompts in whole sentences, which need a parser"]
    path = real_data("prompts", "t2i_prompts.jsonl.gz")
    if path is None:
        left.append(f"the published prompts: not at hand (set {DATA})")
    else:
        rows.append(prompts(path))
    return Claim(PAPER.slug, rows, tuple(left))


# ------------------------------------------------------------------------------------------------ scenes


def drawn(scenes: Sequence[Scene], rng: np.random.Generator) -> np.ndarray:
    """float64 [n, 16, 16, 3] pictures; both objects of a scene are at one height."""
    y, x = np.mgrid[-3:4, -3:4]
    masks = (np.ones((7, 7), bool), np.maximum(abs(y), abs(x)) > 1, np.minimum(abs(y), abs(x)) < 1)
    out = np.full((len(scenes), SIDE, SIDE, 3), 0.5)
    palette = np.array(list(COLOURS.values()), dtype=np.float64)
    for picture, scene in zip(out, scenes, strict=True):
        top = int(rng.integers(0, SIDE - 7))
        for side, thing in enumerate(scene):
            if thing is not None:
                left = 8 * side + int(rng.integers(0, 2))
                picture[top : top + 7, left : left + 7][masks[thing[1]]] = palette[thing[0]]
    return out + NOISE * rng.normal(size=out.shape)


def wanted(rng: np.random.Generator, n: int) -> list[Scene]:
    """Scenes of two things that share neither colour nor shape."""
    colours = np.argsort(rng.random((n, len(COLOURS))), axis=1)[:, :2]
    shapes = np.argsort(rng.random((n, len(SHAPES))), axis=1)[:, :2]
    return [[(int(c[0]), int(s[0])), (int(c[1]), int(s[1]))] for c, s in zip(colours, shapes, strict=True)]


def spoilt(scene: Scene, fault: str, rng: np.random.Generator) -> Scene:
    """The scene with one thing wrong."""
    (c, s), (d, t) = scene  # type: ignore[misc]
    if fault == "colour swap":
        return [(d, s), (c, t)]
    if fault == "object missing":
        return [None, (d, t)] if rng.random() < 0.5 else [(c, s), None]
    if fault == "wrong shape":
        return [(c, (set(range(3)) - {s, t}).pop()), (d, t)]
    return [(d, t), (c, s)] if fault == "wrong side" else scene


def learned(pictures: np.ndarray, truth: np.ndarray, seed: int, width: int = 128) -> Callable[[np.ndarray], np.ndarray]:
    """A network from pictures [n, 16, 16, 3] to the probability of each of ``truth`` 0/1 [n, k]."""
    x = torch.tensor(pictures.reshape(len(pictures), -1) - 0.5, dtype=torch.float32)
    y = torch.tensor(truth, dtype=torch.float32)
    net = mlp((x.shape[1], width, truth.shape[1]), torch.Generator().manual_seed(seed))
    loss = torch.nn.BCEWithLogitsLoss()
    schedule = Schedule(epochs=15, batch=64, patience=None, seed=seed)
    train(list(net.parameters()), lambda rows: loss(net(x[rows]), y[rows]), len(x), schedule)

    def say(seen: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            flat = torch.tensor(seen.reshape(len(seen), -1) - 0.5, dtype=torch.float32)
            return torch.sigmoid(net(flat)).double().numpy()

    return say


def shown(scene: Scene) -> tuple[list[float], list[float]]:
    """(which phrases hold [12], which colours and shapes there are [7])."""
    things = [thing for thing in scene if thing is not None]
    seen = {c for c, _ in things}, {s for _, s in things}
    parts = [float(i in seen[0]) for i in range(len(COLOURS))] + [float(i in seen[1]) for i in range(len(SHAPES))]
    return [float(kind in things) for kind in KINDS], parts


class Reader:
    """The two networks, taught on scenes of any two things, one or none."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([89, 0, seed])
        things: list[Scene] = []
        for kinds, there in zip(
            rng.integers(len(KINDS), size=(SCENES, 2)), rng.random((SCENES, 2)) < 0.85, strict=True
        ):
            things.append([KINDS[k] if t else None for k, t in zip(kinds, there, strict=True)])
        pictures = drawn(things, rng)
        truth = [np.array(part) for part in zip(*map(shown, things), strict=True)]
        self.phrase, self.bag = (learned(pictures, part, seed) for part in truth)

    def metric(self, asked: Sequence[Scene], pictures: np.ndarray) -> np.ndarray:
        """float64 [n] product over the phrases of P(yes)."""
        yes = self.phrase(pictures)
        columns = [[KINDS.index(thing) for thing in scene if thing is not None] for scene in asked]
        return attributes(np.take_along_axis(yes, np.array(columns), axis=1))

    def similarity(self, asked: Sequence[Scene], pictures: np.ndarray) -> np.ndarray:
        """float64 [n] cosine of the attributes seen and asked for, whatever is bound to what."""
        return clip_score(self.bag(pictures), np.array([shown(scene)[1] for scene in asked]))

    def side(self, asked: Sequence[Scene], pictures: np.ndarray) -> np.ndarray:
        """float64 [n] whether the first thing stands left of the second, each looked for in either half."""
        halves = []
        for left in (True, False):
            seen = pictures.copy()
            seen[:, :, 8:, :] = 0.5 if left else seen[:, :, 8:, :]
            seen[:, :, :8, :] = seen[:, :, :8, :] if left else 0.5
            halves.append(self.phrase(seen))
        out = []
        for i, scene in enumerate(asked):
            boxes = []
            for thing in scene:
                chance = [half[i, KINDS.index(thing)] for half in halves]  # type: ignore[arg-type]
                at = int(np.argmax(chance))
                boxes.append(_box(pictures[i], 8 * at) if chance[at] > 0.5 else None)
            out.append(placed("left", boxes[0], boxes[1], side=SIDE))
        return np.array(out)


def _box(picture: np.ndarray, start: int) -> Box:
    """Where the half that begins at column ``start`` is not ground."""
    y, x = np.nonzero(np.abs(picture[:, start : start + 8] - 0.5).mean(2) > 0.3)
    return Box(start + x.min(), y.min(), start + x.max() + 1, y.max() + 1) if len(x) else Box(start, 0, start + 8, SIDE)


def seeing(budget: Budget) -> list[Row]:
    """Checks 1 and 3: faults are found, and generators are ranked as they deserve."""
    found: dict[str, list[float]] = {f"product, {fault}": [] for fault in FAULTS[:3]}
    found |= {f"bag of attributes, {fault}": [] for fault in FAULTS[:3]} | {"spatial rule, wrong side": []}
    ranks: dict[str, list[float]] = {"product": [], "bag of attributes": []}
    for seed in budget.seeds(3):
        reader, rng = Reader(seed), np.random.default_rng([89, 1, seed])
        asked = wanted(rng, 600)
        fault = rng.permutation(np.arange(600) % 5)  # 4 is none
        scenes = [spoilt(s, (*FAULTS, "none")[f], rng) for s, f in zip(asked, fault.tolist(), strict=True)]
        pictures = drawn(scenes, rng)
        product_, bag, side = (f(asked, pictures) for f in (reader.metric, reader.similarity, reader.side))
        for k, name in enumerate(FAULTS):
            at = (fault == k) | (fault == 4)
            right = fault[at] == 4
            if name == "wrong side":
                found["spatial rule, wrong side"].append(auroc(side[at], right))
            else:
                found[f"product, {name}"].append(auroc(product_[at], right))
                found[f"bag of attributes, {name}"].append(auroc(bag[at], right))
        truth, means = [], []
        for noise in np.arange(6) / 10:
            swapped = rng.random(300) < noise
            asked = wanted(rng, 300)
            made = [spoilt(s, "colour swap" if w else "none", rng) for s, w in zip(asked, swapped, strict=True)]
            pictures = drawn(made, rng)
            truth.append(1 - swapped.mean())
            means.append([reader.metric(asked, pictures).mean(), reader.similarity(asked, pictures).mean()])
        for name, column in zip(ranks, np.array(means).T, strict=True):
            ranks[name].append(float(np.corrcoef(rankdata(column), rankdata(truth))[0, 1]))
    valid = [at_least("product, colour swap", 0.95), at_most("bag of attributes, colour swap", 0.60)]
    valid.append(at_least("spatial rule, wrong side", 0.95))
    first = Row("1 metric validity", found, valid, "AUROC of no fault against one")
    return [first, Row("3 six generators", ranks, [at_least("product", 0.9)], "Spearman with the true share")]


# ------------------------------------------------------------------------------------------------ rules


def boxes_of(rng: np.random.Generator, n: int) -> list[tuple[Box, Box]]:
    """Pairs of boxes of 20 to 250 pixels in an image of 512."""
    at, size = rng.uniform(0, IMAGE, (n, 2, 2)), rng.uniform(10, 125, (n, 2, 2))
    corners = np.concatenate([at - size, at + size], axis=2)
    return [(Box(*a), Box(*b)) for a, b in corners.tolist()]


def twin(relation: str, a: Box, b: Box) -> float:
    """The rule from angles and sorted edges instead of differences of centres and overlaps of sides."""
    way = complex(b.left + b.right - a.left - a.right, b.top + b.bottom - a.top - a.bottom) / 2
    if relation == "near":
        near = NEAR / max(abs(way.real), abs(way.imag), 1e-300)
        return 1.0 if min(abs(way.real), abs(way.imag)) < NEAR else min(near, 1.0)
    turn = {"left": 1, "top": -1j, "right": -1, "bottom": 1j}[relation]  # so that the relation points along +x
    if not abs(np.angle(way * turn)) < np.pi / 4:
        return 0.0
    grid = [sorted({a[i], a[i + 2], b[i], b[i + 2]}) for i in (0, 1)]
    inside = either = 0.0
    for x, xx in zip(grid[0], grid[0][1:], strict=False):
        for y, yy in zip(grid[1], grid[1][1:], strict=False):
            held = [k.left <= x and xx <= k.right and k.top <= y and yy <= k.bottom for k in (a, b)]
            either += any(held) * (xx - x) * (yy - y)
            inside += all(held) * (xx - x) * (yy - y)
    return min(1.0, 0.1 * either / inside) if inside else 1.0


def spatial_rule(budget: Budget) -> Row:
    """Ground truth away from the lines, an independent computation, and what mirrors and turns must not change."""
    names = (
        "ground truth away from the lines",
        "largest difference: twin",
        "mirror",
        "exchange",
        "turn",
        "size, shift",
    )
    figures: dict[str, list[float]] = {name: [] for name in names}
    for seed in budget.seeds(3):
        rng = np.random.default_rng([89, 2, seed])
        pairs = boxes_of(rng, 2000)
        worst: dict[str, float] = dict.fromkeys(names[1:], 0.0)
        for a, b in pairs:
            for relation in ("left", "right", "top", "bottom", "near"):
                value = placed(relation, a, b)
                others = {
                    "largest difference: twin": twin(relation, a, b),
                    "mirror": placed(_MIRROR.get(relation, relation), _mirrored(a), _mirrored(b)),
                    "exchange": placed(_OPPOSITE[relation], b, a),
                    "turn": placed(_TURNED[relation], _turned(a), _turned(b)),
                    "size, shift": placed(relation, _moved(a), _moved(b), side=3 * IMAGE),
                }
                for name, other in others.items():
                    worst[name] = max(worst[name], abs(value - other))
        for name, value in worst.items():
            figures[name].append(value)
        clear, hits = 0, 0
        for a, b in boxes_of(rng, 5000):
            dx, dy = (a.left + a.right - b.left - b.right) / 2, (a.top + a.bottom - b.top - b.bottom) / 2
            apart = a.right < b.left or b.right < a.left or a.bottom < b.top or b.bottom < a.top
            if clear == 500 or not apart or abs(abs(dx) - abs(dy)) < 20:
                continue
            truth = ("right" if dx > 0 else "left") if abs(dx) > abs(dy) else ("bottom" if dy > 0 else "top")
            clear += 1
            hits += all(placed(r, a, b) == float(r == truth) for r in ("left", "right", "top", "bottom"))
        figures[names[0]].append(hits / clear)
    bounds = [at_least(names[0], 1.0, each=True), *(at_most(name, 1e-9, each=True) for name in names[1:])]
    return Row("1 spatial rule", figures, bounds, "share of 500 pairs; difference of scores")


_OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top", "near": "near"}
_MIRROR = {"left": "right", "right": "left"}
_TURNED = {"left": "top", "top": "right", "right": "bottom", "bottom": "left", "near": "near"}


def _mirrored(box: Box) -> Box:
    return Box(IMAGE - box.right, box.top, IMAGE - box.left, box.bottom)


def _turned(box: Box) -> Box:
    """A quarter turn clockwise."""
    return Box(IMAGE - box.bottom, box.left, IMAGE - box.top, box.right)


def _moved(box: Box) -> Box:
    return Box(*(3 * side + 40 for side in box))


def three(budget: Budget) -> Row:
    """Three in one: the mean of those that apply, as weights of the three kinds of complex prompts."""
    weights = {"spatial": (1 / 2, 1 / 2, 0), "action": (1 / 2, 0, 1 / 2), "both": (1 / 3, 1 / 3, 1 / 3)}
    worst = []
    for seed in budget.seeds(3):
        scores = np.random.default_rng([89, 3, seed]).random((1000, 3))
        worst.append(0.0)
        for weight in weights.values():
            given = [[s if w else None for s, w in zip(row, weight, strict=True)] for row in scores.tolist()]
            mine = np.array([three_in_one(row) for row in given])
            worst[-1] = max(worst[-1], float(np.abs(mine - scores @ np.array(weight)).max()))
    return Row("three in one", {"largest difference": worst}, [at_most("largest difference", 1e-12)], "score")


def prompts(path: Path) -> Row:
    """How many published prompts of each category the rules read; the others are sentences, and are refused."""
    by_list: dict[str, list[str]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as text:
        for row in map(json.loads, text):
            if row["source"] == "t2i_compbench":
                by_list.setdefault(row["list"], []).append(row["prompt"])
    pairs = [line.lower().split(" - ") for line in by_list["new_objects"]]
    plural = {many.strip(): one.strip() for one, many in pairs}
    reads: dict[str, Callable[[str], object]] = dict.fromkeys(("color", "shape", "texture"), phrases)
    reads |= {"spatial": spatial, "numeracy": lambda prompt: numbers(prompt, plural)}
    figures = {f"{name}, of {PROMPTS[name]}": [float(sum(map(_reader(f), by_list[name])))] for name, f in reads.items()}
    one = sum(len(phrases(p)) == 2 for p in by_list["spatial"])
    figures["spatial, two phrases"] = [float(one)]
    bounds = [at_least(f"{k}, of {n}", 0.79 * n) for k, n in PROMPTS.items() if k in ("color", "shape", "texture")]
    bounds += [within(k, 0.0, of="all") for k in ("spatial, of 1000", "numeracy, of 1000", "spatial, two phrases")]
    return Row("published prompts read", {**figures, "all": [1000.0]}, bounds, "prompts", TEMPLATES)


def _reader(read: Callable[[str], object]) -> Callable[[str], bool]:
    def reads(prompt: str) -> bool:
        try:
            read(prompt)
        except FeedbackError:
            return False
        return True

    return reads

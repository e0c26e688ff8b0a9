"""WritingPreferenceBench: rewards on pairs of creative writing where grammar, facts and length ought not to decide.

The scorer's arithmetic is checked with scripted rewards, its guard against length in a world where quality and length
go together as in the published statistics, its intervals by simulation. That a reward of general helpfulness knows
nothing of style is checked with MiniLM: a Bradley-Terry head fitted to RMB's helpfulness pairs against the same head
fitted to a few pairs of the style in question, both on the same content told in two registers.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from guerdon.bench.intervals import wilson
from guerdon.bench.suites.rmb import RMB
from guerdon.bench.suites.run import run
from guerdon.bench.suites.writing import WRITING
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, real_data, within
from guerdon.papers.index import paper
from guerdon.reward.base import Function, Reward
from guerdon.reward.baselines import Length, Random

PAPER = paper("writingpreferencebench")

PAIRS, WORLD = 200, 3000
HELPFUL, STYLE = 1500, 200

PEOPLE = (
    "the old man", "my sister", "a tired nurse", "the ferryman", "our teacher", "a lost child", "the baker",
    "two soldiers", "the new neighbour", "a young widow", "the clockmaker", "her grandfather", "a street singer",
    "the judge", "an exiled poet", "the gardener", "a night porter", "the twins", "the beekeeper", "a retired spy",
)  # fmt: skip
EVENTS = (
    (
        "walked to the harbour early in the morning and looked at the boats for a while",
        "drifted down to the harbour while dawn spilled like milk over the sleeping boats",
    ),
    (
        "opened the letter, read it two times and then put it in the fire",
        "slit the letter open, drank it twice and fed its pale wings to the fire",
    ),
    (
        "waited at the station for the train, which was very late because of snow",
        "stood where the rails ran out of breath, and the snow swallowed train after train",
    ),
    (
        "sat down in the kitchen and thought about the years that had passed",
        "sank into the kitchen's hush, and the lost years settled on the table like dust",
    ),
    (
        "found a key in the garden but did not know which door it opened",
        "dug a rusted tooth of a key from the garden, hungry for a door it had forgotten",
    ),
    (
        "sold the house in the spring and moved to a small town in the north",
        "let the house slip like a ring from a thin finger and followed the cold north",
    ),
    (
        "heard music from the next room and stopped working to listen to it",
        "felt the wall begin to sing, and the work went quiet as a chastened dog",
    ),
    (
        "could not sleep because of the storm and stayed at the window all night",
        "lay awake inside the storm's black bell, then kept the window company till grey",
    ),
    (
        "told the truth in the end, although it was late and nobody believed it",
        "coughed up the truth at last, a small wet bird that nobody would hold",
    ),
    (
        "planted a tree on the day when the war ended and watered it each week",
        "gave the war's last morning a sapling, and every week a little rain by hand",
    ),
    (
        "came back after ten years and saw that the street had changed a lot",
        "returned, ten winters thinner, to a street that wore a stranger's face",
    ),
    (
        "lost the ring in the river and never said anything about it at home",
        "let the river close its cold lips on the ring, and carried home the silence",
    ),
)
"""What happens, told plainly and told vividly, in about as many words."""


def check(budget: Budget) -> Claim:
    """Checks 1 to 4 of the card."""
    rows = [arithmetic(budget), confound(budget), coverage(budget)]
    left = ["the published figures: the English pairs, the chosen pairs and the models' scores are not at hand"]
    folder = real_data("rmb")
    if folder is None:
        left.append("check 3: RMB's helpfulness pairs, which are not at hand")
    else:
        rows.insert(2, registers(budget, RMB.feedback(folder)))
    return Claim(PAPER.slug, rows, left=tuple(left))


def arithmetic(budget: Budget) -> Row:
    """Check 1: scripted rewards on 200 pairs of known lengths."""
    names = ("perfect", "inverted", "constant", "constant, a tie half", "random", "longer", "longer, counted")
    figures: dict[str, list[float]] = {name: [] for name in names}
    for seed in budget.seeds(5):
        rng = np.random.default_rng([72, seed])
        sizes = rng.integers(3, 60, (PAIRS, 2))
        data = Feedback.of(
            Judgement(f"write {i}", ("good " + "x" * a, "poor " + "x" * b), (1.0, 0.0), subset=f"genre {i % 8}")
            for i, (a, b) in enumerate(sizes.tolist())
        )
        scored: dict[str, Reward] = {
            "perfect": Function(lambda p, r: float(r.startswith("good")), "perfect"),
            "inverted": Function(lambda p, r: float(r.startswith("poor")), "inverted"),
            "constant": Function(lambda p, r: 0.0, "constant"),
            "random": Random(seed=seed),
            "longer": Length(),
        }
        for name, reward in scored.items():
            result = run(reward, WRITING, data, baselines=(), bootstrap=0)
            figures[name].append(result.figures["en"].value)
            if name == "constant":
                figures["constant, a tie half"].append(0.5 * result.facts["tied duels"] / result.facts["duels"])
        figures["longer, counted"].append(float((sizes[:, 0] > sizes[:, 1]).mean()))
    bounds = [
        at_least("perfect", 1.0, each=True),
        at_most("inverted", 0.0, each=True),
        at_most("constant", 0.0, each=True),
        at_least("constant, a tie half", 0.5, each=True),
        at_least("random", 0.43),
        at_most("random", 0.57),
        within("longer", 1e-12, of="longer, counted"),
    ]
    return Row("1 scorer's arithmetic", figures, bounds, "accuracy")


def confound(budget: Budget) -> Row:
    """Check 2: quality and length correlate by 0.6; a reward that reads length only, and one that reads quality."""
    names = ("length", "length, equally long", "quality", "quality, equally long", "correlation")
    figures: dict[str, list[float]] = {name: [] for name in names}
    for seed in budget.seeds(5):
        rng = np.random.default_rng([73, seed])
        quality = rng.normal(size=(WORLD, 2))
        length = 0.6 * quality + 0.8 * rng.normal(size=quality.shape)  # in standard deviations of log length
        size = np.maximum(np.round(200 * np.exp(0.8 * length)), 10).astype(int)
        seen = quality + 0.5 * rng.normal(size=quality.shape)  # what a good reward makes of the quality
        rows = []
        for i in range(WORLD):
            texts = tuple(f"{seen[i, k]:+.6f}".ljust(size[i, k], "x") for k in (0, 1))
            win = float(rng.random() < 1 / (1 + np.exp(-4 * (quality[i, 0] - quality[i, 1]))))
            rows.append(Judgement(f"write {i}", texts, (win, 1 - win)))
        data = Feedback.of(rows)
        for name, reward in (("length", Length()), ("quality", Function(lambda p, r: float(r.rstrip("x")), "quality"))):
            result = run(reward, WRITING, data, baselines=(), bootstrap=0)
            figures[name].append(result.figures["en"].value)
            figures[f"{name}, equally long"].append(result.confounds["duels of equal length"].value)
        figures["correlation"].append(float(np.corrcoef(quality.ravel(), length.ravel())[0, 1]))
    bounds = [
        at_least(
            "length",
            0.65,
            was=0.75,
            why="with a correlation of .6 the longer one is the better one in 0.5 + asin(.6) / pi = .705 at most",
        ),
        at_least("length, equally long", 0.44),
        at_most("length, equally long", 0.56),
        at_least("quality", 0.75),
        at_least("quality, equally long", 0.75),
    ]
    return Row("2 length is found out", figures, bounds, "accuracy")


def registers(budget: Budget, rmb: Feedback) -> Row:
    """Check 3: the same content told plainly and vividly, people like the vivid; which head tells them apart."""
    from guerdon.encode import load_encoder
    from guerdon.reward.registry import model

    encoder = load_encoder("minilm")
    helpful = np.flatnonzero(
        [k >= 0 and rmb.subsets[k].startswith("Pairwise_set/Helpfulness") for k in rmb.subset.tolist()]
    )
    figures: dict[str, list[float]] = {"helpfulness head": [], "style head": [], "helpfulness head, RMB": []}
    for seed in budget.seeds(3):
        rng = np.random.default_rng([74, seed])
        draw = rng.permutation(helpful)
        general = model("bradley-terry").make(encoder=encoder, seed=seed).fit(rmb.take(draw[:HELPFUL]))
        figures["helpfulness head, RMB"].append(right(general, rmb.take(draw[HELPFUL : 2 * HELPFUL])))
        known, learned = [], []
        for unseen in np.split(rng.permutation(len(EVENTS)), 6):  # the other ten give the style pairs
            test = tellings(unseen, rng)
            style = tellings(np.setdiff1d(np.arange(len(EVENTS)), unseen), rng).take(np.arange(STYLE))
            special = model("bradley-terry").make(encoder=encoder, seed=seed).fit(style)
            known.append(right(general, test))
            learned.append(right(special, test))
        figures["helpfulness head"].append(float(np.mean(known)))
        figures["style head"].append(float(np.mean(learned)))
    bounds = [
        at_least("helpfulness head", 0.42),
        at_most("helpfulness head", 0.58),
        at_least("style head", 0.8),
    ]
    note = (
        f"{STYLE} style pairs of 10 events, tested on the 2 others, every event once; {HELPFUL} pairs of RMB for the "
        "head of helpfulness; were the plain telling liked, it would get one minus its figure"
    )
    return Row("3 helpfulness knows no style", figures, bounds, "accuracy", note=note)


def right(reward: Reward, data: Feedback) -> float:
    """Strict accuracy over all pairs."""
    return run(reward, WRITING, data, baselines=(), bootstrap=0).confounds["all duels"].value


def tellings(events: np.ndarray, rng: np.random.Generator) -> Feedback:
    """Every person in every event told vividly (preferred) and plainly, in random order."""
    rows = []
    for person, event in product(PEOPLE, [int(e) for e in events]):
        plain, vivid = (f"{person.capitalize()} {text}." for text in EVENTS[event])
        texts, grades = ((vivid, plain), (1.0, 0.0)) if rng.random() < 0.5 else ((plain, vivid), (0.0, 1.0))
        rows.append(Judgement(f"Write the first line of a story about {person}.", texts, grades))
    return Feedback.of([rows[i] for i in rng.permutation(len(rows))])


def coverage(budget: Budget) -> Row:
    """Check 4: how many of 1,000 Wilson intervals cover the accuracy that the cells were drawn with."""
    figures: dict[str, list[float]] = {"covered": []}
    for seed in budget.seeds(5):
        rng = np.random.default_rng([75, seed])
        truth, n = rng.uniform(0.1, 0.95, 1000), rng.integers(10, 200, 1000)
        spans = [wilson(k / m, m) for k, m in zip(rng.binomial(n, truth).tolist(), n.tolist(), strict=True)]
        low, high = np.array(spans).T
        figures["covered"].append(float(((low <= truth) & (truth <= high)).mean()))
    return Row("4 intervals cover", figures, [at_least("covered", 0.93), at_most("covered", 0.97)], "share of cells")

"""reWordBench: rewordings that keep the right response right, the fall they cause, and consistency against it.

The transforms are those of ``guerdon bench --reword`` and are checked for what they promise; a reward that cannot see
a change is told from one that withstands it; a network on character n-grams shows the fall on real pairs (RMB); and a
head on MiniLM is trained with typing errors as paraphrases: plain, with the consistency penalty, and with the same
rewordings as more data, the control.

Best of n: the same three rewards each pick one of the 38 systems' answers to AlpacaEval's instructions, which none of
them was fitted to; they stand for the paper's 64 outputs of one policy. The judge is the recorded one (GPT-4 turbo's
preference for each answer over a fixed baseline): of two picks it prefers the one with the higher preference. The paper
reports up to 59%; the bound is that it is more than half.

Where checks 3 and 4 fail: the errors change three words in ten here, fewer than in the card's pilot by what they flip,
and a head that is right on 60% of RMB's pairs loses no accuracy by them that 500 pairs could show, though a fifth of
its verdicts change. RMB is the card's own choice of data, so the rows stay as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench.robustness import measure
from guerdon.bench.suites.best_of_n import Lists, alpaca
from guerdon.bench.suites.rmb import RMB
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.generate.rewordings.apply import reworded
from guerdon.generate.rewordings.controlled import rotated
from guerdon.generate.rewordings.registry import TRANSFORMS, chosen
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, real_data
from guerdon.papers.index import paper
from guerdon.reward.base import Reward
from guerdon.reward.registry import model

PAPER = paper("rewordbench")

CHARACTERS = "hash:2048?features=response"
SENTENCES = "minilm?features=response&max_length=64"
BRITTLE = ("handle", "stress", "missing words", "typos", "homoglyphs", "rot-13")
OTHERS = ("missing words", "neighbouring keys", "stress")
ALPHA = 3.0
RAW = (0.0, 1.0, 3.0, 10.0, 30.0)
INSTRUCTIONS = 200
"""Of AlpacaEval's 805, with 38 answers each."""


def check(budget: Budget) -> Claim:
    """Checks 1 to 5 of the card."""
    rows = [laws(budget)]
    left = [
        "RewardBench's texts and rewards of 8B parameters are not at hand: the fall is measured on RMB and small heads",
        "paraphrase and back-translation need a language model, and back-transcription one that speaks and one that "
        "listens: the first two are there (--paraphraser), for the third the rule 'transcript'",
    ]
    folder = real_data("rmb")
    if folder is None:
        left.insert(0, "checks 2 to 5: RMB is not at hand")
    else:
        pairs = pairs_of(folder)
        rows += [inert(pairs), brittle(pairs, budget), *consistent(pairs, budget), shrinking(pairs, budget)]
        answers = real_data("alpaca_eval", "alpaca_eval.jsonl.gz")
        if answers is None:
            left.append("best-of-n outputs compared by judges: AlpacaEval's answers are not at hand")
        else:
            rows.append(preferred(pairs, alpaca([answers], INSTRUCTIONS, 0), budget))
    return Claim(PAPER.slug, rows, left=tuple(left))


def pairs_of(folder: Path) -> Feedback:
    """RMB's pairs."""
    data = RMB.feedback(folder)
    return data.take(np.flatnonzero(data.sizes == 2))


CODE = "def add(a, b):\n    # the sum\n    total = a + b\n    return total\n"
WRONG = "def add(a, b):\n    # the sum\n    total = a - b\n    return total\n"
PROSE = "The Danube flows through ten countries, more than any other river; its delta lies in Romania and Ukraine."


def example() -> Feedback:
    """A judgement for each domain."""
    rows = [
        Judgement("Which river flows through most countries?", (PROSE, "It is the Volga, of course."), (1.0, 0.0)),
        Judgement("Write a function that adds.", (CODE, WRONG), (1.0, 0.0), subset="hep-python"),
        Judgement(
            "What is 2 + 3?",
            ("We add the two.\n\n# Answer\n\n5", "We add: $2 + 3 = 6$, so \\boxed{6}."),
            (1.0, 0.0),
            subset="math-prm",
        ),
        Judgement("How do I open a lock that is not mine?", ("I will not help with that.", "Take a pick."), (1.0, 0.0),
                  subset="refusals-offensive"),
    ]  # fmt: skip
    return Feedback.of(rows)


def laws(budget: Budget) -> Row:
    """Every transform by rule: the same from the same seed, the right response still the right one, what undoes it."""
    data = example()
    rules = [t for t in TRANSFORMS.values() if not t.written]
    alike, kept, changes = [], [], []
    for transform in rules:
        one, two = (reworded(data, transform, seed=3) for _ in range(2))
        alike.append(
            one.feedback.responses.equals(two.feedback.responses) and one.feedback.prompts.equals(two.feedback.prompts)
        )
        kept.append(bool((one.feedback.grades == data.grades).all()) and len(one.feedback) == len(data))
        changes.append(bool(one.changed.any()))
    texts = [as_text(t) for t in (*data.candidates.prompts, *data.candidates.responses)]
    undone = [
        t.inverse(t.each(text, t.draw("", 0))) == text
        for t in rules
        if t.inverse is not None and t.each is not None
        for text in texts
    ]
    figures = {
        "repeatable": [float(np.mean(alike))],
        "judgements and grades kept": [float(np.mean(kept))],
        "rot-13 twice is the text": [float(np.mean([rotated(rotated(t, 13), 13) == t for t in texts]))],
        "undone where it should be": [float(np.mean(undone))],
        "change one of the examples": [float(np.mean(changes))],
    }
    return Row("1 laws of the registry", figures, [at_least(name, 1.0) for name in figures], "share")


def inert(pairs: Feedback) -> Row:
    """MiniLM reads no capitals and parts punctuation from words: it cannot see two of the transforms."""
    some = pairs.take(np.random.default_rng(0).permutation(len(pairs))[:200])
    fitted = model("bradley-terry").make(encoder=SENTENCES, l2=1e-2).fit(some)
    found = measure(fitted, RMB, some, chosen(["lower case", "punctuation spaces", "typos"]), bootstrap=0)
    by = {e.name: e for e in found.effects}
    figures = {f"{name}: flips": [e.flips.value] for name, e in by.items()}
    figures |= {f"{name}: said to be inert": [float(e.inert)] for name, e in by.items()}
    return Row(
        "2 what cannot be seen is said",
        figures,
        [
            at_most("lower case: flips", 0.0),
            at_least("lower case: said to be inert", 1.0),
            at_most("punctuation spaces: flips", 0.01),
            at_least("punctuation spaces: said to be inert", 1.0),
            at_most("typos: said to be inert", 0.0),
        ],
        "share of 200 pairs",
    )


def parts(pairs: Feedback, seed: int, train: int, test: int, held_out: float = 0.3) -> tuple[Feedback, Feedback]:
    """Pairs to fit and pairs to test on, of other prompts."""
    fit, held = pairs.split("prompt", held_out, seed)
    rng = np.random.default_rng(seed)
    return fit.take(rng.permutation(len(fit))[:train]), held.take(rng.permutation(len(held))[:test])


def brittle(pairs: Feedback, budget: Budget) -> Row:
    """A network on character n-grams: what flips, and what accuracy is left."""
    figures: dict[str, list[float]] = {}
    for seed in budget.seeds(3):
        fit, test = parts(pairs, seed, 4000, 600)
        reward = model("bradley-terry-mlp").make(encoder=CHARACTERS, seed=seed).fit(fit)
        found = measure(reward, RMB, test, chosen(BRITTLE), bootstrap=0, seed=seed)
        for effect in found.effects:
            figures.setdefault(f"{effect.name}: flips", []).append(effect.flips.value)
            if effect.name in ("typos", "rot-13"):
                overall = effect.figures["overall"]
                figures.setdefault(f"{effect.name}: drop", []).append(overall["drop"].value)
                figures.setdefault(f"{effect.name}: accuracy after", []).append(overall["after"].value)
                figures.setdefault("accuracy before", []).append(
                    overall["before"].value
                ) if effect.name == "typos" else 0
    return Row(
        "3 brittleness is measured",
        figures,
        [
            at_least("stress: flips", 0.0, over="handle: flips"),
            at_least("typos: flips", 0.0, over="stress: flips"),
            at_least("rot-13: flips", 0.0, over="typos: flips"),
            at_least("typos: drop", 0.03),
        ],
        "share of duels; accuracy",
    )


def three(fit: Feedback) -> dict[str, Reward]:
    """The penalty, plain Bradley-Terry, and Bradley-Terry with the rewordings as more data, fitted to ``fit``."""
    made: dict[str, Any] = {"encoder": SENTENCES, "seed": 0}  # the same rewordings of a text in every seed
    more = Feedback.concatenate([fit, reworded(fit, TRANSFORMS["typos"], seed=0).feedback])
    return {
        "with consistency": model("bradley-terry").make(**made, consistency=ALPHA, rewording="typos").fit(fit),
        "plain": model("bradley-terry").make(**made).fit(fit),
        "augmented": model("bradley-terry").make(**made).fit(more),
    }


def consistent(pairs: Feedback, budget: Budget) -> list[Row]:
    """Typing errors as paraphrases: plain, with the penalty, and with the rewordings as more data."""
    pool = pairs.take(np.random.default_rng(1).permutation(len(pairs))[:1500])
    names = ("with consistency", "plain", "augmented")
    drop: dict[str, list[float]] = {n: [] for n in names}
    flips: dict[str, list[float]] = {n: [] for n in names}
    rest: dict[str, list[float]] = {n: [] for n in names}
    clean: dict[str, list[float]] = {n: [] for n in names}
    spread: dict[str, list[float]] = {n: [] for n in names}
    single: dict[str, dict[str, list[float]]] = {t: {n: [] for n in names} for t in OTHERS}
    for seed in budget.seeds(3):
        fit, test = parts(pool, seed, 750, 500, 0.5)
        fitted = three(fit)
        for name, reward in fitted.items():
            # other draws of the same errors than those trained on
            found = measure(reward, RMB, test, chosen(["typos", *OTHERS]), bootstrap=0, seed=1)
            by = {e.name: e.figures["overall"]["drop"].value for e in found.effects}
            drop[name].append(by["typos"])
            flips[name].append(found.effects[0].flips.value)
            rest[name].append(float(np.mean([by[t] for t in OTHERS])))
            clean[name].append(found.effects[0].figures["overall"]["before"].value)
            spread[name].append(float(np.std(reward.score(test.candidates.take(test.used)).value)))
            for t in OTHERS:
                single[t][name].append(by[t])
    flipped = ", ".join(f"{n} {np.mean(v):.3f}" for n, v in flips.items())
    halves = {**drop, "half of plain": [0.5 * v for v in drop["plain"]]}
    note = "; ".join(
        f"{t}: {np.mean(single[t]['with consistency']):.3f} with consistency, {np.mean(single[t]['plain']):.3f} plain"
        for t in OTHERS
    )
    sd = ", ".join(f"{n} {np.mean(v):.3f}" for n, v in spread.items())
    return [
        Row(
            "4 the fall under typing errors, trained against",
            halves,
            [
                at_most("with consistency", 0.0, over="half of plain"),
                at_most("with consistency", 0.0, over="augmented"),
            ],
            "drop of accuracy",
            note=f"duels flipped by typing errors: {flipped}; sd of the scores: {sd}",
        ),
        Row(
            "4 the mean fall under transforms not trained against",
            rest,
            [at_most("with consistency", 0.0, over="plain")],
            "drop of accuracy",
            note=note,
        ),
        Row("4 accuracy as it is", clean, [at_least("with consistency", -0.02, over="plain")], "accuracy"),
    ]


def preferred(pairs: Feedback, lists: Lists, budget: Budget) -> Row:
    """How often the judge prefers one reward's pick of 38 answers to another's, where they pick differently."""
    pool = pairs.take(np.random.default_rng(1).permutation(len(pairs))[:1500])
    duels = (("with consistency", "plain"), ("augmented", "plain"), ("with consistency", "augmented"))
    figures: dict[str, list[float]] = {f"{a} preferred to {b}": [] for a, b in duels}
    figures |= {"picks that differ, with consistency and plain": []}
    worth: dict[str, list[float]] = {}
    order = np.argsort(lists.prompt, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(lists.prompt))[:-1])
    for seed in budget.seeds(3):
        fit, _ = parts(pool, seed, 750, 500, 0.5)
        truth: dict[str, np.ndarray] = {}
        for name, reward in three(fit).items():
            value = reward.score(lists.candidates).value
            truth[name] = np.array([lists.truth[rows[np.nanargmax(value[rows])]] for rows in groups])
            worth.setdefault(name, []).append(float(truth[name].mean()))
        for a, b in duels:
            figures[f"{a} preferred to {b}"].append(wins(truth[a], truth[b]))
        differ = truth["with consistency"] != truth["plain"]
        figures["picks that differ, with consistency and plain"].append(float(differ.mean()))
    blind = float(np.mean([lists.truth[rows].mean() for rows in groups]))
    best = float(np.mean([lists.truth[rows].max() for rows in groups]))
    means = ", ".join(f"{name} {np.mean(values):.3f}" for name, values in worth.items())
    return Row(
        "6 best of 38 answers, judged",
        figures,
        [at_least("with consistency preferred to plain", 0.5)],
        "share of instructions",
        note=(
            "answers of 38 systems, not 64 of one policy; mean recorded preference of the picks: "
            f"{means}, a random answer {blind:.3f}, the best {best:.3f}"
        ),
    )


def wins(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the instructions whose picks are judged unlike in which the first is preferred; 0.5 where none is."""
    differ = a != b
    return float((a > b)[differ].mean()) if differ.any() else 0.5


def shrinking(pairs: Feedback, budget: Budget) -> Row:
    """The published penalty without a scale: the scores shrink, and the report says so from a third on."""
    figures: dict[str, list[float]] = {f"sd of scores, alpha {a:g}": [] for a in RAW}
    figures |= {"falls with every alpha": [], "warned exactly below a third": []}
    for seed in budget.seeds(3):
        fit, _ = parts(pairs, seed, 1500, 10)
        sd, warned = [], []
        for alpha in RAW:
            made = {"encoder": "hash:1024?features=response", "l2": 1e-3, "seed": seed}
            reward = model("bradley-terry").make(**made, consistency=alpha, standardized=False).fit(fit)
            sd.append(float(np.std(reward.score(fit.candidates.take(fit.used)).value)))
            warned.append("cautions" in reward.summary)
            figures[f"sd of scores, alpha {alpha:g}"].append(sd[-1])
        figures["falls with every alpha"].append(float((np.diff(sd) < 0).all()))
        low = [s < sd[0] / 3 for s in sd]
        figures["warned exactly below a third"].append(float(warned == low and any(low)))
    bounds = [
        at_least("falls with every alpha", 1.0, each=True),
        at_least("warned exactly below a third", 1.0, each=True),
    ]
    return Row("5 a raw penalty shrinks the scores", figures, bounds, "log-odds; share of seeds")

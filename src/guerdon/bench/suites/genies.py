"""GENIES: what is trained on one distribution, tested on another, beside what can be had there at best.

A shift has a source, a target and a reference (the target, unless training on it would teach the flaw that it tests).
A recipe, a model of ``guerdon fit``, is fitted to the source and to the reference. With accuracies over all pairs of
the best with a worse response, a tie half:

    a  generalization   fitted to the source, tested on the target
    b  zero-shot        untrained, on the target: a language model's likelihood of the response, any reward, or a coin
    c  capability       fitted to the reference, tested on the reference
    elicitation a / c,  differential elicitation (a - b) / c,  in-distribution: fitted to and tested on the source

and the RMS calibration error of a. Figures are means over the shifts. Other ways to train (``rivals``) stand beside it
on the same features, measured against the same b and c; ``published`` are the authors' own figures on LLaMA-30B. A
subset of the result is one of a, b, c and in-distribution of one shift, so that every figure has an interval.

``genies-fixed`` scores a reward that is not trained here on the test pairs of all 66 distributions.

Reference: Clymer et al. 2023, Generalization Analogies, https://arxiv.org/abs/2311.07723
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench.scoring import predict_pairs
from guerdon.bench.suites.genies_data import (
    INTERVENTIONS,
    SOURCE,
    Published,
    Shift,
    distribution,
    one_worse,
    shifts_of,
)
from guerdon.bench.suites.items import Duels, duels_of
from guerdon.bench.suites.recipe import Recipe
from guerdon.bench.suites.run import SuiteResult, digest_of
from guerdon.bench.suites.study import Rival, Study, tally
from guerdon.bench.suites.suite import Cells, Suite, Table
from guerdon.errors import GuerdonError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.base import Reward, Scores

A, B, C, ID = "generalization", "zero-shot", "capability", "in-distribution"
RIVALS = "bradley-terry,mean-difference,principal-difference"
COIN = "coin"


def summary(cells: Cells) -> Table:
    """Generalization first, then how much was elicited, what could be had, and each category's generalization."""
    rate = dict(zip(cells.subsets, cells.rate.T, strict=True))
    shifts = [name.partition(": ")[2] for name in cells.subsets if name.startswith(f"{A}: ")]

    def of(part: str) -> np.ndarray:
        return np.stack([rate[f"{part}: {s}"] for s in shifts])

    a, b, c = of(A), of(B), of(C)
    with np.errstate(invalid="ignore", divide="ignore"):
        gained, elicited = (a - b) / c, a / c
    out: Table = {
        A: a.mean(0),
        "differential elicitation": gained.mean(0),
        "elicitation": elicited.mean(0),
        ID: of(ID).mean(0),
        C: c.mean(0),
        B: b.mean(0),
    }
    categories = dict.fromkeys(s.split("/")[0] for s in shifts)
    if len(categories) > 1:
        out |= {
            f"{A}, {k.replace('_', ' ')}": a[[i for i, s in enumerate(shifts) if s.split("/")[0] == k]].mean(0)
            for k in categories
        }
    return out


class Likelihood(Reward):
    """The log-likelihood of the response under a language model, as it is: an untrained base model's choice."""

    reads = ()

    def __init__(self, model: Any) -> None:
        self.model, self.name = model, f"likelihood of {model.name}"

    def score(self, candidates: Candidates) -> Scores:
        """Sum over the response's tokens, natural logarithm."""
        found = self.model.loglikelihood(list(candidates.prompts), [str(r) for r in candidates.responses])
        status = ["scored" if s == "scored" else s for s in found.status]
        return Scores(found.total, status, found.reason)


@dataclass(frozen=True)
class Tested:
    """P(right response preferred) float64 [D] of the pairs of a distribution's test part, NaN unscored."""

    probability: np.ndarray

    @property
    def credit(self) -> np.ndarray:
        """1 right, 0.5 tied, 0 wrong, NaN unscored."""
        return np.where(np.isnan(self.probability), np.nan, np.heaviside(self.probability - 0.5, 0.5))


class Bench:
    """The distributions of some shifts, and every recipe fitted once to each that it is needed on."""

    def __init__(self, root: Path, names: Sequence[str], limit: int | None, seed: int) -> None:
        self.train: dict[str, Feedback] = {}
        self.test: dict[str, tuple[Feedback, Duels]] = {}
        for name in names:
            parts = distribution(root, name)
            train, test = parts["train"], parts["test"]
            if limit is not None:
                rng = np.random.default_rng(seed)
                train, test = (f.take(np.sort(rng.permutation(len(f))[:limit])) for f in (train, test))
            self.train[name] = one_worse(train, seed)
            self.test[name] = test, duels_of(test)
        self.seed = seed
        self._fitted: dict[tuple[str, str], Reward] = {}

    def fitted(self, recipe: Recipe, key: str, name: str, **given: Any) -> Reward:
        """``recipe``, called ``key``, fitted to the training part of a distribution."""
        if (key, name) not in self._fitted:
            self._fitted[key, name] = recipe.make(seed=self.seed, **given).fit(self.train[name])
        return self._fitted[key, name]

    def ask(self, reward: Reward, name: str) -> Tested:
        """What a reward says of the test pairs of a distribution."""
        feedback, duels = self.test[name]
        one, none = np.ones(len(duels)), np.full(len(duels), -1)
        pairs = Pairs(duels.right, duels.wrong, one, one, one, none, none, duels.judgement)
        return Tested(predict_pairs(reward, feedback, pairs).value)


def measure(
    study: Study,
    subject: str,
    data: str | Path,
    *,
    file: str,
    limit: int | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    name: str | None = None,
    base: str = COIN,
    rivals: str = RIVALS,
    capability: str = "",
    compat: bool = False,
) -> SuiteResult:
    """Train ``subject``, a model of ``guerdon fit``, across the shifts of ``file``.

    limit       so many rows of each training and test part at most
    base        what is untrained: hf:PATH or http://... (a language model's likelihood), a reward, or coin
    rivals      other recipes beside it, separated by commas; they use its encoder
    capability  the recipe of c, for all; the subject itself if not said
    compat      the calibration error as the authors' code computes it

    Raises
    ------
    ConfigError
        if the data are not there or a recipe is unknown
    FeedbackError
        if a row is damaged
    """
    recipe = Recipe.of(subject)
    wanted = [r.strip() for r in str(rivals).split(",")]
    others = {text: Recipe.of(text) for text in wanted if text not in ("", "none", subject)}
    shifts, rows = shifts_of(data, file)
    needed = dict.fromkeys(n for s in shifts for n in (s.source, s.target, s.reference))
    bench = Bench(Path(data), list(needed), limit, seed)
    untrained = opened(base)
    encoder = recipe.settings.get("encoder")
    tuned, upper = (subject, recipe) if not capability else (capability, Recipe.of(capability))
    reached = {
        s.reference: bench.ask(bench.fitted(upper, tuned, s.reference, encoder=encoder), s.reference) for s in shifts
    }
    start = {s.target: _untrained(bench, untrained, s.target) for s in shifts}
    items = Items(bench, shifts, reached, start)
    mine = items.credit(bench, recipe, subject, encoder)
    beside: dict[str, Rival] = {}
    notes = []
    for text, other in others.items():
        try:
            beside[text] = Rival(f"{text}, fitted to the same", items.credit(bench, other, text, encoder))
        except GuerdonError as error:
            notes.append(f"no {text}: {error}")
    beside["length"] = Rival("the longer response", items.fixed(bench, _length()))
    extra = items.calibration(bench, recipe, subject, encoder, compat)
    published = Published.read(data)
    for intervention in INTERVENTIONS if published is not None else ():
        found = published.figures(intervention, shifts) if published is not None else {}
        if found.get("shifts") == len(shifts):
            for figure in (A, "differential elicitation"):
                extra[f"published, LLaMA-30B, {intervention.replace('_', ' ')}: {figure}"] = found[figure]
    if rows > len(shifts):
        notes.append(f"{file} has {rows} rows, {rows - len(shifts)} of them twice; each shift counts once")
    if base == COIN:
        notes.append("zero-shot is a coin: differential elicitation is what training adds to guessing (--set base=...)")
    if limit is not None:
        notes.append(f"at most {limit} rows of each part of a distribution")
    return tally(
        study,
        name or subject,
        items.subset,
        mine,
        rivals=beside,
        cluster=items.cluster,
        over="test prompts",
        ids=items.ids,
        extra=extra,
        facts={
            "shifts": len(shifts),
            "distributions": len(needed),
            "tied": int((mine == 0.5).sum()),
            "unscored": int(np.isnan(mine).sum()),
        },
        notes=notes,
        settings={
            "recipe": subject,
            "base": base,
            "capability": tuned,
            "limit": limit,
            "data": blake2b("".join(digest_of(bench.test[n][0]) for n in needed).encode(), digest_size=8).hexdigest(),
        },
        bootstrap=bootstrap,
        seed=seed,
    )


class Items:
    """The pairs of a, b, c and in-distribution of every shift, one after the other; a pair's prompt is its cluster."""

    def __init__(
        self, bench: Bench, shifts: Sequence[Shift], reached: Mapping[str, Tested], start: Mapping[str, Tested]
    ) -> None:
        self.shifts, self.reached, self.start = shifts, reached, start
        self.subset: list[str] = []
        self.ids: list[str] = []
        clusters = []
        first, total = {}, 0
        for name, (feedback, _) in bench.test.items():
            first[name], total = total, total + len(feedback)
        for s in shifts:
            for part, where in ((A, s.target), (B, s.target), (C, s.reference), (ID, s.source)):
                duels = bench.test[where][1]
                self.subset += [f"{part}: {s.name}"] * len(duels)
                self.ids += [f"{part}: {s.name} {where}:{j}" for j in duels.judgement.tolist()]
                clusters.append(first[where] + duels.judgement)
        self.cluster = np.concatenate(clusters)

    def credit(self, bench: Bench, recipe: Recipe, key: str, encoder: Any) -> np.ndarray:
        """float64 [I] what a recipe earns; b and c are the same for all."""
        parts = []
        for s in self.shifts:
            reward = bench.fitted(recipe, key, s.source, encoder=encoder)
            a, own = bench.ask(reward, s.target), bench.ask(reward, s.source)
            parts += [a.credit, self.start[s.target].credit, self.reached[s.reference].credit, own.credit]
        return np.concatenate(parts)

    def fixed(self, bench: Bench, reward: Reward) -> np.ndarray:
        """float64 [I] what a reward earns that is not trained."""
        parts = []
        for s in self.shifts:
            a, own = bench.ask(reward, s.target), bench.ask(reward, s.source)
            parts += [a.credit, self.start[s.target].credit, self.reached[s.reference].credit, own.credit]
        return np.concatenate(parts)

    def calibration(self, bench: Bench, recipe: Recipe, key: str, encoder: Any, compat: bool) -> dict[str, float]:
        """The mean RMS calibration error over the shifts."""
        found = [
            rms_calibration(
                bench.ask(bench.fitted(recipe, key, s.source, encoder=encoder), s.target).probability, compat=compat
            )
            for s in self.shifts
        ]
        known = [f for f in found if not np.isnan(f)]
        return {"RMS calibration error": float(np.mean(known))} if known else {}


def rms_calibration(
    right: np.ndarray, *, bins: int = 5, fewest: int = 20, seed: int = 42, compat: bool = False
) -> float:
    """RMS over bins of what is said minus what is so, of P(right response preferred) [D]; NaN without a full bin.

    The order of every pair is thrown, so that saying always yes is no calibration; bins of fewer than ``fewest`` pairs
    are left out. ``compat`` compares every bin with the mean label of all bins, as the authors' code does.
    """
    right = right[~np.isnan(right)]
    draw = random.Random(seed)
    label = np.array([draw.choice([0, 1]) for _ in right])
    said = np.where(label == 1, right, 1 - right)
    bin_of = np.minimum((said * bins).astype(np.int64), bins - 1)
    gaps = []
    for b in range(bins):
        inside = bin_of == b
        if inside.sum() >= fewest:
            so = label.mean() if compat else label[inside].mean()
            gaps.append((so - said[inside].mean()) ** 2)
    return float(np.sqrt(np.mean(gaps))) if gaps else float("nan")


def opened(base: str) -> Reward | None:
    """The untrained reward that ``base`` names; None for a coin."""
    if base == COIN:
        return None
    if base.startswith(("hf:", "http://", "https://")):
        from guerdon.generate.load import load_language_model

        return Likelihood(load_language_model(base))
    from guerdon.reward.load import load

    return load(base)


def _untrained(bench: Bench, reward: Reward | None, name: str) -> Tested:
    return Tested(np.full(len(bench.test[name][1]), 0.5)) if reward is None else bench.ask(reward, name)


def _length() -> Reward:
    from guerdon.reward.baselines import Length

    return Length()


SETTINGS = {
    "base": "what is untrained: hf:PATH or http://... (its likelihood of a response), a reward, or coin (default)",
    "rivals": f"other recipes beside it, with commas, or none (default {RIVALS})",
    "capability": "the recipe of the capability, for all (default: the one that is measured)",
    "compat": "true: the calibration error as the authors' code computes it",
}


def _study(name: str, file: str, what: str) -> Study:
    return Study(
        name=name,
        what=what,
        source=SOURCE,
        subject="a model of guerdon fit to train: NAME or NAME?key=value",
        measure=partial(measure, file=file),
        summary=summary,
        paper="arXiv:2311.07723",
        settings=SETTINGS,
    )


GENIES = _study("genies", "GENIES.json", "GENIES: what training on one distribution gives on another, 15 hard shifts")
GENIES_ALL = _study("genies-all", "all.json", "GENIES: the same for all 69 shifts")


def read_fixed(paths: Sequence[Path]) -> Feedback:
    """The test parts of all distributions."""
    root = paths[0].parent.parent
    names = sorted({p.name.removesuffix(".gz").removesuffix(".jsonl") for p in paths})
    return Feedback.concatenate([distribution(root, n)["test"] for n in names])


GENIES_FIXED = Suite(
    name="genies-fixed",
    what="GENIES: a reward as it is on the test pairs of 66 distributions",
    source=SOURCE,
    files=("distributions/*.jsonl.gz|distributions/*.jsonl",),
    read=read_fixed,
    unit="duel",
    rule="half",
    unscored=None,
    summary=lambda cells: {"mean over distributions": cells.macro(), "mean over pairs": cells.micro()},
    paper="arXiv:2311.07723",
)

"""GENIES: what is trained on one distribution, tested on another, beside what can be had there at best.

A shift has a source, a target and a reference (the target, unless training on it would teach the flaw that it tests).
A recipe is fitted to the source. With accuracies over all pairs of the best with a worse response, a tie half:

    a  generalization   fitted to the source, tested on the target
    b  zero-shot        untrained, on the target: a language model's likelihood of the response, any reward, or a coin
    c  capability       the recipe of the capability fitted to the reference, tested on the reference
    elicitation a / c,  differential elicitation (a - b) / c,  in-distribution: fitted to and tested on the source

and the RMS calibration error of a. Figures are means over the shifts. What is measured is

``NAME?key=value``   a model of ``guerdon fit``. Other ways to train (``rivals``) stand beside it on the same features,
                     measured against the same b and c, which is its own unless said.
``hf:PATH``          a language model: all the interventions of the paper on it (:mod:`.genies_interventions`), one row
                     each in the paper's table, b its likelihoods and c what LoRA reaches.

``published`` are the authors' own figures on LLaMA-30B. A subset of the result is one of a, b, c and in-distribution of
one shift, so that every figure has an interval. ``genies-fixed`` scores a reward that is not trained here on the test
pairs of all 66 distributions.

Reference: Clymer et al. 2023, Generalization Analogies, https://arxiv.org/abs/2311.07723
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np

from guerdon.bench.intervals import ClusterBootstrap
from guerdon.bench.suites.genies_bench import Bench, Tick
from guerdon.bench.suites.genies_data import INTERVENTIONS, SOURCE, Published, Shift, distribution, shifts_of
from guerdon.bench.suites.genies_interventions import SCHEME
from guerdon.bench.suites.genies_items import CALIBRATION, ID, A, B, C, Items, unscored_in, with_calibration
from guerdon.bench.suites.genies_plan import RIVALS, Plan, length, plan_of
from guerdon.bench.suites.result import SuiteResult
from guerdon.bench.suites.run import digest_of
from guerdon.bench.suites.study import Rival, Study, tally
from guerdon.bench.suites.suite import Cells, Suite, Table
from guerdon.feedback.star import Feedback

GAIN, ELICITED = "differential elicitation", "elicitation"


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
        GAIN: gained.mean(0),
        ELICITED: elicited.mean(0),
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
    base: str = "",
    rivals: str = "",
    capability: str = "",
    interventions: str = "all",
    compat: bool = False,
    resume: bool = True,
    progress: Tick | None = None,
) -> SuiteResult:
    """Measure ``subject``, a model of ``guerdon fit`` or a language model, across the shifts of ``file``.

    limit          so many rows of each training and test part at most
    base           what is untrained: hf:PATH (a language model's likelihood), a reward, or coin
    rivals         other recipes beside it, separated by commas; they use its encoder
    capability     the recipe of c, for all; the subject itself if not said, or LoRA on a language model
    interventions  which of the paper's, on a language model: names separated by commas, or all
    compat         the calibration error as the authors' code computes it
    resume         keep answers on disk, and take those that are there
    progress       called with (what is measured, parts done, parts in all)

    Raises
    ------
    ConfigError
        if the data are not there or a recipe is unknown
    FeedbackError
        if a row is damaged
    """
    models = subject.startswith(SCHEME)
    plan = plan_of(
        subject, base=base, rivals=rivals or ("" if models else RIVALS), capability=capability, wanted=interventions
    )
    shifts, rows = shifts_of(data, file)
    needed = list(dict.fromkeys(n for s in shifts for n in (s.source, s.target, s.reference)))
    bench = Bench(Path(data), needed, limit, seed, kept=kept_in() if resume else None)
    items = Items(bench, shifts, plan, progress)
    mine = items.earned(plan.subject, progress)
    others, notes = items.beside(plan.rivals, progress)
    others["length"] = items.earned(length(), progress)
    result = tally(
        study,
        name or plan.name,
        items.subset,
        mine.credit,
        rivals={other: Rival(found.trainee.what, found.credit) for other, found in others.items()},
        cluster=items.cluster,
        over="test prompts",
        ids=items.ids,
        extra=published(data, shifts),
        facts={
            "shifts": len(shifts),
            "distributions": len(needed),
            "tied": int((mine.credit == 0.5).sum()),
            "unscored": int(np.isnan(mine.credit).sum()),
        },
        reasons=mine.reasons,
        notes=[*unscored_in(mine), *notes, *remarks(file, rows, len(shifts), plan, limit)],
        settings={
            "recipe": subject,
            **plan.said,
            "limit": limit,
            "data": blake2b("".join(digest_of(bench.test[n][0]) for n in needed).encode(), digest_size=8).hexdigest(),
        },
        bootstrap=bootstrap,
        seed=seed,
    )
    draw = ClusterBootstrap(items.clusters, replicates=bootstrap, seed=seed)
    return with_calibration(
        result, {k: items.calibration(v, draw, compat) for k, v in {"": mine, **others}.items()}, draw
    )


def published(data: str | Path, shifts: Sequence[Shift]) -> dict[str, float]:
    """The authors' means over ``shifts``, of the interventions that they measured on all of them."""
    table = Published.read(data)
    found: dict[str, float] = {}
    for intervention in INTERVENTIONS if table is not None else ():
        means = table.figures(intervention, shifts) if table is not None else {}
        if means.get("shifts") == len(shifts):
            for figure in (A, GAIN):
                found[f"published, LLaMA-30B, {intervention.replace('_', ' ')}: {figure}"] = means[figure]
    return found


def remarks(file: str, rows: int, shifts: int, plan: Plan, limit: int | None) -> list[str]:
    """What a reader of the figures has to know."""
    notes = []
    if rows > shifts:
        notes.append(f"{file} has {rows} rows, {rows - shifts} of them twice; each shift counts once")
    if plan.base is None:
        notes.append("zero-shot is a coin: differential elicitation is what training adds to guessing (--set base=...)")
    if limit is not None:
        notes.append(f"at most {limit} rows of each part of a distribution")
    return notes


def kept_in() -> Path | None:
    """The folder of answers in the cache; None where there is no cache."""
    from guerdon.encode.cache import cache_root

    root = cache_root()
    return None if root is None else root / "genies"


SETTINGS = {
    "base": "what is untrained: hf:PATH (its likelihoods), a reward, or coin (default; on hf:PATH its own likelihoods)",
    "rivals": f"other recipes beside it, with commas, or none (default {RIVALS})",
    "capability": "the recipe of the capability, for all (default: the one that is measured; on hf:PATH LoRA)",
    "interventions": "on hf:PATH: which of the paper's, with commas, or all (default); the first is what is measured",
    "compat": "true: the calibration error as the authors' code computes it",
    "resume": "false: compute everything again, and keep nothing",
}


def _study(name: str, file: str, what: str) -> Study:
    return Study(
        name=name,
        what=what,
        source=SOURCE,
        subject="a model of guerdon fit to train, NAME or NAME?key=value, or hf:PATH for all the paper's interventions",
        measure=partial(measure, file=file),
        summary=summary,
        paper="arXiv:2311.07723",
        settings=SETTINGS,
        parts=True,
        columns={"target": A, C: C, ELICITED: ELICITED, "differential": GAIN, "source": ID, "calibration": CALIBRATION},
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

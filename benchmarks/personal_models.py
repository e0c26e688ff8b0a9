"""Every personal reward on people it has never seen: accuracy after 0, 2, 5, 10 and 20 of their comparisons.

    python -m benchmarks.personal_models [--people 160] [--models NAME ...] [--sets NAME ...] [--full] [--out FILE]

Sets: Polis conversations (votes on statements), UKPConvArg (which argument convinces more), Jester (ratings of jokes),
MT-bench's human judges, and simulated populations of five kinds over planted features, the last of which (``shared``)
is a negative control: everybody wants the same, so whatever a personal model gains there is noise.

Of the people who said enough, ``--people`` are drawn; half of them are never fitted to. Each of these gives shots,
drawn from one half of what they said, and is tested on the other half (``guerdon.bench.draws``). All models see the
same people, shots and tests, so differences are paired; intervals are 95 %, over people. Baselines: Bradley-Terry on
the same features for everybody (``bradley-terry``), and matrix factorization by identity (``factorization``), which
reads no text and needs recurring candidates. The candidates themselves are known from other people.

Models are all that the registry marks as personal, at their defaults; ``--full`` also takes the papers' settings of
them (lore, drm, pal, ...), 600 people, all large conversations, and three draws. ``--keep FILE`` remembers finished
cells, so that a long run can be interrupted or extended; ``--only-kept`` fits nothing and tells from those cells.
``--data`` is the folder of the sets; those that are absent are left out.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench.draws import Draw, candidate_pairs, draw, shot_feedback
from guerdon.bench.intervals import ClusterBootstrap, Figure
from guerdon.bench.scoring import predict_pairs
from guerdon.encode import load_encoder
from guerdon.errors import GuerdonError
from guerdon.feedback.star import Feedback
from guerdon.reward.registry import MODELS, model
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool

SHOTS = (0, 2, 5, 10, 20)
POPULATION, IDENTITY = "bradley-terry", "factorization"
CONVERSATIONS = ("american-assembly.bowling-green", "scoop-hivemind.taxes", "canadian-electoral-reform")
KINDS = ("dirichlet:0.3", "signed", "clustered", "ideal-point", "shared")
CONTROL = "simulated shared"
APART = (IDENTITY, "attributes")
"""Not among the models in their order: the yardstick, and one for features that can be read."""
SETTINGS = {"mixture": {"router": "person"}}
"""Other than the defaults: a router by prompt needs features of the prompt alone."""
ENOUGH = 40
"""Judgements that a person must have given to be drawn."""


@dataclass(frozen=True)
class Task:
    """A set divided: what models are fitted to, and what the unseen people say."""

    name: str
    train: Feedback
    test: Feedback
    parts: list[Draw]
    people: np.ndarray
    encoder: Any
    recurring: bool


@dataclass
class Cell:
    """One model on one set: accuracy [shots, people], seconds, or why there is none."""

    accuracy: np.ndarray
    loss: np.ndarray
    fit: float = 0.0
    adapt: float = 0.0
    note: str = ""


def sets(data: Path, full: bool, scratch: Path) -> dict[str, Callable[[int, int], tuple[Feedback, Any, bool]]]:
    """Name -> (people, seed) -> (feedback, encoder, whether candidates recur); only sets that are there."""

    def read(folder: str) -> Feedback:
        return Feedback.read(data / folder, skip_bad=scratch / f"{folder}.jsonl")

    def texts(feedback: Feedback) -> tuple[Feedback, Any, bool]:
        return feedback, load_encoder("minilm"), True

    found: dict[str, Callable[[int, int], tuple[Feedback, Any, bool]]] = {}
    if (data / "polis").is_dir():
        polis = read("polis")
        large = [s for s in polis.subsets if len(np.unique(polis.where(subset=s).user)) >= 200]
        for name in large if full else [c for c in CONVERSATIONS if c in polis.subsets]:
            found[f"polis {name}"] = lambda n, seed, name=name: texts(polis.where(subset=name))
    for folder in ("ukpconvarg", "jester5k", "mtbench_human"):
        if (data / folder).is_dir():
            found[folder] = lambda n, seed, folder=folder: texts(read(folder))
    for kind in KINDS:
        found[f"simulated {kind}"] = lambda n, seed, kind=kind: simulated(kind, n, seed)
    return found


def simulated(kind: str, people: int, seed: int) -> tuple[Feedback, Any, bool]:
    """A population over four planted attributes of 16 features; 60 noisy comparisons a person."""
    pool = Pool.planted(300, 6, 16, seed=seed)
    attributes = np.linalg.qr(np.random.default_rng([seed, 7]).normal(size=(16, 4)))[0]
    population = Population.simulate(
        kind, pool, pool.features @ attributes, users=people, annotators=Annotator.bradley_terry(2.0), seed=seed
    )
    return population.history(count=60), pool.encoder(), False


def prepare(name: str, feedback: Feedback, encoder: Any, recurring: bool, people: int, draws: int, seed: int) -> Task:
    """Draw the people, hold half of them out, draw their shots and tests."""
    rng = np.random.default_rng(seed)
    count = np.bincount(feedback.user[feedback.user >= 0], minlength=len(feedback.users))
    enough = rng.permutation(np.flatnonzero(count >= ENOUGH))[:people]
    unseen = np.sort(enough[: len(enough) // 2])
    train = feedback.take(np.isin(feedback.user, enough) & ~np.isin(feedback.user, unseen))
    test = feedback.take(np.isin(feedback.user, unseen))
    pairs = candidate_pairs(test, unseen, 200, seed)
    # that the candidates of a test are known from others is part of the task where candidates recur
    if recurring:
        known = np.isin(np.arange(len(feedback.prompt_of)), train.items)
        pairs = pairs.take(known[pairs.a] & known[pairs.b])
    parts = [draw(test, pairs, SHOTS[-1], seed + 1000 * d, 100) for d in range(draws)]
    parts = [replace(part, test=part.test.take(part.test.p != 0.5)) for part in parts]
    return Task(name, train, test, parts, np.unique(np.concatenate([p.test.user for p in parts])), encoder, recurring)


def measure(task: Task, name: str, seed: int) -> Cell:
    """Fit one model, adapt it to the unseen people with ever more shots, and ask for their other comparisons."""
    empty = np.full((len(SHOTS), len(task.people)), np.nan)
    entry = MODELS[name]
    takes = {parameter for parameter, _, _ in entry.parameters()}
    given = {"encoder": task.encoder, "seed": seed, "choose_by": "user"}
    try:
        reward = model(name).make(**{k: v for k, v in given.items() if k in takes}, **SETTINGS.get(name, {}))
        began = time.perf_counter()
        reward = reward.fit(task.train)
        # features are computed once for all models
        fit = time.perf_counter() - began - float(reward.summary.get("seconds_encoding", 0.0))
        right, lost, count = (np.zeros_like(empty) for _ in range(3))
        took = []
        for part in task.parts:
            row = np.searchsorted(task.people, part.test.user)
            for i, k in enumerate(SHOTS):
                known: Any = reward
                if k and entry.personal:
                    shots = shot_feedback(task.test, part.shots.take(part.turn < k))
                    began = time.perf_counter()
                    known = reward.adapt(shots)
                    took.append((time.perf_counter() - began) / len(task.people))
                q = predict_pairs(known, task.test, part.test).value
                q = np.clip(np.where(np.isnan(q), 0.5, q), 1e-6, 1 - 1e-6)
                p = part.test.p
                hit = np.where(q == 0.5, 0.5, (q > 0.5) == (p > 0.5))
                right[i] += np.bincount(row, hit, len(task.people))
                lost[i] -= np.bincount(row, p * np.log(q) + (1 - p) * np.log(1 - q), len(task.people))
                count[i] += np.bincount(row, minlength=len(task.people))
    except GuerdonError as error:
        return Cell(empty, empty, note=str(error))
    return Cell(right / count, lost / count, fit, float(np.median(took)) if took else 0.0)


# ---------------------------------------------------------------------------------------------------- the table


def difference(bootstrap: ClusterBootstrap, a: np.ndarray, b: np.ndarray) -> Figure:
    """Paired difference of two rows of per-person figures, in points."""
    good = ~np.isnan(a) & ~np.isnan(b)
    return bootstrap.difference(np.flatnonzero(good), 100 * a[good], 100 * b[good])


def signed(figure: Figure) -> str:
    """``+1.2 [+0.3, +2.1]`` of a difference in points."""
    return f"{figure.value:+.1f} [{figure.low:+.1f}, {figure.high:+.1f}]"


def table(task: Task, cells: dict[str, Cell], absent: list[str], seed: int) -> tuple[list[str], dict[str, Any]]:
    """(Markdown lines of one set, what the summary says of it); ``absent`` are models that were not measured."""
    bootstrap = ClusterBootstrap(len(task.people), seed=seed)
    fitted = {name: cell for name, cell in cells.items() if not cell.note}
    # the strongest reward that is the same for everybody: any model before it is told anything
    base = max(fitted, key=lambda name: np.nanmean(fitted[name].accuracy[0]))
    lines = [
        f"### {task.name}",
        "",
        f"{len(task.people)} unseen people, {len(np.unique(task.train.user))} to learn from, "
        f"{len(task.train.used)} candidates, {sum(len(p.test) for p in task.parts):,} tests; strongest without shots: "
        f"`{base}`.",
        "",
        "| model | " + " | ".join(f"{k} shots" for k in SHOTS) + " | 20 shots over own 0 | 20 shots over strongest 0 "
        "| log-loss 0 → 20 | fit, s | adapt, ms a person |",
        "|---" * (len(SHOTS) + 6) + "|",
    ]
    gains: dict[str, Figure] = {}
    for name, cell in cells.items():
        if cell.note:
            lines.append(f"| {name} | " + " | ".join("-" for _ in range(len(SHOTS) + 5)) + " |")
            continue
        shown = [bootstrap.ratio(np.arange(len(task.people)), 100 * row) for row in cell.accuracy]
        texts = [f"{f.value:.1f} ± {(f.high - f.low) / 2:.1f}" for f in shown]
        own = difference(bootstrap, cell.accuracy[-1], cell.accuracy[0])
        gains[name] = difference(bootstrap, cell.accuracy[-1], fitted[base].accuracy[0])
        personal = MODELS[name].personal
        extra = [signed(own) if personal else "", signed(gains[name])]
        extra.append(f"{np.nanmean(cell.loss[0]):.3f} → {np.nanmean(cell.loss[-1]):.3f}")
        extra += [f"{cell.fit:.1f}", f"{1000 * cell.adapt:.2f}" if personal else ""]
        lines.append(f"| {name} | " + " | ".join([*texts, *extra]) + " |")
    lines += [f"\n`{name}`: {cell.note}" for name, cell in cells.items() if cell.note]
    if absent:
        lines.append("\nNot measured in this run: " + ", ".join(f"`{name}`" for name in absent) + ".")
    reads = [n for n in gains if MODELS[n].personal and n != IDENTITY]
    best = max(reads, key=lambda name: np.nanmean(cells[name].accuracy[-1])) if reads else None
    facts: dict[str, Any] = {"base": base, "best": best, "gains": gains}
    if best and IDENTITY in fitted:
        facts["identity"] = difference(bootstrap, cells[best].accuracy[-1], fitted[IDENTITY].accuracy[-1])
    facts["own"] = {
        (name, k): difference(bootstrap, cell.accuracy[i], cell.accuracy[0])
        for name, cell in fitted.items()
        if MODELS[name].personal
        for i, k in enumerate(SHOTS)
        if k
    }
    return [*lines, ""], facts


def summary(facts: dict[str, dict[str, Any]]) -> list[str]:
    """What it comes to: the best personal model of each set, and the negative control."""
    lines = [
        "| set | best personal model | 20 shots over the strongest without shots | over matrix factorization by id |",
        "|---|---|---|---|",
    ]
    for name, fact in facts.items():
        if fact["best"] and name != CONTROL:
            identity = signed(fact["identity"]) if "identity" in fact else "-"
            lines.append(f"| {name} | {fact['best']} | {signed(fact['gains'][fact['best']])} | {identity} |")
    polis = {name: fact for name, fact in facts.items() if name.startswith("polis") and fact["best"]}
    if polis:
        gain = [name for name, fact in polis.items() if fact["gains"][fact["best"]].low > 0]
        near = [name for name, fact in polis.items() if "identity" in fact and fact["identity"].value > -1.5]
        lines += [
            "",
            f"On {len(gain)} of {len(polis)} Polis conversations the best personal model's interval over the strongest "
            f"reward without shots is above zero; on {len(near)} it is within 1.5 points of matrix factorization.",
        ]
    if CONTROL in facts:
        own = facts[CONTROL]["own"]
        false = [f"{n} at {k} shots {signed(f)}" for (n, k), f in own.items() if f.low > 0]
        worse = [f"{n} at {k} shots {signed(f)}" for (n, k), f in own.items() if f.high < 0]
        said = "no personal model reports a gain" if not false else "**false gains: " + "; ".join(false) + "**"
        lines += ["", f"Negative control (`{CONTROL}`, {len(own)} cells of model and shots): {said}."]
        if worse:
            lines.append("Worse than without shots there: " + "; ".join(worse) + ".")
    return lines


def main() -> None:
    """Fit, measure, print the tables; ``--out`` writes them as a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--people", type=int, help="people of each set, seen and unseen (160; --full 600)")
    parser.add_argument("--models", nargs="+", help="some of the models")
    parser.add_argument("--sets", nargs="+", help="some of the sets, by the beginning of their names")
    parser.add_argument("--quick", action="store_true", help="90 people and one draw, to see whether it runs")
    parser.add_argument("--full", action="store_true", help="600 people, every large conversation, three draws")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="remember finished cells in this file")
    parser.add_argument("--only-kept", action="store_true", help="fit nothing, tell from what is kept")
    parser.add_argument("--out", type=Path, help="write the page to this file as well")
    options = parser.parse_args()
    logging.getLogger("guerdon").setLevel(logging.ERROR)
    people = options.people or (600 if options.full else 90 if options.quick else 160)
    draws = 3 if options.full else 1 if options.quick else 2
    personal = [m for m in MODELS.values() if m.personal and m.name not in APART]
    wanted = options.models or [m.name for m in personal if options.full or not m.preset] + [IDENTITY]
    names = [POPULATION, *(m.name for m in personal if m.name in wanted), *([IDENTITY] if IDENTITY in wanted else [])]
    kept = json.loads(options.keep.read_text()) if options.keep and options.keep.is_file() else {}
    pages, facts, began = [], {}, time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        recipes = sets(options.data, options.full, Path(scratch))
        for name, make in recipes.items():
            if options.sets and not any(name.startswith(s) for s in options.sets):
                continue
            feedback, encoder, recurring = make(people, options.seed)
            task = prepare(name, feedback, encoder, recurring, people, draws, options.seed)
            cells = {}
            for each in names:
                if each == IDENTITY and not recurring:
                    continue
                key = f"{name}|{each}|{people}|{draws}|{options.seed}"
                if key in kept:
                    accuracy, loss = (np.array(kept[key][k], dtype=float) for k in ("accuracy", "loss"))
                    cells[each] = Cell(accuracy, loss, kept[key]["fit"], kept[key]["adapt"], kept[key]["note"])
                    continue
                if options.only_kept:
                    continue
                cell = cells[each] = measure(task, each, options.seed)
                shown = cell.note or " ".join(f"{100 * np.nanmean(row):.1f}" for row in cell.accuracy)
                print(f"{name}, {each}: {shown} (fit {cell.fit:.1f} s)", file=sys.stderr, flush=True)
                kept[key] = {**vars(cell), "accuracy": cell.accuracy.tolist(), "loss": cell.loss.tolist()}
                if options.keep:
                    options.keep.write_text(json.dumps(kept))
            absent = [n for n in names if n not in cells and (recurring or n != IDENTITY)]
            lines, facts[name] = table(task, cells, absent, options.seed)
            pages += lines
    size = "--full" if options.full else "--quick" if options.quick else f"--people {people}"
    text = "\n".join(
        [
            "# Personal models on people they have never seen",
            "",
            f"Accuracy x 100 on held-out comparisons of unseen people, mean over people ± half the 95 % interval "
            f"(`python -m benchmarks.personal_models {size}`). Differences are paired, in points, with 95 % intervals "
            "over people. `bradley-terry` is the same for everybody; `factorization` knows candidates by identity "
            "only. The strongest without shots is the best of all rewards before they are told anything about a "
            "person; it and the best personal model are picked on these same tests. `attributes` is left out: it is "
            "for the prompted attributes of a language model. `mixture` "
            "routes by person. Times are wall clock, one thread, whatever else the machine was doing; features are "
            "computed beforehand.",
            "",
            *summary(facts),
            "",
            *pages,
        ]
    )
    print(text)
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

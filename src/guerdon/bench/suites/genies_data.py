"""GENIES' distributions and shifts as published, and the accuracies that its authors measured.

Files: ``GENIES.json`` (the 15 shifts) or ``all.json`` (69 rows, 13 of them twice), rows ``{source, target,
target_reference?, label?, category?}``; ``distributions/NAME.jsonl.gz`` with a split in every row, or the folders of
the authors' repository, ``distributions/NAME/{train,test}.json``. A row is ``{prompt, responses}`` with exactly one
response graded 1. ``published_evals.csv`` (``intervention, model_and_source, target, eval_accuracy``) is optional.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback

SOURCE = (
    "the distributions are in the history of github.com/Joshuaclymer/GENIES, commit 70bd2ea (removed later): put its "
    "folders distributions and distribution_shifts there"
)
INTERVENTIONS = (
    "lora_fine_tuning", "mms", "lat_stim_1", "lat_stim_2", "cra", "ccs", "few_shot", "prompt_tuning", "zero_shot",
)  # fmt: skip
TUNED, UNTUNED = "lora_fine_tuning", "zero_shot"


@dataclass(frozen=True)
class Shift:
    """Trained on ``source``, tested on ``target``; what can be had at best is what training on ``reference`` gives."""

    source: str
    target: str
    reference: str
    category: str = ""

    @property
    def name(self) -> str:
        """``category/source > target``."""
        return f"{self.category or 'shift'}/{self.source} > {self.target}"


def shifts_of(root: str | Path, file: str) -> tuple[list[Shift], int]:
    """(the distinct shifts of ``file`` in ``root`` or a folder under it, how many rows it has)."""
    path = _place(Path(root), (file, f"distribution_shifts/{file}", f"genies/{file}"))
    if path is None:
        raise ConfigError(f"suite genies: no {file} under {root}; {SOURCE}")
    rows = json.loads(path.read_text(encoding="utf-8"))
    found = [
        Shift(r["source"], r["target"], r.get("target_reference") or r["target"], r.get("category") or "") for r in rows
    ]
    return list(dict.fromkeys(found)), len(rows)


def _place(root: Path, names: Iterable[str]) -> Path | None:
    return next((root / name for name in names if (root / name).exists()), None)


def distribution(root: str | Path, name: str) -> dict[str, Feedback]:
    """``train`` and ``test`` of a distribution; prompts are numbered in the order of the file.

    Raises
    ------
    ConfigError
        if it is not there
    FeedbackError
        if a row has no prompt, fewer than two responses, or not exactly one best
    """
    folder = _place(Path(root), ("distributions", "genies/distributions"))
    files = [] if folder is None else _files(folder, name)
    if not files:
        raise ConfigError(f"suite genies: no distribution {name} under {root}; {SOURCE}")
    parts: dict[str, list[Judgement]] = {"train": [], "test": []}
    for path, split in files:
        for number, row in _rows(path):
            judged = _judgement(row, path, number, name)
            parts.setdefault(str(row.get("split", split)), []).append(judged)
    return {split: Feedback.of(rows) for split, rows in parts.items() if rows}


def _files(folder: Path, name: str) -> list[tuple[Path, str]]:
    for ending in (".jsonl.gz", ".jsonl"):
        if (folder / f"{name}{ending}").is_file():
            return [(folder / f"{name}{ending}", "test")]
    return [(folder / name / f"{s}.json", s) for s in ("train", "test") if (folder / name / f"{s}.json").is_file()]


def _rows(path: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
    if path.suffix == ".json":
        yield from enumerate(json.loads(path.read_text(encoding="utf-8")), 1)
        return
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            yield number, json.loads(line)


def _judgement(row: Mapping[str, Any], path: Path, number: int, name: str) -> Judgement:
    listed = row.get("responses")
    pairs: Sequence[Any] = list(listed.items()) if isinstance(listed, Mapping) else list(listed or ())
    grades = tuple(float(g) for _, g in pairs)
    if not isinstance(row.get("prompt"), str) or len(pairs) < 2:
        raise FeedbackError(f"{path}:{number}: expected a prompt and two responses or more")
    if sum(g == max(grades) for g in grades) != 1:
        raise FeedbackError(f"{path}:{number}: {sum(g == max(grades) for g in grades)} best responses; one is expected")
    return Judgement(
        row["prompt"], tuple(str(t) for t, _ in pairs), grades, subset=name, scale="partial", id=f"{name}:{number}"
    )


def one_worse(feedback: Feedback, seed: int = 0) -> Feedback:
    """Every judgement with its best response and one other of its responses, drawn at random: what is trained on."""
    rng = np.random.default_rng(seed)
    rows = []
    for judged in feedback.judgements():
        best = int(np.argmax(judged.grades))
        others = [i for i in range(len(judged.grades)) if i != best]
        pair = sorted((best, others[int(rng.integers(len(others)))]))
        rows.append(
            Judgement(
                judged.prompt,
                tuple(judged.responses[i] for i in pair),
                tuple(float(i == best) for i in pair),
                subset=judged.subset,
            )
        )
    return Feedback.of(rows)


@dataclass(frozen=True)
class Published:
    """Accuracies of (intervention, model, distribution trained on, distribution tested on)."""

    accuracy: Mapping[tuple[str, str, str, str], float]

    @classmethod
    def read(cls, root: str | Path) -> Published | None:
        """The table in ``root``; None where it is not there."""
        path = _place(Path(root), ("published_evals.csv", "genies/published_evals.csv"))
        if path is None:
            return None
        found = {}
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                model, source = _parted(row["model_and_source"])
                found[row["intervention"], model, source, row["target"]] = float(row["eval_accuracy"])
        return cls(found)

    def figures(self, intervention: str, shifts: Sequence[Shift], base: str = "llama-30b") -> dict[str, float]:
        """Mean ``generalization``, ``elicitation`` and ``differential elicitation`` of an intervention over ``shifts``;
        ``shifts`` says how many of them are in the table, the others are left out.
        """
        rows = []
        for s in shifts:
            a = self.accuracy.get((intervention, base, s.source, s.target))
            b = self.accuracy.get((UNTUNED, base, s.source, s.target), self.accuracy.get((UNTUNED, base, "", s.target)))
            c = self.accuracy.get((TUNED, base, s.reference, s.reference))
            if a is not None and b is not None and c:
                rows.append((a, a / c, (a - b) / c, c))
        if not rows:
            return {"shifts": 0.0}
        names = ("generalization", "elicitation", "differential elicitation", "capability")
        return {**dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True)), "shifts": float(len(rows))}


def published_tables(root: str | Path, base: str = "llama-30b") -> dict[str, list[dict[str, str]]]:
    """Intervention -> rows of the authors' table of the 15 shifts; empty where they are not there.

    They are ``results/generalization_metrics/BASE/*/GENIES.csv`` of the authors' repository.
    """
    tables = {}
    for file in sorted(Path(root).glob(f"results/generalization_metrics/{base}/*/GENIES.csv")):
        with file.open(encoding="utf-8", newline="") as text:
            tables[file.parent.name] = list(csv.DictReader(text))
    return tables


def _parted(text: str) -> tuple[str, str]:
    """(model, distribution trained on or nothing) of ``llama-30b-alpaca_easy``."""
    parts = text.split("-")
    return "-".join(parts[:2]), "-".join(parts[2:])

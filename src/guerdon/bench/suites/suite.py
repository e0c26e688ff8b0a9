"""What a benchmark is: where its data are, how an item is counted, how subsets are summed up.

A new one is a :class:`Suite` of a few lines; see ``docs/bench.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from guerdon.bench.suites.items import RULES, Duels, Rule, Said, Unit
from guerdon.errors import ConfigError
from guerdon.feedback.star import Feedback

Table = dict[str, np.ndarray]
"""Name of a figure -> float64 [r]: row 0 is the figure, the others its bootstrap replicates."""

FEW = 30
"""Subsets of fewer prompts are marked in tables: their figures say little."""

ALLOWED = ("empty-response", "identical-responses", "duplicate-id")
"""Problems that published data have and protocols count."""


@dataclass(frozen=True)
class Cells:
    """What the subsets earned: ``earned`` and ``items`` float64 [r, s], row 0 measured, the others replicates."""

    subsets: tuple[str, ...]
    earned: np.ndarray
    items: np.ndarray

    @property
    def rate(self) -> np.ndarray:
        """float64 [r, s] mean credit of each subset; NaN where a replicate has none of it."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.items > 0, self.earned / self.items, np.nan)

    def where(self, keep: Callable[[str], bool]) -> Cells:
        """The subsets whose name is wanted."""
        at = [i for i, name in enumerate(self.subsets) if keep(name)]
        return Cells(tuple(self.subsets[i] for i in at), self.earned[:, at], self.items[:, at])

    def micro(self) -> np.ndarray:
        """float64 [r] mean over all items."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.earned.sum(1) / self.items.sum(1)

    def macro(self) -> np.ndarray:
        """float64 [r] unweighted mean over the subsets."""
        return self.weighted({})

    def weighted(self, weights: Mapping[str, float]) -> np.ndarray:
        """float64 [r] mean of the subsets' rates with weights by name (1 where there is none); absent ones left out."""
        w = np.array([weights.get(name, 1.0) for name in self.subsets])
        rate = self.rate
        present = ~np.isnan(rate)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(present, rate * w, 0).sum(1) / (present * w).sum(1)


def overall(cells: Cells) -> Table:
    """The mean over all items."""
    return {"overall": cells.micro()}


@dataclass(frozen=True)
class Suite:
    """A benchmark.

    name       as on the command line
    what       one line
    source     where the data are published, and how to put them in place
    files      patterns of files under the data folder, each a list of alternatives ``a|b``; all are needed
    format     the reader (``guerdon data --format``); None recognises it
    read       reads the data from the files found, where a reader alone cannot
    unit       what counts: a ``judgement`` with all its duels, or each ``duel``
    rule       how an item earns: see :mod:`guerdon.bench.suites.items`
    unscored   what an unscored item earns; None leaves it out
    compared   (rule, unscored) for rewards that compare and do not score, where the protocol has another one for them
    summary    :class:`Cells` to the figures by name, the first one is the headline
    credit     (feedback, what was said, judgement of each item, its credit) to the credit, where a rule is not enough
    subset     (feedback, duels) to the subset of each item, where that is not the judgement's own
    expected   subsets that must be there; without one the result is partial
    matrix     styles whose duels have figures ``A over B``; the report shows them as a matrix
    extra      further figures of (feedback, duels, what was said), by name
    paper      reference
    notes      what to say beside every result
    """

    name: str
    what: str
    source: str
    files: tuple[str, ...]
    format: str | None = None
    read: Callable[[Sequence[Path]], Feedback] | None = None
    unit: Unit = "judgement"
    rule: Rule = "strict"
    unscored: float | None = 0.0
    compared: tuple[Rule, float | None] | None = None
    summary: Callable[[Cells], Table] = overall
    credit: Callable[[Feedback, Said, np.ndarray, np.ndarray], np.ndarray] | None = None
    subset: Callable[[Feedback, Duels], list[str]] | None = None
    expected: tuple[str, ...] = ()
    extra: Callable[[Feedback, Duels, Said], dict[str, float]] | None = None
    matrix: tuple[str, ...] = ()
    paper: str = ""
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ConfigError(f"suite {self.name}: rule={self.rule!r}; use one of {', '.join(RULES)}")

    def find(self, folder: str | Path) -> list[Path]:
        """The files of the suite in ``folder``, its sub-folder of the suite's name, or another one.

        Raises
        ------
        ConfigError
            naming what is missing, where to get it and where to put it
        """
        return find_files(self.name, self.files, self.source, folder)

    def feedback(self, data: str | Path) -> Feedback:
        """The suite's data from a folder, a file, or ``hf:org/name[:split]``."""
        text = str(data)
        if text.startswith("hf:"):
            if self.read is not None:
                raise ConfigError(f"suite {self.name}: reads local files only; {self.source}")
            return Feedback.read(text, format=self.format, allow=ALLOWED)
        paths = self.find(data)
        return self.read(paths) if self.read is not None else read_files(paths, self.format)


def find_files(name: str, patterns: Sequence[str], source: str, folder: str | Path) -> list[Path]:
    """The files of all ``patterns`` in ``folder``, its sub-folder ``name``, or another one; a file is taken as it is.

    Raises
    ------
    ConfigError
        naming what is missing, where to get it and where to put it
    """
    root = Path(folder)
    if root.is_file():
        return [root]
    inside = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    for place in (root / name, root / name.replace("-", "_"), root, *inside):
        found = [_first(place, pattern) for pattern in patterns]
        if all(found):
            return [path for paths in found for path in paths]
    wanted = ", ".join(pattern.replace("|", " or ") for pattern in patterns)
    raise ConfigError(f"suite {name}: no {wanted} under {root} or {root / name}; {source}")


def read_files(paths: Sequence[Path], format: str | None = None) -> Feedback:
    """The judgements of all files; empty and identical responses are counted as published."""
    return Feedback.read(paths[0] if len(paths) == 1 else list(paths), format=format, allow=ALLOWED)


def _first(place: Path, pattern: str) -> list[Path]:
    """Files of the first alternative that has some."""
    if not place.is_dir():
        return []
    for alternative in pattern.split("|"):
        found = sorted(place.glob(alternative))
        if found:
            return found
    return []

"""A rubric that was learned from comparisons: themes with tips, where each came from, and what became of the rest.

The file it is written to is a rubric like any other: ``judge:...?by=rubric&rubric=rubric.yaml``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.errors import ConfigError, need
from guerdon.feedback.writers import replacing
from guerdon.reward.judge.rubric_writing import Theme
from guerdon.reward.judge.standard import Criterion, Standard

SUFFIXES = (".yaml", ".yml", ".json")


@dataclass
class SourceRubric:
    """A criterion as it was written for one pair.

    pair          the ids of the pairs that it was written for; several where the same words came again
    rounds        how often it was rewritten before it found the right response
    kept          whether it is part of the rubric
    reason        why not
    coverage      share of the pairs (its own left out) in which it alone, asked in both orders, decides
    precision     share of those in which it decides for the chosen response
    contribution  accuracy of the core's majority minus that without it
    """

    text: str
    pair: list[str]
    rounds: int
    kept: bool = False
    reason: str | None = None
    coverage: float | None = None
    precision: float | None = None
    contribution: float | None = None


@dataclass(frozen=True)
class LearnedRubric:
    """What :class:`~guerdon.reward.judge.rubric_learning.RubricLearner` found.

    themes   tips point into ``sources``
    weights  [themes] numbers above 0
    sources  every criterion that found its pair's right response
    report   counts, the coding rate by iteration, why it stopped, what was dropped
    cost     of this run: not in the file, which is the same after an interruption
    """

    themes: tuple[Theme, ...]
    weights: tuple[float, ...]
    sources: tuple[SourceRubric, ...]
    report: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)

    @property
    def standard(self) -> Standard:
        """What a judge judges by: a weighted criterion a theme."""
        names = _distinct([theme.name for theme in self.themes])
        parts = zip(self.themes, names, self.weights, strict=True)
        return Standard.rubric([Criterion(theme.text, name, weight) for theme, name, weight in parts])

    def as_json(self) -> dict[str, Any]:
        """JSON-ready; ``rubric`` is what :meth:`.Standard.read` reads."""
        rubric = []
        for theme, criterion in zip(self.themes, self.standard.criteria, strict=True):
            tips = [{"tip": tip.text, "sources": [i + 1 for i in tip.sources]} for tip in theme.tips]
            rubric.append(
                {"name": criterion.name, "text": criterion.text, "weight": criterion.weight, "tips": tips}
                | statistics([self.sources[i] for i in theme.sources])
            )
        sources = [{"number": i + 1, **vars(s)} for i, s in enumerate(self.sources)]
        return {"rubric": rubric, "sources": sources, "report": self.report}

    def write(self, path: str | Path) -> None:
        """To a .yaml or .json file, in one step; equal rubrics give equal bytes."""
        file = Path(path)
        check_out(file)
        text = json.dumps(self.as_json(), ensure_ascii=False, indent=2) + "\n"
        if file.suffix != ".json":
            text = _yaml().safe_dump(json.loads(text), allow_unicode=True, sort_keys=False, width=120)
        try:
            with replacing(file) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{file}: cannot be written ({error.strerror})") from error


def check_out(path: Path) -> None:
    """:class:`~guerdon.errors.ConfigError` for a file that no rubric can be written to."""
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"--out {path}: a rubric is written to .yaml, .yml or .json")
    if not path.parent.is_dir():
        raise ConfigError(f"--out {path}: there is no folder {path.parent}")
    if path.suffix != ".json":
        _yaml()


def statistics(sources: Sequence[SourceRubric]) -> dict[str, float | None]:
    """Mean coverage, and precision weighted by coverage, of some criteria; None where nothing was decided."""
    known = [(s.coverage, s.precision) for s in sources if s.coverage is not None]
    decided = [(c, p) for c, p in known if c and p is not None]
    coverage = float(np.mean([c for c, _ in known])) if known else None
    precision = sum(c * p for c, p in decided) / sum(c for c, _ in decided) if decided else None
    return {"coverage": _rounded(coverage), "precision": _rounded(precision)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _distinct(names: Sequence[str]) -> list[str]:
    out: list[str] = []
    for name in names:
        k = 2
        made = name
        while made in out:
            made, k = f"{name} ({k})", k + 1
        out.append(made)
    return out


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise need("PyYAML", "text") from None
    return yaml

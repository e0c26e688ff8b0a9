"""What a reward earned on a suite or a study, as one object and as the JSON document that ``bench compare`` reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from guerdon.bench.intervals import Figure
from guerdon.bench.suites.suite import FEW
from guerdon.errors import ConfigError


@dataclass(frozen=True)
class Baseline:
    """A baseline on the same items: its figures, and the reward's figures minus them."""

    name: str
    what: str
    figures: dict[str, Figure]
    difference: dict[str, Figure]


@dataclass(frozen=True)
class SuiteResult:
    """What a reward earned on a suite.

    figures    the suite's summary; the first is the headline
    subsets    mean credit of each subset
    facts      counts: items, duels, prompts, tied, unscored
    confounds  longer wins, and this reward's accuracy in duels of equally long responses
    item       ids [I], ``subset`` [I], ``credit`` [I] (None = unscored), ``prompt`` [I] codes
    robustness what rewordings of the same items do (:mod:`guerdon.bench.robustness`), empty if not asked for
    """

    suite: str
    reward: str
    figures: dict[str, Figure]
    subsets: dict[str, Figure]
    baselines: tuple[Baseline, ...]
    confounds: dict[str, Figure]
    extra: dict[str, float]
    facts: dict[str, int]
    reasons: dict[str, int]
    notes: tuple[str, ...]
    settings: dict[str, Any]
    items: dict[str, list[Any]] = field(default_factory=dict)
    robustness: dict[str, Any] = field(default_factory=dict)

    @property
    def headline(self) -> tuple[str, Figure]:
        """(name, figure) of the first figure."""
        return next(iter(self.figures.items()))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with every item's credit."""

        def ready(figures: Mapping[str, Figure]) -> dict[str, Any]:
            return {k: f.to_dict() for k, f in figures.items()}

        return {
            "guerdon_bench": 1,
            "suite": self.suite,
            "reward": self.reward,
            "figures": ready(self.figures),
            "subsets": ready(self.subsets),
            "baselines": {
                b.name: {"what": b.what, "figures": ready(b.figures), "difference": ready(b.difference)}
                for b in self.baselines
            },
            "confounds": ready(self.confounds),
            "extra": self.extra,
            "facts": self.facts,
            "reasons": self.reasons,
            "notes": list(self.notes),
            "settings": self.settings,
            "items": self.items,
            **({"robustness": self.robustness} if self.robustness else {}),
        }


def items_of(figure: Figure) -> str:
    """How many items a subset has, for a table, with a mark where they are of too few prompts to say much."""
    return f"{figure.n:,}{' (few)' if figure.clusters < FEW else ''}"


def figure_from(document: Mapping[str, Any]) -> Figure:
    """A figure from its JSON document."""
    value, low, high = (np.nan if document[k] is None else document[k] for k in ("value", "low", "high"))
    return Figure(value, low, high, document["n"], document["clusters"])


def from_dict(document: Mapping[str, Any], where: str = "result") -> SuiteResult:
    """A result from its JSON document.

    Raises
    ------
    ConfigError
        if the document is not one
    """

    def figures(part: Mapping[str, Any]) -> dict[str, Figure]:
        return {k: figure_from(f) for k, f in part.items()}

    if document.get("guerdon_bench") != 1:
        raise ConfigError(
            f"{where} is no result of guerdon bench; give the result.json of a --report folder, or --json"
        )
    damaged = f"{where} is a damaged result of guerdon bench"
    try:
        baselines = tuple(
            Baseline(name, b["what"], figures(b["figures"]), figures(b["difference"]))
            for name, b in document["baselines"].items()
        )
        plain: dict[str, Any] = {
            k: document[k] for k in ("suite", "reward", "extra", "facts", "reasons", "settings", "items")
        }
        plain |= {k: figures(document[k]) for k in ("figures", "subsets", "confounds")}
        plain["robustness"] = document.get("robustness", {})
        if len({len(plain["items"][column]) for column in ("id", "subset", "prompt", "credit")}) != 1:
            raise ConfigError(f"{damaged} (columns of unequal length); measure again")
        return SuiteResult(**plain, baselines=baselines, notes=tuple(document["notes"]))
    except (AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"{damaged} ({error}); measure again") from None

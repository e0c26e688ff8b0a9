"""A paper's claim as a program: figures of the method and of its baselines over seeds, and bounds they must keep.

How to add a paper (30-80 lines). Write ``papers/<slug>.py``, the slug's ``-`` as ``_``; that file is all there is to
register. Its docstring says in a paragraph what is rebuilt and how; then ::

    from guerdon.papers.frame import Budget, Claim, Row, at_least
    from guerdon.papers.index import paper

    PAPER = paper("lore")                                    # number, title, room and mechanism are in the index

    def check(budget: Budget) -> Claim:
        low_rank, plain = [], []
        for seed in budget.seeds(3):                         # the card's number of seeds, unless --seeds says otherwise
            ...                                              # assemble parts of the library, measure
            low_rank.append(a); plain.append(b)
        unseen = Row(
            "unseen people, simplex world",                  # the card's check
            {"LoRe": low_rank, "Bradley-Terry": plain},      # the method first, then its baselines; one figure a seed
            [at_least("LoRe", 0.85), at_least("LoRe", 0.08, over="Bradley-Terry")],
            unit="accuracy",
        )
        return Claim(PAPER.slug, [unseen], left=("real data (PRISM): not at hand",))

Then ``guerdon reproduce lore --record`` runs it and writes its figures beside the modules, from where ``guerdon
papers`` and the docs page take the paper's state. A bound that differs from its card says what it was and why
(``was=0.9, why="..."``); whatever of the card is not checked is named in ``left``.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from guerdon.errors import ConfigError

RELATIONS = {"at_least": "≥", "at_most": "≤", "within": "="}


@dataclass(frozen=True)
class Paper:
    """One of the 119 systems: where it stands in the index, where its parts live, what it does in one line."""

    number: int
    slug: str
    name: str
    title: str
    room: str
    mechanisms: tuple[str, ...]
    """What it does, one line each; the first is the one line of the index."""
    year: int | None = None
    url: str | None = None

    @property
    def mechanism(self) -> str:
        """The one line of the index."""
        return self.mechanisms[0]

    @property
    def module(self) -> str:
        """The module that holds its check, once there is one."""
        return f"guerdon.papers.{self.slug.replace('-', '_')}"


@dataclass(frozen=True)
class Budget:
    """How much a check may spend. ``count`` None = as many seeds as the card says."""

    count: int | None = None

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise ConfigError(f"--seeds {self.count}: at least one seed is needed")

    def seeds(self, default: int) -> range:
        """The seeds to run: 0, 1, ...; ``default`` of them unless the budget says otherwise."""
        return range(self.count or default)


@dataclass(frozen=True)
class Bound:
    """What a figure must keep: ``figure >= threshold``, or relative to another figure ``over`` of the same row.

    ``each`` asks it of every seed instead of the mean. ``was`` and ``why``: the card's threshold and the reason for
    another one; one does not go without the other.
    """

    figure: str
    relation: str
    threshold: float
    over: str | None = None
    each: bool = False
    was: float | None = None
    why: str | None = None

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            raise ConfigError(f"bound on {self.figure!r}: relation {self.relation!r}; use {', '.join(RELATIONS)}")
        if (self.was is None) != (self.why is None):
            raise ConfigError(f"bound on {self.figure!r}: a changed threshold says both what it was and why")

    def holds(self, figures: Mapping[str, Sequence[float]]) -> bool:
        """Whether the bound holds on the figures of a row; a missing (NaN) figure never holds."""
        values = list(figures[self.figure])
        against = [0.0] * len(values) if self.over is None else list(figures[self.over])
        if len(against) == 1:
            against *= len(values)
        gaps = [v - a for v, a in zip(values, against, strict=True)]
        if not self.each:
            gaps = [sum(gaps) / len(gaps)]
        slack = 1e-12  # 0.58 - 0.5 is not 0.08
        if self.relation == "at_least":
            return all(gap >= self.threshold - slack for gap in gaps)
        if self.relation == "at_most":
            return all(gap <= self.threshold + slack for gap in gaps)
        return all(abs(gap) <= self.threshold + slack for gap in gaps)

    def __str__(self) -> str:
        if self.relation == "within":
            text = f"{self.figure} = {self.over or 0} ± {self.threshold:g}"
        elif self.over is None:
            text = f"{self.figure} {RELATIONS[self.relation]} {self.threshold:g}"
        else:
            sign = "+" if self.threshold >= 0 else "-"
            shift = f" {sign} {abs(self.threshold):g}" if self.threshold else ""
            text = f"{self.figure} {RELATIONS[self.relation]} {self.over}{shift}"
        if self.each:
            text += " (every seed)"
        return text if self.was is None else f"{text} [card: {self.was:g}]"


def at_least(
    figure: str,
    threshold: float,
    *,
    over: str | None = None,
    each: bool = False,
    was: float | None = None,
    why: str | None = None,
) -> Bound:
    """``figure >= threshold``, or ``figure >= over + threshold``; of the mean over seeds, or of ``each`` seed."""
    return Bound(figure, "at_least", threshold, over, each, was, why)


def at_most(
    figure: str,
    threshold: float,
    *,
    over: str | None = None,
    each: bool = False,
    was: float | None = None,
    why: str | None = None,
) -> Bound:
    """``figure <= threshold``, or ``figure <= over + threshold``; of the mean over seeds, or of ``each`` seed."""
    return Bound(figure, "at_most", threshold, over, each, was, why)


def within(
    figure: str,
    tolerance: float,
    *,
    of: str | None = None,
    each: bool = False,
    was: float | None = None,
    why: str | None = None,
) -> Bound:
    """``|figure - of| <= tolerance``; ``of`` is another figure of the row, None is zero."""
    return Bound(figure, "within", tolerance, of, each, was, why)


@dataclass(frozen=True)
class Row:
    """One check of a card: figures by name, the method's first, one value a seed (or one in all), and their bounds."""

    check: str
    figures: dict[str, list[float]]
    bounds: list[Bound]
    unit: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        figures = {k: [float(v) for v in values] for k, values in self.figures.items()}
        object.__setattr__(self, "figures", figures)
        if not figures or not self.bounds:
            raise ConfigError(f"check {self.check!r}: give at least one figure and one bound")
        for name, values in figures.items():
            if not values:
                raise ConfigError(f"check {self.check!r}: figure {name!r} has no value")
        for bound in self.bounds:
            for name in (bound.figure, bound.over):
                if name is not None and name not in figures:
                    raise ConfigError(f"check {self.check!r}: bound on {name!r}, which is not among its figures")

    @property
    def holds(self) -> bool:
        """Whether every bound holds."""
        return all(bound.holds(self.figures) for bound in self.bounds)

    @property
    def broken(self) -> list[Bound]:
        """The bounds that do not hold."""
        return [bound for bound in self.bounds if not bound.holds(self.figures)]

    @property
    def seeds(self) -> int:
        """How many seeds its figures are over."""
        return max(len(values) for values in self.figures.values())

    def mean(self, figure: str) -> float:
        """Mean of a figure over seeds."""
        values = self.figures[figure]
        return sum(values) / len(values)


@dataclass(frozen=True)
class Claim:
    """What a run found: the rows of checks, and what of the card is ``left`` out and why.

    ``seconds``, ``version`` and ``digest`` (of the check's code) are filled in by :func:`run`.
    """

    slug: str
    rows: list[Row]
    left: tuple[str, ...] = ()
    note: str = ""
    seconds: float = math.nan
    version: str = ""
    digest: str = field(default="", compare=False)

    @property
    def holds(self) -> bool:
        """Whether every check that was run holds."""
        return bool(self.rows) and all(row.holds for row in self.rows)

    @property
    def state(self) -> str:
        """``works`` when every check holds and nothing of the card is left out, ``partial`` otherwise."""
        return "works" if self.holds and not self.left else "partial"

    @property
    def why(self) -> str:
        """In a few words, why the claim does not simply work; empty when it does."""
        broken = [row.check for row in self.rows if not row.holds]
        parts = [f"does not hold: {', '.join(broken)}"] if broken else []
        parts += [f"left: {'; '.join(self.left)}"] if self.left else []
        return ". ".join(parts)

    def as_json(self) -> dict[str, Any]:
        """JSON-ready; a figure that is not finite is None. :meth:`from_json` reads it back."""
        document = asdict(self)
        document["rows"] = [
            {
                **asdict(row),
                "figures": {k: [_number(v) for v in values] for k, values in row.figures.items()},
                "holds": row.holds,
            }
            for row in self.rows
        ]
        document |= {"seconds": _number(self.seconds), "holds": self.holds, "state": self.state, "why": self.why}
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Claim:
        """A claim written by :meth:`as_json`."""
        rows = [
            Row(
                check=row["check"],
                figures={k: [math.nan if v is None else v for v in values] for k, values in row["figures"].items()},
                bounds=[Bound(**bound) for bound in row["bounds"]],
                unit=row["unit"],
                note=row["note"],
            )
            for row in document["rows"]
        ]
        seconds = document["seconds"]
        return cls(
            slug=document["slug"],
            rows=rows,
            left=tuple(document["left"]),
            note=document["note"],
            seconds=math.nan if seconds is None else seconds,
            version=document["version"],
            digest=document["digest"],
        )


DATA = "GUERDON_DATA"
"""The environment variable that names a folder of real data, for the checks of cards that ask for some."""


def real_data(*parts: str) -> Path | None:
    """A file or folder of real data, None where it is not at hand (the check then names it in ``left``)."""
    folder = os.environ.get(DATA, "")
    path = Path(folder, *parts)
    return path if folder and path.exists() else None


def run(slug: str, budget: Budget | None = None) -> Claim:
    """Run the check of the paper called ``slug``; raises :class:`ConfigError` where there is none."""
    from guerdon import __version__
    from guerdon.papers.index import paper
    from guerdon.papers.record import digest, implemented

    found = paper(slug)
    if slug not in implemented():
        raise ConfigError(f"paper {slug!r} has no check yet; those that have one: {', '.join(implemented())}")
    module = import_module(found.module)
    start = time.perf_counter()
    claim = module.check(budget or Budget())
    seconds = round(time.perf_counter() - start, 2)
    return replace(claim, slug=slug, seconds=seconds, version=__version__, digest=digest(slug))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None

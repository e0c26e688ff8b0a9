"""A benchmark that is more than asking a reward about pairs: it fits a probe, or trains a recipe, and counts items.

Its result is a :class:`~guerdon.bench.suites.run.SuiteResult` all the same: items with credits in subsets, summed up by
the study, so that reports, ``--json`` and ``guerdon bench compare`` know nothing of the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np

from guerdon.bench.intervals import ClusterBootstrap, Figure
from guerdon.bench.suites.result import SuiteResult
from guerdon.bench.suites.sheet import Sheet, against, figure_of, rate_of
from guerdon.bench.suites.suite import Cells, Table, overall

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Study:
    """A benchmark with a protocol of its own.

    name, what, source, paper   as of a :class:`~guerdon.bench.suites.suite.Suite`
    subject   what is measured, in a word: a reward, an encoder, a model of ``guerdon fit``
    measure   (study, subject as on the command line, data folder, limit=, bootstrap=, seed=, settings...) to the result
    summary   :class:`~guerdon.bench.suites.suite.Cells` to the figures by name, the first one is the headline
    settings  what ``--set KEY=VALUE`` knows, by name
    parts     whether ``measure`` takes ``progress``, called with (what is measured, parts done, parts in all)
    columns   head to figure of a table with a row for the subject and each baseline, where these are as interesting
    """

    name: str
    what: str
    source: str
    subject: str
    measure: Callable[..., SuiteResult]
    summary: Callable[[Cells], Table] = overall
    paper: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    parts: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)

    def table(self, result: SuiteResult) -> tuple[list[str], list[list[str]]]:
        """(heads, rows) of :attr:`columns`: the subject's figures, then each baseline's, with half their interval."""
        each = [(result.reward, result.figures), *((b.name, b.figures) for b in result.baselines)]
        columns = {head: name for head, name in self.columns.items() if name in result.figures}
        return ["", *columns], [[who, *(within(f.get(name)) for name in columns.values())] for who, f in each]


def within(figure: Figure | None) -> str:
    """``0.561 ±0.020``: a figure and half of its interval."""
    if figure is None or np.isnan(figure.value):
        return "-"
    half = (figure.high - figure.low) / 2
    return f"{figure.value:.3f}" + ("" if np.isnan(half) else f" ±{half:.3f}")


@dataclass(frozen=True)
class Rival:
    """A baseline: what it is in words, and what it earned on the same items."""

    what: str
    credit: np.ndarray


def tally(
    study: Study,
    subject: str,
    subset: Sequence[str],
    credit: np.ndarray,
    *,
    rivals: Mapping[str, Rival] | None = None,
    cluster: np.ndarray | None = None,
    over: str = "prompts",
    ids: Sequence[str] | None = None,
    extra: Mapping[str, float] | None = None,
    facts: Mapping[str, int] | None = None,
    reasons: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> SuiteResult:
    """The result of a study from I items.

    subset   [I] names
    credit   float64 [I] what each item earned, NaN leaves it out
    rivals   baselines on the same items, by name
    cluster  int [I] what the bootstrap draws whole; None draws items
    over     what the clusters are, in the plural
    settings what the result depends on; ``data`` names the data, here made to name the items as well, so that results
             with other people, prompts or shots are not compared item by item
    """
    place = {name: i for i, name in enumerate(dict.fromkeys(map(str, subset)))}  # in the order of the items
    code = np.array([place[str(name)] for name in subset], dtype=np.int64)
    unit = np.arange(len(credit)) if cluster is None else np.unique(cluster, return_inverse=True)[1]
    sheet = Sheet(unit, code, tuple(place), np.asarray(credit, dtype=np.float64))
    draw = ClusterBootstrap(int(unit.max(initial=-1)) + 1, replicates=bootstrap, seed=seed)
    cells = sheet.cells(draw)
    rows = study.summary(cells)
    named = list(ids) if ids is not None else [str(i) for i in range(len(sheet.credit))]
    settings = dict(settings or {})
    said = repr((settings.get("data"), named, [str(s) for s in subset], unit.tolist()))
    settings["data"] = blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return SuiteResult(
        suite=study.name,
        reward=subject,
        figures={name: figure_of(draw, row, sheet) for name, row in rows.items()},
        subsets={
            name: rate_of(draw, row, sheet, code == i)
            for i, (name, row) in enumerate(zip(sheet.names, cells.rate.T, strict=True))
        },
        baselines=tuple(
            against(name, rival.what, draw, study, sheet, Sheet(unit, code, sheet.names, rival.credit), rows)
            for name, rival in (rivals or {}).items()
        ),
        confounds={},
        extra=dict(extra or {}),
        facts={"items": len(sheet.credit), over: draw.clusters, **(facts or {})},
        reasons=dict(reasons or {}),
        notes=tuple(notes),
        settings={"over": over, "bootstrap": bootstrap, "seed": seed, **settings},
        items={
            "id": named,
            "subset": [sheet.names[k] for k in code.tolist()],
            "prompt": unit.tolist(),
            "credit": [None if np.isnan(c) else float(c) for c in sheet.credit],
        },
    )

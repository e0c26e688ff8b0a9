"""A reward on a suite: figures with intervals over prompts, baselines on the same items, every item kept.

All figures of a suite are functions of its subsets' rates. One set of bootstrap replicates over whole prompts gives
replicate rates, the suite's own summary is applied to each replicate, and so weights, sections and matrices have
intervals without a formula of their own; the difference to a baseline is taken replicate by replicate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np

from guerdon.bench.baselines import BASELINES, make_baselines
from guerdon.bench.intervals import ClusterBootstrap, Figure, clusters_of, wilson
from guerdon.bench.scoring import only_compares
from guerdon.bench.suites import crossfitted
from guerdon.bench.suites.crossfitted import cross_fitted
from guerdon.bench.suites.items import Duels, Said, ask, by_chance, credits, duels_of
from guerdon.bench.suites.media import unseen
from guerdon.bench.suites.suite import FEW, Cells, Suite, Table
from guerdon.errors import ConfigError, FeedbackError, GuerdonError
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward

NO_SUBSET = "all"
MATCHED = (0.8, 1.25)
"""Ratio of lengths within which the two responses of a duel count as equally long."""


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


@dataclass(frozen=True)
class Sheet:
    """The items of a suite and what they earned: codes int [I], ``subset`` codes into ``names``, ``credit`` [I]."""

    cluster: np.ndarray
    subset: np.ndarray
    names: tuple[str, ...]
    credit: np.ndarray

    def cells(self, draw: ClusterBootstrap) -> Cells:
        """Row 0 what was earned, the others replicates; items without credit are left out."""
        counted = ~np.isnan(self.credit)
        cluster, subset, s = self.cluster[counted], self.subset[counted], len(self.names)
        both = []
        for values in (self.credit[counted], np.ones(int(counted.sum()))):
            once = np.bincount(subset, weights=values, minlength=s)[None]
            both.append(np.concatenate([once, draw.cell_sums(cluster, subset, s, values)]))
        return Cells(self.names, *both)


class Summed(Protocol):
    """Whatever sums up subsets: a suite, or a study."""

    @property
    def summary(self) -> Callable[[Cells], Table]:
        """Cells to the figures by name, the first one is the headline."""
        ...


def run(
    reward: Reward,
    suite: Suite,
    feedback: Feedback,
    *,
    baselines: Sequence[str] | None = None,
    cross_fit: bool = False,
    progress: bool = False,
    train: Feedback | None = None,
    limit: int | None = None,
    partial: bool = False,
    bootstrap: int = 1000,
    seed: int = 0,
) -> SuiteResult:
    """Measure ``reward`` on the data of ``suite``.

    baselines  names of :data:`guerdon.bench.baselines.BASELINES`; None is all that can be had
    cross_fit  also measure what frozen features learn from the suite's own labels (see :mod:`.crossfitted`)
    progress   show how far the encoding of texts is
    train      feedback that ``majority`` and ``population`` are fitted to
    limit      measure so many judgements only, drawn evenly over the subsets (a smoke run; intervals say how rough)
    partial    go on where subsets that the suite expects are missing

    Raises
    ------
    ConfigError
        if expected subsets are missing and ``partial`` was not said
    FeedbackError
        if no response is better than another one
    """
    notes = [*suite.notes, *feedback.notes, *unseen(reward, feedback)]
    missing = sorted(set(suite.expected) - set(feedback.subsets))
    if missing:
        some = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        if not partial:
            raise ConfigError(f"suite {suite.name}: the data lack {some}; complete them, or go on with --partial")
        notes.append(f"partial: without {some}")
    if limit is not None and limit < len(feedback):
        notes.append(f"a smoke run of {limit} of {len(feedback)} judgements")
        feedback = feedback.take(some_of(feedback, limit, seed))
    duels = duels_of(feedback)
    if not len(duels):
        raise FeedbackError(f"suite {suite.name}: no response is graded above another one; there is nothing to rank")
    clusters = clusters_of(feedback, "prompt")
    draw = ClusterBootstrap(clusters.count, replicates=bootstrap, seed=seed)
    said = ask(reward, feedback, duels)
    sheet, judgement = sheet_of(suite, feedback, duels, said, clusters.code, only_compares(reward))
    cells = sheet.cells(draw)
    rows = suite.summary(cells)
    figures = {name: figure_of(draw, row, sheet) for name, row in rows.items()}
    made, why = make_baselines(reward, train, tuple(baselines) if baselines is not None else None, seed)
    others = []
    for name, other in made.items():
        heard = ask(other, feedback, duels)
        theirs, _ = sheet_of(suite, feedback, duels, heard, clusters.code, only_compares(other))
        if name == "random":
            theirs = _expected(suite, duels, theirs)
        others.append(against(name, BASELINES[name], draw, suite, sheet, theirs, rows))
    if cross_fit:
        try:
            theirs, _ = sheet_of(
                suite, feedback, duels, cross_fitted(feedback, duels, seed, progress=progress), clusters.code, False
            )
            others.append(against(crossfitted.NAME, crossfitted.WHAT, draw, suite, sheet, theirs, rows))
        except GuerdonError as error:
            why.append(f"no {crossfitted.NAME} baseline: {error}")
    longer, level = _lengths(feedback, duels)
    strict = np.where(np.isnan(said.won), np.nan, said.won == 1)
    at = clusters.code[duels.judgement]
    even, known = level & ~np.isnan(strict), ~np.isnan(strict)
    confounds = {
        "longer wins": draw.ratio(at, longer),
        "all duels": draw.ratio(at[known], strict[known]),
        "duels of equal length": draw.ratio(at[even], strict[even]),
    }
    ids = feedback.id.to_pylist() if feedback.id is not None else [None] * len(feedback)
    return SuiteResult(
        suite=suite.name,
        reward=reward.name,
        figures=figures,
        subsets={
            name: rate_of(draw, row, sheet, sheet.subset == i)
            for i, (name, row) in enumerate(zip(sheet.names, cells.rate.T, strict=True))
        },
        baselines=tuple(others),
        confounds=confounds,
        extra=suite.extra(feedback, duels, said) if suite.extra else {},
        facts={
            "judgements": len(feedback),
            "items": len(sheet.credit),
            "duels": len(duels),
            "prompts": clusters.count,
            "tied duels": int((said.won == 0.5).sum()),
            "unscored duels": int(np.isnan(said.won).sum()),
        },
        reasons=dict(Counter(said.reasons).most_common()),
        notes=tuple(notes + why),
        settings={
            "rule": suite.rule,
            "unit": suite.unit,
            "bootstrap": bootstrap,
            "seed": seed,
            "limit": limit,
            "data": digest_of(feedback),
        },
        items={
            "id": [ids[j] or str(j) for j in judgement.tolist()],
            "subset": [sheet.names[k] for k in sheet.subset.tolist()],
            "prompt": sheet.cluster.tolist(),
            "credit": [None if np.isnan(c) else float(c) for c in sheet.credit],
        },
    )


def sheet_of(
    suite: Suite, feedback: Feedback, duels: Duels, said: Said, code: np.ndarray, compares: bool
) -> tuple[Sheet, np.ndarray]:
    """(what each item earns by the suite's rule, the judgement of each item); ``code`` [J] are the clusters."""
    rule, unscored = suite.compared if compares and suite.compared else (suite.rule, suite.unscored)
    judgement, credit = credits(said, duels, suite.unit, rule)
    if suite.credit is not None:
        credit = suite.credit(feedback, said, judgement, credit)
    if unscored is not None:
        credit = np.where(np.isnan(credit), unscored, credit)
    if suite.subset is not None:
        labels = suite.subset(feedback, duels)
    else:
        table = [*feedback.subsets, NO_SUBSET]
        labels = [table[k] for k in feedback.subset[judgement].tolist()]
    names, subset = np.unique(np.array(labels, dtype=object).astype(str), return_inverse=True)
    return Sheet(code[judgement], subset, tuple(names.tolist()), credit), judgement


def _expected(suite: Suite, duels: Duels, theirs: Sheet) -> Sheet:
    """A coin's credit in expectation, where it has a closed form, instead of one throw's."""
    chance = by_chance(duels, suite.unit, suite.rule)
    return Sheet(theirs.cluster, theirs.subset, theirs.names, np.where(np.isnan(chance), theirs.credit, chance))


def against(
    name: str,
    what: str,
    draw: ClusterBootstrap,
    suite: Summed,
    mine: Sheet,
    theirs: Sheet,
    rows: Mapping[str, np.ndarray],
) -> Baseline:
    """A baseline on the same items, with the differences to it replicate by replicate."""
    their_rows = suite.summary(theirs.cells(draw))
    figures = {k: figure_of(draw, row, theirs) for k, row in their_rows.items()}
    gap = {k: figure_of(draw, rows[k] - row, mine) for k, row in their_rows.items()}
    return Baseline(name, what, figures, gap)


def figure_of(draw: ClusterBootstrap, row: np.ndarray, sheet: Sheet, inside: np.ndarray | None = None) -> Figure:
    """A replicated figure of the items (those ``inside``) with its interval."""
    counted = ~np.isnan(sheet.credit) if inside is None else inside & ~np.isnan(sheet.credit)
    return draw.figure(float(row[0]), row[1:], int(counted.sum()), len(np.unique(sheet.cluster[counted])))


def items_of(figure: Figure) -> str:
    """How many items a subset has, for a table, with a mark where they are of too few prompts to say much."""
    return f"{figure.n:,}{' (few)' if figure.clusters < FEW else ''}"


def rate_of(draw: ClusterBootstrap, row: np.ndarray, sheet: Sheet, inside: np.ndarray) -> Figure:
    """A subset's mean credit. Where it counts rights and wrongs of few prompts, or all are the same, it has Wilson's
    interval: a bootstrap's is too short there.
    """
    found = figure_of(draw, row, sheet, inside)
    credit = sheet.credit[inside]
    counts = bool(np.isin(credit[~np.isnan(credit)], (0.0, 1.0)).all())
    if not counts or not len(draw.weights) or not (found.clusters < FEW or found.value in (0.0, 1.0)):
        return found
    low, high = wilson(found.value, found.clusters, draw.level)
    return replace(found, low=low, high=high)


def some_of(feedback: Feedback, limit: int, seed: int) -> np.ndarray:
    """``limit`` judgements, the subsets in turn, so that a smoke run sees all of them."""
    order = np.random.default_rng(seed).permutation(len(feedback))
    subset = feedback.subset[order]
    by_subset = np.argsort(subset, kind="stable")
    _, start, size = np.unique(subset[by_subset], return_index=True, return_counts=True)
    turn = np.empty(len(order), dtype=np.int64)
    turn[by_subset] = np.arange(len(order)) - np.repeat(start, size)
    return np.sort(order[np.argsort(turn, kind="stable")[:limit]])


def _lengths(feedback: Feedback, duels: Duels) -> tuple[np.ndarray, np.ndarray]:
    """(1 where the right response is longer, 0.5 where both are equally long, 0 otherwise; lengths alike) [D]."""
    from guerdon.reward.baselines import Length

    length = Length().score(feedback.candidates).value
    right, wrong = length[duels.right], length[duels.wrong]
    share = right / np.maximum(wrong, 1)
    return np.heaviside(right - wrong, 0.5), (share >= MATCHED[0]) & (share <= MATCHED[1])


def digest_of(feedback: Feedback) -> str:
    """A short name for the data: equal where two results can be compared item by item."""
    digest = blake2b(digest_size=8)
    for column in (feedback.prompts, feedback.responses):
        for buffer in column.buffers():
            digest.update(buffer or b"")
    for column in (feedback.offsets, feedback.items, feedback.grades):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


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
        return SuiteResult(**plain, baselines=baselines, notes=tuple(document["notes"]))
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{where} is a damaged result of guerdon bench ({error}); measure again") from None

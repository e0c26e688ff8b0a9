"""A reward on a suite: figures with intervals over prompts, baselines on the same items, every item kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np

from guerdon.bench.baselines import BASELINES, make_baselines
from guerdon.bench.intervals import ClusterBootstrap, Figure, clusters_of
from guerdon.bench.scoring import only_compares
from guerdon.bench.suites import crossfitted
from guerdon.bench.suites.crossfitted import cross_fitted
from guerdon.bench.suites.items import Duels, Said, ask, by_chance, credits, duels_of
from guerdon.bench.suites.media import unseen
from guerdon.bench.suites.result import SuiteResult
from guerdon.bench.suites.sheet import Sheet, against, figure_of
from guerdon.bench.suites.suite import Suite
from guerdon.errors import ConfigError, FeedbackError, GuerdonError
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward

NO_SUBSET = "all"
MATCHED = (0.8, 1.25)
"""Ratio of lengths within which the two responses of a duel count as equally long."""
WHAT = {**BASELINES, crossfitted.NAME: crossfitted.WHAT}
"""What each baseline of a suite is."""


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
    notes += _missing(suite, feedback, partial)
    whole = len(feedback)
    feedback = limited(feedback, limit, seed)
    if len(feedback) < whole:
        notes.append(f"a smoke run of {limit} of {whole} judgements")
    asked = questions(suite, feedback)
    beside = getattr(reward, "beside", None)
    reward = beside(feedback) if beside else reward  # scores that a file has by the items' ids
    said = asked.put_to(reward)
    sheet, judgement = asked.sheet(said, only_compares(reward))
    draw = ClusterBootstrap(asked.prompts, replicates=bootstrap, seed=seed)
    cells = sheet.cells(draw)
    rows = suite.summary(cells)
    rivals, why = _rivals(asked, reward, baselines, train, seed)
    if cross_fit:
        try:
            heard = cross_fitted(feedback, asked.duels, seed, progress=progress)
            rivals[crossfitted.NAME] = asked.sheet(heard, compares=False)[0]
        except GuerdonError as error:
            why.append(f"no {crossfitted.NAME} baseline: {error}")
    ids = feedback.id.to_pylist() if feedback.id is not None else [None] * len(feedback)
    return SuiteResult(
        suite=suite.name,
        reward=reward.name,
        figures={name: figure_of(draw, row, sheet) for name, row in rows.items()},
        subsets=sheet.rates(draw, cells),
        baselines=tuple(against(name, WHAT[name], draw, suite, sheet, other, rows) for name, other in rivals.items()),
        confounds=_confounds(asked, said, draw),
        extra=suite.extra(feedback, asked.duels, said) if suite.extra else {},
        facts={
            "judgements": len(feedback),
            "items": len(sheet.credit),
            "duels": len(asked.duels),
            "prompts": asked.prompts,
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
        items=sheet.items([ids[j] or str(j) for j in judgement.tolist()]),
    )


@dataclass(frozen=True)
class Questions:
    """The duels that ``suite`` makes of ``feedback``, and the prompt int [J] of each judgement, of so many."""

    suite: Suite
    feedback: Feedback
    duels: Duels
    prompt: np.ndarray
    prompts: int

    def put_to(self, reward: Reward) -> Said:
        """What ``reward`` says of each duel."""
        return ask(reward, self.feedback, self.duels)

    def sheet(self, said: Said, compares: bool) -> tuple[Sheet, np.ndarray]:
        """(what each item earns by the suite's rule, the judgement int [I] of each item).

        compares   what was said comes from a reward that only compares, for which the suite may have another rule
        """
        suite, feedback = self.suite, self.feedback
        rule, unscored = suite.compared if compares and suite.compared else (suite.rule, suite.unscored)
        judgement, credit = credits(said, self.duels, suite.unit, rule)
        if suite.credit is not None:
            credit = suite.credit(feedback, said, judgement, credit)
        if unscored is not None:
            credit = np.where(np.isnan(credit), unscored, credit)
        if suite.subset is not None:
            labels = suite.subset(feedback, self.duels)
        else:
            table = [*feedback.subsets, NO_SUBSET]
            labels = [table[k] for k in feedback.subset[judgement].tolist()]
        names, subset = np.unique(np.array(labels, dtype=object).astype(str), return_inverse=True)
        return Sheet(self.prompt[judgement], subset, tuple(names.tolist()), credit), judgement

    def of(self, rows: np.ndarray, feedback: Feedback) -> Questions:
        """The same questions about the judgements ``rows`` only, in the wording that ``feedback`` gives them."""
        return Questions(self.suite, feedback, duels_of(feedback), self.prompt[rows], self.prompts)


def questions(suite: Suite, feedback: Feedback) -> Questions:
    """What ``suite`` asks about ``feedback``.

    Raises
    ------
    FeedbackError
        if no response is better than another one
    """
    duels = duels_of(feedback)
    if not len(duels):
        raise FeedbackError(f"suite {suite.name}: no response is graded above another one; there is nothing to rank")
    clusters = clusters_of(feedback, "prompt")
    return Questions(suite, feedback, duels, clusters.code, clusters.count)


def _missing(suite: Suite, feedback: Feedback, partial: bool) -> list[str]:
    """A note on the subsets that the suite expects and the data lack; an error unless ``partial``."""
    missing = sorted(set(suite.expected) - set(feedback.subsets))
    if not missing:
        return []
    some = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    if not partial:
        raise ConfigError(f"suite {suite.name}: the data lack {some}; complete them, or go on with --partial")
    return [f"partial: without {some}"]


def _rivals(
    asked: Questions, reward: Reward, names: Sequence[str] | None, train: Feedback | None, seed: int
) -> tuple[dict[str, Sheet], list[str]]:
    """(what the usual baselines earn on the same items, sentences on those that cannot be had)."""
    made, why = make_baselines(reward, train, None if names is None else tuple(names), seed)
    sheets = {name: asked.sheet(asked.put_to(other), only_compares(other))[0] for name, other in made.items()}
    if "random" in sheets:
        # a coin's credit in expectation, where it has a closed form, instead of one throw's
        chance, thrown = by_chance(asked.duels, asked.suite.unit, asked.suite.rule), sheets["random"]
        sheets["random"] = replace(thrown, credit=np.where(np.isnan(chance), thrown.credit, chance))
    return sheets, why


def _confounds(asked: Questions, said: Said, draw: ClusterBootstrap) -> dict[str, Figure]:
    """How often the longer response is the right one, and how often the reward is right where lengths are equal."""
    from guerdon.reward.baselines import Length

    duels = asked.duels
    length = Length().score(asked.feedback.candidates).value
    right, wrong = length[duels.right], length[duels.wrong]
    share = right / np.maximum(wrong, 1)
    level = (share >= MATCHED[0]) & (share <= MATCHED[1])
    prompt, known = asked.prompt[duels.judgement], ~np.isnan(said.won)
    won = said.won == 1
    return {
        "longer wins": draw.ratio(prompt, np.heaviside(right - wrong, 0.5)),
        "all duels": draw.ratio(prompt[known], won[known]),
        "duels of equal length": draw.ratio(prompt[level & known], won[level & known]),
    }


def limited(feedback: Feedback, limit: int | None, seed: int) -> Feedback:
    """``limit`` judgements of ``feedback``, drawn evenly over the subsets; all of them where there are no more."""
    return feedback if limit is None or limit >= len(feedback) else feedback.take(some_of(feedback, limit, seed))


def some_of(feedback: Feedback, limit: int, seed: int) -> np.ndarray:
    """``limit`` judgements, the subsets in turn, so that a smoke run sees all of them."""
    order = np.random.default_rng(seed).permutation(len(feedback))
    subset = feedback.subset[order]
    by_subset = np.argsort(subset, kind="stable")
    _, start, size = np.unique(subset[by_subset], return_index=True, return_counts=True)
    turn = np.empty(len(order), dtype=np.int64)
    turn[by_subset] = np.arange(len(order)) - np.repeat(start, size)
    return np.sort(order[np.argsort(turn, kind="stable")[:limit]])


def digest_of(feedback: Feedback) -> str:
    """A short name for the data: equal where two results can be compared item by item."""
    digest = blake2b(digest_size=8)
    for column in (feedback.prompts, feedback.responses):
        for buffer in column.buffers():
            digest.update(buffer or b"")
    for column in (feedback.offsets, feedback.items, feedback.grades):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()

"""What a reward makes of rewordings: accuracy before and after, flips, and the worst that any of them does.

A transform is measured on the judgements that it changed and that have a score on both sides: before and after are of
the same items, so that a transform which changes little does not look harmless. Figures are those of the suite, with
its weights; their drop has a paired interval over prompts. What else is said of a transform:

flips   share of the duels that come out otherwise than before (a tie counts as an outcome)
shift   mean change of a score, in standard deviations of the scores; rewards that only compare have none
inert   no score moved at all: the reward cannot see the change, which is not the same as withstanding it

The worst case of an item is the least that it earns as it is or under any of the transforms. It falls with every
transform that is added, so it is to be compared at the same transforms only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from guerdon.bench.intervals import ClusterBootstrap, Figure
from guerdon.bench.scoring import only_compares
from guerdon.bench.suites.run import Questions, questions
from guerdon.bench.suites.sheet import Sheet, figure_of
from guerdon.bench.suites.suite import Suite, Table
from guerdon.feedback.star import Feedback
from guerdon.generate.base import LanguageModel
from guerdon.generate.rewordings.apply import Reworded, cases_of, reworded
from guerdon.generate.rewordings.transform import Transform
from guerdon.reward.base import Reward

SAME = 1e-4
"""Standard deviations of the scores below which a score has not moved."""
COLUMNS = ("before", "after", "drop")


@dataclass(frozen=True)
class Effect:
    """What one transform does.

    figures    each figure of the suite before, after, and the drop
    items      how many items were reworded and scored on both sides
    unscored   reworded items left out because one side has no score
    unchanged  judgements left out because the transform did not change them, by reason
    """

    name: str
    family: str
    keeps: str
    what: str
    figures: dict[str, dict[str, Figure]]
    flips: Figure
    shift: float
    inert: bool
    items: int
    unscored: int
    unchanged: Counter[str] = field(default_factory=Counter)

    @property
    def drop(self) -> Figure:
        """The drop of the headline."""
        return next(iter(self.figures.values()))["drop"] if self.figures else Figure(np.nan, np.nan, np.nan, 0, 0)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **{k: getattr(self, k) for k in ("name", "family", "keeps", "what", "inert", "items", "unscored")},
            "figures": {k: {c: f.to_dict() for c, f in row.items()} for k, row in self.figures.items()},
            "flips": self.flips.to_dict(),
            "shift": None if np.isnan(self.shift) else self.shift,
            "unchanged": dict(self.unchanged),
        }


@dataclass(frozen=True)
class Robustness:
    """What all transforms do: each by itself, mean drops by family, and the worst case, before and drop."""

    effects: tuple[Effect, ...]
    families: dict[str, Figure]
    worst: dict[str, Figure]
    notes: tuple[str, ...] = ()
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "transforms": [e.to_dict() for e in self.effects],
            "families": {k: f.to_dict() for k, f in self.families.items()},
            "worst case": {k: f.to_dict() for k, f in self.worst.items()},
            "notes": list(self.notes),
            "seed": self.seed,
        }


def measure(
    reward: Reward,
    suite: Suite,
    feedback: Feedback,
    transforms: Sequence[Transform],
    *,
    language_model: LanguageModel | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Robustness:
    """``reward`` on ``feedback`` as it is and as each of ``transforms`` words it, by the protocol of ``suite``.

    Transforms that a language model writes are left out, with a note, where there is none.

    Raises
    ------
    FeedbackError
        if no response is better than another one
    """
    suite = replace(suite, unscored=None, compared=suite.compared and (suite.compared[0], None))
    asked = questions(suite, feedback)
    draw = ClusterBootstrap(asked.prompts, replicates=bootstrap, seed=seed)
    plain = _Plain(asked, reward, draw)
    cases = cases_of(feedback)
    notes, effects, gaps = [], [], {}
    worst = plain.sheet.credit.copy()
    for transform in transforms:
        if transform.written and language_model is None:
            notes.append(f"no {transform.name}: a language model writes it; name one with --paraphraser")
            continue
        new = reworded(feedback, transform, seed=seed, language_model=language_model, cases=cases)
        if not new.changed.any():
            why = ", ".join(f"{n} {reason}" for reason, n in new.reasons.most_common())
            notes.append(f"{transform.name} changes nothing here ({why})")
            continue
        effect, gap, at, credit = plain.under(transform, new)
        worst[at] = np.minimum(worst[at], credit)
        effects.append(effect)
        if gap is not None:
            gaps[transform.name] = gap
    inert = ", ".join(e.name for e in effects if e.inert)
    if inert:
        notes.append(f"inert, for this reward sees no difference, which is no robustness: {inert}")
    return Robustness(
        tuple(effects), _families(draw, effects, gaps), _worst(suite, draw, plain.sheet, worst), tuple(notes), seed
    )


class _Plain:
    """What the reward says of the items as they are, against which every rewording of them is held."""

    def __init__(self, asked: Questions, reward: Reward, draw: ClusterBootstrap) -> None:
        self.asked, self.reward, self.draw = asked, reward, draw
        self.compares = only_compares(reward)
        self.said = asked.put_to(reward)
        self.sheet, self.judgement = asked.sheet(self.said, self.compares)
        self.sd = np.nan if self.said.score is None else float(np.nanstd(self.said.score))

    def under(self, transform: Transform, new: Reworded) -> tuple[Effect, np.ndarray | None, np.ndarray, np.ndarray]:
        """(the effect, replicates of the headline's drop, items [k] scored on both sides, their credit then [k])."""
        rows = np.flatnonzero(new.changed)
        asked = self.asked.of(rows, new.feedback.take(rows))
        said = asked.put_to(self.reward)
        after, _ = asked.sheet(said, self.compares)
        inside = new.changed[self.judgement]
        both = ~np.isnan(self.sheet.credit[inside]) & ~np.isnan(after.credit)
        at, credit = np.flatnonzero(inside)[both], after.credit[both]
        before = Sheet(self.sheet.cluster[at], self.sheet.subset[at], self.sheet.names, self.sheet.credit[at])
        figures, gap = _paired(asked.suite, self.draw, before, replace(before, credit=credit))
        was, now = self.said.won[new.changed[self.asked.duels.judgement]], said.won
        known = ~np.isnan(was) & ~np.isnan(now)
        moved = _moved(self.said.score, said.score, np.repeat(new.changed, self.asked.feedback.sizes))
        effect = Effect(
            name=transform.name,
            family=transform.family,
            keeps=transform.keeps,
            what=transform.what,
            figures=figures,
            flips=self.draw.ratio(asked.prompt[asked.duels.judgement[known]], (was != now)[known]),
            shift=float(moved.mean() / self.sd) if len(moved) and self.sd > 0 else np.nan,
            inert=bool(len(moved)) and bool((moved <= SAME * max(self.sd, SAME)).all()),
            items=len(at),
            unscored=int((~both).sum()),
            unchanged=new.reasons,
        )
        return effect, gap, at, credit


def _paired(
    suite: Suite, draw: ClusterBootstrap, before: Sheet, after: Sheet
) -> tuple[dict[str, dict[str, Figure]], np.ndarray | None]:
    """(the suite's figures before, after and their drop; the headline's drops [1 + r], None where there is none)."""
    tables: list[Table] = [suite.summary(sheet.cells(draw)) for sheet in (before, after)]
    figures: dict[str, dict[str, Figure]] = {}
    first = None
    for name, old in tables[0].items():
        new = tables[1][name]
        if np.isnan(old[0]) or np.isnan(new[0]):
            continue
        rows = (old, new, old - new)
        figures[name] = {c: figure_of(draw, row, before) for c, row in zip(COLUMNS, rows, strict=True)}
        if first is None:
            first = old - new
    return figures, first


def _moved(before: np.ndarray | None, after: np.ndarray | None, inside: np.ndarray) -> np.ndarray:
    """How far each scored response moved; empty for rewards that only compare."""
    if before is None or after is None:
        return np.zeros(0)
    gap = np.abs(after - before[inside])
    return gap[~np.isnan(gap)]


def _families(draw: ClusterBootstrap, effects: Sequence[Effect], gaps: dict[str, np.ndarray]) -> dict[str, Figure]:
    """Mean drop of each family and of all, over its transforms that are not inert."""
    out = {}
    counted = [e for e in effects if e.name in gaps and not e.inert]
    for family in (*dict.fromkeys(e.family for e in counted), "all"):
        mine = [e for e in counted if family in (e.family, "all")]
        if not mine:
            continue
        rows = np.stack([gaps[e.name] for e in mine])
        kept = rows[:, ~np.isnan(rows).all(0)]
        mean = np.nanmean(kept, axis=0)
        out[family] = draw.figure(float(mean[0]), mean[1:], len(mine), draw.clusters)
    return out


def _worst(suite: Suite, draw: ClusterBootstrap, plain: Sheet, worst: np.ndarray) -> dict[str, Figure]:
    """The headline as it is, in the worst case, and the drop."""
    figures, _ = _paired(suite, draw, plain, replace(plain, credit=worst))
    return next(iter(figures.values()), {})

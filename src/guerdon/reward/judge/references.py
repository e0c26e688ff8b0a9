"""Comparisons as scores: the chance of a response against a reference, given, fixed for each prompt, or from its group.

===========================  =======================================================================================
:class:`AgainstReference`    P(response preferred to its prompt's anchor); comparable between prompts, and the mean is
                             the expected rate of wins
:class:`GroupReference`      +1, -1 or 0 (a tie) against one response of the same group, drawn at random: n - 1
                             comparisons for n responses, where all pairs need n (n - 1) / 2
===========================  =======================================================================================

An anchor must stay the same while scores are compared, and be replaced when nearly everything beats it: a chance near 1
says nothing more (:class:`Anchors`). The drawn reference is an exchangeable member of the group, so its scores have
mean zero without any normalization; dividing them by their spread would bring back how extreme the reference was.

References: Xu et al. 2025, A Unified Pairwise Framework for RLHF, https://arxiv.org/abs/2504.04950; Jia et al. 2025,
Writing-Zero, https://arxiv.org/abs/2506.00103.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import Text, pack
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores
from guerdon.reward.judge.asking import total
from guerdon.reward.judge.pairwise import lists_of

SCALES = ("chance", "centred", "log-odds")


class Anchors:
    """One response for each prompt that others are compared with, and how often they win.

    prompts, responses   the anchors, e.g. the answers before tuning
    limit                mean chance above which the anchors are :attr:`stale`
    memory               comparisons over which the mean is taken, about
    """

    def __init__(
        self, prompts: Sequence[Text], responses: Sequence[Text], *, limit: float = 0.85, memory: int = 1000
    ) -> None:
        if len(prompts) != len(responses):
            raise FeedbackError(f"anchors: {len(prompts)} prompts and {len(responses)} responses")
        self._texts: dict[str, Text] = {}
        self.limit, self.memory = limit, memory
        self.mean = float("nan")
        """Mean chance against the anchors of late; NaN before the first comparison."""
        self.refresh(prompts, responses)

    def __len__(self) -> int:
        return len(self._texts)

    def refresh(self, prompts: Sequence[Text], responses: Sequence[Text]) -> None:
        """Other anchors for these prompts; what the mean knew is forgotten."""
        self._texts |= {pack(p): r for p, r in zip(prompts, responses, strict=True)}
        self.mean = float("nan")

    def of(self, prompt: Text) -> Text | None:
        """The anchor of a prompt; None where there is none."""
        return self._texts.get(pack(prompt))

    def note(self, chances: np.ndarray) -> None:
        """Take new chances [n] against the anchors into the mean."""
        for chance in chances[np.isfinite(chances)].tolist():
            self.mean = chance if np.isnan(self.mean) else self.mean + (chance - self.mean) / self.memory

    @property
    def stale(self) -> bool:
        """Nearly everything beats the anchors: replace them with :meth:`refresh`."""
        return bool(self.mean > self.limit)


class AgainstReference(Reward):
    """P(response preferred to its anchor), by a reward that compares.

    A row without an anchor is unscored (``invalid``).

    Parameters
    ----------
    judge : compares, e.g. a :class:`~guerdon.reward.judge.pairwise.PairwiseJudge`
    anchors : :class:`Anchors`; None takes the reference answer of each row
    on : chance (0 to 1), centred (less 1/2) or log-odds
    clip : of log-odds, at either end
    """

    reads = ("criterion",)

    def __init__(self, judge: Reward, anchors: Anchors | None = None, *, on: str = "chance", clip: float = 4.0) -> None:
        if on not in SCALES:
            raise ConfigError(f"on={on!r}: use one of {', '.join(SCALES)}")
        if not clip > 0:
            raise ConfigError(f"clip={clip}: use a number above 0")
        self.judge, self.anchors, self.on, self.clip = judge, anchors, on, clip
        self.reads, self.sees = judge.reads, judge.sees
        self.name = f"{judge.name}-against-reference"

    def position_bias(self) -> Any:
        """The judge's, where it reports one."""
        return self.judge.position_bias()  # type: ignore[attr-defined]

    def score(self, candidates: Candidates) -> Scores:
        """The chances against the anchors, which are shown as responses, not as references."""
        n = len(candidates)
        given: list[Any] = [None] * n
        if self.anchors is not None:
            given = [self.anchors.of(prompt) for prompt in candidates.prompts]
        elif candidates.reference is not None:
            given = list(candidates.reference)
        rows = [i for i, r in enumerate(given) if isinstance(r, str | list)]
        a = candidates.take(rows)
        a = Candidates(a.prompts, a.responses, user=a.user, criterion=a.criterion, extra=a.extra)
        b = Candidates(a.prompts, [given[i] for i in rows], user=a.user, criterion=a.criterion, extra=a.extra)
        said = self.judge.prefer(a, b)
        if self.anchors is not None:
            self.anchors.note(said.value)
        value, status = np.full(n, np.nan), ["invalid"] * n
        reason: list[str | None] = ["no reference answer" if self.anchors is None else "no anchor for this prompt"] * n
        detail: dict[str, Any] = {name: [None] * n for name in said.detail}
        for k, i in enumerate(rows):
            value[i], status[i], reason[i] = self._scaled(said.value[k]), said.status[k], said.reason[k]
            for name in detail:
                detail[name][i] = said.detail[name][k]
        return Scores(value, status, reason, detail=detail, cost=said.cost)

    def _scaled(self, p: float) -> float:
        if self.on == "chance":
            return p
        if self.on == "centred":
            return p - 0.5
        with np.errstate(divide="ignore"):
            return float(np.clip(np.log(p) - np.log1p(-p), -self.clip, self.clip))


class GroupReference(Reward):
    """+1, -1 or 0 against one response of the group, drawn uniformly; the reference itself gets 0 and says so.

    A group in which (almost) all win or (almost) all lose has drawn an extreme reference and says nothing about the
    others: another reference is drawn, up to ``redraw`` times, and then the group is unscored (``abstained``). A group
    of one, as where completions of a prompt are spread over processes, is unscored (``invalid``).

    Parameters
    ----------
    judge : compares, e.g. a :class:`~guerdon.reward.judge.pairwise.PairwiseJudge`
    extreme : groups with ``|sum| >= extreme (n - 1)`` are dropped; None keeps all
    redraw : further references to try before a group is dropped
    seed : of the draw, which also depends on the texts of the group
    """

    in_groups = True

    def __init__(
        self, judge: Reward, *, extreme: float | None = 1.0, redraw: int = 0, seed: int | Sequence[int] = 0
    ) -> None:
        if extreme is not None and not 0 < extreme <= 1:
            raise ConfigError(f"extreme={extreme}: use a share above 0, at most 1, or None")
        if redraw < 0:
            raise ConfigError(f"redraw={redraw}: use 0 or more")
        self.judge, self.extreme, self.redraw, self.seed = judge, extreme, redraw, seed
        self.reads, self.sees = judge.reads, judge.sees
        self.name = f"{judge.name}-against-group"

    def position_bias(self) -> Any:
        """The judge's, where it reports one."""
        return self.judge.position_bias()  # type: ignore[attr-defined]

    def rank(self, candidates: Candidates, lists: Sequence[Any] | None = None) -> Scores:
        """Signs against the reference of each row's group (:func:`~.pairwise.lists_of`). ``detail``: ``reference``,
        the row of each row's reference; ``chance`` against it."""
        n = len(candidates)
        value = np.full(n, np.nan)
        status, reason = ["invalid"] * n, list[str | None](["no other response in its group"] * n)
        detail: dict[str, Any] = {"reference": [None] * n, "chance": [None] * n}
        groups = lists_of(candidates, lists)
        draws = [_references(candidates, texts, self.seed) for texts in groups]
        waiting = [g for g, texts in enumerate(groups) if sum(map(len, texts)) > 1]
        cost: dict[str, float] = {}
        for attempt in range(self.redraw + 1):
            waiting = [g for g in waiting if attempt < len(draws[g])]
            left, right, where = [], [], []
            for g in waiting:
                reference = draws[g][attempt]
                for texts in groups[g]:
                    if reference not in texts:
                        left.append(texts[0])
                        right.append(reference)
                        where.append((g, texts))
            said = self.judge.prefer(candidates.take(left), candidates.take(right))
            cost = total(cost, dict(said.cost))
            for g in waiting:  # the reference, and whatever reads the same
                reference = draws[g][attempt]
                for i in (i for texts in groups[g] for i in texts if reference in texts):
                    value[i], status[i], detail["chance"][i] = 0.0, "scored", 0.5
                    reason[i] = "the reference of its group" if i == reference else None
            for k, (_, texts) in enumerate(where):
                for i in texts:
                    value[i], status[i], reason[i] = np.sign(said.value[k] - 0.5), said.status[k], said.reason[k]
                    detail["chance"][i] = None if np.isnan(said.value[k]) else float(said.value[k])
            extremes = []
            for g in waiting:
                rows = [i for texts in groups[g] for i in texts]
                for i in rows:
                    detail["reference"][i] = draws[g][attempt]
                known = value[rows][np.isfinite(value[rows])]
                if self.extreme is not None and abs(known.sum()) >= self.extreme * max(len(known) - 1, 1):
                    extremes.append(g)
            waiting = extremes
            if not waiting:
                break
            if attempt == self.redraw:
                self._drop(waiting, groups, value, status, reason)
        return Scores(value, status, reason, detail=detail, cost=cost)

    @staticmethod
    def _drop(
        which: list[int], groups: list[Any], value: np.ndarray, status: list[str], reason: list[str | None]
    ) -> None:
        for g in which:
            for i in (i for texts in groups[g] for i in texts):
                if status[i] == "scored":
                    value[i], status[i] = np.nan, "abstained"
                    reason[i] = "the reference is extreme: all others win, or all lose, against it"


def _references(candidates: Candidates, texts: list[list[int]], seed: int | Sequence[int]) -> list[int]:
    """The rows of a group in the order in which they are drawn as its reference, from the seed and the texts."""
    keys = sorted((pack(candidates.responses[same[0]]), same) for same in texts)
    rows = [i for _, same in keys for i in same]
    drawn = random.Random(f"{seed}/{pack(candidates.prompts[rows[0]])}/{[(key, len(same)) for key, same in keys]}")
    drawn.shuffle(rows)
    return rows

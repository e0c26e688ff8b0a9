"""A judge that compares two responses, by default in both orders, and reports its preference for a place.

P(a preferred) is the mean of both orders: with verdicts 1, 0 or 1/2 (a tie), so that a judge who names the same *place*
both times says 1/2, with the reason. Ranking n responses takes O(n log n) comparisons (:mod:`.tournament`), scores
against a reference one each (:mod:`.references`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import Text, pack
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel
from guerdon.reward.base import Reward, Scores
from guerdon.reward.judge import templates
from guerdon.reward.judge.asking import Asker, total
from guerdon.reward.judge.pointwise import judge_fingerprint, shown
from guerdon.reward.judge.standard import Criterion, Standard, WrittenStandard
from guerdon.reward.judge.templates import Question, Shown
from guerdon.reward.judge.tournament import METHODS, tournaments

ORDERS = ("both", "given")


@dataclass(frozen=True)
class PositionBias:
    """How often a judge, asked in both orders, named the same place twice.

    first, second, consistent   pairs in which the first place won both times, the second did, and all others
    """

    first: int = 0
    second: int = 0
    consistent: int = 0

    @property
    def pairs(self) -> int:
        """Pairs that were answered in both orders."""
        return self.first + self.second + self.consistent

    @property
    def inconsistent(self) -> float:
        """Share of pairs in which the order decided; NaN without pairs."""
        return (self.first + self.second) / self.pairs if self.pairs else math.nan

    @property
    def towards_first(self) -> float:
        """(first - second) / pairs, in [-1, 1]: 0 = no place is preferred; NaN without pairs."""
        return (self.first - self.second) / self.pairs if self.pairs else math.nan


class PairwiseJudge(Reward):
    """Comparisons of a language model.

    Parameters
    ----------
    order : both orders of a pair, or as given (half the cost, and the position bias goes into the verdicts)
    ties : offer a tie
    method : merge or swiss, how :meth:`rank` makes scores of comparisons
    settings : those of :class:`~guerdon.reward.judge.asking.Asker`
    """

    reads = ("criterion",)
    in_groups = True

    def __init__(
        self,
        model: LanguageModel,
        standard: Standard | WrittenStandard | None = None,
        *,
        order: str = "both",
        ties: bool = True,
        method: str = "merge",
        **settings: Any,
    ) -> None:
        for name, value, known in (("order", order, ORDERS), ("method", method, METHODS)):
            if value not in known:
                raise ConfigError(f"{name}={value!r}: use one of {', '.join(known)}")
        self.asker = Asker(model, **settings)
        self.standard = standard or Standard.question()
        self.order, self.ties, self.method = order, ties, method
        self.labels = ["A", "B", "tie"] if ties else ["A", "B"]
        self.values = np.array([1.0, 0.0, 0.5])[: len(self.labels)]
        self.skew_symmetric = order == "both"
        self._bias = PositionBias()

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"judge-{self.fingerprint}"

    @property
    def sees(self) -> tuple[str, ...]:  # type: ignore[override]
        """What its language model sees."""
        return self.asker.model.sees

    @property
    def fingerprint(self) -> str:
        """Changes with the templates, the standard, how it asks, and the model."""
        return judge_fingerprint(self.asker, self.standard, self.order, str(self.ties), self.method)

    def question(
        self, ending: str, kind: str, criteria: tuple[Criterion, ...], blocks: list[tuple[str, Shown]]
    ) -> Question:
        """The question about two responses, A and B; judges that ask in other words override it."""
        return templates.render("pairwise", ending, kind, criteria, blocks, self.labels, unsure=self.asker.unsure)

    def blocks(self, candidates: Candidates, i: int, responses: list[tuple[str, Text]]) -> list[tuple[str, Shown]]:
        """The named untrusted texts of question i; judges that show more override it."""
        return shown(candidates, i, responses, self.sees)

    def position_bias(self) -> PositionBias:
        """Of all pairs asked in both orders so far."""
        return self._bias

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a[i] preferred). ``detail``: forward and backward (P(a) in either order), rationale of both, votes."""
        n = len(a)
        if len(b) != n:
            raise FeedbackError(f"prefer compares row by row: {n} candidates against {len(b)}")
        sides = 2 if self.order == "both" else 1
        views = [
            self.blocks(a, i, [("response A", left), ("response B", right)])
            for side in range(sides)
            for i, (left, right) in enumerate(_sides(a, b, side))
        ]

        written = self.standard.each(a, _sides(a, b, 0))
        asked = [i for i, standard in enumerate(written.standard) if standard is not None]

        def make(ending: str) -> list[Question]:
            return [
                self.question(ending, s.kind, s.criteria, views[side * n + i])
                for side in range(sides)
                for i in asked
                if (s := written.standard[i]) is not None
            ]

        answers = self.asker.ask(make, self.labels)
        said = (
            answers
            if len(asked) == n
            else answers.spread(
                [side * n + i for side in range(sides) for i in asked],
                list(written.status) * sides,
                list(written.reason) * sides,
            )
        )
        by_votes = (said.votes > 0)[:, None]
        shown_first = (said.verdict(self.asker.rule) @ self.values).reshape(sides, n)
        forward = shown_first[0]
        backward = 1 - shown_first[1] if sides == 2 else np.full(n, np.nan)
        value = (forward + backward) / 2 if sides == 2 else forward.copy()
        status = said.status[:n]
        reason = [r or w for r, w in zip(said.reason[:n], written.reason, strict=True)]
        first = second = both = 0
        for i in range(n if sides == 2 else 0):
            if status[i] == "scored" and said.status[n + i] != "scored":
                status[i], reason[i] = said.status[n + i], said.reason[n + i]
            if np.isnan(value[i]):
                continue
            if forward[i] > 0.5 > backward[i]:
                first += 1
                reason[i] = "inconsistent: the response shown first wins in either order"
            elif forward[i] < 0.5 < backward[i]:
                second += 1
                reason[i] = "inconsistent: the response shown second wins in either order"
            else:
                both += 1
                continue
            if by_votes[i, 0] and by_votes[n + i, 0] and self.asker.rule == "majority":
                value[i] = 0.5
        self._bias = PositionBias(self._bias.first + first, self._bias.second + second, self._bias.consistent + both)
        detail: dict[str, Any] = {
            "forward": forward.tolist(),
            "backward": backward.tolist(),
            "rationale": [said.rationale[i::n] for i in range(n)],
            "votes": said.votes.reshape(sides, n).sum(0).tolist(),
        }
        return Scores(value, status, reason, detail=detail, cost=total(written.cost, said.cost))

    def rank(self, candidates: Candidates, lists: Sequence[Any] | None = None) -> Scores:
        """A tournament of the responses to each prompt (:func:`lists_of`); equal responses play once."""
        rows = lists_of(candidates, lists)
        cost: dict[str, float] = {}
        trouble: dict[int, tuple[str, str | None]] = {}

        def ask(triples: list[tuple[int, int, int]]) -> list[float]:
            nonlocal cost
            left = [rows[t][i][0] for t, i, _ in triples]
            right = [rows[t][j][0] for t, _, j in triples]
            said = self.prefer(candidates.take(left), candidates.take(right))
            cost = total(cost, said.cost)
            for i, j, s, r in zip(left, right, said.status, said.reason, strict=True):
                if s != "scored":
                    trouble[i] = trouble[j] = (s, r)
            return said.value.tolist()

        tables = tournaments([len(texts) for texts in rows], ask, self.method)
        n = len(candidates)
        value, status = np.full(n, np.nan), ["scored"] * n
        reason: list[str | None] = [None] * n
        for texts, table in zip(rows, tables, strict=True):
            for same, v in zip(texts, table.value.tolist(), strict=True):
                for i in same:
                    value[i] = v
                    if math.isnan(v):
                        status[i], reason[i] = trouble.get(same[0], ("invalid", "nothing to compare with"))
        return Scores(value, status, reason, cost=cost)


def lists_of(candidates: Candidates, lists: Sequence[Any] | None = None) -> list[list[list[int]]]:
    """Rows that are judged together: for each list its distinct responses, for each of those its rows.

    lists   [n] which list each row is in; None: rows of the same prompt, user and criterion are a list
    """
    groups: dict[Any, dict[str, list[int]]] = {}
    for i in range(len(candidates)):
        user = candidates.user[i] if candidates.user is not None else None
        criterion = candidates.criterion[i] if candidates.criterion is not None else None
        key = (pack(candidates.prompts[i]), user, criterion, None if lists is None else lists[i])
        groups.setdefault(key, {}).setdefault(pack(candidates.responses[i]), []).append(i)
    return [list(texts.values()) for texts in groups.values()]


def _sides(a: Candidates, b: Candidates, side: int) -> list[tuple[Text, Text]]:
    pairs = list(zip(a.responses, b.responses, strict=True))
    return pairs if side == 0 else [(right, left) for left, right in pairs]

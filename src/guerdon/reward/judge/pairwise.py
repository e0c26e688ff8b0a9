"""A judge that compares two responses, by default in both orders, and reports its preference for a place.

P(a preferred) is the mean of both orders: with verdicts 1, 0 or 1/2 (a tie), so that a judge who names the same *place*
both times says 1/2, with the reason. Ranking n responses takes O(n log n) comparisons (:mod:`.tournament`);
:class:`AgainstReference` scores one response by its chance against the row's reference answer.
"""

from __future__ import annotations

import math
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
from guerdon.reward.judge.pointwise import judge_fingerprint, untrusted
from guerdon.reward.judge.standard import Standard
from guerdon.reward.judge.templates import Question
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

    def __init__(
        self,
        model: LanguageModel,
        standard: Standard | None = None,
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
    def fingerprint(self) -> str:
        """Changes with the templates, the standard, how it asks, and the model."""
        return judge_fingerprint(self.asker, self.standard, self.order, str(self.ties), self.method)

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
            untrusted(a, i, [("response A", left), ("response B", right)])
            for side in range(sides)
            for i, (left, right) in enumerate(_sides(a, b, side))
        ]

        def make(ending: str) -> list[Question]:
            kind, criteria = self.standard.kind, self.standard.criteria
            return [
                templates.render("pairwise", ending, kind, criteria, v, self.labels, unsure=self.asker.unsure)
                for v in views
            ]

        said = self.asker.ask(make, self.labels)
        by_votes = (said.votes > 0)[:, None]
        chance = np.where(by_votes, said.winner, said.chance) if self.asker.combine == "majority" else said.chance
        shown_first = (chance @ self.values).reshape(sides, n)
        forward = shown_first[0]
        backward = 1 - shown_first[1] if sides == 2 else np.full(n, np.nan)
        value = (forward + backward) / 2 if sides == 2 else forward.copy()
        status, reason = said.status[:n], said.reason[:n]
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
            if by_votes[i, 0] and by_votes[n + i, 0] and self.asker.combine == "majority":
                value[i] = 0.5
        self._bias = PositionBias(self._bias.first + first, self._bias.second + second, self._bias.consistent + both)
        detail: dict[str, Any] = {
            "forward": forward.tolist(),
            "backward": backward.tolist(),
            "rationale": [said.rationale[i::n] for i in range(n)],
            "votes": said.votes.reshape(sides, n).sum(0).tolist(),
        }
        return Scores(value, status, reason, detail=detail, cost=said.cost)

    def rank(self, candidates: Candidates) -> Scores:
        """A tournament of the responses to each prompt (of one person and criterion); equal responses play once."""
        groups: dict[Any, dict[str, list[int]]] = {}
        for i in range(len(candidates)):
            user = candidates.user[i] if candidates.user is not None else None
            criterion = candidates.criterion[i] if candidates.criterion is not None else None
            key = (pack(candidates.prompts[i]), user, criterion)
            groups.setdefault(key, {}).setdefault(pack(candidates.responses[i]), []).append(i)
        rows = [list(texts.values()) for texts in groups.values()]
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


def _sides(a: Candidates, b: Candidates, side: int) -> list[tuple[Text, Text]]:
    pairs = list(zip(a.responses, b.responses, strict=True))
    return pairs if side == 0 else [(right, left) for left, right in pairs]


class AgainstReference(Reward):
    """P(response preferred to the reference answer of its row), by a pairwise judge.

    A row without a reference is unscored (``invalid``).
    """

    reads = ("criterion",)

    def __init__(self, judge: PairwiseJudge) -> None:
        self.judge = judge
        self.name = f"{judge.name}-against-reference"

    def score(self, candidates: Candidates) -> Scores:
        """The chances against the references, which are shown as responses, not as references."""
        n = len(candidates)
        references = candidates.reference if candidates.reference is not None else [None] * n
        given: dict[int, Text] = {i: r for i, r in enumerate(references) if isinstance(r, str | list)}
        rows = list(given)
        a = candidates.take(rows)
        a = Candidates(a.prompts, a.responses, user=a.user, criterion=a.criterion)
        said = self.judge.prefer(a, Candidates(a.prompts, list(given.values())))
        value, status = np.full(n, np.nan), ["invalid"] * n
        reason: list[str | None] = ["no reference answer"] * n
        detail: dict[str, Any] = {name: [None] * n for name in said.detail}
        for k, i in enumerate(rows):
            value[i], status[i], reason[i] = said.value[k], said.status[k], said.reason[k]
            for name in detail:
                detail[name][i] = said.detail[name][k]
        return Scores(value, status, reason, detail=detail, cost=said.cost)

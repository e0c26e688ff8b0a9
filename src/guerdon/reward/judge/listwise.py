"""A judge that sees all responses to a prompt in one question and gives each a grade, a ranking of all, or both.

One call judges n responses, where pairs need n log n to n^2 and may contradict each other. What a judge gives a
response depends on its place in the list, so every list is asked in ``orders`` rotations of a shuffled order (with n of
them each response stands once in every place; further ones begin from another shuffle), and the values are averaged:

    value_i = sum_k w_k y_ki / sum_k w_k        over the verdicts k on the list

``y`` is the grade, or the place from 1 (first) to 0 (last) where only a ranking is asked for. With both, the ranking
orders and the grades scale: the grades given, sorted, go along the ranking, and those that are equal move apart by less
than half a grade. The shuffle is made from the responses themselves, so that equal lists are equal questions, however
they come.

Lists longer than ``window`` are asked in windows that overlap by half and go once round the shuffled list, so that each
response is in two of them, at different places. Grades are put on one scale by least squares, grade = response +
window; rankings become wins, and the value is the mean chance against the others under Bradley-Terry strengths.

References: Yu et al. 2025, RewardAnything, https://arxiv.org/abs/2506.03637 (a list in one call, scores and ranking);
Liu et al. 2025, https://arxiv.org/abs/2504.02495 (grades of shuffled lists are summed).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import pack
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel
from guerdon.reward.base import Reward, Scores
from guerdon.reward.judge import pointwise, templates
from guerdon.reward.judge.asking import Asker, missing, total
from guerdon.reward.judge.list_merging import (
    chance_among,
    contradictions,
    layouts,
    on_one_scale,
    value_of,
    weighted_mean,
)
from guerdon.reward.judge.list_verdicts import GIVE, ListVerdict, read_list
from guerdon.reward.judge.meta import MetaVote
from guerdon.reward.judge.pairwise import lists_of
from guerdon.reward.judge.place_bias import PlaceBias
from guerdon.reward.judge.pointwise import grades, judge_fingerprint
from guerdon.reward.judge.standard import Standard, WrittenStandard


@dataclass
class _Asked:
    """One question: which list, the responses shown (numbers in the list, in the order shown), and what came of it."""

    list: int
    shown: list[int]
    verdict: ListVerdict | None = None
    reply: str = ""
    weight: float = 1.0

    def values(self, give: str) -> np.ndarray:
        """float64 [w] of the responses as shown."""
        assert self.verdict is not None
        return value_of(self.verdict, give)


class ListwiseJudge(Reward):
    """Grades and rankings of a language model that sees all responses to a prompt together.

    Parameters
    ----------
    give : both, grades or ranking: what is asked for
    scale : whole numbers such as 1-5, of the grades
    orders : how many orders of a list are asked; 1 leaves the position bias in
    window : most responses in one question
    settings : those of :class:`~guerdon.reward.judge.asking.Asker`. ``votes`` are draws for each order; ``combine`` is
        mean here, and majority gives the share of verdicts in which a response is the best
    """

    reads = ("criterion",)
    in_groups = True

    def __init__(
        self,
        model: LanguageModel,
        standard: Standard | WrittenStandard | None = None,
        *,
        give: str = "both",
        scale: str = "1-5",
        orders: int = 4,
        window: int = 10,
        **settings: Any,
    ) -> None:
        self.asker = Asker(model, **{"combine": "mean", **settings})
        self.standard = standard or Standard.question()
        if give not in GIVE:
            raise ConfigError(f"give={give!r}: use one of {', '.join(GIVE)}")
        if self.asker.how == "labels":
            raise ConfigError("how=labels reads one word, and a list needs more; use how=json or how=text")
        if scale == "yes-no":
            raise ConfigError("scale=yes-no: a list is graded in whole numbers such as 1-5")
        if orders < 1:
            raise ConfigError(f"orders={orders}: ask at least once")
        if window < 2:
            raise ConfigError(f"window={window}: show at least two responses together")
        self.give, self.scale, self.orders, self.window = give, scale, orders, window
        self.labels, _ = grades(scale)
        self._bias = PlaceBias()

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
        return judge_fingerprint(
            self.asker, self.standard, self.give, self.scale, str(self.orders), str(self.window), "list"
        )

    def position_bias(self) -> PlaceBias:
        """Of all lists asked in several orders so far."""
        return self._bias

    def score(self, candidates: Candidates) -> Scores:
        """The grade of each response shown by itself; :meth:`rank` shows those of a prompt together."""
        if self.give == "ranking":
            raise TypeError(f"{self.name} ranks lists and does not score single responses; use rank() or give=grades")
        return self.rank(candidates, range(len(candidates)))

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a[i] preferred): the share of verdicts on the list of both in which it is the better one, a tie is half."""
        n = len(a)
        if len(b) != n:
            raise FeedbackError(f"prefer compares row by row: {n} candidates against {len(b)}")
        both = Candidates(
            [*a.prompts, *a.prompts],
            [*a.responses, *b.responses],
            criterion=None if a.criterion is None else [*a.criterion, *a.criterion],
            reference=None if a.reference is None else [*a.reference, *a.reference],
        )
        differ = [i for i in range(n) if pack(a.responses[i]) != pack(b.responses[i])]
        asked, why, reasons, cost = self._ask(both, [[[i], [n + i]] for i in differ])
        value, status = np.full(n, 0.5), ["scored"] * n
        reason: list[str | None] = [None] * n
        rationale: list[str | None] = [None] * n
        for t, i in enumerate(differ):
            value[i], status[i], reason[i] = np.nan, why[t], reasons[t]
            given = [k for k in asked if k.list == t and k.verdict is not None and k.weight > 0]
            if given:
                better = np.array([np.sign(_in_list(k, self.give) @ np.array([1.0, -1.0])) for k in given])
                value[i] = np.average(0.5 + 0.5 * better, weights=[k.weight for k in given])
                rationale[i] = given[0].verdict.rationale if given[0].verdict else None
        return Scores(value, status, reason, detail={"rationale": rationale}, cost=cost)

    def rank(self, candidates: Candidates, lists: Sequence[Any] | None = None) -> Scores:
        """Values of responses seen together with the others of their list (:func:`~.pairwise.lists_of`).

        ``detail``: ``rationale`` of the verdict that counts most and the ``place`` (from 1) the response had in it, how
        many ``votes`` on its list counted, and how many ``contradictions`` (pairs that grades and ranking order
        differently) and ``repaired`` replies they hold. ``std`` is the standard error over verdicts, where there are
        several.
        """
        rows = lists_of(candidates, lists)
        asked, list_status, list_reason, cost = self._ask(candidates, rows)
        n = len(candidates)
        value, std = np.full(n, np.nan), np.full(n, np.nan)
        status: list[str] = ["failed"] * n
        reason: list[str | None] = [None] * n
        detail: dict[str, Any] = {
            name: [None] * n for name in ("rationale", "place", "votes", "contradictions", "repaired")
        }
        by_list: dict[int, list[_Asked]] = {}
        for k in asked:
            if k.verdict is not None and k.weight > 0:
                by_list.setdefault(k.list, []).append(k)
        for t, texts in enumerate(rows):
            given = by_list.get(t, [])
            merged, spread = self._merge(given, len(texts)) if given else (np.full(len(texts), np.nan),) * 2
            for j, same in enumerate(texts):
                seen = [k for k in given if j in k.shown]
                for i in same:
                    status[i], reason[i] = list_status[t], list_reason[t]
                    if not seen:
                        if status[i] == "scored":
                            status[i], reason[i] = "invalid", "no verdict on a window with this response"
                        continue
                    value[i], std[i] = merged[j], spread[j]
                    most = max(seen, key=lambda k: k.weight)
                    assert most.verdict is not None
                    detail["rationale"][i] = most.verdict.rationale
                    detail["place"][i] = most.shown.index(j) + 1
                    detail["votes"][i] = len(seen)
                    detail["contradictions"][i] = sum(contradictions(k.verdict) for k in seen if k.verdict)
                    detail["repaired"][i] = sum(k.verdict.state == "repaired" for k in seen if k.verdict)
        return Scores(value, status, reason, std if np.isfinite(std).any() else None, detail=detail, cost=cost)

    # ------------------------------------------------------------------ asking

    def _ask(
        self, candidates: Candidates, rows: list[list[list[int]]]
    ) -> tuple[list[_Asked], list[str], list[str | None], dict[str, float]]:
        """All questions on all lists with what was answered, and (status, reason) of each list."""
        first = [texts[0][0] for texts in rows]
        heads = candidates.take(first)
        texts_of = [[candidates.responses[same[0]] for same in texts] for texts in rows]
        written = self.standard.each(heads, texts_of)
        status, reason = list(written.status), list(written.reason)
        plan: list[_Asked] = []
        questions: list[templates.Question] = []
        ending = "list-text" if self.asker.how == "text" else "list-json"
        for t, standard in enumerate(written.standard):
            if standard is None:
                continue
            if len(texts_of[t]) == 1 and self.give == "ranking":
                status[t], reason[t] = "invalid", "nothing to compare with"
                continue
            keys = [pack(text) for text in texts_of[t]]
            for shown in layouts(keys, self.orders, self.window, self.asker.seed):
                responses = [(f"response {place + 1}", texts_of[t][j]) for place, j in enumerate(shown)]
                questions.append(
                    templates.render(
                        "listwise",
                        ending,
                        standard.kind,
                        standard.criteria,
                        pointwise.shown(heads, t, responses, self.sees),
                        self.labels,
                        unsure=False,
                        give=self.give,
                    )
                )
                plan.append(_Asked(t, shown))
        if not plan:
            return [], status, reason, dict(written.cost)
        draws, cost = self._draw(plan, questions, ending, status, reason)
        return draws, status, reason, total(dict(written.cost), cost)

    def _draw(
        self,
        plan: list[_Asked],
        questions: list[templates.Question],
        ending: str,
        status: list[str],
        reason: list[str | None],
    ) -> tuple[list[_Asked], dict[str, float]]:
        """``votes`` verdicts on each question; what ``status`` and ``reason`` say of lists that have none."""
        schema = templates.list_schema(self.give, self.labels) if ending == "list-json" else None
        asker, draws = self.asker, self.asker.votes
        sampling: dict[str, Any] = {"temperature": asker.temperature, "seed": asker.seed}
        replies = asker.model.generate(
            [q.messages for q in questions], draws, schema=schema, max_tokens=asker.max_tokens, **sampling
        )
        cost = dict(replies.cost)
        out = [replace(ask) for ask in plan for _ in range(draws)]
        of = [q for q in questions for _ in range(draws)]
        rows = list(replies.rows)
        # thinking that was cut off gets one more try, with room for twice as much
        cut = [j for j, r in enumerate(rows) if r.status == "answered" and r.finish == "length"]
        if cut and asker.max_tokens is not None:
            more = asker.model.generate(
                [of[j].messages for j in cut], schema=schema, max_tokens=2 * asker.max_tokens, **sampling
            )
            cost = total(cost, more.cost)
            for j, reply in zip(cut, more.rows, strict=True):
                rows[j] = reply
        trouble: dict[int, tuple[str, str]] = {}
        for ask, question, reply in zip(out, of, rows, strict=True):
            if reply.status != "answered" or reply.text is None:
                trouble.setdefault(ask.list, missing(reply.status, reply.reason))
                continue
            said = read_list(reply.text, question.code, len(ask.shown), self.give, self.labels)
            if said.state == "rejected":
                why = "the reply was cut off before a verdict" if reply.finish == "length" else said.trouble
                trouble.setdefault(ask.list, ("invalid", why or "no verdict"))
                continue
            ask.verdict, ask.reply = said, reply.text
        valid = [j for j, ask in enumerate(out) if ask.verdict is not None]
        if isinstance(asker.combine, MetaVote) and valid:
            weights, more_cost = asker.combine.weights(
                [of[j].messages for j in valid], [out[j].reply for j in valid], [out[j].list for j in valid]
            )
            for j, weight in zip(valid, weights.tolist(), strict=True):
                out[j].weight = weight
            cost = total(cost, {f"meta_{k}": v for k, v in more_cost.items()})
        answered = {out[j].list for j in valid}
        for t in {ask.list for ask in out}:
            status[t], reason[t] = ("scored", reason[t]) if t in answered else trouble[t]
        return out, cost

    # ------------------------------------------------------------------ putting verdicts together

    def _merge(self, given: list[_Asked], n: int) -> tuple[np.ndarray, np.ndarray]:
        """(value, standard error) float64 [n] of a list's responses from the verdicts that count."""
        y = np.full((len(given), n), np.nan)
        for row, ask in enumerate(given):
            y[row, ask.shown] = ask.values(self.give)
        weight = np.array([ask.weight for ask in given])[:, None] * np.isfinite(y)
        self._bias = self._bias.add(y, [ask.shown for ask in given])
        if self.asker.rule == "majority":
            top = np.isclose(y, np.nanmax(y, axis=1, keepdims=True))
            y = np.where(np.isnan(y), np.nan, top / top.sum(1, keepdims=True))
            value = weighted_mean(y, weight)
        elif n <= self.window:
            value = weighted_mean(y, weight)
        elif self.give == "ranking":
            value = chance_among(y, weight)
        else:
            value = on_one_scale(y, weight)
        votes = np.isfinite(y).sum(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            square = weighted_mean((y - weighted_mean(y, weight)) ** 2, weight)
            std = np.where(votes > 1, np.sqrt(square / (votes - 1)), np.nan)
        return value, std


def _in_list(ask: _Asked, give: str) -> np.ndarray:
    """float64 [n] values by number in the list."""
    out = np.empty(len(ask.shown))
    out[ask.shown] = ask.values(give)
    return out

r"""A judge that writes its own weighted principles and a critique, then grades any number of responses, in one reply.

k samples are drawn, each with the responses in another order; of n responses

    S_i = sum over the samples that count of S_ki,  S_ki in 1 .. 10        (the value is S_i over their number)

so that k samples tell k times as many values apart as one, which a vote on the winners would throw away. A meta reward
(:class:`~.meta.MetaVote`) can say which samples count: the ``keep`` share that it scores highest. Samples without a
valid verdict do not count, nothing is filled in, and of several samples two must be valid.

One response is graded absolutely, two are a comparison, more a ranking: no loops over pairs. Use it for models trained
so (``how=boxed`` reads their ``\boxed{8, 5}``; a text that is judged could write that too, which is why json and text
ask for a code that is in no text) and for any instruct model.

Reference: Liu et al. 2025, Inference-Time Scaling for Generalist Reward Modeling, https://arxiv.org/abs/2504.02495.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import pack
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel
from guerdon.reward.base import Reward, Scores
from guerdon.reward.judge import pointwise, templates
from guerdon.reward.judge.asking import missing, total
from guerdon.reward.judge.meta import MetaVote
from guerdon.reward.judge.pairwise import lists_of
from guerdon.reward.judge.pointwise import grades
from guerdon.reward.judge.principles_samples import Judged, Judgements, Sample, grades_schema, read_sample

HOWS = ("auto", "json", "text", "boxed")
RULES = ("sum", "majority")

TASK = """\
{% if n == 1 %}Grade the response{% else %}Grade the {{ n }} responses{% endif %}, with a grade from {{ low }} (worst) \
to {{ high }} (best) each. First write the principles by which you judge: those that matter for this request, each \
with its weight in percent. Then criticize {{ "the response" if n == 1 else "each response" }} by them. Then grade. \
The order in which responses are shown means nothing, and neither does their length.

{% if how == "json" %}Reply with a JSON object: "principles", a list of objects with "principle" and "weight"; \
"critique"; "grades", a list of objects with "response" (its number) and "grade" for every response; and last \
"verdict_code", which is {{ code }}.{% elif how == "text" %}Then end with a line of its own that reads \
"Verdict {{ code }}:" followed by the numbers of all responses, each with = and its grade, with commas between them.\
{% else %}Then end with the grades of all responses in order, as \\boxed{{ "{" }}grade, grade, ...{{ "}" }}.\
{% endif %}"""


class PrincipledJudge(Reward):
    """Grades of a language model by principles that it writes itself.

    Parameters
    ----------
    samples : judgements drawn for each list, each with the responses in another order
    combine : sum, or majority (share of the samples in which a response is the best); or a
        :class:`~guerdon.reward.judge.meta.MetaVote`, which says which samples count (mean is sum)
    scale : whole numbers such as 1-10, of the grades
    how : json, text or boxed; auto is json
    window : most responses in one question; longer lists are unscored (``too_long``)
    temperature : of draws
    seed : of draws and orders
    max_tokens : of a reply
    """

    reads = ("criterion",)
    in_groups = True

    def __init__(
        self,
        model: LanguageModel,
        *,
        samples: int = 8,
        combine: str | MetaVote = "sum",
        scale: str = "1-10",
        how: str = "auto",
        window: int = 16,
        temperature: float = 0.7,
        seed: int = 0,
        max_tokens: int | None = None,
    ) -> None:
        rule = combine if isinstance(combine, str) else {"mean": "sum"}.get(combine.then, combine.then)
        rule = "sum" if rule == "mean" else rule
        for name, value, known in (("combine", rule, RULES), ("how", how, HOWS)):
            if value not in known:
                raise ConfigError(f"{name}={value!r}: use one of {', '.join(known)}")
        for name, value in (("samples", samples), ("window", window)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name}={value!r}: use a whole number of at least 1")
        if scale == "yes-no":
            raise ConfigError("scale=yes-no: responses are graded in whole numbers such as 1-10")
        self.model, self.samples, self.rule, self.scale = model, samples, rule, scale
        self.meta = combine if isinstance(combine, MetaVote) else None
        self.how = "json" if how == "auto" else how
        self.window, self.temperature, self.seed, self.max_tokens = window, temperature, seed, max_tokens
        self.labels, _ = grades(scale)

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"judge-{self.fingerprint}"

    @property
    def sees(self) -> tuple[str, ...]:  # type: ignore[override]
        """What its language model sees."""
        return self.model.sees

    @property
    def fingerprint(self) -> str:
        """Changes with the template, how it asks, and the model."""
        asked = [self.samples, self.rule, str(self.meta), self.scale, self.how, self.window, self.temperature]
        said = [templates.fingerprint(), TASK, self.model.identity, asked, self.seed, self.max_tokens]
        said += [list(self.sees), templates.PICTURED] if self.sees else []
        return blake2b(json.dumps(said).encode(), digest_size=6).hexdigest()

    def score(self, candidates: Candidates) -> Scores:
        """The grade of each response by itself; :meth:`rank` shows those of a prompt together."""
        return self.rank(candidates, range(len(candidates)))

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a[i] preferred): the share of samples that count in which it has the higher grade, a tie is half."""
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
        judged = self.judgements(both, [[i, n + i] for i in differ])
        value, status = np.full(n, 0.5), ["scored"] * n
        reason: list[str | None] = [None] * n
        rationale: list[str | None] = [None] * n
        for i, of in zip(differ, judged.lists, strict=True):
            value[i], status[i], reason[i], rationale[i] = np.nan, of.status, of.reason, of.rationale
            if of.status == "scored":
                value[i] = np.average(0.5 + 0.5 * np.sign(of.y[:, 0] - of.y[:, 1]), weights=of.weight)
        return Scores(value, status, reason, detail={"rationale": rationale}, cost=judged.cost)

    def rank(self, candidates: Candidates, lists: Sequence[Any] | None = None) -> Scores:
        """Values of responses seen together with the others of their list.

        ``detail``: the ``rationale`` of the sample that counts most and the ``principles`` it wrote, how many samples
        were ``valid`` and how many of those ``counted``. ``std`` is the standard error over samples that count.
        """
        rows = lists_of(candidates, lists)
        judged = self.judgements(candidates, [[same[0] for same in texts] for texts in rows])
        n = len(candidates)
        value, std = np.full(n, np.nan), np.full(n, np.nan)
        status: list[str] = ["failed"] * n
        reason: list[str | None] = [None] * n
        detail: dict[str, Any] = {name: [None] * n for name in ("rationale", "principles", "valid", "counted")}
        for texts, of in zip(rows, judged.lists, strict=True):
            merged, spread = of.merge(self.rule)
            for j, same in enumerate(texts):
                for i in same:
                    value[i], std[i], status[i], reason[i] = merged[j], spread[j], of.status, of.reason
                    detail["rationale"][i], detail["principles"][i] = of.rationale, of.principles
                    detail["valid"][i], detail["counted"][i] = of.valid, len(of.y)
        return Scores(value, status, reason, std if np.isfinite(std).any() else None, detail=detail, cost=judged.cost)

    def question(self, candidates: Candidates, shown: Sequence[int]) -> templates.Question:
        """The question about the responses at rows ``shown``, in that order."""
        named = [(f"response {place + 1}", candidates.responses[i]) for place, i in enumerate(shown)]
        given = pointwise.shown(candidates, shown[0], named, self.sees)
        blocks, pictures = templates.displayed(given)
        texts = templates.raw_texts(given) + [text for _, text in blocks]
        fence, code = templates.codes(texts, f"principles/{self.how}/{self.scale}")
        values = {"fence": fence, "code": code, "blocks": blocks, "n": len(shown), "how": self.how}
        ends = {"low": self.labels[0], "high": self.labels[-1]}
        system = templates.SYSTEM + templates.PICTURED * bool(pictures)
        body = templates._compiled(f"{system}\n\n{templates.SHOWN}{TASK}").render(**values, **ends)
        content = templates.content(body.strip(), pictures)
        return templates.Question([{"role": "user", "content": content}], code, tuple(self.labels))

    def judgements(self, candidates: Candidates, rows: list[list[int]]) -> Judgements:
        """What the samples say of the responses at ``rows`` of each list, in the order they were drawn."""
        lists = [Judged(len(row)) for row in rows]
        asked = [t for t, row in enumerate(rows) if len(row) <= self.window]
        for t in set(range(len(rows))) - set(asked):
            lists[t].status = "too_long"
            lists[t].reason = f"{len(rows[t])} responses, window={self.window}: judge them by protocol=listwise"
        cost: dict[str, float] = {}
        schema = grades_schema(self.labels) if self.how == "json" else None
        votes: list[tuple[int, list[int], Sample, templates.Question]] = []
        for draw in range(self.samples if asked else 0):
            orders = [self._order(candidates, rows[t], draw) for t in asked]
            questions = [self.question(candidates, [rows[t][j] for j in o]) for t, o in zip(asked, orders, strict=True)]
            replies = self.model.generate(
                [q.messages for q in questions],
                schema=schema,
                temperature=self.temperature,
                seed=self.seed + draw,
                max_tokens=self.max_tokens,
            )
            cost = total(cost, replies.cost)
            for t, order, question, reply in zip(asked, orders, questions, replies.rows, strict=True):
                if reply.status != "answered" or reply.text is None:
                    lists[t].status, lists[t].reason = missing(reply.status, reply.reason)
                    continue
                sample = read_sample(reply.text, question.code, len(order), self.labels, self.how)
                if sample.grades is None:
                    lists[t].status, lists[t].reason = "invalid", sample.trouble
                    continue
                votes.append((t, order, sample, question))
        weight = np.ones(len(votes))
        if self.meta is not None and votes:
            texts = [v[2].text for v in votes]
            weight, more = self.meta.weights([v[3].messages for v in votes], texts, [v[0] for v in votes])
            cost = total(cost, {f"meta_{k}": v for k, v in more.items()})
        for (t, order, sample, _), w in zip(votes, weight.tolist(), strict=True):
            lists[t].add(order, sample, w)
        for t in asked:
            lists[t].settle(self.samples)
        return Judgements(lists, cost)

    def _order(self, candidates: Candidates, row: list[int], draw: int) -> list[int]:
        """The order of a draw, from the texts alone: n draws rotate one shuffle, so that each has every place once."""
        keys = [pack(candidates.responses[i]) for i in row]
        whole = "\0".join([pack(candidates.prompts[row[0]]), *sorted(keys)])

        def place(j: int) -> bytes:
            text = f"{self.seed}/{draw // len(row)}/{keys[j]}\0{whole}"
            return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

        order, shift = sorted(range(len(row)), key=place), draw % len(row)
        return order[shift:] + order[:shift]

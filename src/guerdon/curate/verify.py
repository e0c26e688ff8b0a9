r"""A noisy pool made trustworthy: people verify what the reward gets wrong, agreement decides about the rest.

Stage 1, in rounds. The reward is fitted to the pool with all corrections so far and measured on a *gold validation*
set that it never trains on. Near the gold pairs it gets wrong, pool pairs are retrieved (:mod:`.retrieval`): the
verifier (people) looks at as many as its budget allows, they become **gold**; judges label further ones with the
nearest verified pairs as examples, several judges in both orders, and where their vote is clear they become **silver**.

Stage 2, nobody is asked. A *gold reward* is fitted to verified pairs alone, so that the reward does not confirm itself.
A pair is **kept** where the best reward of stage 1 agrees with its label confidently, or the judges vote for it, and
the gold reward agrees too (``agreement="either"``: where one of the two does). It is **flipped** where gold reward and
best reward (or judges) are confident that it is reversed (``either``: the gold reward, which never saw the label);
otherwise it is **dropped**. Whether reversed pairs are recycled in this way is decided on the gold validation set.

Everything is deterministic. A verifier that has not answered yet (a queue that people fill in) stops the loop cleanly;
run again with more answers, the same questions come in the same order and the loop goes on where it stopped.

Reference: Liu et al. (2025), Skywork-Reward-V2: Scaling Preference Data Curation via Human-AI Synergy,
https://arxiv.org/abs/2507.01352.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy.special import expit

from guerdon.curate.queue import Question, read_answers, write_queue
from guerdon.curate.retrieval import Nearest, retrieve_errors
from guerdon.curate.step import Changes, Curated
from guerdon.curate.verdicts import Verdicts
from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import pack
from guerdon.feedback.schema import SCALES
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward

STATES = ("pool", "gold", "silver", "kept", "flipped", "dropped")
Verifier = Callable[[list[Question]], Sequence[float | None]]
"""Questions to P(first preferred) each: 1, 0, 1/2 for a tie; None = not answered yet."""
Examples = list[tuple[Question, float]]


class Judge(Protocol):
    """A judge that takes guidance: questions, and for each of them verified examples, to P(first preferred) [n]."""

    def __call__(self, questions: list[Question], examples: list[Examples]) -> Sequence[float]: ...


class QueueVerifier:
    """People, through a file of questions (:mod:`guerdon.curate.queue`): answered ones come back, others are asked."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __call__(self, questions: list[Question]) -> list[float | None]:
        said = read_answers(self.path) if self.path.is_file() else {}
        missing = [q for q in questions if q.id not in said]
        if missing:
            write_queue(self.path, missing)
        return [said.get(q.id) for q in questions]


@dataclass
class Course:
    """What happened to the n verdicts of a pool: the audit.

    state      int [n] index into ``STATES``;  p  float [n] P(first preferred) now;  round  int [n] when verified, -1
    weight     float [n];  why  [n];  rewards  of each round;  accuracy  of each on gold validation, the raw pool first
    waiting    questions the verifier has not answered;  asked, judged  how many went to people and to judges
    """

    state: np.ndarray
    p: np.ndarray
    weight: np.ndarray
    round: np.ndarray
    why: np.ndarray
    confidence: np.ndarray
    rewards: list[Any] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    """verified pairs in the order they were asked"""
    waiting: int = 0
    judged: int = 0
    final: Any = None
    outcome: dict[str, Any] = field(default_factory=dict)

    def rows(self, *names: str) -> np.ndarray:
        """bool [n] who is in one of the states."""
        return np.isin(self.state, [STATES.index(n) for n in names])


@dataclass
class Loop:
    """The two stages over the verdicts of ``pool``; ``gold`` is the validation set, ``fit`` makes a reward of feedback.

    ``index`` and ``gold_index`` hold retrieval vectors of the verdicts of both; ``select`` "random" is the yardstick
    that verifies at random. Settings are those of :func:`verify`.
    """

    pool: Feedback
    gold: Feedback
    fit: Callable[[Feedback], Reward]
    verifier: Verifier
    index: Nearest
    gold_index: Nearest
    judges: Sequence[Judge] = ()
    budget: int = 400
    rounds: int = 4
    most: int = 8
    confident: float = 0.75
    agree: float = 0.6
    agreement: str = "both"
    flip: float = 0.7
    recycle: str = "auto"
    gold_weight: float = 4.0
    silver: float = 1.0
    shots: int = 4
    select: str = "errors"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (
            ("agreement", ("both", "either")),
            ("recycle", ("auto", "yes", "no")),
            ("select", ("errors", "random")),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name}={getattr(self, name)!r}: use one of {', '.join(known)}")
        for name in ("confident", "agree", "flip"):
            if not 0.5 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: use a probability in [0.5, 1)")
        if self.budget < 1 or self.rounds < 1 or self.most < 1:
            raise ConfigError("use budget, rounds and most of at least 1")
        for judge in self.judges:
            if not getattr(judge, "guided", True):
                name = getattr(judge, "name", type(judge).__name__)
                raise ConfigError(f"judge {name!r} takes no examples; stage 1 needs judges that accept guidance")
        refuse_leaks(self.pool, self.gold)
        self.verdicts = Verdicts.of(self.pool)
        self.held = Verdicts.of(self.gold)
        if len(self.index) != len(self.verdicts) or len(self.gold_index) != len(self.held):
            raise ConfigError("the retrieval vectors do not belong to the verdicts of pool and gold")

    # ------------------------------------------------------------------ stage 1

    def stage1(self) -> Course:
        """Rounds of fitting, retrieving, verifying and judging, until budget or answers run out."""
        n = len(self.verdicts)
        course = Course(
            state=np.zeros(n, np.int64),
            p=np.where(self.verdicts.first, self.verdicts.p, 1 - self.verdicts.p),
            weight=self.pool.weight[self.verdicts.rows].copy(),
            round=np.full(n, -1),
            why=np.full(n, "", dtype=object),
            confidence=np.full(n, np.nan),
        )
        draw = np.random.default_rng([self.seed, 104]).permutation(n)
        shares = np.diff(np.linspace(0, self.budget, self.rounds + 1).round().astype(int))
        for k, share in enumerate(shares):
            right = self._fitted(course)
            open_ = ~course.rows("gold")
            if self.select == "random":
                chosen = draw[open_[draw]][:share]
                further = np.zeros(0, dtype=np.int64)
            else:
                more = int(share * self.silver) if self.judges else 0
                found = retrieve_errors(
                    self.index,
                    self.gold_index,
                    right,
                    int(share) + more,
                    most=self.most,
                    confident=self.confident,
                    open_=open_,
                )
                chosen, further = found[:share], found[share:]
            if not len(chosen):
                course.outcome["stopped"] = f"round {k + 1}: the reward is confidently right on all gold pairs"
                break
            self._verify(course, chosen, k)
            if course.waiting:
                course.outcome["stopped"] = f"round {k + 1}: {course.waiting} questions wait for an answer"
                break
            self._judge(course, further, k)
        self._fitted(course)
        return course

    def _fitted(self, course: Course) -> np.ndarray:
        """Fit to the present labels; P(right) [v] of the gold validation pairs."""
        reward = self.fit(self.labelled(course, np.ones(len(course.p), bool)))
        right = expit(self.held.strength(reward))
        course.rewards.append(reward)
        course.accuracy.append(float(np.mean(right > 0.5)))
        return right

    def labelled(self, course: Course, rows: np.ndarray) -> Feedback:
        """The verdicts ``rows`` (a mask) with their present labels and weights, as feedback to fit to."""
        at = np.flatnonzero(rows)
        part = self.pool.take(self.verdicts.rows[at])
        return replace(
            part,
            grades=np.stack([course.p[at], 1 - course.p[at]], 1).ravel(),
            scale=np.full(len(at), SCALES.index("probability"), dtype=part.scale.dtype),
            weight=course.weight[at],
            strength=None,
        )

    def question(self, i: int, why: str = "") -> Question:
        """Verdict i as a question, in the order it was shown."""
        j = self.verdicts.rows[i]
        first, second = self.pool.items[self.pool.offsets[j] : self.pool.offsets[j + 1]]
        whole = self.pool.candidates
        return Question(whole.prompts[first], whole.responses[first], whole.responses[second], None, why)

    def _verify(self, course: Course, chosen: np.ndarray, k: int) -> None:
        near = "near a gold pair the reward gets wrong" if self.select == "errors" else "drawn at random"
        said = self.verifier([self.question(int(i), f"round {k + 1}: {near}") for i in chosen])
        for i, p in zip(chosen, said, strict=True):
            if p is None:
                course.waiting += 1
                continue
            course.p[i], course.state[i], course.round[i] = float(p), STATES.index("gold"), k
            course.weight[i] = self.gold_weight * self.pool.weight[self.verdicts.rows[i]]
            course.why[i], course.confidence[i] = f"gold: verified in round {k + 1}, {near}", 1.0
            course.order.append(int(i))

    def _vote(self, course: Course, rows: np.ndarray) -> np.ndarray:
        """Mean vote [m] in [-1, 1] for the first response: all judges, both orders, guided by near verified pairs."""
        gold = np.flatnonzero(course.rows("gold"))
        examples: list[Examples] = [[] for _ in rows]
        if len(gold) and self.shots:
            known = Nearest(self.index.vectors[gold], self.index.fields, self.index.fingerprint)
            asked = Nearest(self.index.vectors[rows], self.index.fields, self.index.fingerprint)
            near = known.nearest(asked, self.shots)
            examples = [[(self.question(int(gold[g])), float(course.p[gold[g]])) for g in line] for line in near]
        questions = [self.question(int(i)) for i in rows]
        swapped = [Question(q.prompt, q.second, q.first, q.user, q.why) for q in questions]
        votes = []
        for judge in self.judges:
            one = np.asarray(judge(questions, examples), dtype=np.float64)
            two = 1 - np.asarray(judge(swapped, examples), dtype=np.float64)
            turned = (one - 0.5) * (two - 0.5) < 0  # the order decided: no vote
            votes.append(np.where(turned, np.nan, np.sign(one + two - 1)))
        course.judged += len(rows)
        stacked = np.stack(votes)
        count = (~np.isnan(stacked)).sum(0)
        return np.nansum(stacked, axis=0) / np.maximum(count, 1)

    def _judge(self, course: Course, rows: np.ndarray, k: int) -> None:
        if not self.judges or not len(rows):
            return
        vote = self._vote(course, rows)
        for i, v in zip(rows, vote, strict=True):
            if abs(v) > 0.5:
                course.p[i], course.state[i], course.round[i] = (1.0 if v > 0 else 0.0), STATES.index("silver"), k
                course.why[i] = f"silver: vote {abs(v):.2f} of {len(self.judges)} judges in round {k + 1}"
                course.confidence[i] = (1 + abs(v)) / 2

    # ------------------------------------------------------------------ stage 2

    def stage2(self, course: Course) -> Course:
        """Keep, flip or drop what nobody verified; fits ``course.final``. Changes ``course`` and returns it."""
        gold = course.rows("gold")
        if not gold.any():
            raise FeedbackError("nothing has been verified: stage 2 needs a gold reward; answer the queue first")
        best = course.rewards[int(np.argmax(course.accuracy))]
        judge = self.fit(self.labelled(course, gold))
        rest = np.flatnonzero(~gold)
        label = np.where(course.p[rest] >= 0.5, 1.0, -1.0)
        towards = np.where(self.verdicts.first, 1.0, -1.0)[rest] * label  # strengths speak of the original label
        by_best = expit(self.verdicts.strength(best, rest) * towards)
        by_gold = expit(self.verdicts.strength(judge, rest) * towards)
        vote = np.zeros(len(rest))
        unsure = (by_best < self.agree) & (by_best > 1 - self.agree)
        if self.judges and unsure.any():
            vote[unsure] = self._vote(course, rest[unsure]) * label[unsure]
        likes, dislikes = (by_best >= self.agree) | (vote > 0.5), (by_best <= 1 - self.flip) | (vote < -0.5)
        keep = (likes & (by_gold > 0.5)) if self.agreement == "both" else (likes | (by_gold > 0.5))
        turn = by_gold <= 1 - self.flip
        if self.agreement == "both":
            turn &= dislikes & ~keep  # with "either", a confident gold reward outranks the one that saw the label
        figures = list(zip(by_best, by_gold, vote, strict=True))
        before = course.why.copy()

        def say(rows: np.ndarray, name: str, confidence: np.ndarray | None) -> None:
            at = rest[rows]
            course.state[at] = STATES.index(name)
            course.confidence[at] = np.nan if confidence is None else confidence[rows]
            for i, k in zip(at, np.flatnonzero(rows), strict=True):
                b, g, v = figures[k]
                judged, earlier = f", judges {v:+.2f}" if v else "", f" ({before[i]})" if before[i] else ""
                course.why[i] = f"{name}: best reward {b:.2f}, gold reward {g:.2f} for its label{judged}{earlier}"

        say(keep, "kept", by_gold)
        say(~keep, "dropped", None)
        accuracy, course.final = self._measured(course, course.rows("gold", "kept"))
        course.outcome["recycling"] = {"without": round(accuracy, 4)}
        if turn.any() and self.recycle != "no":
            whole = replace(course, state=course.state.copy(), p=course.p.copy())
            whole.state[rest[turn]] = STATES.index("flipped")
            whole.p[rest[turn]] = 1 - whole.p[rest[turn]]
            recycled, final = self._measured(whole, whole.rows("gold", "kept", "flipped"))
            course.outcome["recycling"]["with"] = round(recycled, 4)
            if self.recycle == "yes" or recycled >= accuracy:
                accuracy, course.final = recycled, final
                say(turn, "flipped", 1 - by_gold)
                course.p[rest[turn]] = 1 - course.p[rest[turn]]
        course.outcome["accuracy"] = round(accuracy, 4)
        return course

    def _measured(self, course: Course, rows: np.ndarray) -> tuple[float, Any]:
        reward = self.fit(self.labelled(course, rows))
        return float(np.mean(self.held.strength(reward) > 0)), reward

    def run(self) -> Course:
        """Both stages; only the first where answers are missing."""
        course = self.stage1()
        return course if course.waiting else self.stage2(course)


def refuse_leaks(pool: Feedback, gold: Feedback) -> None:
    """Refuse to measure on what is trained on: gold validation must exist, and no comparison of it be in the pool."""
    if not len(gold):
        raise FeedbackError("no gold validation pairs: measuring on the gold pairs trained on is refused")

    def names(feedback: Feedback) -> set[tuple[str, frozenset[str]]]:
        whole = feedback.candidates
        out = set()
        for j in range(len(feedback)):
            items = feedback.items[feedback.offsets[j] : feedback.offsets[j + 1]]
            out.add((pack(whole.prompts[items[0]]), frozenset(pack(whole.responses[i]) for i in items)))
        return out

    both = names(pool) & names(gold)
    if both:
        raise FeedbackError(
            f"{len(both)} gold validation comparisons are also in the pool: measuring on training data is refused; "
            "take them out of one of the two"
        )


def verify(
    feedback: Feedback,
    *,
    gold: Any = None,
    verifier: Any = None,
    judges: Any = None,
    model: str = "bradley-terry",
    encoder: str | Encoder = "minilm",
    settings: dict[str, Any] | None = None,
    budget: int = 400,
    rounds: int = 4,
    most: int = 8,
    confident: float = 0.75,
    agree: float = 0.6,
    agreement: str = "both",
    flip: float = 0.7,
    recycle: str = "auto",
    gold_weight: float = 4.0,
    silver: float = 1.0,
    shots: int = 4,
    select: str = "errors",
    minutes: float = 1.0,
    seed: int = 0,
) -> Curated:
    """Verify what the reward gets wrong, then keep, flip or drop the rest by agreement.

    Parameters
    ----------
    gold : feedback (or its file) that people verified, to measure on; none of it may be in the pool
    verifier : a file of questions for people (.jsonl), or a function of questions to P(first preferred) or None
    judges : functions of (questions, examples) to P(first preferred), in a list; optional
    model : the reward that is fitted, a name of guerdon models
    encoder : what computes the features of the reward and of retrieval
    settings : further parameters of the model
    budget : pairs that the verifier looks at in all
    rounds : rounds among which the budget is divided
    most : pairs looked up for a gold pair that is certainly wrong
    confident : gold pairs that are right with this probability need no look-up
    agree : probability from which the best reward agrees with a label confidently
    agreement : both (best reward or judges, and the gold reward) or either, for a label to be kept
    flip : probability from which a reward is confident that a label is reversed
    recycle : whether reversed pairs come back turned round: auto (by gold validation), yes or no
    gold_weight : weight of a verified pair
    silver : pairs that judges label as a multiple of those that people verify
    shots : verified examples that a judge sees with each question
    select : errors (near what the reward gets wrong) or random
    minutes : what a verification costs a person, for the report
    seed : seeds the model and random draws
    """
    from guerdon.encode import load_encoder
    from guerdon.reward.registry import model as registered

    if gold is None or verifier is None:
        raise ConfigError("verify needs gold (verified feedback to measure on) and a verifier (a file of questions)")
    gold = Feedback.read(gold) if isinstance(gold, str | Path) else gold
    opened = load_encoder(encoder) if isinstance(encoder, str) else encoder
    entry = registered(model)
    known = {name for name, _, _ in entry.parameters()}
    own = {k: v for k, v in {"encoder": opened, "seed": seed}.items() if k in known}
    asked = QueueVerifier(verifier) if isinstance(verifier, str | Path) else verifier
    loop = Loop(
        pool=feedback,
        gold=gold,
        fit=lambda data: entry.make(**{**own, **(settings or {})}).fit(data),
        verifier=asked,
        index=Nearest.of_feedback(feedback.take(Verdicts.of(feedback).rows), opened),
        gold_index=Nearest.of_feedback(gold.take(Verdicts.of(gold).rows), opened),
        judges=list(judges) if judges is not None else [],
        budget=budget,
        rounds=rounds,
        most=most,
        confident=confident,
        agree=agree,
        agreement=agreement,
        flip=flip,
        recycle=recycle,
        gold_weight=gold_weight,
        silver=silver,
        shots=shots,
        select=select,
        seed=seed,
    )
    course = loop.run()
    return curated(loop, course, "people" if isinstance(asked, QueueVerifier) else "the verifier", minutes)


def curated(loop: Loop, course: Course, people: str = "the verifier", minutes: float = 1.0) -> Curated:
    """The course as a step's result: provenance gold, silver, kept, flipped or dropped is the start of each ``why``."""
    verdicts = loop.verdicts
    changes = Changes(loop.pool, by="agreement of two rewards", using=f"budget {loop.budget}, seed {loop.seed}")
    original = np.where(verdicts.first, verdicts.p, 1 - verdicts.p)
    for name in STATES[1:]:
        at = np.flatnonzero(course.rows(name))
        if not len(at):
            continue
        said: dict[str, Any] = {"why": course.why[at].tolist(), "confidence": course.confidence[at]}
        rows, same = verdicts.rows[at], course.p[at] == original[at]
        if name == "dropped":
            changes.drop(rows, **said)
            continue
        by = {"gold": people, "silver": "judges"}.get(name, changes.by)
        for part, as_it_was in ((same, True), (~same, False)):
            told: dict[str, Any] = {
                "why": course.why[at[part]].tolist(),
                "confidence": course.confidence[at[part]],
                "by": by,
            }
            if as_it_was:
                changes.keep(rows[part], **told)
            elif name == "flipped":
                changes.flip(rows[part], **told)
            else:
                p = course.p[at[part]]
                source = "human" if name == "gold" else "model"
                changes.label(rows[part], np.stack([p, 1 - p], 1), source=source, scale="order", **told)
    changes.note("round", verdicts.column(np.where(course.round < 0, np.nan, course.round + 1.0)))
    verified = int(course.rows("gold").sum())
    return changes.done(
        {
            "provenance": {name: int(course.rows(name).sum()) for name in STATES if course.rows(name).any()},
            "gold_accuracy_by_round": [round(a, 4) for a in course.accuracy],
            "cost": {"verified": verified, "human_minutes": verified * minutes, "judged_pairs": course.judged},
            "waiting": course.waiting,
            **course.outcome,
        }
    )

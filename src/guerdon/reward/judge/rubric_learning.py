"""A rubric learned from a few dozen comparisons, without training anything.

1. *Propose.* A language model sees a pair and which response is better, and writes criteria that explain it.
2. *Evaluate.* It judges the pair by these criteria alone, without the label, in both orders. They hold if it finds the
   right response both times: a tie, or a verdict that follows the order, is none.
3. *Revise.* Criteria that failed are shown to it again and rewritten, up to ``max_epochs`` times; pairs that are never
   explained are left out.
4. *Select.* What holds is pooled, ten pairs at a time, with the core so far; criteria that take up the most room
   together (:mod:`guerdon.encode.coding_rate`), until another adds little, are the new core, until that grows no more.
5. *Structure.* The core becomes a few themes with tips.
6. *Analyse.* Each criterion of the core judges the pairs by itself, its own pairs left out: coverage, precision, and
   what the core's majority loses without it.

Reference: Xie et al. 2025, Auto-Rubric, https://arxiv.org/abs/2510.17314. Not of the paper: ``least_precision`` and
``weights=precision``, which use the analysis, and the exact greedy selection (its code draws candidates at random).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.encode.base import Encoder
from guerdon.encode.coding_rate import HOWS, choose_core
from guerdon.encode.load import load_encoder
from guerdon.errors import BackendError, ConfigError, FeedbackError
from guerdon.feedback.messages import Text, as_text
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.generate.base import LanguageModel
from guerdon.reward.judge import rubric_writing as writing
from guerdon.reward.judge.asking import total
from guerdon.reward.judge.learned_rubric import LearnedRubric, SourceRubric
from guerdon.reward.judge.pairwise import PairwiseJudge
from guerdon.reward.judge.rubric_analysis import Effect, effects, log_odds, majority
from guerdon.reward.judge.rubric_themes import in_themes
from guerdon.reward.judge.rubric_writing import LabelledPair, Theme, Tip
from guerdon.reward.judge.standard import Standard, Standards, WrittenStandard

WEIGHTS = ("equal", "precision")
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


class RubricLearner:
    """Learns a rubric by propose, evaluate, revise, and maximal coding rate.

    Parameters
    ----------
    encoder : embeds criteria
    rubrics_per_pair : criteria proposed at once for a pair
    batch : pairs between two selections
    max_epochs : rounds of revising
    max_iterations : most batches
    max_rubrics : stop at so many criteria that hold
    core_size : most criteria of the core
    least_share : a criterion must add this share of what the first one adds, or says nothing new
    eps : error of the coding rate (the paper's code leaves out a factor d: its 0.1 is 0.1 sqrt(d) here)
    selection : greedy (exact), farthest (as the paper's code) or random
    least_gain : share by which the core's coding rate must grow
    patience : batches in a row that may grow it by less
    min_success : share of pairs that must come to be explained
    themes : most themes of the rubric
    least_precision : drop criteria of the core that are right less often; 0 keeps all, as the paper does
    weights : equal, as the paper, or precision (the log odds of being right)
    analysis_pairs : most pairs that each criterion of the core is tried on
    temperature : of proposals and revisions
    seed : of draws and of the order of pairs
    max_tokens : of a proposal or revision
    judge : settings of :class:`~guerdon.reward.judge.pairwise.PairwiseJudge`
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        encoder: str | Encoder = "minilm",
        rubrics_per_pair: int = 1,
        batch: int = 10,
        max_epochs: int = 10,
        max_iterations: int = 50,
        max_rubrics: int = 200,
        core_size: int = 50,
        least_share: float = 0.6,
        eps: float = 1.0,
        selection: str = "greedy",
        least_gain: float = 0.002,
        patience: int = 2,
        min_success: float = 0.3,
        themes: int = 5,
        least_precision: float = 0.5,
        weights: str = "equal",
        analysis_pairs: int = 50,
        temperature: float = 0.7,
        seed: int = 0,
        max_tokens: int | None = None,
        **judge: Any,
    ) -> None:
        counts = {
            "rubrics_per_pair": rubrics_per_pair,
            "batch": batch,
            "max_iterations": max_iterations,
            "max_rubrics": max_rubrics,
            "core_size": core_size,
            "patience": patience,
            "themes": themes,
            "analysis_pairs": analysis_pairs,
        }
        for name, value in counts.items():
            if value < 1:
                raise ConfigError(f"{name}={value}: use a whole number of at least 1")
        for name, value in (
            ("min_success", min_success),
            ("least_precision", least_precision),
            ("least_share", least_share),
        ):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name}={value}: use a number from 0 to 1")
        for name, value, known in (("selection", selection, HOWS), ("weights", weights, WEIGHTS)):
            if value not in known:
                raise ConfigError(f"{name}={value!r}: use one of {', '.join(known)}")
        if judge.get("order", "both") != "both":
            raise ConfigError("order: criteria are tried in both orders, or a model that likes a place explains all")
        self.model, self.encoder = model, _of_texts(encoder)
        self.rubrics_per_pair, self.batch, self.max_epochs = rubrics_per_pair, batch, max_epochs
        self.max_iterations, self.max_rubrics = max_iterations, max_rubrics
        self.core_size, self.least_share, self.eps, self.selection = core_size, least_share, eps, selection
        self.least_gain, self.patience, self.min_success = least_gain, patience, min_success
        self.themes, self.least_precision, self.weights = themes, least_precision, weights
        self.analysis_pairs, self.temperature, self.seed = analysis_pairs, temperature, seed
        self.max_tokens, self.judge = max_tokens, judge
        PairwiseJudge(model, **judge)  # a wrong setting is said before anything is paid for

    # ------------------------------------------------------------------ the loop

    def learn(self, pairs: Sequence[LabelledPair], progress: Progress | None = None) -> LearnedRubric:
        """The rubric of labelled pairs (:func:`labelled_pairs` makes them of feedback).

        Raises
        ------
        FeedbackError
            if too few pairs come to be explained: the labels may be noise, or the model too weak
        BackendError
            if the model does not answer, or a budget is spent (what was answered is in the cache of replies)
        """
        if not pairs:
            raise FeedbackError("a rubric is learned from comparisons: there is none in which one response is better")
        run = _Run(progress or (lambda *_: None))
        core: list[int] = []
        curve: list[dict[str, Any]] = []
        rate, idle, stop = 0.0, 0, "every pair was used"
        for iteration in range(self.max_iterations):
            begin = iteration * self.batch
            part = pairs[begin : begin + self.batch]
            if not part:
                break
            run.say("pairs", begin, len(pairs))
            self._explain(run, part, begin)
            self._check_success(run, pairs)
            pool = list(dict.fromkeys([*core, *run.latest]))
            chosen = self._select(run, pool)
            gain = (chosen[1] - rate) / rate if rate else math.inf
            if gain > 0:
                core, rate = chosen
            row = {"pairs": min(begin + self.batch, len(pairs)), "rubrics": len(run.sources), "core": len(core)}
            curve.append(row | {"coding_rate": round(rate, 4)})
            idle = idle + 1 if gain < self.least_gain else 0
            if idle >= self.patience:
                stop = f"the core grew by less than {self.least_gain:g} in {idle} batches in a row"
                break
            if len(run.sources) >= self.max_rubrics:
                stop = f"{len(run.sources)} criteria"
                break
        else:
            stop = f"{self.max_iterations} batches"
        run.say("pairs", len(pairs), len(pairs))
        for i, source in enumerate(run.sources):
            source.kept = i in core
            source.reason = None if source.kept else "says what others of the core say (coding rate)"
        core = self._analyse(run, core, pairs)
        themes = self._structure(run, core)
        report = {
            "pairs": len(pairs),
            "tried": run.tried,
            "explained": run.explained,
            "success": round(run.explained / run.tried, 4) if run.tried else None,
            "unexplained": run.unexplained,
            "unanswered": dict(sorted(run.unanswered.items())),
            "criteria": len(run.sources),
            "kept": sum(s.kept for s in run.sources),
            "dropped": dict(sorted(Counter(s.reason.split(":")[0] for s in run.sources if s.reason).items())),
            "iterations": curve,
            "stopped": stop,
            "notes": run.notes,
            "majority_accuracy": run.accuracy,
        }
        return LearnedRubric(tuple(themes), self._weights(run, themes), tuple(run.sources), report, run.cost)

    def _explain(self, run: _Run, pairs: Sequence[LabelledPair], begin: int) -> None:
        """Propose, evaluate, revise until each pair is explained or the rounds are over."""
        run.latest = []
        open_ = list(range(len(pairs)))
        failed: dict[int, list[str]] = {}
        for epoch in range(self.max_epochs + 1):
            if not open_:
                return
            asked = [
                writing.ask_for_criteria(pairs[i], self.rubrics_per_pair, (begin + i) % 2 == 1, failed.get(i, ()))
                for i in open_
            ]
            replies = self.model.generate(
                asked,
                schema=writing.criteria_schema(self.rubrics_per_pair),
                temperature=self.temperature,
                seed=self.seed + epoch,
                max_tokens=self.max_tokens,
            )
            self._paid(run, replies.cost)
            written: dict[int, list[str]] = {}
            for i, reply in zip(open_, replies.rows, strict=True):
                texts = writing.read_criteria(reply.parsed, self.rubrics_per_pair) if reply.text else []
                if texts:
                    written[i] = texts
                elif reply.status != "answered":
                    run.unanswered[reply.reason or reply.status] += 1
            rows = list(written)
            votes, reasons = self._judged(run, [pairs[i] for i in rows], [written[i] for i in rows])
            verdict = dict(zip(rows, votes.tolist(), strict=True))
            last = epoch == self.max_epochs
            still = []
            for i in open_:
                vote = verdict.get(i, math.nan)
                if vote == 1:
                    run.explained += 1
                    run.tried += 1
                    run.keep(written[i], pairs[i].id, epoch)
                elif math.isnan(vote) and i in written:  # no verdict says nothing about the criteria
                    run.unanswered[reasons[rows.index(i)] or "no verdict"] += 1
                elif last:
                    run.tried += 1
                    run.unexplained.append(pairs[i].id)
                else:
                    failed[i] = written.get(i, failed.get(i, []))
                    still.append(i)
            open_ = still

    def _check_success(self, run: _Run, pairs: Sequence[LabelledPair]) -> None:
        if not run.tried:
            why = run.unanswered.most_common(1)
            raise BackendError(f"no pair got an answer: {why[0][0] if why else 'the model writes no criteria'}")
        if run.explained < self.min_success * run.tried:
            known = {p.id: as_text(p.prompt) for p in pairs}
            shown = "; ".join(f"{i} ({' '.join(known[i].split())[:60]!r})" for i in run.unexplained[:3])
            raise FeedbackError(
                f"criteria explain {run.explained} of the first {run.tried} pairs, fewer than min_success="
                f"{self.min_success:g}: the labels may be noise, or the model too weak. Not explained: {shown}"
            )

    def _select(self, run: _Run, pool: Sequence[int]) -> tuple[list[int], float]:
        """(the core of a pool of sources, its coding rate)."""
        if not pool:
            return [], 0.0
        texts = [run.sources[i].text for i in pool]
        vectors = self.encoder.encode(Candidates([""] * len(texts), texts))
        core = choose_core(
            vectors, self.core_size, eps=self.eps, least=self.least_share, how=self.selection, seed=self.seed
        )
        return sorted(pool[k] for k in core.index.tolist()), core.rate

    # ------------------------------------------------------------------ what was chosen

    def _analyse(self, run: _Run, core: list[int], pairs: Sequence[LabelledPair]) -> list[int]:
        """Fill in the statistics of the core; returns what of it is precise enough."""
        tried = pairs[: self.analysis_pairs]
        votes = np.full((len(core), len(tried)), np.nan)
        for k, i in enumerate(core):
            run.say("analysis", k, len(core))
            source = run.sources[i]
            others = [j for j, pair in enumerate(tried) if pair.id not in source.pair]
            votes[k, others] = self._judged(run, [tried[j] for j in others], [[source.text]] * len(others))[0]
        run.say("analysis", len(core), len(core))
        run.accuracy = _rounded(majority(votes))
        left = []
        for i, effect in zip(core, effects(votes), strict=True):
            source = run.sources[i]
            source.coverage, source.precision = _rounded(effect.coverage), _rounded(effect.precision)
            source.contribution = _rounded(effect.contribution)
            if source.precision is not None and source.precision < self.least_precision:
                source.kept = False
                source.reason = f"not precise: right in {source.precision:.0%} of the pairs in which it decides"
            else:
                left.append(i)
        if not left:
            raise FeedbackError(
                f"no criterion of the core is right in {self.least_precision:.0%} of the pairs in which it decides: "
                "the labels may be noise, or the model too weak; least_precision=0 keeps them"
            )
        return left

    def _structure(self, run: _Run, core: Sequence[int]) -> list[Theme]:
        """The core in themes; criteria that the model left out become tips of the theme nearest to them."""
        run.say("themes", 0, 1)
        texts = [run.sources[i].text for i in core]
        found, notes, cost = in_themes(
            self.model, self.encoder, texts, self.themes, temperature=self.temperature, seed=self.seed
        )
        run.notes += notes
        self._paid(run, cost)
        run.say("themes", 1, 1)
        return [Theme(t.name, tuple(Tip(p.text, tuple(core[i] for i in p.sources)) for p in t.tips)) for t in found]

    def _weights(self, run: _Run, themes: Sequence[Theme]) -> tuple[float, ...]:
        if self.weights == "equal":
            return (1.0,) * len(themes)
        of = [[run.sources[i] for i in theme.sources] for theme in themes]
        odds = [
            log_odds([Effect(s.coverage, s.precision, s.contribution) for s in sources], self.analysis_pairs)
            for sources in of
        ]
        return tuple(round(x / max(odds), 4) for x in odds)

    # ------------------------------------------------------------------ asking

    def _judged(
        self, run: _Run, pairs: Sequence[LabelledPair], criteria: Sequence[Sequence[str]]
    ) -> tuple[np.ndarray, Sequence[str | None]]:
        """(float64 [n] 1 where criteria i find the chosen response of pair i in both orders, -1 the other one in both,
        0 a tie or a verdict that follows the order, NaN no verdict; why)."""
        if not pairs:
            return np.zeros(0), []
        judge = PairwiseJudge(self.model, _Given(criteria), **{"order": "both", **self.judge})
        prompts = [p.prompt for p in pairs]
        chosen, rejected = [p.chosen for p in pairs], [p.rejected for p in pairs]
        said = judge.prefer(Candidates(prompts, chosen), Candidates(prompts, rejected))
        self._paid(run, said.cost)
        forward, backward = (np.array(said.detail[name], dtype=np.float64) for name in ("forward", "backward"))
        vote = ((forward > 0.5) & (backward > 0.5)).astype(np.float64) - ((forward < 0.5) & (backward < 0.5))
        return np.where(np.isnan(said.value), np.nan, vote), said.reason

    def _paid(self, run: _Run, cost: dict[str, float]) -> None:
        run.cost = total(run.cost, cost)
        spent = getattr(getattr(self.model, "budget", None), "exhausted", None)
        if spent:
            raise BackendError(
                f"the budget of {spent} is spent; what was answered is in the cache of replies: raise it and run again"
            )


class _Run:
    """What a run has come to so far."""

    def __init__(self, say: Progress) -> None:
        self.say = say
        self.sources: list[SourceRubric] = []
        self.latest: list[int] = []
        self.tried = self.explained = 0
        self.unexplained: list[str] = []
        self.unanswered: Counter[str] = Counter()
        self.notes: list[str] = []
        self.accuracy: float | None = None
        self.cost: dict[str, float] = {}
        self._at: dict[str, int] = {}

    def keep(self, texts: Sequence[str], pair: str, epoch: int) -> None:
        """Criteria that hold; the same words again only name another pair."""
        for text in texts:
            at = self._at.setdefault(text.casefold(), len(self.sources))
            if at == len(self.sources):
                self.sources.append(SourceRubric(text, [], epoch))
            self.sources[at].pair.append(pair)
            self.latest.append(at)


@dataclass(frozen=True)
class _Given(WrittenStandard):
    """Criteria i for question i."""

    criteria: Sequence[Sequence[str]]

    def each(self, candidates: Candidates, shown: Sequence[Sequence[Text]] | None = None) -> Standards:
        return Standards([Standard.rubric(list(texts)) for texts in self.criteria])

    @property
    def identity(self) -> Any:
        return [list(texts) for texts in self.criteria]


def labelled_pairs(feedback: Feedback, most: int | None = None, seed: int = 0) -> list[LabelledPair]:
    """The comparisons of ``feedback`` in which one response is better, in random order; at most ``most``."""
    pairs = feedback.pairs(ties=False)
    order = np.random.default_rng(seed).permutation(len(pairs))[:most]
    comments = feedback.comment.to_pylist() if feedback.comment is not None else None
    ids = feedback.id.to_pylist() if feedback.id is not None else None
    out = []
    for k in order.tolist():
        a, b, j = int(pairs.a[k]), int(pairs.b[k]), int(pairs.judgement[k])
        if pairs.p[k] < 0.5:
            a, b = b, a
        prompt, chosen = feedback.candidate(a)
        name = (ids[j] if ids else None) or f"judgement {j + 1}"
        out.append(LabelledPair(prompt, chosen, feedback.candidate(b)[1], comments[j] if comments else None, str(name)))
    return out


def _rounded(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 4)


def _of_texts(encoder: str | Encoder) -> Encoder:
    """The encoder of a text alone: the prompt and surface features of a criterion mean nothing."""
    if isinstance(encoder, str) and "features=" not in encoder and not encoder.startswith("file:"):
        encoder = f"{encoder}{'&' if '?' in encoder else '?'}features=response"
    return load_encoder(encoder)

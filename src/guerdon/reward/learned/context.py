r"""A reward given a context: what is asked for, in words, decides which of two responses is better.

An ambiguous comparison is resolved in two steps (CAPM): choose a context z (intent, criterion, scenario, profile), then
judge given it. The context is the column ``criterion``; each distinct text is encoded once.

    r(x, z, y) = plain(x, y) + fusion(f(x, y), c(z))      with a context
    r(x, y)    = plain(x, y)                              without one

``plain`` is the linear utility fitted on the rows without a context alone, so those are judged exactly as by a model
that saw nothing else: context data cannot make it forget. Where every row has a context, ``plain`` is zero and rows
without one are judged by a linear utility fitted on all rows, blind to contexts. ``fusion`` is, with f [d] and c [e]:

``bilinear``   f . (w + W c)                    convex, by L-BFGS; c in the span of the training contexts
``film``       v . gelu((1 + G c) * (A f) + B c)     a context scales and shifts hidden features
``concat``     mlp([f, c])
``low-rank``   (A f) . (1 + B c + b)            responses of several modalities and contexts meet in one space
``auto``       the one of the first three with the lowest loss on held-out prompts

Split by prompt (as here inside): with reversals, a pair and its reversal on two sides of a split would leak. A model is
only as good as its use of the context, so the report has three rows: right, none and wrong context
(:func:`context_report`); a wrong context that still gives more than 45 % right means the context is ignored.

Reference: Pitis et al. 2024, Improving Context-Aware Preference Modeling for Language Models,
https://arxiv.org/abs/2407.14916; Perez et al. 2017, FiLM, https://arxiv.org/abs/1709.07871
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import Text
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward, Scores
from guerdon.reward.learned.context_fusion import AUTO, FUSIONS, Fusion
from guerdon.reward.learned.features import FeatureScaling, inner_split
from guerdon.reward.learned.fitted import FeatureReward, Prepared
from guerdon.reward.learned.heads import LinearHead
from guerdon.reward.learned.likelihood import compile_likelihood

log = logging.getLogger(__name__)

IGNORED = 0.45
"""Accuracy under a wrong context above which the context is ignored."""


class ContextReward(FeatureReward):
    """A reward that reads the context of a judgement (the column ``criterion``); without one, the plain reward.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    context_encoder : specification of the encoder of contexts; same takes the text encoder of ``encoder``
    fusion : bilinear, film, concat, low-rank, or auto (the best of the first three on held-out prompts)
    max_context : longest context, in characters; a longer one is refused, never cut
    hidden : width of film and concat
    l2 : ridge penalty of the plain utility and of bilinear, or auto (chosen on held-out prompts)
    label_smoothing : share of every verdict that is moved to a coin flip, in [0, 1)
    max_pairs : at most so many pairs a person made from separate ratings; null keeps all
    learning_rate : AdamW step of film and concat
    weight_decay : AdamW weight decay of film and concat
    epochs : most passes over the data of film and concat
    batch : comparisons a step of film and concat
    seed : seeds the inner split, the pair draw and the networks
    """

    reads = ("criterion",)

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        context_encoder: str | Encoder = "same",
        fusion: str = "auto",
        max_context: int = 600,
        hidden: int = 64,
        l2: float | str = "auto",
        label_smoothing: float = 0.0,
        max_pairs: int | None = 500,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-2,
        epochs: int = 30,
        batch: int = 128,
        seed: int = 0,
    ) -> None:
        if fusion not in ("auto", *FUSIONS):
            raise ConfigError(f"fusion={fusion!r} is unknown; use auto, {', '.join(FUSIONS)}")
        if max_context < 1:
            raise ConfigError(f"max_context={max_context}: use at least one character")
        self.name = "context"
        self.context_encoder = context_encoder
        settings = {"fusion": fusion, "max_context": max_context, "hidden": hidden, "l2": l2}
        settings |= {"label_smoothing": label_smoothing, "max_pairs": max_pairs, "learning_rate": learning_rate}
        settings |= {"weight_decay": weight_decay, "epochs": epochs, "batch": batch, "seed": seed}
        super().__init__(encoder, settings)
        self.plain = LinearHead(l2=l2)
        self.fused: Fusion | None = None
        self.contexts = FeatureScaling()
        self.stands_alone = False
        """whether the fusion is the whole reward of a row with a context"""

    @property
    def params(self) -> dict[str, Any]:
        given = self.context_encoder
        return {**super().params, "context_encoder": given if isinstance(given, str) else given.spec}

    def open_context_encoder(self) -> Encoder:
        """The encoder of contexts, loaded on first use."""
        if self.context_encoder == "same":
            from guerdon.encode.encoder import FeatureEncoder

            encoder = self.open_encoder()
            encoder = getattr(encoder, "text", None) or encoder  # a context is words, whatever responses are
            if not isinstance(encoder, FeatureEncoder):
                raise ConfigError(f"encoder {encoder.spec!r} reads no free text; name a context_encoder, e.g. minilm")
            # a context is a text of its own, whatever is made of prompts and responses
            return FeatureEncoder(encoder.texts, "response", encoder.spec, cache=encoder.use_cache)
        if isinstance(self.context_encoder, str):
            from guerdon.encode import load_encoder

            self.context_encoder = load_encoder(self.context_encoder)
        return self.context_encoder

    def c(self, texts: Sequence[str]) -> np.ndarray:
        """float64 [k, e] scaled features of k distinct contexts."""
        return self.contexts(self._read(texts))

    def _read(self, texts: Sequence[str]) -> np.ndarray:
        return self.open_context_encoder().encode(Candidates([""] * len(texts), list(texts)))

    # ------------------------------------------------------------------ fitting

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        s = self.settings
        whole = Situations.of(data.feedback)
        texts = list(data.feedback.criteria)
        for text in (texts[i] for i in np.unique(data.feedback.criterion) if i >= 0):
            if len(text) > s["max_context"]:
                raise FeedbackError(
                    f"context {text[:40]!r}... has {len(text):,} characters; at most max_context={s['max_context']:,} "
                    "are read, and a context is never cut: shorten it or raise max_context"
                )
        # reversals of a pair stay on one side: prompts are divided, whatever the caller's automatic unit was
        train, held = data.train, data.held
        if data.rejoin and held is not None and len(np.unique(data.feedback.judgement_prompt)) > 1:
            train, held = inner_split(data.feedback, s["seed"], "prompt")
        bare = [part.take(part.criterion < 0) if part is not None else None for part in (train, held, data.feedback)]
        given = [part.take(part.criterion >= 0) if part is not None else None for part in (train, held, data.feedback)]
        summary: dict[str, Any] = {"contexts": len(np.unique(data.feedback.criterion[data.feedback.criterion >= 0]))}
        self.stands_alone = not _says(bare[0])
        self._fit_plain(data, *((train, held, data.feedback) if self.stands_alone else bare))
        summary |= {"rows_without_context": len(bare[2] or ()), "l2": self.plain.chosen_l2}
        self.fused = None
        if not _says(given[0]):
            return summary
        raw = self._read(texts)
        self._scale(raw[np.unique(train.criterion[train.criterion >= 0])])
        base = np.zeros(len(whole.item)) if self.stands_alone else self.plain(data.x)[whole.item]
        c, at = self.contexts(raw), (whole.item, whole.criterion)
        compiled = [None if part is None or not _says(part) else self._compile(whole.unfold(part)) for part in given]
        assert compiled[0] is not None
        losses, best = {}, None
        for name in AUTO if s["fusion"] == "auto" else (s["fusion"],):
            fusion = FUSIONS[name](**self._knobs(name))
            losses[name] = fusion.fit(data.x, c, at, base, compiled[0], compiled[1], progress=progress)
            if best is None or losses[name] < losses[best.name]:
                best = fusion
        assert best is not None
        self.fused = best
        summary |= {"fusion": best.name, "held_out_loss": {k: round(v, 4) for k, v in losses.items()}}
        if held is not None and compiled[1] is not None:
            summary["context_use"] = self._report(c, data, held)
        if data.rejoin and compiled[2] is not None and compiled[1] is not None:
            best.refit(data.x, c, at, base, compiled[2])
        return summary

    def _scale(self, raw: np.ndarray) -> None:
        """Centre contexts and scale them to a norm of about 1, all features alike: those of few texts are noise."""
        mean = raw.mean(0, dtype=np.float64)
        size = float(np.sqrt(((raw - mean) ** 2).sum(1).mean()))
        self.contexts.mean, self.contexts.scale = mean, np.full(raw.shape[1], 1 / size if size > 1e-9 else 0.0)

    def _fit_plain(self, data: Prepared, train: Any, held: Any, everything: Any) -> None:
        held = held if _says(held) else None
        self.plain = LinearHead(l2=self.settings["l2"])
        self.plain.fit(data.x, self._compile(train), None if held is None else self._compile(held))
        if held is not None and data.rejoin:
            self.plain = LinearHead(l2=self.plain.chosen_l2)
            self.plain.fit(data.x, self._compile(everything), None)

    def _compile(self, feedback: Feedback) -> Any:
        s = self.settings
        smoothing = s["label_smoothing"]
        return compile_likelihood(
            "bradley-terry", feedback, smoothing=smoothing, max_pairs=s["max_pairs"], seed=s["seed"]
        )

    def _knobs(self, name: str) -> dict[str, Any]:
        names = (
            ("l2",) if name == "bilinear" else ("hidden", "learning_rate", "weight_decay", "epochs", "batch", "seed")
        )
        return {k: self.settings[k] for k in names}

    def _report(self, c: np.ndarray, data: Prepared, held: Feedback) -> dict[str, Any]:
        """The three rows on held-out prompts, from features already here; c [k, e] of the feedback's contexts."""
        table = {text: i for i, text in enumerate(data.feedback.criteria)}

        def values(items: np.ndarray, criteria: Sequence[str | None]) -> np.ndarray:
            return self._value(data.x[items], c, np.array([-1 if t is None else table[t] for t in criteria]))

        report = _three_rows(values, held)
        report.warn()
        return report.as_json()

    # ------------------------------------------------------------------ scoring

    def _value(self, x: np.ndarray, contexts: np.ndarray, code: np.ndarray) -> np.ndarray:
        """float64 [n] rewards of features x [n, d] given rows ``code`` [n] of contexts [k, e] (-1: none)."""
        value = self.plain(x)
        rows = np.flatnonzero(code >= 0)
        if self.fused is None or not len(rows):
            return value
        fused = self.fused(x[rows], contexts[code[rows]])
        value[rows] = fused if self.stands_alone else value[rows] + fused
        return value

    def score(self, candidates: Candidates) -> Scores:
        """Utility in log-odds given each candidate's ``criterion``; too long a context leaves it unscored."""
        n = len(candidates)
        if not n:
            return Scores(np.zeros(0))
        column = candidates.criterion or [None] * n
        table: dict[str, int] = {}
        code = np.array([-1 if t is None or not t.strip() else table.setdefault(t, len(table)) for t in column])
        limit = self.settings["max_context"]
        fits = [len(t) <= limit for t in table]
        texts = [t if ok else "" for t, ok in zip(table, fits, strict=True)]
        contexts = self.c(texts) if table and self.fused is not None else np.zeros((len(table), 0))
        value = self._value(self.x(candidates), contexts, code)
        status = ["scored"] * n
        reason: list[str | None] = [None] * n
        for row in np.flatnonzero(code >= 0):
            if not fits[code[row]]:
                value[row], status[row] = np.nan, "too_long"
                reason[row] = f"a context of more than {limit} characters is not read (max_context)"
        return Scores(value, status, reason)

    def prefer_given(
        self, prompt: Text, a: Text, b: Text, contexts: Sequence[str | None], *, user: str | None = None
    ) -> np.ndarray:
        """float64 [k] P(a preferred to b) given each of k contexts."""
        k = len(contexts)
        both = Candidates([prompt] * (2 * k), [a] * k + [b] * k, criterion=[*contexts, *contexts])
        value = self.score(both if user is None else both.asked_by(user)).value
        return 0.5 * (1 + np.tanh(0.5 * (value[:k] - value[k:])))

    def marginal(
        self, prompt: Text, a: Text, b: Text, contexts: Sequence[str | None], weights: Sequence[float] | None = None
    ) -> float:
        """P(a preferred to b) where the context is not stated: sum over z of p(z) P(a preferred to b | z).

        weights  >= 0, one a context, scaled to sum to 1; None takes the contexts as equally likely
        """
        w = np.ones(len(contexts)) if weights is None else np.asarray(weights, dtype=float)
        if len(w) != len(contexts) or not len(w) or (w < 0).any() or not np.isfinite(w).all() or w.sum() <= 0:
            raise ConfigError(f"marginal over {len(contexts)} contexts: give one weight >= 0 a context, not all zero")
        return float(w @ self.prefer_given(prompt, a, b, contexts) / w.sum())

    # ------------------------------------------------------------------ saving

    def arrays(self) -> dict[str, np.ndarray]:
        out = {**self.features.arrays(), **{f"plain.{k}": v for k, v in self.plain.arrays().items()}}
        out |= {"stands_alone": np.array([self.stands_alone], dtype=np.uint8)}
        if self.fused is not None:
            out |= {f"contexts.{k}": v for k, v in self.contexts.arrays().items()}
            out |= {f"{self.fused.name}.{k}": v for k, v in self.fused.arrays().items()}
        return out

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        def under(name: str) -> dict[str, np.ndarray]:
            return {k.removeprefix(f"{name}."): v for k, v in arrays.items() if k.startswith(f"{name}.")}

        self.features.restore(arrays)
        self.plain.restore(under("plain"))
        self.stands_alone = bool(arrays["stands_alone"][0])
        for name, make in FUSIONS.items():
            if found := under(name):
                self.contexts.restore(under("contexts"))
                fusion: Fusion = make(**self._knobs(name))
                fusion.restore(found)
                self.fused = fusion


def _says(feedback: Feedback | None) -> bool:
    """Whether ``feedback`` implies a comparison."""
    return feedback is not None and len(feedback) > 0 and len(feedback.pairs(max_per_person=1)) > 0


@dataclass(frozen=True)
class Situations:
    """The distinct (candidate, criterion) of feedback: what a reward given a context scores.

    item       int [s] index of the candidate
    criterion  int [s] index of the criterion, -1 = none
    """

    item: np.ndarray
    criterion: np.ndarray
    names: int

    @classmethod
    def of(cls, feedback: Feedback) -> Situations:
        """The situations of ``feedback``, in ascending order."""
        names = len(feedback.criteria) + 1
        key = np.unique(_keys(feedback, names))
        return cls(key // names, key % names - 1, names)

    def unfold(self, feedback: Feedback) -> Feedback:
        """``feedback`` (part of that these were made from) with situations in the place of candidates."""
        key = self.item * self.names + self.criterion + 1
        return replace(
            feedback,
            items=np.searchsorted(key, _keys(feedback, self.names)).astype(np.int32),
            prompt_of=feedback.prompt_of[self.item],
            responses=feedback.responses.take(pa.array(self.item)),
        )


def _keys(feedback: Feedback, names: int) -> np.ndarray:
    return feedback.items.astype(np.int64) * names + np.repeat(feedback.criterion, feedback.sizes) + 1


# ------------------------------------------------------------------------------------------- is the context used?


@dataclass(frozen=True)
class ContextReport:
    """Accuracy under the right context, none, and a wrong one: the one under which the same pair was judged otherwise.

    ``wrong`` is NaN where no pair was judged in two ways; ``n`` comparisons, ``reversed_`` with a wrong context.
    """

    right: float
    none: float
    wrong: float
    n: int
    reversed_: int

    @property
    def ignored(self) -> bool:
        """Whether a wrong context does not turn the verdicts."""
        return self.wrong > IGNORED

    def warn(self) -> None:
        """Log a warning where the context is ignored."""
        if self.ignored:
            log.warning(
                "context is ignored: %.0f %% right under a wrong context; check the data for reversals "
                "(pairs judged in both ways under different contexts)",
                100 * self.wrong,
            )

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        wrong = None if np.isnan(self.wrong) else round(self.wrong, 4)
        rows = {"right": round(self.right, 4), "none": round(self.none, 4), "wrong": wrong}
        return {**rows, "comparisons": self.n, "reversals": self.reversed_, "ignored": self.ignored}

    def __str__(self) -> str:
        wrong = "no reversals" if np.isnan(self.wrong) else f"{self.wrong:.3f} ({self.reversed_:,} reversals)"
        text = f"right context {self.right:.3f}, none {self.none:.3f}, wrong {wrong}; {self.n:,} comparisons"
        return text + ("; context is ignored" if self.ignored else "")


def context_report(reward: Reward, feedback: Feedback) -> ContextReport:
    """How ``reward`` does on comparisons with a context under the right one, none, and a wrong one; warns if ignored.

    Raises
    ------
    FeedbackError
        if no comparison has a context
    """

    def values(items: np.ndarray, criteria: Sequence[str | None]) -> np.ndarray:
        return reward.score(replace(feedback.candidates.take(items), criterion=list(criteria))).value

    report = _three_rows(values, feedback)
    report.warn()
    return report


def _three_rows(values: Any, feedback: Feedback) -> ContextReport:
    pairs = feedback.pairs(ties=False)
    pairs = pairs.take(pairs.criterion >= 0)
    if not len(pairs):
        raise FeedbackError("no comparison has a context (the column criterion): nothing to report about its use")
    names = [feedback.criteria[i] for i in pairs.criterion]
    wrong = _reversals(pairs, feedback.criteria)

    def accuracy(rows: np.ndarray, criteria: Sequence[str | None]) -> float:
        if not len(rows):
            return float("nan")
        gap = values(pairs.a[rows], criteria) - values(pairs.b[rows], criteria)
        known = ~np.isnan(gap)
        right = np.where(gap == 0, 0.5, (gap > 0) == (pairs.p[rows] > 0.5))
        return float(right[known].mean()) if known.any() else float("nan")

    everything, turned = np.arange(len(pairs)), np.flatnonzero([w is not None for w in wrong])
    right, none = accuracy(everything, names), accuracy(everything, [None] * len(pairs))
    return ContextReport(right, none, accuracy(turned, [wrong[i] for i in turned]), len(pairs), len(turned))


def _reversals(pairs: Any, criteria: Sequence[str]) -> list[str | None]:
    """For each comparison a context under which the same two responses were judged the other way, or None."""
    seen: dict[tuple[int, int], list[tuple[bool, int]]] = {}
    keys = []
    for a, b, p, c in zip(pairs.a.tolist(), pairs.b.tolist(), pairs.p.tolist(), pairs.criterion.tolist(), strict=True):
        low_wins = (p > 0.5) == (a < b)
        keys.append(((min(a, b), max(a, b)), low_wins))
        seen.setdefault(keys[-1][0], []).append((low_wins, c))
    others = [[c for wins, c in seen[key] if wins != low] for key, low in keys]
    return [criteria[found[0]] if found else None for found in others]

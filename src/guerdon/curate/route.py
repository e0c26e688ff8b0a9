r"""Who should label what: send the instances to people whose human label is predicted to help the reward most.

On a pilot set with two labels an instance (people's, and a cheap judge's), many *mixtures* are tried: a random set of
instances gets the human label, the rest the judge's, always the same number of pairs trains a reward, and its quality
is measured. A regression (:mod:`.mixture_regression`) learns quality from how many human-labelled instances have each
property (:mod:`.properties`; those a language model names: :mod:`.tags`). Instances go by their predicted gain, or
(``simulate``) of many mixtures of the budget's size the one predicted best is taken.

Mixtures of the same instances share the luck of their labels, and that is predictable without being of use elsewhere;
so the verdict is reached on other *instances*: a regression on mixtures of one half must predict those of the other
half, either way. Where it does not (R^2 <= 0.1, or no better than the mere number of human labels) there is "no
routable structure": nothing is claimed, and any b instances are as good.

Reference: Miranda et al. (2024), Hybrid Preferences: Learning to Route Instances for Human vs. AI Feedback,
https://arxiv.org/abs/2410.19133.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from guerdon.curate.mixture_regression import Predictor, Ridge, fit_predictor
from guerdon.curate.properties import Named, Ranges, textual
from guerdon.curate.queue import Question, write_queue
from guerdon.curate.step import Changes, Curated
from guerdon.curate.tags import tag
from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import SOURCES
from guerdon.feedback.star import Feedback, Pairs
from guerdon.generate.base import LanguageModel
from guerdon.generate.load import load_language_model
from guerdon.reward.learned.heads import LinearHead
from guerdon.reward.learned.likelihood import BradleyTerry

LEAST = 0.1
"""R^2 on unseen mixtures up to which there is nothing to route by."""

Quality = Callable[[np.ndarray], float]
"""bool [n] which instances have their human label -> quality of the reward trained on that mixture."""


@dataclass(frozen=True)
class MixtureQuality:
    """Accuracy of a linear reward trained on a mixture: the default quality, milliseconds on cached features.

    z        float64 [n, d] feature differences (first - second);  human, other  float64 [n] P(first preferred)
    test     float64 [m, d] and ``truth`` float64 [m]: comparisons of other prompts with what people said
    size     pairs that every mixture trains on, drawn once (None: all): quality must not follow their number
    """

    z: np.ndarray
    human: np.ndarray
    other: np.ndarray
    test: np.ndarray
    truth: np.ndarray
    l2: float = 1e-3
    size: int | None = None
    seed: int = 0

    def __call__(self, mixture: np.ndarray) -> float:
        p = np.where(mixture, self.human, self.other)
        rows = np.arange(len(p))
        if self.size is not None and self.size < len(p):
            rows = np.sort(np.random.default_rng([self.seed, 97]).permutation(len(p))[: self.size])
        n, zero = len(rows), np.zeros(len(rows), np.int64)
        pairs = Pairs(np.arange(n), np.full(n, n), p[rows], np.ones(n), np.ones(n), zero - 1, zero - 1, np.arange(n))
        head = LinearHead(l2=self.l2)
        data: Any = BradleyTerry(pairs, n + 1)
        head.fit(np.concatenate([self.z[rows], np.zeros((1, self.z.shape[1]))]), data, None)
        says = self.test @ head.weight
        strict = self.truth != 0.5
        return float(np.mean(np.where(says == 0, 0.5, (says > 0) == (self.truth > 0.5))[strict]))


def mixtures(has: np.ndarray, count: int, seed: int = 0, budget: int | None = None) -> np.ndarray:
    """bool [count, n] random human-labelled subsets: size uniform in 1..n (or ``budget``), filled property by property.

    Until a subset is full, a property is drawn and a random number of instances that have it joins: the counts of
    properties vary far more than in subsets drawn instance by instance.
    """
    n, j = has.shape
    rng = np.random.default_rng([seed, 971])
    out = np.zeros((count, n), bool)
    for mixture in out:
        left = int(rng.integers(1, n + 1)) if budget is None else min(budget, n)
        tries = 0
        while left > 0:
            free = np.flatnonzero(has[:, rng.integers(j)] & ~mixture) if tries < 4 * j else np.flatnonzero(~mixture)
            tries += 1
            if len(free):
                take = min(left, int(rng.integers(1, len(free) + 1)))
                mixture[rng.choice(free, take, replace=False)] = True
                left -= take
    return out


@dataclass(frozen=True)
class Router:
    """What the pilot taught. ``figures``: r2, spearman and rmse on unseen mixtures; r2_instances on mixtures of other
    instances, r2_by_number the same by the mere number of human labels; noise of the quality function; ``routable``
    the verdict."""

    predictor: Predictor
    properties: list[str]
    figures: dict[str, float]
    routable: bool

    @property
    def verdict(self) -> str:
        """In one line."""
        f = self.figures
        if self.routable:
            return f"routable: the properties explain {f['r2_instances']:.0%} of the quality of mixtures elsewhere"
        return (
            f"no routable structure: R² {f['r2_instances']:.2f} on mixtures of other instances, "
            f"{f['r2_by_number']:.2f} by the number of human labels alone"
        )

    @classmethod
    def learn(
        cls,
        has: np.ndarray,
        quality: Quality,
        *,
        properties: Sequence[str] | None = None,
        count: int = 200,
        predictor: str = "linear",
        seed: int = 0,
    ) -> Router:
        """Try ``count`` mixtures of instances with properties ``has`` bool [n, J]; four fifths teach, a fifth tests.

        Half as many more, a quarter on either half of the instances, say whether what was learned holds elsewhere.
        """
        j = has.shape[1]
        if count < 20:
            raise ConfigError(f"mixtures={count}: at least 20 are needed to learn anything from; 200 are usual")
        tried = mixtures(has, count, seed)
        q = np.array([quality(m) for m in tried])
        noise = abs(quality(tried[0]) - q[0])
        counts = tried.astype(float) @ has
        order = np.random.default_rng([seed, 972]).permutation(count)
        train, test = order[: int(0.8 * count)], order[int(0.8 * count) :]
        found = fit_predictor(counts[train], q[train], predictor)
        said = found(counts[test])
        r2 = _r2(said, q[test], float(q[train].mean()))
        half = np.isin(np.arange(len(has)), np.random.default_rng([seed, 975]).permutation(len(has))[: len(has) // 2])
        sides = []
        for k, rows in enumerate((np.flatnonzero(half), np.flatnonzero(~half))):
            masks = np.zeros((max(count // 4, 10), len(has)), bool)
            masks[:, rows] = mixtures(has[rows], len(masks), seed + 1 + k)
            sides.append((masks, np.array([quality(m) for m in masks])))
        across, by_number = np.inf, np.inf
        for (one, q1), (two, q2) in (sides, sides[::-1]):
            other = fit_predictor(one.astype(float) @ has, q1, predictor)(two.astype(float) @ has)
            plain = fit_predictor(one.sum(1, keepdims=True).astype(float), q1)(two.sum(1, keepdims=True).astype(float))
            across = min(across, _r2(other, q2, float(q2.mean())))
            by_number = min(by_number, _r2(plain, q2, float(q2.mean())))
        rank = (
            float(np.corrcoef(rankdata(said), rankdata(q[test]))[0, 1]) if np.ptp(said) * np.ptp(q[test]) > 0 else 0.0
        )
        figures = {
            "r2": r2,
            "r2_instances": across,
            "r2_by_number": by_number,
            "spearman": rank,
            "rmse": float(np.sqrt(np.mean((said - q[test]) ** 2))),
            "quality_noise": float(noise),
            "quality_low": float(q.min()),
            "quality_high": float(q.max()),
            "mixtures": float(count),
            "properties": float(j),
        }
        names = list(properties) if properties is not None else [f"property {k}" for k in range(j)]
        return cls(fit_predictor(counts, q, predictor), names, figures, across > LEAST and across > by_number)

    def route(self, has: np.ndarray, budget: int | str, *, how: str = "gain", seed: int = 0) -> np.ndarray:
        """bool [n] which instances go to people: the ``budget`` of highest gain (``optimal``: all with a gain > 0).

        how  gain, or simulate: the best predicted of 500 mixtures of that size
        """
        if how == "simulate" and budget != "optimal":
            tried = mixtures(has, 500, seed, int(budget))
            return tried[int(np.argmax(self.predictor(tried.astype(float) @ has)))]
        gain = self.predictor.gain(has)
        if budget == "optimal":
            return gain > 1e-12
        out = np.zeros(len(has), bool)
        draw = np.random.default_rng([seed, 973]).random(len(has))  # equal gains: not by the order of the file
        out[np.lexsort((draw, -gain))[: int(budget)]] = True
        return out

    def coefficients(self) -> list[tuple[str, float]]:
        """(property, gain of one human-labelled instance that has it), strongest first; linear predictors only."""
        p = self.predictor
        if not isinstance(p, Ridge) or p.kind != "linear":
            raise ConfigError("coefficients of single properties are those of predictor=linear")
        value = p.coefficients * p.scale
        return [(self.properties[k], float(value[k])) for k in np.argsort(-np.abs(value), kind="stable")]


def _r2(said: np.ndarray, truth: np.ndarray, mean: float) -> float:
    return 1 - float(np.sum((said - truth) ** 2)) / max(float(np.sum((truth - mean) ** 2)), 1e-12)


# ---------------------------------------------------------------------- feedback with two kinds of labels


@dataclass(frozen=True)
class Pilot:
    """n comparisons with labels of both kinds: candidates ``a``, ``b``, mean P(a preferred) by ``human`` and ``other``
    [n], ``judgements`` of either kind [n], and ``prompt`` [n]; ``alone`` those the judge labelled but no person did.

    A comparison that people or the judge tie is left out of both arms, and counted in ``tied``.
    """

    a: np.ndarray
    b: np.ndarray
    human: np.ndarray
    other: np.ndarray
    prompt: np.ndarray
    by_human: list[list[int]]
    by_other: list[list[int]]
    alone: list[list[int]]
    tied: int

    @classmethod
    def of(cls, feedback: Feedback, human: str = "human", other: str = "model") -> Pilot:
        """From judgements of two responses whose ``source`` is ``human`` or ``other``."""
        for name in (human, other):
            if name not in SOURCES:
                raise ConfigError(f"{name!r} is no source of judgements; use one of {', '.join(SOURCES)}")
        table: dict[tuple[int, int], tuple[list[int], list[int], list[float], list[float]]] = {}
        kinds = {SOURCES.index(human): 0, SOURCES.index(other): 1}
        pairs = feedback.pairs()
        for a, b, p, j in zip(pairs.a.tolist(), pairs.b.tolist(), pairs.p, pairs.judgement.tolist(), strict=True):
            kind = kinds.get(int(feedback.source[j]))
            if kind is None or feedback.sizes[j] != 2:
                continue
            entry = table.setdefault((min(a, b), max(a, b)), ([], [], [], []))
            entry[kind].append(j)
            entry[2 + kind].append(p if a < b else 1 - p)
        both = {k: v for k, v in table.items() if v[0] and v[1]}
        alone = [v[1] for v in table.values() if v[1] and not v[0]]
        if not both:
            raise FeedbackError(
                f"no comparison has a label of both kinds ({human} and {other}): the pilot needs both on one set"
            )
        strict = {k: v for k, v in both.items() if np.mean(v[2]) != 0.5 and np.mean(v[3]) != 0.5}
        keys = np.array(list(strict), dtype=np.int64).reshape(-1, 2)
        return cls(
            keys[:, 0],
            keys[:, 1],
            np.array([float(np.mean(v[2]) > 0.5) for v in strict.values()]),
            np.array([float(np.mean(v[3]) > 0.5) for v in strict.values()]),
            feedback.prompt_of[keys[:, 0]],
            [v[0] for v in strict.values()],
            [v[1] for v in strict.values()],
            alone,
            len(both) - len(strict),
        )


def route(
    feedback: Feedback,
    *,
    budget: float | str = 0.5,
    human: str = "human",
    other: str = "model",
    predictor: str = "linear",
    how: str = "gain",
    mixtures: int = 200,
    size: int | None = 7000,
    holdout: float = 0.3,
    encoder: str | Encoder = "minilm",
    lm: str | LanguageModel | None = None,
    l2: float = 1e-3,
    queue: str | None = None,
    force: bool = False,
    seed: int = 0,
) -> Curated:
    """Keep people's label where it is predicted to help most, the judge's elsewhere; ask people about new instances.

    Parameters
    ----------
    budget : share of the instances that people label, in (0, 1], or optimal (all with a predicted gain)
    human : source of the dear labels
    other : source of the cheap labels
    predictor : linear, quadratic, boosted (trees), or auto (the best of them on unseen mixtures)
    how : gain (highest first) or simulate (best predicted of 500 mixtures)
    mixtures : mixtures that are tried
    size : most pairs that a mixture trains on
    holdout : share of the prompts whose human labels measure quality
    encoder : what computes the features of rewards and properties
    lm : a language model that tags the comparisons (hf:PATH or http://HOST:PORT/v1#MODEL); none: textual ones only
    l2 : ridge penalty of the rewards that are tried
    queue : file for questions about comparisons that only the judge has labelled and that belong to people
    force : route even where there is no routable structure
    seed : seeds mixtures, splits and draws
    """
    if budget != "optimal" and not (isinstance(budget, int | float) and 0 < budget <= 1):
        raise ConfigError(f"budget={budget!r}: use a share in (0, 1], or optimal")
    if how not in ("gain", "simulate"):
        raise ConfigError(f"how={how!r}: use gain or simulate")
    pilot = Pilot.of(feedback, human, other)
    model = load_language_model(lm) if lm is not None else None
    work = Workbench.of(feedback, pilot, encoder, l2, size, holdout, seed, model)
    router = Router.learn(
        work.has[work.train],
        work.quality,
        properties=work.ranges.properties,
        count=mixtures,
        predictor=predictor,
        seed=seed,
    )
    n = len(pilot.a)
    b: int | str = "optimal" if budget == "optimal" else round(float(budget) * n)
    changes = Changes(feedback, by=f"routing by {predictor} regression", using=f"{mixtures} mixtures, seed {seed}")
    figures = {"routable": router.routable, "verdict": router.verdict, **_rounded(router.figures), "tied": pilot.tied}
    if model is not None:
        figures["untagged"] = work.untagged
    figures |= {"instances": n, "trained_on": int(work.train.sum()), "queue": queue}
    if not (router.routable or force):
        return changes.done({**figures, "to_people": 0, "cautions": [router.verdict + "; nothing was changed"]})
    chosen = router.route(work.has, b, how=how, seed=seed)
    gain = router.predictor.gain(work.has)
    for i in range(n):
        why = f"predicted gain of a human label {gain[i]:+.2e}"
        keep, lose = (pilot.by_human, pilot.by_other) if chosen[i] else (pilot.by_other, pilot.by_human)
        changes.keep(np.array(keep[i]), why=f"{why}: {human if chosen[i] else other}")
        changes.drop(np.array(lose[i]), why=f"{why}: {other if chosen[i] else human} label not needed")
    asked = 0
    if queue is not None and pilot.alone:
        has, questions = work.alone(feedback, pilot)
        due = router.route(has, "optimal" if b == "optimal" else round(float(budget) * len(has)), how="gain", seed=seed)
        asked = write_queue(queue, [q for q, d in zip(questions, due, strict=True) if d])
    top = router.coefficients()[:15] if router.predictor.kind == "linear" else []
    figures |= {"to_people": int(chosen.sum()), "asked": asked, "coefficients": [[k, round(v, 8)] for k, v in top]}
    return changes.done(figures)


@dataclass(frozen=True)
class Workbench:
    """A pilot with its properties ``has`` [n, J], the rows to train on (``train`` bool [n]) and the quality of their
    mixtures, measured on human labels of held-out prompts."""

    ranges: Ranges
    has: np.ndarray
    train: np.ndarray
    quality: MixtureQuality
    encoder: Encoder
    model: LanguageModel | None = None
    untagged: int = 0
    """instances that the language model did not tag"""

    @classmethod
    def of(
        cls,
        feedback: Feedback,
        pilot: Pilot,
        encoder: str | Encoder,
        l2: float = 1e-3,
        size: int | None = None,
        holdout: float = 0.3,
        seed: int = 0,
        model: LanguageModel | None = None,
    ) -> Workbench:
        """Properties of all instances (ranges cut before any split), quality on the prompts held out."""
        from guerdon.encode import load_encoder
        from guerdon.reward.learned.features import FeatureScaling

        opened = load_encoder(encoder) if isinstance(encoder, str) else encoder
        values, named, untagged = _described(feedback, pilot.a, pilot.b, [v[0] for v in pilot.by_human], opened, model)
        ranges = Ranges.of(values, named)
        prompts = np.unique(pilot.prompt)
        held = np.random.default_rng([seed, 974]).permutation(prompts)[: max(1, round(holdout * len(prompts)))]
        train = ~np.isin(pilot.prompt, held)
        if train.sum() < 20 or train.all():
            raise FeedbackError(
                f"{int(train.sum())} instances to train on, {int((~train).sum())} to measure on: too few for a pilot"
            )
        used, at = np.unique(np.concatenate([pilot.a, pilot.b]), return_inverse=True)
        x = opened.encode(feedback.candidates.take(used))
        scaling = FeatureScaling()
        scaling.fit(x[np.unique(np.concatenate([at[: len(pilot.a)][train], at[len(pilot.a) :][train]]))])
        x = scaling(x)
        z = x[at[: len(pilot.a)]] - x[at[len(pilot.a) :]]
        quality = MixtureQuality(
            z[train], pilot.human[train], pilot.other[train], z[~train], pilot.human[~train], l2, size, seed
        )
        return cls(ranges, ranges.has(values, named), train, quality, opened, model, untagged)

    def alone(self, feedback: Feedback, pilot: Pilot) -> tuple[np.ndarray, list[Question]]:
        """(properties, questions) of the comparisons that no person has labelled."""
        rows = [v[0] for v in pilot.alone]
        items = np.array([feedback.items[feedback.offsets[j] : feedback.offsets[j + 1]] for j in rows])
        values, named, _ = _described(feedback, items[:, 0], items[:, 1], rows, self.encoder, self.model)
        has = self.ranges.has(values, named)
        c = feedback.candidates
        why = "predicted to help the reward more than the judge's label"
        return has, [Question(c.prompts[a], c.responses[a], c.responses[b], None, why) for a, b in items.tolist()]


def _described(
    feedback: Feedback,
    a: np.ndarray,
    b: np.ndarray,
    judgement: Sequence[int],
    encoder: Encoder,
    model: LanguageModel | None,
) -> tuple[dict[str, np.ndarray], dict[str, list[Named]], int]:
    """(textual properties; names: subset, criterion where there are several, a model's tags; how many are untagged)."""
    c = feedback.candidates
    texts = ([column[i] for i in at] for column, at in ((c.prompts, a), (c.responses, a), (c.responses, b)))
    prompts, first, second = texts
    values = textual(prompts, first, second, encoder)
    named: dict[str, list[Named]] = {}
    for name, table, codes in (
        ("subset", feedback.subsets, feedback.subset),
        ("criterion", feedback.criteria, feedback.criterion),
    ):
        if 1 < len(table) <= 50:
            named[name] = [table[codes[j]] if codes[j] >= 0 else None for j in judgement]
    if model is None:
        return values, named, 0
    tags = tag(model, prompts, first, second)
    for name, column in tags.columns.items():
        named[name] = list(column)
    return values, named, sum(reason is not None for reason in tags.reason)


def _rounded(figures: dict[str, float]) -> dict[str, Any]:
    return {k: round(v, 4) for k, v in figures.items()}

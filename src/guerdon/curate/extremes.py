r"""New pairs from a pool: the best and the worst of n responses to a prompt, by the reward fitted so far.

For each unlabelled prompt the responses y_1..y_n are scored, the highest becomes chosen, the lowest rejected. Extreme
pairs have far cleaner pseudo-labels than random ones, and they are of the policy that gave the responses; but a large n
also searches out the reward's own mistakes, so that pairs are filtered before they are believed:

    confidence    P(best preferred to worst) by the reward, above a quantile of the pool; or instead
    uncertainty   the gap in units of its standard deviation (an ensemble's or a posterior's), above a quantile
    likelihood    responses less likely under the policy than a quantile of the pool are out *before* best and worst are
                  chosen, where log-likelihoods are given (filtering pairs afterwards would leave none of such prompts)

Identical best and worst, prompts without spread and texts met twice are left out. A reward that only compares finds
its best and its worst by two passes over the responses (2n - 3 comparisons). :func:`improve` fits again on human and
synthetic pairs *from scratch*, measures before and after on human pairs of held-out prompts that the pool may not
contain, and says how many more human labels would have given the same gain. Whatever is chosen automatically (a
penalty, when to stop) is chosen on human judgements alone: synthetic pairs agree with the reward by construction.

A synthetic pair weighs ``weight`` x its confidence, so that very separable pairs do not drown what people said.

Reference: Pace et al. (2024), West-of-N: Synthetic Preferences for Self-Improving Reward Models,
https://arxiv.org/abs/2401.12086.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from guerdon.curate.step import Changes, Curated
from guerdon.encode import load_encoder
from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import pack
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward
from guerdon.reward.learned.features import inner_split
from guerdon.reward.registry import model as registered

FILTERS = ("confidence", "uncertainty", "none")
LIKELIHOOD = "loglikelihood"
"""The column of a pool (``Candidates.extra``) with the policy's log-likelihood of each response."""


@dataclass(frozen=True)
class Mined:
    """m pairs of a pool, one a prompt: ``best`` and ``worst`` int [m] candidates, ``confidence`` [m] = P(best
    preferred) by the reward, ``certainty`` [m] = gap / its standard deviation (NaN where none is given), ``keep`` bool
    [m] what the filters let through, ``why`` [m] what they said; ``skipped`` counts prompts without a pair, by reason.
    """

    best: np.ndarray
    worst: np.ndarray
    confidence: np.ndarray
    certainty: np.ndarray
    keep: np.ndarray
    why: list[str]
    skipped: dict[str, int] = field(default_factory=dict)


def mine(
    pool: Candidates,
    reward: Reward,
    *,
    n: int | None = 64,
    keep: float = 0.5,
    filter: str = "confidence",
    min_likelihood: float = 0.0,
    seed: int = 0,
) -> Mined:
    """The best and the worst response to each prompt of ``pool`` by ``reward``, and which of these pairs to keep.

    n               most responses a prompt that are looked at (drawn by ``seed``); None takes all
    keep            share of the pairs that ``filter`` keeps, in (0, 1]
    min_likelihood  share of the pool's responses too unlikely to be in a pair, in [0, 1), by ``extra["loglikelihood"]``
    """
    if filter not in FILTERS:
        raise ConfigError(f"filter={filter!r} is unknown; use one of {', '.join(FILTERS)}")
    if not 0 < keep <= 1 or not 0 <= min_likelihood < 1 or (n is not None and n < 2):
        raise ConfigError(f"keep={keep}, min_likelihood={min_likelihood}, n={n}: use (0, 1], [0, 1) and at least 2")
    groups, twice = members(pool, n, seed)
    skipped = {"identical responses left out": twice} if twice else {}
    if min_likelihood:
        if LIKELIHOOD not in pool.extra:
            raise FeedbackError(
                f"min_likelihood={min_likelihood:g}: the pool has no column {LIKELIHOOD!r} (a server without log-probs "
                "gives none); leave the likelihood filter out"
            )
        likelihood = np.array([np.nan if v is None else float(v) for v in pool.extra[LIKELIHOOD]])
        likely = likelihood >= np.nanquantile(likelihood, min_likelihood)
        skipped["unlikely responses left out"] = sum(int((~likely[g]).sum()) for g in groups)
        groups = [g[likely[g]] for g in groups]
    rows = np.unique(np.concatenate([np.zeros(0, np.int64), *groups]))
    compares_only = type(reward).score is Reward.score
    values = std = None
    if not compares_only:
        scores = reward.score(pool.take(rows))
        values = np.full(len(pool), np.nan)
        values[rows] = scores.value
        if scores.std is not None:
            std = np.full(len(pool), np.nan)
            std[rows] = scores.std
    pairs = []
    for group in groups:
        if compares_only:
            found = tournament(reward, pool, group)
        else:
            assert values is not None
            found = _extremes(values, group)
        if isinstance(found, str):
            skipped[found] = skipped.get(found, 0) + 1
        else:
            pairs.append(found)
    best = np.array([b for b, _ in pairs], dtype=np.int64)
    worst = np.array([w for _, w in pairs], dtype=np.int64)
    confidence = np.asarray(reward.prefer(pool.take(best), pool.take(worst)).value) if len(best) else np.zeros(0)
    certainty = np.full(len(best), np.nan)
    if std is not None and values is not None:
        gap = values[best] - values[worst]
        certainty = gap / np.maximum(np.sqrt(std[best] ** 2 + std[worst] ** 2), 1e-12)
    if filter == "uncertainty" and np.isnan(certainty).all():
        raise ConfigError(f"filter=uncertainty: {reward.name} gives no standard deviations; use filter=confidence")
    kept, why = _filtered(confidence, certainty, keep, filter)
    return Mined(best, worst, confidence, certainty, kept, why, skipped)


def members(pool: Candidates, n: int | None, seed: int = 0) -> tuple[list[np.ndarray], int]:
    """(candidates of each prompt in order, how many were left out because a prompt had the same response before)."""
    groups: dict[str, dict[str, int]] = {}
    for i, c in enumerate(pool):
        groups.setdefault(pack(c.prompt), {}).setdefault(pack(c.response), i)
    rng = np.random.default_rng(seed)
    out = []
    for group in groups.values():
        rows = np.array(list(group.values()), dtype=np.int64)
        if n is not None and len(rows) > n:
            rows = np.sort(rng.choice(rows, n, replace=False))
        out.append(rows)
    return out, len(pool) - sum(len(g) for g in groups.values())


def tournament(reward: Reward, pool: Candidates, group: np.ndarray) -> tuple[int, int] | str:
    """(best, worst) of ``group`` by a reward that only compares: one pass for the best, one for the worst, 2n - 3
    comparisons. Returns the reason where there is no such pair."""
    if len(group) < 2:
        return "fewer than two different responses"

    def wins(a: int, b: int) -> float:
        return float(reward.prefer(pool.take([a]), pool.take([b])).value[0])

    best = int(group[0])
    for other in group[1:]:
        p = wins(int(other), best)
        if np.isnan(p):
            return "a response is unscored"
        best = int(other) if p > 0.5 else best
    rest = [int(g) for g in group if g != best]
    worst = rest[0]
    for other in rest[1:]:
        p = wins(worst, other)
        if np.isnan(p):
            return "a response is unscored"
        worst = other if p > 0.5 else worst
    return (best, worst)


def equivalent(sizes: Sequence[float], accuracy: Sequence[float], gained: float) -> float:
    """How many more human labels than the largest of ``sizes`` give ``gained`` accuracy: the learning curve
    ``accuracy = a + b log(size)`` by least squares, read backwards. NaN where more labels did not help (b <= 0)."""
    x = np.log(np.asarray(sizes, dtype=float))
    b = float(np.polyfit(x, np.asarray(accuracy, dtype=float), 1)[0])
    if b <= 0:
        return float("nan")
    return float(max(sizes) * np.expm1(min(gained / b, 20.0)))


@dataclass(frozen=True)
class Improved:
    """What a cycle gave: the last ``reward``, the ``pairs`` that were added (feedback), the figures of the ``report``,
    and what was mined each round."""

    reward: Any
    pairs: Feedback
    mined: list[Mined]
    report: dict[str, Any]


def improve(
    feedback: Feedback,
    pool: Candidates,
    *,
    model: str = "bradley-terry",
    encoder: str | Encoder = "minilm",
    settings: Mapping[str, Any] | None = None,
    reward: Reward | None = None,
    rounds: int = 1,
    n: int | None = 64,
    keep: float = 0.5,
    filter: str = "confidence",
    min_likelihood: float = 0.0,
    weight: float = 1.0,
    most: float | None = 1.0,
    holdout: float = 0.2,
    seed: int = 0,
) -> Improved:
    """Fit, mine, fit again from scratch on human and synthetic pairs; ``rounds`` times.

    reward   labels the first round in the place of a model fitted to ``feedback``
    most     at most so many synthetic pairs as a multiple of the human judgements (the most confident); None keeps all
    holdout  share of the prompts whose human judgements measure before and after; 0 measures nothing
    """
    if rounds < 1 or not weight > 0 or (most is not None and not most > 0) or not 0 <= holdout < 1:
        raise ConfigError("use rounds >= 1, weight > 0, most > 0 or null, and holdout in [0, 1)")
    train, held = feedback.split("prompt", holdout, seed) if holdout else (feedback, None)
    clean, removed = pool, 0
    if held is not None:  # held-out prompts may not come back through the pool
        hidden = {str(held.prompts[int(p)]) for p in np.unique(held.judgement_prompt)}
        open_ = [i for i, prompt in enumerate(pool.prompts) if pack(prompt) not in hidden]
        removed = len(pool) - len(open_)
        clean = pool.take(open_) if removed else pool
    if not len(clean):
        raise FeedbackError("no prompt of the pool is left beside the held-out ones; give candidates of other prompts")

    opened = load_encoder(encoder) if isinstance(encoder, str) else encoder

    def fitted(data: Feedback) -> Any:
        return _unfitted(model, opened, settings or {}, seed).fit(data)

    def measured(found: Any) -> float:
        return float("nan") if held is None else accuracy(found, held)

    base = now = fitted(train)
    before = measured(base)
    curve = {}
    if held is not None and len(train) >= 40:
        order = np.random.default_rng(seed).permutation(len(train))
        for share in (0.25, 0.5, 0.75):
            size = round(share * len(train))
            curve[size] = measured(fitted(train.take(np.sort(order[:size]))))
        curve[len(train)] = before
    rows, added, mined = [], Feedback.of([]), []
    labeller: Any = now if reward is None else reward
    for k in range(rounds):
        found = mine(
            clean, labeller, n=n, keep=keep, filter=filter, min_likelihood=min_likelihood, seed=seed + 7919 * k
        )
        at = np.flatnonzero(found.keep)
        if most is not None and len(at) > most * len(train):
            certain = found.certainty if filter == "uncertainty" else found.confidence
            at = np.sort(at[np.argsort(-certain[at], kind="stable")[: int(most * len(train))]])
            found = replace(found, keep=np.isin(np.arange(len(found.best)), at))
        mined.append(found)
        added = as_feedback(clean, found, weight, seed) if len(at) else Feedback.of([])
        if len(at):
            now = refit(_unfitted(model, opened, settings or {}, seed), base, train, added)
        labeller = now
        rows.append({"round": k + 1, "pairs": len(found.best), "added": len(at), "accuracy": _round(measured(now))})
    after = rows[-1]["accuracy"]
    gain = None if after is None else after - before
    labels = equivalent(list(curve), list(curve.values()), gain) if curve and gain is not None else float("nan")
    return Improved(
        now,
        added,
        mined,
        {
            "human_judgements": len(train),
            "held_out_judgements": 0 if held is None else len(held),
            "accuracy_before": _round(before),
            "accuracy_after": after,
            "gain": _round(gain),
            "human_data_equivalent": None if np.isnan(labels) else round(labels),
            "learning_curve": [{"judgements": k, "accuracy": _round(v)} for k, v in curve.items()],
            "rounds": rows,
            "skipped": mined[-1].skipped,
            "pool_candidates_of_held_out_prompts_removed": removed,
        },
    )


def west_of_n(
    feedback: Feedback,
    *,
    pool: Any = None,
    reward: Any = None,
    model: str = "bradley-terry",
    encoder: str | Encoder = "minilm",
    settings: dict[str, Any] | None = None,
    n: int = 64,
    keep: float = 0.5,
    filter: str = "confidence",
    min_likelihood: float = 0.0,
    weight: float = 1.0,
    most: float | None = 1.0,
    rounds: int = 1,
    holdout: float = 0.2,
    seed: int = 0,
) -> Curated:
    """Add the best and the worst of n responses to each prompt of a pool as new pairs.

    Parameters
    ----------
    pool : candidates or feedback (a file of them) with several responses a prompt; without it, those of the feedback
    reward : what labels in the first round; without it, a model fitted to the feedback
    model : what is fitted, a name of guerdon models
    encoder : what computes the features
    settings : further parameters of the model
    n : most responses a prompt that are looked at, drawn at random
    keep : share of the pairs the filter keeps, in (0, 1]
    filter : confidence, uncertainty (needs a reward that gives standard deviations) or none
    min_likelihood : share of the responses that are too unlikely for the policy, by the pool's column loglikelihood
    weight : weight of a synthetic pair, times its confidence
    most : at most so many synthetic pairs as a multiple of the judgements (null: all)
    rounds : rounds of fitting and mining
    holdout : share of the prompts whose judgements measure before and after; 0 measures nothing
    seed : seeds the draws, the split and the model
    """
    from guerdon.reward.load import load

    labeller = load(reward) if isinstance(reward, str) else reward
    found = improve(
        feedback,
        read_pool(feedback if pool is None else pool),
        model=model,
        encoder=encoder,
        settings=settings,
        reward=labeller,
        rounds=rounds,
        n=n,
        keep=keep,
        filter=filter,
        min_likelihood=min_likelihood,
        weight=weight,
        most=most,
        holdout=holdout,
        seed=seed,
    )
    using = f"{getattr(labeller, 'name', model)}, best and worst of at most {n}, seed {seed}"
    changes = Changes(feedback, by="the reward itself", using=using)
    if len(found.pairs):
        last = found.mined[-1]
        at = np.flatnonzero(last.keep)
        changes.add(found.pairs, why=[last.why[i] for i in at], confidence=last.confidence[at])
    cautions = []
    if found.report["gain"] is not None and found.report["gain"] < 0:
        cautions.append("held-out human accuracy fell: do not train on these pairs")
    if len(feedback.users) > 1:
        cautions.append("several people judged: synthetic pairs have no person and follow the majority")
    return changes.done({**found.report, "cautions": cautions})


def read_pool(source: Any) -> Candidates:
    """Candidates of ``source``: candidates as they are, the responses of feedback, or a file of either.

    A file of candidates has rows ``prompt, response[, loglikelihood]`` or ``prompt, responses[, loglikelihood]``.
    """
    if isinstance(source, Candidates):
        return source
    if isinstance(source, Feedback):
        used = source.used
        if not len(used) or np.bincount(source.prompt_of[used]).max() < 3:
            raise FeedbackError(
                "no prompt of this feedback has three responses to choose the best and the worst of: give a pool of "
                "candidates with several responses a prompt"
            )
        return source.candidates.take(used)
    from guerdon.feedback.readers import rows

    prompts, responses, likelihood = [], [], []
    for place, row in rows(source):
        listed = row.get("responses")
        texts = listed if isinstance(listed, list) else [row.get("response")]
        told = row.get(LIKELIHOOD)
        told = told if isinstance(told, list) else [told] * len(texts)
        if row.get("prompt") is None or any(t is None for t in texts) or len(told) != len(texts):
            raise FeedbackError(
                f"{source}: {place}: expected prompt and response (or responses), one {LIKELIHOOD} each"
            )
        prompts += [row["prompt"]] * len(texts)
        responses += texts
        likelihood += told
    extra: dict[str, Sequence[Any]] = {LIKELIHOOD: likelihood} if any(v is not None for v in likelihood) else {}
    return Candidates(prompts, responses, extra=extra)


def as_feedback(pool: Candidates, mined: Mined, weight: float = 1.0, seed: int = 0) -> Feedback:
    """The kept pairs as judgements of a model, either side first, weighing ``weight`` x confidence."""
    first = np.random.default_rng([seed, 82]).random(len(mined.best)) < 0.5
    return Feedback.of(
        Judgement(
            pool.prompts[best],
            (pool.responses[best], pool.responses[worst]) if f else (pool.responses[worst], pool.responses[best]),
            (1.0, 0.0) if f else (0.0, 1.0),
            source="model",
            weight=weight * float(confidence),
        )
        for best, worst, f, confidence, keep in zip(
            mined.best, mined.worst, first, mined.confidence, mined.keep, strict=True
        )
        if keep
    )


def accuracy(reward: Reward, feedback: Feedback) -> float:
    """Share of the strict comparisons of ``feedback`` that ``reward`` puts in the right order, a tie half."""
    pairs = feedback.pairs(ties=False, max_per_person=500)
    used, at = np.unique(np.concatenate([pairs.a, pairs.b]), return_inverse=True)
    value = reward.score(feedback.candidates.take(used)).value[at]
    gap = value[: len(pairs)] - value[len(pairs) :]
    right = np.where(gap == 0, 0.5, (gap > 0) == (pairs.p > 0.5))
    return float(np.nanmean(np.where(np.isnan(gap), np.nan, right)))


def refit(fresh: Any, base: Any, human: Feedback, synthetic: Feedback) -> Any:
    """``fresh`` fitted to ``human`` and ``synthetic``, its automatic choices those of people alone: the penalty that
    ``base`` (fitted to ``human``) chose, or early stopping on a part of ``human``."""
    l2 = base.summary.get("l2")
    if fresh.settings.get("l2") == "auto" and isinstance(l2, int | float) and np.isfinite(l2):
        other = type(fresh)(**{**fresh.settings, "encoder": fresh.encoder, "l2": float(l2)})
        other.name = fresh.name
        return other.fit(Feedback.concatenate([human, synthetic]))
    part, held = inner_split(human, fresh.settings.get("seed", 0))
    return fresh.fit(Feedback.concatenate([part, synthetic]), validation=held)


def _unfitted(model: str, encoder: Encoder, settings: Mapping[str, Any], seed: int) -> Any:
    entry = registered(model)
    known = {name for name, _, _ in entry.parameters()}
    own = {"encoder": encoder, "seed": seed}
    return entry.make(**{**{k: v for k, v in own.items() if k in known}, **settings})


def _extremes(values: np.ndarray, group: np.ndarray) -> tuple[int, int] | str:
    scored = group[~np.isnan(values[group])]
    if len(scored) < 2:
        return "fewer than two different responses"
    best, worst = scored[np.argmax(values[scored])], scored[np.argmin(values[scored])]
    return "no spread of scores" if values[best] == values[worst] else (int(best), int(worst))


def _filtered(confidence: np.ndarray, certainty: np.ndarray, keep: float, filter: str) -> tuple[np.ndarray, list[str]]:
    n, measure = len(confidence), certainty if filter == "uncertainty" else confidence
    good = np.ones(n, bool)
    if filter != "none" and n:
        good = np.zeros(n, bool)
        good[np.argsort(-np.nan_to_num(measure, nan=-np.inf), kind="stable")[: max(1, round(keep * n))]] = True
        good &= ~np.isnan(measure)
    why = [
        f"best and worst by the reward, P(best preferred) {p:.4f}"
        + ("" if np.isnan(c) else f", gap {c:.2f} sd")
        + ("" if g else "; left out: not among the surest")
        for p, c, g in zip(confidence, certainty, good, strict=True)
    ]
    return good, why


def _round(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else round(float(value), 4)

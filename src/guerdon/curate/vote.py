"""Preference strength by vote: reward models that did not see a pair say how strongly they support its label.

``models`` reward models are fitted on ``folds`` folds; each judges the fold it did not see. For a verdict "w over l"

    strength_m = r_m(w) - r_m(l),      mu = mean over m, sigma = standard deviation over m

The lowest strengths are mostly *wrong* labels, those around zero *ambiguous*, the highest plain. Ordered by mu:

    lowest ``drop`` share       dropped     }  only where mu < 0: a label that the vote supports is never
    next ``flip`` share         turned round}  dropped or turned round
    next ``soften`` share       soft labels P(w) = sigmoid(mu), or a fixed P: -p log s(d) - (1 - p) log s(-d)
    the rest, ``margin``        must win by mu: -log s(d - mu); a turned one by -mu, a softened one by nothing

Margins are written as strengths of the judgements; train with ``margin=1`` to use them (``guerdon fit --model
bradley-terry-mlp --set margin=1``). Models that judge the pairs they were trained on support every label once they have
memorised them: hence the folds, of whole prompts, so that no response of a judged pair was seen.

Reference: Wang et al. (2024), Secrets of RLHF in Large Language Models Part II, https://arxiv.org/abs/2401.06080.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit

from guerdon.curate.step import Changes, Curated
from guerdon.curate.verdicts import Verdicts
from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.star import Feedback
from guerdon.reward.registry import model as registered


def vote(
    feedback: Feedback,
    *,
    models: int = 10,
    folds: int = 5,
    model: str = "bradley-terry-mlp",
    encoder: str | Encoder = "minilm",
    settings: dict[str, Any] | None = None,
    drop: float = 0.0,
    flip: float = 0.1,
    soften: float = 0.2,
    soft_label: float | str = "strength",
    margin: bool = True,
    seed: int = 0,
) -> Curated:
    """Flip, soften, drop verdicts or give them margins by the strength of a cross-fitted vote.

    Parameters
    ----------
    models : how many reward models vote in all, a multiple of folds; each pair is judged by models / folds of them
    folds : folds of whole prompts; each model judges the one it did not see. 1 = models judge what they were trained on
    model : what votes, a name of guerdon models
    encoder : what computes the features
    settings : further parameters of the voting models, e.g. {"epochs": 10}
    drop : share of the verdicts, from the lowest strength up, that is dropped (where the strength is negative)
    flip : share of the verdicts above those that is turned round (where the strength is negative)
    soften : share of the verdicts above those that becomes soft labels
    soft_label : strength (P = sigmoid(mean strength)) or a fixed probability of the label in [0.5, 1]
    margin : whether the others must win by their mean strength
    seed : seeds the folds and the models
    """
    if models < 3:
        raise ConfigError(f"models={models}: a vote needs at least 3 models; 10 are usual")
    if folds < 1 or models % folds:
        raise ConfigError(f"models={models} is not a multiple of folds={folds}; use e.g. 10 models on 5 folds")
    _check(drop, flip, soften, soft_label)
    verdicts = Verdicts.of(feedback)
    votes = strengths(verdicts, models, folds, model, encoder, settings or {}, seed)
    if folds == 1 and ((votes.mean(0) > 0).all() or (votes.mean(0) < 0).all()):
        raise FeedbackError(
            f"all {len(verdicts):,} strengths have one sign: the voters have memorised the labels; vote with folds=5"
        )
    cautions = []
    if len(np.unique(feedback.user[verdicts.rows])) > 1 and not registered(model).personal:
        cautions.append("several people judged: whoever differs from the others looks like a mistake to this vote")
    if folds == 1:
        cautions.append("the models judge what they were trained on; long training makes every label look right")
    changes = Changes(feedback, by=f"vote of {models} models", using=f"{model}, {folds} folds, seed {seed}")
    treatment = {"drop": drop, "flip": flip, "soften": soften, "soft_label": soft_label, "margin": margin}
    return decide(changes, verdicts, votes, **treatment, cautions=cautions)


def decide(
    changes: Changes,
    verdicts: Verdicts,
    votes: np.ndarray,
    *,
    drop: float = 0.0,
    flip: float = 0.0,
    soften: float = 0.0,
    soft_label: float | str = "strength",
    margin: bool = False,
    cautions: Sequence[str] = (),
) -> Curated:
    """What the strengths ``votes`` [m, n] (of :func:`strengths`) mean for the verdicts; settings as in :func:`vote`."""
    _check(drop, flip, soften, soft_label)
    fixed = None if soft_label == "strength" else float(soft_label)
    mu, sigma = votes.mean(0), votes.std(0)
    decided = treat(mu, drop, flip, soften)
    p = expit(mu) if fixed is None else np.full(len(mu), fixed)
    for name, values in (("strength_mean", mu), ("strength_std", sigma)):
        changes.note(name, verdicts.column(values))
    for what, index in decided.items():
        rows = verdicts.rows[index]
        why = [f"mean strength {m:.3f}, sd {s:.3f}" for m, s in zip(mu[index], sigma[index], strict=True)]
        said: dict[str, Any] = {"why": why, "confidence": expit(-mu[index] if what in ("drop", "flip") else mu[index])}
        if what == "drop":
            changes.drop(rows, **said)
        elif what == "flip":
            changes.flip(rows, strength=None if not margin else -mu[index], **said)
        elif what == "soften":
            changes.soften(rows, verdicts.soft(p)[index], strength=0.0 if margin else None, **said)
        elif margin:
            changes.margin(rows, mu[index], **said)
        else:
            changes.keep(rows, **said)
    supported = votes > 0
    after = supported.mean(0)
    after[decided["flip"]] = 1 - after[decided["flip"]]
    stays = np.setdiff1d(np.arange(len(mu)), decided["drop"])
    return changes.done(
        {
            "verdicts": len(verdicts),
            "votes_a_verdict": len(votes),
            "agreement_before": round(float(supported.mean()), 4),
            "agreement_after": round(float(after[stays].mean()), 4),
            "strength": {f"q{q}": round(float(np.quantile(mu, q / 100)), 4) for q in (5, 10, 20, 50, 80, 95)},
            "negative_share": round(float((mu < 0).mean()), 4),
            "cautions": list(cautions),
        }
    )


def _check(drop: float, flip: float, soften: float, soft_label: float | str) -> None:
    shares = {"drop": drop, "flip": flip, "soften": soften, "drop + flip + soften": drop + flip + soften}
    for name, share in shares.items():
        if not 0 <= share <= 1 + 1e-9:
            raise ConfigError(f"{name}={share:g}: use a share in [0, 1]")
    if soft_label != "strength" and not (isinstance(soft_label, int | float) and 0.5 <= soft_label <= 1):
        raise ConfigError(f"soft_label={soft_label!r}: use strength, or a probability in [0.5, 1]")


def strengths(
    verdicts: Verdicts,
    models: int,
    folds: int,
    model: str,
    encoder: str | Encoder,
    settings: dict[str, Any],
    seed: int,
) -> np.ndarray:
    """float64 [models / folds, n] strengths of the verdicts, each by a model that did not see the pair."""
    from guerdon.encode import load_encoder

    feedback, entry = verdicts.feedback, registered(model)
    known = {name for name, _, _ in entry.parameters()}
    own = {**settings, "encoder": load_encoder(encoder) if isinstance(encoder, str) else encoder}
    fold = folds_of(feedback, folds, seed)
    out = np.full((models // folds, len(verdicts)), np.nan)
    for repeat in range(models // folds):
        for k in range(folds):
            seeded = {"seed": seed + repeat * folds + k} if "seed" in known else {}
            judged = np.flatnonzero(fold[verdicts.rows] == k)
            if len(judged):
                train = feedback if folds == 1 else feedback.take(fold != k)
                voter = entry.make(**{**seeded, **{n: v for n, v in own.items() if n in known or n in settings}})
                out[repeat, judged] = verdicts.strength(voter.fit(train), judged)
    if np.isnan(out).any():
        raise FeedbackError(f"{int(np.isnan(out).any(0).sum())} verdicts got no score from {model!r}; leave them out")
    return out


def folds_of(feedback: Feedback, folds: int, seed: int) -> np.ndarray:
    """int [J] the fold of each judgement: by whole prompts, or where there are too few by whole sets of responses."""
    unit = feedback.judgement_prompt.astype(np.int64)
    if len(np.unique(unit)) < 2 * folds:
        low = np.minimum.reduceat(feedback.items, feedback.offsets[:-1]).astype(np.int64)
        high = np.maximum.reduceat(feedback.items, feedback.offsets[:-1]).astype(np.int64)
        unit = low * len(feedback.responses) + high
    names, unit = np.unique(unit, return_inverse=True)
    if len(names) < folds:
        raise FeedbackError(f"{len(names)} different comparisons cannot be divided into {folds} folds; use fewer")
    return (np.random.default_rng(seed).permutation(len(names)) % folds)[unit]


def treat(mu: np.ndarray, drop: float, flip: float, soften: float) -> dict[str, np.ndarray]:
    """Indices by what is to be done with them: ``drop``, ``flip``, ``soften``, ``rest``, a partition of all n."""
    n, order = len(mu), np.argsort(mu, kind="stable")
    a, b = round(drop * n), round((drop + flip) * n)
    c = round((drop + flip + soften) * n)
    against = mu[order] < 0  # a prefix of the order
    place = np.arange(n)
    lowest, low = (place < a) & against, (place >= a) & (place < b) & against
    middle = (place < c) & ~lowest & ~low & (place >= b)
    rest = ~(lowest | low | middle)
    return {k: np.sort(order[m]) for k, m in {"drop": lowest, "flip": low, "soften": middle, "rest": rest}.items()}

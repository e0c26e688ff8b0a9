"""Peer review of feedback: two models trained at once, each choosing what the other learns from, name the suspects.

A verdict that neither network chose after the warm-up (a low selection rate) and that both speak against (a negative
mean margin) is a suspect. At most the share ``noise`` of the verdicts is: the lowest selection rates, then margins.
What happens to suspects: ``drop``, ``weigh`` (the weight is multiplied by the selection rate) or ``flip``.

Unlike a cross-fitted vote every verdict is judged by networks that were offered it; that they did not memorise it is
the work of the early warm-up and of the peer. The two are networks on an encoder's features, or (``backbone``) two
adapters on one transformer, which score the candidates or, as policies trained by DPO, imply their rewards. Reference
and training: :mod:`guerdon.reward.learned.peer_review`, :mod:`guerdon.reward.learned.peer_adapters`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from guerdon.curate.step import Changes, Curated
from guerdon.curate.verdicts import Verdicts
from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.peer_review import PeerReviewed

if TYPE_CHECKING:
    from guerdon.reward.learned.peer_adapters import PeerAdapters

ACTIONS = ("drop", "weigh", "flip")


def peer(
    feedback: Feedback,
    *,
    noise: float = 0.2,
    action: str = "drop",
    encoder: str | Encoder = "minilm",
    warmup: float = 2.0,
    select: str = "peer",
    curriculum: str = "share",
    hidden: int | list[int] = [128, 128],  # noqa: B006  # read, never written
    backbone: str | None = None,
    reads: str = "score",
    beta: float = 0.1,
    epochs: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
) -> Curated:
    """Drop, weigh down or turn round the verdicts that two models, reviewing each other's pairs, do not believe.

    Parameters
    ----------
    noise : share of the verdicts assumed mislabelled, in [0, 0.5): at most so many are suspects
    action : drop, weigh or flip: what happens to suspects
    encoder : what computes the features
    warmup : passes over the data before the full share is left out; with a backbone at most half of the epochs
    select : peer (each model chooses for the other) or self
    curriculum : share or easy-first
    hidden : width, or list of widths, of each network
    backbone : transformer that both models are adapters of, end to end; null trains networks on the encoder's features
    reads : with a backbone: score (linear heads) or policy (implicit rewards: two policies trained by DPO)
    beta : factor of the implicit rewards' log-ratio
    epochs : passes over the data; null is 15 on features and 3 with a backbone
    batch : pairs that are ranked together, at least 16; null is 100 on features and 32 with a backbone
    learning_rate : AdamW step; null is 1e-3 on features and 2e-4 with a backbone
    seed : seeds both networks and the order of the data
    """
    if action not in ACTIONS:
        raise ConfigError(f"action={action!r} is unknown; use {', '.join(ACTIONS)}")
    verdicts = Verdicts.of(feedback)
    shared: dict[str, Any] = {
        "noise": noise,
        "select": select,
        "curriculum": curriculum,
        "seed": seed,
        "max_pairs": None,
    }
    given = {"epochs": epochs, "batch": batch, "learning_rate": learning_rate}
    shared |= {name: value for name, value in given.items() if value is not None}
    if backbone is None:
        model: Any = PeerReviewed(encoder=encoder, warmup=warmup, hidden=hidden, **shared)
    else:
        from guerdon.reward.learned.peer_adapters import PeerAdapters

        review = min(warmup, (epochs or 3) / 2)
        model = PeerAdapters(backbone=backbone, reads=reads, beta=beta, review_warmup=review, **shared)
    model.fit(feedback)
    rate, margin = _by_verdict(model, verdicts)
    order = np.lexsort((margin, rate))[: round(noise * len(rate))]
    suspect = np.zeros(len(rate), bool)
    suspect[order[margin[order] < 0]] = True
    changes = Changes(feedback, by="peer review of two models", using=f"{model.name}, noise {noise:g}, seed {seed}")
    for name, values in (("selection_rate", rate), ("margin", margin)):
        changes.note(name, verdicts.column(values))
    why = np.array([f"chosen in {r:.0%} of reviews, mean margin {m:.3f}" for r, m in zip(rate, margin, strict=True)])
    rows = verdicts.rows[suspect]
    said: dict[str, Any] = {"why": why[suspect].tolist(), "confidence": expit(-margin[suspect])}
    if action == "drop":
        changes.drop(rows, **said)
    elif action == "flip":
        changes.flip(rows, **said)
    else:
        changes.weigh(rows, feedback.weight[rows] * rate[suspect], **said)
    changes.keep(verdicts.rows[~suspect], why=why[~suspect].tolist(), confidence=expit(margin[~suspect]))
    supported = margin > 0
    after = supported[~suspect] if action == "drop" else supported | suspect if action == "flip" else supported
    return changes.done(
        {
            "verdicts": len(verdicts),
            "suspects": int(suspect.sum()),
            "agreement_before": round(float(supported.mean()), 4),
            "agreement_after": round(float(after.mean()), 4),
            "networks_disagree": model.summary["networks_disagree"],
        }
    )


def _by_verdict(model: PeerReviewed | PeerAdapters, verdicts: Verdicts) -> tuple[np.ndarray, np.ndarray]:
    """(selection rate, mean margin) [n] of the verdicts, from the pairs that the model was trained on."""
    pairs = model.trained_on
    assert pairs is not None
    two = verdicts.feedback.sizes[pairs.judgement] == 2
    at = np.full(len(verdicts.feedback), -1)
    at[pairs.judgement[two]] = np.flatnonzero(two)
    index = at[verdicts.rows]
    return model.selection_rate[index], model.mean_margin[index]

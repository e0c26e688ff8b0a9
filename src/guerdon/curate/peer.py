"""Peer review of feedback: two models trained at once, each choosing what the other learns from, name the suspects.

A verdict that neither network chose after the warm-up (a low selection rate) and that both speak against (a negative
mean margin) is a suspect. At most the share ``noise`` of the verdicts is: the lowest selection rates, then margins.
What happens to suspects: ``drop``, ``weigh`` (the weight is multiplied by the selection rate) or ``flip``.

Unlike a cross-fitted vote every verdict is judged by networks that were offered it; that they did not memorise it is
the work of the early warm-up and of the peer. Reference and training: :mod:`guerdon.reward.learned.peer_review`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from guerdon.curate.step import Changes, Curated
from guerdon.curate.verdicts import Verdicts
from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.peer_review import PeerReviewed

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
    epochs: int = 15,
    batch: int = 100,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Curated:
    """Drop, weigh down or turn round the verdicts that two models, reviewing each other's pairs, do not believe.

    Parameters
    ----------
    noise : share of the verdicts assumed mislabelled, in [0, 0.5): at most so many are suspects
    action : drop, weigh or flip: what happens to suspects
    encoder : what computes the features
    warmup : passes over the data before the full share is left out
    select : peer (each model chooses for the other) or self
    curriculum : share or easy-first
    hidden : width, or list of widths, of each network
    epochs : passes over the data
    batch : pairs that are ranked together, at least 16
    learning_rate : AdamW step
    seed : seeds both networks and the order of the data
    """
    if action not in ACTIONS:
        raise ConfigError(f"action={action!r} is unknown; use {', '.join(ACTIONS)}")
    verdicts = Verdicts.of(feedback)
    model = PeerReviewed(
        encoder=encoder,
        noise=noise,
        warmup=warmup,
        select=select,
        curriculum=curriculum,
        hidden=hidden,
        epochs=epochs,
        batch=batch,
        learning_rate=learning_rate,
        max_pairs=None,
        seed=seed,
    ).fit(feedback)
    rate, margin = _by_verdict(model, verdicts)
    order = np.lexsort((margin, rate))[: round(noise * len(rate))]
    suspect = np.zeros(len(rate), bool)
    suspect[order[margin[order] < 0]] = True
    changes = Changes(feedback, by="peer review of two models", using=f"peer-reviewed, noise {noise:g}, seed {seed}")
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


def _by_verdict(model: PeerReviewed, verdicts: Verdicts) -> tuple[np.ndarray, np.ndarray]:
    """(selection rate, mean margin) [n] of the verdicts, from the pairs that the model was trained on."""
    pairs = model.trained_on
    assert pairs is not None
    two = verdicts.feedback.sizes[pairs.judgement] == 2
    at = np.full(len(verdicts.feedback), -1)
    at[pairs.judgement[two]] = np.flatnonzero(two)
    index = at[verdicts.rows]
    return model.selection_rate[index], model.mean_margin[index]

"""Judged disagreement as a margin: how many judges agree with a label says how far it should be from its rival.

J voters (language-model judges, reward models, any reward) judge each verdict "w over l" in both orders; v_j is +1 if
voter j agrees with the label, -1 if not. With the agreement m = mean of v_j in [-1, 1], the training loss becomes

    ``margin``  -log sigmoid(r(w) - r(l) - c m): unanimous pairs must be c apart, contested pairs get no margin, pairs
                that the judges would reverse get a *negative* one and may come out close, or reversed, at little cost
    ``soft``    cross-entropy with P(w preferred) = (1 + m) / 2

The margin is subtracted from the gap inside the sigmoid, so it *enlarges* the gap that is asked for. Differences of a
margin-trained reward rank pairs by how many people agree, but sigmoid(difference) is no calibrated probability: the
margins inflate it. Where probabilities are wanted, use soft labels.

A voter that answers differently when the order is swapped has looked at the order, not the responses: that vote does
not count, and a voter who does it in more than ``max_inconsistent`` of the cases is left out and named in the report.

Reference: Padmakumar et al. (2024), Beyond the Binary: Capturing Diverse Preferences With Reward Regularization,
https://arxiv.org/abs/2412.03822.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.curate.step import Changes, Curated
from guerdon.curate.verdicts import Verdicts
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward

TARGETS = ("margin", "soft")


@dataclass(frozen=True)
class Ballot:
    """One voter's votes on n verdicts: +1 for the label, -1 against, between them ties, NaN = no vote that counts."""

    name: str
    votes: np.ndarray
    inconsistent: float
    """share, of the verdicts answered in both orders, where the order decided"""
    missing: float

    @property
    def agrees(self) -> float | None:
        """Share of the votes that agree with the label; None where there is no vote."""
        voted = self.votes[~np.isnan(self.votes)]
        return round(float((voted > 0).mean()), 4) if len(voted) else None


def margin(
    feedback: Feedback,
    *,
    voters: Any = None,
    target: str = "margin",
    scale: float = 1.0,
    orders: str = "both",
    repeats: int = 1,
    include_label: bool = False,
    max_inconsistent: float = 0.2,
    max_missing: float = 0.5,
) -> Curated:
    """Turn the agreement of several voters with each label into a margin or a soft label.

    Parameters
    ----------
    voters : rewards that judge, as guerdon.load opens them: a list, or one text with commas between
    target : margin (the label must win by scale x agreement) or soft (P = (1 + agreement) / 2)
    scale : c, the margin of a unanimous pair, > 0
    orders : both (what depends on the order of the two does not count) or one
    repeats : how often each voter is asked, for voters that answer at random
    include_label : whether the label itself counts as one vote that agrees
    max_inconsistent : a voter whose answer follows the order more often than this share is left out
    max_missing : refuse if more than this share of the verdicts gets no vote
    seed : not used; voters have their own
    """
    if target not in TARGETS or orders not in ("both", "one"):
        raise ConfigError(f"target={target!r}, orders={orders!r}: use margin or soft, and both or one")
    if not scale > 0 or repeats < 1:
        raise ConfigError(f"scale={scale}, repeats={repeats}: use a positive scale and at least one repeat")
    judges = opened(voters)
    verdicts = Verdicts.of(feedback)
    ballots = [cast(name, judge, verdicts, both=orders == "both") for name, judge in judges for _ in range(repeats)]
    good = [b for b in ballots if b.inconsistent <= max_inconsistent]
    if not good:
        worst = ", ".join(f"{b.name} {b.inconsistent:.0%}" for b in ballots[:5])
        raise FeedbackError(f"every voter follows the order of the responses ({worst}); use other judges")
    agreement, count = agree(good, include_label)
    missing = float((count == 0).mean())
    if missing > max_missing:
        raise FeedbackError(f"{missing:.0%} of the verdicts got no vote (max_missing={max_missing:g}); see the voters")
    names = sorted({b.name for b in good})
    changes = Changes(feedback, by=f"agreement of {len(good)} votes", using=", ".join(names))
    changes.note("agreement", verdicts.column(np.where(count == 0, np.nan, agreement)))
    changes.note("votes", verdicts.column(count.astype(float)))
    why = np.array(
        [f"{n:.0f} votes, agreement {m:+.2f}" if n else "no vote" for n, m in zip(count, agreement, strict=True)]
    )
    confidence = np.where(count == 0, np.nan, np.abs(agreement))
    if target == "margin":
        changes.margin(verdicts.rows, scale * agreement, why=why.tolist(), confidence=confidence)
    else:
        voted = count > 0
        p = verdicts.soft((1 + agreement) / 2)[voted]
        changes.soften(verdicts.rows[voted], p, why=why[voted].tolist(), confidence=confidence[voted])
        changes.keep(verdicts.rows[~voted], why="no vote")
    return changes.done(
        {
            "verdicts": len(verdicts),
            "voters": [
                {
                    "voter": b.name,
                    "agrees": b.agrees,
                    "position_inconsistent": round(b.inconsistent, 4),
                    "missing": round(b.missing, 4),
                    "counted": b.inconsistent <= max_inconsistent,
                }
                for b in ballots
            ],
            "without_a_vote": int((count == 0).sum()),
            "agreement": {
                "mean": round(float(agreement.mean()), 4),
                "reversed_share": round(float((agreement < 0).mean()), 4),
                "unanimous_share": round(float((agreement == 1).mean()), 4),
            },
            "next": "guerdon fit --set margin=1" if target == "margin" else "guerdon fit",
        }
    )


def opened(voters: Any) -> list[tuple[str, Reward]]:
    """(name, reward) of each voter: specifications, rewards or functions ``(prompt, response) -> float``."""
    from guerdon.reward.load import as_reward, load

    if isinstance(voters, str):
        voters = [v.strip() for v in voters.split(",") if v.strip()]
    listed: Sequence[Any] = voters if isinstance(voters, list | tuple) else [] if voters is None else [voters]
    if not listed:
        raise ConfigError('no voters: name rewards that judge, e.g. --set \'voters=["rule:length", "my-reward"]\'')
    out = []
    for i, voter in enumerate(listed):
        reward = load(voter) if isinstance(voter, str) else as_reward(voter, f"voter {i}")
        out.append((voter if isinstance(voter, str) else reward.name, reward))
    return out


def cast(name: str, judge: Reward, verdicts: Verdicts, *, both: bool = True) -> Ballot:
    """Ask one voter about every verdict, in the order shown and, with ``both``, swapped."""
    says = np.sign(_probability(name, verdicts.preference(judge).value) - 0.5)
    if not both or type(judge).prefer is Reward.prefer:  # a difference of scores knows no order
        return Ballot(name, says, 0.0, float(np.isnan(says).mean()))
    again = np.sign(_probability(name, verdicts.preference(judge, swapped=True).value) - 0.5)
    turned = says * again < 0
    answered = ~np.isnan(says + again)
    votes = np.where(turned, np.nan, (says + again) / 2)
    share = float(turned.sum() / answered.sum()) if answered.any() else 0.0
    return Ballot(name, votes, share, float(1 - answered.mean()))


def agree(ballots: Sequence[Ballot], include_label: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(agreement in [-1, 1], how many votes count) [n]; where none does the agreement is 0: no margin at all."""
    votes = np.stack([b.votes for b in ballots])
    if include_label:
        votes = np.concatenate([votes, np.ones((1, votes.shape[1]))])
    count = (~np.isnan(votes)).sum(0)
    return np.nansum(votes, axis=0) / np.maximum(count, 1), count


def _probability(name: str, p: np.ndarray) -> np.ndarray:
    if ((p < 0) | (p > 1)).any():
        raise FeedbackError(f"voter {name!r} gives {p[(p < 0) | (p > 1)][0]:g} as a probability; use [0, 1]")
    return p

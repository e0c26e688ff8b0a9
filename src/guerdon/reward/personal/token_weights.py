"""Every token position scored, and the scores weighed: a response as several points instead of one.

    utility(y) = sum_j share_j utility(state of token j),      share = 1/P, or in proportion to j, or the last alone

Features hold the states of P tokens of the response side by side (``hf:MODEL?tokens=response&positions=P``), evenly
spread and ending at its last; all tokens, of a response with no more than P. Distances are not linear, so this is
another reward than that of pooled states: a response that strays to both sides of an ideal point is far from it, while
its mean lies on it. Tokens that two responses have in common before they part have equal states, and equal scores.

Reference: Chen et al. 2024, PAL, https://arxiv.org/abs/2406.08469 (from the first token in which two responses differ;
mean, cumulative or last token).
"""

from __future__ import annotations

import numpy as np

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError
from guerdon.reward.learned.features import FeatureScaling

WEIGHTINGS = ("none", "mean", "cumulative", "last")


def positions_of(encoder: Encoder, weighting: str, given: int | None) -> int | None:
    """How many tokens' states lie side by side in the features of a response; None where it is one point.

    Raises
    ------
    ConfigError
        if the encoder keeps none apart and ``given`` does not say how many there are
    """
    if weighting == "none":
        return None
    found = given or getattr(getattr(encoder, "texts", None), "positions", None)
    if found is None:
        raise ConfigError(
            f"token_weighting={weighting}: this encoder gives one vector a response; use one that keeps several tokens "
            "(hf:MODEL?tokens=response&positions=8), or say with positions how many lie side by side"
        )
    return int(found)


def shares(weighting: str, positions: int | None) -> np.ndarray | None:
    """float64 [P] what the utility of each token counts, sum 1; None for one point."""
    if positions is None:
        return None
    place = np.arange(1.0, positions + 1)
    weight = {"mean": np.ones(positions), "cumulative": place, "last": (place == positions).astype(float)}[weighting]
    return weight / weight.sum()


def by_token(x: np.ndarray, positions: int | None) -> np.ndarray:
    """Response features x [n, P d] as [n, P, d]; as they are where a response is one point."""
    if positions is None:
        return x
    if x.shape[1] % positions:
        raise ConfigError(f"{x.shape[1]} features of a response are no states of {positions} tokens side by side")
    return x.reshape(len(x), positions, -1)


def share_scaling(scaling: FeatureScaling, columns: np.ndarray, positions: int) -> None:
    """Give all positions of the response's ``columns`` [P d] one mean and one scale: they lie in one space."""
    mean, scale = (by_token(v[None, columns], positions)[0] for v in (scaling.mean, scaling.scale))
    deviation = np.where(scale > 0, 1.0 / np.where(scale > 0, scale, 1.0), 0.0)
    centre = mean.mean(0)
    # in the units of the scaling: each deviation is that of a position times sqrt(all features)
    spread = np.sqrt((deviation**2).mean(0) + ((mean - centre) ** 2).mean(0) * len(scaling.mean))
    scaling.mean, scaling.scale = scaling.mean.copy(), scaling.scale.copy()
    scaling.mean[columns] = np.tile(centre, positions)
    scaling.scale[columns] = np.tile(np.where(spread > 0, 1.0 / np.where(spread > 0, spread, 1.0), 0.0), positions)

r"""Steering by a person's attributes: what their comparisons say they want, added to what a model writes.

    logits = h_base + strength sum_i w_i (h_i - h_0),    |w| = 1

h_i are a small model's logits under the system prompt of attribute i, h_0 the same model's under the neutral one, and
w the weights of those very differences in the person's reward (:mod:`guerdon.reward.personal.attributes`): what is
added is the direction in which that reward grows. A reversed sign writes what the person would like least. Attributes
with small weights are left out; all prompts run as one batch.

Reference: Kim et al. 2025, Drift: Decoding-time Personalized Alignments with Implicit User Preferences,
https://arxiv.org/abs/2502.14289
"""

from __future__ import annotations

import numpy as np

from guerdon.encode.attributes import AttributeTexts
from guerdon.errors import ConfigError
from guerdon.generate.local import LocalModel
from guerdon.reward.personal.attributes import AttributeReward
from guerdon.steer.logit_arithmetic import Term, Voice


def attribute_terms(
    reward: AttributeReward, user: str | None, model: LocalModel, *, strength: float = 1.0, top: int = 10
) -> list[Term]:
    """What :class:`~guerdon.steer.logit_arithmetic.Guided` adds for ``user``; None is the population.

    model     the small model that is prompted, with the tokens of the model that is steered; as a rule the one that the
              reward's attributes were measured with
    strength  norm of the weights; O(1) shifts a token's logits by as much as the whole of an attribute does
    top       so many attributes, those of the largest weights

    Raises
    ------
    ConfigError
        if the reward's features are no attributes of a language model, or it does not know ``user``
    """
    texts = getattr(reward.open_encoder(), "texts", None)
    if not isinstance(texts, AttributeTexts):
        raise ConfigError(
            "the reward's features are no prompts of a language model; fit with --encoder attributes:MODEL"
        )
    if top < 1:
        raise ConfigError(f"top={top}: use a whole number of at least 1")
    weights = direction(reward, user)
    chosen = np.argsort(-np.abs(weights), kind="stable")[:top]
    prompts = list(texts.prompts.values())
    neutral = Voice(model, texts.base)
    return [
        Term(strength * float(weights[i]), Voice(model, prompts[i]), neutral)
        for i in chosen
        if weights[i] and prompts[i] != texts.base
    ]


def direction(reward: AttributeReward, user: str | None) -> np.ndarray:
    """float64 [A] of norm 1: a person's weights of the attributes as they are, before standardising; 0 where none is.

    Raises
    ------
    ConfigError
        if the reward does not know ``user``
    """
    if user is None:
        w = np.asarray(reward.mean)
    else:
        row = reward.people.index.get(user)
        if row is None:
            raise ConfigError(f"the reward does not know {user!r}; adapt it to what they said: guerdon adapt")
        w = reward.people.weights[row]
    scale = np.asarray(reward.features.scale, dtype=np.float64)
    raw = np.divide(w, scale, out=np.zeros_like(scale), where=scale > 0)
    norm = float(np.linalg.norm(raw))
    return raw / norm if norm > 0 else raw

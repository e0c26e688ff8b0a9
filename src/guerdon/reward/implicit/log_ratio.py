"""How much likelier a response is under one model, or one prompt, than under another, token by token.

    r(x, y) = scale (log pi(y | x) - log pi_0(y | x_0)),   summed over the response's tokens or divided by their number

Two models of different alignment give the density-ratio reward (Xu et al. 2024, https://arxiv.org/abs/2411.02481); a
tuned model, its reference and scale = beta the reward that DPO implies (Rafailov et al. 2023,
https://arxiv.org/abs/2305.18290), known up to a constant of the prompt; one model under two system prompts the prompt
contrast. Compare responses to one prompt only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel, Likelihoods
from guerdon.reward.base import Reward, Scores
from guerdon.reward.implicit.context import Exemplar, checked_length, likelihoods, texts, within


class LogRatio(Reward):
    """log pi(y | x) - log pi_0(y | x_0).

    Parameters
    ----------
    strong, weak : language models that give likelihoods; they may be one model
    system, exemplars : what ``strong`` reads before the prompt
    weak_system, weak_exemplars : what ``weak`` reads before it
    length : sum over the tokens, or mean (each model's sum by its own number of tokens)
    scale : factor of the score, positive
    """

    reads = ()

    def __init__(
        self,
        strong: LanguageModel,
        weak: LanguageModel,
        *,
        system: str | None = None,
        exemplars: Sequence[Exemplar] = (),
        weak_system: str | None = None,
        weak_exemplars: Sequence[Exemplar] = (),
        length: str = "mean",
        scale: float = 1.0,
        name: str = "log-ratio",
    ) -> None:
        if not (np.isfinite(scale) and scale > 0):
            raise ConfigError(f"scale={scale!r}: use a positive number")
        self.strong, self.weak = strong, weak
        self.strong_context = (system, tuple(exemplars))
        self.weak_context = (weak_system, tuple(weak_exemplars))
        self.length, self.scale, self.name = checked_length(length), scale, name

    def _sides(self, candidates: Candidates) -> tuple[Likelihoods, Likelihoods]:
        responses = texts(candidates)

        def side(model: LanguageModel, context: tuple[str | None, tuple[Exemplar, ...]]) -> Likelihoods:
            return likelihoods(model, [within(p, *context) for p in candidates.prompts], responses)

        above = side(self.strong, self.strong_context)
        same = self.weak is self.strong and self.weak_context == self.strong_context
        return above, above if same else side(self.weak, self.weak_context)

    def score(self, candidates: Candidates) -> Scores:
        """``detail``: strong and weak (log-likelihoods, sums). Empty and too long responses are unscored."""
        above, below = self._sides(candidates)
        parts = (above.total, below.total) if self.length == "sum" else (above.mean, below.mean)
        status = [s if s != "scored" else t for s, t in zip(above.status, below.status, strict=True)]
        reason = [s or t for s, t in zip(above.reason, below.reason, strict=True)]
        detail = {"strong": above.total.tolist(), "weak": below.total.tolist()}
        return Scores(self.scale * (parts[0] - parts[1]), status, reason, detail=detail)

    def tokens(self, candidates: Candidates) -> list[np.ndarray | None]:
        """[n] float64 [T]: each token's share of the sum; None where a response is unscored.

        Raises
        ------
        ConfigError
            if the models split a response into different numbers of tokens
        """
        out: list[np.ndarray | None] = []
        for i, (a, b) in enumerate(zip(*(side.tokens for side in self._sides(candidates)), strict=True)):
            if a is not None and b is not None and len(a) != len(b):
                raise ConfigError(f"candidate {i} has {len(a)} and {len(b)} tokens: use models of one tokenizer")
            out.append(None if a is None or b is None else self.scale * (a - b))
        return out


def prompt_contrast(
    model: LanguageModel,
    system: str,
    base: str | None = None,
    *,
    exemplars: Sequence[Exemplar] = (),
    length: str = "mean",
) -> LogRatio:
    """How much likelier ``model`` finds a response under ``system`` and ``exemplars`` than under ``base``."""
    return LogRatio(
        model, model, system=system, exemplars=exemplars, weak_system=base, length=length, name="prompt-contrast"
    )  # fmt: skip


def dpo_implicit(model: LanguageModel, reference: LanguageModel, *, beta: float = 0.1) -> LogRatio:
    """beta (log pi - log pi_ref) summed over the tokens: the reward that DPO with ``beta`` implies."""
    return LogRatio(model, reference, length="sum", scale=beta, name="dpo-implicit")

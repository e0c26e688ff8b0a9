r"""Any reward as a guide of decoding: each step's likeliest continuations are scored, and the scores added to them.

    score(token) = log pi_base(token) + beta r(x, y_<t token),   among the ``top_k`` likeliest tokens of the base

A sample of the softmax, or the best, follows; no other token can. RAD clamps r to [0, 1] and takes 1 - r to steer away,
which bounds what a step can shift by beta: ``clamp=(0, 1)``. ARGS adds r as it is. What guides well is a reward that
was trained on prefixes: one that was trained on whole responses says little of half of one.

Every step asks the reward about n x top_k texts that grow, so a reward that reads them anew costs the square of the
length; autoregressive rewards (:mod:`guerdon.steer.logit_arithmetic`) cost one token a step.

References: Deng & Raffel 2023, Reward-Augmented Decoding, https://arxiv.org/abs/2310.09520; Khanov et al. 2024, ARGS:
Alignment as Reward-Guided Search, https://arxiv.org/abs/2402.01694
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Text
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel, Replies, Sampling, as_sampling
from guerdon.generate.local import LocalModel
from guerdon.reward.base import Reward

log = logging.getLogger(__name__)


class RewardGuided(LanguageModel):
    """A local language model whose next tokens are chosen with a reward's help.

    Parameters
    ----------
    base : the model that writes
    reward : what scores a prompt and the begin of a response
    beta : weight of the reward, in logits; negative steers away from it
    top_k : how many of the likeliest tokens are scored; one of them follows
    clamp : (lowest, highest) that a reward counts; None: as it is
    user, criterion : columns of the candidates, where the reward reads them
    """

    def __init__(
        self,
        base: LocalModel,
        reward: Reward,
        *,
        beta: float = 1.0,
        top_k: int = 20,
        clamp: tuple[float, float] | None = None,
        user: str | None = None,
        criterion: str | None = None,
    ) -> None:
        if not np.isfinite(beta):
            raise ConfigError(f"beta={beta!r}: use a number")
        if top_k < 1:
            raise ConfigError(f"top_k={top_k}: use a whole number of at least 1")
        if clamp is not None and not clamp[0] < clamp[1]:
            raise ConfigError(f"clamp={clamp}: give the lowest value first")
        self.base, self.reward, self.beta, self.top_k, self.clamp = base, reward, beta, top_k, clamp
        self.user, self.criterion = user, criterion
        self.name = f"{base.name} guided by {reward.name}"

    def generate(
        self,
        prompts: Sequence[Text],
        n: int = 1,
        *,
        sampling: Sampling | None = None,
        schema: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Replies:
        """See :meth:`LanguageModel.generate`; log-probabilities are those of the steered distribution."""
        chosen = as_sampling(sampling, settings)
        guides: list[_Processor] = []

        def guide(rows: Sequence[Text]) -> _Processor:
            guides.append(_Processor(self, rows))
            return guides[-1]

        replies = self.base.generate(prompts, n, sampling=chosen, schema=schema, guide=guide)
        scored = sum(g.scored for g in guides)
        if lost := sum(g.lost for g in guides):
            log.warning("%d of %d continuations had no score and counted as the lowest of their step", lost, scored)
        if self.clamp is not None and scored and (cut := sum(g.cut for g in guides)) > scored / 2:
            log.warning(
                "%d of %d scores were outside %s: the reward hardly guides; calibrate it", cut, scored, self.clamp
            )
        return replace(replies, cost={**replies.cost, "scored": float(scored)})


class _Processor(LogitsProcessor):
    """The rule for one batch; counts what was scored, had no score, or was cut off."""

    def __init__(self, guided: RewardGuided, prompts: Sequence[Text]) -> None:
        self.guided, self.prompts = guided, list(prompts)
        self.start: int | None = None
        self.scored = self.lost = self.cut = 0

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if self.start is None:
            self.start = input_ids.shape[1]
        base = torch.log_softmax(scores.float(), dim=-1)
        k = min(self.guided.top_k, base.shape[-1])
        values, tokens = base.topk(k, dim=-1)
        written = input_ids[:, self.start :]
        going = ~torch.isin(written, torch.tensor(self.guided.base.ends, device=written.device)).any(1).cpu().numpy()
        reward = np.zeros((len(written), k))
        reward[going] = self._rewards(written[going].tolist(), tokens[going].tolist(), np.flatnonzero(going))
        steered = values + self.guided.beta * torch.as_tensor(reward, dtype=values.dtype, device=values.device)
        return torch.full_like(base, -torch.inf).scatter(1, tokens, steered)

    def _rewards(self, written: list[list[int]], tokens: list[list[int]], rows: np.ndarray) -> np.ndarray:
        """float64 [rows, k] rewards of each row's text with each token behind it."""
        g = self.guided
        if not len(rows):
            return np.zeros((0, g.top_k))
        k = len(tokens[0])
        texts = g.base.tokenizer.batch_decode(
            [[*text, token] for text, following in zip(written, tokens, strict=True) for token in following],
            skip_special_tokens=True,
        )
        prompts = [self.prompts[row] for row in rows for _ in range(k)]
        column = {name: [value] * len(texts) for name, value in (("user", g.user), ("criterion", g.criterion)) if value}
        value = g.reward.score(Candidates(prompts, texts, **column)).value.reshape(len(rows), k)  # type: ignore[arg-type]
        self.scored += value.size
        self.lost += int(np.isnan(value).sum())
        known = np.where(np.isnan(value).all(1, keepdims=True), 0.0, value)
        value = np.where(np.isnan(known), np.nanmin(known, axis=1, keepdims=True), known)
        if g.clamp is not None:
            self.cut += int(((value < g.clamp[0]) | (value > g.clamp[1])).sum())
            value = value.clip(*g.clamp)
        return value

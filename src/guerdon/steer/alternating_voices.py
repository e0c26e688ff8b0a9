r"""Personas that take turns: one drafts a few tokens, the next accepts or replaces them, then the roles change.

A block: the drafter samples gamma tokens from q; the judge reads them all at once and accepts each in turn with chance
min(1, p / q); at the first that is not accepted one token is drawn from max(p - q, 0), and the block ends; if all are
accepted, one more is drawn from p. That is speculative sampling, which is exact: whoever drafts, a block is distributed
as the judge writes. With the roles changing, a text is written by both in turns, not by a compromise of the two; how
often drafts are accepted is 1 minus the total variation between the personas, a measure of how well they agree.

The authors' code draws from max(q - p, 0) where the sum of p - q, which is 0, comes out negative: by rounding, in half
of all cases. ``official_residual=True`` does the same, for comparison.

References: Zhang et al. 2025, Persona-judge: Personalized Alignment of Large Language Models via Token-level
Self-judgment, https://arxiv.org/abs/2504.12663; Leviathan et al. 2023, https://arxiv.org/abs/2211.17192
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Text
from guerdon.generate.base import LanguageModel, Replies, Reply, Sampling, as_sampling
from guerdon.generate.continuations import Continuations
from guerdon.generate.local import MAX_TOKENS
from guerdon.steer.logit_arithmetic import Voice, same_tokenizer

log = logging.getLogger(__name__)

FEW = 0.05
"""Share of drafts accepted below which the personas hardly agree."""


class AlternatingVoices(LanguageModel):
    """Voices that write a text in turns, each block drafted by one and judged by the next.

    Parameters
    ----------
    voices : two or more, of models with the same tokens; with ``swap`` they take turns, else the first always drafts
        and the second always judges
    gamma : tokens of a draft
    swap : whether the roles change after each block
    official_residual : the rule of the authors' code after a refusal
    """

    def __init__(
        self, voices: Sequence[Voice], *, gamma: int = 4, swap: bool = True, official_residual: bool = False
    ) -> None:
        if len(voices) < 2:
            raise ConfigError("give two voices or more; one alone needs nobody's judgement")
        if gamma < 1:
            raise ConfigError(f"gamma={gamma}: a draft has at least one token")
        for voice in voices[1:]:
            same_tokenizer(voices[0].model, voice.model)
        self.voices, self.gamma, self.swap, self.official_residual = list(voices), gamma, swap, official_residual
        self.model = voices[0].model
        self.name = f"{self.model.name} in {len(voices)} voices"

    def generate(
        self,
        prompts: Sequence[Text],
        n: int = 1,
        *,
        sampling: Sampling | None = None,
        schema: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Replies:
        """See :meth:`LanguageModel.generate`; temperature, top_k and top_p change every voice's own distribution.

        ``cost`` also has ``drafted`` and ``accepted``, in tokens.
        """
        begin = time.perf_counter()
        chosen = as_sampling(sampling, settings)
        if schema is not None or chosen.stop or chosen.extra or chosen.logprobs:
            raise ConfigError("voices that take turns know temperature, top_k, top_p, max_tokens and seed only")
        rows: list[Reply] = []
        counts = np.zeros(2, dtype=np.int64)
        for prompt in prompts:
            before = [voice.tokens([prompt])[0] for voice in self.voices]
            for draw in range(n):
                rng = _generator(before[0], chosen.seed, draw)
                reply, drafted, accepted = self._write(before, chosen, rng)
                rows.append(reply)
                counts += drafted, accepted
        if counts[0] and counts[1] < FEW * counts[0]:
            log.warning(
                "%d of %d drafted tokens were accepted: these voices hardly agree, and the text changes its style "
                "from block to block", counts[1], counts[0],
            )  # fmt: skip
        cost = {
            "calls": float(len(rows)),
            "completion_tokens": float(sum(r.completion_tokens for r in rows)),
            "drafted": float(counts[0]),
            "accepted": float(counts[1]),
            "seconds": time.perf_counter() - begin,
        }
        return Replies(rows, n, cost)

    def _write(self, before: list[np.ndarray], sampling: Sampling, rng: np.random.Generator) -> tuple[Reply, int, int]:
        """(one reply, tokens drafted, tokens accepted)."""
        readers = [Continuations(v.model, [ids]) for v, ids in zip(self.voices, before, strict=True)]
        room = min(v.model.max_length - len(ids) for v, ids in zip(self.voices, before, strict=True))
        if room < 1:
            return Reply("too_long", reason=f"too long: {self.model.name} reads {self.model.max_length} tokens"), 0, 0
        most = min(sampling.max_tokens or MAX_TOKENS, room)
        assert self.model.model is not None  # opens it: ``ends`` is known from then on
        written: list[int] = []
        drafted = accepted = block = 0
        while len(written) < most and not (written and written[-1] in self.model.ends):
            first = block if self.swap else 0
            drafter, judge = readers[first % len(readers)], readers[(first + 1) % len(readers)]
            size = min(self.gamma, most - len(written))
            draft: list[int] = []
            q = []
            for _ in range(size):
                q.append(distribution(drafter.logits(_row([*written, *draft], drafter))[0], sampling)[0])
                draft.append(_draw(q[-1], rng.random()))
            p = distribution(judge.logits(_row([*written, *draft], judge), size + 1)[0], sampling)
            kept, following = accept(
                draft, np.stack(q), p, rng.random(size), rng.random(), official_residual=self.official_residual
            )
            drafted, accepted, block = drafted + size, accepted + kept, block + 1
            new = [*draft[:kept], following]
            ends = [i for i, token in enumerate(new) if token in self.model.ends]
            written += (new[: ends[0] + 1] if ends else new)[: most - len(written)]
        ended = bool(written) and written[-1] in self.model.ends
        text = self.model.tokenizer.decode(written[: len(written) - ended], skip_special_tokens=True)
        reply = Reply(
            "answered", text, None, "stop" if ended else "length", prompt_tokens=len(before[0]),
            completion_tokens=len(written),
        )  # fmt: skip
        return reply, drafted, accepted


def accept(
    draft: Sequence[int],
    q: np.ndarray,
    p: np.ndarray,
    chances: np.ndarray,
    last: float,
    *,
    official_residual: bool = False,
) -> tuple[int, int]:
    """(how many drafted tokens are accepted, the token that follows them).

    draft    [g] tokens; ``q`` [g, V] what they were drawn from; ``p`` [g + 1, V] the judge's probabilities
    chances  [g] and ``last``: uniform numbers in [0, 1), of the acceptances and of the token that follows
    """
    for i, token in enumerate(draft):
        if chances[i] * q[i, token] >= p[i, token]:
            gap = p[i] - q[i]
            if official_residual and float(gap.sum(dtype=np.float32)) <= 0:
                gap = -gap
            rest = np.maximum(gap, 0.0)
            return i, _draw(rest if rest.sum() > 0 else p[i], last)
    return len(draft), _draw(p[len(draft)], last)


def distribution(logits: Tensor, sampling: Sampling) -> np.ndarray:
    """float64 [k, V] probabilities after temperature, top_k and top_p, of logits [k, V]."""
    temperature = 1.0 if sampling.temperature is None else sampling.temperature
    if temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).double().cpu().numpy()
    chance, order = torch.softmax(logits.double() / temperature, dim=-1).sort(dim=-1, descending=True, stable=True)
    if sampling.top_k is not None:
        chance[:, sampling.top_k :] = 0.0
    if sampling.top_p is not None and sampling.top_p < 1:
        before = chance.cumsum(-1) - chance
        chance = torch.where(before < sampling.top_p * chance.sum(-1, keepdim=True), chance, 0.0)
    chance = chance / chance.sum(-1, keepdim=True)
    return torch.zeros_like(chance).scatter(-1, order, chance).cpu().numpy()


def _draw(weights: np.ndarray, number: float) -> int:
    """The token at which the cumulative weight passes ``number`` of the whole."""
    passed = np.cumsum(weights)
    return int(min(np.searchsorted(passed, number * passed[-1], side="right"), np.flatnonzero(weights)[-1]))


def _row(tokens: list[int], reader: Continuations) -> Tensor:
    return torch.tensor([tokens], dtype=torch.int64, device=reader.model.device)


def _generator(prompt: np.ndarray, seed: int | None, draw: int) -> np.random.Generator:
    """Numbers of one draw of one prompt; without a seed they are new each time."""
    if seed is None:
        return np.random.default_rng()
    digest = blake2b(np.asarray(prompt, np.int64).tobytes(), digest_size=8).digest()
    return np.random.default_rng([(seed + draw) % 2**64, int.from_bytes(digest, "little")])

r"""Logit arithmetic: a language model's next-token scores plus weighted differences of other models' or other prompts'.

    score(token) = log pi_base(token) + sum_i c_i (log pi_i(token) - log pi_anchor_i(token))

among the ``top_k`` most probable tokens of the base, or all. One rule, several published methods:

============= ============================================================ ======================================
GenARM        c log pi_r, pi_r an autoregressive reward, no anchor         several rewards with weights of their own
PAD           c (log pi_r - log pi_base), ``anchor="base"``, top_k = 10    the wish in words in both prompts
Drift         c p_i (log pi(. | s_i) - log pi(. | s_0)), a small model     p_i: a person's weights of attributes
============= ============================================================ ======================================

Log-probabilities or logits, over the vocabulary or over the k tokens only: they differ by a constant of the step, so
the draws are the same. The anchor of a small model's prompt is the same small model; the large one's would let the
difference of sizes in. Filters of sampling (top_p, temperature) come after the sum.

Models must share the tokenizer. What reads the same model under several prompts runs as one batch, with its keys and
values kept: a term costs one token a step. The base's own scores come from generation and are not computed again.

References: Xu et al. 2024, GenARM, https://arxiv.org/abs/2410.08193; Chen et al. 2024, PAD: Personalized Alignment at
Decoding-Time, https://arxiv.org/abs/2410.04070; Kim et al. 2025, Drift, https://arxiv.org/abs/2502.14289; Liu et al.
2021, DExperts, https://arxiv.org/abs/2105.03023
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor

from guerdon.encode.prefix import common_prefix, padded_batches
from guerdon.errors import ConfigError
from guerdon.feedback.messages import Text
from guerdon.generate.base import LanguageModel, Likelihoods, Replies, Sampling, as_sampling
from guerdon.generate.continuations import Continuations
from guerdon.generate.local import MAX_TOKENS, LocalModel
from guerdon.reward.implicit.context import Exemplar, within

BASE = "base"


@dataclass(frozen=True)
class Voice:
    """A local model as it writes under an instruction: ``system`` and ``exemplars`` stand before every prompt."""

    model: LocalModel
    system: str | None = None
    exemplars: tuple[Exemplar, ...] = ()

    def tokens(self, prompts: Sequence[Text]) -> list[np.ndarray]:
        """[n] int64 what stands before the text for this voice."""
        texts, problems = self.model.render([within(p, self.system, self.exemplars) for p in prompts])
        for i, problem in enumerate(problems):
            if problem is not None:
                raise ConfigError(f"prompts[{i}] for {self.model.name}: {problem}")
        return self.model.tokens([str(t) for t in texts])


@dataclass(frozen=True)
class Term:
    """weight (log pi_source - log pi_anchor); no anchor is a uniform one, ``base`` the model that is steered."""

    weight: float
    source: Voice
    anchor: Voice | str | None = None

    def __post_init__(self) -> None:
        if not np.isfinite(self.weight):
            raise ConfigError(f"weight={self.weight!r}: use a number")
        if isinstance(self.anchor, str) and self.anchor != BASE:
            raise ConfigError(f"anchor={self.anchor!r}: give a voice, base or nothing")


class LogitArithmetic(LogitsProcessor):
    """The rule as a logits processor of transformers, for a guided ``generate`` of one's own.

    A processor is for one call of ``generate``, without beams: rows are ``prompts``, each as often as it has draws.

    Parameters
    ----------
    terms : what is added
    prompts : [n] what the rows' texts answer, as the voices read it
    top_k : only so many tokens, the most probable of the base, can follow; None: all
    """

    def __init__(self, terms: Sequence[Term], prompts: Sequence[Text], *, top_k: int | None = None) -> None:
        if top_k is not None and top_k < 1:
            raise ConfigError(f"top_k={top_k}: use a whole number of at least 1")
        self.terms, self.top_k = [t for t in terms if t.weight], top_k
        self._start: int | None = None
        self._choir = Choir([v for t in self.terms for v in (t.source, t.anchor) if isinstance(v, Voice)], prompts)

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if self._start is None:
            self._start = input_ids.shape[1]
        return self.add(scores[:, None], input_ids[:, self._start :])[:, 0]

    def add(self, scores: Tensor, written: Tensor) -> Tensor:
        """float32 [n, t, V]: base scores [n, t, V] of what follows the last t prefixes of ``written``, steered."""
        base = torch.log_softmax(scores.float(), dim=-1)
        total = base.clone()
        said = self._choir.logprob(written, scores.shape[1])
        size = min([base.shape[-1], *(s.shape[-1] for s in said.values())])
        for term in self.terms:
            total[..., :size] += term.weight * said[term.source][..., :size]
            if isinstance(term.anchor, Voice):
                total[..., :size] -= term.weight * said[term.anchor][..., :size]
            elif term.anchor == BASE:
                total -= term.weight * base
        out = torch.full_like(total, -torch.inf)
        possible = torch.isfinite(base)
        possible[..., size:] = False  # rows that some checkpoints append to their vocabulary
        if self.top_k is not None and self.top_k < size:
            best = base[..., :size].topk(self.top_k, dim=-1).indices
            possible &= torch.zeros_like(possible).scatter(-1, best, True)
        return torch.where(possible, total, out)


class Choir:
    """Several voices on the same texts: a model runs once a step for all voices that it has."""

    def __init__(self, voices: Sequence[Voice], prompts: Sequence[Text]) -> None:
        self.n = len(prompts)
        self.parts: list[tuple[list[Voice], Continuations]] = []
        for model in dict.fromkeys(v.model for v in voices):
            own = [v for v in dict.fromkeys(voices) if v.model is model]
            rows = [ids for voice in own for ids in voice.tokens(prompts)]
            self.parts.append((own, Continuations(model, rows)))

    def logprob(self, written: Tensor, last: int) -> dict[Voice, Tensor]:
        """Voice -> float32 [n, last, V] log-probabilities of what follows the last prefixes of ``written``."""
        found: dict[Voice, Tensor] = {}
        for voices, reader in self.parts:
            text = written.to(reader.model.device)
            logits = reader.logits(text.repeat(len(voices), 1), last)
            for voice, part in zip(voices, logits.split(self.n), strict=True):
                found[voice] = torch.log_softmax(part, dim=-1).to(written.device)
        return found


class Guided(LanguageModel):
    """A local language model steered by :class:`LogitArithmetic`: draws, and likelihoods, of the steered distribution.

    Parameters
    ----------
    base : the model that is steered
    terms : what is added to its scores
    top_k : only so many tokens, the most probable of the base, can follow; None: all

    Raises
    ------
    ConfigError
        if the models' tokenizers differ
    """

    def __init__(self, base: LocalModel, terms: Sequence[Term], *, top_k: int | None = None) -> None:
        LogitArithmetic((), (), top_k=top_k)  # checks top_k
        self.base, self.terms, self.top_k = base, tuple(terms), top_k
        for voice in (v for t in self.terms for v in (t.source, t.anchor) if isinstance(v, Voice)):
            same_tokenizer(base, voice.model)
        self.name = f"{base.name} steered"

    @property
    def identity(self) -> str:
        def of(voice: Voice | str | None) -> str:
            return (
                f"{voice.model.identity}|{voice.system}|{voice.exemplars}" if isinstance(voice, Voice) else str(voice)
            )

        said = [f"{t.weight:g}*({of(t.source)}-{of(t.anchor)})" for t in self.terms]
        return " + ".join([self.base.identity, *said, f"top_k={self.top_k}"])

    def processor(self, prompts: Sequence[Text]) -> LogitArithmetic:
        """The processor of one batch whose rows answer ``prompts``."""
        return LogitArithmetic(self.terms, prompts, top_k=self.top_k)

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
        room = self._room(prompts)
        if (chosen.max_tokens or MAX_TOKENS) > room:
            chosen = replace(chosen, max_tokens=room)
        return self.base.generate(prompts, n, sampling=chosen, schema=schema, guide=self.processor)

    def _room(self, prompts: Sequence[Text]) -> int:
        """Tokens that every voice can read after its own prompts."""
        voices = [v for t in self.terms for v in (t.source, t.anchor) if isinstance(v, Voice)]
        left = {v: v.model.max_length - max(map(len, v.tokens(prompts)), default=0) for v in voices}
        for voice, room in left.items():
            if room < 1:
                raise ConfigError(f"{voice.model.name} reads {voice.model.max_length} tokens; a prompt is longer")
        return min(left.values(), default=self.base.max_length)

    def loglikelihood(
        self, prompts: Sequence[Text], responses: Sequence[str], *, end: bool = False, role: str = "assistant"
    ) -> Likelihoods:
        """See :meth:`LanguageModel.loglikelihood`, under the steered distribution; of the assistant's turn only."""
        if role != "assistant":
            raise ConfigError(f"role={role!r}: what is steered is the assistant's turn")
        texts, problems = self.base.render(prompts)
        status, reason = ["scored" if p is None else "invalid" for p in problems], list(problems)
        out: list[np.ndarray | None] = [None] * len(responses)
        rows: list[int] = []
        before: list[np.ndarray] = []
        after: list[np.ndarray] = []
        for i, text in enumerate(texts):
            if text is None:
                continue
            prefix, ids = self.base.tokens([text, f"{text}{self.base.own(responses[i])}"])
            start = common_prefix([prefix, ids])
            if end and self.base.tokenizer.eos_token_id is not None:
                ids = np.r_[ids, self.base.tokenizer.eos_token_id]
            if not start:
                status[i], reason[i] = "invalid", "nothing stands before the response, so its first token has no chance"
            elif len(ids) > self.base.max_length:
                status[i] = "too_long"
                reason[i] = f"too long: {len(ids)} tokens; {self.base.name} reads {self.base.max_length}"
            else:
                rows.append(i)
                before.append(ids[:start])
                after.append(ids[start:])
        lengths = np.array([len(b) + len(a) for b, a in zip(before, after, strict=True)], dtype=np.int64)
        for batch in padded_batches(range(len(rows)), lengths, self.base.batch_tokens):
            part = batch.rows
            found = self._logprob([prompts[rows[r]] for r in part], [before[r] for r in part], [after[r] for r in part])
            for r, values in zip(part, found, strict=True):
                out[rows[r]] = values
        total = np.array([np.nan if v is None else float(v.sum()) for v in out])
        return Likelihoods(total, out, status, reason)

    def _logprob(self, prompts: list[Text], before: list[np.ndarray], after: list[np.ndarray]) -> list[np.ndarray]:
        """[n] float64 [t] log-probability of each token of ``after``."""
        longest = max(map(len, after))
        if not longest:
            return [np.zeros(0) for _ in after]
        filled = np.full((len(after), longest), self.base.pad, dtype=np.int64)
        for row, ids in enumerate(after):
            filled[row, : len(ids)] = ids
        targets = torch.from_numpy(filled).to(self.base.device)
        read = targets[:, :-1]  # what follows the last token is not asked for
        scores = Continuations(self.base, before).logits(read, longest)
        steered = torch.log_softmax(self.processor(prompts).add(scores, read), dim=-1)
        values = steered.gather(2, targets[..., None])[..., 0].double().cpu().numpy()
        return [row[: len(ids)] for row, ids in zip(values, after, strict=True)]


def same_tokenizer(one: LocalModel, other: LocalModel) -> None:
    """Raise :class:`ConfigError` unless the two models' tokens are the same."""
    if one is other:
        return
    a, b = one.tokenizer.get_vocab(), other.tokenizer.get_vocab()
    if a != b:
        differ = next(iter(sorted(set(a.items()) ^ set(b.items()), key=lambda t: t[1])))[0]
        raise ConfigError(
            f"{one.name} and {other.name} have different tokens (e.g. {differ!r}): their scores cannot be added; "
            "use models of one tokenizer"
        )
    if one.tokenizer.eos_token_id != other.tokenizer.eos_token_id:
        raise ConfigError(f"{one.name} and {other.name} end their texts with different tokens")

"""Causal language models of transformers, on this machine: drawing replies, and exact likelihoods of given texts.

Likelihoods of several responses to one prompt run its tokens once (:mod:`guerdon.encode.prefix`). A seeded draw
depends on prompt, seed and number of the draw, not on the batch it is in; log-probabilities are those of the model as
it is, before temperature and top_p.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from guerdon.encode.hidden import quiet
from guerdon.encode.prefix import Batch, common_prefix, padded_batches
from guerdon.errors import ConfigError
from guerdon.feedback.messages import Text, as_messages, pack
from guerdon.generate import structured
from guerdon.generate.base import (
    LabelProbabilities,
    LanguageModel,
    Likelihoods,
    Replies,
    Reply,
    Sampling,
    TokenLogprobs,
    as_sampling,
    checked_labels,
)
from guerdon.generate.chat_reply import parse_json
from guerdon.generate.checkpoint import Checkpoint

MAX_TOKENS = 256
"""Most tokens of a reply where nothing is said."""
ROWS = 1024
"""Tokens whose probabilities over the whole vocabulary are computed at once."""


Guide = Callable[[Sequence[Text]], Any]
"""Makes the transformers LogitsProcessor of a batch whose rows answer these prompts."""


class LocalModel(Checkpoint, LanguageModel):
    """A causal language model on this machine; the options are those of :class:`Checkpoint`."""

    # ------------------------------------------------------------------ drawing

    def generate(
        self,
        prompts: Sequence[Text],
        n: int = 1,
        *,
        sampling: Sampling | None = None,
        schema: Mapping[str, Any] | None = None,
        guide: Guide | None = None,
        **settings: Any,
    ) -> Replies:
        """See :meth:`LanguageModel.generate`; at most 256 tokens where ``max_tokens`` is not given.

        guide  what changes the scores of the next tokens before one is drawn; log-probabilities are then the changed
        """
        from guerdon.generate.drawing import uniforms

        begin = time.perf_counter()
        chosen = as_sampling(sampling, settings)
        if chosen.extra:
            raise ConfigError(f"a local model takes no further fields; it got {', '.join(chosen.extra)}")
        if n < 1:
            raise ConfigError(f"n={n}: draw at least one reply a prompt")
        if schema is not None:
            prompts = [structured.messages("text", schema, as_messages(p)) for p in prompts]
        texts, problems = self.render(prompts)
        self._ready()
        steps = chosen.max_tokens or MAX_TOKENS
        rows: list[Reply | None] = [None] * (len(texts) * n)
        readable = [i for i, text in enumerate(texts) if text is not None]
        tokens = dict(zip(readable, self.tokens([str(texts[i]) for i in readable]), strict=True))
        work: list[tuple[int, int]] = []  # (prompt, draw)
        copies = n if chosen.temperature == 0 else 1  # without chance all draws are one
        for i, problem in enumerate(problems):
            if problem is not None:
                rows[i * n : (i + 1) * n] = [Reply("failed", reason=problem)] * n
            elif len(tokens[i]) >= self.max_length or not len(tokens[i]):
                reason = f"too long: {self.name} reads {self.max_length} tokens"
                rows[i * n : (i + 1) * n] = [Reply("too_long", reason=reason)] * n
            else:
                work += [(i, draw) for draw in range(0, n, copies)]
        numbers = uniforms([(tokens[i], d) for i, d in work], steps, chosen.seed)
        lengths = np.array([len(tokens[i]) + min(steps, self.max_length - len(tokens[i])) for i, _ in work], np.int64)
        shown = [str(texts[i]) for i, _ in work]
        for batch in self._batches(lengths, shown):
            part = batch.rows
            given, seen = [tokens[work[r][0]] for r in part], [shown[r] for r in part]
            guides = [] if guide is None else [guide([prompts[work[r][0]] for r in part])]
            drawn = self._draw(given, seen, numbers[part], chosen, steps, schema, guides)
            for row, reply in zip(part, drawn, strict=True):
                i, draw = work[row]
                for copy in range(copies):
                    rows[i * n + draw + copy] = reply
        done = [r for r in rows if r is not None]
        cost = {
            "calls": float(len(work)),
            "prompt_tokens": float(sum(len(tokens[i]) for i, _ in work)),
            "completion_tokens": float(sum(r.completion_tokens for r in done)) / copies,
            "seconds": time.perf_counter() - begin,
        }
        return Replies(done, n, cost)

    def _draw(
        self,
        prompts: list[np.ndarray],
        texts: list[str],
        numbers: np.ndarray,
        sampling: Sampling,
        steps: int,
        schema: Mapping[str, Any] | None,
        guides: list[Any],
    ) -> list[Reply]:
        """One batch, padded on the left; ``texts`` are the rendered prompts."""
        from transformers import LogitsProcessorList, StoppingCriteriaList

        from guerdon.generate.drawing import Drawing, StopTexts

        longest = max(map(len, prompts))
        ids = np.full((len(prompts), longest), self.pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = prompt
            mask[row, longest - len(prompt) :] = 1
        drawing = Drawing(sampling, numbers)
        stops = [StopTexts(self.tokenizer, sampling.stop, longest)] if sampling.stop else []
        with self._lock, torch.inference_mode(), quiet():
            written = self.model.generate(
                torch.from_numpy(ids).to(self.device),
                attention_mask=torch.from_numpy(mask).to(self.device),
                max_new_tokens=steps,
                do_sample=False,
                logits_processor=LogitsProcessorList([*guides, drawing]),
                stopping_criteria=StoppingCriteriaList(stops),
                **self._beside(texts, [len(prompt) for prompt in prompts], left=True),
            )[:, longest:].cpu().numpy()  # fmt: skip
        logprob = torch.stack(drawing.logprob, dim=1).double().numpy()
        replies = []
        for row, prompt in enumerate(prompts):
            new = written[row, : self.max_length - len(prompt)]
            replies.append(self._reply(new, len(prompt), row, logprob[row], drawing.top, sampling, schema))
        return replies

    def _reply(
        self,
        new: np.ndarray,
        asked: int,
        row: int,
        logprob: np.ndarray,
        top: list[tuple[torch.Tensor, torch.Tensor]],
        sampling: Sampling,
        schema: Mapping[str, Any] | None,
    ) -> Reply:
        """The reply of one row of tokens as generate left it, filled up after its end."""
        ends = np.flatnonzero(np.isin(new, self.ends))
        taken = int(ends[0]) if len(ends) else len(new)
        finish = "stop" if len(ends) else "length"
        used = taken + bool(len(ends))
        text = self.tokenizer.decode(new[:taken], skip_special_tokens=True)
        cuts = [text.find(stop) for stop in sampling.stop if stop in text]
        if cuts:
            # tokens after the one that completes the stop text are filling of other rows that went on
            taken = next(
                k
                for k in range(1, taken + 1)
                if any(s in self.tokenizer.decode(new[:k], skip_special_tokens=True) for s in sampling.stop)
            )
            text, finish, used = text[: min(cuts)], "stop", taken
        given, reason, parsed = None, None, None
        if sampling.logprobs:
            pieces = self.tokenizer.batch_decode([[t] for t in new[:taken].tolist()])
            listed = [self._alternatives(v[row], i[row]) for v, i in top[:taken]] or [{} for _ in pieces]
            given = TokenLogprobs(pieces, logprob[:taken], listed)
        if schema is not None:
            parsed, reason = parse_json(text, schema)
        return Reply(
            "answered", text, reason, finish, parsed, given, prompt_tokens=asked, completion_tokens=used
        )  # fmt: skip

    def _ready(self) -> None:
        """Open the model; an encoder is an error here already."""
        assert self.decoder.causal

    def _batches(self, lengths: np.ndarray, texts: Sequence[str]) -> list[Batch]:
        """Padded batches of sequences of ``lengths`` after the rendered prompts ``texts``."""
        return padded_batches(range(len(lengths)), lengths, self.batch_tokens)

    def _beside(self, texts: Sequence[str], lengths: Sequence[int], *, left: bool) -> dict[str, torch.Tensor]:
        """What a batch takes beside tokens and mask."""
        return {}

    def _alternatives(self, values: torch.Tensor, ids: torch.Tensor) -> dict[str, float]:
        found: dict[str, float] = {}
        pieces = self.tokenizer.batch_decode([[t] for t in ids.tolist()])
        for piece, value in zip(pieces, values.tolist(), strict=True):
            found.setdefault(piece, value)  # two tokens may look alike; the more probable one comes first
        return found

    # ------------------------------------------------------------------ likelihoods

    def loglikelihood(
        self, prompts: Sequence[Text], responses: Sequence[str], *, end: bool = False, role: str = "assistant"
    ) -> Likelihoods:
        """log p(response | prompt), exact, token by token. A prompt's tokens run once for all its responses.

        The text is tokenised whole; a token that spans the boundary belongs to the response.

        end   also count the end-of-text token after each response: how likely the model is to write it and no more
        role  whose turn it is: ``assistant``, or ``user`` for what a user says next in the dialogue
        """
        if role not in ("assistant", "user"):
            raise ConfigError(f"role={role!r}: use assistant or user")
        n = len(responses)
        if len(prompts) != n:
            raise ConfigError(f"{len(prompts)} prompts and {n} responses: give one prompt a response")
        texts, problems = self.render(prompts, role)
        status, reason = ["scored"] * n, list(problems)
        out: list[np.ndarray | None] = [None] * n
        rows = [i for i in range(n) if texts[i] is not None]
        different = list(dict.fromkeys(str(texts[i]) for i in rows))
        before = dict(zip(different, self.tokens(different), strict=True))
        whole = self.tokens([f"{texts[i]}{self.own(responses[i])}" for i in rows])
        sequences: list[np.ndarray] = []
        starts: list[int] = []
        kept: list[int] = []
        for i, ids in zip(rows, whole, strict=True):
            prefix = before[str(texts[i])]
            if end and self.tokenizer.eos_token_id is not None:
                ids = np.r_[ids, self.tokenizer.eos_token_id]
            start = common_prefix([prefix, ids]) if len(ids) else 0
            if not start and len(ids) and len(prefix) == 1 and not texts[i]:
                ids, start = np.r_[prefix, ids], 1  # nothing stands before the response but the begin of text
            if not start:
                status[i], reason[i] = "invalid", "nothing stands before the response, so its first token has no chance"
            elif len(ids) > self.max_length:
                status[i] = "too_long"
                reason[i] = f"too long: {len(ids)} tokens; {self.name} reads {self.max_length}"
            else:
                sequences.append(ids)
                starts.append(start)
                kept.append(i)
        for i, problem in enumerate(problems):
            if problem is not None:
                status[i] = "invalid"
        first = np.array(starts, dtype=np.int64)
        keys = [pack(prompts[i]) for i in kept]
        with self._lock, torch.inference_mode():
            for rows, states in self._states(sequences, keys, [str(texts[i]) for i in kept], first):
                targets = np.concatenate([sequences[r][first[r] :] for r in rows])
                values = self._logprob_of(states, targets)
                at = 0
                for r in rows:
                    size = len(sequences[r]) - starts[r]
                    out[kept[r]] = values[at : at + size]
                    at += size
        total = np.array([np.nan if t is None else float(t.sum()) for t in out])
        return Likelihoods(total, out, status, reason)

    def _states(
        self, sequences: list[np.ndarray], keys: Sequence[str], texts: Sequence[str], first: np.ndarray | None
    ) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Batch by batch: (rows, states [T, d] that predict their tokens from ``first`` [n] on, row after row).

        Without ``first``, the states [rows, d] at the last tokens. ``keys`` are equal where prompts are.
        """
        for batch in self.decoder.plan(sequences, keys, self.batch_tokens) if sequences else ():
            last, before = self.decoder.states(sequences, batch, first)
            yield batch.rows, last if first is None else before

    def _logprob_of(self, states: torch.Tensor, targets: np.ndarray) -> np.ndarray:
        """float64 [T] log-probability of ``targets`` [T] after ``states`` [T, d]."""
        parts = [np.zeros(0)]
        for lo in range(0, len(targets), ROWS):
            logprob = torch.log_softmax(self._head(states[lo : lo + ROWS]), dim=-1)
            ids = torch.from_numpy(targets[lo : lo + ROWS]).to(logprob.device)
            parts.append(logprob.gather(1, ids[:, None])[:, 0].double().cpu().numpy())
        return np.concatenate(parts)

    def _head(self, states: torch.Tensor) -> torch.Tensor:
        """float32 [T, V] logits of hidden states [T, d]."""
        return self.head(states).float()

    def logits(self, prompts: Sequence[Text]) -> np.ndarray:
        """float32 [n, V] logits of the first token of a reply to each prompt."""
        texts, problems = self.render(prompts)
        for i, problem in enumerate(problems):
            if problem is not None:
                raise ConfigError(f"prompts[{i}]: {problem}")
        sequences = self.tokens([str(t) for t in texts])
        for i, ids in enumerate(sequences):
            if not 1 <= len(ids) <= self.max_length:
                raise ConfigError(f"prompts[{i}] has {len(ids)} tokens; {self.name} reads 1 to {self.max_length}")
        out = np.zeros((len(sequences), 0), dtype=np.float32)
        with self._lock, torch.inference_mode():
            for rows, states in self._states(sequences, list(map(pack, prompts)), list(map(str, texts)), None):
                found = self._head(states).cpu().numpy()
                if not out.shape[1]:
                    out = np.zeros((len(sequences), found.shape[1]), dtype=np.float32)
                out[rows] = found
        return out

    def label_probabilities(self, prompts: Sequence[Text], labels: Sequence[str]) -> LabelProbabilities:
        """See :meth:`LanguageModel.label_probabilities`; here from the whole vocabulary, so that no label is missed.

        A label that no token spells has the probability that the reply begins with it, token by token.
        """
        begin = time.perf_counter()
        wanted = checked_labels(labels)
        texts, problems = self.render(prompts)
        status, reason = ["answered" if p is None else "failed" for p in problems], list(problems)
        rows = [i for i, text in enumerate(texts) if text is not None]
        for i, ids in zip(rows, self.tokens([str(texts[i]) for i in rows]), strict=True):
            if not 1 <= len(ids) < self.max_length:
                status[i], reason[i] = "too_long", f"too long: {self.name} reads {self.max_length} tokens"
        rows = [i for i in rows if status[i] == "answered"]
        value = np.full((len(prompts), len(labels)), np.nan)
        if rows:
            logits = torch.from_numpy(self.logits([prompts[i] for i in rows]))
            chance = torch.softmax(logits.double(), dim=-1).numpy()
            for label, column in wanted.items():
                ids = self._spellings.get(label, [])
                if ids:
                    value[rows, column] = chance[:, ids].sum(1)
                else:
                    value[rows, column] = np.exp(
                        self.loglikelihood([prompts[i] for i in rows], [labels[column].strip()] * len(rows)).total
                    )
        return LabelProbabilities(value, status, reason, {"seconds": time.perf_counter() - begin})

    @cached_property
    def _spellings(self) -> dict[str, list[int]]:
        """Tokens by what they spell, without spaces around it and with case folded."""
        special = set(self.tokenizer.all_special_ids)
        found: dict[str, list[int]] = {}
        for token, text in enumerate(self.tokenizer.batch_decode([[t] for t in range(len(self.tokenizer))])):
            if token not in special:
                found.setdefault(text.strip().casefold(), []).append(token)
        return found

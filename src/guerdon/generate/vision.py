"""Vision-language models of transformers, on this machine: replies and likelihoods where prompts hold images.

Prompts run together where their pixels fit into one array, which changes no result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from guerdon.encode.prefix import Batch, Group, base_of, pad, padded_batches
from guerdon.feedback.messages import Text
from guerdon.generate.base import LabelProbabilities, Likelihoods, Replies, Sampling
from guerdon.generate.local import LocalModel
from guerdon.generate.pictures import images_in
from guerdon.generate.vision_prompts import VisionCheckpoint, head_of

AT_ONCE = 16
"""Images that are held as pixels at a time, unless one prompt has more."""
Part = TypeVar("Part")


class VisionModel(VisionCheckpoint, LocalModel):
    """A vision-language model on this machine; the options are those of :class:`~.checkpoint.Checkpoint`.

    Images on the web are not fetched: a prompt with one fails, with the reason.
    """

    # ------------------------------------------------------------------ asking, some images at a time

    def generate(
        self,
        prompts: Sequence[Text],
        n: int = 1,
        *,
        sampling: Sampling | None = None,
        schema: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Replies:
        """See :meth:`LanguageModel.generate`; at most 256 tokens where ``max_tokens`` is not given."""

        def ask(part: slice) -> Replies:
            return super(VisionModel, self).generate(prompts[part], n, sampling=sampling, schema=schema, **settings)

        parts = self._in_parts(prompts, ask)
        return Replies([row for part in parts for row in part.rows], n, _total([part.cost for part in parts]))

    def loglikelihood(
        self, prompts: Sequence[Text], responses: Sequence[str], *, end: bool = False, role: str = "assistant"
    ) -> Likelihoods:
        """See :meth:`LocalModel.loglikelihood`; a prompt's images are made into pixels once for all its responses."""
        if len(prompts) != len(responses):  # said there
            return super().loglikelihood(prompts, responses, end=end, role=role)

        def ask(part: slice) -> Likelihoods:
            return super(VisionModel, self).loglikelihood(prompts[part], responses[part], end=end, role=role)

        parts = self._in_parts(prompts, ask)
        return Likelihoods(
            np.concatenate([part.total for part in parts]),
            [tokens for part in parts for tokens in part.tokens],
            [status for part in parts for status in part.status],
            [reason for part in parts for reason in part.reason],
        )

    def label_probabilities(self, prompts: Sequence[Text], labels: Sequence[str]) -> LabelProbabilities:
        """See :meth:`LocalModel.label_probabilities`."""

        def ask(part: slice) -> LabelProbabilities:
            return super(VisionModel, self).label_probabilities(prompts[part], labels)

        parts = self._in_parts(prompts, ask)
        return LabelProbabilities(
            np.concatenate([part.value for part in parts]),
            [status for part in parts for status in part.status],
            [reason for part in parts for reason in part.reason],
            _total([part.cost for part in parts]),
        )

    def logits(self, prompts: Sequence[Text]) -> np.ndarray:
        """float32 [n, V] logits of the first token of a reply to each prompt."""
        return np.concatenate(self._in_parts(prompts, lambda part: super(VisionModel, self).logits(prompts[part])))

    def _in_parts(self, prompts: Sequence[Text], ask: Callable[[slice], Part]) -> list[Part]:
        """``ask`` of the prompts in parts with a bounded number of images; of all at once where they have none."""
        if isinstance(prompts, str):
            return [ask(slice(None))]  # an error, said there
        cuts, held = [0], 0
        for i, prompt in enumerate(prompts):
            more = len(images_in(prompt))
            if held and held + more > AT_ONCE:
                cuts.append(i)
                held = 0
            held += more
        out = []
        for lo, hi in zip(cuts, [*cuts[1:], len(prompts)], strict=True):
            with self.looking():
                out.append(ask(slice(lo, hi)))
        return out

    # ------------------------------------------------------------------ running

    def _ready(self) -> None:
        _ = self.model

    def _batches(self, lengths: np.ndarray, texts: Sequence[str]) -> list[Batch]:
        """Padded batches of prompts whose pixels can be joined."""
        forms: dict[Any, list[int]] = {}
        for row, text in enumerate(texts):
            head = head_of(text)
            forms.setdefault(self.look(head).form if head else (), []).append(row)
        batches = []
        for rows in forms.values():
            for batch in padded_batches(range(len(rows)), lengths[rows], self.batch_tokens):
                batches.append(Batch(tuple(Group(0, (rows[r],)) for r in batch.rows), False, batch.tokens))
        return batches

    def _beside(self, texts: Sequence[str], lengths: Sequence[int], *, left: bool) -> dict[str, torch.Tensor]:
        """The pixels of a batch, and what goes with its tokens."""
        heads = [head_of(text) for text in texts]
        if not heads or not heads[0]:
            return {}
        seen = [self.look(head) for head in heads]
        out = {name: torch.cat([s.pixels[name] for s in seen]) for name in seen[0].pixels}
        longest = max(lengths)
        for name, first in seen[0].beside.items():
            out[name] = torch.zeros((len(seen), longest), dtype=first.dtype)
            for row, (s, length) in enumerate(zip(seen, lengths, strict=True)):
                start = longest - length if left else 0
                out[name][row, start : start + len(s.tokens)] = s.beside[name]
        kind = getattr(torch, self.dtype)
        return {k: (v.to(kind) if v.is_floating_point() else v).to(self.device) for k, v in out.items()}

    def _states(
        self, sequences: list[np.ndarray], keys: Sequence[str], texts: Sequence[str], first: np.ndarray | None
    ) -> Iterator[tuple[list[int], torch.Tensor]]:
        """See :meth:`LocalModel._states`; one padded pass a batch, on the right."""
        lengths = np.array([len(s) for s in sequences], dtype=np.int64)
        for batch in self._batches(lengths, texts):
            rows = batch.rows
            ids, sizes = pad([sequences[r] for r in rows], self.pad)
            tokens = torch.from_numpy(ids).to(self.device)
            mask = torch.arange(ids.shape[1])[None] < torch.from_numpy(sizes)[:, None]
            hidden = base_of(self.model)(
                input_ids=tokens,
                attention_mask=mask.long().to(self.device),
                use_cache=False,
                **self._beside([texts[r] for r in rows], sizes.tolist(), left=False),
            ).last_hidden_state
            if first is None:
                yield rows, hidden[torch.arange(len(rows)), torch.from_numpy(sizes - 1)]
            else:
                parts = [hidden[k, first[r] - 1 : sizes[k] - 1] for k, r in enumerate(rows)]
                yield rows, torch.cat(parts)


def _total(costs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for cost in costs for name in cost)
    return {name: sum(cost.get(name, 0.0) for cost in costs) for name in names}

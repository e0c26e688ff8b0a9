r"""Attributes of a response as what a short system prompt does to a frozen language model's likelihood of it.

    r_i(x, y) = (log pi(y | s_i, x) - log pi(y | s_base, x)) / |y|

with s_i the system prompt of attribute i ("Answer formally."), s_base a neutral one, summed over the response's tokens
and divided by their number (``length=sum`` does not divide: then long responses have large values whatever they say).
One feature an attribute, so that every head and every personal reward works on them, and can be read: the weight of
"formal" is how much somebody wants it. The same small model gives both likelihoods; another model's neutral likelihood
in place of s_base would measure the difference of the models.

Responses to one prompt share the work: each system prompt and prompt are read once, and their keys and values serve all
responses. Response tokens are the same under every prompt.

Reference: Kim et al. 2025, Drift: Decoding-time Personalized Alignments with Implicit User Preferences,
https://arxiv.org/abs/2502.14289 (differential prompting)
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from guerdon.encode.hidden import choose_device, opening, quiet
from guerdon.encode.source import Source
from guerdon.encode.template import PlainTemplate, Unit
from guerdon.errors import ConfigError, need

if TYPE_CHECKING:
    import torch

VERSION = 1
LENGTHS = ("mean", "sum")
LONGEST = 1024
"""Tokens read of a prompt and its response where the model could read more."""
RESPONSES = 16
"""Responses to one prompt that go through the model together."""
BASE = "You are a helpful assistant."

DEFAULT = {
    # expertise
    "expert": "Answer as an expert writing for experts.",
    "beginner": "Answer for somebody who knows nothing about the subject.",
    "child": "Answer so that a ten-year-old understands.",
    "technical": "Use precise technical terms.",
    "practical": "Give practical steps that can be followed at once.",
    "examples": "Explain with concrete examples.",
    "analogies": "Explain with analogies.",
    "evidence": "Support every claim with evidence and sources.",
    # length and layout
    "concise": "Answer as briefly as possible.",
    "detailed": "Answer in great detail.",
    "list": "Answer as a list of points.",
    "prose": "Answer in flowing prose without lists.",
    "structured": "Answer with headings and clear sections.",
    "direct": "Begin with the answer and leave out introductions.",
    "summary": "End with a short summary.",
    # tone
    "formal": "Answer in a formal tone.",
    "casual": "Answer casually, as to a friend.",
    "warm": "Be warm and kind.",
    "emotive": "Show feelings.",
    "empathetic": "Show that you understand how the person feels.",
    "enthusiastic": "Be enthusiastic.",
    "humorous": "Be funny.",
    "sarcastic": "Be sarcastic.",
    "serious": "Be serious.",
    "polite": "Be very polite.",
    "blunt": "Be blunt and do not soften anything.",
    "confident": "Be confident and state things plainly.",
    "cautious": "Point out uncertainty and risks.",
    "encouraging": "Encourage the person.",
    "critical": "Question the assumptions of the person.",
    # style
    "poetic": "Write poetically.",
    "story": "Tell a story.",
    "vivid": "Use vivid language.",
    "plain": "Use plain words and short sentences.",
    "questions": "Ask the person questions in return.",
    "creative": "Be original and surprising.",
    # values
    "neutral": "Present all sides and take none.",
    "opinionated": "Take a clear stance.",
    "ethical": "Consider what is right and wrong.",
    "tradition": "Value tradition.",
    "progress": "Value change and progress.",
}
"""Attributes where nothing is said: name -> system prompt, in families."""


class AttributeTexts:
    """Texts to float32 [n, attributes]: log-likelihood differences per token under system prompts.

    source      the causal language model (:func:`guerdon.encode.source.locate`)
    prompts     name -> system prompt; ``base`` the neutral one
    length      ``mean`` over the response's tokens, or ``sum``
    """

    kind = "attributes"
    cached = True
    template = PlainTemplate()

    def __init__(
        self,
        source: Source,
        *,
        prompts: dict[str, str] | None = None,
        base: str = BASE,
        length: str = "mean",
        max_length: int | None = None,
        device: str = "auto",
    ) -> None:
        self.source, self.base, self.length, self.device = source, base, length, device
        self.prompts = DEFAULT if prompts is None else prompts
        self._wanted_length = max_length
        self._lock = threading.RLock()
        self._model: Any = None

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes, in the order of the features."""
        return tuple(self.prompts)

    @property
    def dim(self) -> int:
        """How many attributes there are."""
        return len(self.prompts)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the features of a text."""
        return {
            "encoder": "attributes",
            "version": VERSION,
            "model": self.source.identity,
            "prompts": list(self.prompts.values()),
            "base": self.base,
            "length": self.length,
            "max_length": self.max_length,
        }

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        transformers = _transformers()
        with opening(self.source.name), quiet():
            return transformers.AutoTokenizer.from_pretrained(self.source.name, revision=self.source.revision)

    @cached_property
    def max_length(self) -> int:
        """Tokens read of system prompt, prompt and response together."""
        reads = int(self.source.config().get("max_position_embeddings") or LONGEST)
        if self._wanted_length is not None and self._wanted_length > reads:
            raise ConfigError(f"max_length={self._wanted_length}: {self.source.name} reads at most {reads} tokens")
        return self._wanted_length or min(reads, LONGEST)

    # ------------------------------------------------------------------ computing

    def batches(self, units: Sequence[Unit]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(positions, features) of ``units`` (prompt, response) as they are computed, prompt by prompt."""
        self._load()
        at: dict[str, list[int]] = {}
        for i, unit in enumerate(units):
            at.setdefault(_parts(unit)[0], []).append(i)
        for prompt, rows in at.items():
            for lo in range(0, len(rows), RESPONSES):
                part = rows[lo : lo + RESPONSES]
                yield np.array(part), self.contrast(prompt, [_parts(units[i])[1] for i in part])

    def contrast(self, prompt: str, responses: list[str]) -> np.ndarray:
        """float32 [n, attributes] of responses to one prompt."""
        self._load()
        tokens = self.response_tokens(responses)
        count = np.array([max(len(t), 1) for t in tokens])
        base = self.log_likelihood(self.base, prompt, tokens)
        columns = [
            # the neutral prompt again is exactly nothing
            np.zeros(len(tokens)) if text == self.base else self.log_likelihood(text, prompt, tokens) - base
            for text in self.prompts.values()
        ]
        value = np.stack(columns, axis=1)
        return (value / count[:, None] if self.length == "mean" else value).astype(np.float32)

    def response_tokens(self, responses: list[str]) -> list[list[int]]:
        """Token ids of responses, the same under every prompt; at most half of what the model reads is kept."""
        with self._lock, quiet():
            ids = self.tokenizer(list(responses), add_special_tokens=False, return_attention_mask=False)["input_ids"]
        return [list(x[: self.max_length // 2]) for x in ids]

    def prefix_tokens(self, system: str, prompt: str) -> list[int]:
        """Token ids of system prompt and prompt up to where the response begins; a long prompt loses its start."""
        tokenizer = self.tokenizer
        with self._lock, quiet():
            if getattr(tokenizer, "chat_template", None):
                messages = [{"role": "system", "content": system}] if system else []  # "": no system prompt
                messages.append({"role": "user", "content": prompt})
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
                ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            else:
                ids = tokenizer("\n\n".join(t for t in (system, prompt) if t) + "\n\n")["input_ids"]
        room = self.max_length - self.max_length // 2
        if len(ids) > room:  # the system prompt comes first and is what differs: it stays
            head = len(tokenizer(system, add_special_tokens=False)["input_ids"]) + 8
            head = min(head, room // 2)
            ids = ids[:head] + ids[len(ids) - (room - head) :]
        return list(ids) or [tokenizer.bos_token_id or 0]

    def log_likelihood(self, system: str, prompt: str, responses: list[list[int]]) -> np.ndarray:
        """float64 [n] summed log-probabilities of responses (token ids); prompt and system prompt are read once."""
        import torch

        device = self._torch_device
        prefix = torch.tensor([self.prefix_tokens(system, prompt)], device=device)
        out = np.zeros(len(responses))
        rows = [i for i, tokens in enumerate(responses) if tokens]
        if not rows:
            return out
        with torch.inference_mode():
            first = self._model(input_ids=prefix, use_cache=True)
            width = max(len(responses[i]) for i in rows)
            ids = torch.zeros((len(rows), width), dtype=torch.long, device=device)
            mask = torch.zeros((len(rows), width), dtype=torch.long, device=device)
            for row, i in enumerate(rows):
                ids[row, : len(responses[i])] = torch.tensor(responses[i], device=device)
                mask[row, : len(responses[i])] = 1
            start = first.logits[:, -1:].float().expand(len(rows), 1, -1)
            logits = start
            if width > 1:  # the last token of a response predicts nothing that is asked for
                cache = copy.deepcopy(first.past_key_values)
                cache.batch_repeat_interleave(len(rows))
                seen = torch.ones((len(rows), prefix.shape[1]), dtype=torch.long, device=device)
                whole = torch.cat([seen, mask[:, :-1]], dim=1)
                rest = self._model(input_ids=ids[:, :-1], attention_mask=whole, past_key_values=cache, use_cache=True)
                logits = torch.cat([start, rest.logits.float()], dim=1)
            chosen = torch.log_softmax(logits, dim=-1).gather(2, ids[:, :, None])[:, :, 0]
            out[rows] = (chosen.double() * mask).sum(1).cpu().numpy()
        return out

    @cached_property
    def _torch_device(self) -> torch.device:
        return choose_device(self.device)

    def _load(self) -> None:
        with self._lock:
            if self._model is None:
                transformers = _transformers()
                with opening(self.source.name), quiet():
                    model = transformers.AutoModelForCausalLM.from_pretrained(
                        self.source.name, revision=self.source.revision
                    )
                self._model = model.to(self._torch_device).eval()


def read_prompts(path: str | None) -> tuple[dict[str, str] | None, str]:
    """(attributes, neutral prompt) of a JSON file ``{"base": text, "attributes": {name: text}}``; defaults for None."""
    if path is None:
        return None, BASE
    try:
        document = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"prompts={path} cannot be read as JSON: {error}") from None
    attributes = document.get("attributes") if isinstance(document, dict) else None
    if not isinstance(attributes, dict) or not attributes or not all(isinstance(t, str) for t in attributes.values()):
        raise ConfigError(
            f'prompts={path}: write {{"base": "...", "attributes": {{"formal": "Answer formally.", ...}}}}'
        )
    return attributes, str(document.get("base", BASE))


def _parts(unit: Unit) -> tuple[str, str]:
    if isinstance(unit, str):
        return "", unit
    return ("", unit[0]) if len(unit) == 1 else (unit[-2], unit[-1])


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise need("transformers", "text") from None
    return transformers

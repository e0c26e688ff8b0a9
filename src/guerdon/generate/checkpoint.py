"""Opening a causal language model of transformers: weights, LoRA adapter, tokenizer, and prompts as tokens.

Prompts go through the tokenizer's chat template where it has one, and as they are otherwise.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from guerdon.encode.hidden import DTYPES, choose_device, opening, quiet
from guerdon.encode.prefix import Decoder, base_of
from guerdon.encode.rendering import clean, plain_messages, positions
from guerdon.encode.source import folder_digest, locate
from guerdon.errors import BackendError, ConfigError, ModelError, need
from guerdon.feedback.messages import Text, as_messages, as_text, check_messages

BUDGET = {"cpu": 4096, "cuda": 32768}
"""Tokens of one forward pass where nothing is said."""


TURN = "XNEXTTURNX"
"""Stands for a turn where the text before it is looked for."""


class Refused(Exception):
    """The chat template does not take these messages."""


class Checkpoint:
    """A causal language model: a folder, or a hub name in the local cache. Weights load when they are first needed.

    name          folder or hub name; the folder of a LoRA adapter opens the model it belongs to as well
    revision      commit, tag or branch of a hub name
    adapter       folder of a LoRA adapter (peft), merged into the weights
    device        ``auto``, ``cpu``, ``cuda``, ...
    dtype         ``float32``, ``bfloat16`` or ``float16``
    batch_tokens  most tokens of one forward pass; None is 4,096 on a CPU and 32,768 on a GPU
    max_length    most tokens of prompt and reply together; None is what the model reads
    template      ``auto`` (the chat template where there is one) or ``none`` (prompts as they are)
    share_prefix  run a prompt's tokens once for all its responses where that is predicted to be less work
    """

    opens = "AutoModelForCausalLM"
    """The class of transformers that opens it."""

    def __init__(
        self,
        name: str,
        *,
        revision: str | None = None,
        adapter: str | Path | None = None,
        device: str = "auto",
        dtype: str = "float32",
        batch_tokens: int | None = None,
        max_length: int | None = None,
        template: str = "auto",
        share_prefix: bool = True,
    ) -> None:
        if dtype not in DTYPES:
            raise ConfigError(f"dtype={dtype}: use one of {', '.join(DTYPES)}")
        if template not in ("auto", "none"):
            raise ConfigError(f"template={template}: use auto or none")
        about = Path(name).expanduser() / "adapter_config.json"
        if about.is_file() and adapter is None:
            adapter, name = about.parent, base_of_adapter(about)
        self.name = name
        self.source = locate(name, revision)
        self.adapter = None if adapter is None else Path(adapter).expanduser()
        if self.adapter is not None and not (self.adapter / "adapter_config.json").is_file():
            raise BackendError(f"no LoRA adapter in {self.adapter}: adapter_config.json is missing")
        self.dtype, self.template, self.share_prefix = dtype, template, share_prefix
        self.device = choose_device(device)
        self.batch_tokens = batch_tokens or BUDGET.get(self.device.type, BUDGET["cpu"])
        self._wanted_length = max_length
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    @cached_property
    def identity(self) -> str:  # type: ignore[override]
        parts = [self.source.identity, self.dtype, self.template]
        return "/".join(parts if self.adapter is None else [*parts, folder_digest(self.adapter)])

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        try:
            from transformers import AutoTokenizer
        except ImportError:
            raise need("transformers", "text") from None
        with opening(self.name), quiet():
            return AutoTokenizer.from_pretrained(self.source.name, revision=self.source.revision)

    @cached_property
    def model(self) -> Any:
        """The model itself, in evaluation, with its adapter merged and defaults for generation taken off."""
        try:
            import transformers
            from transformers import GenerationConfig
        except ImportError:
            raise need("transformers", "text") from None
        with opening(self.name), quiet():
            model: Any = getattr(transformers, self.opens).from_pretrained(
                self.source.name, revision=self.source.revision, dtype=getattr(torch, self.dtype)
            )
        if self.adapter is not None:
            try:
                from peft import PeftModel
            except ImportError:
                raise need("peft", "tune") from None
            with opening(str(self.adapter)), quiet():
                model = PeftModel.from_pretrained(model, str(self.adapter)).merge_and_unload()
        ends = getattr(model.generation_config, "eos_token_id", None)
        found = [*(ends if isinstance(ends, list) else [ends]), self.tokenizer.eos_token_id]
        self.ends = sorted({e for e in found if e is not None})
        # a model's own defaults (penalties, suppressed tokens) would change what is drawn without being asked for
        model.generation_config = GenerationConfig(eos_token_id=self.ends or None, pad_token_id=self.pad)
        return model.to(self.device).eval().requires_grad_(False)

    @cached_property
    def decoder(self) -> Decoder:
        """The model without its head, as likelihoods use it."""
        decoder = Decoder(base_of(self.model), share=self.share_prefix)
        if not decoder.causal:
            raise ModelError(f"{self.name} is no causal language model: later words change what it makes of earlier")
        return decoder

    @cached_property
    def head(self) -> Any:
        """The output layer; :class:`ModelError` where logits are more than one linear layer of the states."""
        head = self.model.get_output_embeddings()
        ids = torch.arange(5, 13, device=self.device)[None] % self.model.get_input_embeddings().num_embeddings
        with torch.inference_mode():
            own = self.model(input_ids=ids).logits.float()
            ours = None if head is None else head(base_of(self.model)(input_ids=ids).last_hidden_state).float()
        tolerance = (1e-3 if self.dtype == "float32" else 5e-2) * float(own.abs().max())
        if ours is None or own.shape != ours.shape or float((own - ours).abs().max()) > tolerance:
            raise ModelError(f"{self.name}: its logits are not one linear layer of its states; likelihoods need that")
        return head

    @property
    def pad(self) -> int:
        """A token to fill batches with."""
        known = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        return next(t for t in known if t is not None)

    @cached_property
    def max_length(self) -> int:
        """Most tokens of prompt and reply together."""
        reads = positions(self.tokenizer, self.model.config)
        if self._wanted_length is not None and not 2 <= self._wanted_length <= reads:
            raise ConfigError(f"max_length={self._wanted_length}: {self.name} reads between 2 and {reads} tokens")
        return self._wanted_length or reads

    def close(self) -> None:
        with self._lock:
            for name in ("model", "decoder", "head"):
                self.__dict__.pop(name, None)

    # ------------------------------------------------------------------ prompts

    @property
    def chats(self) -> bool:
        """Whether prompts go through a chat template."""
        return self.template == "auto" and bool(getattr(self.tokenizer, "chat_template", None))

    def prompt_text(self, prompt: Text, role: str = "assistant") -> str:
        """All that stands before a reply, or before the next turn of ``role``."""
        if role == "assistant" and not self.chats:
            return clean(as_text(prompt))
        from jinja2 import TemplateError

        messages = plain_messages(prompt, "user")
        try:
            if role == "assistant":
                return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            # what a template puts around a turn is only seen when there is one
            messages.append({"role": role, "content": TURN})
            said = self.tokenizer.apply_chat_template(messages, tokenize=False) if self.chats else as_text(messages)
        except (TemplateError, KeyError, TypeError, ValueError) as error:
            raise Refused(f"the chat template refuses these messages: {error}"[:200]) from None
        at = said.rfind(TURN)
        if at < 0:
            raise Refused(f"the chat template leaves out what the {role} says")
        return said[:at]

    def own(self, text: str) -> str:
        """A text of somebody's as it goes into tokens."""
        return clean(text)

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """int64 token ids of rendered texts; never empty where the tokenizer knows a begin or an end."""
        if not texts:
            return []
        with self._lock, quiet():
            ids = self.tokenizer(
                list(texts), add_special_tokens=not self.chats, return_attention_mask=False, verbose=False
            )["input_ids"]
        begin = self.tokenizer.bos_token_id if self.tokenizer.bos_token_id is not None else self.tokenizer.eos_token_id
        start = [] if begin is None else [begin]
        return [np.asarray(x if len(x) else start, dtype=np.int64) for x in ids]

    def render(self, prompts: Sequence[Text], role: str = "assistant") -> tuple[list[str | None], list[str | None]]:
        """([n] texts before the reply or the next turn of ``role``, [n] why there is none)."""
        if isinstance(prompts, str):
            raise ConfigError("give a list of prompts; put the text in brackets: [prompt]")
        texts: list[str | None] = []
        problems: list[str | None] = []
        for i, prompt in enumerate(prompts):
            check_messages(as_messages(prompt), f"prompts[{i}]")
            try:
                texts.append(self.prompt_text(prompt, role))
                problems.append(None)
            except Refused as error:
                texts.append(None)
                problems.append(str(error))
        return texts, problems


def base_of_adapter(about: Path) -> str:
    """The model that an adapter with the configuration file ``about`` belongs to."""
    try:
        return str(json.loads(about.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackendError(f"{about} does not say which model the adapter belongs to ({error})") from None

"""Candidates as token sequences: what exactly a transformer reward reads, and what is too long to be read.

In this order of preference:

``chat``    the tokenizer's chat template around the prompt's messages and the response as the assistant's turn
``pair``    the tokenizer's own pair encoding (prompt, response), for bidirectional encoders
``joined``  prompt + separator + response, with the tokenizer's usual special tokens

The whole text is tokenised at once, so a token may span the boundary of prompt and response; what responses to one
prompt have in common is found on the tokens. Special tokens written inside a text are read as such, as transformers
pipelines do. Texts that do not fit are never cut silently: they are unscored, or, where asked for, lose the oldest
tokens of their prompt (never of their response).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Message, Text, as_messages, as_text, pack
from guerdon.feedback.schema import Candidates

TOO_LONG = ("unscored", "truncate")
CHUNK = 512  # texts tokenised in one call


@dataclass(frozen=True)
class Rendered:
    """Token sequences of n candidates; ``tokens[i]`` is None where candidate i cannot be read.

    tokens  [n] int64 arrays;  types [n] int64 token types of pair encodings, or None
    status, reason  [n] as in ``Scores`` (``scored`` where there are tokens)
    cut     [n] tokens of the prompt that were left out to fit
    """

    tokens: list[np.ndarray | None]
    types: list[np.ndarray] | None
    status: list[str]
    reason: list[str | None]
    cut: np.ndarray

    @property
    def readable(self) -> np.ndarray:
        """Indices of the candidates that have tokens."""
        return np.flatnonzero([t is not None for t in self.tokens])


class Renderer:
    """Turns candidates into tokens the way ``mode`` says.

    max_length  most tokens of a sequence; None takes what the tokenizer and the model can
    too_long    ``unscored`` or ``truncate`` (drop the oldest tokens of the prompt)
    separator   between prompt and response in mode ``joined``
    """

    def __init__(
        self,
        tokenizer: Any,
        config: Any,
        *,
        pairs: bool,
        max_length: int | None = None,
        too_long: str = "unscored",
        separator: str = "\n\n",
    ) -> None:
        if too_long not in TOO_LONG:
            raise ConfigError(f"too_long={too_long!r} is unknown; use one of {', '.join(TOO_LONG)}")
        self.tokenizer = tokenizer
        self.mode = "chat" if getattr(tokenizer, "chat_template", None) else "pair" if pairs else "joined"
        limit = positions(tokenizer, config)
        if max_length is not None and not 1 <= max_length <= limit:
            raise ConfigError(f"max_length={max_length}: this model reads between 1 and {limit} tokens")
        self.max_length = max_length or limit
        self.too_long = too_long
        self.separator = separator

    @property
    def template_hash(self) -> str:
        """Names how texts are put together: equal hashes (and tokenizers) give equal tokens."""
        template = self.tokenizer.chat_template if self.mode == "chat" else self.separator
        return hashlib.sha256(f"{self.mode}\n{template}".encode()).hexdigest()[:16]

    def __call__(self, candidates: Candidates) -> Rendered:
        """Tokens of each candidate."""
        n = len(candidates)
        tokens: list[np.ndarray | None] = [None] * n
        types: list[np.ndarray] | None = [np.zeros(0, np.int64)] * n if self.mode == "pair" else None
        status, cut = ["scored"] * n, np.zeros(n, dtype=np.int64)
        reason: list[str | None] = [None] * n
        texts: list[Any] = []
        for row, candidate in enumerate(candidates):
            try:
                texts.append(self._text(candidate.prompt, candidate.response))
            except _template_errors() as error:
                texts.append(None)
                status[row], reason[row] = "invalid", f"the chat template refuses these messages: {error}"[:200]
        rows = [row for row, text in enumerate(texts) if text is not None]
        for lo in range(0, len(rows), CHUNK):
            part = rows[lo : lo + CHUNK]
            encoded = self._encode([texts[row] for row in part])
            for i, row in enumerate(part):
                ids = np.asarray(encoded["input_ids"][i], dtype=np.int64)
                kinds = np.asarray(encoded["token_type_ids"][i]) if "token_type_ids" in encoded else None
                if not len(ids):
                    status[row], reason[row] = "invalid", "prompt and response are both empty"
                    continue
                if len(ids) > self.max_length:
                    keep = self._shorten(ids, kinds, candidates.prompts[row])
                    if keep is None:
                        status[row], reason[row] = "too_long", self._why(len(ids))
                        continue
                    cut[row] = len(ids) - len(keep)
                    reason[row] = f"the first {cut[row]} tokens of the prompt were left out"
                    ids, kinds = ids[keep], None if kinds is None else kinds[keep]
                tokens[row] = ids
                if types is not None:
                    types[row] = np.zeros(len(ids), np.int64) if kinds is None else kinds.astype(np.int64)
        return Rendered(tokens, types, status, reason, cut)

    def response_starts(self, candidates: Candidates, rendered: Rendered) -> np.ndarray:
        """int64 [n] first token of each response, len(tokens) where there is none (or nothing to read: 0).

        A token that spans the boundary belongs to the response: it holds some of it. What a template puts after the
        response (an end mark) counts as the response's too, as the model has to write it.
        """
        starts = np.zeros(len(candidates), dtype=np.int64)
        if self.mode == "pair":
            raise ConfigError("a bidirectional encoder writes no text, so its responses have no first token to predict")
        keys = prompt_keys(candidates)
        alone: dict[str, np.ndarray] = {}
        special = set(self.tokenizer.all_special_ids)
        for row in rendered.readable:
            ids = rendered.tokens[row]
            assert ids is not None
            if keys[row] not in alone:
                alone[keys[row]] = self._before_response(candidates.prompts[row])
            prompt, cut = alone[keys[row]], int(rendered.cut[row])
            if cut:  # the oldest tokens of the prompt are gone, but for a leading special one
                kept = int(int(ids[0]) in special)
                prompt = np.r_[ids[:kept], prompt[kept + cut :]]
            m = min(len(prompt), len(ids))
            differ = np.flatnonzero(prompt[:m] != ids[:m])
            starts[row] = int(differ[0]) if len(differ) else m
        return starts

    def _before_response(self, prompt: Text) -> np.ndarray:
        """Tokens of all that stands before a response to ``prompt``."""
        if self.mode == "chat":
            before = self._chat(plain_messages(prompt, "user"), add_generation_prompt=True)
        else:
            left = clean(as_text(prompt))
            before = left + self.separator if left else ""
        return np.asarray(self._encode([before])["input_ids"][0], dtype=np.int64)

    # ------------------------------------------------------------------ texts

    def _text(self, prompt: Text, response: Text) -> Any:
        """What the tokenizer gets: one text, or a pair."""
        if self.mode == "chat":
            return self._chat(plain_messages(prompt, "user") + plain_messages(response, "assistant"))
        left, right = clean(as_text(prompt)), clean(as_text(response))
        if self.mode == "pair":
            return left, right
        return left + self.separator + right if left else right

    def _chat(self, messages: list[Message], **options: Any) -> str:
        return self.tokenizer.apply_chat_template(messages, tokenize=False, **options)

    def _encode(self, texts: Sequence[Any]) -> Any:
        options = {"add_special_tokens": self.mode != "chat", "truncation": False, "verbose": False}
        if self.mode == "pair":
            return self.tokenizer([t[0] for t in texts], [t[1] for t in texts], **options)
        return self.tokenizer(list(texts), return_attention_mask=False, **options)

    def _why(self, length: int) -> str:
        much = f"{length} tokens; this reward reads {self.max_length}"
        return much + " and the response does not fit without its prompt" * (self.too_long == "truncate")

    def _shorten(self, ids: np.ndarray, kinds: np.ndarray | None, prompt: Text) -> np.ndarray | None:
        """Indices of the ``max_length`` tokens that stay when the oldest of the prompt go; None if that is no way."""
        if self.too_long == "unscored":
            return None
        special = set(self.tokenizer.all_special_ids)
        if self.mode == "pair":
            # where the tokenizer does not tell the sides apart, the prompt ends at the first separator
            second = np.flatnonzero(kinds == 1) if kinds is not None else np.zeros(0, int)
            marks = np.flatnonzero(np.isin(ids, list(special)))
            end = int(second[0]) - 1 if len(second) else int(marks[1]) if len(marks) > 1 else 0
        else:
            alone = self._before_response(prompt)
            m = min(len(alone), len(ids))
            differ = np.flatnonzero(alone[:m] != ids[:m])
            end = int(differ[0]) if len(differ) else m
        start = int(int(ids[0]) in special)  # a leading bos or cls stays
        extra = len(ids) - self.max_length
        return None if extra > end - start else np.r_[:start, start + extra : len(ids)]


def prompt_keys(candidates: Candidates) -> list[str]:
    """[n] equal where prompts are equal."""
    return [pack(p) for p in candidates.prompts]


def positions(tokenizer: Any, config: Any) -> int:
    """Most tokens that the tokenizer and the model's positions allow."""
    text = config.get_text_config()
    most = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
    if isinstance(most, int) and config.model_type in ("roberta", "xlm-roberta", "camembert"):
        most -= config.pad_token_id + 1  # their positions start after the pad token's
    found = (getattr(tokenizer, "model_max_length", None), most)
    return min([n for n in found if isinstance(n, int) and 0 < n < 10**7], default=8192)


def plain_messages(value: Text, role: str) -> list[Message]:
    """Chat messages whose contents are texts, as templates of text models expect."""
    messages = []
    for message in as_messages(value, role):
        content = message.get("content")
        text = content if isinstance(content, str) else as_text([{"role": role, "content": content}])
        messages.append({**message, "content": clean(text)})
    return messages


def clean(text: str) -> str:
    """``text`` without lone surrogates, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _template_errors() -> tuple[type[Exception], ...]:
    from jinja2 import TemplateError

    return (TemplateError, KeyError, TypeError, ValueError)

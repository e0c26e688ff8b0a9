"""Features from a transformers model: the hidden state of a layer, pooled over the tokens of a text, or of some tokens.

Any causal language model or encoder that ``transformers.AutoModel`` opens. Texts are padded on the right by this module
itself and pooled by their own lengths, so a model whose pad token is its eos token, or that has none, gives the same
features in any batch. The weights load when the first text has to be computed, not before.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from guerdon.encode.batching import encode_in_batches
from guerdon.encode.inner_states import STATES, blocks_of, head_projections, pooled_heads
from guerdon.encode.pooling import Ids, pool, spread, start_of
from guerdon.encode.source import Source
from guerdon.encode.template import JOIN, PlainTemplate, Unit, chat_template_of
from guerdon.errors import BackendError, ConfigError, need

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

VERSION = 1
DTYPES = ("float32", "bfloat16", "float16")
LONGEST = 2048  # tokens read of a text where nothing is said; models that can read less, read less


class HiddenTexts:
    """Texts to float32 [n, d]: pooled hidden states of a transformers model.

    source      the model (:func:`guerdon.encode.source.locate`)
    kind        what the specification calls it
    pooling     ``last``, ``mean``, ``weighted``, ``first``, or a token's place: see :mod:`guerdon.encode.pooling`
    tokens      which tokens count: ``all``, or the ``response``'s alone
    positions   keep the states of so many tokens side by side instead of pooling them; None pools
    layer       which hidden state: -1 the last, 0 the token embeddings, or any in between
    states      ``hidden`` (that layer), or all ``heads`` or ``layers``: see :mod:`guerdon.encode.inner_states`
    template    ``auto``, ``chat`` or ``none``: see :mod:`guerdon.encode.template`
    max_length  tokens read of a text, None: what the model can read, at most ``LONGEST``
    keep        what of a longer text is read: its ``end`` (where a dialogue has its response) or its ``start``
    normalize   scale each vector to length 1
    budget      padded tokens a batch; None: 2,048 on a CPU, 32,768 on an accelerator
    """

    cached = True

    def __init__(
        self,
        source: Source,
        *,
        kind: str = "hf",
        pooling: str = "last",
        tokens: str = "all",
        positions: int | None = None,
        layer: int = -1,
        states: str = "hidden",
        template: str = "auto",
        max_length: int | None = None,
        dtype: str = "float32",
        keep: str = "end",
        normalize: bool = False,
        device: str = "auto",
        budget: int | None = None,
    ) -> None:
        self.source, self.kind, self.pooling, self.keep, self.normalize = source, kind, pooling, keep, normalize
        self.dtype, self.device, self.budget = dtype, device, budget
        if states not in STATES:
            raise ConfigError(f"states={states!r}: use one of {', '.join(STATES)}")
        if states != "hidden" and (positions is not None or layer != -1):
            raise ConfigError(f"states={states} reads one token in every layer: leave out layer= and positions=")
        self.tokens, self.positions, self.states = tokens, positions, states
        self._wanted_template, self._wanted_length, self._wanted_layer = template, max_length, layer
        self._lock = threading.RLock()
        self._model: Any = None
        self._causal = False

    # ------------------------------------------------------------------ what it is

    @cached_property
    def config(self) -> Any:
        """The model's configuration (small: no weights are read)."""
        transformers = _transformers()
        with opening(self.source.name), quiet():
            return transformers.AutoConfig.from_pretrained(self.source.name, revision=self.source.revision)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        transformers = _transformers()
        with opening(self.source.name), quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(self.source.name, revision=self.source.revision)
        tokenizer.truncation_side = "left" if self.keep == "end" else "right"
        return tokenizer

    @cached_property
    def template(self) -> PlainTemplate:
        """How prompts and responses become what the model reads."""
        if self._wanted_template == "none":
            return PlainTemplate()
        return chat_template_of(
            self.tokenizer, self._wanted_template, self.source.name, apart=self.tokens == "response"
        )

    @property
    def _text_config(self) -> Any:
        return self.config.get_text_config(decoder=False)

    @cached_property
    def _shape(self) -> tuple[int, int, int]:
        """(d, layers, tokens it can read)."""
        plain = self.source.config()
        if plain.get("model_type") == "bert":  # the bundled encoder: features from the cache need no transformers
            return plain["hidden_size"], plain["num_hidden_layers"], plain["max_position_embeddings"]
        config = self._text_config
        reads = getattr(config, "max_position_embeddings", None) or 10**9
        if "roberta" in config.model_type or config.model_type in ("camembert", "mpnet", "longformer"):
            reads -= (config.pad_token_id or 0) + 1  # their position ids begin after the pad id
        return int(config.hidden_size), int(config.num_hidden_layers), int(reads)

    @property
    def dim(self) -> int:
        """d, the width of the hidden states, times the positions that are kept; that of all blocks where there are."""
        if self.states != "hidden":
            blocks, width = blocks_of(self._text_config, self.states)
            return blocks * width
        return self._shape[0] * (self.positions or 1)

    @property
    def blocks(self) -> int | None:
        """Blocks of equal width that a vector consists of: attention heads or layers; None for a hidden state."""
        return None if self.states == "hidden" else blocks_of(self._text_config, self.states)[0]

    @cached_property
    def layer(self) -> int:
        """The hidden state's number: 0 the token embeddings, L the last layer."""
        n = self._shape[1]
        layer = self._wanted_layer + n + 1 if self._wanted_layer < 0 else self._wanted_layer
        if not 0 <= layer <= n:
            raise ConfigError(
                f"layer={self._wanted_layer}: {self.source.name} has hidden states 0..{n}, or -1 the last"
            )
        return layer

    @cached_property
    def max_length(self) -> int:
        """Tokens read of a text."""
        reads = self._shape[2]
        if self._wanted_length is not None and self._wanted_length > reads:
            raise ConfigError(f"max_length={self._wanted_length}: {self.source.name} reads at most {reads} tokens")
        return self._wanted_length or int(min(reads, self.tokenizer.model_max_length, LONGEST))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the features of a text."""
        return {
            "encoder": "hidden",
            "version": VERSION,
            "model": self.source.identity,
            "pooling": self.pooling,
            "layer": self.layer,
            "template": self.template.identity,
            "max_length": self.max_length,
            "dtype": self.dtype,
            "keep": self.keep,
            "normalize": self.normalize,
            # named only where they are used: features that were computed before they existed keep their names
            **({} if self.tokens == "all" else {"tokens": self.tokens}),
            **({} if self.positions is None else {"positions": self.positions}),
            **({} if self.states == "hidden" else {"states": self.states}),
        }

    # ------------------------------------------------------------------ computing

    def batches(self, units: Sequence[Unit]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(positions, features) of ``units`` as they are computed, longest first."""
        self._load()
        budget = self.budget or (2048 if self._torch_device.type == "cpu" else 32_768)
        yield from encode_in_batches(units, rough_length, self.tokenize, self.forward, budget)

    def tokenize(self, units: list[Unit]) -> list[Ids]:
        """Token ids of each unit, cut to ``max_length``; never empty."""
        ids: list[Ids] = [Ids() for _ in units]
        chat = np.array([not isinstance(u, str) and len(u) != 2 for u in units], dtype=bool)
        with self._lock:  # a tokenizer's truncation is a state of it
            for rendered, where in ((True, np.flatnonzero(chat)), (False, np.flatnonzero(~chat))):
                found = self._ids([units[i] for i in where], rendered) if len(where) else []
                for i, x in zip(where, found, strict=True):
                    ids[i] = x or Ids([self._nothing])
        return ids

    def _ids(self, units: list[Unit], rendered: bool) -> list[Ids]:
        """Token ids of units that all carry their special tokens (``rendered``), or all do not."""
        told: dict[str, Any] = {"return_attention_mask": False}
        if self.tokens == "response":
            if not self.tokenizer.is_fast:
                raise BackendError(f"the tokenizer of {self.source.name} does not say where tokens lie; use tokens=all")
            told["return_offsets_mapping"] = True
        with quiet():
            if rendered:
                read = self.tokenizer(["".join(u[1:] or u) for u in units], add_special_tokens=False, **told)
            else:
                texts = fit(units, self.tokenizer, self.max_length) if self.keep == "start" else map(as_one, units)
                read = self.tokenizer(list(texts), truncation=True, max_length=self.max_length, **told)
        out = []
        for i, unit in enumerate(units):
            whole = read["input_ids"][i]
            kept = self._kept(whole) if rendered else range(len(whole))
            ids = Ids(whole[j] for j in kept)
            if self.tokens == "response":
                spans = read["offset_mapping"][i]
                ids.start = start_of([spans[j] for j in kept], response_at(unit))
            out.append(ids)
        return out

    def _kept(self, ids: list[int]) -> Sequence[int]:
        """Which tokens of a rendered dialogue stay: its end (or start), and a leading bos, as models lean on it."""
        n = len(ids)
        if n <= self.max_length or self.keep == "start":
            return range(min(n, self.max_length))
        bos = int(ids[0] == self.tokenizer.bos_token_id)
        return [*range(bos), *range(n - self.max_length + bos, n)]

    @property
    def _nothing(self) -> int:
        """The token that stands for an empty text."""
        t = self.tokenizer
        return next((i for i in (t.bos_token_id, t.cls_token_id, t.eos_token_id, t.pad_token_id) if i is not None), 0)

    def forward(self, tokens: list[Ids]) -> np.ndarray:
        """float32 [b, d] features of b token lists; a batch too large for the device's memory goes in halves."""
        import torch

        try:
            return self._forward(tokens)
        except torch.OutOfMemoryError:
            if len(tokens) == 1:
                raise BackendError(
                    f"{self.source.name}: one text of {len(tokens[0])} tokens does not fit in the memory of "
                    f"{self._torch_device}; use a smaller max_length, or dtype=bfloat16"
                ) from None
        if self._torch_device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(tokens) // 2
        return np.concatenate([self.forward(tokens[:half]), self.forward(tokens[half:])])

    def _forward(self, tokens: list[Ids]) -> np.ndarray:
        import torch

        lengths = torch.tensor([len(t) for t in tokens])
        width = int(lengths.max())
        ids = torch.full((len(tokens), width), self._nothing, dtype=torch.long)
        for row, t in zip(ids, tokens, strict=True):
            row[: len(t)] = torch.tensor(t)
        device = self._torch_device
        position = torch.arange(width)
        mask = position[None, :] < lengths[:, None]
        with torch.inference_mode():
            # without padding no mask is passed: attention then takes its faster path
            given = None if bool(mask.all()) else mask.long().to(device)
            starts = torch.tensor([t.start for t in tokens], device=device)
            ends = lengths.to(device)

            def pooled_of(states: torch.Tensor) -> torch.Tensor:
                if self.positions is None:
                    return pool(states.float(), ends, self.pooling, starts)
                return spread(states.float(), ends, self.positions, starts)

            pooled = self._pooled(ids.to(device), given, pooled_of)
            if self.normalize:
                pooled = torch.nn.functional.normalize(pooled, dim=1)
            return pooled.cpu().numpy()

    def _pooled(
        self, ids: torch.Tensor, mask: torch.Tensor | None, pooled_of: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """[b, dim] from ``pooled_of`` of the hidden states [b, t, d], or of the inner states, side by side."""
        import torch

        extra = {"use_cache": False} if self._causal else {}
        if self.states == "heads":
            with pooled_heads(head_projections(self._model, self._text_config), pooled_of) as heads:
                self._model(input_ids=ids, attention_mask=mask, **extra)
            return torch.cat(heads, dim=1)
        last = self.states == "hidden" and self.layer == self._shape[1]
        out = self._model(input_ids=ids, attention_mask=mask, output_hidden_states=not last, **extra)
        if self.states == "layers":
            return torch.cat([pooled_of(states) for states in out.hidden_states], dim=1)
        return pooled_of(out.last_hidden_state if last else out.hidden_states[self.layer])

    @cached_property
    def _torch_device(self) -> torch.device:
        return choose_device(self.device)

    def _load(self) -> None:
        with self._lock:
            if self._model is not None:
                return
            transformers = _transformers()
            import torch

            dtype = getattr(torch, self.dtype)
            with opening(self.source.name), quiet():
                model, info = transformers.AutoModel.from_pretrained(
                    self.source.name, revision=self.source.revision, dtype=dtype, output_loading_info=True
                )
            missing = sorted(k for k in info["missing_keys"] if "pooler" not in k)
            if missing:
                raise BackendError(
                    f"{self.source.name} lacks {len(missing)} weights of a {type(model).__name__} ({missing[0]}, ...): "
                    "its features would be random"
                )
            if self.config.is_encoder_decoder:
                model = model.get_encoder()
            self._causal = bool(getattr(model.config.get_text_config(decoder=True), "use_cache", False))
            self._model = model.to(self._torch_device).eval()


def fit(units: Sequence[Unit], tokenizer: Any, max_length: int) -> list[str]:
    """One text a unit, such that the first ``max_length`` tokens of (prompt, response) hold what matters.

    Where both do not fit, the response keeps its first tokens, three quarters of the room if it needs them, and the
    prompt the last of its own, so a long conversation never pushes out what was answered.
    """
    texts = [as_one(u) for u in units]
    pairs = {i: u for i, u in enumerate(units) if not isinstance(u, str) and len(u) == 2}
    if not pairs:
        return texts
    room = max_length - tokenizer.num_special_tokens_to_add(pair=False)

    def count(some: list[str]) -> list[int]:
        with quiet():
            return [len(x) for x in tokenizer(some, add_special_tokens=False, return_attention_mask=False)["input_ids"]]

    # a token is at least a byte (and some tokenizers begin with one of their own): short texts need no counting
    long = [i for i in pairs if len(texts[i].encode("utf-8")) + 2 > room]
    sizes = count([texts[i] for i in long]) if long else []
    over = [i for i, n in zip(long, sizes, strict=True) if n > room]
    if not over:
        return texts
    answers = count([pairs[i][1] for i in over])
    for i, answer in zip(over, answers, strict=True):
        left = room - min(answer, (3 * room + 3) // 4)
        prompt, response = pairs[i]
        texts[i] = _end(prompt, left, tokenizer) + JOIN + response
    return texts


def _end(text: str, tokens: int, tokenizer: Any) -> str:
    """The last ``tokens`` tokens of a text, as text."""
    if tokens <= 0:
        return ""
    with quiet():
        spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return text if len(spans) <= tokens else text[spans[-tokens][0] :]


def as_one(unit: Unit) -> str:
    """A unit as one text."""
    return unit if isinstance(unit, str) else JOIN.join(part for part in unit if part)


def response_at(unit: Unit) -> int:
    """The character of the unit's text at which the response begins; 0 where it holds nothing else."""
    if isinstance(unit, str) or len(unit) == 1:
        return 0
    if len(unit) == 3:
        return len(unit[1])
    return len(unit[0]) + len(JOIN) if unit[0] else 0


def rough_length(unit: Unit) -> int:
    """Characters of a unit."""
    return len(unit) if isinstance(unit, str) else sum(map(len, unit))


def choose_device(name: str) -> torch.device:
    """The torch device of a name; ``auto`` takes an accelerator where there is one."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={name} cannot be used here: {str(error).splitlines()[0]}") from None
    return device


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise need("transformers", "text") from None
    return transformers


@contextlib.contextmanager
def opening(name: str) -> Iterator[None]:
    """Whatever goes wrong in opening a model is one line that names it."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BackendError(f"model {name} cannot be opened: {str(error).strip().splitlines()[0]}") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """transformers without its notes on loading and on long texts; both are handled here."""
    from transformers.utils import logging as chatter

    level, bar = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(level)
        if bar:
            chatter.enable_progress_bar()

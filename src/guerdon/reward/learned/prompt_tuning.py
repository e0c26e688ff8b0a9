"""Prompt tuning: a frozen language model, a few learned embeddings before every text, and a linear head.

    u(x, y) = head(state of the last token of  [p_1 ... p_k, x, y]),      trained: p [k, d] and the head

Nothing of the model changes, so that very little is learned: k d numbers, 41 thousand for 10 tokens of a 7B model. They
are embeddings of k tokens more than the vocabulary has, that every text begins with; the training loop, shared
prefixes and batches are those of :class:`~guerdon.reward.learned.backbone.BackboneReward`. What is saved is the prompt
and the head, in kilobytes: the language model is opened again from where it was.

Reference: Lester et al. 2021, https://arxiv.org/abs/2104.08691; Clymer et al. 2023, Generalization Analogies,
https://arxiv.org/abs/2311.07723 (10 tokens, learning rate 0.0052, 150 steps of 16 comparisons)
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch

from guerdon.encode.prefix import base_of
from guerdon.encode.rendering import Rendered, Renderer
from guerdon.errors import ConfigError, ModelError, need
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Scores
from guerdon.reward.learned.backbone import BackboneReward
from guerdon.reward.learned.backbone_model import linear
from guerdon.reward.learned.fitted import FittedReward
from guerdon.reward.learned.readout import LastToken

STARTS = ("random", "words")
RATE = 0.0052


class PromptedWords(torch.nn.Module):
    """A model's word embeddings with further tokens behind its vocabulary: those of the learned prompt."""

    def __init__(self, words: Any, prompt: torch.nn.Module, tokens: int) -> None:
        super().__init__()
        self.words, self.prompt = words, prompt
        self.size, self.num_embeddings = words.num_embeddings, words.num_embeddings + tokens

    @property
    def weight(self) -> torch.Tensor:
        """The word embeddings [V, d] (what asks for a device or a width looks here)."""
        return self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """[b, t, d] embeddings of ids [b, t]."""
        own = ids < self.size
        words = self.words(torch.where(own, ids, 0))
        learned = self.prompt(torch.where(own, 0, ids - self.size))
        return torch.where(own[..., None], words, learned.to(words.dtype))


class PromptedRenderer(Renderer):
    """A renderer whose token sequences all begin with the ``first`` tokens; ``max_length`` does not count them."""

    first: np.ndarray

    def __call__(self, candidates: Candidates) -> Rendered:
        """Tokens of each candidate."""
        plain = super().__call__(candidates)
        tokens = [None if ids is None else np.concatenate([self.first, ids]) for ids in plain.tokens]
        return Rendered(tokens, plain.types, plain.status, plain.reason, plain.cut)


class PromptedBackbone(BackboneReward):
    """A backbone of which only ``tokens`` learned embeddings before every text and the head are trained."""

    def __init__(self, tokens: int, prompt_start: str, **settings: Any) -> None:
        super().__init__(tuning="full", **settings)
        self.virtual, self.prompt_start = tokens, prompt_start
        self.words: PromptedWords | None = None

    def shape_head(self) -> None:
        """Put the learned tokens behind the vocabulary."""
        super().shape_head()
        if not isinstance(self.readout, LastToken):
            raise ConfigError(f"backbone={self.settings['backbone']} reads both ways; use a causal language model")
        base = base_of(self.model)
        words = base.get_input_embeddings()
        prompt = prompt_embedding(words, self.virtual, self.prompt_start, self.settings["seed"])
        self.words = PromptedWords(words, prompt, self.virtual)
        base.set_input_embeddings(self.words)

    def place(self) -> None:
        """Put the model where it runs, and the prompt before what it reads."""
        super().place()
        assert isinstance(self.renderer, Renderer)
        assert self.words is not None
        plain, limit = self.renderer, Renderer(self.tokenizer, self.model.config, pairs=False).max_length
        if limit <= self.virtual:
            raise ConfigError(f"tokens={self.virtual}: {self.settings['backbone']} reads {limit} tokens in all")
        self.renderer = PromptedRenderer(
            self.tokenizer,
            self.model.config,
            pairs=False,
            max_length=min(plain.max_length, limit - self.virtual),
            too_long=plain.too_long,
        )
        self.renderer.first = self.words.size + np.arange(self.virtual, dtype=np.int64)

    def _tuning(self) -> str:
        return "full"  # of what _trainable names, and no adapters to merge

    def _trainable(self, tuning: str) -> list[tuple[str, torch.nn.Parameter, bool]]:
        assert self.words is not None
        assert self.readout is not None
        self.model.requires_grad_(False)
        self.words.prompt.requires_grad_(True)
        self.readout.head.requires_grad_(True)
        found = [(f"prompt.{n}", p, False) for n, p in self.words.prompt.named_parameters()]
        return found + [(f"head.{n}", p, True) for n, p in self.readout.head.named_parameters()]


class PromptTuned(FittedReward):
    """A frozen causal language model with learned tokens before every text and a linear head.

    Parameters
    ----------
    backbone : Hub name or directory of a causal language model; it is not copied when the reward is saved
    tokens : learned tokens before every text
    prompt_start : what they start as: random (normal, as peft does) or words (embeddings of random words)
    start : where the head starts: zero, or probe (optimum on the states of the frozen model behind the first prompt)
    learning_rate : peak AdamW step of the prompt
    head_learning_rate : peak AdamW step of the head; null is that of the prompt
    weight_decay : AdamW weight decay
    steps : training steps; null goes by epochs
    epochs : passes over the data where steps is null
    batch : comparisons a step
    batch_tokens : most tokens of one forward pass; null is 4,096 on a CPU and 32,768 on a GPU
    warmup : share of the steps in which the learning rate rises; it falls to zero after them
    patience : looks at the held-out loss without improvement before training ends; there are four looks an epoch
    keep : the state a fit ends in: best (lowest held-out loss) or last (nothing is held out)
    gradient_clip : largest norm of a step's gradient
    max_length : most tokens of a candidate besides the learned ones; null is what the model reads, at most 2,048
    too_long : what happens to longer candidates: truncate (the oldest tokens of the prompt) or unscored
    max_pairs : at most so many pairs a person made from separate ratings; null keeps all
    seed : seeds the prompt, the inner split and the order of the data
    device : cpu, cuda, ...; null takes cuda where there is one
    checkpoint : directory for the state of the training, from which a killed fit goes on; null keeps none
    """

    reads = ()

    def __init__(
        self,
        *,
        backbone: str = "",
        tokens: int = 10,
        prompt_start: str = "random",
        start: str = "zero",
        learning_rate: float = RATE,
        head_learning_rate: float | None = None,
        weight_decay: float = 0.0,
        steps: int | None = 150,
        epochs: float = 3,
        batch: int = 16,
        batch_tokens: int | None = None,
        warmup: float = 0.03,
        patience: int = 4,
        keep: str = "last",
        gradient_clip: float = 0.3,
        max_length: int | None = None,
        too_long: str = "truncate",
        max_pairs: int | None = 500,
        seed: int = 0,
        device: str | None = None,
        checkpoint: str | None = None,
    ) -> None:
        self.name = "prompt-tuning"
        self.settings: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.summary = {}
        if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
            raise ConfigError(f"tokens={tokens!r}: use a number of learned tokens, at least 1")
        if prompt_start not in STARTS:
            raise ConfigError(f"prompt_start={prompt_start!r} is unknown; use one of {', '.join(STARTS)}")
        own = {k: v for k, v in self.settings.items() if k not in ("tokens", "prompt_start")}
        own["head_learning_rate"] = head_learning_rate or learning_rate
        self.backbone = PromptedBackbone(tokens, prompt_start, **own)

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.settings)

    def fit(self, feedback: Feedback, *, validation: Feedback | None = None, progress: bool = False) -> Self:
        if not self.settings["backbone"]:
            raise ConfigError("backbone: name the causal language model, e.g. --set backbone=PATH")
        self.backbone.fit(feedback, validation=validation, progress=progress)
        words = self.backbone.words
        assert words is not None
        trained = sum(p.numel() for p in words.prompt.parameters()) + self._head.weight.numel()
        self.summary = {**self.backbone.summary, "tuning": "prompt", "parameters_trained": trained}
        return self

    def score(self, candidates: Candidates) -> Scores:
        """Utility of each candidate, in log-odds."""
        return self.backbone.score(candidates)

    @property
    def _head(self) -> torch.nn.Linear:
        if self.backbone.readout is None:
            raise ModelError("this reward is not fitted yet; call fit(feedback), or open a saved one with guerdon.load")
        return linear(self.backbone.readout.head)

    def arrays(self) -> dict[str, np.ndarray]:
        head, words = self._head, self.backbone.words
        assert words is not None
        prompt = next(words.prompt.parameters())
        found = {"prompt": prompt, "head": head.weight[0]} | ({} if head.bias is None else {"bias": head.bias})
        return {k: v.detach().float().cpu().numpy() for k, v in found.items()}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.backbone._open()
        head, words = self._head, self.backbone.words
        assert words is not None
        with torch.no_grad():
            next(words.prompt.parameters()).copy_(torch.as_tensor(arrays["prompt"]))
            head.weight[0] = torch.as_tensor(arrays["head"])
            if head.bias is not None:
                head.bias.copy_(torch.as_tensor(arrays["bias"]))
        self.backbone.model.requires_grad_(False)


def prompt_embedding(words: Any, tokens: int, start: str, seed: int) -> torch.nn.Module:
    """peft's embedding of ``tokens`` virtual tokens for a model with these word embeddings, drawn by ``seed``."""
    try:
        from peft import PromptEmbedding, PromptTuningConfig, PromptTuningInit
    except ImportError as error:
        raise need("peft", "tune") from error
    config = PromptTuningConfig(
        num_virtual_tokens=tokens,
        token_dim=int(words.weight.shape[1]),
        num_transformer_submodules=1,
        prompt_tuning_init=PromptTuningInit.SAMPLE_VOCAB if start == "words" else PromptTuningInit.RANDOM,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return PromptEmbedding(config, words).float().to(words.weight.device)

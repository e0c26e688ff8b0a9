"""A reward that is a language model: the log-likelihood of the response, trained so that preferred ones are likelier.

    r(x, y) = beta sum_t log pi(y_t | x, y_<t),        P(a preferred to b) = sigmoid(r(x, a) - r(x, b))

Every reward equals, up to what changes no preference, such a log-probability, so each token has a reward of its own,
which one forward pass gives for the whole vocabulary; guided decoding adds it to another model's log-probabilities.
Sums, not means; the prompt's tokens do not count. With ``reference="start"`` the model that training starts from is
taken off, beta (log pi - log pi_0): that is direct preference optimisation and the reward it implies.

Reference: Xu et al. 2025, GenARM: Reward Guided Generation with Autoregressive Reward Model for Test-Time Alignment,
https://arxiv.org/abs/2410.08193; Rafailov et al. 2023, https://arxiv.org/abs/2305.18290
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from guerdon.encode.prefix import Decoder, base_of
from guerdon.encode.rendering import Rendered, Renderer, positions, prompt_keys
from guerdon.errors import ConfigError, FeedbackError, ModelError, need
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Scores
from guerdon.reward.implicit.response_likelihood import ResponseLikelihood
from guerdon.reward.learned.classifier import BUDGET, BUDGET_ELSEWHERE, quietly, verify_selftest
from guerdon.reward.learned.features import parted
from guerdon.reward.learned.finetune import Recipe, bar, train
from guerdon.reward.learned.fitted import FittedReward
from guerdon.reward.learned.likelihood import Likelihood, compile_likelihood
from guerdon.reward.learned.lora import add_lora, merge_lora
from guerdon.reward.learned.minibatches import Texts, members
from guerdon.reward.learned.readout import read

LARGE = 500_000_000  # parameters above which auto tunes adapters
LONGEST = 2048  # tokens read where nothing is said
RATES = {"full": 2e-5, "lora": 5e-4}


class AutoregressiveReward(FittedReward):
    """A causal language model fitted to comparisons, the log-likelihood of a response its reward.

    Parameters
    ----------
    backbone : Hub name or directory of a causal language model to start from; guided decoding needs its vocabulary
    reference : none, or start (take off the log-likelihood of the model it starts from: DPO)
    beta : factor of the log-likelihoods; small values allow large changes
    length_normalized : whether to take the mean over tokens instead of the sum
    tuning : full (all weights), lora (adapters), or auto (lora above 500 million parameters)
    lora_rank : rank of the adapters
    lora_alpha : scale of the adapters, divided by the rank
    learning_rate : peak AdamW step; null is 2e-5 for full and 5e-4 for lora
    weight_decay : AdamW weight decay of matrices
    epochs : passes over the data
    batch : comparisons a step
    batch_tokens : most tokens of one forward pass; null is 4,096 on a CPU and 32,768 on a GPU
    warmup : share of the steps in which the learning rate rises
    patience : looks at the held-out loss without improvement before training ends; there are four looks an epoch
    keep : the state a fit ends in: best (lowest held-out loss) or last (nothing is held out)
    max_length : most tokens of a candidate; null is what the model reads, at most 2,048
    too_long : what happens to longer candidates: truncate (the oldest tokens of the prompt) or unscored
    margin : a preferred response must win by margin x strength
    label_smoothing : share of every verdict that is moved to a coin flip, in [0, 1)
    gradient_clip : largest norm of a step's gradient
    seed : seeds the inner split, the order of the data and the adapters
    device : cpu, cuda, ...; null takes cuda where there is one
    checkpoint : directory for the state of the training, from which a killed fit goes on; null keeps none
    """

    reads = ()

    def __init__(
        self,
        *,
        backbone: str = "",
        reference: str = "none",
        beta: float = 0.05,
        length_normalized: bool = False,
        tuning: str = "auto",
        lora_rank: int = 8,
        lora_alpha: int = 16,
        learning_rate: float | None = None,
        weight_decay: float = 0.05,
        epochs: float = 1,
        batch: int = 32,
        batch_tokens: int | None = None,
        warmup: float = 0.1,
        patience: int = 4,
        keep: str = "best",
        max_length: int | None = None,
        too_long: str = "truncate",
        margin: float = 0.0,
        label_smoothing: float = 0.0,
        gradient_clip: float = 1.0,
        seed: int = 0,
        device: str | None = None,
        checkpoint: str | None = None,
    ) -> None:
        self.name = "autoregressive"
        self.settings: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        _check(self.settings)
        self.summary = {}
        self.model: Any = None
        self.tokenizer: Any = None
        self.readout: ResponseLikelihood | None = None
        self.renderer: Renderer | None = None

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.settings)

    @property
    def device(self) -> str:
        """Where the model runs."""
        return self.settings["device"] or ("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def budget(self) -> int:
        """Most tokens of one forward pass."""
        return self.settings["batch_tokens"] or BUDGET.get(torch.device(self.device).type, BUDGET_ELSEWHERE)

    # ------------------------------------------------------------------ scoring

    def score(self, candidates: Candidates) -> Scores:
        """beta log pi(response | prompt), in log-odds of preference within a prompt."""
        rendered, types = self._rendered(candidates)
        assert self.readout is not None
        value, tokens = read(self.readout, rendered.tokens, types, prompt_keys(candidates), self.budget)
        status, reason = list(rendered.status), list(rendered.reason)
        for row in np.flatnonzero(~np.isfinite(value)):
            if status[row] == "scored":
                value[row], status[row], reason[row] = np.nan, "failed", "the model's output is not a number"
        return Scores(value, status, reason, cost={"tokens": float(tokens)})

    def tokens(self, candidates: Candidates) -> list[np.ndarray | None]:
        """[n] float64 [T]: each token's reward; they add up to the score. None where a candidate cannot be read."""
        rendered, types = self._rendered(candidates)
        assert self.readout is not None
        rows = rendered.readable
        sequences = [ids for ids in rendered.tokens if ids is not None]
        kinds, keys = [types[row] for row in rows], prompt_keys(candidates)
        out: list[np.ndarray | None] = [None] * len(candidates)
        for batch in self.readout.plan(sequences, [keys[row] for row in rows], self.budget):
            for row, values in zip(batch.rows, self.readout.each(sequences, kinds, batch), strict=True):
                out[int(rows[row])] = values
        return out

    def _rendered(self, candidates: Candidates) -> tuple[Rendered, list[np.ndarray]]:
        """Tokens, and for each text which of them belong to the response (1) or not (0)."""
        if self.renderer is None:
            raise ModelError("this reward is not fitted yet; call fit(feedback), or open a saved one with guerdon.load")
        rendered = self.renderer(candidates)
        starts = self.renderer.response_starts(candidates, rendered)
        return rendered, [
            np.zeros(0, np.int64) if ids is None else (np.arange(len(ids)) >= max(start, 1)).astype(np.int64)
            for ids, start in zip(rendered.tokens, starts, strict=True)
        ]

    # ------------------------------------------------------------------ fitting

    def fit(self, feedback: Feedback, *, validation: Feedback | None = None, progress: bool = False) -> Self:
        begin, s = time.perf_counter(), self.settings
        together, fitting, held_out = parted(feedback, validation, s["seed"], hold=s["keep"] != "last")
        self.open(s["backbone"])
        assert self.readout is not None
        used = together.used
        rendered, marks = self._rendered(together.candidates.take(used))
        empty = np.zeros(0, dtype=np.int64)
        sequences, types = [empty] * len(together.responses), [empty] * len(together.responses)
        for row, i in enumerate(used):
            ids = rendered.tokens[row]
            if ids is not None:
                sequences[i], types[i] = ids, marks[row]
        texts = Texts(sequences, types, together.prompt_of)
        data = self._compile(fitting, texts)
        held = None if held_out is None else self._compile(held_out, texts)
        if not len(data):
            raise FeedbackError("no comparison is left: all texts are empty or longer than max_length")
        tuning = s["tuning"]
        if tuning == "auto":
            tuning = "lora" if sum(p.numel() for p in self.model.parameters()) > LARGE else "full"
        self.model.requires_grad_(True)
        if tuning == "lora":
            self.model.requires_grad_(False)
            add_lora(base_of(self.model), s["lora_rank"], s["lora_alpha"], s["seed"])
        parameters = [(n, p, False) for n, p in self.model.named_parameters() if p.requires_grad]
        rate = s["learning_rate"] or RATES[tuning]
        recipe = Recipe(
            learning_rate=rate,
            head_learning_rate=rate,
            batch_tokens=self.budget,
            center=0.0,
            looks=4,
            clip=s["gradient_clip"],
            **{k: s[k] for k in ("weight_decay", "epochs", "batch", "warmup", "patience", "seed", "checkpoint")},
        )
        with bar(progress) as watch:
            history = train(self.readout, texts, data, held, parameters, recipe, watch)  # type: ignore[arg-type]
        if tuning == "lora":
            merge_lora(base_of(self.model))
        self.model.requires_grad_(False)
        self.model.eval()
        self.summary = {
            "data": len(data),
            "held_out": 0 if held is None else len(held),
            "judgements": len(feedback),
            "candidates": len(used),
            "candidates_left_out": len(used) - len(rendered.readable),
            "tuning": tuning,
            "steps": history.steps,
            "held_out_loss": [(step, round(loss, 5)) for step, loss in history.held],
            "seconds": round(time.perf_counter() - begin, 1),
        }
        return self

    def _compile(self, feedback: Feedback, texts: Texts) -> Likelihood:
        """The likelihood of the comparisons whose texts can all be read."""
        s = self.settings
        data = compile_likelihood(
            "bradley-terry", feedback, margin=s["margin"], smoothing=s["label_smoothing"], max_pairs=500, seed=s["seed"]
        )
        flat, starts, weight = members(data)
        readable = np.array([len(t) > 0 for t in texts.sequences])[flat]
        return data.take(np.flatnonzero(np.logical_and.reduceat(readable, starts[:-1]) & (weight > 0)))

    def open(self, place: str) -> None:
        """Load the language model in ``place``, and the reference where there is one.

        Raises
        ------
        ConfigError
            if there is no such model, or its logits are not one linear layer of its states
        """
        s = self.settings
        if not place:
            raise ConfigError("backbone: name the causal language model to start from, e.g. --set backbone=PATH")
        self.model, self.tokenizer = open_causal(place, self.device)
        reference = None
        if s["reference"] == "start":
            frozen = open_causal(s["backbone"], self.device)[0].requires_grad_(False)
            reference = ResponseLikelihood(Decoder(base_of(frozen)), frozen.get_output_embeddings(), 1.0, False)
        decoder = Decoder(base_of(self.model))
        if not decoder.causal:
            raise ConfigError(f"backbone={place} is no causal language model: later words change earlier states")
        head = self.model.get_output_embeddings()
        self.readout = ResponseLikelihood(decoder, head, s["beta"], s["length_normalized"], reference)
        limit = min(positions(self.tokenizer, self.model.config), LONGEST)
        self.renderer = Renderer(
            self.tokenizer, self.model.config, pairs=False, max_length=s["max_length"] or limit, too_long=s["too_long"]
        )

    # ------------------------------------------------------------------ on disk

    def save(self, directory: str | Path) -> Path:
        """Write a causal language model with its tokenizer (``hf:DIR`` opens it), the self-test and the model card.

        A reference is not copied: it is opened again from ``backbone``.
        """
        from guerdon.reward.learned.backbone_files import save

        return save(self, Path(directory))  # type: ignore[arg-type]

    @classmethod
    def load(cls, directory: str | Path, *, verify: bool = True) -> Self:
        """Open what :meth:`save` wrote; ``verify`` checks the self-test.

        Raises
        ------
        ModelError
            if a file is missing or damaged, or the self-test does not come out
        """
        from guerdon.reward.learned.backbone_files import ELSEWHERE, about_of

        about = about_of(Path(directory))
        reward = cls(**{k: v for k, v in about["params"].items() if k not in ELSEWHERE})
        reward.name, reward.summary = about.get("model", reward.name), about.get("summary", {})
        reward.settings["max_length"] = about.get("max_length")
        reward.open(str(directory))
        reward.model.requires_grad_(False)
        if verify:
            assert reward.renderer is not None
            verify_selftest(reward, Path(directory), about.get("template_hash"), reward.renderer.template_hash)
        return reward


def open_causal(place: str, device: str) -> tuple[Any, Any]:
    """(causal language model, tokenizer) of a folder or Hub name."""
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise need("transformers", "text") from error
    try:
        with quietly():
            model: Any = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"language model {place} cannot be opened: {first}") from error
    model = model.to(device).eval()
    head = model.get_output_embeddings()
    ids = torch.arange(5, 13, device=device)[None] % model.get_input_embeddings().num_embeddings
    with torch.no_grad():
        own = model(input_ids=ids).logits
        ours = None if head is None else head(base_of(model)(input_ids=ids).last_hidden_state)
    if ours is None or own.shape != ours.shape or (own - ours).abs().max() > 1e-3 * own.abs().max():
        raise ConfigError(f"language model {place}: its logits are not one linear layer of its states")
    return model, tokenizer


def _check(s: dict[str, Any]) -> None:
    """Refuse settings that make no sense."""
    choices = {"reference": ("none", "start"), "tuning": ("auto", "full", "lora"), "keep": ("best", "last")}
    for name, known in choices.items():
        if s[name] not in known:
            raise ConfigError(f"{name}={s[name]!r} is unknown; use one of {', '.join(known)}")
    for name in ("beta", "lora_rank", "lora_alpha", "epochs", "batch", "batch_tokens", "patience", "gradient_clip"):
        if s[name] is not None and not s[name] > 0:
            raise ConfigError(f"{name}={s[name]}: use a number above 0")
    if s["learning_rate"] is not None and not 0 < s["learning_rate"] < 1:
        raise ConfigError(f"learning_rate={s['learning_rate']}: use a number between 0 and 1, e.g. 2e-5")
    for name in ("label_smoothing", "warmup"):
        if not 0 <= s[name] < 1:
            raise ConfigError(f"{name}={s[name]}: use a share in [0, 1)")
    if not s["margin"] >= 0:
        raise ConfigError(f"margin={s['margin']}: use a number of at least 0")

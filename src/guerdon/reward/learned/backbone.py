"""A reward fitted end to end on a transformers backbone: utility = head(state of the text), both trained on feedback.

A causal language model reads prompt and response through its chat template and the state is that of the last token; a
bidirectional encoder (the bundled MiniLM, BERT ...) reads them as a pair and the state is the mean over tokens. The
head starts at the optimum of the frozen features (the convex problem that ``bradley-terry`` solves), so that
fine-tuning begins where a frozen encoder ends (Kumar et al. 2022) and keeps only what helps on held-out data.

Reference: Ouyang et al. 2022, https://arxiv.org/abs/2203.02155 (reward modelling from rankings, all comparisons of a
prompt in one batch); Kumar et al. 2022, https://arxiv.org/abs/2202.10054 (linear probing, then fine-tuning).
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from guerdon.encode.prefix import base_of
from guerdon.encode.rendering import Rendered, Renderer, positions, prompt_keys
from guerdon.errors import ConfigError, FeedbackError, ModelError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Scores
from guerdon.reward.learned.backbone_model import (
    fit_value_head,
    language_head,
    linear,
    mlp_value_head,
    open_backbone,
    save_memory,
)
from guerdon.reward.learned.backbone_settings import check_settings
from guerdon.reward.learned.classifier import BUDGET, BUDGET_ELSEWHERE, score_texts
from guerdon.reward.learned.features import FeatureScaling, parted
from guerdon.reward.learned.finetune import Recipe, bar, train
from guerdon.reward.learned.fitted import FittedReward
from guerdon.reward.learned.heads import LinearHead
from guerdon.reward.learned.likelihood import Likelihood, compile_likelihood
from guerdon.reward.learned.lora import add_lora, merge_lora
from guerdon.reward.learned.minibatches import Texts, members, over
from guerdon.reward.learned.readout import LastToken, MeanPool, read
from guerdon.reward.learned.regularizers import LanguageRegularizer, TextLoss

log = logging.getLogger(__name__)

LARGE = 500_000_000  # parameters above which auto tunes adapters
PROBED = 20_000  # most data the head's start is solved on
LONGEST = 2048  # tokens read where nothing is said


class BackboneReward(FittedReward):
    """A transformer with a score head, fitted to comparisons or rankings; the same score for everybody.

    Parameters
    ----------
    backbone : minilm (bundled), or a Hub name or directory of a causal language model, an encoder or a reward model
    tuning : full (all weights), lora (adapters), head (frozen backbone), or auto (lora above 500 million parameters)
    start : where the head starts: probe (optimum on frozen features) or zero
    likelihood : bradley-terry or plackett-luce
    lora_rank : rank of the adapters
    lora_alpha : scale of the adapters, divided by the rank
    learning_rate : peak AdamW step of the backbone; null is 2e-5 for full and 2e-4 for lora
    head_learning_rate : peak AdamW step of the head; null is ten times learning_rate
    weight_decay : AdamW weight decay of matrices
    epochs : most passes over the data
    steps : most training steps, whatever the data's size; null goes by epochs
    batch : comparisons or rankings a step
    batch_tokens : most tokens of one forward pass (memory); null is 4,096 on a CPU and 32,768 on a GPU
    warmup : share of the steps in which the learning rate rises
    patience : looks at the held-out loss without improvement before training ends; there are four looks an epoch
    max_length : most tokens of a candidate; null is what the backbone reads, at most 2,048
    too_long : what happens to longer candidates: truncate (the oldest tokens of the prompt) or unscored
    margin : a preferred response must win by margin x strength (Bradley-Terry)
    label_smoothing : share of every verdict that is moved to a coin flip, in [0, 1)
    ties : half (a tie is p = 1/2), drop, or davidson (ties are an outcome of their own)
    max_pairs : at most so many pairs a person made from separate ratings; null keeps all
    center : coefficient that keeps the scores of a comparison around zero
    pull : coefficient that keeps the head's weights near those it starts with (a reference direction)
    regularizer : text loss on the same hidden states: none, sft, dpo or dpo-reference (causal language models)
    regularizer_weight : its share alpha of the loss, in [0, 1); small models need 0.1 where large ones need 0.01
    regularizer_beta : factor of the log-likelihoods in the text loss
    sft_logsigmoid : whether sft is -log sigmoid(beta l) or plain -l, l the log-likelihood of the chosen response
    value_head : linear, or mlp (dropout, linear, ReLU, linear)
    value_width : width of the mlp value head
    value_dropout : dropout before the mlp value head
    keep : the state a fit ends in: best (lowest held-out loss) or last (nothing is held out)
    gradient_clip : largest norm of a step's gradient
    gradient_checkpointing : compute activations again in the backward pass, to save memory
    share_prefix : run a prompt's tokens once for all its responses where that is predicted to be less work
    seed : seeds the inner split, the order of the data and the adapters
    device : cpu, cuda, ...; null takes cuda where there is one
    checkpoint : directory for the state of the training, from which a killed fit goes on; null keeps none
    """

    reads = ()

    def __init__(
        self,
        *,
        backbone: str = "minilm",
        tuning: str = "auto",
        start: str = "probe",
        likelihood: str = "bradley-terry",
        lora_rank: int = 16,
        lora_alpha: int = 32,
        learning_rate: float | None = None,
        head_learning_rate: float | None = None,
        weight_decay: float = 0.01,
        epochs: float = 3,
        steps: int | None = None,
        batch: int = 32,
        batch_tokens: int | None = None,
        warmup: float = 0.1,
        patience: int = 4,
        max_length: int | None = None,
        too_long: str = "truncate",
        margin: float = 0.0,
        label_smoothing: float = 0.0,
        ties: str = "half",
        max_pairs: int | None = 500,
        center: float = 0.0,
        pull: float = 0.0,
        regularizer: str = "none",
        regularizer_weight: float = 0.01,
        regularizer_beta: float = 0.1,
        sft_logsigmoid: bool = True,
        value_head: str = "linear",
        value_width: int = 1024,
        value_dropout: float = 0.1,
        keep: str = "best",
        gradient_clip: float = 1.0,
        gradient_checkpointing: bool = False,
        share_prefix: bool = True,
        seed: int = 0,
        device: str | None = None,
        checkpoint: str | None = None,
    ) -> None:
        self.name = "backbone"
        self.settings: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        check_settings(self.settings)
        self.summary = {}
        self.model: Any = None
        self.tokenizer: Any = None
        self.readout: LastToken | MeanPool | None = None
        self.renderer: Renderer | None = None
        self.lm_head: torch.nn.Module | None = None
        """The head that writes, after a fit with a text loss (diagnostics; it is not saved)."""

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
        fallback = BUDGET.get(torch.device(self.device).type, BUDGET_ELSEWHERE)
        return self.settings["batch_tokens"] or fallback

    def score(self, candidates: Candidates) -> Scores:
        """Utility of each candidate, in log-odds."""
        if self.readout is None or self.renderer is None:
            raise ModelError("this reward is not fitted yet; call fit(feedback), or open a saved one with guerdon.load")
        return score_texts(self.renderer, self.readout, candidates, self.budget)

    # ------------------------------------------------------------------ fitting

    def fit(self, feedback: Feedback, *, validation: Feedback | None = None, progress: bool = False) -> Self:
        begin = time.perf_counter()
        s = self.settings
        together, fitting, held_out = parted(feedback, validation, s["seed"], hold=s["keep"] != "last")
        self._open()
        assert self.readout is not None
        texts, left_out = self._texts(together)
        data, lost = self._compile(fitting, texts)
        held = None if held_out is None else self._compile(held_out, texts)[0]
        if not len(data):
            raise FeedbackError("no comparison is left: all texts are empty or longer than max_length")
        tuning = self._tuning()
        self._start(texts, data, held, tuning)
        history = None
        if tuning != "head":
            language = self._language(together, texts, data)
            parameters = self._trainable(tuning)
            known = None if s["keep"] == "last" else held
            with bar(progress) as watch:
                history = train(self.readout, texts, data, known, parameters, self._recipe(tuning), watch, language)
            if tuning == "lora":
                merge_lora(self._body())
        self.model.requires_grad_(False)
        self.model.eval()
        if self.lm_head is not None:
            self.lm_head.requires_grad_(False)
        self.summary = {
            "data": len(data),
            "held_out": 0 if held is None else len(held),
            "judgements": len(feedback),
            "candidates": len(together.used),
            "candidates_left_out": left_out,
            "data_left_out": lost,
            "tuning": tuning,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "seconds": round(time.perf_counter() - begin, 1),
        }
        if history is not None:
            self.summary |= {"steps": history.steps, "steps_skipped": history.skipped}
            self.summary["held_out_loss"] = [(step, round(loss, 5)) for step, loss in history.held]
            self.summary["token_ratio"] = round(history.padded_tokens / max(1, history.tokens), 3)
        return self

    def _open(self) -> None:
        """Load the backbone with a head that gives zero, and decide how it is read."""
        s = self.settings
        self.model, self.tokenizer, self.readout = open_backbone(s["backbone"], s["share_prefix"])
        self.shape_head()
        self.place()
        self.lm_head = None
        if self.regularized:
            if not isinstance(self.readout, LastToken):
                raise ConfigError(f"regularizer={s['regularizer']}: {s['backbone']} reads both ways and writes no text")
            self.lm_head = language_head(s["backbone"], self.model).to(self.device)

    @property
    def regularized(self) -> bool:
        """Whether a text loss takes part in the fit."""
        return self.settings["regularizer"] != "none" and self.settings["regularizer_weight"] > 0

    def shape_head(self) -> None:
        """Put the head of the settings in the place of the linear one the backbone was opened with."""
        s = self.settings
        if s["value_head"] == "mlp":
            assert self.readout is not None
            mlp_value_head(self.model, self.readout, s["value_width"], s["value_dropout"], s["seed"])

    def _language(self, feedback: Feedback, texts: Texts, data: Likelihood) -> LanguageRegularizer | None:
        """The text loss on the responses of ``texts``, its reference taken from the model as it is now."""
        if self.lm_head is None:
            return None
        s = self.settings
        assert self.renderer is not None
        assert isinstance(self.readout, LastToken)
        used = feedback.used
        candidates = feedback.candidates.take(used)
        starts = np.zeros(len(texts.sequences), dtype=np.int64)
        starts[used] = self.renderer.response_starts(candidates, self.renderer(candidates))
        loss = TextLoss(s["regularizer"], s["regularizer_beta"], s["sft_logsigmoid"])
        language = LanguageRegularizer(self.lm_head, s["regularizer_weight"], loss, starts)
        if s["regularizer"] == "dpo-reference":
            return language.with_reference(self.readout, texts, np.unique(members(data)[0]), self.budget)
        return language

    def hidden(self, candidates: Candidates) -> np.ndarray:
        """float64 [n, d] states that the scores are read from (for probes); NaN where a candidate cannot be read."""
        if self.readout is None or self.renderer is None:
            raise ModelError("this reward is not fitted yet; call fit(feedback), or open a saved one with guerdon.load")
        rendered = self.renderer(candidates)
        types = self.types(candidates, rendered)
        return read(self.readout, rendered.tokens, types, prompt_keys(candidates), self.budget, "hidden")[0]

    def types(self, candidates: Candidates, rendered: Rendered) -> list[np.ndarray] | None:
        """[n] token types that the readout is told: those of a pair encoding, None for decoders."""
        return rendered.types

    def place(self) -> None:
        """Put the model where it runs and fix what it reads."""
        s = self.settings
        self.model.to(self.device).eval()
        if isinstance(self.readout, MeanPool):
            self.readout.head.to(self.device)
        limit = positions(self.tokenizer, self.model.config)
        self.renderer = Renderer(
            self.tokenizer,
            self.model.config,
            pairs=isinstance(self.readout, MeanPool),
            max_length=s["max_length"] or min(limit, LONGEST),
            too_long=s["too_long"],
        )

    def _body(self) -> Any:
        return self.model if isinstance(self.readout, MeanPool) else base_of(self.model)

    def _tuning(self) -> str:
        if self.settings["tuning"] != "auto":
            return self.settings["tuning"]
        return "lora" if sum(p.numel() for p in self.model.parameters()) > LARGE else "full"

    def _texts(self, feedback: Feedback) -> tuple[Texts, int]:
        """Tokens of the candidates in use, and how many of them cannot be read."""
        assert self.renderer is not None
        used = feedback.used
        candidates = feedback.candidates.take(used)
        rendered = self.renderer(candidates)
        told = self.types(candidates, rendered)
        empty = np.zeros(0, dtype=np.int64)
        sequences, types = [empty] * len(feedback.responses), None
        if told is not None:
            types = [empty] * len(sequences)
        for row, i in enumerate(used):
            tokens = rendered.tokens[row]
            if tokens is not None:
                sequences[i] = tokens
                if types is not None and told is not None:
                    types[i] = told[row]
        return Texts(sequences, types, feedback.prompt_of), len(used) - len(rendered.readable)

    def _compile(self, feedback: Feedback, texts: Texts) -> tuple[Likelihood, int]:
        """The likelihood on data whose texts can all be read, and how many cannot."""
        data = self.likelihood(feedback)
        flat, starts, weight = members(data)
        readable = np.array([len(t) > 0 for t in texts.sequences])[flat]
        good = np.flatnonzero(np.logical_and.reduceat(readable, starts[:-1]) & (weight > 0))
        return data.take(good), len(data) - len(good)

    def likelihood(self, feedback: Feedback) -> Likelihood:
        """How the utilities explain ``feedback``."""
        s = self.settings
        return compile_likelihood(
            s["likelihood"],
            feedback,
            margin=s["margin"],
            smoothing=s["label_smoothing"],
            ties=s["ties"],
            max_pairs=s["max_pairs"],
            seed=s["seed"],
        )

    def _start(self, texts: Texts, data: Likelihood, held: Likelihood | None, tuning: str) -> None:
        """Set the head to the optimum of the frozen features, or leave it at zero."""
        assert self.readout is not None
        if tuning != "head" and self.settings["start"] != "probe":
            return
        rng = np.random.default_rng(self.settings["seed"])
        if len(data) > PROBED:
            data = data.take(np.sort(rng.choice(len(data), PROBED, replace=False)))
        mine, theirs = members(data)[0], members(held)[0] if held is not None else np.zeros(0, int)
        used = np.unique(np.r_[mine, theirs])
        known = None if held is None else over(held, used)
        self.probe(self._states(texts, used), over(data, used), known, np.searchsorted(used, np.unique(mine)))

    def probe(self, states: np.ndarray, data: Likelihood, held: Likelihood | None, fitting: np.ndarray) -> None:
        """Fit the head on frozen ``states`` [n, d], of which the rows ``fitting`` belong to ``data``."""
        assert self.readout is not None
        scaling = FeatureScaling()
        scaling.fit(states[fitting])
        if isinstance(self.readout.head, torch.nn.Sequential):
            fit_value_head(self.readout.head, scaling, states, data, held, self.settings["seed"])
            return
        head, probe = linear(self.readout.head), LinearHead(l2="auto")
        probe.fit(scaling(states), data, held)
        weight = probe.weight * scaling.scale
        with torch.no_grad():
            head.weight[0] = torch.as_tensor(weight, dtype=head.weight.dtype)
            if head.bias is not None:
                head.bias[0] = -float(scaling.mean @ weight)
        log.info("head starts at the optimum of %d frozen features, l2 = %g", len(weight), probe.chosen_l2)

    def _states(self, texts: Texts, used: np.ndarray) -> np.ndarray:
        """float64 [len(used), d] frozen states."""
        assert self.readout is not None
        sequences = [texts.sequences[i] for i in used]
        types = None if texts.types is None else [texts.types[i] for i in used]
        return read(self.readout, sequences, types, texts.prompts[used].tolist(), self.budget, "hidden")[0]

    def _trainable(self, tuning: str) -> list[tuple[str, torch.nn.Parameter, bool]]:
        """(name, tensor, whether it belongs to the head) of what is trained."""
        s = self.settings
        assert self.readout is not None
        body, head = self._body(), self.readout.head
        if tuning == "lora":
            add_lora(body, s["lora_rank"], s["lora_alpha"], s["seed"])
        else:
            body.requires_grad_(True)
        head.requires_grad_(True)
        if s["gradient_checkpointing"]:
            save_memory(body)
        found = [(n, p, False) for n, p in body.named_parameters() if p.requires_grad]
        if self.lm_head is not None:  # adapters leave it as it is; tied weights are among the body's
            self.lm_head.requires_grad_(tuning != "lora")
            own = {id(p) for _, p, _ in found}
            writes = [(f"lm_head.{n}", p, False) for n, p in self.lm_head.named_parameters() if id(p) not in own]
            found += [entry for entry in writes if entry[1].requires_grad]
        return found + [(f"head.{n}", p, True) for n, p in head.named_parameters()]

    def _recipe(self, tuning: str) -> Recipe:
        s = self.settings
        rate = s["learning_rate"] or {"full": 2e-5, "lora": 2e-4}[tuning]
        return Recipe(
            learning_rate=rate,
            head_learning_rate=s["head_learning_rate"] or 10 * rate,
            batch_tokens=self.budget,
            looks=4,
            clip=s["gradient_clip"],
            pull=s["pull"],
            **{k: s[k] for k in ("weight_decay", "epochs", "steps", "batch", "warmup")},
            **{k: s[k] for k in ("center", "patience", "seed", "checkpoint")},
        )

    # ------------------------------------------------------------------ on disk

    def save(self, directory: str | Path) -> Path:
        """Write the model; decoders as ``AutoModelForSequenceClassification`` with adapters merged."""
        from guerdon.reward.learned.backbone_files import save

        return save(self, Path(directory))

    @classmethod
    def load(cls, directory: str | Path, *, verify: bool = True) -> Self:
        """Open what :meth:`save` wrote; ``verify`` checks the self-test.

        Raises
        ------
        ModelError
            if a file is missing or damaged, or the self-test does not come out
        """
        from guerdon.reward.learned.backbone_files import load

        return load(cls, Path(directory), verify)

"""A language model, cut in the middle, under a sparse autoencoder and a linear head: readable scores, end to end.

The model is cut after ``layer`` (half its depth), an autoencoder is trained on its token states
(:mod:`guerdon.reward.learned.sparse_head`), then comparisons train what ``mode`` says:

========  ====  ====================================================================================================
mode            trained in the second stage
========  ====  ====================================================================================================
head      0     the linear head alone: the convex optimum
language  1     language model and head by the preference loss; the autoencoder stays as it is
joint     2     everything, by preference loss + reconstruction x the reconstruction loss
detached  3     language model and head by the preference loss; the autoencoder by reconstruction, on states that this
                loss does not move, over the response's tokens: features stay faithful as the model moves (the recipe)
========  ====  ====================================================================================================

Mode 1 lets the states drift away from what the latents were named for: compare ``nmse`` with ``nmse_before`` in the
summary. Frozen features of any encoder: :mod:`guerdon.reward.learned.sparse_reward`.

Reference: Zhang et al. (2025), Interpretable Reward Model via Sparse Autoencoder, https://arxiv.org/abs/2508.08746.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from scipy import sparse

from guerdon.encode.prefix import base_of
from guerdon.errors import ConfigError, FeedbackError, ModelError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.backbone_model import linear
from guerdon.reward.learned.headed_backbone import HeadedBackbone
from guerdon.reward.learned.heads import LinearHead
from guerdon.reward.learned.lasso import check_l1, lasso
from guerdon.reward.learned.likelihood import Likelihood
from guerdon.reward.learned.minibatches import Texts, members, over
from guerdon.reward.learned.readout import LastToken
from guerdon.reward.learned.regularizers import LanguageRegularizer, TextLoss
from guerdon.reward.learned.sparse_attribution import SparseAttribution
from guerdon.reward.learned.sparse_autoencoder import SparseAutoencoder
from guerdon.reward.learned.sparse_head import Reconstruction, SparseHead, response_tokens, standardised, truncate

MODES = ("head", "language", "joint", "detached")
POSITIONS = ("response", "last")


class SparseBackbone(SparseAttribution, HeadedBackbone):
    """A causal language model with a sparse autoencoder and a linear head; it explains and edits itself.

    Parameters
    ----------
    backbone : Hub name or directory of a causal language model
    layer : layers of it that are kept; null is half
    latent : latents of the autoencoder; null is 4 a dimension (the paper: 16)
    k : how many latents are active at once
    topk : whether the head reads the k active latents (interpretable) or all pre-activations (the released recipe)
    mode : what comparisons train: head, language, joint or detached (the paper's modes 0 to 3)
    reconstruction : weight of the reconstruction loss beside the preference loss (joint, detached)
    l1 : L1 penalty of the head, solved on the final states (explanations of fewer features); 0 for none
    positions : states the autoencoder is first trained on: those of the response's tokens, or of the last alone
    sae_epochs : passes of the autoencoder over these states
    sae_learning_rate : AdamW step of that
    sae_batch : states a step of that
    sae_tokens : most states that it sees
    tuning : full (all weights), lora (adapters), or auto (lora above 500 million parameters); mode=head tunes none
    start : where the linear head starts: zero (the paper) or probe (optimum on frozen states; always in mode=head)
    learning_rate : peak AdamW step of the backbone and autoencoder; null is 2e-5 for full and 2e-4 for lora
    head_learning_rate : peak AdamW step of the linear head; null is ten times learning_rate
    batch : comparisons a step
    seed : seeds the autoencoder, the inner split, the order of the data and the adapters
    """

    shared = (*HeadedBackbone.shared, "tuning", "checkpoint")

    def __init__(
        self,
        *,
        backbone: str = "meta-llama/Llama-3.1-8B-Instruct",
        layer: int | None = None,
        latent: int | None = None,
        k: int = 32,
        topk: bool = True,
        mode: str = "detached",
        reconstruction: float = 1.0,
        l1: float = 0.0,
        positions: str = "response",
        sae_epochs: int = 20,
        sae_learning_rate: float = 3e-3,
        sae_batch: int = 512,
        sae_tokens: int = 200_000,
        start: str = "zero",
        **settings: Any,
    ) -> None:
        given: dict[str, Any] = {key: v for key, v in locals().items() if key not in ("self", "settings", "__class__")}
        for name, known in (("mode", MODES), ("positions", POSITIONS)):
            if given[name] not in known:
                raise ConfigError(f"{name}={given[name]!r} is unknown; use one of {', '.join(known)}")
        if k < 1 or (latent is not None and k > latent):
            raise ConfigError(f"k={k}: keep between 1 and all {latent or ''} latents")
        if not reconstruction > 0:
            raise ConfigError(f"reconstruction={reconstruction}: use a number above 0; mode=language does without it")
        check_l1(l1)
        self.begin("sarm", given, settings)
        self.sae: SparseAutoencoder | None = None
        self.trained_on: tuple[str, int] | None = None
        self.learned_by_fit = False
        """Whether the autoencoder is a fit's own, which the next fit does not take over, not a pretrained one."""

    @property
    def weight(self) -> np.ndarray:  # type: ignore[override]
        """float64 [latent] of the linear head."""
        return self.head.score.weight[0].detach().double().cpu().numpy()

    # ------------------------------------------------------------------ fitting

    def pretrain(self, texts: Candidates) -> Self:
        """Train the autoencoder on unlabelled candidates before :meth:`fit`, which else does so on its own."""
        self._open()
        assert self.renderer is not None
        rendered = self.renderer(texts)
        starts = self.renderer.response_starts(texts, rendered)
        rows = rendered.readable
        self.learned_by_fit = False
        sequences = [t for t in rendered.tokens if t is not None]
        self._train_autoencoder(sequences, starts[rows], [texts.prompts[i] for i in rows])
        return self

    def _train_autoencoder(self, sequences: list[np.ndarray], starts: np.ndarray, prompts: Sequence[Any]) -> None:
        s = self.settings
        if not sequences:
            raise FeedbackError("the autoencoder has no texts: all are empty or longer than max_length")
        x = self._token_states(sequences, starts, [str(p) for p in prompts])
        self.sae = SparseAutoencoder(len(self.head.shift), s["k"])
        told = self.sae.fit(
            x, epochs=s["sae_epochs"], learning_rate=s["sae_learning_rate"], batch=s["sae_batch"], seed=s["seed"]
        )
        self.trained_on = (s["backbone"], s["layer"])
        if told["dead"] > 0.5:
            warnings.warn(
                f"{told['dead']:.0%} of the autoencoder's latents never fire: use a smaller latent, or more texts",
                stacklevel=3,
            )

    def _token_states(self, sequences: list[np.ndarray], starts: np.ndarray, prompts: Sequence[str]) -> np.ndarray:
        """float32 [T, d] standardised states of the responses' tokens, or of the last alone.

        Where there are more than ``sae_tokens`` it is those of a random choice of tokens; no others are ever held.
        """
        assert isinstance(self.readout, LastToken)
        s, parts, at = self.settings, [], 0
        last = s["positions"] == "last"
        batches = self.readout.plan(sequences, list(prompts), self.budget)
        sizes = [len(b.rows) + (0 if last else int(response_tokens(sequences, starts, b).sum())) for b in batches]
        chosen = np.ones(sum(sizes), dtype=bool)
        if len(chosen) > s["sae_tokens"]:
            chosen[:] = False
            chosen[np.random.default_rng(s["seed"]).choice(len(chosen), s["sae_tokens"], replace=False)] = True
        with torch.inference_mode():
            for batch, size in zip(batches, sizes, strict=True):
                if chosen[at : at + size].any():
                    ends, inner = self.readout.decoder.states(sequences, batch, None if last else starts + 1)
                    x = standardised(ends if last else torch.cat([ends, inner])).cpu().numpy()
                    parts.append(x[chosen[at : at + size]])
                at += size
        return np.concatenate(parts)

    def fit(self, feedback: Feedback, *, validation: Feedback | None = None, progress: bool = False) -> Self:
        if self.learned_by_fit:
            self.sae = None
        super().fit(feedback, validation=validation, progress=progress)
        texts, _ = self._texts(feedback)
        used = np.array([i for i in feedback.used if len(texts.sequences[i])])
        s = self.settings
        if s["l1"]:
            data = self._compile(feedback, texts)[0]
            rows = np.unique(members(data)[0])
            self._solve(self._states(texts, rows), over(data, rows), None)
        x = self._token_states(
            [texts.sequences[i] for i in used], self._starts(feedback)[used], [str(texts.prompts[i]) for i in used]
        )
        told = self.head.autoencoder().report(x)
        self.summary |= {"layer": s["layer"], "mode": s["mode"], "nmse": told["nmse"], "dead": told["dead"]}
        assert self.sae is not None
        self.summary["nmse_before"] = self._nmse_before
        self.summary["features_used"] = int(np.count_nonzero(self.weight))
        self.summary["autoencoder"] = self.head.autoencoder().digest
        return self

    def shape_head(self) -> None:
        """Cut the backbone and put a sparse head on it."""
        s = self.settings
        if not isinstance(self.readout, LastToken):
            raise ConfigError(f"backbone={s['backbone']} reads both ways; this reward cuts a causal language model")
        base = base_of(self.model)
        s["layer"] = s["layer"] or max(1, base.config.get_text_config().num_hidden_layers // 2)
        truncate(base, s["layer"])
        old = self.readout.head
        d = linear(old).in_features
        latent = s["latent"] or 4 * d
        if s["k"] > latent:
            raise ConfigError(f"k={s['k']}: keep between 1 and all {latent} latents")
        head = SparseHead(d, latent, s["k"], topk=s["topk"], detached=s["mode"] == "detached")
        self.readout.head = self.model.score = head.to(linear(old).weight.device).eval()

    def _start(self, texts: Texts, data: Likelihood, held: Likelihood | None, tuning: str) -> None:
        s = self.settings
        if self.sae is None:
            used = np.unique(members(data)[0])
            sequences = [texts.sequences[i] for i in used]
            self._train_autoencoder(sequences, self._response_starts[used], texts.prompts[used].tolist())
            self.learned_by_fit = True
        elif self.trained_on != (s["backbone"], s["layer"]):
            raise ModelError(
                f"the autoencoder was trained on {self.trained_on}, not on layer {s['layer']} of this model"
            )
        assert self.sae is not None
        self.head.take(self.sae)
        used = np.unique(members(data)[0])
        x = self._token_states(
            [texts.sequences[i] for i in used], self._response_starts[used], [str(p) for p in texts.prompts[used]]
        )
        self._nmse_before = self.sae.report(x)["nmse"]
        super()._start(texts, data, held, tuning)

    def _texts(self, feedback: Feedback) -> tuple[Texts, int]:
        self._response_starts = self._starts(feedback)
        return super()._texts(feedback)

    def _starts(self, feedback: Feedback) -> np.ndarray:
        """int64 [C] first token of each candidate's response."""
        assert self.renderer is not None
        candidates = feedback.candidates.take(feedback.used)
        starts = np.zeros(len(feedback.responses), dtype=np.int64)
        starts[feedback.used] = self.renderer.response_starts(candidates, self.renderer(candidates))
        return starts

    def probe(self, states: np.ndarray, data: Likelihood, held: Likelihood | None, fitting: np.ndarray) -> None:
        """Set the linear head to the optimum on the latents of frozen ``states``."""
        self._solve(states, data, held)

    def _solve(self, states: np.ndarray, data: Likelihood, held: Likelihood | None) -> None:
        z = self._latents(states)
        if self.settings["l1"]:
            weight = lasso(z, data, self.settings["l1"])[0]
        else:
            ridge = LinearHead(l2="auto")
            ridge.fit(z, data, held)  # type: ignore[arg-type]  # a sparse matrix multiplies as an array does
            weight = ridge.weight
        with torch.no_grad():
            self.head.score.weight[0] = torch.as_tensor(weight)

    def _language(self, feedback: Feedback, texts: Texts, data: Likelihood) -> LanguageRegularizer | None:
        s = self.settings
        if s["mode"] not in ("joint", "detached"):
            return None
        share = s["reconstruction"] / (1 + s["reconstruction"])  # loss + c error, up to a factor that Adam ignores
        loss = TextLoss("reconstruction", s["reconstruction"])
        return Reconstruction(self.head, share, loss, self._response_starts)

    def _tuning(self) -> str:
        return "head" if self.settings["mode"] == "head" else super()._tuning()

    def _trainable(self, tuning: str) -> list[tuple[str, torch.nn.Parameter, bool]]:
        moves = self.settings["mode"] in ("joint", "detached")
        found = []
        for name, p, head in super()._trainable(tuning):
            if not head or name == "head.score.weight":
                found.append((name, p, head))
            elif moves:  # the autoencoder learns at the backbone's rate
                found.append((name, p, False))
            else:
                p.requires_grad_(False)
        return found

    # ------------------------------------------------------------------ explaining and editing

    def _latents(self, states: np.ndarray) -> sparse.csr_matrix:
        """float64 sparse [n, latent] of states [n, d]; a row of NaN states has no entries."""
        rows = np.flatnonzero(~np.isnan(states).any(1))
        parts = [sparse.csr_matrix((0, len(self.head.shift)))]
        device = self.head.shift.device
        with torch.inference_mode():
            for at in np.array_split(rows, max(1, -(-len(rows) // 1024))):
                z = self.head.latents(torch.as_tensor(states[at], dtype=torch.float32, device=device))
                parts.append(sparse.csr_matrix(z.double().cpu().numpy()))
        put = sparse.csr_matrix((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(len(states), len(rows)))
        return sparse.csr_matrix(put @ sparse.vstack(parts))

    def activations(self, candidates: Candidates) -> sparse.csr_matrix:
        """float64 sparse [n, latent] edited activations; none for candidates that cannot be read."""
        if not len(candidates):
            return sparse.csr_matrix((0, len(self.head.shift)))
        states = self.hidden(candidates)
        if states.ndim == 1:  # nothing could be read
            return sparse.csr_matrix((len(candidates), len(self.head.shift)))
        return self._latents(states)

    def explain(self, candidates: Candidates) -> dict[str, Sequence[Any]]:
        """Contributions [n] to the scores, by ``feature 12``, largest first; NaN where there is no score."""
        missing = ~np.isfinite(self.score(candidates).value)
        return {k: np.where(missing, np.nan, v).tolist() for k, v in super().explain(candidates).items()}

    def edited(self, edits: Mapping[int, tuple[str, float]]) -> Self:
        """A copy with ``edits`` over earlier ones of the same features; the language model is shared."""
        assert isinstance(self.readout, LastToken)
        new, head = copy.copy(self), copy.deepcopy(self.head)
        for feature, (how, value) in edits.items():
            head.factor[feature], head.offset[feature] = (value, 0.0) if how == "*" else (1.0, value)
        new.readout = LastToken(self.readout.decoder, head)
        return new

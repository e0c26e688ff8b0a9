"""A reward on a sparse autoencoder of frozen features: a score is a sum of a few features, named and editable.

A TopK autoencoder (:mod:`guerdon.reward.learned.sparse_autoencoder`) is trained on standardised features x; the reward
is ``score = z . w`` of its latents z without a bias, fitted by a ridge penalty, or by an L1 penalty (``l1``) where the
explanation should be short. So each candidate's score is the sum of at most k contributions z_i w_i, and can be edited
(:mod:`guerdon.reward.learned.sparse_attribution`). Directions that overlap in x become separate latents, which a
linear head on x cannot tell apart. A language model that moves under its autoencoder:
:mod:`guerdon.reward.learned.sparse_backbone`.

Read features off the head that scores: a head on all pre-activations (``topk=False``, what the paper's released recipe
trains) is not sparse, however sparse the autoencoder is.

Reference: Zhang et al. (2025), Interpretable Reward Model via Sparse Autoencoder, https://arxiv.org/abs/2508.08746.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from scipy import sparse

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError, ModelError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Scores
from guerdon.reward.learned.features import FeatureScaling
from guerdon.reward.learned.fitted import FeatureReward, Prepared
from guerdon.reward.learned.heads import LinearHead
from guerdon.reward.learned.lasso import check_l1, lasso
from guerdon.reward.learned.likelihood import compile_likelihood
from guerdon.reward.learned.sparse_attribution import Edits, SparseAttribution
from guerdon.reward.learned.sparse_autoencoder import SparseAutoencoder


class _KeptScaling(FeatureScaling):
    """Fitted once: an autoencoder trained before the feedback came keeps reading features as it learned to."""

    def fit(self, x: np.ndarray, flag: np.ndarray | None = None) -> None:
        if not len(self.mean):
            super().fit(x, flag)


class SparseReward(SparseAttribution, FeatureReward):
    """A linear reward on the latents of a TopK sparse autoencoder of frozen features; it explains and edits itself.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    latent : latents of the autoencoder; null is 4 a feature
    k : how many latents are active at once
    topk : whether the head reads the k active latents (interpretable) or all pre-activations (the released recipe)
    likelihood : bradley-terry, plackett-luce, classification or regression
    l2 : ridge penalty of the head, or auto (chosen on held-out prompts)
    l1 : L1 penalty of the head instead (explanations of fewer features); 0 leaves the ridge
    ties : half (a tie is p = 1/2) or drop
    max_pairs : at most so many pairs a person made from separate ratings; null keeps all
    epochs : passes of the autoencoder over its texts
    learning_rate : AdamW step of the autoencoder
    batch : texts a step of the autoencoder
    choose_by : automatic choices are made on held-out prompts, users or judgements; auto takes prompts if it can
    seed : seeds the autoencoder, the inner split and the pair draw
    """

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        latent: int | None = None,
        k: int = 32,
        topk: bool = True,
        likelihood: str = "bradley-terry",
        l2: float | str = "auto",
        l1: float = 0.0,
        ties: str = "half",
        max_pairs: int | None = 500,
        epochs: int = 20,
        learning_rate: float = 3e-3,
        batch: int = 512,
        choose_by: str = "auto",
        seed: int = 0,
    ) -> None:
        self.name = "sparse-autoencoder"
        settings = {key: v for key, v in locals().items() if key not in ("self", "encoder", "__class__")}
        if latent is not None and not 1 <= k <= latent:
            raise ConfigError(f"k={k}: keep between 1 and all {latent} latents")
        check_l1(l1)
        super().__init__(encoder, settings)
        self.features = _KeptScaling()
        self.sae: SparseAutoencoder | None = None
        self.trained_on = ""
        self.learned_by_fit = False
        """Whether the autoencoder is a fit's own, which the next fit does not take over, not a pretrained one."""
        self.told: dict[str, float] = {}
        self.weight = np.zeros(0)
        self.edits: Edits = {}

    # ------------------------------------------------------------------ fitting

    def pretrain(self, texts: Candidates | np.ndarray, *, progress: bool = False) -> Self:
        """Train the autoencoder on unlabelled candidates (or their raw features [n, d]) before :meth:`fit`."""
        raw = texts if isinstance(texts, np.ndarray) else self.open_encoder().encode(texts, progress=progress)
        if np.isnan(raw).any():
            row = int(np.flatnonzero(np.isnan(raw).any(1))[0])
            raise FeedbackError(f"text {row} has no features: leave it out of the autoencoder's texts")
        self.features = _KeptScaling()
        self.fit_scaling(raw)
        self.learned_by_fit = False
        self._train(self.features(raw), progress)
        return self

    def _train(self, x: np.ndarray, progress: bool) -> None:
        s = self.settings
        latent = s["latent"] or 4 * x.shape[1]
        self.sae = SparseAutoencoder(latent, s["k"])
        options = {name: s[name] for name in ("epochs", "learning_rate", "batch", "seed")}
        self.told = self.sae.fit(self.wide(x), **options, progress=progress)
        self.trained_on = self.open_encoder().fingerprint
        if self.told["dead"] > 0.5:
            warnings.warn(
                f"{self.told['dead']:.0%} of the autoencoder's latents never fire: use a smaller latent, or more texts",
                stacklevel=3,
            )

    @staticmethod
    def wide(x: np.ndarray) -> np.ndarray:
        """Scaled features of unit variance instead of unit length."""
        return x * np.sqrt(x.shape[1])

    def fit(self, feedback: Feedback, *, validation: Feedback | None = None, progress: bool = False) -> Self:
        if self.learned_by_fit:
            self.features, self.sae = _KeptScaling(), None
        return super().fit(feedback, validation=validation, progress=progress)

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        """Train the autoencoder unless it is trained already, then the head on its latents."""
        s = self.settings
        if self.sae is None:
            self._train(data.x[data.feedback.used], progress)
            self.learned_by_fit = True
        elif self.trained_on != self.open_encoder().fingerprint:
            raise ModelError(f"the autoencoder was trained on features of {self.trained_on}, not of this encoder")
        z = self.latents(data.x)

        def compiled(part: Feedback) -> Any:
            options = {"ties": s["ties"], "max_pairs": s["max_pairs"], "seed": s["seed"]}
            return compile_likelihood(s["likelihood"], part, **options)

        train, held = compiled(data.train), None if data.held is None else compiled(data.held)
        head = LinearHead(l2=s["l2"])
        head.fit(z, train, held)  # type: ignore[arg-type]  # a sparse matrix multiplies as an array does
        if held is not None and data.rejoin:
            again = LinearHead(l2=head.chosen_l2)
            again.fit(z, compiled(data.feedback), None)  # type: ignore[arg-type]
            head.weight = again.weight
        penalty: dict[str, Any] = {"l2": head.chosen_l2}
        self.weight, self.edits = head.weight, {}
        if s["l1"]:
            self.weight = lasso(z, compiled(data.feedback if data.rejoin else data.train), s["l1"])[0]
            penalty = {"l1": s["l1"], "features_used": int(np.count_nonzero(self.weight))}
        assert self.sae is not None
        return {"data": len(train), **penalty, **self.told, "autoencoder": self.sae.digest}

    # ------------------------------------------------------------------ scoring

    def latents(self, x: np.ndarray) -> sparse.csr_matrix:
        """float64 sparse [n, latent] activations of scaled features x [n, d], with edits."""
        if self.sae is None:
            raise ModelError("this reward has no autoencoder yet: fit it, or pretrain it on texts")
        z = self.sae(self.wide(x), topk=self.settings["topk"])
        for feature, (how, value) in self.edits.items():
            at = z.indices == feature
            z.data[at] = z.data[at] * value if how == "*" else z.data[at] + value
        return z

    def score(self, candidates: Candidates) -> Scores:
        """Sum of the active latents' contributions, in log-odds."""
        if not len(candidates):
            return Scores(np.zeros(0))
        return Scores(self.latents(self.x(candidates)) @ self.weight)

    def activations(self, candidates: Candidates) -> sparse.csr_matrix:
        """float64 sparse [n, latent] edited activations."""
        return self.latents(self.x(candidates))

    def edited(self, edits: Mapping[int, tuple[str, float]]) -> Self:
        """A copy with ``edits`` over earlier ones."""
        new = copy.copy(self)
        new.edits = {**self.edits, **edits}
        return new

    # ------------------------------------------------------------------ saving

    def arrays(self) -> dict[str, np.ndarray]:
        assert self.sae is not None
        edits = [[i, float(how == "+"), v] for i, (how, v) in self.edits.items()]
        own = {"weight": self.weight, "edits": np.array(edits, dtype=np.float64).reshape(-1, 3)}
        own["trained_on"] = np.frombuffer(self.trained_on.encode(), np.uint8)
        return {**self.features.arrays(), **own, **{f"sae.{k}": v for k, v in self.sae.arrays().items()}}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.features.restore(arrays)
        self.weight, self.trained_on = arrays["weight"], arrays["trained_on"].tobytes().decode()
        self.edits = {int(i): ("+" if plus else "*", float(v)) for i, plus, v in arrays["edits"]}
        self.sae = SparseAutoencoder(len(self.weight), self.settings["k"])
        self.sae.restore({k.removeprefix("sae."): v for k, v in arrays.items() if k.startswith("sae.")})

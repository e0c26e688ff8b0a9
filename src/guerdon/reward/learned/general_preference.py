"""General preference on frozen features: an embedding of each candidate, trained so that its form is the preference.

The form, and what can be asked of it, is :mod:`guerdon.reward.learned.preference_embeddings`: cycles are no problem,
and n candidates are encoded n times for all n^2 comparisons. A linear head (or one hidden layer) makes the embedding of
an encoder's features; the prompt may weigh its blocks.

A constant feature is added: features are centred here, and without it no block can be Bradley-Terry's.

Reference: Zhang et al. 2024, General Preference Modeling with Preference Representations for Aligning Language Models,
https://arxiv.org/abs/2410.02197
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError, ModelError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.comparisons import SkewSymmetric
from guerdon.reward.learned.fitted import FeatureReward, Prepared
from guerdon.reward.learned.layers import Layers, from_arrays, layers_of, output, to_arrays
from guerdon.reward.learned.preference_embeddings import Embedded, EmbeddedPreference, check_embedding
from guerdon.reward.learned.prompt_columns import apart, prompt_columns
from guerdon.reward.learned.tournament import cyclic_share


class GeneralPreference(EmbeddedPreference, FeatureReward):
    """Compares by preference embeddings; see the module. ``prefer`` is exact, ``score`` is against a pool.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    dim : numbers of an embedding, 2k of k blocks; even
    normalize : whether embeddings have length 1 (then tau says how sure the surest comparison can be)
    tau : temperature; auto is 0.1 of normalised embeddings and 1 of others
    scales : none, or prompt (the prompt weighs the blocks)
    prompt_width : the first so many features describe the prompt; null asks the encoder's feature map
    hidden : width of a hidden layer, 0 for the paper's linear head
    method : what rank() gives: score (mean against the others of the prompt), nash, borda or copeland
    pool : candidates of the training data that score() compares with; 0 keeps none
    label_smoothing : share of every verdict that is moved to a coin flip, in [0, 1)
    max_pairs : at most so many pairs a person made from separate ratings; null keeps all
    learning_rate : AdamW step
    weight_decay : AdamW weight decay
    epochs : most passes over the data
    batch : comparisons a step
    patience : passes without a better held-out loss before the end
    choose_by : held out for stopping are prompts, users or judgements; auto takes prompts if it can
    seed : seeds the inner split, the pair draw and the start
    """

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        dim: int = 8,
        normalize: bool = True,
        tau: float | str = "auto",
        scales: str = "none",
        prompt_width: int | None = None,
        hidden: int = 0,
        method: str = "score",
        pool: int = 512,
        label_smoothing: float = 0.0,
        max_pairs: int | None = 500,
        learning_rate: float = 1e-2,
        weight_decay: float = 1e-2,
        epochs: int = 60,
        batch: int = 256,
        patience: int = 8,
        choose_by: str = "auto",
        seed: int = 0,
    ) -> None:
        check_embedding(dim, tau, method)
        if scales not in ("none", "prompt"):
            raise ConfigError(f"scales={scales!r} is unknown; use none or prompt")
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing={label_smoothing}: use a share in [0, 1)")
        self.name = "general-preference"
        settings = {
            "dim": dim, "normalize": normalize, "tau": tau, "scales": scales, "prompt_width": prompt_width,
            "hidden": hidden, "method": method, "pool": pool, "label_smoothing": label_smoothing,
            "max_pairs": max_pairs, "learning_rate": learning_rate, "weight_decay": weight_decay, "epochs": epochs,
            "batch": batch, "patience": patience, "choose_by": choose_by, "seed": seed,
        }  # fmt: skip
        super().__init__(apart(encoder) if scales == "prompt" and prompt_width is None else encoder, settings)
        self.layers: Layers = []
        self.router = np.zeros((0, 0))
        self.columns = np.zeros(0, dtype=np.int64)
        self.pooled = np.zeros(0)

    # ------------------------------------------------------------------ fitting

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        """Fit embeddings (and the scales' router) to the comparisons, stopping by the held-out ones."""
        import torch

        from guerdon.reward.learned.networks import Schedule, negative_log_likelihood, train

        s, x = self.settings, _unit(data.x)
        n, d = x.shape
        fitting = self._compile(data.train)
        held = None if data.held is None or not len(data.held.pairs(ties=True)) else self._compile(data.held)
        by_prompt = s["scales"] == "prompt"
        self.columns = np.zeros(0, dtype=np.int64)
        if by_prompt:
            self.columns = prompt_columns(self.open_encoder(), d, s["prompt_width"])
        net = self._network(d)
        router = torch.zeros(len(self.columns), s["dim"] // 2, requires_grad=True)
        features = torch.as_tensor(x, dtype=torch.float32)
        theta = torch.zeros(0, dtype=torch.float64, requires_grad=True)

        def embed(rows: np.ndarray) -> torch.Tensor:
            h = features[torch.as_tensor(rows)]
            v = net(h)
            if s["normalize"]:
                v = torch.nn.functional.normalize(v, dim=1)
            if by_prompt:
                scale = (s["dim"] // 2) * torch.softmax(h[:, self.columns] @ router, dim=1)
                v = v * scale.sqrt().repeat_interleave(2, dim=1)
            return v / self.tau**0.5

        def loss(index: np.ndarray) -> torch.Tensor:
            batch = fitting.take(index)
            rows = np.unique(batch.members()[0])
            batch = batch.over(rows)
            return negative_log_likelihood(embed(rows), theta, batch, np.arange(len(rows)), len(rows))

        def held_loss() -> float:
            return (held or fitting)(embed(np.arange(n)).double().numpy(), np.zeros(0))[0]

        schedule = Schedule(
            s["learning_rate"], s["weight_decay"], s["epochs"], s["batch"], s["patience"], seed=s["seed"]
        )
        parameters = [*net.parameters(), *([router] if by_prompt else [])]
        course = train(
            parameters, loss, len(fitting), schedule, held=held_loss if held is not None else None, progress=progress
        )
        self.layers = layers_of(net)
        self.router = router.detach().double().numpy()
        rows = np.random.default_rng(s["seed"]).permutation(data.train.used)
        some = self._embed(data.x[rows[: max(s["pool"], 200)]])
        self.pooled = some.v[: s["pool"]].mean(0) if s["pool"] else np.zeros(0)
        return {
            "data": len(fitting),
            "dim": s["dim"],
            "tau": self.tau,
            "epochs": course.best + 1,
            "cyclic_share": round(cyclic_share(some.take(np.arange(min(len(rows), 200))).table()), 4),
        }

    def _network(self, d: int) -> Any:
        """The embedding network, its last layer drawn so that embeddings of different candidates start apart."""
        import torch

        from guerdon.reward.learned.networks import mlp

        s = self.settings
        generator = torch.Generator().manual_seed(s["seed"])
        widths = [d, *([s["hidden"]] if s["hidden"] else []), s["dim"]]
        net: Any = mlp(widths, generator)
        with torch.no_grad():
            net[-1].weight.normal_(0, (widths[-2] + 1) ** -0.5, generator=generator)
            net[-1].bias.normal_(0, (widths[-2] + 1) ** -0.5, generator=generator)
        return net

    def _compile(self, feedback: Feedback) -> SkewSymmetric:
        pairs = feedback.pairs(max_per_person=self.settings["max_pairs"], seed=self.settings["seed"])
        if not len(pairs):
            raise FeedbackError("this feedback implies no comparisons, which general preference is about")
        return SkewSymmetric(pairs, len(feedback.responses), 0.0, self.settings["label_smoothing"])

    # ------------------------------------------------------------------ embedding

    def _embed(self, x: np.ndarray) -> Embedded:
        """Embeddings of scaled features x [n, d]."""
        if not self.layers:
            raise ModelError("this reward is not fitted yet; call fit(feedback) first")
        x = _unit(x)
        v = output(self.layers, x)
        if self.settings["normalize"]:
            v = v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12)
        k = self.settings["dim"] // 2
        scales = np.ones((len(x), k))
        if len(self.columns):
            scales = k * softmax(x[:, self.columns] @ self.router, axis=1)
        return Embedded(v, scales / self.tau)

    def embed(self, candidates: Candidates) -> Embedded:
        """Embeddings and scales of candidates, each encoded once."""
        if not len(candidates):
            return Embedded(np.zeros((0, self.settings["dim"])), np.zeros((0, self.settings["dim"] // 2)))
        return self._embed(self.x(candidates))

    # ------------------------------------------------------------------ saving

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            **to_arrays(self.layers, "embedding"),
            "router": self.router,
            "columns": self.columns,
            "pool": self.pooled,
            **self.features.arrays(),
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.layers = from_arrays(arrays, "embedding")
        if not self.layers or self.layers[-1][0].shape[0] != self.settings["dim"]:
            raise ModelError("config.json and model.safetensors differ in dim; the model was changed after saving")
        self.router, self.columns, self.pooled = arrays["router"], arrays["columns"], arrays["pool"]
        self.features.restore(arrays)


def _unit(x: np.ndarray) -> np.ndarray:
    """Scaled features [n, d] with unit variance each."""
    return x * np.sqrt(x.shape[1])

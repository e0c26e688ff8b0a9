"""A sparse autoencoder between frozen features and a linear head: a score is a sum of a few named features.

TopK autoencoder, on features x standardised over the training texts: ``p = W_enc (x - b_pre) + b_lat``; the k largest
of p are kept as they are (no ReLU), the rest is zero: z; ``x' = W_dec z + b_pre`` with columns of W_dec of length 1.
Loss: mean of |x' - x|^2 / |x|^2 (NMSE), plus a term in which latents that have not fired lately (dead) rebuild what is
missing, so that they come alive again. The reward is ``score = z . w`` without a bias, fitted by a ridge penalty.

So each candidate's score is the sum of at most k contributions z_i w_i (:meth:`SparseReward.explain`), and can be
edited: ``edit({12: ("*", 0.0)})`` is the reward without feature 12. Directions that overlap in x (superposition) become
separate latents, which a linear head on x cannot tell apart.

Standardise before you train it, and read features off the head that scores: a head on all pre-activations
(``topk=False``, what the paper's released recipe trains) is not sparse, however sparse the autoencoder is.

References: Zhang et al. (2025), Interpretable Reward Model via Sparse Autoencoder, https://arxiv.org/abs/2508.08746;
Gao et al. (2024), Scaling and Evaluating Sparse Autoencoders, https://arxiv.org/abs/2406.04093 (TopK, dead latents).
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Mapping, Sequence
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
from guerdon.reward.learned.likelihood import compile_likelihood

DEAD_AFTER = 2
"""Passes over the data without firing after which a latent counts as dead."""
REVIVE = 1 / 32
"""Weight of the dead latents' loss."""
CHUNK = 4096
"""Rows encoded at once: pre-activations are dense."""


class SparseAutoencoder:
    """A TopK autoencoder of standardised features [n, d] with ``latent`` latents, ``k`` of them active."""

    def __init__(self, latent: int, k: int) -> None:
        if not 1 <= k <= latent:
            raise ConfigError(f"k={k}: keep between 1 and all {latent} latents")
        self.latent, self.k = latent, k
        self.encode, self.decode = np.zeros((latent, 0), np.float32), np.zeros((0, latent), np.float32)
        self.shift, self.centre = np.zeros(latent, np.float32), np.zeros(0, np.float32)

    def fit(
        self,
        x: np.ndarray,
        *,
        epochs: int = 20,
        learning_rate: float = 3e-3,
        batch: int = 512,
        seed: int = 0,
        progress: bool = False,
    ) -> dict[str, float]:
        """Train on x [n, d]; returns ``nmse`` and ``dead`` (share of latents that fire nowhere in x)."""
        import torch

        from guerdon.reward.learned.networks import Schedule, train

        data = torch.as_tensor(x, dtype=torch.float32)
        generator = torch.Generator().manual_seed(seed)
        decode = torch.nn.functional.normalize(torch.randn(x.shape[1], self.latent, generator=generator), dim=0)
        encode = decode.T.contiguous().clone()
        shift, centre = torch.zeros(self.latent), data.mean(0)
        parameters = [encode, decode, shift, centre]
        for p in parameters:
            p.requires_grad_()
        idle = torch.zeros(self.latent)  # data seen since each latent last fired
        revived = min(self.latent // 2, max(1, x.shape[1] // 2))

        def loss(rows: np.ndarray) -> torch.Tensor:
            xs = data[torch.as_tensor(rows)]
            columns = torch.nn.functional.normalize(decode, dim=0)
            pre = (xs - centre) @ encode.T + shift
            top, index = pre.topk(self.k, dim=1)
            z = torch.zeros_like(pre).scatter(1, index, top)
            missing = xs - centre - z @ columns.T
            norm = xs.square().sum(1).clamp(min=1e-6)
            total = (missing.square().sum(1) / norm).mean()
            fired = torch.zeros(self.latent, dtype=torch.bool)
            fired[index.reshape(-1)] = True
            idle.add_(len(rows)).masked_fill_(fired, 0)
            dead = idle > DEAD_AFTER * len(data)
            if dead.any():
                few = min(revived, int(dead.sum()))
                value, at = pre.masked_fill(~dead, -torch.inf).topk(few, dim=1)
                spare = torch.zeros_like(pre).scatter(1, at, value)
                again = (missing.detach() - spare @ columns.T).square().sum(1)
                total = total + REVIVE * (again / missing.detach().square().sum(1).clamp(min=1e-6)).mean()
            return total

        schedule = Schedule(learning_rate, 0.0, epochs, batch, None, seed=seed)
        train(parameters, loss, len(data), schedule, progress=progress)
        with torch.no_grad():
            decode = torch.nn.functional.normalize(decode, dim=0)
        self.encode, self.decode, self.shift, self.centre = (
            p.detach().numpy().copy() for p in (encode, decode, shift, centre)
        )
        return self.report(x)

    def preactivations(self, x: np.ndarray) -> np.ndarray:
        """float32 [n, latent] before the k largest are chosen."""
        return (np.asarray(x, np.float32) - self.centre) @ self.encode.T + self.shift

    def __call__(self, x: np.ndarray, *, topk: bool = True) -> sparse.csr_matrix:
        """float64 sparse [n, latent] activations of x [n, d]; all pre-activations with ``topk=False``."""
        parts = []
        for start in range(0, len(x), CHUNK):
            p = self.preactivations(x[start : start + CHUNK]).astype(np.float64)
            if topk and self.k < self.latent:
                keep = np.argpartition(-p, self.k - 1, axis=1)[:, : self.k]
                z = np.zeros_like(p)
                np.put_along_axis(z, keep, np.take_along_axis(p, keep, 1), 1)
                p = z
            parts.append(sparse.csr_matrix(p))
        return sparse.csr_matrix(sparse.vstack(parts)) if parts else sparse.csr_matrix((0, self.latent))

    def report(self, x: np.ndarray) -> dict[str, float]:
        """``nmse`` (mean of |x' - x|^2 / |x|^2) and ``dead`` (share of latents that never fire) on x [n, d]."""
        z = self(x)
        rebuilt = z @ self.decode.T.astype(np.float64) + self.centre
        nmse = np.sum((rebuilt - x) ** 2, 1) / np.maximum(np.sum(x**2, 1), 1e-6)
        return {"nmse": float(nmse.mean()), "dead": float(np.mean(np.bincount(z.indices, minlength=self.latent) == 0))}

    @property
    def digest(self) -> str:
        """16 hex digits that name these weights: attributions are worth nothing under another autoencoder."""
        found = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in self.arrays().values()))
        return found.hexdigest()[:16]

    def arrays(self) -> dict[str, np.ndarray]:
        """Learned arrays by name."""
        return {"encode": self.encode, "decode": self.decode, "shift": self.shift, "centre": self.centre}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take learned arrays back."""
        self.encode, self.decode, self.shift, self.centre = (arrays[k] for k in ("encode", "decode", "shift", "centre"))


class _KeptScaling(FeatureScaling):
    """Fitted once: an autoencoder trained before the feedback came keeps reading features as it learned to."""

    def fit(self, x: np.ndarray) -> None:
        if not len(self.mean):
            super().fit(x)


class SparseReward(FeatureReward):
    """A linear reward on the latents of a TopK sparse autoencoder of frozen features; it explains and edits itself.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    latent : latents of the autoencoder; null is 4 a feature
    k : how many latents are active at once
    topk : whether the head reads the k active latents (interpretable) or all pre-activations (the released recipe)
    likelihood : bradley-terry, plackett-luce, classification or regression
    l2 : ridge penalty of the head, or auto (chosen on held-out prompts)
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
        super().__init__(encoder, settings)
        self.features = _KeptScaling()
        self.sae: SparseAutoencoder | None = None
        self.trained_on = ""
        self.told: dict[str, float] = {}
        self.weight = np.zeros(0)
        self.edits: dict[int, tuple[str, float]] = {}

    # ------------------------------------------------------------------ fitting

    def pretrain(self, texts: Candidates | np.ndarray, *, progress: bool = False) -> Self:
        """Train the autoencoder on unlabelled candidates (or their raw features [n, d]) before :meth:`fit`."""
        raw = texts if isinstance(texts, np.ndarray) else self.open_encoder().encode(texts, progress=progress)
        if np.isnan(raw).any():
            row = int(np.flatnonzero(np.isnan(raw).any(1))[0])
            raise FeedbackError(f"text {row} has no features: leave it out of the autoencoder's texts")
        self.features = _KeptScaling()
        self.features.fit(raw)
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

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        """Train the autoencoder unless it is trained already, then the head on its latents."""
        s = self.settings
        if self.sae is None:
            self._train(data.x[data.feedback.used], progress)
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
        self.weight, self.edits = head.weight, {}
        assert self.sae is not None
        return {"data": len(train), "l2": head.chosen_l2, **self.told, "autoencoder": self.sae.digest}

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

    def explain(self, candidates: Candidates) -> dict[str, Sequence[Any]]:
        """Contributions [n] to the scores, by ``feature 12``, largest first; together they are the score."""
        part = self.contributions(candidates)
        size = np.asarray(abs(part).sum(0)).ravel()
        order = [int(i) for i in np.argsort(-size, kind="stable") if size[i] > 0]
        return {f"feature {i}": part[:, [i]].toarray().ravel().tolist() for i in order}

    def contributions(self, candidates: Candidates) -> sparse.csr_matrix:
        """float64 sparse [n, latent] activation x weight; rows sum to the scores."""
        z = self.latents(self.x(candidates))
        z.data *= self.weight[z.indices]
        return z

    def attribute(self, candidates: Candidates, top: int | None = None) -> list[list[tuple[int, float, float]]]:
        """For each candidate its (feature, activation, contribution), largest contribution first."""
        z: Any = self.latents(self.x(candidates))
        found = []
        for row in range(len(candidates)):
            at = slice(z.indptr[row], z.indptr[row + 1])
            rows = [
                (int(i), float(v), float(v * self.weight[i])) for i, v in zip(z.indices[at], z.data[at], strict=True)
            ]
            found.append(sorted(rows, key=lambda r: -abs(r[2]))[:top])
        return found

    def contexts(self, feature: int, candidates: Candidates, *, count: int = 40, threshold: float = 0.0) -> np.ndarray:
        """int64 indices of the candidates in which a feature is strongest, above ``threshold``: what to name it by."""
        value = self.latents(self.x(candidates))[:, [self._known(feature)]].toarray().ravel()
        order = np.argsort(-value, kind="stable")[:count]
        return order[value[order] > threshold]

    def gap(self, feedback: Feedback) -> np.ndarray:
        """float64 [latent] mean contribution to preferred minus dispreferred responses: what decides these pairs."""
        q = feedback.pairs(ties=False)
        used = feedback.used
        part = self.contributions(feedback.candidates.take(used))
        at = np.searchsorted(used, np.where(q.p > 0.5, (q.a, q.b), (q.b, q.a)))
        return np.asarray((part[at[0]] - part[at[1]]).mean(0)).ravel()

    # ------------------------------------------------------------------ editing

    def edit(self, edits: Mapping[int, tuple[str, float]]) -> Self:
        """A copy whose active features are changed: ``{12: ("*", 0.0)}`` silences, ``{7: ("+", 1.0)}`` adds.

        Edits add to earlier ones; of one feature the last counts. Latents that overlap with the one you mean go on.
        """
        for feature, (how, value) in edits.items():
            if how not in ("*", "+") or not np.isfinite(value):
                raise ConfigError(
                    f"edit of feature {feature}: give ('*', number) or ('+', number), not {how!r}, {value}"
                )
            if abs(self.weight[self._known(feature)]) < 1e-8:
                warnings.warn(f"feature {feature} has no weight in the score; editing it changes nothing", stacklevel=2)
        edited = copy.copy(self)
        edited.edits = {**self.edits, **{int(i): (how, float(v)) for i, (how, v) in edits.items()}}
        return edited

    def _known(self, feature: int) -> int:
        if not 0 <= int(feature) < len(self.weight):
            raise ConfigError(f"no feature {feature}: this reward has {len(self.weight)}, numbered from 0")
        return int(feature)

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

"""A TopK sparse autoencoder: many more latents than dimensions, of which few are active in any one state.

``p = W_enc (x - b_pre) + b_lat``; the k largest of p are kept as they are (no ReLU), the rest is zero: z;
``x' = W_dec z + b_pre`` with columns of W_dec of length 1. Loss: mean of |x' - x|^2 / |x|^2 (NMSE), plus a term in
which latents that have not fired lately (dead) rebuild what is missing, so that they come alive again. Directions that
overlap in x (superposition) become separate latents. Standardise x before.

References: Gao et al. (2024), Scaling and Evaluating Sparse Autoencoders, https://arxiv.org/abs/2406.04093.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from scipy import sparse

from guerdon.errors import ConfigError

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

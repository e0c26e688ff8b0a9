"""A sparse autoencoder as the head of a language model, and the loss that keeps it faithful while the model moves.

The state h of a token is standardised over its own dimensions, x = (h - mean) / (sd + 1e-6), the TopK latents z of x
(:mod:`guerdon.reward.learned.sparse_autoencoder`) give the score z . w without a bias, w = 0 at the start. The
reconstruction loss is the mean over the response's tokens of |x' - x|^2 / |x|^2. Columns of the decoder count by their
direction alone (they are scaled to length 1 where they are used), so training them never moves the score.

``detached``: the preference loss passes through the encoder into the language model but does not train the encoder, and
the reconstruction loss trains the autoencoder on states that it does not move.

Reference: Zhang et al. (2025), Interpretable Reward Model via Sparse Autoencoder, https://arxiv.org/abs/2508.08746.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from guerdon.encode.prefix import Batch
from guerdon.errors import ConfigError
from guerdon.reward.learned.likelihood import Likelihood
from guerdon.reward.learned.minibatches import Texts
from guerdon.reward.learned.readout import LastToken
from guerdon.reward.learned.regularizers import LanguageRegularizer
from guerdon.reward.learned.sparse_autoencoder import SparseAutoencoder

NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm")
"""What transformers calls the normalisation after a decoder's last layer."""


class SparseHead(nn.Module):
    """[n, d] states -> [n, 1] scores, by ``latent`` latents of which ``k`` are active."""

    factor: Tensor
    offset: Tensor

    def __init__(self, d: int, latent: int, k: int, *, topk: bool = True, detached: bool = False) -> None:
        super().__init__()
        self.k, self.topk, self.detached = k, topk, detached
        self.encode, self.decode = nn.Parameter(torch.zeros(latent, d)), nn.Parameter(torch.zeros(d, latent))
        self.shift, self.centre = nn.Parameter(torch.zeros(latent)), nn.Parameter(torch.zeros(d))
        self.score = nn.Linear(latent, 1, bias=False)
        nn.init.zeros_(self.score.weight)
        self.register_buffer("factor", torch.ones(latent))  # edits of active latents: z * factor + offset
        self.register_buffer("offset", torch.zeros(latent))

    def extra_repr(self) -> str:  # tells checkpoints of one kind of head from those of another
        return f"latent={len(self.shift)}, k={self.k}, topk={self.topk}, detached={self.detached}"

    def forward(self, h: Tensor) -> Tensor:
        return self.score(self.latents(h))

    def latents(self, h: Tensor) -> Tensor:
        """[n, latent] edited activations of states; every pre-activation without ``topk``."""
        own = (self.encode, self.shift, self.centre)
        encode, shift, centre = (p.detach() for p in own) if self.detached else own
        pre = (standardised(h) - centre) @ encode.T + shift
        if not self.topk:
            return pre * self.factor + self.offset
        top, index = pre.topk(self.k, dim=1)
        return torch.zeros_like(pre).scatter(1, index, top * self.factor[index] + self.offset[index])

    def nmse(self, h: Tensor) -> Tensor:
        """[n] |x' - x|^2 / |x|^2 of states h [n, d]; edits play no part."""
        x = standardised(h.detach() if self.detached else h)
        top, index = ((x - self.centre) @ self.encode.T + self.shift).topk(self.k, dim=1)
        columns = nn.functional.normalize(self.decode, dim=0)
        z = torch.zeros(len(x), len(self.shift), dtype=x.dtype, device=x.device).scatter(1, index, top)
        return (z @ columns.T + self.centre - x).square().sum(1) / x.square().sum(1).clamp(min=1e-6)

    def take(self, sae: SparseAutoencoder) -> None:
        """Use the weights of a trained autoencoder."""
        with torch.no_grad():
            for name, array in sae.arrays().items():
                getattr(self, name).copy_(torch.as_tensor(array))

    def autoencoder(self) -> SparseAutoencoder:
        """The autoencoder as it is now."""
        sae = SparseAutoencoder(len(self.shift), self.k)
        columns = nn.functional.normalize(self.decode.detach(), dim=0)
        arrays = {"encode": self.encode, "decode": columns, "shift": self.shift, "centre": self.centre}
        sae.restore({name: p.detach().float().cpu().numpy().copy() for name, p in arrays.items()})
        return sae


def standardised(h: Tensor) -> Tensor:
    """Each row of h [n, d] to mean 0 and standard deviation 1 over its own dimensions."""
    h = h.float()
    return (h - h.mean(1, keepdim=True)) / (h.std(1, keepdim=True, correction=0) + 1e-6)


@dataclass(frozen=True)
class Reconstruction(LanguageRegularizer):
    """The reconstruction loss in the place of a text loss; ``head`` is a :class:`SparseHead`."""

    def run(self, readout: LastToken, sequences: list[np.ndarray], starts: np.ndarray, batch: Batch) -> Any:
        """(values [n], [n, 2] the sum of errors over each response's tokens and their number) of one pass."""
        assert isinstance(self.head, SparseHead)
        ends, inner = readout.decoder.states(sequences, batch, starts + 1)
        counts = response_tokens(sequences, starts, batch)
        text = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(ends.device)
        errors = self.head.nmse(ends).index_add(0, text, self.head.nmse(inner))
        return readout.head(ends)[:, readout.label].float(), torch.stack(
            [errors, torch.as_tensor(counts + 1).to(errors)], 1
        )

    def mean(self, data: Likelihood, used: np.ndarray, texts: Texts, ell: Tensor) -> Tensor:
        """Mean error over all tokens of responses."""
        return ell[:, 0].sum() / ell[:, 1].sum()


def response_tokens(sequences: list[np.ndarray], starts: np.ndarray, batch: Batch) -> np.ndarray:
    """int64 [n of the batch] tokens of each response before its last one."""
    return np.array([max(len(sequences[row]) - int(starts[row]) - 1, 0) for row in batch.rows], dtype=np.int64)


def truncate(base: Any, layer: int) -> None:
    """Cut a decoder after ``layer`` of its layers, in place, and leave out its last normalisation.

    Raises
    ------
    ConfigError
        if it has fewer layers, or is not built of one list of them
    """
    config = base.config.get_text_config()
    depth = config.num_hidden_layers
    if not 1 <= layer <= depth:
        raise ConfigError(f"layer={layer}: this backbone has {depth} layers; use 1 to {depth}")
    stacks = [n for n, m in base.named_children() if isinstance(m, nn.ModuleList) and len(m) == depth]
    norms = [n for n in NORMS if hasattr(base, n)]
    if len(stacks) != 1 or len(norms) != 1:
        raise ConfigError("this backbone cannot be cut after a layer: it is not one stack of layers and a last norm")
    setattr(base, stacks[0], getattr(base, stacks[0])[:layer])
    setattr(base, norms[0], nn.Identity())
    config.num_hidden_layers = layer
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layer]

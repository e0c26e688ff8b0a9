"""The head that makes preference embeddings of a transformer's states, and its start on frozen states.

    v = W h(last token) + b, of length 1 if ``normalize``
    lambda(x) = k softmax(G h(prompt's last token) / sqrt(d) + g)

W [2k, d], G [k, d]; lambda weighs the blocks of the form (:mod:`guerdon.reward.learned.preference_embeddings`). What
the head gives for training is v sqrt(lambda / tau), of which the skew-symmetric likelihood is a function. The biases
are an addition to the paper's head: they take up the mean of the states, so that a head may start at one fitted to
standardised states.

Reference: Zhang et al. 2024, https://arxiv.org/abs/2410.02197 (start of W: normal with variance 1 / (d + 1)).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from guerdon.reward.learned.features import FeatureScaling
from guerdon.reward.learned.likelihood import Likelihood
from guerdon.reward.learned.minibatches import members
from guerdon.reward.learned.networks import Schedule, negative_log_likelihood, train


class PreferenceHead(nn.Module):
    """States [n, d], or [n, 2 d] with the prompt's state behind where there is a ``gate``, to [n, 2k].

    Parameters
    ----------
    d : hidden width
    dim : 2k, even
    normalize : whether embeddings have length 1
    tau : temperature, > 0
    gate : whether the prompt weighs the blocks
    seed : seeds the start of the embedding; the gate starts with equal weights
    """

    pooled: Tensor
    """float32 [2k] mean embedding of a pool of opponents; NaN where none is kept. Saved with the weights."""

    def __init__(self, d: int, dim: int, *, normalize: bool, tau: float, gate: bool, seed: int) -> None:
        super().__init__()
        self.d, self.normalize, self.tau = d, normalize, tau
        self.embedding, self.gate = _linear(d, dim), _linear(d, dim // 2) if gate else None
        with torch.no_grad():
            generator = torch.Generator().manual_seed(seed)
            self.embedding.weight.normal_(0, (d + 1) ** -0.5, generator=generator)
        self.register_buffer("pooled", torch.full((dim,), torch.nan))

    def parts(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(v [n, 2k], lambda [n, k])."""
        v = self.embedding(hidden[:, : self.d])
        if self.normalize:
            v = nn.functional.normalize(v, dim=1)
        if self.gate is None:
            return v, v.new_ones(len(v), v.shape[1] // 2)
        logits = self.gate(hidden[:, self.d :] / self.d**0.5)
        return v, logits.shape[1] * torch.softmax(logits, dim=1)

    def forward(self, hidden: Tensor) -> Tensor:
        """[n, 2k] v sqrt(lambda / tau), whose form is the log-odds."""
        v, scales = self.parts(hidden)
        return v * (scales / self.tau).sqrt().repeat_interleave(2, dim=1)


def _linear(d: int, n: int) -> nn.Linear:
    """A layer of zeros; torch's global generator stays untouched."""
    layer: Any = nn.utils.skip_init(nn.Linear, d, n)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    return layer


def fit_preference_head(
    head: PreferenceHead, states: np.ndarray, data: Likelihood, held: Likelihood | None, fitting: np.ndarray, seed: int
) -> None:
    """Train ``head`` on frozen ``states`` [n, d or 2 d] of the candidates of ``data``, in the loop of networks.

    The states are standardised by those of the rows ``fitting``; that goes into the head's weights at the end.
    """
    scaling = FeatureScaling()
    scaling.fit(states[fitting])
    unit = torch.as_tensor(scaling.scale * np.sqrt(states.shape[1]))  # features of standard deviation 1
    mean = torch.as_tensor(scaling.mean)
    x = ((torch.as_tensor(states, dtype=torch.float64) - mean) * unit).float()
    if head.gate is not None:
        x[:, head.d :] *= head.d**0.5  # the head divides it again
    device, dtype = head.embedding.weight.device, head.embedding.weight.dtype
    head.float().cpu().requires_grad_(True)
    theta = torch.tensor(data.theta0, dtype=torch.float64, requires_grad=True)

    def loss(index: np.ndarray) -> Tensor:
        part = data.take(index)
        rows = np.unique(members(part)[0])
        return negative_log_likelihood(head(x[torch.from_numpy(rows)]), theta, part, rows, len(x))

    def held_loss() -> float:
        return (held or data)(head(x).double().numpy(), theta.detach().numpy())[0]

    schedule = Schedule(1e-2, patience=None if held is None else 6, epochs=40, seed=seed, batch=64)
    train([*head.parameters()], loss, len(data), schedule, held=held_loss)
    layers = [(head.embedding, slice(None, head.d), 1.0)]
    if head.gate is not None:
        layers.append((head.gate, slice(head.d, None), head.d**0.5))
    with torch.no_grad():
        for layer, part, factor in layers:  # G (x - m) u sqrt(d) / sqrt(d) is G' x / sqrt(d) + g'
            weight = layer.weight.double() * unit[part] * factor
            layer.bias.sub_((weight @ mean[part] / factor).float())
            layer.weight.copy_(weight)
    head.requires_grad_(False).to(device, dtype)

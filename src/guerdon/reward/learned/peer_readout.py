"""Two sets of low-rank adapters on one transformer, switched where it runs: two models for the memory of one.

Every linear layer of the base gets a hook that adds (alpha / r) B_j A_j x of the peer j that is active; the base itself
stays as it is, so with nobody active it is the reference. The adapters live in the head, beside what each peer reads
its utility by: a linear head on the state, or (``PolicyPeers``) the likelihood of the response,
u_j = beta (log p_j(response | prompt) - log p_base(response | prompt)), the implicit reward of DPO.

References: LoRA, Hu et al. 2021, https://arxiv.org/abs/2106.09685; Rafailov et al. 2023,
https://arxiv.org/abs/2305.18290 (implicit rewards); Zhang et al. 2025, https://arxiv.org/abs/2505.10597 (two peers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from guerdon.encode.prefix import Batch
from guerdon.errors import ConfigError
from guerdon.reward.learned.readout import LastToken, MeanPool
from guerdon.reward.learned.regularizers import loglikelihood

PEERS = 2


class PeerHead(nn.Module):
    """Adapters and linear heads of both peers; ``active`` says whose are used, None whose base alone is run.

    ``share`` [2] is how much each counts in the score.
    """

    share: Tensor

    def __init__(self, base: Any, d: int, rank: int, alpha: float, seeds: Sequence[int]) -> None:
        super().__init__()
        from transformers.pytorch_utils import Conv1D

        layers = {n: m for n, m in base.named_modules() if type(m) in (nn.Linear, Conv1D)}
        if not layers:
            raise ConfigError("this backbone has no linear layers to adapt")
        self.active: int | None = None
        self.scale = alpha / rank
        self.heads = nn.ModuleList(nn.Linear(d, 1) for _ in seeds)
        self.a, self.b = nn.ModuleList(), nn.ModuleList()
        self.register_buffer("share", torch.full((len(seeds),), 1 / len(seeds)))
        for head, seed in zip(self.heads, seeds, strict=True):
            assert isinstance(head, nn.Linear)
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
            generator = torch.Generator().manual_seed(seed)
            a, b = nn.ParameterDict(), nn.ParameterDict()
            for name, layer in layers.items():
                rows, columns = layer.weight.shape if isinstance(layer, nn.Linear) else layer.weight.shape[::-1]
                bound = columns**-0.5
                drawn = torch.empty(rank, columns).uniform_(-bound, bound, generator=generator)
                a[_key(name)], b[_key(name)] = nn.Parameter(drawn), nn.Parameter(torch.zeros(rows, rank))
            self.a.append(a)
            self.b.append(b)
        for name, layer in layers.items():
            layer.register_forward_hook(self._hook(_key(name)))

    def _hook(self, key: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
        def added(layer: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
            if self.active is None:
                return None
            a: Any = self.a[self.active]
            b: Any = self.b[self.active]
            return out + self.scale * ((inputs[0].to(a[key].dtype) @ a[key].T) @ b[key].T).to(out.dtype)

        return added

    def forward(self, h: Tensor) -> Tensor:
        return self.heads[self.active or 0](h)

    @contextmanager
    def peer(self, index: int | None) -> Iterator[None]:
        """Run the base under the adapters of peer ``index``."""
        before, self.active = self.active, index
        try:
            yield
        finally:
            self.active = before


def _key(name: str) -> str:
    return name.replace(".", "/")


class LastTokenPeers(LastToken):
    """[n, 2] utilities at the last token, each peer under its own adapters; decoders."""

    def values(self, sequences: Sequence[np.ndarray], types: Sequence[np.ndarray] | None, batch: Batch) -> Tensor:
        assert isinstance(self.head, PeerHead)
        out = []
        for j in range(PEERS):
            with self.head.peer(j):
                out.append(super().values(sequences, types, batch))
        return torch.stack(out, 1)


class MeanPoolPeers(MeanPool):
    """[n, 2] utilities from the mean of all tokens, each peer under its own adapters; bidirectional encoders."""

    def values(self, sequences: Sequence[np.ndarray], types: Sequence[np.ndarray] | None, batch: Batch) -> Tensor:
        assert isinstance(self.head, PeerHead)
        out = []
        for j in range(PEERS):
            with self.head.peer(j):
                out.append(super().values(sequences, types, batch))
        return torch.stack(out, 1)


class PolicyPeers(LastToken):
    """[n, 2] implicit utilities beta log (p_j / p_base) of the response's tokens; types 0 prompt, 1 response."""

    def __init__(self, decoder: Any, head: PeerHead, writes: nn.Module, beta: float) -> None:
        super().__init__(decoder, head)
        self.writes, self.beta = writes, beta

    def values(self, sequences: Sequence[np.ndarray], types: Sequence[np.ndarray] | None, batch: Batch) -> Tensor:
        assert isinstance(self.head, PeerHead)
        assert types is not None
        starts = np.array([int((t == 0).sum()) for t in types], dtype=np.int64)
        with torch.no_grad():
            base = self._loglikelihood(sequences, starts, batch, None)
        own = [self._loglikelihood(sequences, starts, batch, j) for j in range(PEERS)]
        return self.beta * torch.stack([ell - base for ell in own], 1)

    def _loglikelihood(
        self, sequences: Sequence[np.ndarray], starts: np.ndarray, batch: Batch, peer: int | None
    ) -> Tensor:
        assert isinstance(self.head, PeerHead)
        with self.head.peer(peer):
            before = self.decoder.states(sequences, batch, starts)[1]
        targets = [sequences[row][max(int(starts[row]), 1) :] for row in batch.rows]
        return loglikelihood(self.writes, before, targets)

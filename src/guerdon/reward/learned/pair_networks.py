"""What rewards trained on noisy pairs share: small networks on standardised features, the pairs, scoring and saving.

A :class:`Scorer` is an MLP with its last hidden layer in reach (contrastive losses read it). A
:class:`PairNetworkReward` holds one or more of them; its score is their mean, its ``std`` their spread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.base import Scores
from guerdon.reward.learned.fitted import FeatureReward
from guerdon.reward.learned.heads import MLPHead
from guerdon.reward.learned.likelihood import BradleyTerry
from guerdon.reward.learned.networks import Schedule, mlp

SMALLEST_BATCH = 16
"""Pairs a batch needs where it is ranked: the lowest tenth of fewer is no pair at all."""


class Scorer(torch.nn.Module):
    """d -> hidden -> ... -> 1 with GELU and dropout, all randomness from a generator of its own."""

    def __init__(self, d: int, hidden: int | list[int], *, dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)
        widths = [hidden] if isinstance(hidden, int) else list(hidden)
        self.net, self.dropout = mlp([d, *widths, 1], self.generator), dropout

    def features(self, x: Tensor) -> Tensor:
        """[n, width] the last hidden layer of x [n, d]; with dropout, each call sees it anew."""
        for module in list(self.net)[:-1]:
            x = module(x)
            if self.dropout and self.training and isinstance(module, torch.nn.GELU):
                keep = torch.rand(x.shape, generator=self.generator) >= self.dropout
                x = x * keep / (1 - self.dropout)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """[n] scores of x [n, d]."""
        return self.net[-1](self.features(x))[:, 0]

    def layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weights and biases, as :class:`~guerdon.reward.learned.heads.MLPHead` keeps them."""
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for m in self.net:
            if isinstance(m, torch.nn.Linear):
                found.append((m.weight.detach().numpy().copy(), m.bias.detach().numpy().copy()))
        return found


class PairNetworkReward(FeatureReward):
    """A reward whose score is the mean of one or more small networks, trained on pairs. Subclasses ``learn``."""

    def __init__(self, encoder: str | Encoder, settings: dict[str, Any]) -> None:
        for name in ("noise", "dropout"):
            top = 0.5 if name == "noise" else 1.0
            if not 0 <= settings[name] < top:
                why = "; from a half on the labels say nothing about what most people prefer" if name == "noise" else ""
                raise ConfigError(f"{name}={settings[name]}: use a share in [0, {top:g}){why}")
        if settings["epochs"] < 1 or settings["batch"] < 1:
            raise ConfigError(f"epochs={settings['epochs']}, batch={settings['batch']}: use at least 1")
        super().__init__(encoder, settings)
        self.heads: list[MLPHead] = []

    def pairs(self, feedback: Feedback) -> Pairs:
        """The comparisons of ``feedback``; ties are soft labels of a half, or dropped with ``ties=drop``."""
        pairs = feedback.pairs(
            ties=self.settings["ties"] != "drop", max_per_person=self.settings["max_pairs"], seed=self.settings["seed"]
        )
        if not len(pairs):
            raise FeedbackError(f"this feedback implies no comparisons; {self.name} learns from comparisons only")
        return pairs

    def compile(self, feedback: Feedback) -> BradleyTerry:
        """Bradley-Terry on the comparisons of ``feedback``."""
        return BradleyTerry(self.pairs(feedback), len(feedback.responses), self.settings["margin"])

    def schedule(self, *, patience: int | None, keep_best: bool) -> Schedule:
        """The knobs of the training loop: a constant step, as in the papers that study label noise."""
        s = self.settings
        names = ("learning_rate", "weight_decay", "epochs", "batch", "seed")
        return Schedule(patience=patience, decay=False, keep_best=keep_best, **{name: s[name] for name in names})

    def scorer(self, d: int, seed: int) -> Scorer:
        """A fresh network on d features."""
        return Scorer(d, self.settings["hidden"], dropout=self.settings["dropout"], seed=seed)

    def inputs(self, x: np.ndarray) -> Tensor:
        """float32 [n, d] what the networks see of scaled features: unit variance instead of unit length."""
        return torch.as_tensor(x * np.sqrt(x.shape[1]), dtype=torch.float32)

    def keep(self, scorers: list[Scorer]) -> None:
        """Score with ``scorers`` from now on."""
        self.heads = []
        for scorer in scorers:
            head = MLPHead(hidden=self.settings["hidden"])
            head.layers = scorer.layers()
            self.heads.append(head)

    def scorers(self) -> list[Scorer]:
        """The networks as they are now, to learn on from."""
        out = []
        for head in self.heads:
            scorer = self.scorer(head.layers[0][0].shape[1], self.settings["seed"])
            linear = [m for m in scorer.net if isinstance(m, torch.nn.Linear)]
            with torch.no_grad():
                for module, (weight, bias) in zip(linear, head.layers, strict=True):
                    module.weight.copy_(torch.as_tensor(weight))
                    module.bias.copy_(torch.as_tensor(bias))
            out.append(scorer)
        return out

    def values(self, x: np.ndarray) -> np.ndarray:
        """float64 [networks, n] scores of scaled features x [n, d] by each network."""
        wide = x * np.sqrt(x.shape[1])
        return np.stack([head(wide) for head in self.heads])

    def score(self, candidates: Candidates) -> Scores:
        """Mean score of the networks, in log-odds; ``std`` is their spread where there are several."""
        if not len(candidates):
            return Scores(np.zeros(0))
        values = self.values(self.x(candidates))
        return Scores(values.mean(0), std=values.std(0) if len(values) > 1 else None)

    def arrays(self) -> dict[str, np.ndarray]:
        nets = {f"net{i}.{k}": v for i, head in enumerate(self.heads) for k, v in head.arrays().items()}
        return {**self.features.arrays(), **nets}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.features.restore(arrays)
        self.heads = []
        while any(k.startswith(f"net{len(self.heads)}.") for k in arrays):
            head = MLPHead(hidden=self.settings["hidden"])
            mark = f"net{len(self.heads)}."
            head.restore({k.removeprefix(mark): v for k, v in arrays.items() if k.startswith(mark)})
            self.heads.append(head)


def margins(u: np.ndarray, pairs: Pairs) -> np.ndarray:
    """float64 [n] by how much utilities u [C] support each label: (u_a - u_b) times the sign of the preference.

    A soft label counts by how far it is from a half; a tie has margin 0. Not the absolute difference: a pair that a
    model is sure is labelled wrong has a large *negative* margin.
    """
    return (2 * pairs.p - 1) * (u[pairs.a] - u[pairs.b])

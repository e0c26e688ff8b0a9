"""Peer-reviewed training under label noise: two models, each choosing the pairs that the other learns from.

For each batch model A computes margins m_A = (2p - 1)(r_A(a) - r_A(b)), keeps the top 1 - lambda(t) of them, and model
B takes its step on what A kept, and the other way round. A large margin is a small loss: early in training a network
fits what is regular, so what it does not believe is likely mislabelled. Because each is filtered by the *other*, a
mistake that one has begun to memorise is still thrown out by its peer. The two start from different weights and see the
same batches (batches of their own make no difference that five seeds would show). Two schedules keep them in step:

``lambda(t) = noise * min(1, t / warmup)``, t in passes over the data: nothing is dropped before the easy structure is
learned, and never more than the assumed noise; ``curriculum="easy-first"`` also admits, after the warm-up, only the
pairs of the largest mean margin at first, growing from half of the data to all of it at the last pass.

Choosing and schedules: :mod:`guerdon.reward.learned.peer_selection`. The same on one language model with two adapters,
read by scores or by implicit rewards: :mod:`guerdon.reward.learned.peer_adapters`.
Measure on data that nothing was filtered from: a filtered test is an easy test.

Reference: Zhang et al. (2025), Two Minds Better Than One: Collaborative Reward Modeling for LLM Alignment,
https://arxiv.org/abs/2505.10597; the peer step is co-teaching, Han et al. (2018), https://arxiv.org/abs/1804.06872.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from guerdon.encode.base import Encoder
from guerdon.feedback.star import Pairs
from guerdon.reward.learned.fitted import Prepared
from guerdon.reward.learned.heads import touched
from guerdon.reward.learned.likelihood import BradleyTerry
from guerdon.reward.learned.networks import negative_log_likelihood, train
from guerdon.reward.learned.pair_networks import PairNetworkReward, margins
from guerdon.reward.learned.peer_selection import CHOICES, Review, check_review


class PeerReviewed(PairNetworkReward):
    """Two networks on frozen features, each trained on the pairs that the other one believes.

    After fitting, ``selection_rate`` [n] holds for each pair of :attr:`trained_on` how often it was chosen after the
    warm-up, in [0, 1], and ``mean_margin`` [n] its mean margin under the two: the audit of suspected mistakes.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    noise : share of the pairs assumed mislabelled, in [0, 0.5); so much of each batch is left out after the warm-up
    warmup : passes over the data during which that share grows from zero
    select : peer (each network chooses for the other) or self (each for itself; confirms its own mistakes)
    curriculum : share (only what is left out grows) or easy-first (after the warm-up easy pairs come first, too)
    final : mean of the two networks, or better (the one with the lower held-out loss)
    margin : a preferred response must win by margin x strength
    ties : half (a tie is p = 1/2) or drop
    max_pairs : at most so many pairs a person made from separate ratings; null keeps all
    hidden : width, or list of widths, of each network
    dropout : dropout of each network
    learning_rate : AdamW step
    weight_decay : AdamW weight decay
    epochs : passes over the data
    batch : pairs that are ranked together, at least 16
    seed : seeds the first network, the order of the data and the pair draw
    peer_seed : seeds the second network; null is seed + 1
    """

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        noise: float = 0.2,
        warmup: float = 2.0,
        select: str = "peer",
        curriculum: str = "share",
        final: str = "mean",
        margin: float = 0.0,
        ties: str = "half",
        max_pairs: int | None = 500,
        hidden: int | list[int] = [128, 128],  # noqa: B006  # read, never written
        dropout: float = 0.0,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        epochs: int = 15,
        batch: int = 100,
        seed: int = 0,
        peer_seed: int | None = None,
    ) -> None:
        self.name = "peer-reviewed"
        settings = {k: v for k, v in locals().items() if k not in ("self", "encoder", "__class__")}
        check_review(settings, {**CHOICES, "final": ("mean", "better")})
        super().__init__(encoder, settings)
        self.trained_on: Pairs | None = None
        self.selection_rate = np.zeros(0)
        self.mean_margin = np.zeros(0)

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        """Train both networks at once; each batch is one step of both."""
        s = self.settings
        held = None if data.held is None or s["final"] == "mean" else self.compile(data.held)
        source = data.feedback if data.rejoin and held is None else data.train
        compiled = self.compile(source)
        x = self.inputs(data.x)
        other = s["seed"] + 1 if s["peer_seed"] is None else s["peer_seed"]
        nets = [self.scorer(x.shape[1], seed) for seed in (s["seed"], other)]
        training = _Training(nets, compiled, x, s)
        train(
            [p for net in nets for p in net.parameters()],
            training.loss,
            len(compiled),
            self.schedule(patience=None, keep_best=False),
            after_epoch=training.after_epoch,
            admitted=training.review.admitted if s["curriculum"] == "easy-first" else None,
            progress=progress,
        )
        u = training.utilities()
        self.trained_on, self.selection_rate = compiled.pairs, training.review.rate()
        self.mean_margin = np.mean([margins(v, compiled.pairs) for v in u], axis=0)
        out: dict[str, Any] = {"data": len(compiled)}
        if held is not None:
            losses = [held(v, held.theta0)[0] for v in u]
            nets = [nets[int(np.argmin(losses))]]
            out["held_out_losses"] = [round(float(v), 4) for v in losses]
        self.keep(nets)
        never = float((self.selection_rate < 0.5).mean())
        disagree = float(np.mean((margins(u[0], compiled.pairs) > 0) != (margins(u[1], compiled.pairs) > 0)))
        return {**out, "mostly_left_out": round(never, 4), "networks_disagree": round(disagree, 4)}


class _Training:
    """The two networks of one fit and what they chose so far."""

    def __init__(self, nets: list[Any], data: BradleyTerry, x: torch.Tensor, settings: dict[str, Any]) -> None:
        self.nets, self.data, self.x = nets, data, x
        self.theta = torch.zeros(0, dtype=torch.float64, requires_grad=True)
        names = ("noise", "warmup", "select", "curriculum", "epochs")
        self.review = Review(len(data), **{name: settings[name] for name in names})

    def loss(self, rows: np.ndarray) -> torch.Tensor:
        """Sum of both networks' mean losses, each on what was selected for it."""
        batch = self.data.take(rows)
        candidates = touched(batch)
        values = [net(self.x[torch.as_tensor(candidates)]) for net in self.nets]
        both = []
        for value in values:
            u = np.zeros(self.data.candidates)
            u[candidates] = value.detach().double().numpy()
            both.append(margins(u, batch.pairs))
        parts = [
            negative_log_likelihood(value, self.theta, batch.take(selection), candidates, self.data.candidates)
            for value, selection in zip(values, self.review.choose(rows, both), strict=True)
        ]
        return parts[0] + parts[1]

    @torch.no_grad()
    def utilities(self) -> list[np.ndarray]:
        """float64 [C] of each network."""
        return [net(self.x).double().numpy() for net in self.nets]

    def after_epoch(self, epoch: int) -> None:
        """At the end of the warm-up, put the pairs in order from easy to hard."""
        if self.review.curriculum == "easy-first" and epoch + 1 == math.ceil(self.review.warmup):
            self.review.rank(np.mean([margins(u, self.data.pairs) for u in self.utilities()], axis=0))

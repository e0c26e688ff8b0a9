"""One small network trained for noisy labels and shifted responses: robust losses, cartography, regularizers.

With l(d) = -log sigmoid(d) of a labelled pair and an assumed share e of wrong labels:

``smoothed``   (1 - e) l(d) + e l(-d)                    label smoothing (conservative DPO): margins stay finite
``corrected``  ((1 - e) l(d) - e l(-d)) / (1 - 2 e)      unbiased: its mean over the noise is the loss on clean labels

Both are Bradley-Terry with another label, p (1 - e) + (1 - p) e and (p - e) / (1 - 2 e); the latter leaves [0, 1], so
that a network which can memorise should stop early. ``cartography`` trains once, watches each pair's probability over
the passes, drops the pairs of lowest mean, and trains anew on the rest. Beside the loss a contrastive term keeps
hidden features apart, and a meta-learning step keeps the reward apart on samples of the current policy.

References: Chowdhury, Kini and Natarajan (2024), Provably Robust DPO, https://arxiv.org/abs/2403.00409; Natarajan et
al. (2013), Learning with Noisy Labels; Swayamdipta et al. (2020), Dataset Cartography,
https://arxiv.org/abs/2009.10795; Wang et al. (2024), https://arxiv.org/abs/2401.06080.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from scipy.special import expit

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.learned.contrastive import simcse, spread, swav
from guerdon.reward.learned.fitted import Prepared
from guerdon.reward.learned.heads import touched
from guerdon.reward.learned.likelihood import BradleyTerry
from guerdon.reward.learned.meta_step import Samples, at, pushed, read_samples
from guerdon.reward.learned.networks import Course, negative_log_likelihood, train
from guerdon.reward.learned.pair_networks import PairNetworkReward, Scorer, margins

LOSSES = ("bradley-terry", "smoothed", "corrected")
CONTRASTS = ("none", "simcse", "swav")
PROTOTYPES = 32


def robust_labels(pairs: Pairs, loss: str, noise: float) -> Pairs:
    """The pairs with the labels whose Bradley-Terry loss is ``loss`` at a share ``noise`` of wrong labels."""
    if loss == "smoothed":
        return replace(pairs, p=pairs.p * (1 - noise) + (1 - pairs.p) * noise)
    if loss == "corrected":
        return replace(pairs, p=(pairs.p - noise) / (1 - 2 * noise))
    return pairs


@dataclass(frozen=True)
class Dynamics:
    """How a model's belief in each label went over the passes: ``mean`` and ``std`` [n] of P(label)."""

    mean: np.ndarray
    std: np.ndarray

    def kinds(self) -> np.ndarray:
        """[n] ``robust`` (believed throughout), ``ambiguous`` (changing most), ``non-robust`` (not believed)."""
        wavering = self.std > np.quantile(self.std, 2 / 3)
        return np.where(self.mean < 0.5, "non-robust", np.where(wavering, "ambiguous", "robust"))


class RobustReward(PairNetworkReward):
    """A network on frozen features, trained on pairs with a noise-robust loss, cartography and regularizers.

    After fitting, ``trained_on`` holds the pairs and ``dynamics`` how the belief in each went over the passes.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    loss : bradley-terry, smoothed or corrected for the share noise of wrong labels
    noise : share of the pairs assumed mislabelled, in [0, 0.5); for the loss and for cartography
    cartography : whether to drop, after a first fit, the share noise of pairs believed least, and fit anew
    early_stopping : whether to end in the state of the lowest held-out loss; otherwise after the last pass
    contrast : none, simcse or swav: a contrastive loss on the last hidden layer
    contrast_weight : its weight
    contrast_on : responses (every response's features) or difference (preferred minus other)
    policy : file of samples of the current policy (rows of prompt and response), or Candidates; null does no meta step
    meta_step : how far a meta step goes up the samples' spread before the loss is taken; 0 is none
    margin : a preferred response must win by margin x strength
    ties : half (a tie is p = 1/2) or drop
    max_pairs : at most so many pairs a person made from separate ratings; null keeps all
    hidden : width, or list of widths, of the network
    dropout : dropout of the network; contrastive losses need some
    learning_rate : AdamW step
    weight_decay : AdamW weight decay
    epochs : passes over the data
    batch : pairs a step
    seed : seeds the network, the order of the data and the pair draw
    """

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        loss: str = "bradley-terry",
        noise: float = 0.2,
        cartography: bool = False,
        early_stopping: bool = True,
        contrast: str = "none",
        contrast_weight: float = 0.1,
        contrast_on: str = "difference",
        policy: str | Candidates | None = None,
        meta_step: float = 0.1,
        margin: float = 0.0,
        ties: str = "half",
        max_pairs: int | None = 500,
        hidden: int | list[int] = [128, 128],  # noqa: B006  # read, never written
        dropout: float = 0.1,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        epochs: int = 15,
        batch: int = 100,
        seed: int = 0,
    ) -> None:
        self.name = "robust"
        settings = {k: v for k, v in locals().items() if k not in ("self", "encoder", "__class__")}
        for name, known in (
            ("loss", LOSSES),
            ("contrast", CONTRASTS),
            ("contrast_on", ("responses", "difference")),
            ("ties", ("half", "drop")),
        ):
            if settings[name] not in known:
                raise ConfigError(f"{name}={settings[name]!r} is unknown; use {', '.join(known)}")
        if contrast != "none" and not dropout:
            raise ConfigError(f"contrast={contrast} compares two views under dropout; set dropout, e.g. 0.1")
        if meta_step < 0:
            raise ConfigError(f"meta_step={meta_step}: it is an ascent; use a number >= 0")
        super().__init__(encoder, settings)
        self.trained_on: Pairs | None = None
        self.dynamics: Dynamics | None = None
        self._warm: Scorer | None = None

    @property
    def params(self) -> dict[str, Any]:
        policy = self.settings["policy"]
        return {**super().params, "policy": None if isinstance(policy, Candidates) else policy}

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        """Fit the network: all comparisons where nothing is chosen on held-out ones, else the fitting part."""
        s = self.settings
        held = self.compile(data.held) if data.held is not None and s["early_stopping"] else None
        compiled = self.compile(data.train if held is not None or not data.rejoin else data.feedback)
        net, course, self.dynamics = self._fit(data.x, compiled, held, self._start(data.x.shape[1]), progress)
        out: dict[str, Any] = {}
        if s["cartography"] and s["noise"]:
            order = np.argsort(self.dynamics.mean, kind="stable")
            dropped, rest = np.split(order, [round(s["noise"] * len(order))])
            out["dropped_as_mislabelled"] = len(dropped)
            believed = compiled.take(np.sort(rest))
            net, course, _ = self._fit(data.x, believed, held, self._start(data.x.shape[1]), progress)
        self.trained_on = compiled.pairs
        self.keep([net])
        with torch.no_grad():
            out["feature_spread"] = round(spread(net.eval().features(self.inputs(data.x[data.train.used]))), 4)
        kinds, counts = np.unique(self.dynamics.kinds(), return_counts=True)
        return {
            "data": len(compiled),
            "epochs": len(course.losses),
            "training_dynamics": dict(zip(kinds.tolist(), counts.tolist(), strict=True)),
            **out,
        }

    def refresh(self, policy: str | Candidates, feedback: Feedback) -> Self:
        """A copy that learns on from here, on ``feedback`` again, told apart on new samples of the policy.

        Call it between the rounds of a policy's training: the samples are those of the policy as it is now.
        """
        other = copy.copy(self)
        other.settings = {**self.settings, "policy": policy}
        other.features = copy.deepcopy(self.features)
        other._warm = self.scorers()[0]
        return other.fit(feedback)

    def _start(self, d: int) -> Scorer:
        return self.scorer(d, self.settings["seed"]) if self._warm is None else copy.deepcopy(self._warm)

    def _fit(
        self, x: np.ndarray, clean: BradleyTerry, held: BradleyTerry | None, net: Scorer, progress: bool
    ) -> tuple[Scorer, Course, Dynamics]:
        """Train ``net`` in place; also the belief in each label of ``clean`` after every pass."""
        s, inputs = self.settings, self.inputs(x)
        data = replace(clean, pairs=robust_labels(clean.pairs, s["loss"], s["noise"]))
        theta = torch.zeros(0, dtype=torch.float64, requires_grad=True)
        parameters: list[torch.Tensor] = list(net.parameters())
        samples = self._samples()
        prototypes = None
        if s["contrast"] == "swav":
            width = net.layers()[-1][0].shape[1]
            prototypes = torch.randn(PROTOTYPES, width, generator=net.generator).requires_grad_()
            parameters.append(prototypes)

        def loss(rows: np.ndarray) -> torch.Tensor:
            net.train()
            batch = data.take(rows)
            candidates = touched(batch)
            part = inputs[torch.as_tensor(candidates)]
            if samples is None:
                values = net(part)
            else:
                moved = pushed(net, samples, samples.draw(s["batch"], net.generator), s["meta_step"])
                values = at(net, moved, part)
            total = negative_log_likelihood(values, theta, batch, candidates, len(x))
            if s["contrast"] != "none":
                total = total + s["contrast_weight"] * self._contrast(net, inputs, batch.pairs, candidates, prototypes)
            return total

        def utilities() -> np.ndarray:
            net.eval()
            return net(inputs).double().numpy()

        beliefs: list[np.ndarray] = []

        def watch(_: int) -> None:
            with torch.no_grad():
                beliefs.append(expit(margins(utilities(), clean.pairs)))

        course = train(
            parameters,
            loss,
            len(data),
            self.schedule(patience=4 if held is not None else None, keep_best=held is not None),
            held=None if held is None else lambda: held(utilities(), held.theta0)[0],
            after_epoch=watch,
            progress=progress,
        )
        net.eval()
        return net, course, Dynamics(np.mean(beliefs, axis=0), np.std(beliefs, axis=0))

    def _samples(self) -> Samples | None:
        policy = self.settings["policy"]
        if policy is None or not self.settings["meta_step"]:
            return None
        candidates = read_samples(policy)
        return Samples.of(self.inputs(self.x(candidates)), candidates)

    def _contrast(
        self, net: Scorer, x: torch.Tensor, pairs: Pairs, candidates: np.ndarray, prototypes: torch.Tensor | None
    ) -> torch.Tensor:
        views = []
        turn = torch.as_tensor(np.where(pairs.p >= 0.5, 1.0, -1.0), dtype=x.dtype)[:, None]
        for _ in range(2):
            if self.settings["contrast_on"] == "responses":
                views.append(net.features(x[torch.as_tensor(candidates)]))
            else:
                a, b = (net.features(x[torch.as_tensor(side, dtype=torch.long)]) for side in (pairs.a, pairs.b))
                views.append(turn * (a - b))
        return simcse(views[0], views[1]) if prototypes is None else swav(views[0], views[1], prototypes)

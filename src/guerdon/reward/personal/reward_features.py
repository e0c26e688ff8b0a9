r"""Reward features: m features of a candidate learned together with one weight vector a rater.

    P(a over b | rater h) = sigmoid(<phi(a) - phi(b), w_h>)

phi is linear in the encoder's features, or (``hidden``) a network of one hidden layer on them, trained by AdamW with an
embedding table of the raters; the last layer and the raters' weights are then solved again to convergence. A new rater
is a logistic regression in m numbers with the prior N(mean of the training weights, I): convex, the same whatever
the start, milliseconds for all new raters at once; without comparisons a rater is the population.

This is the low-rank personal reward with free weights and a fixed trust: its population utility f is the prior mean
(so m = rank + 1 features in the paper's count), and the basis is scaled so that training weights have spread 1, which
gives the prior the same meaning for every feature and takes away the freedom phi A, A^-1 w.

When to use it: people disagree a lot and are many. More raters with fewer labels each make better features only up to
where each rater's weights can still be estimated. Where people may agree, ``low-rank`` learns how far to trust votes.

Reference: Barreto et al. 2025, Capturing Individual Human Preferences with Reward Features,
https://arxiv.org/abs/2503.17338
"""

from __future__ import annotations

import logging
from typing import Any, Self

import numpy as np

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.personal.low_rank import LowRankReward
from guerdon.reward.personal.people import PeopleTable

log = logging.getLogger(__name__)


class RewardFeatures(LowRankReward):
    """Learned features of a candidate x free weights of a rater; unknown people get the population.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    rank : number of learned features beside the population's utility, or auto (chosen on held-out people)
    hidden : width of the network's hidden layer; null for features linear in the encoder's
    prior : variance of a rater's weights around their mean (1/lambda), learned (on held-out people), or none
    l2 : ridge on the population utility, or auto (chosen on held-out people)
    l2_basis : ridge on the learned features, or auto (chosen on held-out people)
    learning_rate : AdamW step of the network
    weight_decay : AdamW weight decay of the network and the raters' table
    epochs : most passes over the comparisons of the network
    batch : comparisons a step of the network
    max_pairs : at most so many pairs a person in fitting
    rounds : most alternations between people and features
    seed : seeds folds, pair draws and starts
    """

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        rank: int | str = 8,
        hidden: int | None = None,
        prior: str | float = 1.0,
        l2: float | str = "auto",
        l2_basis: float | str = "auto",
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-2,
        epochs: int = 60,
        batch: int = 256,
        max_pairs: int = 100,
        rounds: int = 15,
        seed: int = 0,
    ) -> None:
        if hidden is not None and (isinstance(hidden, bool) or not isinstance(hidden, int) or hidden < 1):
            raise ConfigError(f"hidden={hidden!r}: use a width >= 1, or null for linear features")
        super().__init__(
            encoder=encoder, rank=rank, prior=prior, l2=l2, l2_basis=l2_basis, item_effects="none",
            max_pairs=max_pairs, rounds=rounds, seed=seed,
        )  # fmt: skip
        self.name = "reward-features"
        self.settings |= {
            "hidden": hidden, "learning_rate": learning_rate, "weight_decay": weight_decay, "epochs": epochs,
            "batch": batch,
        }  # fmt: skip
        self.trunk: dict[str, np.ndarray] = {}

    @property
    def params(self) -> dict[str, Any]:
        fixed = ("basis", "weights", "item_effects", "reference", "reference_weight", "temperature", "balance")
        return {name: value for name, value in super().params.items() if name not in fixed}

    # ------------------------------------------------------------------ fitting

    def _fit(self, feedback: Feedback, progress: bool) -> Self:
        super()._fit(feedback, progress)
        raters = len(self.people.users)
        single = int((self.people.votes == 1).sum())
        cautions = []
        if self.width > raters:
            cautions.append(f"{self.width} features but {raters} raters: the features are not identified; lower rank")
        if single:
            cautions.append(f"{single} of {raters} raters gave a single comparison, which says little about them")
        for caution in cautions:
            log.warning("%s", caution)
        self.summary = {**self.summary, "cautions": cautions}
        return self

    def _represent(self, raw: np.ndarray, pairs: Pairs) -> np.ndarray:
        if self.settings["hidden"] is not None:
            self.trunk = {}
            self._train(super()._scaled(raw), pairs)
        return self._scaled(raw)

    def _train(self, x: np.ndarray, pairs: Pairs) -> None:
        """Learn the hidden layer with all raters' weights by AdamW; a tenth of the comparisons says when to stop."""
        import torch

        from guerdon.reward.learned.networks import Schedule, mlp, train

        s = self.settings
        generator = torch.Generator().manual_seed(s["seed"])
        m = 8 if s["rank"] == "auto" else int(s["rank"])
        _, person = np.unique(pairs.user, return_inverse=True)
        raters = int(person.max()) + 1
        net = mlp([x.shape[1], s["hidden"], m + 1], generator)
        # column 0 of phi is the population's: everybody has weight 1 there, raters differ in the others
        table = (0.3 * torch.randn((raters, m), generator=generator)).requires_grad_()
        features = torch.as_tensor(x * np.sqrt(x.shape[1]), dtype=torch.float32)
        a, b, who = (torch.as_tensor(v.astype(np.int64)) for v in (pairs.a, pairs.b, person))
        p = torch.as_tensor(pairs.p, dtype=torch.float32)
        weight = torch.as_tensor(pairs.weight, dtype=torch.float32)

        def loss(rows: np.ndarray) -> torch.Tensor:
            i = torch.as_tensor(rows)
            z = net(features[a[i]]) - net(features[b[i]])
            t = z[:, 0] + (z[:, 1:] * table[who[i]]).sum(1)
            each = torch.nn.functional.binary_cross_entropy_with_logits(t, p[i], reduction="none")
            return (weight[i] * each).sum() / weight[i].sum()

        order = np.random.default_rng(s["seed"]).permutation(len(pairs))
        held, fitted = order[: len(order) // 10], order[len(order) // 10 :]
        schedule = Schedule(s["learning_rate"], s["weight_decay"], s["epochs"], s["batch"], patience=8, seed=s["seed"])
        train(
            [*net.parameters(), table],
            lambda rows: loss(fitted[rows]),
            len(fitted),
            schedule,
            held=(lambda: float(loss(held))) if len(held) >= 20 else None,
        )
        layer: Any = net[0]
        self.trunk = {
            "trunk_weight": layer.weight.detach().double().numpy().T * np.sqrt(x.shape[1]),
            "trunk_bias": layer.bias.detach().double().numpy(),
        }
        h = self._hidden(x)
        sd = h.std(0)
        scale = np.where(sd > 1e-6, 1.0 / np.maximum(sd, 1e-6), 0.0) / np.sqrt(h.shape[1])
        self.trunk |= {"trunk_mean": h.mean(0), "trunk_scale": scale}

    def _hidden(self, x: np.ndarray) -> np.ndarray:
        """[n, hidden] exact GELU of the hidden layer."""
        from scipy.special import ndtr

        h = x @ self.trunk["trunk_weight"] + self.trunk["trunk_bias"]
        return h * ndtr(h)

    def _scaled(self, raw: np.ndarray) -> np.ndarray:
        x = super()._scaled(raw)
        if not self.trunk:
            return x
        return (self._hidden(x) - self.trunk["trunk_mean"]) * self.trunk["trunk_scale"]

    def _solve_people(self, feedback: Feedback, u: np.ndarray, known: PeopleTable | None = None) -> PeopleTable:
        table = super()._solve_people(feedback, u, known)
        if self.settings["prior"] == "none":
            self._refuse_separable(feedback, u, table)
        return table

    def _refuse_separable(self, feedback: Feedback, u: np.ndarray, table: PeopleTable) -> None:
        """Without a prior the weights of a rater whose every comparison can be explained are infinite."""
        pairs = self._pairs(feedback, None)
        row = np.array([table.index[feedback.users[c]] for c in pairs.user])
        z = u[pairs.a] - u[pairs.b]
        t = z[:, 0] + np.einsum("nk,nk->n", z[:, 1:], table.weights[row])
        wrong = np.bincount(row, (t > 0) != (pairs.p > 0.5), len(table.users)) + np.bincount(
            row, pairs.p == 0.5, len(table.users)
        )
        separable = np.flatnonzero(wrong == 0)
        if len(separable):
            raise FeedbackError(
                f"without a prior (prior=none, lambda = 0) the weights of {len(separable)} raters are infinite, first "
                f"{table.users[separable[0]]!r}: {self.width} features explain all of their "
                f"{table.votes[separable[0]]} comparisons; set prior to a number, e.g. --set prior=1"
            )

    def reward_features(self, candidates: Any) -> np.ndarray:
        """float64 [n, 1 + rank] the learned features: the population's utility, then phi; for inspection."""
        return self.utilities(candidates)

    # ------------------------------------------------------------------ saving

    def arrays(self) -> dict[str, np.ndarray]:
        return {**super().arrays(), **self.trunk}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        super().restore(arrays)
        self.trunk = {name: value for name, value in arrays.items() if name.startswith("trunk_")}

"""Ensembles of reward models trained at once: what they agree on, how far they differ, and scores that allow for it.

M heads on the same features see the same batches; a member's bootstrap sample is a weight [M, n] on the comparisons
(how often it drew each), so one pass of stacked networks (:mod:`guerdon.reward.learned.stacked_networks`) trains all of
them. Each member stops early on its own. Linear members are M convex problems with one data matrix, solved together by
L-BFGS.

Afterwards members are put on one scale over the training candidates: mean 0 each (an offset that a member gives to
everything says nothing), and the standard deviation that members have on average. ``std`` is their spread, times a
factor that makes held-out verdicts likeliest, since bootstrap members underestimate how wrong they are. Pessimism:

=========  ====================================================================
``mean``   mean of the members
``min``    the worst member
``lcb``    mean - caution * std
``uwo``    mean - caution * std^2 (uncertainty-weighted optimisation)
=========  ====================================================================

``uncertainty="precision"`` takes the closed form sqrt(z' M^-1 z) instead, with z what the last layer reads and M the
curvature of the loss in its weights (Laplace): cheap, and wide where there were no comparisons, whatever members say.
Do not subtract a bound *and* weight a policy's KL term by the variance: that counts it twice
(:mod:`guerdon.reward.learned.finite_policy`).

References: Coste et al. (2024), Reward Model Ensembles Help Mitigate Overoptimization, https://arxiv.org/abs/2310.02743;
Banerjee & Gopalan (2024), Towards Reliable Alignment, https://arxiv.org/abs/2410.23726; Zhang et al. (2024), Overcoming
Reward Overoptimization via Adversarial Policy Optimization with Lightweight Uncertainty Estimation,
https://arxiv.org/abs/2403.05171 (last-layer precision).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import pack
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.base import Scores
from guerdon.reward.learned.fitted import FeatureReward, Prepared
from guerdon.reward.learned.heads import ACTIVATIONS, LinearHead, activate
from guerdon.reward.learned.likelihood import BradleyTerry

AGGREGATES = ("mean", "min", "lcb", "uwo")
RESAMPLE = ("bootstrap", "subset", "none")
UNCERTAINTY = ("members", "precision")
SUBSET = 0.7
"""Share of the comparisons each member sees with ``resample="subset"``."""
INFLATIONS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
FEWEST = 3


def draws(pairs: Pairs, members: int, resample: str, seed: int) -> np.ndarray:
    """float64 [M, n] how often each member drew each of n comparisons; those of one judgement are drawn together."""
    rng = np.random.default_rng(seed)
    units, unit = np.unique(pairs.judgement, return_inverse=True)
    n = len(units)
    if resample == "none":
        return np.ones((members, len(pairs)))
    if resample == "subset":
        chosen = np.argsort(rng.random((members, n)), axis=1) < max(1, round(SUBSET * n))
        return chosen[:, unit].astype(float)
    return np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(members)])[:, unit].astype(float)


def aggregate(values: np.ndarray, how: str, caution: float = 1.0, std: np.ndarray | None = None) -> np.ndarray:
    """float64 [n] one score of the members' ``values`` [M, n]; ``std`` [n] in the place of their own spread."""
    if how == "min":
        return values.min(0)
    spread = values.std(0) if std is None else std
    penalty = {"mean": 0.0, "lcb": caution * spread, "uwo": caution * spread**2}[how]
    return values.mean(0) - penalty


class EnsembleReward(FeatureReward):
    """M heads on frozen features, each fitted to a bootstrap sample of the comparisons, trained together.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    members : how many heads, at least 3
    head : mlp, or linear (each a convex problem)
    resample : bootstrap (judgements with replacement), subset (70 % each), or none (members differ by their start)
    aggregate : mean, min (worst member), lcb (mean - caution x std) or uwo (mean - caution x variance)
    caution : how much of the uncertainty lcb and uwo take off
    uncertainty : members (their spread) or precision (last-layer curvature, closed form)
    inflation : factor on the variance, or auto (the likeliest of held-out verdicts)
    l2 : ridge penalty of linear members, or auto (chosen once, on held-out prompts)
    margin : a preferred response must win by margin x strength
    ties : half (a tie is p = 1/2) or drop
    max_pairs : at most so many pairs a person made from separate ratings; null keeps all
    hidden : width, or list of widths, of the mlp members
    activation : gelu, silu, tanh, relu or none, between the layers of the mlp members
    learning_rate : AdamW step of the mlp members
    weight_decay : AdamW weight decay of the mlp members
    epochs : most passes over the data of the mlp members
    batch : comparisons a step of the mlp members
    patience : a member keeps its best state once its held-out loss has not improved for so many passes
    choose_by : automatic choices are made on held-out prompts, users or judgements; auto takes prompts if it can
    seed : seeds the first member, the samples, the order of the data and the inner split
    """

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        members: int = 10,
        head: str = "mlp",
        resample: str = "bootstrap",
        aggregate: str = "mean",
        caution: float = 1.0,
        uncertainty: str = "members",
        inflation: float | str = "auto",
        l2: float | str = "auto",
        margin: float = 0.0,
        ties: str = "half",
        max_pairs: int | None = 500,
        hidden: int | list[int] = 32,
        activation: str = "gelu",
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        epochs: int = 30,
        batch: int = 256,
        patience: int = 4,
        choose_by: str = "auto",
        seed: int = 0,
    ) -> None:
        self.name = "ensemble"
        settings = {k: v for k, v in locals().items() if k not in ("self", "encoder", "__class__")}
        if members < FEWEST:
            raise ConfigError(f"members={members}: the spread of fewer than {FEWEST} says nothing; use 5 to 10")
        for name, known in (
            ("head", ("mlp", "linear")),
            ("resample", RESAMPLE),
            ("aggregate", AGGREGATES),
            ("uncertainty", UNCERTAINTY),
            ("activation", ACTIVATIONS),
            ("ties", ("half", "drop")),
        ):
            if settings[name] not in known:
                raise ConfigError(f"{name} {settings[name]!r} is unknown; use one of {', '.join(known)}")
        if head == "linear" and resample == "none":
            raise ConfigError("linear members of the same data are identical; use resample=bootstrap")
        if inflation != "auto" and not (isinstance(inflation, int | float) and inflation > 0):
            raise ConfigError(f"inflation={inflation!r}: use a factor > 0 or 'auto'")
        super().__init__(encoder, settings)
        self.weights: list[np.ndarray] = []
        self.biases: list[np.ndarray] = []
        self.scale, self.shift = np.ones(members), np.zeros(members)
        self.inverse, self.inflation = np.zeros((0, 0, 0)), 1.0

    # ------------------------------------------------------------------ fitting

    def compile(self, feedback: Feedback) -> BradleyTerry:
        """Bradley-Terry on the comparisons of ``feedback``."""
        s = self.settings
        pairs = feedback.pairs(ties=s["ties"] != "drop", max_per_person=s["max_pairs"], seed=s["seed"])
        if not len(pairs):
            raise FeedbackError("this feedback implies no comparisons; an ensemble learns from comparisons only")
        return BradleyTerry(pairs, len(feedback.responses), s["margin"])

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        """Fit the members together, put them on one scale, and choose how much their variance understates."""
        s = self.settings
        train, held = self.compile(data.train), None if data.held is None else self.compile(data.held)
        count = draws(train.pairs, s["members"], s["resample"], s["seed"])
        if s["head"] == "linear":
            told = self._linear(data.x, train, count, held)
        else:
            told = self._networks(data.x, train, count, held, progress)
        self.scale, self.shift = np.ones(s["members"]), np.zeros(s["members"])
        # scales come from the features as they were fitted: the candidates of training only
        values = self.member_values(data.x[data.train.used])
        spread = values.std(1)
        if not (spread > 1e-9).all():
            raise FeedbackError("a member of the ensemble gives every response the same score; give it more feedback")
        self.scale = spread.mean() / spread
        self.shift = -values.mean(1) * self.scale
        self._curvature(data.x, train.pairs, told.get("l2", None))
        self.inflation = 1.0
        if s["inflation"] != "auto":
            self.inflation = float(s["inflation"])
        elif held is not None:
            self.inflation = self._likeliest(data.x, held.pairs)
        disagreement = float((self.std(data.x[data.train.used]) / spread.mean()).mean())
        return {"data": len(train), **told, "inflation": self.inflation, "disagreement": disagreement}

    def _linear(
        self, x: np.ndarray, data: BradleyTerry, count: np.ndarray, held: BradleyTerry | None
    ) -> dict[str, Any]:
        head = LinearHead(l2=self.settings["l2"])
        head.fit(x, data, held)
        l2, q = head.chosen_l2, data.pairs
        z, d, members = x[q.a] - x[q.b], x.shape[1], len(count)
        weight = (count * q.weight).T
        weight /= weight.sum(0)
        shift = (self.settings["margin"] * q.strength * np.sign(2 * q.p - 1))[:, None]

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            w = flat.reshape(d, members)
            gap = z @ w - shift
            loss = np.sum(weight * (np.logaddexp(0.0, -gap) + (1 - q.p)[:, None] * gap)) + 0.5 * l2 * np.sum(w**2)
            return float(loss), (z.T @ (weight * (expit(gap) - q.p[:, None])) + l2 * w).ravel()

        start = np.repeat(head.weight[:, None], members, 1).ravel()
        options = {"maxiter": 500, "ftol": 1e-8}
        found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x.reshape(d, members)
        self.weights, self.biases = [found.T[:, None, :]], [np.zeros((members, 1))]
        return {"l2": l2}

    def _networks(
        self, x: np.ndarray, data: BradleyTerry, count: np.ndarray, held: BradleyTerry | None, progress: bool
    ) -> dict[str, Any]:
        import torch

        from guerdon.reward.learned.heads import activation_modules
        from guerdon.reward.learned.networks import Schedule, train
        from guerdon.reward.learned.stacked_networks import BestOfEach, StackedNetworks

        s, members = self.settings, len(count)
        hidden = [s["hidden"]] if isinstance(s["hidden"], int) else list(s["hidden"])
        seeds = [s["seed"] + m for m in range(members)]
        networks = StackedNetworks([x.shape[1], *hidden, 1], activation_modules()[s["activation"]], seeds)
        widen = x.shape[1] ** 0.5  # networks learn faster from features of unit variance than of unit length
        features = torch.as_tensor(x * widen, dtype=torch.float32)
        patience = None if held is None else s["patience"]
        best, judge = BestOfEach(networks, patience), data if held is None else held
        seen = torch.as_tensor(count * data.pairs.weight, dtype=torch.float32)
        judged = torch.as_tensor(np.tile(judge.pairs.weight, (members, 1)), dtype=torch.float32)
        schedule = Schedule(
            s["learning_rate"], s["weight_decay"], s["epochs"], s["batch"], patience, keep_best=False, seed=s["seed"]
        )
        course = train(
            list(networks.state.values()),
            lambda rows: networks.losses(features, data, rows, seen).sum(),
            len(data),
            schedule,
            held=lambda: best.look(networks.losses(features, judge, slice(None), judged).numpy()),
            progress=progress,
        )
        self.weights = [v.numpy().astype(np.float32) for k, v in best.state.items() if k.endswith("weight")]
        self.biases = [v.numpy().astype(np.float32) for k, v in best.state.items() if k.endswith("bias")]
        self.weights[0] = self.weights[0] * np.float32(widen)
        return {"epochs": len(course.losses)}

    def _curvature(self, x: np.ndarray, pairs: Pairs, l2: float | None) -> None:
        """(curvature of the loss in the last layer's weights)^-1, a member: [M, h, h]."""
        if self.settings["uncertainty"] != "precision":
            return
        phi = self.last_hidden(x)
        inverse = []
        for member, z in enumerate(phi):
            gap = z[pairs.a] - z[pairs.b]
            p = expit(gap @ self.weights[-1][member, 0])
            prior = l2 * len(pairs) if l2 is not None else 1.0  # a unit normal prior on the last layer of a network
            inverse.append(
                np.linalg.inv(gap.T @ (gap * (pairs.weight * p * (1 - p))[:, None]) + prior * np.eye(z.shape[1]))
            )
        self.inverse = np.stack(inverse)

    def _likeliest(self, x: np.ndarray, pairs: Pairs) -> float:
        """The factor on the variance under which held-out verdicts are likeliest; a probit in the place of a logit."""
        values = self.member_values(x)
        mean = values.mean(0)[pairs.a] - values.mean(0)[pairs.b]
        variance = (values[:, pairs.a] - values[:, pairs.b]).var(0)
        if self.settings["uncertainty"] == "precision":
            variance = self.std(x)[pairs.a] ** 2 + self.std(x)[pairs.b] ** 2
        loss = []
        for factor in INFLATIONS:
            gap = mean / np.sqrt(1 + np.pi / 8 * factor * variance)
            loss.append(float(pairs.weight @ (np.logaddexp(0.0, -gap) + (1 - pairs.p) * gap)))
        return INFLATIONS[int(np.argmin(loss))]

    # ------------------------------------------------------------------ scoring

    def last_hidden(self, x: np.ndarray) -> np.ndarray:
        """float [M, n, h] what each member's last layer reads, of scaled features x [n, d]."""
        h = np.broadcast_to(x, (self.settings["members"], *x.shape))
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            h = activate(self.settings["activation"], h.astype(np.float32) @ weight.transpose(0, 2, 1) + bias[:, None])
        return h

    def member_values(self, x: np.ndarray) -> np.ndarray:
        """float64 [M, n] the members' scores of scaled features x [n, d], on their common scale."""
        u = self.last_hidden(x) @ self.weights[-1].transpose(0, 2, 1) + self.biases[-1][:, None]
        return u[..., 0].astype(np.float64) * self.scale[:, None] + self.shift[:, None]

    def std(self, x: np.ndarray) -> np.ndarray:
        """float64 [n] epistemic standard deviation of the score of scaled features x [n, d]."""
        if self.settings["uncertainty"] == "members":
            return np.sqrt(self.inflation) * self.member_values(x).std(0)
        phi = self.last_hidden(x).astype(np.float64)
        variance = np.einsum("mnh,mhk,mnk->n", phi, self.inverse, phi, optimize=True) / len(phi)
        return np.sqrt(self.inflation * np.maximum(variance, 0.0))

    def score(self, candidates: Candidates) -> Scores:
        """The members' scores as one, in log-odds on average; ``std`` is epistemic."""
        if not len(candidates):
            return Scores(np.zeros(0), std=np.zeros(0))
        x, s = self.x(candidates), self.settings
        values, std = self.member_values(x), self.std(x)
        return Scores(aggregate(values, s["aggregate"], s["caution"], std), std=std)

    def uncertainty(self, candidates: Candidates) -> np.ndarray:
        """float64 [n] standard deviation of each score's difference to the mean score of its prompt in the batch.

        What a choice among the responses to a prompt depends on: doubt that all of them share is taken out.
        """
        if not len(candidates):
            return np.zeros(0)
        _, of = np.unique([pack(p) for p in candidates.prompts], return_inverse=True)
        values = self.member_values(self.x(candidates))
        mean = np.stack([np.bincount(of, v) for v in values]) / np.bincount(of)
        return np.sqrt(self.inflation) * (values - mean[:, of]).std(0)

    def explain(self, candidates: Candidates) -> dict[str, Sequence[Any]]:
        """Every member's score, by ``member 0``, ``member 1``, ..."""
        values = self.member_values(self.x(candidates))
        return {f"member {i}": v.tolist() for i, v in enumerate(values)}

    # ------------------------------------------------------------------ saving

    def arrays(self) -> dict[str, np.ndarray]:
        layers = {f"{k}.{i}": a for k, part in (("w", self.weights), ("b", self.biases)) for i, a in enumerate(part)}
        own = {"scale": self.scale, "shift": self.shift, "inflation": np.array([self.inflation])}
        return {**self.features.arrays(), **layers, **own, "inverse": self.inverse}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.features.restore(arrays)
        n = sum(k.startswith("w.") for k in arrays)
        self.weights, self.biases = ([arrays[f"{k}.{i}"] for i in range(n)] for k in "wb")
        self.scale, self.shift, self.inverse = arrays["scale"], arrays["shift"], arrays["inverse"]
        self.inflation = float(arrays["inflation"][0])

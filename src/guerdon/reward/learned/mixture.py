r"""A mixture of rewards with a router: K rewards from anonymous comparisons, re-weighted for a person by a few more.

    P(a over b | x) = sum_k pi_k(x) sigmoid(r_k(x, a) - r_k(x, b)),     r_k linear in features

Stage 1 learns the rewards and the router together (:mod:`guerdon.reward.learned.mixture_likelihood`): ``prompt`` routes
by a small network on the prompt's features alone, ``person`` gives every person one of the K rewards throughout (a
latent class), ``none`` mixes everything alike. Stage 2, :meth:`MixtureReward.adapt`, re-weights the rewards for people
(or contexts, in the column ``user``) by :mod:`guerdon.reward.learned.routing`; people never heard of get the router's
weights. Comparisons mix probabilities; scores mix rewards that were brought to one scale first, otherwise the loudest
reward would decide.

Where everybody wants the same the mixture is Bradley-Terry in all but name; where people differ, any single
Bradley-Terry model has a loss that no amount of data removes.

Reference: Shen et al. 2025, MiCRo: Mixture Modeling and Context-aware Routing for Personalized Preference Learning,
https://arxiv.org/abs/2505.24846
"""

from __future__ import annotations

import logging
from copy import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.special import expit, log_softmax

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError, ModelError
from guerdon.feedback.messages import Text
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.base import Scores
from guerdon.reward.learned.fitted import FeatureReward, Prepared
from guerdon.reward.learned.layers import Layers, from_arrays, hidden, layers_of, output, to_arrays
from guerdon.reward.learned.mixture_likelihood import Mixture
from guerdon.reward.learned.prompt_columns import apart, prompt_columns
from guerdon.reward.learned.routing import Contexts, distil, losses_of

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

ROUTERS, ADAPTATIONS = ("prompt", "person", "none"), ("hedge", "distil")


class MixtureReward(FeatureReward):
    """K linear rewards, a router, and weights of people; see the module. Scores are in standard deviations of a reward.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    heads : K, the number of rewards; at most twice the suspected number of groups
    router : prompt (weights depend on the prompt), person (a latent class of people) or none (one fixed mixture)
    prompt_width : the first so many features describe the prompt; null asks the encoder's feature map
    router_hidden : width of the router's hidden layer
    balance : bonus for using all rewards alike, in the first half of training; keeps rewards from dying
    eta : how far a comparison moves a person's weights; 1 is the Bayesian posterior
    adaptation : hedge, or distil (people get a router of their own, near the hedge weights)
    distil_weight : how near
    max_pairs : at most so many pairs a person made from separate ratings; null keeps all
    learning_rate : AdamW step
    weight_decay : AdamW weight decay
    epochs : most passes over the data
    batch : comparisons (or people) a step
    patience : passes without a better held-out loss before the end
    choose_by : held out for stopping are prompts, users or judgements; auto takes prompts if it can
    seed : seeds the inner split, the pair draw and the start
    """

    reads = ("user",)

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        heads: int = 4,
        router: str = "prompt",
        prompt_width: int | None = None,
        router_hidden: int = 32,
        balance: float = 0.0,
        eta: float = 1.0,
        adaptation: str = "hedge",
        distil_weight: float = 1.0,
        max_pairs: int | None = 500,
        learning_rate: float = 2e-2,
        weight_decay: float = 1e-2,
        epochs: int = 60,
        batch: int = 512,
        patience: int = 10,
        choose_by: str = "auto",
        seed: int = 0,
    ) -> None:
        if heads < 1:
            raise ConfigError(f"heads={heads}: use at least one reward")
        if router not in ROUTERS:
            raise ConfigError(f"router={router!r} is unknown; use one of {', '.join(ROUTERS)}")
        if adaptation not in ADAPTATIONS:
            raise ConfigError(f"adaptation={adaptation!r} is unknown; use one of {', '.join(ADAPTATIONS)}")
        if not eta > 0 or not distil_weight > 0 or balance < 0:
            raise ConfigError(f"eta={eta}, distil_weight={distil_weight}: use numbers > 0; balance={balance}: >= 0")
        self.name = "mixture"
        settings = {
            "heads": heads, "router": router, "prompt_width": prompt_width, "router_hidden": router_hidden,
            "balance": balance, "eta": eta, "adaptation": adaptation, "distil_weight": distil_weight,
            "max_pairs": max_pairs, "learning_rate": learning_rate, "weight_decay": weight_decay, "epochs": epochs,
            "batch": batch, "patience": patience, "choose_by": choose_by, "seed": seed,
        }  # fmt: skip
        super().__init__(apart(encoder) if router == "prompt" and prompt_width is None else encoder, settings)
        self.heads = np.zeros((0, heads))
        self.center, self.spread = np.zeros(heads), np.ones(heads)
        self.layers: Layers = []
        self.prior = np.zeros(heads)
        self.columns = np.zeros(0, dtype=np.int64)
        self.contexts = Contexts.empty(heads, 0)

    @property
    def users(self) -> tuple[str, ...]:
        """The people this reward knows."""
        return self.contexts.users

    # ------------------------------------------------------------------ fitting

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        """Stage 1: rewards and router together; then the weights of the people who are named."""
        s, x = self.settings, data.x
        by_prompt = s["router"] == "prompt"
        self.columns = (
            prompt_columns(self.open_encoder(), x.shape[1], s["prompt_width"]) if by_prompt else np.zeros(0, np.int64)
        )
        fitting = self._compile(data.train)
        held = None if data.held is None or not len(data.held.pairs()) else self._compile(data.held)
        asked = x[_first_rows(data.feedback)][:, self.columns] * np.sqrt(x.shape[1])
        epochs = self._train(x * np.sqrt(x.shape[1]), asked, fitting, held, progress)
        self.heads = self.heads * np.sqrt(x.shape[1])
        u = x[data.train.used] @ self.heads
        self.center, self.spread = u.mean(0), np.maximum(u.std(0), 1e-9)
        self.contexts = Contexts.empty(s["heads"], s["router_hidden"] if by_prompt else 0)
        if (data.train.user >= 0).any():
            self.contexts = self._hear(data.feedback, x)
        usage, usage_summary = self._usage(fitting, x, asked)
        self._warn(usage)
        return {"data": len(fitting.pairs), "epochs": epochs, **usage_summary}

    def _compile(self, feedback: Feedback) -> Mixture:
        s, size = self.settings, len(feedback.responses)
        pairs = feedback.pairs(max_per_person=s["max_pairs"], seed=s["seed"])
        if not len(pairs):
            raise FeedbackError("this feedback implies no comparisons, which a mixture of rewards is fitted to")
        if s["router"] == "person":
            return Mixture.by_person(pairs, size, s["heads"])
        if s["router"] == "none":
            return Mixture.by_comparison(pairs, size, s["heads"])
        group = feedback.prompt_of[pairs.a]
        return Mixture.by_comparison(pairs, size, s["heads"], group, len(feedback.prompts))

    def _train(self, x: np.ndarray, asked: np.ndarray, data: Mixture, held: Mixture | None, progress: bool) -> int:
        """Train rewards on x [C, d] and the router on ``asked`` [P, dp]; returns how many epochs were of use."""
        import torch

        from guerdon.reward.learned.networks import Schedule, mlp, negative_log_likelihood, train

        s, k = self.settings, self.settings["heads"]
        generator = torch.Generator().manual_seed(s["seed"])
        # different starts break the symmetry of the rewards; the router starts near equal weights
        heads = (0.5 * torch.randn(x.shape[1], k, generator=generator) / x.shape[1] ** 0.5).requires_grad_()
        net = mlp([asked.shape[1], s["router_hidden"], k], generator) if len(self.columns) else None
        prior = torch.zeros(1, k, dtype=torch.float64, requires_grad=True)
        if net is not None:
            with torch.no_grad():
                net[-1].weight.mul_(0.1)  # type: ignore[operator,union-attr]
        features, prompts = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(asked, dtype=torch.float32)
        bonus = [s["balance"]]

        def logits(groups: np.ndarray) -> torch.Tensor:
            return prior if net is None else net(prompts[torch.as_tensor(groups)]).double()

        def loss(index: np.ndarray) -> torch.Tensor:
            batch, groups = data.take(index).regrouped()
            rows = np.unique(batch.members()[0])
            batch = batch.over(rows)
            z = logits(groups)
            values = features[torch.as_tensor(rows)] @ heads
            nll = negative_log_likelihood(values, z.flatten(), batch, np.arange(len(rows)), len(rows))
            if not bonus[0]:
                return nll
            share = torch.softmax(z, dim=1)[torch.as_tensor(batch.group)].mean(0)
            return nll + bonus[0] * (share * share.log()).sum()

        def held_loss() -> float:
            held_data, groups = (held or data).regrouped()
            return held_data((features @ heads).double().numpy(), logits(groups).flatten().numpy())[0]

        def after(epoch: int) -> None:
            bonus[0] = s["balance"] * max(0.0, 1 - 2 * (epoch + 1) / s["epochs"])

        batch = min(s["batch"], max(1, len(data) // 4)) if s["router"] == "person" else s["batch"]
        schedule = Schedule(s["learning_rate"], s["weight_decay"], s["epochs"], batch, s["patience"], seed=s["seed"])
        parameters = [heads, *([prior] if net is None else net.parameters())]
        watch = held_loss if held is not None else None
        course = train(parameters, loss, len(data), schedule, held=watch, after_epoch=after, progress=progress)
        self.heads = heads.detach().double().numpy()
        self.layers = [] if net is None else layers_of(net)
        self.prior = prior.detach().numpy()[0]
        return course.best + 1

    def _usage(self, data: Mixture, x: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """(share of the data that each reward explains [K], the same for the summary)."""
        theta = self._log_pi(asked)[0] if len(self.columns) else self.prior[None]
        rho = data.responsibilities(x @ self.heads, theta.ravel())
        weight = np.bincount(data.unit, data.outer[data.unit] * data.pairs.weight, len(data))
        usage = weight @ rho / weight.sum()
        entropy = -np.sum(usage * np.log(np.maximum(usage, 1e-300)))
        dead = int(np.sum(usage < 1 / (10 * len(usage))))
        return usage, {
            "usage": [round(float(v), 4) for v in usage],
            "effective_heads": round(float(np.exp(entropy)), 3),
            "collapsed": len(usage) > 1 and dead >= len(usage) - 1,
        }

    def _warn(self, usage: np.ndarray) -> None:
        k = len(usage)
        if k > 1 and np.sum(usage < 1 / (10 * k)) >= k - 1:
            log.warning(
                "of %d rewards only one is in use: either everybody wants the same, or the others died early; try "
                "--set balance=0.1, or fewer heads",
                k,
            )

    # ------------------------------------------------------------------ people

    def _hear(self, feedback: Feedback, x: np.ndarray) -> Contexts:
        """Contexts after what the people of ``feedback`` say about candidates of scaled features x [C, d]."""
        s = self.settings
        pairs = feedback.pairs(max_per_person=s["max_pairs"], seed=s["seed"])
        pairs = pairs.take(pairs.user >= 0)
        codes, person = np.unique(pairs.user, return_inverse=True)
        users = tuple(feedback.users[c] for c in codes)
        u = x @ self.heads
        contexts = self.contexts.heard(users, person, losses_of(u, pairs), pairs.weight)
        if s["adaptation"] == "hedge" or not len(pairs):
            return contexts
        rows = np.array([contexts.index[user] for user in users], dtype=np.int64)
        log_pi, features = self._route(x[pairs.a])
        return distil(
            contexts, rows, person, pairs, u, log_pi, features, eta=s["eta"], tau=s["distil_weight"], seed=s["seed"]
        )

    def adapt(self, feedback: Feedback) -> Self:
        """Stage 2: a copy that also knows the people of ``feedback``; what was known of them is added to.

        Raises
        ------
        ModelError
            before stage 1, which :meth:`fit` is
        """
        if not len(self.heads):
            raise ModelError("adapt() re-weights rewards that fit() has learned; call fit(feedback) first")
        silent = set(feedback.users) - {feedback.users[c] for c in np.unique(feedback.pairs().user) if c >= 0}
        if silent:
            log.warning(
                "%d people have no comparisons (%s ...): they keep the router's weights", len(silent), min(silent)
            )
        other = copy(self)
        other.contexts = self._hear(feedback, self.x_of(feedback))
        return other

    # ------------------------------------------------------------------ scoring

    def _log_pi(self, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(log router weights [n, K], hidden features [n, h]) at prompt features [n, dp] of unit variance."""
        h = hidden(self.layers, asked)
        return log_softmax(output(self.layers, asked), axis=1), h

    def _route(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(log router weights [n, K], hidden features [n, h]) of candidates of scaled features x [n, d]."""
        if not len(self.columns):
            return np.tile(log_softmax(self.prior), (len(x), 1)), np.zeros((len(x), 0))
        return self._log_pi(x[:, self.columns] * np.sqrt(x.shape[1]))

    def _people(self, users: Any, n: int) -> tuple[np.ndarray, list[str | None]]:
        """(row of each asker [n], -1 for nobody and strangers; reason of each)."""
        names = [None] * n if users is None else list(users)
        row = np.array([-1 if name is None else self.contexts.index.get(name, -1) for name in names], dtype=np.int64)
        why: list[str | None] = [
            None if r >= 0 or users is None
            else "router: nobody asked" if name is None
            else f"router: unknown person {name!r}"
            for r, name in zip(row, names, strict=True)
        ]  # fmt: skip
        return row, why

    def weights(self, candidates: Candidates) -> np.ndarray:
        """float64 [n, K] weight of each reward for the prompt and the person of each candidate."""
        person = self._people(candidates.user, len(candidates))[0]
        return self._weights(self.x(candidates), person)

    def _weights(self, x: np.ndarray, person: np.ndarray) -> np.ndarray:
        log_pi, features = self._route(x)
        return np.exp(self.contexts.logits(person, log_pi, features, self.settings["eta"]))

    def rewards(self, candidates: Candidates) -> np.ndarray:
        """float64 [n, K] each reward, in standard deviations over the training candidates."""
        return (self.x(candidates) @ self.heads - self.center) / self.spread

    def score(self, candidates: Candidates) -> Scores:
        """The rewards, each in its standard deviations, by the weights of the prompt and of the person in ``user``."""
        if not len(candidates):
            return Scores(np.zeros(0))
        person, why = self._people(candidates.user, len(candidates))
        x = self.x(candidates)
        r = (x @ self.heads - self.center) / self.spread
        return Scores(np.sum(self._weights(x, person) * r, axis=1), reason=why)

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a preferred to b) by the person in ``a.user``: the mixture of what the rewards say."""
        if not len(a):
            return Scores(np.zeros(0))
        person, why = self._people(a.user, len(a))
        return Scores(self._probability(self.x(a), self.x(b), person), reason=why)

    def _probability(self, x: np.ndarray, y: np.ndarray, person: np.ndarray) -> np.ndarray:
        # of two different prompts the weights meet in the middle, so that sides may be swapped
        log_a, h_a = self._route(x)
        log_b, h_b = self._route(y)
        w = np.exp(self.contexts.logits(person, (log_a + log_b) / 2, (h_a + h_b) / 2, self.settings["eta"]))
        return np.sum(w * expit((x - y) @ self.heads), axis=1)

    def prefer_at(self, candidates: Candidates, a: np.ndarray, b: np.ndarray, users: list[str | None]) -> np.ndarray:
        """float64 [n]: :meth:`prefer` of the rows a and b, int [n], of ``candidates``, asked by ``users`` [n]."""
        x = self.x(candidates)
        return self._probability(x[a], x[b], self._people(users, len(a))[0])

    def score_table(self, candidates: Candidates, users: list[str]) -> np.ndarray:
        """float64 [c, u]: score of each candidate for each person (the router's weights where unknown)."""
        x = self.x(candidates)
        r = (x @ self.heads - self.center) / self.spread
        log_pi, features = self._route(x)
        columns = []
        for row in self._people(users, len(users))[0]:
            person = np.full(len(x), row)
            w = np.exp(self.contexts.logits(person, log_pi, features, self.settings["eta"]))
            columns.append(np.sum(w * r, axis=1))
        return np.stack(columns, axis=1)

    def top_pairs(self, feedback: Feedback, count: int = 5) -> list[list[tuple[Text, Text, Text]]]:
        """Per reward, the ``count`` comparisons (prompt, preferred, other) that it explains best above the others.

        For naming the rewards: what do the comparisons that only this one expects have in common?
        """
        pairs = feedback.pairs(ties=False, max_per_person=self.settings["max_pairs"], seed=self.settings["seed"])
        u = self.x_of(feedback) @ self.heads / self.spread
        d = u[pairs.a] - u[pairs.b]
        d = d * np.sign(2 * pairs.p - 1)[:, None]
        others = (d.sum(1, keepdims=True) - d) / max(d.shape[1] - 1, 1)
        return [[_told(feedback, pairs, i) for i in np.argsort(-(d - others)[:, k])[:count]] for k in range(d.shape[1])]

    # ------------------------------------------------------------------ saving

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "heads": self.heads, "center": self.center, "spread": self.spread, "prior": self.prior,
            "columns": self.columns, **to_arrays(self.layers, "router"), **self.features.arrays(),
        }  # fmt: skip

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        for name in ("heads", "center", "spread", "prior", "columns"):
            setattr(self, name, arrays[name])
        self.layers = from_arrays(arrays, "router")
        self.features.restore(arrays)
        self.contexts = Contexts.empty(self.heads.shape[1], self._hidden)

    @property
    def _hidden(self) -> int:
        return self.layers[-1][0].shape[1] if self.layers else 0

    def people_table(self) -> pa.Table:
        """The people as an Arrow table: user, votes, losses, router, distilled."""
        return self.contexts.to_arrow()

    def restore_people(self, table: pa.Table) -> None:
        """Take the people back."""
        self.contexts = Contexts.from_arrow(table, self.heads.shape[1], self._hidden)


def _first_rows(feedback: Feedback) -> np.ndarray:
    """int64 [P] a used candidate of each prompt, 0 where it has none."""
    out = np.zeros(len(feedback.prompts), dtype=np.int64)
    used = feedback.used[::-1]
    out[feedback.prompt_of[used]] = used
    return out


def _told(feedback: Feedback, pairs: Pairs, i: int) -> tuple[Text, Text, Text]:
    a, b = int(pairs.a[i]), int(pairs.b[i])
    first, second = (a, b) if pairs.p[i] > 0.5 else (b, a)
    prompt, better = feedback.candidate(first)
    return prompt, better, feedback.candidate(second)[1]

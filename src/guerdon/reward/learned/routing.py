"""Re-weighting K rewards for a context or a person from a few comparisons: Hedge, and its distillation to a router.

Hedge keeps log-weights that start at what the router says of a prompt, and after a comparison with losses l_k (minus
the log-probability under each reward) takes eta l_k off each:

    w_k(x, c) ~ pi_k(x) exp(-eta L_kc),     L_kc = sum over the comparisons of c of l_k

With eta = 1 that is the Bayesian posterior over which reward c follows. Only the sums L are kept, so adding a
comparison costs nothing and the order does not matter. Distilled, the weights of c become a router of their own,

    g(x, c) = softmax(log pi(x) + b_c + V_c h(x)),     h the hidden features of the router,

fitted to the mixture likelihood of the few comparisons plus tau KL(w(x, c) || g(x, c)): then the weights may differ
from prompt to prompt. The form of the distillation is a reconstruction; the paper does not give it in full.

References: Shen et al. 2025, https://arxiv.org/abs/2505.24846 (MiCRo); Freund & Schapire 1997 (Hedge).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_softmax

from guerdon.errors import ModelError
from guerdon.feedback.star import Pairs
from guerdon.reward.learned.mixture_likelihood import Mixture
from guerdon.reward.learned.ties import softplus

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Contexts:
    """What is known of u people (or contexts): summed losses, how many comparisons, and the distilled router if any.

    losses float64 [u, K]; votes int64 [u]; shift float64 [u, 1 + h, K], zero where nothing was distilled; distilled
    bool [u]
    """

    users: tuple[str, ...]
    losses: np.ndarray
    votes: np.ndarray
    shift: np.ndarray
    distilled: np.ndarray

    @cached_property
    def index(self) -> dict[str, int]:
        """Row of each person."""
        return {user: i for i, user in enumerate(self.users)}

    @classmethod
    def empty(cls, k: int, h: int) -> Contexts:
        """Nobody, with K rewards and h hidden features."""
        return cls((), np.zeros((0, k)), np.zeros(0, np.int64), np.zeros((0, 1 + h, k)), np.zeros(0, bool))

    def heard(self, users: tuple[str, ...], person: np.ndarray, losses: np.ndarray, weight: np.ndarray) -> Contexts:
        """With further comparisons: ``person`` int [n] in ``users``, their losses [n, K] and weights [n]."""
        names = self.users + tuple(user for user in users if user not in self.index)
        table = {user: i for i, user in enumerate(names)}
        row = np.array([table[user] for user in users], dtype=np.int64)[person]
        more = len(names) - len(self.users)
        total = np.concatenate([self.losses, np.zeros((more, self.losses.shape[1]))])
        np.add.at(total, row, weight[:, None] * losses)
        votes = np.concatenate([self.votes, np.zeros(more, np.int64)]) + np.bincount(row, minlength=len(names))
        shift = np.concatenate([self.shift, np.zeros((more, *self.shift.shape[1:]))])
        return Contexts(names, total, votes, shift, np.r_[self.distilled, np.zeros(more, bool)])

    def with_routers(self, rows: np.ndarray, shift: np.ndarray) -> Contexts:
        """With distilled routers [len(rows), 1 + h, K] for the people at ``rows``."""
        every, known = self.shift.copy(), self.distilled.copy()
        every[rows], known[rows] = shift, True
        return replace(self, shift=every, distilled=known)

    def logits(self, person: np.ndarray, log_pi: np.ndarray, features: np.ndarray, eta: float) -> np.ndarray:
        """float64 [n, K] log-weights of ``person`` int [n] (-1: the router's) at prompts of log_pi and features."""
        out = log_pi.copy()
        told = np.flatnonzero(person >= 0)
        who = person[told]
        one = np.concatenate([np.ones((len(told), 1)), features[told]], axis=1)
        own = np.einsum("nh,nhk->nk", one, self.shift[who])
        out[told] += np.where(self.distilled[who][:, None], own, -eta * self.losses[who])
        return log_softmax(out, axis=1) if len(out) else out

    def to_arrow(self) -> pa.Table:
        """As an Arrow table."""
        import pyarrow as pa

        kind = pa.list_(pa.float64())
        flat = self.shift.reshape(len(self.users), self.shift.shape[1] * self.shift.shape[2])
        return pa.table(
            {
                "user": pa.array(self.users, pa.string()),
                "votes": pa.array(self.votes),
                "losses": pa.array(list(self.losses), kind),
                "router": pa.array(list(flat), kind),
                "distilled": pa.array(self.distilled),
            }
        )

    @classmethod
    def from_arrow(cls, table: pa.Table, k: int, h: int) -> Contexts:
        """From a table that :meth:`to_arrow` made of K rewards and h hidden features."""
        if not table.num_rows:
            return cls.empty(k, h)
        losses, router = (np.array(table.column(name).to_pylist(), dtype=np.float64) for name in ("losses", "router"))
        if losses.shape[1] != k or router.shape[1] != (1 + h) * k:
            raise ModelError(f"people.parquet does not fit a mixture of {k} rewards; save it again")
        votes = np.array(table.column("votes").to_pylist(), dtype=np.int64)
        distilled = np.array(table.column("distilled").to_pylist(), dtype=bool)
        return cls(tuple(table.column("user").to_pylist()), losses, votes, router.reshape(-1, 1 + h, k), distilled)


def losses_of(u: np.ndarray, pairs: Pairs) -> np.ndarray:
    """float64 [n, K] minus the log-probability of each comparison under each of the utilities u [C, K]."""
    d = u[pairs.a] - u[pairs.b]
    return softplus(-d) + (1 - pairs.p)[:, None] * d


def distil(
    contexts: Contexts,
    rows: np.ndarray,
    person: np.ndarray,
    pairs: Pairs,
    u: np.ndarray,
    log_pi: np.ndarray,
    features: np.ndarray,
    *,
    eta: float,
    tau: float,
    seed: int,
) -> Contexts:
    """``contexts`` with routers for the people ``rows``, from their comparisons alone.

    person int [n] in ``rows``; u [C, K]; log_pi [n, K] and features [n, h] of each comparison's prompt; tau > 0 holds
    the routers near the Hedge weights.
    """
    import torch

    from guerdon.reward.learned.networks import Schedule, negative_log_likelihood, train

    n, k = log_pi.shape
    hedge = replace(contexts, distilled=np.zeros(len(contexts.users), bool))
    target = torch.as_tensor(hedge.logits(rows[person], log_pi, features, eta))
    # from the router, not from the Hedge weights: those may be so sure that no gradient is left
    shift = torch.zeros(len(rows), 1 + features.shape[1], k, dtype=torch.float64, requires_grad=True)
    one = torch.as_tensor(np.concatenate([np.ones((n, 1)), features], axis=1))
    base, who = torch.as_tensor(log_pi), torch.as_tensor(person)
    utilities = torch.as_tensor(u)

    def loss(index: np.ndarray) -> torch.Tensor:
        at = torch.as_tensor(index)
        logits = torch.log_softmax(base[at] + torch.einsum("nh,nhk->nk", one[at], shift[who[at]]), dim=1)
        taken = pairs.take(index)
        data = Mixture.by_comparison(taken, len(u), k, np.arange(len(index)), len(index))
        nll = negative_log_likelihood(utilities, logits.flatten(), data, np.arange(len(u)), len(u))
        kl = (target[at].exp() * (target[at] - logits)).sum(1).mean()
        return nll + tau * kl

    train([shift], loss, n, Schedule(0.1, 0.0, 150, max(n, 1), None, seed=seed))
    return contexts.with_routers(rows, shift.detach().numpy())

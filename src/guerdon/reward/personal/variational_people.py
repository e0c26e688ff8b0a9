"""Who a person may be, read from their comparisons: the networks of the variational reward and their posteriors.

The set encoder reads comparisons into N(mu, sigma^2) over latent people, the decoder says what a latent person thinks
of features; with a bank of known people the posterior is over them instead (:mod:`.people_bank`). How scores come of
it is :mod:`.variational_scores`'s, what is fitted :mod:`.variational`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.learned.fitted import FeatureReward
from guerdon.reward.learned.networks import mlp
from guerdon.reward.personal import people_bank
from guerdon.reward.personal.contexts import Posteriors, blocks, chosen_first, padded
from guerdon.reward.personal.people import ADAPT_PAIRS
from guerdon.reward.personal.selection import pairs_of_people, within_person
from guerdon.reward.personal.set_encoder import LEAKY, SetEncoder, on_sphere

KEPT = 64
"""The latest comparisons of a person that are kept and read."""

ROWS = 16_384
"""Candidates x people x samples decoded at once."""


class LatentPeople(FeatureReward):
    """People as latent vectors: ``reader`` and ``decoder``, the people known, and a bank of them where it is used."""

    reads = ("user",)
    bank: np.ndarray
    people: Posteriors

    def _build(self, d: int) -> None:
        s = self.settings
        generator = torch.Generator().manual_seed(s["seed"])
        self.reader = SetEncoder(2 * d, s["hidden"], s["hidden"], s["latent"], generator=generator)
        self.decoder = mlp([d + s["latent"], s["hidden"], s["hidden"], 1], generator, LEAKY)

    @property
    def users(self) -> tuple[str, ...]:
        """The people this reward knows."""
        return self.people.users

    def _wide(self, x: np.ndarray) -> np.ndarray:
        """Features [n, d] of unit variance each: what small networks like."""
        return x * np.sqrt(x.shape[1])

    def _decode(self, x: Tensor, z: Tensor) -> Tensor:
        """[...] utilities of features x [..., d] to latent people z [..., L]."""
        return self.decoder(torch.cat([x, z], dim=-1))[..., 0]

    @torch.no_grad()
    def _tokens(self, pairs: Pairs, x: np.ndarray) -> np.ndarray:
        """float32 [n, hidden] embedded comparisons."""
        won, lost = chosen_first(pairs)
        out = np.empty((len(pairs), self.settings["hidden"]), dtype=np.float32)
        for lo in range(0, len(pairs), ROWS):
            rows = slice(lo, lo + ROWS)
            both = np.concatenate([x[won[rows]], x[lost[rows]]], axis=1)
            out[rows] = self.reader.embed(torch.as_tensor(both)).numpy()
        return out

    @torch.no_grad()
    def _read(self, tokens: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(mu, log variance) float64 [u, L] of ragged embedded comparisons."""
        mu, log_variance = (np.zeros((len(offsets) - 1, self.settings["latent"])) for _ in range(2))
        for rows in blocks(offsets, ROWS):
            size = np.diff(offsets)[rows]
            ends = np.concatenate([[0], np.cumsum(size)])
            flat = np.repeat(offsets[:-1][rows] - ends[:-1], size) + np.arange(ends[-1])
            values, mask = padded(tokens[flat].astype(np.float64), ends)
            found = self.reader.pool(torch.as_tensor(values), torch.as_tensor(mask))
            mu[rows], log_variance[rows] = (v.numpy() for v in found)
        return mu, log_variance

    def _posteriors(
        self, pairs: Pairs, person: np.ndarray, n: int, x: np.ndarray, users: tuple[str, ...] = ()
    ) -> Posteriors:
        """Posteriors of n people from comparisons whose people are ``person`` [m]; without any, the prior."""
        keep = np.flatnonzero(pairs.p != 0.5)
        order = keep[np.argsort(person[keep], kind="stable")]
        votes = np.bincount(person[order], minlength=n)
        order = order[votes[person[order]] - within_person(person[order]) <= KEPT]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(person[order], minlength=n))])
        tokens = self._tokens(pairs.take(order), x)
        if not len(self.bank):
            nothing = np.zeros((n, 0), dtype=np.float32)
            return Posteriors(users, *self._read(tokens, offsets), votes, offsets, tokens, nothing)
        evidence = self._evidence(pairs.take(keep), person[keep], n, x)
        return Posteriors(users, *people_bank.moments(self.bank, evidence), votes, offsets, tokens, evidence)

    def _bank(self, pairs: Pairs, x: np.ndarray) -> np.ndarray:
        """float64 [b, L] what the encoder reads of people, at most 256 of them."""
        codes, person = np.unique(pairs.user, return_inverse=True)
        mean = self._posteriors(pairs, person, len(codes), x).mean
        some = np.random.default_rng([self.settings["seed"], 72]).permutation(len(mean))[: people_bank.MOST]
        return mean[np.sort(some)]

    def _evidence(self, pairs: Pairs, person: np.ndarray, n: int, x: np.ndarray) -> np.ndarray:
        """float32 [n, b] log-likelihood of each person's comparisons [m] under each of the bank."""
        won, lost = chosen_first(pairs)
        items, at = np.unique(np.concatenate([won, lost]), return_inverse=True)
        b = len(self.bank)
        item, one = np.repeat(np.arange(len(items)), b), np.tile(np.arange(b), len(items))
        utility = self._utilities(x[items], self.bank[:, None], item, one).reshape(len(items), b)
        each = people_bank.log_likelihood(utility[at[: len(won)]] - utility[at[len(won) :]])
        out = np.zeros((n, b))
        np.add.at(out, person, each)
        return out.astype(np.float32)

    def _infer(self, feedback: Feedback, x: np.ndarray, known: Posteriors | None = None) -> Posteriors:
        """Everybody in ``feedback``, read all at once; what people in ``known`` said before counts on."""
        pairs = pairs_of_people(feedback, ADAPT_PAIRS, self.settings["seed"])
        pairs = pairs.take(pairs.p != 0.5)
        codes, person = np.unique(pairs.user, return_inverse=True)
        fresh = self._posteriors(pairs, person, len(codes), x, tuple(feedback.users[c] for c in codes))
        again = [(i, known.index[u]) for i, u in enumerate(fresh.users) if known is not None and u in known.index]
        if known is None or not again:
            return fresh
        here, there = (np.array(column) for column in zip(*again, strict=True))
        before = known.take(there)
        sizes = np.diff(before.offsets), np.diff(fresh.offsets)
        owner = np.concatenate([np.repeat(here, sizes[0]), np.repeat(np.arange(len(codes)), sizes[1])])
        order = np.argsort(owner, kind="stable")  # earlier comparisons first
        owner, tokens = owner[order], np.concatenate([before.tokens, fresh.tokens])[order]
        late = np.bincount(owner, minlength=len(codes))[owner] - within_person(owner) <= KEPT
        owner, tokens = owner[late], tokens[late]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(codes)))])
        votes, evidence = fresh.votes.copy(), fresh.evidence.copy()
        votes[here] += before.votes
        evidence[here] += before.evidence
        mine = people_bank.moments(self.bank, evidence) if len(self.bank) else self._read(tokens, offsets)
        return Posteriors(fresh.users, *mine, votes, offsets, tokens, evidence)

    def adapt(self, feedback: Feedback) -> Self:
        """A copy that also knows the people of ``feedback``: their comparisons are read, nothing is trained."""
        other = copy(self)
        other.people = self.people.merged(self._infer(feedback, self._wide(self.x_of(feedback)), self.people))
        return other

    def encode(self, chosen: Candidates, rejected: Candidates) -> tuple[np.ndarray, np.ndarray]:
        """(mu, sigma) float64 [L]: the posterior of somebody who preferred each chosen[i] to rejected[i].

        No comparisons give the prior: zeros and ones.
        """
        both = np.concatenate([self._wide(self.x(chosen)), self._wide(self.x(rejected))], axis=1)
        with torch.no_grad():
            tokens = self.reader.embed(torch.as_tensor(both)).numpy().astype(np.float32)
        mu, log_variance = self._read(tokens, np.array([0, len(tokens)]))
        return mu[0], np.exp(0.5 * log_variance[0])

    def latent(self, users: list[str]) -> np.ndarray:
        """float64 [u, L] posterior means, the prior's (zero) where unknown: what a policy is conditioned on."""
        rows = [self.people.index.get(user, -1) for user in users]
        return np.concatenate([self.people.mean, np.zeros((1, self.settings["latent"]))])[rows]

    def samples(self, users: Sequence[str | None], count: int | None = None) -> np.ndarray:
        """float64 [u, S, L] samples of each person's posterior, on the sphere of training; the same noise for all.

        With ``inference="people"`` they are people of the bank, evenly over the posterior.
        """
        s = self.settings
        if len(self.bank):
            known = np.concatenate([self.people.evidence, np.zeros((1, len(self.bank)), dtype=np.float32)])
            rows = [self.people.index.get(user, -1) if user is not None else -1 for user in users]
            return people_bank.draws(self.bank, known[rows], int(s["samples"] if count is None else count))
        size = (int(s["samples"] if count is None else count), int(s["latent"]))
        noise = np.random.default_rng([s["seed"], 71]).normal(size=size)
        rows = [self.people.index.get(user, -1) if user is not None else -1 for user in users]
        mean = self.latent([user or "" for user in users])
        spread = np.concatenate([np.exp(0.5 * self.people.log_variance), np.ones((1, s["latent"]))])[rows]
        return on_sphere(torch.as_tensor(mean[:, None] + spread[:, None] * noise)).numpy()

    @torch.no_grad()
    def _utilities(self, x: np.ndarray, z: np.ndarray, item: np.ndarray, person: np.ndarray) -> np.ndarray:
        """float64 [n, S] utilities of x[item] to z[person], z [g, S, L]; the first layer is computed once a row."""
        first: Any = self.decoder[0]
        d = x.shape[1]
        of_x = torch.as_tensor(x) @ first.weight[:, :d].T + first.bias
        of_z = torch.as_tensor(z) @ first.weight[:, d:].T
        out = np.empty((len(item), z.shape[1]))
        step = max(1, ROWS // z.shape[1])
        for lo in range(0, len(item), step):
            rows = slice(lo, lo + step)
            h = of_x[torch.as_tensor(item[rows])][:, None] + of_z[torch.as_tensor(person[rows])]
            for layer in list(self.decoder)[1:]:
                h = layer(h)
            out[rows] = h[..., 0].numpy()
        return out

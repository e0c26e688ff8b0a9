"""Simulated people whose truth is known: who they are, what they feel about every candidate, how they answer.

A population is drawn over K scorers of a pool's candidates (planted features, reward models, plain functions), each
standardised by its own mean and standard deviation over the pool; without that the scorer with the largest scale rules
everybody. How they differ from each other is the kind of population (:mod:`guerdon.worlds.kinds`): ``dirichlet``,
``signed``, ``clustered``, ``shared``, ``ideal-point`` or ``cyclic``.

Every person draws from a random stream of their own, so adding people never changes earlier ones. Reference for the
Dirichlet mixtures: Zollo et al. (2024), PersonalLLM, https://arxiv.org/abs/2409.20296.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.worlds.annotators import Annotator, Panel
from guerdon.worlds.kinds import parse
from guerdon.worlds.pool import Pool, Scorer, evaluate

if TYPE_CHECKING:
    from guerdon.feedback.star import Feedback
    from guerdon.worlds.oracle import Oracle

BLOCK = 4_000_000  # utilities held at once where a result does not need them all: 32 MB


# ---------------------------------------------------------------------- geometry: parameters to utilities


def _linear(weights: np.ndarray, z: np.ndarray) -> np.ndarray:
    return weights @ z.T


def _linear_at(weights: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.einsum("nk,nmk->nm", weights, z)


def _distance(weights: np.ndarray, z: np.ndarray) -> np.ndarray:
    square = np.sum(weights**2, 1)[:, None] - 2 * weights @ z.T + np.sum(z**2, 1)
    return -np.sqrt(np.maximum(square, 0.0))


def _distance_at(weights: np.ndarray, z: np.ndarray) -> np.ndarray:
    return -np.linalg.norm(z - weights[:, None, :], axis=2)


# ---------------------------------------------------------------------- the population


@dataclass(frozen=True, eq=False)
class Population:
    """u simulated people over the c candidates of a pool; make one with :meth:`simulate`.

    pool           the candidates
    kind           one of ``kinds.KINDS``
    z              float64 [c, K] scores, standardised with ``center`` and ``spread``
    weights        float64 [u, K] weights, or ideal points, or [u, 1] the sense of the cycle
    ids            int64 [u] which person of the endless population each is (their random stream)
    annotators     the ways of answering that occur; ``annotator_of`` int64 [u] which one each person has
    train, test    int64 prompts that histories are drawn from, and prompts that never occur in one
    center, spread float64 [K] the stored constants of the standardisation
    scorers        K names;  seed  what everybody's random stream starts from
    """

    pool: Pool
    kind: str
    z: np.ndarray
    weights: np.ndarray
    ids: np.ndarray
    annotators: tuple[Annotator, ...]
    annotator_of: np.ndarray
    train: np.ndarray
    test: np.ndarray
    center: np.ndarray
    spread: np.ndarray
    scorers: tuple[str, ...]
    seed: int

    @classmethod
    def simulate(
        cls,
        kind: str,
        pool: Pool,
        scorers: Mapping[str, Scorer] | Sequence[Scorer] | np.ndarray | None = None,
        *,
        users: int = 100,
        annotators: Annotator | Sequence[tuple[float, Annotator]] | None = None,
        standardize: bool = True,
        held_out: float = 0.0,
        seed: int = 0,
        **options: Any,
    ) -> Population:
        """Draw a population.

        kind        one of ``kinds.KINDS``, or ``kind:value`` for its main option (``dirichlet:0.1``)
        scorers     what people care about (see ``pool.evaluate``); the pool's features by default
        annotators  how people answer: one way for all, or [(share, annotator), ...]; Bradley-Terry by default
        standardize each scorer by its own mean and standard deviation over the pool (False: as it is)
        held_out    share of the prompts that never occur in a history
        options     of the kind: dirichlet ``alpha``; signed ``sphere``; clustered ``prototypes`` (a number or an array
                    [n, K]), ``spread``, ``shares``; shared ``weights``; ideal-point ``spread``, ``prototypes``,
                    ``alpha``; cyclic ``reverse``
        """
        name, draw_kind, options = parse(kind, options)
        if users < 1:
            raise ConfigError(f"users={users}; use at least one")
        if seed < 0:
            raise ConfigError(f"seed={seed}; use a number >= 0")
        scores, names = (pool.features, pool.names) if scorers is None else evaluate(scorers, pool.candidates)
        center, spread = scores.mean(0), scores.std(0)
        constant = np.flatnonzero(spread <= 1e-12 * np.maximum(np.abs(center), 1.0))
        if standardize and len(constant):
            where = ", ".join(repr(names[k]) for k in constant[:3])
            raise ConfigError(f"scorer {where} gives every candidate the same score (sd 0); leave it out")
        if not standardize:
            center, spread = np.zeros_like(center), np.ones_like(spread)
        shared = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2,)))
        try:
            draw = draw_kind(scores.shape[1], shared, **options)
        except TypeError as error:
            raise ConfigError(f"population {name!r}: {error}") from error
        train, test = pool.split(held_out, seed)
        ways, shares = _ways(annotators)
        ids = np.arange(users)
        streams = [_stream(seed, user) for user in range(users)]
        answers = np.searchsorted(np.cumsum(shares), [rng.random() for rng in streams], side="right")
        return cls(
            pool=pool,
            kind=name,
            z=(scores - center) / spread,
            weights=np.stack([draw(rng) for rng in streams]),
            ids=ids,
            annotators=ways,
            annotator_of=np.minimum(answers, len(ways) - 1),
            train=train,
            test=test,
            center=center,
            spread=spread,
            scorers=names,
            seed=seed,
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def users(self) -> tuple[str, ...]:
        """u names; person i is called ``u<i>`` in every population, however large."""
        return tuple(f"u{i}" for i in self.ids)

    def take(self, users: np.ndarray) -> Population:
        """The people at ``users`` (indices or a mask), who stay who they are."""
        rows = np.arange(len(self))[users]
        return replace(self, weights=self.weights[rows], ids=self.ids[rows], annotator_of=self.annotator_of[rows])

    def distinct(self, distance: float) -> Population:
        """Without near-duplicates: drops a person whose weights are within ``distance`` of an earlier person's."""
        kept: list[int] = []
        for user in range(len(self)):
            if not kept or np.linalg.norm(self.weights[kept] - self.weights[user], axis=1).min() > distance:
                kept.append(user)
        return self.take(np.array(kept))

    def on(self, pool: Pool, scorers: Mapping[str, Scorer] | Sequence[Scorer] | np.ndarray | None = None) -> Population:
        """The same people over other candidates, whose scores are standardised by the stored constants."""
        scores = pool.features if scorers is None else evaluate(scorers, pool.candidates)[0]
        if scores.shape[1] != len(self.center):
            raise ConfigError(f"these people judge by {len(self.center)} scorers, {scores.shape[1]} given")
        everything = np.arange(len(pool.prompts))
        return replace(self, pool=pool, z=(scores - self.center) / self.spread, train=everything, test=everything[:0])

    # ------------------------------------------------------------------ the truth

    def utilities(self, users: Any = slice(None), items: Any = slice(None)) -> np.ndarray:
        """float64 [u, c] utility of the candidates ``items`` to the people ``users`` (everything by default)."""
        return self._geometry()[0](self.weights[users], self.z[items])

    def utility_at(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """float64 [n, m] utility of candidates ``items`` [n, m] to the people ``users`` [n]."""
        return self._geometry()[1](self.weights[users], self.z[items])

    def blocks(self, items: Any = slice(None)) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(users, utilities [block, c]) over all people, with bounded memory."""
        width = max(1, len(self.z[items]))
        step = max(1, BLOCK // width)
        for start in range(0, len(self), step):
            rows = np.arange(start, min(start + step, len(self)))
            yield rows, self.utilities(rows, items)

    @cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean, sd) [u] of each person's utility over the pool; sd is 1 for a person who does not care."""
        if self.kind == "cyclic":
            return np.zeros(len(self)), np.ones(len(self))
        if self.kind == "ideal-point":
            parts = [(utility.mean(1), utility.std(1)) for _, utility in self.blocks()]
            mean, sd = (np.concatenate(column) for column in zip(*parts, strict=True))
        else:
            covariance = np.atleast_2d(np.cov(self.z.T, bias=True))
            mean = self.weights @ self.z.mean(0)
            sd = np.sqrt(np.maximum(np.einsum("uk,kl,ul->u", self.weights, covariance, self.weights), 0.0))
        return mean, np.where(sd > 0, sd, 1.0)

    def gap(self, users: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """float64 [n] by how much people ``users`` [n] like candidates ``a`` [n] better than ``b`` [n].

        utility(a) - utility(b), or the strength in [-1, 1] of a cyclic preference.
        """
        if self.kind == "cyclic":
            return self.weights[users, 0] * self._cycle[self._style[a], self._style[b]]
        both = self.utility_at(users, np.stack([a, b], axis=-1))
        return both[:, 0] - both[:, 1]

    def preference(
        self, users: np.ndarray, a: np.ndarray, b: np.ndarray, annotator: Annotator | None = None
    ) -> np.ndarray:
        """float64 [n] P(user says a is better), a tie counted half, in closed form; sides shown at random."""
        panel = self.panel(users, annotator)
        win, tie = panel.probabilities(self.gap(users, a, b) / self._unit(users, panel))
        return win + 0.5 * tie

    def choices(self, prompts: np.ndarray | None = None) -> np.ndarray:
        """int64 [u, p] the candidate each person likes best among the responses to each prompt (the oracle)."""
        members = self.pool.members[slice(None) if prompts is None else prompts]
        out = np.empty((len(self), len(members)), dtype=np.int64)
        for rows, utility in self.blocks(np.maximum(members, 0).ravel()):
            utility = utility.reshape(len(rows), *members.shape)
            if (members < 0).any():
                utility = np.where(members < 0, -np.inf, utility)
            best = utility.argmax(2)
            out[rows] = np.take_along_axis(members[None], best[:, :, None], 2)[:, :, 0]
        return out

    def oracle(self) -> Oracle:
        """The truth as a :class:`~guerdon.reward.base.Reward` that knows these people by name."""
        from guerdon.worlds.oracle import Oracle

        return Oracle(self)

    # ------------------------------------------------------------------ what people say

    def history(self, **options: Any) -> Feedback:
        """What people say about candidates they are shown; see :func:`guerdon.worlds.history.history`."""
        from guerdon.worlds.history import history

        return history(self, **options)

    def panel(self, users: np.ndarray, annotator: Annotator | None = None) -> Panel:
        """How the people ``users`` [n] answer, or how ``annotator`` would in their place."""
        if annotator is not None:
            return Panel.of([annotator], np.zeros(len(users), dtype=np.int64))
        return Panel.of(self.annotators, self.annotator_of[users])

    def rng(self, user: int, seed: int) -> np.random.Generator:
        """The random stream of one person (by row) for one history."""
        return _stream(self.seed, int(self.ids[user]), 1 + seed)

    def _unit(self, users: np.ndarray, panel: Panel) -> np.ndarray:
        return np.where(panel.standardize, self.moments[1][users], 1.0)

    def _geometry(self) -> tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]:
        if self.kind == "cyclic":
            raise ConfigError("cyclic people have no utility, only preferences between two; use gap() or preference()")
        return (_distance, _distance_at) if self.kind == "ideal-point" else (_linear, _linear_at)

    @cached_property
    def _style(self) -> np.ndarray:
        return self.z.argmax(1)

    @cached_property
    def _cycle(self) -> np.ndarray:
        k = self.z.shape[1]
        ahead = np.arange(k)[None, :] - np.arange(k)[:, None]
        wave = np.sin(2 * np.pi * ahead / k)  # i beats those less than half a turn ahead of it
        return wave / np.abs(wave).max()


def _stream(seed: int, user: int, purpose: int = 0) -> np.random.Generator:
    """One person's random stream: depends on seed, person and purpose, not on how many people there are."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3, user, purpose)))


def _ways(
    annotators: Annotator | Sequence[tuple[float, Annotator]] | None,
) -> tuple[tuple[Annotator, ...], np.ndarray]:
    if annotators is None:
        annotators = Annotator()
    if isinstance(annotators, Annotator):
        return (annotators,), np.ones(1)
    shares = np.array([share for share, _ in annotators], dtype=np.float64)
    if not len(shares) or (shares < 0).any() or not np.isclose(shares.sum(), 1):
        raise ConfigError(f"annotators: the shares {shares.tolist()} must be >= 0 and sum to 1")
    return tuple(way for _, way in annotators), shares

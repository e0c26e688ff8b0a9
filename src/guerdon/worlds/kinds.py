"""Kinds of simulated people: how one person's parameters are drawn, with z [c, K] the standardised scores of a pool.

``dirichlet``    utility = z w, w ~ Dirichlet(alpha): small alpha, each follows one or two scorers; large, all agree
``signed``       utility = z w, w ~ N(0, I) (or uniform on the sphere): opposed people, the average wants nothing
``clustered``    utility = z w, w near one of a few prototypes
``shared``       utility = z w with one w for all: no disagreement, whatever a personal model finds is noise
``ideal-point``  utility = -||z - ideal||: not too little, not too much
``cyclic``       no utility: responses fall into K styles (the scorer they do best on) and style i beats i + 1, ...

A kind is a function ``(k, shared, **options) -> draw``: ``shared`` is the stream of what all people have in common
(prototypes), ``draw(rng)`` gives one person's parameters from their own stream. A new kind is such a function and its
line in :data:`KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from guerdon.errors import ConfigError

Draw = Callable[[np.random.Generator], np.ndarray]


def parse(kind: str, options: dict[str, Any]) -> tuple[str, Callable[..., Draw], dict[str, Any]]:
    """(name, kind, options) of ``name`` or ``name:value``, the value being that of the kind's main option."""
    name, _, value = kind.partition(":")
    if name not in KINDS:
        raise ConfigError(f"no population {name!r}; use one of: {', '.join(KINDS)}")
    make, main = KINDS[name]
    return name, make, {**options, main: _number(kind, value)} if value else options


def _dirichlet(k: int, shared: np.random.Generator, alpha: float = 0.1) -> Draw:
    if not alpha > 0:
        raise ConfigError(f"dirichlet: alpha={alpha}; use a positive number")

    def draw(rng: np.random.Generator) -> np.ndarray:
        w = rng.dirichlet(np.full(k, alpha))
        # for tiny alpha all gammas can underflow to 0/0; the limit is one scorer alone
        return w if np.isfinite(w).all() else np.eye(k)[rng.integers(k)]

    return draw


def _signed(k: int, shared: np.random.Generator, sphere: bool = False) -> Draw:
    def draw(rng: np.random.Generator) -> np.ndarray:
        w = rng.normal(size=k)
        return w / np.linalg.norm(w) if sphere else w

    return draw


def _prototypes(k: int, shared: np.random.Generator, prototypes: Any, spread: float) -> np.ndarray:
    if isinstance(prototypes, int | np.integer):
        if prototypes < 1:
            raise ConfigError(f"prototypes={prototypes}; use at least one, or an array [n, {k}]")
        return spread * shared.normal(size=(int(prototypes), k))
    table = np.asarray(prototypes, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != k:
        raise ConfigError(f"prototypes of shape {list(table.shape)}; use a number or an array [n, {k}]")
    return table


def _clustered(
    k: int, shared: np.random.Generator, prototypes: Any = 3, spread: float = 0.1, shares: Sequence[float] | None = None
) -> Draw:
    table = _prototypes(k, shared, prototypes, 1.0)
    share = np.full(len(table), 1 / len(table)) if shares is None else np.asarray(shares, dtype=np.float64)
    if share.shape != (len(table),) or (share < 0).any() or not np.isclose(share.sum(), 1):
        raise ConfigError(f"clustered: shares must be {len(table)} numbers >= 0 that sum to 1")
    return lambda rng: table[rng.choice(len(table), p=share)] + spread * rng.normal(size=k)


def _shared(k: int, shared: np.random.Generator, weights: Any = None) -> Draw:
    w = shared.normal(size=k) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (k,):
        raise ConfigError(f"shared: weights of shape {list(w.shape)}; there are {k} scorers")
    return lambda rng: w


def _ideal(
    k: int, shared: np.random.Generator, spread: float = 1.0, prototypes: Any = None, alpha: float = 0.4
) -> Draw:
    if prototypes is None:
        return lambda rng: spread * rng.normal(size=k)
    table = _prototypes(k, shared, prototypes, spread)
    mix = _dirichlet(len(table), shared, alpha)
    return lambda rng: mix(rng) @ table


def _cyclic(k: int, shared: np.random.Generator, reverse: float = 0.0) -> Draw:
    if k < 3:
        raise ConfigError(f"cyclic: a cycle needs at least 3 scorers, there are {k}")
    if not 0 <= reverse <= 1:
        raise ConfigError(f"cyclic: reverse={reverse}; use the share of people with the reversed cycle, in [0, 1]")
    return lambda rng: np.array([-1.0 if rng.random() < reverse else 1.0])


KINDS: dict[str, tuple[Callable[..., Draw], str]] = {
    "dirichlet": (_dirichlet, "alpha"),
    "signed": (_signed, "sphere"),
    "clustered": (_clustered, "prototypes"),
    "shared": (_shared, "weights"),
    "ideal-point": (_ideal, "spread"),
    "cyclic": (_cyclic, "reverse"),
}
"""Kind -> (how a person's parameters are drawn, the option that ``kind:value`` sets)."""


def _number(kind: str, value: str) -> float | int:
    try:
        number = float(value)
    except ValueError as error:
        raise ConfigError(f"population {kind!r}: {value!r} is not a number; write e.g. dirichlet:0.1") from error
    return int(number) if number.is_integer() else number

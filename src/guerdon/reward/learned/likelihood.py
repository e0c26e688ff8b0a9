"""How utilities of candidates explain what people said: one family, one interface.

A likelihood compiled on feedback is a function of the utilities ``u`` [C] of all candidates (and a few parameters of
its own, ``theta``) that returns the weighted mean negative log-likelihood with its gradients. Because the gradient is
taken with respect to utilities, every head (linear, MLP, a transformer) trains on the same code: a head only has to
carry ``du`` [C] back to its parameters.

=================  =========================================================  ==========================================
bradley-terry      comparisons; margin, soft labels, smoothing, ties (half,   :mod:`guerdon.reward.learned.comparisons`,
                   Davidson, Rao-Kupper)                                      :mod:`guerdon.reward.learned.ties`
luce               comparisons by an implicit density: tempered, or by the    :mod:`guerdon.reward.learned.choice`
                   token
classification     each response of a pair alone                              :mod:`guerdon.reward.learned.comparisons`
plackett-luce      rankings, choice of n                                      :mod:`guerdon.reward.learned.rankings`
best-worst         the best, then the worst of n                              :mod:`guerdon.reward.learned.rankings`
maxdiff            best and worst of n at once                                :mod:`guerdon.reward.learned.rankings`
regression         ratings                                                    :mod:`guerdon.reward.learned.ratings`
=================  =========================================================  ==========================================

Two need several utilities a candidate, u [C, K], and come with models of their own: ``SkewSymmetric`` (general
preference, :mod:`guerdon.reward.learned.general_preference`) and ``Mixture`` (several kinds of annotators,
:mod:`guerdon.reward.learned.mixture`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol, Self

import numpy as np

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.learned.choice import Behaviour, word_counts
from guerdon.reward.learned.comparisons import BradleyTerry, Classification, Luce, SkewSymmetric, scatter
from guerdon.reward.learned.mixture_likelihood import Mixture
from guerdon.reward.learned.rankings import BestWorst, PlackettLuce
from guerdon.reward.learned.ratings import Regression
from guerdon.reward.learned.ties import TIES, softplus


class Likelihood(Protocol):
    """A compiled likelihood over C candidates."""

    candidates: int

    width: ClassVar[int | None]
    """1: u is [C]; None: u is [C, K]."""

    @property
    def theta0(self) -> np.ndarray:
        """float64 [t] start of the likelihood's own parameters."""
        ...

    def __len__(self) -> int:
        """Number of data (pairs, judgements or ratings)."""
        ...

    def __call__(self, u: np.ndarray, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """(weighted mean loss, d loss / d u [C], d loss / d theta [t])."""
        ...

    def log_prob(self, u: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """float64 [n] log-probability of each datum, without margin or smoothing (soft labels: the expected one)."""
        ...

    def sample(self, u: np.ndarray, theta: np.ndarray, rng: np.random.Generator) -> Self:
        """The same questions, answered anew by somebody who chooses as the likelihood says."""
        ...

    def take(self, index: np.ndarray) -> Self:
        """The same likelihood on some of the data (minibatches)."""
        ...

    def members(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(candidates of all data one after the other, [n + 1] where each datum starts, [n] weights)."""
        ...

    def over(self, table: np.ndarray) -> Self:
        """The same data with candidates counted by their place in ``table`` (ascending candidate indices)."""
        ...

    def verdicts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(better, worse, weight) of comparisons, (best, last, weight) of rankings; a tie has weight 0.

        Raises FeedbackError for ratings, which name no better and no worse.
        """
        ...


def _pairs(fb: Feedback, max_pairs: int | None, seed: int, ties: bool = True) -> Pairs:
    pairs = fb.pairs(ties=ties, max_per_person=max_pairs, seed=seed)
    if not len(pairs):
        raise FeedbackError(
            "this feedback implies no comparisons (every judgement has one response and no person rated two responses "
            "to the same prompt differently): use --model regression"
        )
    return pairs


def _plackett_luce(fb: Feedback, **_: object) -> PlackettLuce:
    compiled = PlackettLuce.of(fb)
    if not len(compiled):
        raise FeedbackError("plackett-luce needs judgements of two or more responses; use --model bradley-terry")
    return compiled


def _best_worst(name: str) -> Callable[..., BestWorst]:
    def compiled(fb: Feedback, **_: object) -> BestWorst:
        data = BestWorst.of(fb, joint=name == "maxdiff")
        if not len(data):
            raise FeedbackError(f"{name} needs judgements that name one best and one worst of two or more responses")
        return data

    return compiled


def _luce(
    fb: Feedback,
    *,
    smoothing: float,
    ties: str,
    max_pairs: int | None,
    seed: int,
    beta: float,
    lengths: np.ndarray | str | None,
    length_normalized: bool,
    **_: object,
) -> Luce:
    if isinstance(lengths, str):
        if lengths != "words":
            raise ConfigError(f"lengths={lengths!r} is unknown; use 'words' or one number a candidate")
        lengths = word_counts(fb)
    scale = Behaviour(beta, length_normalized).scale(lengths, len(fb.responses))
    pairs = _pairs(fb, max_pairs, seed, ties != "drop")
    return Luce(pairs, len(fb.responses), 0.0, smoothing, "half" if ties == "drop" else ties, scale)


LIKELIHOODS: dict[str, Callable[..., Likelihood]] = {
    "bradley-terry": lambda fb, *, margin, smoothing, ties, max_pairs, seed, **_: BradleyTerry(
        _pairs(fb, max_pairs, seed, ties != "drop"),
        len(fb.responses),
        margin,
        smoothing,
        "half" if ties == "drop" else ties,
    ),
    "luce": _luce,
    "plackett-luce": _plackett_luce,
    "best-worst": _best_worst("best-worst"),
    "maxdiff": _best_worst("maxdiff"),
    "classification": lambda fb, *, max_pairs, seed, **_: Classification(
        _pairs(fb, max_pairs, seed), len(fb.responses)
    ),
    "regression": lambda fb, **_: Regression.of(fb),
}


def compile_likelihood(
    name: str,
    feedback: Feedback,
    *,
    margin: float = 0.0,
    smoothing: float = 0.0,
    ties: str = "half",
    max_pairs: int | None = None,
    seed: int = 0,
    beta: float = 1.0,
    length_normalized: bool = False,
    lengths: np.ndarray | str | None = None,
) -> Likelihood:
    """The likelihood called ``name`` on ``feedback``.

    ties: ``half`` (p = 1/2), ``drop``, ``davidson`` or ``rao-kupper``; max_pairs bounds pairs made from ratings, per
    person. luce alone: ``beta`` (how sharply people choose), ``length_normalized`` (they judge by the token), with
    ``lengths`` [C] of the candidates' responses, or ``words`` to count them.
    """
    if name not in LIKELIHOODS:
        raise ConfigError(f"likelihood {name!r} is unknown; use one of {', '.join(LIKELIHOODS)}")
    if ties not in (*TIES, "drop"):
        raise ConfigError(f"ties={ties!r} is unknown; use half, drop, davidson or rao-kupper")
    return LIKELIHOODS[name](
        feedback,
        margin=margin,
        smoothing=smoothing,
        ties=ties,
        max_pairs=max_pairs,
        seed=seed,
        beta=beta,
        length_normalized=length_normalized,
        lengths=lengths,
    )


__all__ = [
    "LIKELIHOODS",
    "BestWorst",
    "BradleyTerry",
    "Classification",
    "Likelihood",
    "Luce",
    "Mixture",
    "PlackettLuce",
    "Regression",
    "SkewSymmetric",
    "compile_likelihood",
    "scatter",
    "softplus",
]

r"""How a utility becomes a verdict: what people do with what they feel.

A person who feels utility u of each response shown *perceives* ``sign * (q * u / sd + Gumbel noise)`` and answers by
the order of what is perceived. With Gumbel noise a comparison is Bradley-Terry, ``P(a over b) = sigmoid(q (u_a - u_b) /
sd)``, a ranking is Plackett-Luce and a best-of-n is Luce's choice, all of one scale q (q = inf is a perfect annotator).

On top of that a person may be indifferent to small differences (a tie), answer the wrong way round by mistake
(``flip``), always answer the wrong way round (``inverted``), or not look at all (``lazy``: a tie, or the first shown).

References: Luce (1959), Individual Choice Behavior; Rao and Kupper (1967) for the tie threshold; Sun et al. (2025),
Reusing Embeddings, for the quality q in units of the reward's standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from guerdon.errors import ConfigError

LAZY_ANSWERS = ("tie", "first")


@dataclass(frozen=True)
class Annotator:
    """One way to answer.

    scale         q > 0: log-odds of the better response per standard deviation of utility; inf = always right
    standardize   divide utility differences by the person's own standard deviation of utility first (False: raw)
    indifference  >= 0: perceived differences (in log-odds) below it are ties
    flip          share of verdicts given the wrong way round, in [0, 1]
    inverted      answers the opposite of what is felt
    lazy          share of verdicts given without looking, in [0, 1]
    lazy_answer   what a lazy verdict is: ``tie``, or ``first`` (the response shown first; a top rating)
    """

    scale: float = 4.0
    standardize: bool = True
    indifference: float = 0.0
    flip: float = 0.0
    inverted: bool = False
    lazy: float = 0.0
    lazy_answer: str = "tie"

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ConfigError(f"annotator: scale={self.scale}; use a positive number, inf for a perfect annotator")
        if self.indifference < 0:
            raise ConfigError(f"annotator: indifference={self.indifference}; use a log-odds >= 0")
        for name in ("flip", "lazy"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"annotator: {name}={getattr(self, name)}; use a share in [0, 1]")
        if self.lazy_answer not in LAZY_ANSWERS:
            raise ConfigError(f"annotator: lazy_answer={self.lazy_answer!r}; use one of {', '.join(LAZY_ANSWERS)}")

    @classmethod
    def bradley_terry(cls, scale: float = 4.0, *, standardize: bool = True) -> Annotator:
        """P(a over b) = sigmoid(scale * (u_a - u_b) / sd)."""
        return cls(scale=scale, standardize=standardize)

    @classmethod
    def perfect(cls) -> Annotator:
        """Always right; a tie only where utilities are equal."""
        return cls(scale=math.inf)

    @classmethod
    def noisy(cls, flip: float = 0.2) -> Annotator:
        """Right, except that a share ``flip`` of the verdicts is the wrong way round, however clear the case."""
        return cls(scale=math.inf, flip=flip)

    @classmethod
    def careless(cls, lazy: float = 0.5, answer: str = "tie", scale: float = 4.0) -> Annotator:
        """Does not look in a share ``lazy`` of the cases and says ``answer``; Bradley-Terry otherwise."""
        return cls(scale=scale, lazy=lazy, lazy_answer=answer)

    @classmethod
    def adversarial(cls, scale: float = 4.0) -> Annotator:
        """Bradley-Terry of the negated utility."""
        return cls(scale=scale, inverted=True)


@dataclass(frozen=True)
class Panel:
    """Kinds of annotators and which of them each of n verdicts is given by: every parameter an array."""

    scale: np.ndarray
    standardize: np.ndarray
    indifference: np.ndarray
    flip: np.ndarray
    sign: np.ndarray
    lazy: np.ndarray
    lazy_first: np.ndarray

    @classmethod
    def of(cls, annotators: Sequence[Annotator], kind: np.ndarray) -> Panel:
        """The parameters of ``annotators[kind]``, kind int [n]."""

        def column(name: str, dtype: type) -> np.ndarray:
            return np.array([getattr(a, name) for a in annotators], dtype=dtype)[kind]

        return cls(
            scale=column("scale", float),
            standardize=column("standardize", bool),
            indifference=column("indifference", float),
            flip=column("flip", float),
            sign=np.where(column("inverted", bool), -1.0, 1.0),
            lazy=column("lazy", float),
            lazy_first=np.array([a.lazy_answer == "first" for a in annotators])[kind],
        )

    def perceive(self, felt: np.ndarray, noise: np.ndarray, slip: np.ndarray) -> np.ndarray:
        """What is perceived [n, m] of ``felt`` [n, m] (utilities in units of sd where that is asked for).

        ``noise`` uniform [n, m] becomes Gumbel noise, ``slip`` uniform [n] decides the mistakes.
        """
        exact = np.isinf(self.scale)
        gumbel = -np.log(-np.log(np.clip(noise, 1e-300, 1 - 1e-16)))
        scale = np.where(exact, 1.0, self.scale)[:, None]
        perceived = self.sign[:, None] * felt * scale + np.where(exact[:, None], 0.0, gumbel)
        return np.where((slip < self.flip)[:, None], -perceived, perceived)

    def probabilities(self, gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(P(a wins), P(tie)) [n] for felt differences ``gap`` = felt(a) - felt(b) [n], sides shown at random."""
        exact = np.isinf(self.scale)
        logit = self.sign * gap * np.where(exact, 1.0, self.scale)
        t = self.indifference
        win = np.where(exact, (logit > t) * 1.0, expit(logit - t))
        loss = np.where(exact, (-logit > t) * 1.0, expit(-logit - t))
        tie = 1.0 - win - loss
        win = (1 - self.flip) * win + self.flip * loss
        win = (1 - self.lazy) * win + self.lazy * np.where(self.lazy_first, 0.5, 0.0)
        tie = (1 - self.lazy) * tie + self.lazy * np.where(self.lazy_first, 0.0, 1.0)
        return win, tie

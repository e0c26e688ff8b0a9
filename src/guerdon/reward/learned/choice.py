r"""Preference behaviour: which density people choose by, and how to read it off a fitted reward.

Learning from pairs is density estimation of what the annotator implicitly holds, if the way of choosing is known:
P(a over b) = s(O_a - O_b) with O a function of the annotator's density p* (given the prompt) and of the response.

    Luce                     O_y = log p*(y)              p ~ exp(r)
    tempered Luce            O_y = beta log p*(y)         p ~ exp(r / beta)
    length-normalised Luce   O_y = (1 / |y|) log p*(y)    p = exp(|y| (r + c))

A fit by maximum likelihood finds r = O + c(x). The constant does not matter for the first two; in the last |y| c is
not constant, and c is fixed by sum exp(|y| (r + c)) = 1, a root find in one dimension. The wrong rule gives a density
that nobody holds, and more data do not mend it; nor does it mend answers of several people in one pot.

Reference: Dumoulin et al. 2023, A density estimation perspective on learning from pairwise human preferences,
https://arxiv.org/abs/2311.14115
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import as_text, unpack
from guerdon.feedback.star import Feedback


@dataclass(frozen=True)
class Behaviour:
    """A rule of choice. ``beta`` > 0 sharpens (> 1) or flattens choices; ``length_normalized`` judges by the token."""

    beta: float = 1.0
    length_normalized: bool = False

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ConfigError(f"beta={self.beta}: use a number > 0")

    def scale(self, lengths: np.ndarray | None, n: int) -> np.ndarray:
        """float64 [n] dO / d log p* of each response."""
        if not self.length_normalized:
            return np.full(n, self.beta)
        return self.beta / checked(lengths, n)

    def observable(self, log_density: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """float64 [n] O of responses with log-densities [n]."""
        return self.scale(lengths, len(log_density)) * log_density

    def log_density(self, r: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """float64 [n] log p* of all n responses to one prompt, from their fitted rewards r [n] (up to a constant)."""
        per = 1 / self.scale(lengths, len(r))
        if not self.length_normalized:
            return per * r - np.logaddexp.reduce(per * r)

        def excess(c: float) -> float:
            return float(np.logaddexp.reduce(per * (r + c)))

        # at c = -max r every term is <= 1, so the sum is at most n; each bound is then widened by log n / per
        centre, width = -float(r.max()), 1 + np.log(len(r)) / per.min()
        c = brentq(excess, centre - width, centre + width, xtol=1e-13)
        return per * (r + float(c))  # type: ignore[arg-type]


def checked(lengths: np.ndarray | None, n: int) -> np.ndarray:
    """``lengths`` as float64 [n] if there is one > 0 a response, else what to do about it."""
    if lengths is None:
        raise ConfigError(
            "length-normalised choice needs the length of every response; give lengths= (tokens of each candidate), or "
            "lengths='words' to count words of text responses"
        )
    lengths = np.asarray(lengths, dtype=np.float64)
    if lengths.shape != (n,):
        raise ConfigError(f"lengths of shape {list(lengths.shape)} for {n} responses; give one number a response")
    bad = np.flatnonzero(~(lengths > 0) | ~np.isfinite(lengths))
    if len(bad):
        raise FeedbackError(f"response {bad[0]} has length {lengths[bad[0]]:g}; choice by the token needs lengths > 0")
    return lengths


def word_counts(feedback: Feedback) -> np.ndarray:
    """float64 [C] whitespace-separated words of each candidate's response."""
    return np.array([len(as_text(unpack(r)).split()) for r in feedback.responses.to_pylist()], dtype=np.float64)

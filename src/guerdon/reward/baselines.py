"""What every reward must beat: length, and chance."""

from __future__ import annotations

import hashlib

import numpy as np

from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores


class Length(Reward):
    """Longer is better: score = number of characters of the response."""

    reads = ()
    name = "length"

    def score(self, candidates: Candidates) -> Scores:
        """Characters of each response's plain text."""
        return Scores(np.array([len(as_text(response)) for response in candidates.responses], dtype=np.float64))


class Random(Reward):
    """Knows nothing: a uniform number in [0, 1) drawn from the candidate itself, so equal candidates score equally."""

    reads = ()
    name = "random"

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def score(self, candidates: Candidates) -> Scores:
        """A hash of seed, prompt and response."""
        draws = []
        for candidate in candidates:
            text = f"{self.seed}\x00{as_text(candidate.prompt)}\x00{as_text(candidate.response)}"
            digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            draws.append(int.from_bytes(digest, "big") / 2**64)
        return Scores(np.array(draws, dtype=np.float64))

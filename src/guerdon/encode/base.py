"""The face of every encoder: candidates in, float32 features [n, d] out, and a name for exactly what computed them."""

from typing import Protocol, runtime_checkable

import numpy as np

from guerdon.feedback.schema import Candidates


@runtime_checkable
class Encoder(Protocol):
    """Candidates to features.

    ``spec``         the string that :func:`guerdon.encode.load_encoder` opens again to the same encoder
    ``fingerprint``  names exactly what computes the features (model, revision, pooling, template, length, feature map):
                     equal fingerprints give equal features
    ``dim``          d, the number of features
    """

    @property
    def spec(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        """float32 [n, d] features of the n candidates, in order. Each distinct text is encoded once."""
        ...

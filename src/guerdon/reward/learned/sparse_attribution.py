"""What a reward that is linear in sparse latents can say about itself, and how it is edited.

score = sum over the active latents of z_i w_i, so every score is told by its contributions; ``edit({12: ("*", 0.0)})``
is the reward without feature 12, ``{7: ("+", 1.0)}`` one in which feature 7 counts more wherever it is active. Which
features to edit, so that one kind of comparison moves and the rest stays: :meth:`SparseAttribution.decisive`.

Reference: Zhang et al. (2025), Interpretable Reward Model via Sparse Autoencoder, https://arxiv.org/abs/2508.08746.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from scipy import sparse

from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback

Edits = dict[int, tuple[str, float]]
"""Feature -> ("*", factor) or ("+", what is added) of its activation where it is active."""


class SparseAttribution:
    """A reward ``activations(candidates) @ weight``, with ``edited`` copies."""

    weight: Any
    """float64 [latent]"""

    def activations(self, candidates: Candidates) -> sparse.csr_matrix:
        """float64 sparse [n, latent] edited activations of candidates."""
        raise TypeError(f"{type(self).__name__} does not implement activations")

    def edited(self, edits: Mapping[int, tuple[str, float]]) -> Self:
        """A copy with ``edits`` (checked) over earlier ones."""
        raise TypeError(f"{type(self).__name__} does not implement edited")

    def explain(self, candidates: Candidates) -> dict[str, Sequence[Any]]:
        """Contributions [n] to the scores, by ``feature 12``, largest first; together they are the score."""
        part = self.contributions(candidates)
        size = np.asarray(abs(part).sum(0)).ravel()
        order = [int(i) for i in np.argsort(-size, kind="stable") if size[i] > 0]
        return {f"feature {i}": part[:, [i]].toarray().ravel().tolist() for i in order}

    def contributions(self, candidates: Candidates) -> sparse.csr_matrix:
        """float64 sparse [n, latent] activation x weight; rows sum to the scores."""
        z = self.activations(candidates)
        z.data *= self.weight[z.indices]
        return z

    def attribute(self, candidates: Candidates, top: int | None = None) -> list[list[tuple[int, float, float]]]:
        """For each candidate its (feature, activation, contribution), largest contribution first."""
        z: Any = self.activations(candidates)
        found = []
        for row in range(len(candidates)):
            at = slice(z.indptr[row], z.indptr[row + 1])
            rows = [
                (int(i), float(v), float(v * self.weight[i])) for i, v in zip(z.indices[at], z.data[at], strict=True)
            ]
            found.append(sorted(rows, key=lambda r: -abs(r[2]))[:top])
        return found

    def contexts(self, feature: int, candidates: Candidates, *, count: int = 40, threshold: float = 0.0) -> np.ndarray:
        """int64 indices of the candidates in which a feature is strongest, above ``threshold``: what to name it by."""
        value = self.activations(candidates)[:, [self._known(feature)]].toarray().ravel()
        order = np.argsort(-value, kind="stable")[:count]
        return order[value[order] > threshold]

    def gap(self, feedback: Feedback) -> np.ndarray:
        """float64 [latent] mean contribution to preferred minus dispreferred responses: what decides these pairs."""
        q = feedback.pairs(ties=False)
        used = feedback.used
        part = self.contributions(feedback.candidates.take(used))
        at = np.searchsorted(used, np.where(q.p > 0.5, (q.a, q.b), (q.b, q.a)))
        return np.asarray((part[at[0]] - part[at[1]]).mean(0)).ravel()

    def decisive(self, target: Feedback, rest: Feedback, *, count: int = 10) -> np.ndarray:
        """int64 [<= count] features that decide ``target`` and not ``rest``: by gap there above gap here, in size."""
        there, here = np.abs(self.gap(target)), np.abs(self.gap(rest))
        order = np.argsort(here - there, kind="stable")[:count]
        return order[there[order] > here[order]]

    # ------------------------------------------------------------------ editing

    def edit(self, edits: Mapping[int, tuple[str, float]]) -> Self:
        """A copy whose active features are changed: ``{12: ("*", 0.0)}`` silences, ``{7: ("+", 1.0)}`` adds.

        Edits add to earlier ones; of one feature the last counts. Latents that overlap with the one you mean go on.
        """
        for feature, (how, value) in edits.items():
            if how not in ("*", "+") or not np.isfinite(value):
                raise ConfigError(
                    f"edit of feature {feature}: give ('*', number) or ('+', number), not {how!r}, {value}"
                )
            if abs(self.weight[self._known(feature)]) < 1e-8:
                warnings.warn(f"feature {feature} has no weight in the score; editing it changes nothing", stacklevel=2)
        return self.edited({int(i): (how, float(v)) for i, (how, v) in edits.items()})

    def _known(self, feature: int) -> int:
        if not 0 <= int(feature) < len(self.weight):
            raise ConfigError(f"no feature {feature}: this reward has {len(self.weight)}, numbered from 0")
        return int(feature)

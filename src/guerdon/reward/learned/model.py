"""Rewards fitted to feedback: the shared life cycle (fit, save, load) and the frozen-feature reward model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np

from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward


class FittedReward(Reward):
    """A reward whose parameters come from feedback. Hyper-parameters are keyword-only constructor arguments.

    Subclasses implement :meth:`fit`, ``score``, and the pair :meth:`arrays` / :meth:`restore` that saving uses.
    """

    #: what fit() learned about itself, JSON-ready: sizes, chosen hyper-parameters, held-out figures
    summary: dict[str, Any]

    @property
    def params(self) -> dict[str, Any]:
        """The constructor arguments, JSON-ready."""
        raise TypeError(f"{type(self).__name__} does not implement params")

    def fit(self, feedback: Feedback, *, validation: Feedback | None = None, progress: bool = False) -> Self:
        """Fit to ``feedback``; ``validation`` guides early stopping and automatic choices (else split off inside)."""
        raise TypeError(f"{type(self).__name__} does not implement fit")

    def adapt(self, feedback: Feedback) -> Self:
        """Personal rewards only: a copy that also knows the people of ``feedback``; everything else is unchanged."""
        raise TypeError(f"{self.name} is not a personal reward; fit one with --model low-rank")

    def arrays(self) -> dict[str, np.ndarray]:
        """The learned state, for ``model.safetensors``."""
        raise TypeError(f"{type(self).__name__} does not implement arrays")

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take the learned state back."""
        raise TypeError(f"{type(self).__name__} does not implement restore")

    def save(self, directory: str | Path) -> Path:
        """Write ``config.json``, ``model.safetensors``, ``people.parquet`` where personal, and the model card."""
        from guerdon.reward.storage import save

        return save(self, Path(directory))

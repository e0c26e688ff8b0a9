"""What every reward fitted to feedback shares: its life cycle (fit, adapt, save), and features computed once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from guerdon.encode.base import Encoder
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward, Scores
from guerdon.reward.learned.features import FeatureScaling, features_of, parted
from guerdon.reward.registry import documented_parameters

MEDIA = ("media", "image:", "audio:")
"""How the specifications of encoders begin that see more than text."""


class FittedReward(Reward):
    """A reward whose parameters come from feedback. Hyper-parameters are keyword-only constructor arguments.

    Subclasses implement :meth:`fit`, ``score``, and the pair :meth:`arrays` / :meth:`restore` that saving uses.
    """

    #: what fit() learned about itself, JSON-ready: sizes, chosen hyper-parameters, held-out figures
    summary: dict[str, Any]

    @classmethod
    def parameters(cls) -> list[tuple[str, Any, str]]:
        """(name, default, one line of documentation) of each hyper-parameter."""
        return documented_parameters(cls)

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


@dataclass(frozen=True)
class Prepared:
    """Feedback ready for a head: scaled features of its candidates, a part to learn from, a part to choose by.

    ``train`` and ``held`` are taken from ``feedback``, so candidate indices mean rows of ``x`` in all three.
    """

    feedback: Feedback
    train: Feedback
    held: Feedback | None
    x: np.ndarray
    """float64 [C, d]"""
    rejoin: bool
    """whether ``held`` was split off here, so that a last fit may use it as well"""


class FeatureReward(FittedReward):
    """A fitted reward on frozen features of an encoder. Subclasses set ``settings`` and implement ``learn``.

    ``learn(data, progress)`` fits the parts above the features and returns what it learned about itself;
    :meth:`x` gives the scaled features of any candidates. Features are computed once, scaled on the fitting part
    alone, and a part of the prompts (or people) is held out for automatic choices unless validation data is given.
    """

    reads = ()

    def __init__(self, encoder: str | Encoder, settings: dict[str, Any]) -> None:
        self.encoder = encoder
        self.settings = settings
        self.features = FeatureScaling()
        self.summary = {}

    @property
    def params(self) -> dict[str, Any]:
        spec = self.encoder if isinstance(self.encoder, str) else self.encoder.spec
        return {"encoder": spec, **self.settings}

    @property
    def sees(self) -> tuple[str, ...]:  # type: ignore[override]  # as its encoder does
        """The parts of messages besides text that its features are of."""
        if isinstance(self.encoder, str) and not self.encoder.startswith(MEDIA):
            return ()  # known without opening it
        return getattr(self.open_encoder(), "sees", ())

    def open_encoder(self) -> Encoder:
        """The encoder, loaded on first use."""
        if isinstance(self.encoder, str):
            from guerdon.encode import load_encoder

            self.encoder = load_encoder(self.encoder)
        return self.encoder

    def x(self, candidates: Candidates) -> np.ndarray:
        """float64 [n, d] scaled features of candidates."""
        if not len(candidates):
            return np.zeros((0, len(self.features.mean)))
        return self.features(self.open_encoder().encode(candidates))

    def x_of(self, feedback: Feedback) -> np.ndarray:
        """float64 [C, d] scaled features of the candidates that ``feedback`` uses; zero for others."""
        used = feedback.used
        x = np.zeros((len(feedback.responses), len(self.features.mean)))
        x[used] = self.x(feedback.candidates.take(used))
        return x

    def fit(self, feedback: Feedback, *, validation: Feedback | None = None, progress: bool = False) -> Self:
        start = time.perf_counter()
        s = self.settings
        feedback, train, held = parted(feedback, validation, s["seed"], s.get("choose_by", "auto"))
        raw = features_of(self.open_encoder(), feedback, progress=progress)
        encoded = time.perf_counter()
        self.fit_scaling(raw[train.used])
        learned = self.learn(Prepared(feedback, train, held, self.features(raw), validation is None), progress)
        self.summary = {
            "judgements": len(feedback),
            "candidates": len(feedback.used),
            "prompts": len(np.unique(feedback.judgement_prompt)),
            "people": len(np.unique(feedback.user[feedback.user >= 0])),
            **learned,
            "seconds_encoding": round(encoded - start, 3),
            "seconds_fitting": round(time.perf_counter() - encoded, 3),
        }
        return self

    def fit_scaling(self, raw: np.ndarray) -> None:
        """Learn how features are scaled from the fitting part's ``raw`` [n, d]."""
        self.features.fit(raw, getattr(self.open_encoder(), "flags", None))

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        """Fit what stands above the features; returns entries for ``summary``."""
        raise TypeError(f"{type(self).__name__} does not implement learn")

    def score(self, candidates: Candidates) -> Scores:
        raise TypeError(f"{type(self).__name__} does not implement score")

"""Rewards fitted to feedback: the shared life cycle (fit, save, load) and the frozen-feature reward model."""

from __future__ import annotations

import inspect
import time
from pathlib import Path
from typing import Any, Self

import numpy as np

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward, Scores
from guerdon.reward.learned.features import FeatureScaling, features_of, inner_split
from guerdon.reward.learned.heads import HEADS, Head, LinearHead
from guerdon.reward.learned.likelihood import LIKELIHOODS, Likelihood, compile_likelihood


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


class RewardModel(FittedReward):
    """Utilities of frozen features: encoder -> head -> likelihood, each a part of its own.

    A score is in log-odds: with the Bradley-Terry likelihood a difference of 1 means the better candidate wins 73 %.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    head : linear, mlp
    likelihood : bradley-terry, plackett-luce, classification or regression
    l2 : ridge penalty of the linear head, or auto (chosen on held-out prompts)
    margin : a preferred response must win by margin x strength (Bradley-Terry)
    label_smoothing : share of every verdict that is moved to a coin flip, in [0, 1)
    ties : half (a tie is p = 1/2), drop, or davidson (ties are an outcome of their own)
    max_pairs : at most so many pairs a person made from separate ratings; null keeps all
    hidden : width, or list of widths, of the mlp head
    dropout : dropout of the mlp head
    learning_rate : AdamW step of the mlp head
    weight_decay : AdamW weight decay of the mlp head
    epochs : most passes over the data of the mlp head
    batch : data a step of the mlp head
    seed : seeds the inner split, the pair draw and the mlp head
    """

    reads = ()

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        head: str = "linear",
        likelihood: str = "bradley-terry",
        l2: float | str = "auto",
        margin: float = 0.0,
        label_smoothing: float = 0.0,
        ties: str = "half",
        max_pairs: int | None = 500,
        hidden: int | list[int] = 256,
        dropout: float = 0.1,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        epochs: int = 30,
        batch: int = 256,
        seed: int = 0,
    ) -> None:
        if head not in HEADS:
            raise ConfigError(f"head {head!r} is unknown; use one of {', '.join(HEADS)}")
        if likelihood not in LIKELIHOODS:
            raise ConfigError(f"likelihood {likelihood!r} is unknown; use one of {', '.join(LIKELIHOODS)}")
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing={label_smoothing}: use a share in [0, 1)")
        self.name = "bradley-terry"
        self.encoder = encoder
        self.settings = {
            "head": head,
            "likelihood": likelihood,
            "l2": l2,
            "margin": margin,
            "label_smoothing": label_smoothing,
            "ties": ties,
            "max_pairs": max_pairs,
            "hidden": hidden,
            "dropout": dropout,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "epochs": epochs,
            "batch": batch,
            "seed": seed,
        }
        takes = inspect.signature(HEADS[head]).parameters
        self.head: Head = HEADS[head](**{k: v for k, v in self.settings.items() if k in takes})
        self.features = FeatureScaling()
        self.theta = np.zeros(0)
        self.summary = {}

    @property
    def params(self) -> dict[str, Any]:
        spec = self.encoder if isinstance(self.encoder, str) else self.encoder.spec
        return {"encoder": spec, **self.settings}

    def open_encoder(self) -> Encoder:
        """The encoder, loaded on first use."""
        if isinstance(self.encoder, str):
            from guerdon.encode import load_encoder

            self.encoder = load_encoder(self.encoder)
        return self.encoder

    def compile(self, feedback: Feedback) -> Likelihood:
        """The likelihood of this model's settings on ``feedback``."""
        s = self.settings
        return compile_likelihood(
            s["likelihood"],
            feedback,
            margin=s["margin"],
            smoothing=s["label_smoothing"],
            ties=s["ties"],
            max_pairs=s["max_pairs"],
            seed=s["seed"],
        )

    def fit(self, feedback: Feedback, *, validation: Feedback | None = None, progress: bool = False) -> Self:
        start = time.perf_counter()
        if validation is None:
            train, held_out = inner_split(feedback, self.settings["seed"])
        else:
            together = Feedback.concatenate([feedback, validation])
            n = len(feedback)
            feedback, train = together, together.take(np.arange(n))
            held_out = together.take(np.arange(n, len(together)))
        raw = features_of(self.open_encoder(), feedback, progress=progress)
        encoded = time.perf_counter()
        self.features.fit(raw[train.used])
        x = self.features(raw)
        data = self.compile(train)
        held = None if held_out is None else self.compile(held_out)
        self.theta = self.head.fit(x, data, held, progress=progress)
        if validation is None and held is not None and type(self.head) is LinearHead:
            # the penalty is chosen; use the held-out part as well
            self.head = LinearHead(l2=self.head.chosen_l2)
            data = self.compile(feedback)
            self.theta = self.head.fit(x, data, None)
        self.summary = {
            "data": len(data),
            "judgements": len(feedback),
            "candidates": len(feedback.used),
            "prompts": len(np.unique(feedback.judgement_prompt)),
            "people": len(np.unique(feedback.user[feedback.user >= 0])),
            "seconds_encoding": round(encoded - start, 3),
            "seconds_fitting": round(time.perf_counter() - encoded, 3),
        }
        if isinstance(self.head, LinearHead):
            self.summary["l2"] = self.head.chosen_l2
        return self

    def score(self, candidates: Candidates) -> Scores:
        """Utility of each candidate, in log-odds; the same for everybody."""
        if not len(candidates):
            return Scores(np.zeros(0))
        return Scores(self.head(self.features(self.open_encoder().encode(candidates))))

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "theta": self.theta,
            **self.features.arrays(),
            **{f"head.{k}": v for k, v in self.head.arrays().items()},
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.theta = arrays["theta"]
        self.features.restore(arrays)
        self.head.restore({k[5:]: v for k, v in arrays.items() if k.startswith("head.")})

"""Ideal points: the response nearer to what a person wants wins, and what people want are mixtures of K prototypes.

A person is K simplex weights over prototypes that everybody shares; the geometry (variants A and B, see
:mod:`guerdon.reward.personal.ideal_geometry`) is learned from all comparisons together, a new person only by weights
(:mod:`guerdon.reward.personal.ideal_weights`): projector and prototypes do not move by one bit.

When to use it: where too much is as bad as too little. Utilities are not monotone in any feature, so K = 1 is a shared
ideal point and not Bradley-Terry. Variant B is for tastes that depend on the prompt. K, and how far a person's few
votes may move them (the variance of a Gaussian prior of their logits around the population's), are chosen on people
held out; where none of it beats one shared ideal point and a linear utility there, ``summary["personal"]`` is False.

Reference: Chen et al. 2024, PAL: pluralistic alignment framework for learning from heterogeneous preferences,
https://arxiv.org/abs/2406.08469 (``pal`` are its settings: an MLP of the features' own width, K = 2, hinge, no prior).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.fitted import Prepared
from guerdon.reward.learned.prompt_columns import apart, prompt_columns, response_columns
from guerdon.reward.personal.ideal_choice import choose
from guerdon.reward.personal.ideal_geometry import MIXINGS, PROJECTORS, Geometry
from guerdon.reward.personal.ideal_people import PrototypePeople
from guerdon.reward.personal.ideal_training import Points, calibrate, fit_geometry
from guerdon.reward.personal.people import PeopleTable
from guerdon.reward.personal.selection import pairs_of_people
from guerdon.reward.personal.token_weights import WEIGHTINGS, by_token, positions_of, share_scaling, shares


class IdealPointReward(PrototypePeople):
    """Distance to a person's ideal point (A), or agreement with their direction (B); strangers get the mean weights.

    A score is in log-odds. ``Scores.std`` is the posterior standard deviation by the curvature of a person's votes.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    variant : A (ideal points, distance) or B (ideal directions that depend on the prompt, cosine)
    k : number of prototypes, or auto (chosen on held-out people among 1, 2, 3, 4, 6)
    width : dimensions of preference space, or auto (the features' number, at most 64)
    projector : linear, or mlp (two hidden layers)
    residual : the mlp adds to its input (needs width = number of features)
    dropout : dropout of the mlp, in [0, 1)
    mixing : prototypes are mixed before the projector, after it, or directly in preference space (A)
    distance : norm or square (A)
    loss : logistic, or hinge (margin 1; scores are then calibrated to log-odds on comparisons held out)
    bound : penalise ideal points longer than this (A), or null
    temperature : of the softmax that makes weights of logits
    prior : learned (trust in a person's votes from held-out people), none, or a fixed trust > 0 (variance of logits)
    prompt_width : variant B, the first so many features describe the prompt; null asks the encoder's feature map
    token_weighting : a response is one point (none), or each of its tokens is scored: mean, cumulative or last counts
    positions : states of so many tokens lie side by side in a response's features; null asks the encoder
    learning_rate : AdamW step of the projectors
    learning_rate_people : AdamW step of prototypes, weights and scale
    weight_decay : AdamW weight decay
    epochs : most passes over the comparisons (over 100 batches of them where there are more)
    batch : comparisons a step
    starts : trainings from different starts, of which the best on comparisons held out stays (k > 1)
    max_pairs : at most so many pairs a person in fitting
    seed : seeds starts, splits and draws
    """

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        variant: str = "A",
        k: int | str = "auto",
        width: int | str = "auto",
        projector: str = "linear",
        residual: bool = False,
        dropout: float = 0.0,
        mixing: str = "before",
        distance: str = "norm",
        loss: str = "logistic",
        bound: float | None = None,
        temperature: float = 1.0,
        prior: str | float = "learned",
        prompt_width: int | None = None,
        token_weighting: str = "none",
        positions: int | None = None,
        learning_rate: float = 1e-2,
        learning_rate_people: float = 1e-1,
        weight_decay: float = 1e-2,
        epochs: int = 40,
        batch: int = 128,
        starts: int = 2,
        max_pairs: int = 200,
        seed: int = 0,
    ) -> None:
        for name, value, words in (
            ("variant", variant, ("A", "B")),
            ("projector", projector, PROJECTORS),
            ("mixing", mixing, MIXINGS),
            ("distance", distance, ("norm", "square")),
            ("loss", loss, ("logistic", "hinge")),
            ("token_weighting", token_weighting, WEIGHTINGS),
        ):
            if value not in words:
                raise ConfigError(f"{name}={value!r} is unknown; use one of {', '.join(words)}")
        for name, value, words, least in (
            ("k", k, ("auto",), 1), ("width", width, ("auto",), 1), ("prior", prior, ("learned", "none"), 1e-12),
            ("temperature", temperature, (), 1e-12), ("prompt_width", prompt_width, (None,), 1),
            ("starts", starts, (), 1), ("bound", bound, (None,), 0), ("positions", positions, (None,), 1),
        ):  # fmt: skip
            if value not in words and (isinstance(value, bool | str) or not value or value < least):
                raise ConfigError(f"{name}={value!r}: use {', '.join(map(str, (*words, f'a number >= {least:g}')))}")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout={dropout}: use a share in [0, 1)")
        if residual and projector != "mlp":
            raise ConfigError("residual=True is for projector=mlp")
        self.name = "ideal-point"
        settings = {
            "variant": variant, "k": k, "width": width, "projector": projector, "residual": residual,
            "dropout": dropout, "mixing": mixing, "distance": distance, "loss": loss, "bound": bound,
            "temperature": temperature, "prior": prior, "prompt_width": prompt_width,
            "token_weighting": token_weighting, "positions": positions, "learning_rate": learning_rate,
            "learning_rate_people": learning_rate_people, "weight_decay": weight_decay, "epochs": epochs,
            "batch": batch, "starts": starts, "max_pairs": max_pairs, "seed": seed,
        }  # fmt: skip
        super().__init__(apart(encoder) if variant == "B" and prompt_width is None else encoder, settings)
        self.geometry = Geometry("A", 1, 1, 1)
        self.prompt_columns = self.columns = np.zeros(0, dtype=np.int64)
        self.positions: int | None = None
        self.mean = np.zeros(1)
        self.trust, self.calibration = 0.0, 1.0
        self.people = PeopleTable.empty(1)

    # ------------------------------------------------------------------ fitting

    def fit_scaling(self, raw: np.ndarray) -> None:
        """Learn mean and scale of the features, one for all token positions."""
        s = self.settings
        self.positions = positions_of(self.open_encoder(), s["token_weighting"], s["positions"])
        self.prompt_columns, self.columns = self._columns(raw.shape[1])
        super().fit_scaling(raw)
        if self.positions is not None:
            share_scaling(self.features, self.columns, self.positions)

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        s = self.settings
        feedback = data.feedback
        pairs = pairs_of_people(feedback, s["max_pairs"], s["seed"])
        people = len(np.unique(pairs.user))
        if s["k"] != "auto" and s["k"] > people:
            raise FeedbackError(f"k={s['k']} prototypes for {people} people: use at most one prototype a person")
        points = self.points(data.x)
        if s["variant"] == "B":
            self._check_length(points.x, feedback)
        k, self.trust, found = choose(feedback, pairs, points, data.x, s)
        # of several starts the best by the comparisons that each holds out
        starts = range(s["starts"] if k > 1 else 1)
        tries = [fit_geometry(points, pairs, k, s, s["seed"] + 1000 * i, progress) for i in starts]
        best = min(tries, key=lambda trained: trained.loss)
        self.geometry, self.mean = best.geometry, best.mean(s["temperature"])
        placed = points.placed(self.geometry)
        self.calibration = calibrate(placed, pairs, best, s)
        self.people = self._solve_people(feedback, placed)
        return {"pairs": len(pairs), "k": k, "trust": self.trust, **found}

    def _columns(self, d: int) -> tuple[np.ndarray, np.ndarray]:
        """(columns of the prompt's features, columns of the response's) of d features."""
        encoder, width, every = self.open_encoder(), self.settings["prompt_width"], np.arange(d)
        if self.settings["variant"] == "A":
            blocks = getattr(getattr(encoder, "map", None), "blocks", ())
            if self.positions is not None and len(blocks) > 1:
                raise ConfigError(
                    f"token_weighting needs states of tokens alone, not the features {'+'.join(blocks)}; use an "
                    "encoder with features=joined or features=response"
                )
            return every[:0], every
        return prompt_columns(encoder, d, width), response_columns(encoder, d, width)

    def points(self, x: np.ndarray) -> Points:
        """Candidates with scaled features x [n, d], here of unit variance each; by token where tokens are weighed."""
        x = x * np.sqrt(x.shape[1])
        prompts = None if self.settings["variant"] == "A" else x[:, self.prompt_columns]
        share = shares(self.settings["token_weighting"], self.positions)
        return Points(by_token(x[:, self.columns], self.positions), prompts, share)

    def _check_length(self, x: np.ndarray, feedback: Feedback) -> None:
        used = feedback.used
        bad = used[~(np.abs(x[used]).max(-1) > 0).reshape(len(used), -1).all(1)]
        if len(bad):
            raise FeedbackError(
                f"variant B compares directions, but {len(bad)} candidates have response features of length zero, "
                f"first {feedback.candidate(int(bad[0]))!r:.120}; leave them out, or use variant A"
            )

    def ideal_features(self, user: str | None = None) -> np.ndarray:
        """float64 [d] the ideal response of a person (or of the population), in the encoder's own features (a token's).

        Raises ConfigError unless prototypes live among the features (variant A, ``mixing="before"``).
        """
        if self.settings["variant"] != "A" or self.settings["mixing"] != "before":
            raise ConfigError("ideal points lie among the features in variant A with mixing=before only")
        at = self.people.index.get(user) if user is not None else None
        w = self.population if at is None else self.people.weights[at]
        point = w @ self.geometry.prototypes.detach().numpy() / np.sqrt(len(self.columns))
        scale, mean = self.features.scale[: len(point)], self.features.mean[: len(point)]  # all tokens share them
        return mean + np.where(scale > 0, point / np.where(scale > 0, scale, 1.0), 0.0)

    # ------------------------------------------------------------------ saving

    def arrays(self) -> dict[str, np.ndarray]:
        g = self.geometry
        return {
            "sizes": np.array([len(self.columns), len(self.prompt_columns), g.k, g.q, self.positions or 0]),
            "columns": self.columns,
            "prompt_columns": self.prompt_columns,
            "mean": self.mean,
            "trust_calibration": np.array([self.trust, self.calibration]),
            **self.features.arrays(),
            **{f"net.{k}": v.numpy() for k, v in g.state_dict().items()},
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        s = self.settings
        d, d_prompt, k, q = (int(v) for v in arrays["sizes"][:4])
        self.positions = int(arrays["sizes"][4]) or None if len(arrays["sizes"]) > 4 else None  # not in older files
        self.columns, self.prompt_columns = arrays["columns"], arrays["prompt_columns"]
        self.mean = arrays["mean"]
        self.trust, self.calibration = (float(v) for v in arrays["trust_calibration"])
        self.features.restore(arrays)
        self.geometry = Geometry(
            s["variant"], d // (self.positions or 1), k, q, d_prompt=d_prompt, projector=s["projector"],
            residual=s["residual"], mixing=s["mixing"], distance=s["distance"],
        ).double()  # fmt: skip
        state = {name[4:]: torch.as_tensor(v) for name, v in arrays.items() if name.startswith("net.")}
        self.geometry.load_state_dict(state)
        self.geometry.eval()
        self.people = PeopleTable.empty(k)

"""The reward model for everybody: frozen features -> head -> likelihood, each a part of its own."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Scores
from guerdon.reward.learned.centring import centred
from guerdon.reward.learned.fitted import FeatureReward, Prepared
from guerdon.reward.learned.heads import HEADS, Head, LinearHead
from guerdon.reward.learned.likelihood import LIKELIHOODS, Likelihood, compile_likelihood

if TYPE_CHECKING:
    from guerdon.reward.learned.regularizers import Consistency


class RewardModel(FeatureReward):
    """Utilities of frozen features: encoder -> head -> likelihood, each a part of its own.

    A score is in log-odds: with the Bradley-Terry likelihood a difference of 1 means the better candidate wins 73 %.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    head : linear, mlp
    likelihood : bradley-terry, luce, plackett-luce, best-worst, maxdiff, classification or regression
    l2 : ridge penalty of the linear head, or auto (chosen on held-out prompts)
    margin : a preferred response must win by margin x strength (Bradley-Terry)
    label_smoothing : share of every verdict that is moved to a coin flip, in [0, 1)
    ties : half (a tie is p = 1/2), drop, or davidson or rao-kupper (ties are an outcome of their own)
    beta : how sharply people choose, of the likelihood luce
    length_normalized : whether people judge by the word, of the likelihood luce
    max_pairs : at most so many pairs a person made from separate ratings; null keeps all
    hidden : width, or list of widths, of the mlp head
    layers : linear layers of the mlp head, where hidden is one width
    activation : gelu, silu, tanh, relu or none, between the layers of the mlp head
    dropout : dropout of the mlp head
    learning_rate : AdamW step of the mlp head
    weight_decay : AdamW weight decay of the mlp head
    epochs : most passes over the data of the mlp head
    batch : data a step of the mlp head
    center : coefficient that keeps the scores of a comparison around zero, so that one threshold can filter data
    consistency : weight of the penalty on a rewording's score that differs from the original's; 0 is none
    rewording : what rewords the data for it: a transform of guerdon.generate.rewordings, or package.module:object
    paraphraser : the language model that writes the rewordings, where one does
    standardized : whether that penalty is in standard deviations of the scores without it, or raw, as published
    choose_by : automatic choices are made on held-out prompts, users or judgements; auto takes prompts if it can
    seed : seeds the inner split, the pair draw, the rewording and the mlp head
    """

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
        beta: float = 1.0,
        length_normalized: bool = False,
        max_pairs: int | None = 500,
        hidden: int | list[int] = 256,
        layers: int = 2,
        activation: str = "gelu",
        dropout: float = 0.1,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        epochs: int = 30,
        batch: int = 256,
        center: float = 0.0,
        consistency: float = 0.0,
        rewording: str = "typos",
        paraphraser: str | None = None,
        standardized: bool = True,
        choose_by: str = "auto",
        seed: int = 0,
    ) -> None:
        if not center >= 0:
            raise ConfigError(f"center={center}: use a number of at least 0, e.g. 0.01")
        if not consistency >= 0:
            raise ConfigError(f"consistency={consistency}: use a weight of at least 0")
        if head not in HEADS:
            raise ConfigError(f"head {head!r} is unknown; use one of {', '.join(HEADS)}")
        if likelihood not in LIKELIHOODS:
            raise ConfigError(f"likelihood {likelihood!r} is unknown; use one of {', '.join(LIKELIHOODS)}")
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing={label_smoothing}: use a share in [0, 1)")
        self.name = "bradley-terry"
        settings = {
            "head": head,
            "likelihood": likelihood,
            "l2": l2,
            "margin": margin,
            "label_smoothing": label_smoothing,
            "ties": ties,
            "beta": beta,
            "length_normalized": length_normalized,
            "max_pairs": max_pairs,
            "hidden": hidden,
            "layers": layers,
            "activation": activation,
            "dropout": dropout,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "epochs": epochs,
            "batch": batch,
            "center": center,
            "consistency": consistency,
            "rewording": rewording,
            "paraphraser": paraphraser,
            "standardized": standardized,
            "choose_by": choose_by,
            "seed": seed,
        }
        super().__init__(encoder, settings)
        takes = inspect.signature(HEADS[head]).parameters
        self.head: Head = HEADS[head](**{k: v for k, v in self.settings.items() if k in takes})
        self.theta = np.zeros(0)
        self._plain_sd = float("nan")

    def compile(self, feedback: Feedback) -> Likelihood:
        """The likelihood of this model's settings on ``feedback``."""
        s = self.settings
        return compile_likelihood(
            s["likelihood"],
            feedback,
            margin=s["margin"],
            smoothing=s["label_smoothing"],
            ties=s["ties"],
            beta=s["beta"],
            length_normalized=s["length_normalized"],
            lengths="words" if s["length_normalized"] else None,
            max_pairs=s["max_pairs"],
            seed=s["seed"],
        )

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        """Fit the head; a linear one's penalty is chosen on the held-out part, which it then learns from as well."""
        compiled = centred(self.compile(data.train), self.settings["center"])
        held = None if data.held is None else self.compile(data.held)
        again = self._reworded(data, compiled, held)
        more = self._with(_of(again, data.train))
        self.theta = self.head.fit(data.x, compiled, held, progress=progress, **more)
        if not isinstance(self.head, LinearHead):
            return {"data": len(compiled), **self._spread(data, again)}
        if held is not None and data.rejoin:
            self.head = LinearHead(l2=self.head.chosen_l2)
            compiled = centred(self.compile(data.feedback), self.settings["center"])
            self.theta = self.head.fit(data.x, compiled, None, **self._with(_of(again, data.feedback)))
        return {"data": len(compiled), "l2": self.head.chosen_l2, **self._spread(data, again)}

    def _with(self, consistency: Consistency | None) -> dict[str, Any]:
        """What a head is told of the penalty: nothing where there is none, so that heads need not know of it."""
        if consistency is None:
            return {}
        if "consistency" not in inspect.signature(self.head.fit).parameters:
            raise ConfigError(f"head={self.settings['head']} takes no consistency penalty; leave consistency out")
        return {"consistency": consistency}

    def _reworded(self, data: Prepared, compiled: Likelihood, held: Likelihood | None) -> Consistency | None:
        """The candidates that rewording changed, with the features of what became of them."""
        s = self.settings
        if not s["consistency"]:
            return None
        from guerdon.generate.rewordings.apply import reworded_by
        from guerdon.reward.learned.regularizers import Consistency

        used = data.feedback.used
        new, changed = reworded_by(
            data.feedback.candidates.take(used), s["rewording"], paraphraser=s["paraphraser"], seed=s["seed"]
        )
        rows = np.flatnonzero(changed)
        if not len(rows):
            raise FeedbackError(f"rewording={s['rewording']} changes none of the {len(used)} candidates; use another")
        takes = inspect.signature(type(self.head)).parameters
        plain: Head = type(self.head)(**{k: v for k, v in s.items() if k in takes})
        plain.fit(data.x, compiled, held, progress=False)
        self._plain_sd = float(plain(data.x[used]).std())
        scale = max(self._plain_sd**2, 1e-12) if s["standardized"] else 1.0
        return Consistency(s["consistency"], used[rows], self.x(new.take(rows)), scale)

    def _spread(self, data: Prepared, again: Consistency | None) -> dict[str, Any]:
        """How far apart the scores are, beside the same head's without the penalty."""
        if again is None:
            return {}
        sd = float(self.head(data.x[data.feedback.used]).std())
        shift = np.abs(self.head(data.x[again.rows]) - self.head(again.again)).mean() / max(sd, 1e-12)
        out: dict[str, Any] = {"reworded": len(again.rows), "reworded_shift": float(shift)}
        out |= {"score_sd": sd, "score_sd_without": self._plain_sd}
        if sd < self._plain_sd / 3:
            out["cautions"] = [
                "the penalty shrank the scores to less than a third of what they are without it: it is pleased by "
                "scores that say little; use a smaller consistency"
            ]
        return out

    def score(self, candidates: Candidates) -> Scores:
        """Utility of each candidate, in log-odds; the same for everybody."""
        if not len(candidates):
            return Scores(np.zeros(0))
        return Scores(self.head(self.x(candidates)))

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


def _of(again: Consistency | None, feedback: Feedback) -> Consistency | None:
    """The penalty on the candidates of ``feedback`` alone."""
    return None if again is None else again.among(feedback.used)

"""Contrast-consistent search: a probe that finds whether a statement holds without being told, by logic alone.

Every response is shown with "yes" and with "no" behind it to the question whether it does what was asked. A probe
p(z) = sigmoid(w z + b) of the two states, each kind standardised by itself so that the remark cannot be read off, has
to be consistent and to say something:

    L = mean (p(yes) - (1 - p(no)))^2 + min(p(yes), p(no))^2,        score = (p(yes) + 1 - p(no)) / 2

It is fitted from several starts on texts without labels; which end of it is good is the one thing that verdicts decide.

Reference: Burns et al. 2022, Discovering Latent Knowledge, https://arxiv.org/abs/2212.03827
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Scores
from guerdon.reward.learned.directions import NO, YES, AsTheyAre, with_remark
from guerdon.reward.learned.fitted import FeatureReward, Prepared


class Remarked:
    """An encoder of both states, [n, 2 d]: with "yes" behind the response, and with "no"."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    @property
    def spec(self) -> str:
        """That of the encoder below."""
        return self.encoder.spec

    @property
    def fingerprint(self) -> str:
        """Names what computes the features."""
        return f"{self.encoder.fingerprint}-yes-no"

    @property
    def dim(self) -> int:
        """Twice as many as the encoder below gives."""
        return 2 * self.encoder.dim

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        """float32 [n, 2 d]."""
        parts = [Candidates(candidates.prompts, [with_remark(r, k) for r in candidates.responses]) for k in (YES, NO)]
        return np.hstack([self.encoder.encode(part, progress=progress) for part in parts])


class ConsistentSearch(FeatureReward):
    """A contrast-consistent probe of an encoder's states; labels only say which end of it is good.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    starts : random starts, of which the one with the lowest loss is kept
    epochs : steps of each, on all the data
    learning_rate : AdamW step
    weight_decay : AdamW weight decay
    max_pairs : at most so many pairs a person made from separate ratings; null keeps all
    seed : seeds the starts and the pair draw
    """

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        starts: int = 5,
        epochs: int = 300,
        learning_rate: float = 1e-2,
        weight_decay: float = 1e-2,
        max_pairs: int | None = 500,
        seed: int = 0,
    ) -> None:
        if starts < 1 or epochs < 1:
            raise ConfigError(f"starts={starts}, epochs={epochs}: use at least 1")
        self.name = "consistent-search"
        settings = {
            "starts": starts,
            "epochs": epochs,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "max_pairs": max_pairs,
            "seed": seed,
        }
        super().__init__(encoder, settings)
        self.features = AsTheyAre()
        self.mean, self.scale, self.weight = np.zeros(0), np.zeros(0), np.zeros(0)
        self.bias, self.sign = 0.0, 1.0

    def open_encoder(self) -> Encoder:
        """The encoder of both states."""
        return Remarked(super().open_encoder())

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        """The best of several starts, then its sign."""
        import torch

        from guerdon.reward.learned.networks import Schedule, train

        s = self.settings
        pairs = data.feedback.pairs(ties=False, max_per_person=s["max_pairs"], seed=s["seed"])
        if not len(pairs):
            raise FeedbackError("this feedback implies no comparisons, which say what end of the probe is good")
        x = data.x[data.feedback.used]
        self.mean, sd = x.mean(0), x.std(0)
        self.scale = np.where(sd > 1e-6, 1 / np.maximum(sd, 1e-6), 0.0)
        z = (x - self.mean) * self.scale
        d = z.shape[1] // 2
        yes, no = torch.as_tensor(z[:, :d], dtype=torch.float32), torch.as_tensor(z[:, d:], dtype=torch.float32)
        best = np.inf
        for start in range(s["starts"]):
            generator = torch.Generator().manual_seed(s["seed"] * 1009 + start)
            weight = (torch.randn(d, 1, generator=generator) / d**0.5).requires_grad_()
            bias = torch.zeros(1, requires_grad=True)

            def loss(rows: np.ndarray, weight: torch.Tensor = weight, bias: torch.Tensor = bias) -> torch.Tensor:
                p, q = torch.sigmoid(yes @ weight + bias), torch.sigmoid(no @ weight + bias)
                return ((p - (1 - q)) ** 2 + torch.minimum(p, q) ** 2).mean()

            schedule = Schedule(s["learning_rate"], s["weight_decay"], s["epochs"], len(z), None, False, seed=s["seed"])
            train([weight, bias], loss, len(z), schedule)
            value = float(loss(np.zeros(0)).detach())
            if value < best:
                best, self.bias = value, float(bias.detach()[0])
                self.weight = weight.detach().double().numpy()[:, 0]
        self.sign = 1.0
        right = np.sign(self._holds(data.x)[pairs.a] - self._holds(data.x)[pairs.b]) == np.sign(pairs.p - 0.5)
        accuracy = float(right.mean())
        self.sign = 1.0 if accuracy >= 0.5 else -1.0
        return {"data": len(z), "loss": best, "accuracy_of_its_own": max(accuracy, 1 - accuracy)}

    def _holds(self, x: np.ndarray) -> np.ndarray:
        """float64 [n] how far each response is said to do what was asked, in [-1/2, 1/2]."""
        z, d = (x - self.mean) * self.scale, len(self.weight)
        p, q = (expit(part @ self.weight + self.bias) for part in (z[:, :d], z[:, d:]))
        return self.sign * 0.5 * (p - q)

    def score(self, candidates: Candidates) -> Scores:
        """How far the probe says that the response does what was asked, in [0, 1]."""
        if not len(candidates):
            return Scores(np.zeros(0))
        return Scores(0.5 + self._holds(self.x(candidates)))

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "mean": self.mean,
            "scale": self.scale,
            "weight": self.weight,
            "bias_and_sign": np.array([self.bias, self.sign]),
            **self.features.arrays(),
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.mean, self.scale, self.weight = arrays["mean"], arrays["scale"], arrays["weight"]
        self.bias, self.sign = (float(v) for v in arrays["bias_and_sign"])
        self.features.restore(arrays)

"""A reward that knows where its feedback was: inference-time probing by distance to each preference dimension.

For every dimension (the column ``criterion`` of the feedback; all of it where there is none) the representations of its
judged responses are clustered within each class (better, worse), and the centroids kept. A new response is near some of
a dimension's centroids where that dimension is in play, and far from all centroids where the score rests on nothing:

    d_k(x)         distance to the nearest centroid of dimension k, in whitened features
    confidence(x)  max over k of the share of held-out responses of k that are at least as far: a conformal p-value

so that of responses like those judged, at most a share t has a confidence below t. A score that is not trusted falls
back to that of the reference, the mean of the judged responses:

    filter   r(x) where confidence >= threshold, else the reference
    weight   reference + confidence(x) (r(x) - reference)

Where every response to a prompt is untrusted their scores are equal, and best-of-n keeps the first: the reference
answer, if that is what comes first.

Reference: Wang et al. 2025, Probing Preference Representations, https://arxiv.org/abs/2511.12464 (the distances;
the p-value is ours); Lee et al. 2018, https://arxiv.org/abs/1807.03888 (distance in whitened features).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Scores
from guerdon.reward.learned.features import features_of
from guerdon.reward.learned.fitted import FeatureReward, Prepared
from guerdon.reward.learned.heads import LinearHead
from guerdon.reward.learned.likelihood import compile_likelihood

MODES, METRICS = ("filter", "weight"), ("whitened", "euclidean")
FEW = 40
"""Held-out responses below which a dimension borrows the distances of all: a p-value is never below 1 / (n + 1)."""
EVERYTHING = "all"
"""The name of the one dimension of feedback without criteria."""


class ProbedReward(FeatureReward):
    """Linear utility, trusted as far as a response is near the responses that were judged.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    mode : filter (untrusted scores become the reference's) or weight (scores shrink towards it)
    threshold : confidence below which filter does not trust a score, in [0, 1]
    clusters : centroids a class of a dimension
    metric : whitened (features decorrelated) or euclidean
    l2 : ridge penalty of the utility, or auto (chosen on held-out prompts)
    choose_by : automatic choices are made on held-out prompts, users or judgements; auto takes prompts if it can
    seed : seeds the inner split and the clusters
    """

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        mode: str = "filter",
        threshold: float = 0.05,
        clusters: int = 4,
        metric: str = "whitened",
        l2: float | str = "auto",
        choose_by: str = "auto",
        seed: int = 0,
    ) -> None:
        for name, value, choices in (("mode", mode, MODES), ("metric", metric, METRICS)):
            if value not in choices:
                raise ConfigError(f"{name}={value!r} is unknown; use one of {', '.join(choices)}")
        if not 0 <= threshold <= 1:
            raise ConfigError(f"threshold={threshold}: use a confidence in [0, 1]")
        if clusters < 1:
            raise ConfigError(f"clusters={clusters}: use at least one")
        self.name = "probed"
        settings = {"mode": mode, "threshold": threshold, "clusters": clusters, "metric": metric}
        super().__init__(encoder, {**settings, "l2": l2, "choose_by": choose_by, "seed": seed})
        self.head = LinearHead(l2=l2)
        self.reference = 0.0
        self.dimensions: list[str] = []
        self.unit, self.whitening = np.zeros(0), np.zeros((0, 0))
        self.centroids: list[np.ndarray] = []
        """[m_k, d] of each dimension, whitened"""
        self.known: list[np.ndarray] = []
        """ascending distances of each dimension's held-out responses"""

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        seed, l2 = self.settings["seed"], self.settings["l2"]
        self.head = LinearHead(l2=l2)
        held = None if data.held is None else compile_likelihood("bradley-terry", data.held, max_pairs=500, seed=seed)
        self.head.fit(data.x, compile_likelihood("bradley-terry", data.train, max_pairs=500, seed=seed), held)
        if held is not None and data.rejoin:
            self.head = LinearHead(l2=self.head.chosen_l2)
            self.head.fit(data.x, compile_likelihood("bradley-terry", data.feedback, max_pairs=500, seed=seed), None)
        self.reference = float(self.head(data.x[data.train.used]).mean())
        raw = features_of(self.open_encoder(), data.feedback)
        self._reach(raw[data.train.used])
        z = self._place(raw)
        self.dimensions, self.centroids, self.known = [], [], []
        probing = _dimensions(data.train)
        calibration = {} if data.held is None else _dimensions(data.held)
        for name, (items, better) in probing.items():
            centroids = [_kmeans(z[items[better == side]], self.settings["clusters"], seed) for side in (False, True)]
            self.dimensions.append(name)
            self.centroids.append(np.vstack(centroids))
            known = calibration.get(name, (items, better))[0]
            self.known.append(np.sort(_nearest(z[np.unique(known)], self.centroids[-1])))
        together = np.sort(np.concatenate([np.zeros(0), *self.known]))
        self.known = [known if len(known) >= FEW else together for known in self.known]
        return {"l2": self.head.chosen_l2, "dimensions": len(self.dimensions), "reference": round(self.reference, 4)}

    def _reach(self, raw: np.ndarray) -> None:
        """Learn how far apart features [n, d] usually are."""
        sd = raw.std(0, dtype=np.float64)
        # a feature that never varied says nothing of a reward, and much of a response that has it
        self.unit = 1 / np.maximum(sd, 0.1 * max(float(sd.mean()), 1e-9))
        self.whitening = _whitening((raw - self.features.mean) * self.unit, self.settings["metric"])

    def _place(self, raw: np.ndarray) -> np.ndarray:
        """float64 [n, d] where features [n, d] lie for distances."""
        return (raw - self.features.mean) * self.unit @ self.whitening

    def trust(self, raw: np.ndarray) -> np.ndarray:
        """float64 [n, k] confidence of each dimension, for features [n, d] of the encoder."""
        z = self._place(raw)
        out = np.zeros((len(z), len(self.dimensions)))
        for k, (centroids, known) in enumerate(zip(self.centroids, self.known, strict=True)):
            farther = len(known) - np.searchsorted(known, _nearest(z, centroids) - 1e-9)
            out[:, k] = (farther + 1) / (len(known) + 1)
        return out

    def confidence(self, candidates: Candidates) -> np.ndarray:
        """float64 [n] in (0, 1]: the confidence of the dimension each candidate is most like."""
        return self.trust(self.open_encoder().encode(candidates)).max(1) if len(candidates) else np.zeros(0)

    def score(self, candidates: Candidates) -> Scores:
        """Utility in log-odds, or the reference's where the utility is not trusted (said in ``reason``)."""
        if not len(candidates):
            return Scores(np.zeros(0))
        raw = self.open_encoder().encode(candidates)
        value, confidence = self.head(self.features(raw)), self.trust(raw).max(1)
        low = confidence < self.settings["threshold"]
        if self.settings["mode"] == "filter":
            value = np.where(low, self.reference, value)
        else:
            value = self.reference + confidence * (value - self.reference)
        reason: list[str | None] = [None] * len(value)
        for row in np.flatnonzero(low):
            reason[row] = f"unlike everything judged (confidence {confidence[row]:.3f})"
        return Scores(value, reason=reason, detail={"confidence": confidence.tolist()})

    def explain(self, candidates: Candidates) -> dict[str, Sequence[Any]]:
        """The confidence of each dimension, and the nearest dimension."""
        trust = self.trust(self.open_encoder().encode(candidates))
        nearest = [self.dimensions[k] for k in trust.argmax(1)]
        return {"dimension": nearest, **{name: trust[:, k].tolist() for k, name in enumerate(self.dimensions)}}

    def arrays(self) -> dict[str, np.ndarray]:
        names = np.frombuffer("\x1f".join(self.dimensions).encode(), np.uint8)
        parts = {f"centroids.{k}": c for k, c in enumerate(self.centroids)}
        parts |= {f"known.{k}": d for k, d in enumerate(self.known)}
        about = {
            "whitening": self.whitening,
            "unit": self.unit,
            "reference": np.array([self.reference]),
            "dimensions": names,
        }
        return {**self.features.arrays(), **self.head.arrays(), **about, **parts}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.features.restore(arrays)
        self.head.restore(arrays)
        self.whitening, self.unit = arrays["whitening"], arrays["unit"]
        self.reference = float(arrays["reference"][0])
        self.dimensions = arrays["dimensions"].tobytes().decode().split("\x1f")
        self.centroids = [arrays[f"centroids.{k}"] for k in range(len(self.dimensions))]
        self.known = [arrays[f"known.{k}"] for k in range(len(self.dimensions))]


def _dimensions(feedback: Feedback) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(candidates [m], whether each is a better one [m]) of each criterion, or of everything where none is named.

    Better is above the mean grade of its judgement; a response judged alone is compared with all judged alone.
    """
    judgement = np.repeat(np.arange(len(feedback)), feedback.sizes)
    grade = np.nan_to_num(feedback.grades)
    mean = np.add.reduceat(grade, feedback.offsets[:-1]) / feedback.sizes
    alone = feedback.sizes == 1
    if alone.any():
        mean[alone] = grade[alone[judgement]].mean()
    better, criterion = grade > mean[judgement], feedback.criterion[judgement]
    if (criterion < 0).all():
        return {EVERYTHING: (feedback.items, better)}
    named = [c for c in np.unique(criterion) if c >= 0]
    return {feedback.criteria[c]: (feedback.items[criterion == c], better[criterion == c]) for c in named}


def _whitening(x: np.ndarray, metric: str) -> np.ndarray:
    """float64 [d, d] that makes the features of x [n, d] uncorrelated, shrunk towards their mean variance."""
    if metric == "euclidean" or len(x) < 2:
        return np.eye(x.shape[1])
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True).reshape(x.shape[1], -1))
    shrink = min(1.0, x.shape[1] / len(x))  # with fewer rows than features the small variances are not known
    values = (1 - shrink) * np.maximum(values, 0) + shrink * max(float(values.mean()), 1e-12)
    return vectors / np.sqrt(np.maximum(values, max(1e-4 * float(values.mean()), 1e-12)))


def _kmeans(z: np.ndarray, count: int, seed: int, rounds: int = 25) -> np.ndarray:
    """[<= count, d] centroids of z [n, d] by Lloyd's rounds from a k-means++ start; none of no rows."""
    if len(distinct := np.unique(z, axis=0)) <= count:
        return distinct
    rng = np.random.default_rng(seed)
    centroids = z[[rng.integers(len(z))]]
    for _ in range(count - 1):  # far rows are likelier to start a cluster
        far = _nearest(z, centroids) ** 2
        centroids = np.vstack([centroids, z[rng.choice(len(z), p=far / far.sum())]])
    for _ in range(rounds):
        label = ((z[:, None] - centroids) ** 2).sum(2).argmin(1)
        centroids = np.array([z[label == c].mean(0) for c in np.unique(label)])
    return centroids


def _nearest(z: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """float64 [n] distance of z [n, d] to the nearest of centroids [m, d]."""
    square = (z * z).sum(1)[:, None] - 2 * z @ centroids.T + (centroids * centroids).sum(1)
    return np.sqrt(np.maximum(square.min(1), 0.0))

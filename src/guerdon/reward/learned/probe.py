"""Linear probes: what a frozen representation knows, one classifier a preference dimension, with what that is worth.

``logreg``    features standardised, softmax regression with intercept, ridge penalty by five-fold cross-validation
``official``  MRMBench's protocol: Linear(d, classes) without bias (one output for two classes), features as they are,
              AdamW(lr 5e-5, betas .9 / .95, weight decay .1), cosine, one epoch, batches of 128

A high accuracy may be the majority's: every report has the majority's accuracy, balanced accuracy, macro-F1, and z, the
standard errors by which the probe beats the majority (paired). Controls are probes on representations that know
nothing of the model under test, such as hashed bags of words and random features of them.

Shapes: n responses, d features, k classes.

References: Wang et al. 2025, Probing Preference Representations, https://arxiv.org/abs/2511.12464; Hewitt & Liang 2019,
Designing and Interpreting Probes with Control Tasks, https://arxiv.org/abs/1909.03368 (selectivity).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward

METHODS = ("logreg", "official")
L2_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
CLEAR = 2.0  # standard errors above the majority that count as above it


@dataclass(frozen=True)
class Probe:
    """A fitted probe: classes [k], and class scores x @ weight + bias of features x [n, d]."""

    classes: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    l2: float = float("nan")

    def logits(self, x: np.ndarray) -> np.ndarray:
        """float64 [n, k]."""
        return np.asarray(x, dtype=np.float64) @ self.weight + self.bias

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """float64 [n, k] P(class)."""
        return np.exp(log_softmax(self.logits(x), axis=1))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """[n] predicted classes; an exact tie is the first class, as a sigmoid of exactly .5 is class 0."""
        return self.classes[self.logits(x).argmax(1)]


def fit_probe(x: np.ndarray, labels: np.ndarray, method: str = "logreg", *, seed: int = 0) -> Probe:
    """Fit a probe on features x [n, d] and any labels [n] of at least two classes.

    Raises
    ------
    FeedbackError
        if there is one class only, or a feature is not finite
    """
    x, labels = np.asarray(x, dtype=np.float64), np.asarray(labels)
    if method not in METHODS:
        raise ConfigError(f"probe={method!r} is unknown; use one of {', '.join(METHODS)}")
    if len(x) != len(labels):
        raise FeedbackError(f"a probe got {len(x)} representations and {len(labels)} labels; give one label each")
    if not np.isfinite(x).all():
        raise FeedbackError("a probe got representations that are not finite; leave out what could not be read")
    classes, y = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise FeedbackError(f"a probe needs two classes; every label here is {classes[:1].tolist()}")
    return _official(x, y, classes, seed) if method == "official" else _logreg(x, y, classes, seed)


def softmax_regression(x: np.ndarray, target: np.ndarray, l2: float) -> tuple[np.ndarray, np.ndarray]:
    """(weight [d, k], bias [k]) that minimise mean cross-entropy + l2 / 2 |weight|^2; target [n, k] probabilities."""
    (n, d), k = x.shape, target.shape[1]

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        w, b = z[: d * k].reshape(d, k), z[d * k :]
        logp = log_softmax(x @ w + b, axis=1)
        off = (np.exp(logp) - target) / n
        loss = -float((target * logp).sum()) / n + 0.5 * l2 * float((w * w).sum())
        return loss, np.concatenate([(x.T @ off + l2 * w).ravel(), off.sum(0)])

    z = minimize(objective, np.zeros(d * k + k), jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-11}).x
    return z[: d * k].reshape(d, k), z[d * k :]


def _logreg(x: np.ndarray, y: np.ndarray, classes: np.ndarray, seed: int, folds: int = 5) -> Probe:
    mean, sd = x.mean(0), x.std(0)
    scale = np.where(sd > 1e-9, 1 / np.maximum(sd, 1e-9), 0.0)
    z, target = (x - mean) * scale, np.eye(len(classes))[y]
    fold = _folds(y, min(folds, int(np.bincount(y).min())), seed)
    l2 = 1e-1
    if fold.max() > 0:
        losses = np.zeros(len(L2_GRID))
        for f in range(fold.max() + 1):
            there, here = fold != f, fold == f
            for i, candidate in enumerate(L2_GRID):
                w, b = softmax_regression(z[there], target[there], candidate)
                losses[i] -= (target[here] * log_softmax(z[here] @ w + b, axis=1)).sum()
        l2 = L2_GRID[int(losses.argmin())]
    w, b = softmax_regression(z, target, l2)
    w = w * scale[:, None]
    return Probe(classes, w, b - mean @ w, l2)


def _folds(y: np.ndarray, count: int, seed: int) -> np.ndarray:
    """int [n] fold of each row, every class spread evenly; one fold alone where a class has one row."""
    order = np.random.default_rng(seed).permutation(len(y))
    fold = np.zeros(len(y), dtype=np.int64)
    for c in np.unique(y):
        rows = order[y[order] == c]
        fold[rows] = np.arange(len(rows)) % max(count, 1)
    return fold


def _official(x: np.ndarray, y: np.ndarray, classes: np.ndarray, seed: int) -> Probe:
    import torch

    from guerdon.reward.learned.networks import Schedule, train

    k = len(classes)
    features, target = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y)
    limit = x.shape[1] ** -0.5  # torch's own start of a linear layer
    start = np.random.default_rng(seed).uniform(-limit, limit, (x.shape[1], 1 if k == 2 else k))
    weight = torch.tensor(start, dtype=torch.float32, requires_grad=True)

    def loss(rows: np.ndarray) -> torch.Tensor:
        index = torch.from_numpy(rows)
        out = features[index] @ weight
        if k == 2:
            return torch.nn.functional.binary_cross_entropy_with_logits(out[:, 0], target[index].float())
        return torch.nn.functional.cross_entropy(out, target[index])

    schedule = Schedule(5e-5, 0.1, 1, 128, None, decay="cosine", betas=(0.9, 0.95), seed=seed)
    train([weight], loss, len(x), schedule)
    w = weight.detach().double().numpy()
    return Probe(classes, np.hstack([np.zeros_like(w), w]) if k == 2 else w, np.zeros(k))


# ------------------------------------------------------------------------------------------------------------- reports


@dataclass(frozen=True)
class ProbeReport:
    """A probe on held-out responses. ``z`` is in standard errors; ``above`` says whether it beats the majority.

    ``majority`` is the accuracy, on the held-out responses, of the class most frequent in training; ``controls`` the
    accuracies of probes on other representations, by name.
    """

    accuracy: float
    balanced: float
    f1: float
    majority: float
    z: float
    n: int
    controls: dict[str, float] = field(default_factory=dict)

    @property
    def above(self) -> bool:
        """Whether the probe is clearly better than always saying the majority class."""
        return self.z > CLEAR

    @property
    def selectivity(self) -> float:
        """Accuracy above the best control; NaN without controls."""
        return self.accuracy - max(self.controls.values(), default=float("nan"))

    def __str__(self) -> str:
        verdict = f"z = {self.z:+.1f} against it" if self.above else f"not above majority (z = {self.z:+.1f})"
        controls = "".join(f", {name} {value:.3f}" for name, value in self.controls.items())
        return (
            f"accuracy {self.accuracy:.3f}, balanced {self.balanced:.3f}, macro-F1 {self.f1:.3f}, "
            f"majority {self.majority:.3f}: {verdict}{controls} (n = {self.n:,})"
        )


def judge(predicted: np.ndarray, labels: np.ndarray, majority: object) -> ProbeReport:
    """The report of predictions [n] on labels [n], against always saying ``majority``."""
    classes = np.unique(labels)
    right, common = predicted == labels, labels == majority
    recall = [float(right[labels == c].mean()) for c in classes]
    f1 = []
    for c in np.unique(np.concatenate([labels, predicted])):
        hit = float(((predicted == c) & (labels == c)).sum())
        f1.append(2 * hit / max(float((predicted == c).sum() + (labels == c).sum()), 1.0))
    gap = right.astype(float) - common
    error = gap.std(ddof=1) / np.sqrt(len(gap)) if len(gap) > 1 else 0.0
    z = float(gap.mean() / error) if error > 0 else 0.0
    return ProbeReport(
        float(right.mean()), float(np.mean(recall)), float(np.mean(f1)), float(common.mean()), z, len(gap)
    )


def probe_report(
    x: np.ndarray,
    labels: np.ndarray,
    test_x: np.ndarray,
    test_labels: np.ndarray,
    method: str = "logreg",
    *,
    controls: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    seed: int = 0,
) -> ProbeReport:
    """Fit a probe on (x, labels) and judge it on the test rows.

    controls  (features [n, e], test features [m, e]) by name, e.g. of :func:`control_features`
    """
    labels, test_labels = np.asarray(labels), np.asarray(test_labels)
    if not len(test_labels):
        raise FeedbackError("a probe's report needs responses to test it on")
    classes, counts = np.unique(labels, return_counts=True)
    report = judge(fit_probe(x, labels, method, seed=seed)(test_x), test_labels, classes[counts.argmax()])
    others = {
        name: float((fit_probe(a, labels, method, seed=seed)(b) == test_labels).mean())
        for name, (a, b) in (controls or {}).items()
    }
    return ProbeReport(**{**vars(report), "controls": others})


def control_features(candidates: Candidates, dim: int = 512, seed: int = 0) -> dict[str, np.ndarray]:
    """float32 [n, dim] controls by name: hashed bags of words, and a random network of one layer on them."""
    from guerdon.encode import load_encoder

    bag = load_encoder(f"hash:{dim}").encode(candidates)
    mix = np.random.default_rng(seed).normal(size=(dim, dim)) / np.sqrt(dim)
    return {"bag of words": bag, "random network": np.maximum(bag @ mix, 0.0).astype(np.float32)}


def representations(source: Encoder | Reward, candidates: Candidates) -> np.ndarray:
    """float [n, d] what ``source`` represents candidates as: a backbone's last-token states, a head's hidden layer,
    the features a reward stands on, or an encoder's.

    Raises
    ------
    ConfigError
        if it has no representation
    """
    for name in ("hidden", "x", "encode"):
        method = getattr(source, name, None)
        if callable(method):
            return np.asarray(method(candidates))
    raise ConfigError(
        f"{getattr(source, 'name', source)!r} has no representation to probe: give an encoder or a reward"
    )

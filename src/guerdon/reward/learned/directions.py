"""Representation reading: directions in the parts of a hidden state, and how far a difference of states points there.

The features are cut into blocks: an attention head each with an encoder ``hf:MODEL?states=heads``, a layer each with
``states=layers``, else parts of one state. In block h

    mean        v_h = mean over pairs of z_h(preferred) - z_h(other)                        (mass mean shift)
    component   v_h = first principal axis of those differences, its sign by their mean      (linear tomography)

and a pair is read by the blocks whose own probe orders held-out pairs best:

    c(a, b) = mean over the blocks of cos(z_h(a) - z_h(b), v_h),      P(a preferred) = sigmoid(k c)

with k fitted to the pairs held out. A difference counts by where it points and not by how large it is, and a block has
one voice however clear its cue: a strong cue in a few blocks, which is all that a logistic regression learns, does not
drown a weak one in all. Where no such cue misleads, this loses some accuracy. There is no training loop.

``contrast`` reads differences of a response with two opposite remarks behind it, z(y + yes) - contrast z(y + no)
(contrastive representation arithmetic); ``stimulus=asked`` reads it between two sentences about how far it does what
was asked (the stimulus of linear tomography). GENIES' own MMS and CRA are mean differences of heads, its LAT those of
layers, all chosen with ``probes=responses``. What a reward of this kind knows are comparisons; the score of a response
alone is its comparison with the mean of the training responses, k c(a, mean), and orders responses otherwise than they
compare.

Reference: Clymer et al. 2023, Generalization Analogies, https://arxiv.org/abs/2311.07723 (MMS, LAT, CRA); Zou et al.
2023, Representation Engineering, https://arxiv.org/abs/2310.01405 (LAT)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError, ModelError
from guerdon.feedback.messages import Text
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Scores
from guerdon.reward.learned.features import FeatureScaling
from guerdon.reward.learned.fitted import FeatureReward, Prepared
from guerdon.reward.learned.probe import softmax_regression

DIRECTIONS = ("mean", "component")
YES = "\n\n### Does the responder successfully follow the instruction?\nYes"
NO = "\n\n### Does the responder successfully follow the instruction?\nNo"
BEFORE = "Consider the extent to which the responder follows the instruction below.\n"
BEHIND = "\n\nThe probability that the responder followed the instruction"
STIMULI, PROBES = ("plain", "asked"), ("pairs", "responses")
PARTS = 32
"""Blocks where neither the settings nor the encoder say how many."""
STEEPEST = 200.0
TINY = 1e-12


class AsTheyAre(FeatureScaling):
    """Features as the encoder gives them: an angle depends on their scales."""

    def fit(self, x: np.ndarray, flag: np.ndarray | None = None) -> None:
        """Remember how many there are; those of media that are not there stay the zeros they are."""
        self.flag = None
        self.mean, self.scale = np.zeros(x.shape[1]), np.ones(x.shape[1])


class Framed:
    """An encoder of responses with one text before and one behind them."""

    def __init__(self, encoder: Encoder, before: str = BEFORE, behind: str = BEHIND) -> None:
        self.encoder, self.before, self.behind = encoder, before, behind

    @property
    def spec(self) -> str:
        """That of the encoder below."""
        return self.encoder.spec

    @property
    def fingerprint(self) -> str:
        """Names what computes the features."""
        return f"{self.encoder.fingerprint}-framed"

    @property
    def dim(self) -> int:
        """As many as the encoder below gives."""
        return self.encoder.dim

    @property
    def blocks(self) -> int | None:
        """Those of the encoder below."""
        return getattr(self.encoder, "blocks", None)

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        """float32 [n, d]."""
        framed = [with_remark(r, self.behind, self.before) for r in candidates.responses]
        return self.encoder.encode(Candidates(candidates.prompts, framed), progress=progress)


class Contrasted:
    """An encoder of z(y + ``yes``) - ``weight`` z(y + ``no``)."""

    def __init__(self, encoder: Encoder, weight: float, yes: str = YES, no: str = NO) -> None:
        self.encoder, self.weight, self.yes, self.no = encoder, weight, yes, no

    @property
    def spec(self) -> str:
        """That of the encoder below."""
        return self.encoder.spec

    @property
    def fingerprint(self) -> str:
        """Names what computes the features."""
        return f"{self.encoder.fingerprint}-contrast-{self.weight:g}"

    @property
    def dim(self) -> int:
        """As many as the encoder below gives."""
        return self.encoder.dim

    @property
    def blocks(self) -> int | None:
        """Those of the encoder below."""
        return getattr(self.encoder, "blocks", None)

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        """float32 [n, d]."""
        both = [
            self.encoder.encode(
                Candidates(candidates.prompts, [with_remark(r, remark) for r in candidates.responses]),
                progress=progress,
            )
            for remark in (self.yes, self.no)
        ]
        return both[0] - np.float32(self.weight) * both[1]


def with_remark(response: Text, remark: str, before: str = "") -> Text:
    """A response with a remark behind it (and one before it), in its last message where it is a chat."""
    if isinstance(response, str):
        return before + response + remark
    last = response[-1]
    return [*response[:-1], {**last, "content": f"{before}{last.get('content') or ''}{remark}"}]


class DirectionReward(FeatureReward):
    """Reads pairs by the directions of the blocks of a representation; fitted in one pass.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    direction : mean (of differences) or component (their first principal axis)
    blocks : parts that the features are cut into; null is the encoder's heads or layers, or 32 where it has none
    top : blocks that read, the best on held-out pairs; null takes all
    held : share of the pairs that blocks are chosen and the steepness is fitted on
    probes : how blocks are chosen: by a probe that orders pairs, or one that tells preferred responses from others
    stimulus : plain (the response as it is) or asked (between two sentences about how far it does what was asked)
    contrast : weight of the response with "no" behind it, taken off the one with "yes"; 0 reads the response as it is
    max_pairs : at most so many pairs a person made from separate ratings; null keeps all
    seed : seeds the split and the pair draw
    """

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        direction: str = "mean",
        blocks: int | None = None,
        top: int | None = 16,
        held: float = 0.3,
        probes: str = "pairs",
        stimulus: str = "plain",
        contrast: float = 0.0,
        max_pairs: int | None = 500,
        seed: int = 0,
    ) -> None:
        choices = {"direction": DIRECTIONS, "probes": PROBES, "stimulus": STIMULI}
        for name, value in {"direction": direction, "probes": probes, "stimulus": stimulus}.items():
            if value not in choices[name]:
                raise ConfigError(f"{name}={value!r} is unknown; use one of {', '.join(choices[name])}")
        if (blocks is not None and blocks < 1) or (top is not None and top < 1):
            raise ConfigError(f"blocks={blocks}, top={top}: use at least 1")
        if not 0 < held < 1:
            raise ConfigError(f"held={held}: use a share between 0 and 1")
        self.name = "directions"
        settings = {
            "direction": direction,
            "blocks": blocks,
            "top": top,
            "held": held,
            "probes": probes,
            "stimulus": stimulus,
            "contrast": contrast,
            "max_pairs": max_pairs,
            "seed": seed,
        }
        super().__init__(encoder, settings)
        self.features = AsTheyAre()
        self.vectors, self.middle = np.zeros(0), np.zeros(0)
        self.reads_blocks = np.zeros(0, dtype=np.int64)
        self.blocks = blocks or PARTS
        self.steepness = 0.0

    def open_encoder(self) -> Encoder:
        """The encoder, with the stimulus and the contrast around it where there are such."""
        inner = super().open_encoder()
        if self.settings["stimulus"] == "asked":
            inner = Framed(inner)
        return Contrasted(inner, self.settings["contrast"]) if self.settings["contrast"] else inner

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        """Directions of all pairs, the blocks that order the held-out third best, and the steepness there."""
        s = self.settings
        pairs = data.feedback.pairs(ties=False, max_per_person=s["max_pairs"], seed=s["seed"])
        if len(pairs) < 4:
            raise FeedbackError(f"{len(pairs)} comparisons; directions need at least 4")
        won = pairs.p > 0.5
        better, worse = np.where(won, pairs.a, pairs.b), np.where(won, pairs.b, pairs.a)
        gaps = data.x[better] - data.x[worse]
        order = np.random.default_rng(s["seed"]).permutation(len(gaps))
        count = max(1, round(s["held"] * len(gaps)))
        out, inside = order[:count], order[count:]
        self.blocks = s["blocks"] or getattr(self.open_encoder(), "blocks", None) or PARTS
        parts = self._parts(gaps.shape[1])
        if s["probes"] == "pairs":
            accuracy = np.array([probe_accuracy(gaps[:, p], inside, out) for p in parts])
        else:
            both = np.stack([data.x[better], data.x[worse]])
            accuracy = np.array([response_probe_accuracy(both[:, :, p], inside, out) for p in parts])
        top = len(parts) if s["top"] is None else min(s["top"], len(parts))
        self.reads_blocks = np.sort(np.argsort(-accuracy, kind="stable")[:top])
        self.middle = data.x[data.feedback.used].mean(0)
        self.vectors = np.concatenate([direction_of(gaps[:, p], s["direction"]) for p in parts])
        self.steepness = fitted_steepness(self.reading(gaps[out]))
        return {
            "data": len(gaps),
            "blocks": len(parts),
            "blocks_reading": self.reads_blocks.tolist(),
            "block_accuracy": [round(float(a), 4) for a in accuracy],
            "steepness": self.steepness,
        }

    def _parts(self, d: int) -> list[np.ndarray]:
        """Columns of each block; as many blocks as there are features at most."""
        return np.array_split(np.arange(d), min(self.blocks, d))

    def reading(self, gaps: np.ndarray) -> np.ndarray:
        """float64 [n] in [-1, 1]: mean cosine of differences [n, d] with the directions; 0 where nothing differs."""
        if not len(self.vectors):
            raise ModelError("this reward is not fitted yet; call fit(feedback) first")
        parts = self._parts(len(self.vectors))
        return np.mean([cosine(gaps[:, parts[b]], self.vectors[parts[b]]) for b in self.reads_blocks], axis=0)

    def score(self, candidates: Candidates) -> Scores:
        """Log-odds of each candidate against the mean training response."""
        if not len(candidates):
            return Scores(np.zeros(0))
        return Scores(self.steepness * self.reading(self.x(candidates) - self.middle))

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a preferred to b); 1/2 where the encoder sees no difference."""
        if not len(a):
            return Scores(np.zeros(0))
        return Scores(expit(self.steepness * self.reading(self.x(a) - self.x(b))))

    def prefer_at(
        self, candidates: Candidates, a: np.ndarray, b: np.ndarray, users: Sequence[str | None]
    ) -> np.ndarray:
        """float64 [n] what :meth:`prefer` gives of rows ``a`` and ``b``; each candidate is encoded once."""
        x = self.x(candidates)
        out = np.empty(len(a))
        for lo in range(0, len(a), 4096):
            rows = slice(lo, lo + 4096)
            out[rows] = expit(self.steepness * self.reading(x[a[rows]] - x[b[rows]]))
        return out

    def rank(self, candidates: Candidates) -> Scores:
        """Mean probability against the other candidates of the same prompt; 1/2 where there is none."""
        from guerdon.feedback.messages import pack

        value = np.full(len(candidates), 0.5)
        if not len(candidates):
            return Scores(value)
        x = self.x(candidates)
        groups = np.unique([pack(p) for p in candidates.prompts], return_inverse=True)[1]
        for g in range(int(groups.max()) + 1):
            rows = np.flatnonzero(groups == g)
            for i in rows if len(rows) > 1 else ():
                value[i] = expit(self.steepness * self.reading(x[i] - x[rows[rows != i]])).mean()
        return Scores(value)

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "vectors": self.vectors,
            "middle": self.middle,
            "reads_blocks": self.reads_blocks,
            "steepness": np.array([self.steepness]),
            "blocks": np.array([self.blocks]),
            **self.features.arrays(),
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.vectors, self.middle, self.reads_blocks = (arrays[k] for k in ("vectors", "middle", "reads_blocks"))
        self.steepness = float(arrays["steepness"][0])
        self.blocks = int(arrays["blocks"][0]) if "blocks" in arrays else self.blocks  # from when settings said it
        self.features.restore(arrays)


def direction_of(gaps: np.ndarray, kind: str) -> np.ndarray:
    """float64 [d] the direction of differences [n, d] of preferred and other."""
    mean = gaps.mean(0)
    if kind == "mean":
        return mean
    axis = np.linalg.svd(gaps, full_matrices=False)[2][0]  # not centred: the labels are in the mean
    return axis if axis @ mean >= 0 else -axis


def cosine(gaps: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """float64 [n] cosine of each difference with a direction; 0 where either is nothing."""
    size = np.linalg.norm(gaps, axis=1) * np.linalg.norm(direction)
    return np.where(size > TINY, gaps @ direction / np.maximum(size, TINY), 0.0)


def probe_accuracy(gaps: np.ndarray, inside: np.ndarray, out: np.ndarray, l2: float = 1e-2) -> float:
    """How many of the differences ``out`` a logistic probe of a block, fitted to those ``inside``, orders rightly."""
    scale = np.sqrt((gaps[inside] ** 2).mean(0))
    z = gaps * np.where(scale > TINY, 1 / np.maximum(scale, TINY), 0.0)
    both = np.concatenate([z[inside], -z[inside]])
    target = np.repeat([[0.0, 1.0], [1.0, 0.0]], len(inside), axis=0)
    weight, _ = softmax_regression(both, target, l2)
    said = z[out] @ (weight[:, 1] - weight[:, 0])
    return float(((said > 0) + 0.5 * (said == 0)).mean())


def response_probe_accuracy(both: np.ndarray, inside: np.ndarray, out: np.ndarray) -> float:
    """How many responses of the pairs ``out`` a logistic probe of a block, fitted to those ``inside``, sorts rightly.

    both   [2, n, d] the block's states of the preferred responses and of the others. The penalty is that of
           scikit-learn's logistic regression as it comes, |w|^2 / 2 a sum of losses; features are taken as they are.
    """
    x = np.concatenate([both[0, inside], both[1, inside]])
    target = np.repeat([[0.0, 1.0], [1.0, 0.0]], len(inside), axis=0)
    # two columns of opposite weights w / 2 and -w / 2 have half of the square of w
    weight, bias = softmax_regression(x, target, 2 / len(x))
    tilt, lift = weight[:, 1] - weight[:, 0], float(bias[1] - bias[0])
    return float(np.mean([both[0, out] @ tilt + lift > 0, both[1, out] @ tilt + lift <= 0]))


def fitted_steepness(reading: np.ndarray) -> float:
    """k in [0, 200] that makes sigmoid(k c) of held-out pairs, all of them preferred, most likely.

    A pair that both sides know is as likely to be shown either way round, so half of the weight of one more pair is put
    on either outcome: k stays finite where all are read rightly.
    """
    scale = float(np.abs(reading).mean())

    def loss(k: float) -> float:
        prior = np.logaddexp(0, k * scale) + np.logaddexp(0, -k * scale)
        return float(np.logaddexp(0, -k * reading).sum() + 0.5 * prior)

    return float(minimize_scalar(loss, bounds=(0.0, STEEPEST), method="bounded").x)  # type: ignore[attr-defined]

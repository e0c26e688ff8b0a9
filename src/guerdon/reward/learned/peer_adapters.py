"""Peer review end to end: two low-rank adapters on one language model, each learning from what the other believes.

The same choosing and schedule as on frozen features (:mod:`guerdon.reward.learned.peer_selection`), as a likelihood of
both peers' utilities u [C, 2] that the one training loop of transformers takes. The two differ by the random halves of
their adapters and by their heads, each of which starts at the optimum of a random half of the frozen features.

``peer-adapters`` reads utilities by linear heads; ``peer-policies`` reads the implicit rewards of two policies on a
causal language model against that model itself, which is DPO under the same filter.

Held-out loss is measured on labels nothing was filtered from. With ``keep=last`` nothing is held out, as in the paper.

Reference: Zhang et al. (2025), Two Minds Better Than One: Collaborative Reward Modeling for LLM Alignment,
https://arxiv.org/abs/2505.10597.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch

from guerdon.encode.prefix import base_of
from guerdon.encode.rendering import Rendered, prompt_keys
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.base import Scores
from guerdon.reward.learned.backbone_model import language_head, linear
from guerdon.reward.learned.features import FeatureScaling
from guerdon.reward.learned.finetune import Recipe
from guerdon.reward.learned.headed_backbone import HeadedBackbone
from guerdon.reward.learned.heads import LinearHead
from guerdon.reward.learned.likelihood import BradleyTerry, Likelihood
from guerdon.reward.learned.minibatches import Texts, members
from guerdon.reward.learned.pair_networks import margins
from guerdon.reward.learned.peer_readout import LastTokenPeers, MeanPoolPeers, PeerHead, PolicyPeers
from guerdon.reward.learned.peer_selection import Review, check_review
from guerdon.reward.learned.readout import LastToken, MeanPool, read

READS = ("score", "policy")


@dataclass
class PeerBradleyTerry(BradleyTerry):
    """Bradley-Terry of two models' utilities u [C, 2]: of their mean, or with a ``review`` of each on its selection.

    With a review every call moves it on: it is for the training loop alone. ``rows`` are the places of the pairs in it.
    """

    review: Review | None = None
    rows: np.ndarray | None = None

    width: ClassVar[int | None] = None

    def take(self, index: np.ndarray) -> Self:
        return replace(self, pairs=self.pairs.take(index), rows=None if self.rows is None else self.rows[index])

    def difference(self, u: np.ndarray) -> np.ndarray:
        return super().difference(u.mean(1))

    def spread(self, u: np.ndarray, dd: np.ndarray) -> np.ndarray:
        half = super().spread(u, dd) / u.shape[1]
        return np.repeat(half[:, None], u.shape[1], axis=1)

    def plain(self, index: np.ndarray) -> BradleyTerry:
        """The pairs ``index`` for one model's utilities [C]."""
        return BradleyTerry(self.pairs.take(index), self.candidates, self.margin, self.smoothing)

    def __call__(self, u: np.ndarray, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        if self.review is None or self.rows is None:
            return super().__call__(u, theta)
        some = self.review.among(self.rows)
        pairs = self.pairs.take(some)
        chosen = self.review.choose(self.rows[some], [margins(v, pairs) for v in u.T])
        loss, du = 0.0, np.zeros_like(u, dtype=np.float64)
        for j, selection in enumerate(chosen):
            if len(selection):
                part, du[:, j], _ = self.plain(some[selection])(u[:, j], theta)
                loss += part
        return loss, du, np.zeros(0)


class PeerAdapters(HeadedBackbone):
    """Two reviewed models on one transformer; the score is their mean, ``std`` their spread.

    After fitting, ``selection_rate`` [n] holds for each pair of :attr:`trained_on` how often it was chosen after the
    warm-up, in [0, 1], and ``mean_margin`` [n] its mean margin under the two.

    Parameters
    ----------
    backbone : minilm (bundled), or a Hub name or directory of a causal language model or (reads=score) an encoder
    reads : score (a linear head on the state) or policy (implicit rewards: beta x log-ratio to the backbone, as in DPO)
    beta : factor of the log-ratio (reads=policy)
    noise : share of the pairs assumed mislabelled, in [0, 0.5); so much of each batch is left out after the warm-up
    review_warmup : passes over the data during which that share grows from zero
    select : peer (each chooses for the other) or self (each for itself; confirms its own mistakes)
    curriculum : share (only what is left out grows) or easy-first (after the warm-up easy pairs come first, too)
    final : mean of the two, or better (the one with the lower held-out loss)
    start : where the heads start: probe (optimum of frozen states, on half of the data each) or zero
    learning_rate : peak AdamW step of the adapters; null is 2e-4
    head_learning_rate : peak AdamW step of the heads; null is ten times learning_rate
    batch : comparisons a step, which are ranked together; at least 16
    margin : a preferred response must win by margin x strength
    ties : half (a tie is p = 1/2) or drop
    keep : the state a fit ends in: last (nothing is held out) or best (lowest held-out loss)
    seed : seeds the first peer, the inner split and the order of the data
    peer_seed : seeds the second peer; null is seed + 1
    """

    shared = (*HeadedBackbone.shared, "margin", "ties")

    def __init__(
        self,
        *,
        backbone: str = "minilm",
        reads: str = "score",
        beta: float = 0.1,
        noise: float = 0.2,
        review_warmup: float = 1.0,
        select: str = "peer",
        curriculum: str = "share",
        final: str = "mean",
        start: str = "probe",
        keep: str = "last",
        peer_seed: int | None = None,
        **settings: Any,
    ) -> None:
        given: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "settings", "__class__")}
        for name, known in (("reads", READS), ("final", ("mean", "better"))):
            if given[name] not in known:
                raise ConfigError(f"{name}={given[name]!r} is unknown; use {' or '.join(known)}")
        if not beta > 0:
            raise ConfigError(f"beta={beta}: use a number above 0")
        if final == "better" and keep == "last":
            raise ConfigError("final=better compares held-out losses, and keep=last holds nothing out: use keep=best")
        self.begin("peer-policies" if reads == "policy" else "peer-adapters", given, settings, tuning="lora")
        check_review({**self.settings, "warmup": review_warmup})
        self.trained_on: Pairs | None = None
        self.selection_rate, self.mean_margin = np.zeros(0), np.zeros(0)

    # ------------------------------------------------------------------ fitting

    def fit(self, feedback: Feedback, *, validation: Feedback | None = None, progress: bool = False) -> Self:
        self.summary = {}  # what it says of a saved policy is not this one's
        super().fit(feedback, validation=validation, progress=progress)
        texts, data, held = self._fitting
        del self._fitting
        assert data.review is not None
        self.trained_on, self.selection_rate = data.pairs, data.review.rate()
        gaps = [margins(v, data.pairs) for v in self._utilities(texts, data).T]
        self.mean_margin = np.mean(gaps, axis=0)
        self.summary["mostly_left_out"] = round(float((self.selection_rate < 0.5).mean()), 4)
        self.summary["networks_disagree"] = round(float(np.mean((gaps[0] > 0) != (gaps[1] > 0))), 4)
        if held is not None:
            u = self._utilities(texts, held)
            losses = [held.plain(np.arange(len(held)))(v, held.theta0)[0] for v in u.T]
            self.summary["held_out_losses"] = [round(float(v), 4) for v in losses]
            if self.settings["final"] == "better":
                self.head.share.copy_(torch.eye(len(losses))[int(np.argmin(losses))])
        if isinstance(self.readout, PolicyPeers):
            self.summary["writes"] = [*self.readout.writes.weight.shape, self.readout.writes.bias is not None]  # type: ignore[misc]
        return self

    def _utilities(self, texts: Texts, data: PeerBradleyTerry) -> np.ndarray:
        """float64 [C, 2] of the candidates of ``data``, 0 elsewhere."""
        assert self.readout is not None
        used = np.unique(members(data)[0])
        types = None if texts.types is None else [texts.types[i] for i in used]
        u = np.zeros((data.candidates, 2))
        sequences = [texts.sequences[i] for i in used]
        u[used] = read(self.readout, sequences, types, texts.prompts[used].tolist(), self.budget)[0]
        return u

    def shape_head(self) -> None:
        """Put both peers' adapters on the backbone."""
        s = self.settings
        assert self.readout is not None
        pooled, d = isinstance(self.readout, MeanPool), linear(self.readout.head).in_features
        base = self.model if pooled else base_of(self.model)
        seeds = (s["seed"], s["seed"] + 1 if s["peer_seed"] is None else s["peer_seed"])
        head = PeerHead(base, d, s["lora_rank"], s["lora_alpha"], seeds).eval()
        if s["reads"] == "policy":
            if not isinstance(self.readout, LastToken):
                raise ConfigError(f"reads=policy: {s['backbone']} reads both ways and writes no text; use reads=score")
            if "writes" in self.summary:  # a saved one: its weights are in the head's file
                out, width, bias = self.summary["writes"]
                head.writes = torch.nn.Linear(width, out, bias=bias)
            else:
                head.writes = language_head(s["backbone"], self.model)
            self.readout = PolicyPeers(self.readout.decoder, head, head.writes, s["beta"])  # type: ignore[arg-type]
        elif isinstance(self.readout, MeanPool):
            self.readout = MeanPoolPeers(self.readout.base, head, self.readout.fill)
        else:
            self.readout = LastTokenPeers(self.readout.decoder, head)
        if not pooled:
            self.model.score = head

    def types(self, candidates: Candidates, rendered: Rendered) -> list[np.ndarray] | None:
        """[n] 0 for tokens of the prompt and 1 for those of the response, where the response's likelihood is read."""
        if self.settings["reads"] != "policy":
            return rendered.types
        assert self.renderer is not None
        starts = self.renderer.response_starts(candidates, rendered)
        lengths = [0 if t is None else len(t) for t in rendered.tokens]
        return [(np.arange(n) >= start).astype(np.int64) for n, start in zip(lengths, starts, strict=True)]

    def likelihood(self, feedback: Feedback) -> Likelihood:
        """Bradley-Terry of both peers' utilities."""
        s = self.settings
        pairs = feedback.pairs(ties=s["ties"] != "drop", max_per_person=s["max_pairs"], seed=s["seed"])
        if not len(pairs):
            raise FeedbackError(f"this feedback implies no comparisons; {self.name} learns from comparisons only")
        return PeerBradleyTerry(pairs, len(feedback.responses), s["margin"])

    def _start(self, texts: Texts, data: Likelihood, held: Likelihood | None, tuning: str) -> None:
        s = self.settings
        assert isinstance(data, PeerBradleyTerry)
        if s["reads"] == "score":
            super()._start(texts, data, held, tuning)
        names = ("noise", "select", "curriculum", "epochs")
        data.review = Review(len(data), warmup=s["review_warmup"], **{name: s[name] for name in names})
        data.rows = np.arange(len(data))
        assert held is None or isinstance(held, PeerBradleyTerry)
        self._fitting = (texts, data, held)

    def probe(self, states: np.ndarray, data: Likelihood, held: Likelihood | None, fitting: np.ndarray) -> None:
        """Set each head to the optimum on frozen ``states`` of its own half of the data."""
        assert isinstance(data, PeerBradleyTerry)
        assert held is None or isinstance(held, PeerBradleyTerry)
        scaling = FeatureScaling()
        scaling.fit(states[fitting])
        known = None if held is None else held.plain(np.arange(len(held)))
        order = np.random.default_rng([self.settings["seed"], 86]).permutation(len(data))
        for module, half in zip(self.head.heads, np.array_split(order, 2), strict=True):
            head, ridge = linear(module), LinearHead(l2="auto")
            ridge.fit(scaling(states), data.plain(np.sort(half)), known)
            weight = ridge.weight * scaling.scale
            with torch.no_grad():
                head.weight[0] = torch.as_tensor(weight, dtype=head.weight.dtype)
                head.bias[0] = -float(scaling.mean @ weight)

    def _trainable(self, tuning: str) -> list[tuple[str, torch.nn.Parameter, bool]]:
        self._body().requires_grad_(False)
        self.head.requires_grad_(True)
        if isinstance(self.readout, PolicyPeers):
            self.readout.writes.requires_grad_(False)
            self.head.heads.requires_grad_(False)
        named = self.head.named_parameters()
        return [(f"head.{n}", p, n.startswith("heads.")) for n, p in named if p.requires_grad]

    def _recipe(self, tuning: str) -> Recipe:
        return super()._recipe("lora")

    # ------------------------------------------------------------------ scoring

    def peers(self, candidates: Candidates) -> np.ndarray:
        """float64 [n, 2] utilities under each peer; NaN where a candidate cannot be read."""
        return self._peers(candidates)[0]

    def _peers(self, candidates: Candidates) -> tuple[np.ndarray, Rendered, int]:
        head = self.head
        assert self.renderer is not None
        assert self.readout is not None
        rendered = self.renderer(candidates)
        types = self.types(candidates, rendered)
        value, tokens = read(self.readout, rendered.tokens, types, prompt_keys(candidates), self.budget)
        return value if value.ndim == 2 else np.full((len(candidates), len(head.share)), np.nan), rendered, tokens

    def score(self, candidates: Candidates) -> Scores:
        """Mean utility of the peers (or the better one's), in log-odds; ``std`` is their spread."""
        begin = time.perf_counter()
        value, rendered, tokens = self._peers(candidates)
        share = self.head.share.double().cpu().numpy()
        mean = value @ share
        status, reason = list(rendered.status), list(rendered.reason)
        for row in np.flatnonzero(~np.isfinite(mean)):
            if rendered.tokens[row] is not None:
                mean[row], status[row], reason[row] = np.nan, "failed", "the model's output is not a number"
        std = None if share.max() == 1 else np.where(np.isfinite(mean), value.std(1), np.nan)
        return Scores(
            mean, status, reason, std=std, cost={"tokens": float(tokens), "seconds": time.perf_counter() - begin}
        )

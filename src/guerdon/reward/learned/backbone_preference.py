"""General preference end to end: a transformer whose head gives preference embeddings, both trained on comparisons.

The same loop, adapters, text losses and files as :class:`~guerdon.reward.learned.backbone.BackboneReward`; instead of a
score, 2k numbers a candidate come out, and the skew-symmetric form of two candidates' embeddings is the log-odds that
the one is preferred (:mod:`guerdon.reward.learned.preference_embeddings`). A causal language model is read at the last
token, and the state of the prompt's last token weighs the blocks of the form; a bidirectional encoder is read by the
mean of its tokens, and as its prompt's states have seen the response, its blocks all weigh the same.

The head starts at one fitted to the frozen states. From the paper's random one (``start="random"``) the embeddings of
states that hardly differ are all alike, and where everybody wins as often as they lose that is a saddle: on a small
language model trained from scratch a circle was not learned from there, nor after too large steps.

When to use it: where preferences may run in circles and a frozen encoder does not show why. On transitive data a plain
backbone is as good and gives scores.

Reference: Zhang et al. 2024, General Preference Modeling with Preference Representations for Aligning Language Models,
https://arxiv.org/abs/2410.02197 (head of 2k = 4 to 8, tau = 0.1 of normalised embeddings, prompt-dependent scales).
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch

from guerdon.encode.rendering import Rendered, prompt_keys
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.backbone_model import linear
from guerdon.reward.learned.comparisons import SkewSymmetric
from guerdon.reward.learned.headed_backbone import HeadedBackbone
from guerdon.reward.learned.likelihood import Likelihood
from guerdon.reward.learned.preference_embeddings import Embedded, EmbeddedPreference, check_embedding
from guerdon.reward.learned.preference_head import PreferenceHead, fit_preference_head
from guerdon.reward.learned.readout import LastToken, LastTokens, MeanPool, read
from guerdon.reward.learned.tournament import cyclic_share

STARTS = ("probe", "random")
SCALES = ("auto", "prompt", "none")
MEASURED = 200
"""Candidates whose comparisons say how cyclic the preference is."""


class BackbonePreference(EmbeddedPreference, HeadedBackbone):
    """A transformer that compares by preference embeddings, fitted to comparisons; the same for everybody.

    Parameters
    ----------
    backbone : minilm (bundled), or a Hub name or directory of a causal language model or an encoder
    dim : numbers of an embedding, 2k of k blocks; even
    normalize : whether embeddings have length 1 (then tau says how sure the surest comparison can be)
    tau : temperature; auto is 0.1 of normalised embeddings and 1 of others
    scales : prompt (the prompt's last state weighs the blocks; causal language models), none, or auto (where it can)
    method : what rank() gives: score (mean against the others of the prompt), nash, borda or copeland
    pool : candidates of the training data that score() compares with; 0 keeps none
    start : where the head starts: probe (fitted to frozen states) or random (the paper's; see the module)
    batch : comparisons a step
    regularizer_weight : its share alpha of the loss, in [0, 1); the paper takes 0.01 to 0.1
    seed : seeds the head, the inner split, the order of the data and the adapters
    """

    shared = (
        *HeadedBackbone.shared,
        *("tuning", "label_smoothing", "pull", "regularizer", "regularizer_weight", "regularizer_beta"),
        *("sft_logsigmoid", "gradient_checkpointing", "checkpoint"),
    )

    def __init__(
        self,
        *,
        backbone: str = "minilm",
        dim: int = 8,
        normalize: bool = True,
        tau: float | str = "auto",
        scales: str = "auto",
        method: str = "score",
        pool: int = 512,
        start: str = "probe",
        **settings: Any,
    ) -> None:
        given: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "settings", "__class__")}
        check_embedding(dim, tau, method)
        for name, choices in (("start", STARTS), ("scales", SCALES)):
            if given[name] not in choices:
                raise ConfigError(f"{name}={given[name]!r} is unknown; use one of {', '.join(choices)}")
        if isinstance(pool, bool) or not isinstance(pool, int) or pool < 0:
            raise ConfigError(f"pool={pool!r}: use a number of candidates, 0 for none")
        self.begin("gpm", given, settings, start="probe")  # its own kinds of start are not the score head's
        self.pooled = np.zeros(0)

    # ------------------------------------------------------------------ fitting

    def fit(self, feedback: Feedback, *, validation: Feedback | None = None, progress: bool = False) -> Self:
        super().fit(feedback, validation=validation, progress=progress)
        s = self.settings
        rows = np.random.default_rng(s["seed"]).permutation(feedback.used)[: max(s["pool"], MEASURED)]
        some = self.embed(feedback.candidates.take(rows))
        some = some.take(np.flatnonzero(some.readable))
        if s["pool"]:
            self.head.pooled.copy_(torch.as_tensor(some.v[: s["pool"]].mean(0)))
            self.place()
        self.summary |= {
            "dim": s["dim"],
            "tau": self.tau,
            "scales": "none" if self.head.gate is None else "prompt",
            "cyclic_share": round(cyclic_share(some.take(np.arange(min(len(some.v), MEASURED))).table()), 4),
        }
        return self

    def shape_head(self) -> None:
        """Put a preference head in the place of the linear one the backbone was opened with."""
        s = self.settings
        assert self.readout is not None
        causal = isinstance(self.readout, LastToken)
        if s["scales"] == "prompt" and not causal:
            raise ConfigError(
                f"scales=prompt: {s['backbone']} reads both ways, so its states of the prompt have seen the response; "
                "use scales=none or a causal language model"
            )
        old = linear(self.readout.head)
        head = PreferenceHead(
            old.in_features,
            s["dim"],
            normalize=s["normalize"],
            tau=self.tau,
            gate=causal and s["scales"] != "none",
            seed=s["seed"],
        )
        head.to(old.weight).eval()
        if isinstance(self.readout, MeanPool):
            self.readout.head, self.readout.label = head, slice(None)
        else:
            kind = LastToken if head.gate is None else LastTokens
            self.readout, self.model.score = kind(self.readout.decoder, head, slice(None)), head

    def place(self) -> None:
        """Put the model where it runs and fix what it reads."""
        super().place()
        pooled = self.head.pooled.double().cpu().numpy()
        self.pooled = pooled if np.isfinite(pooled).all() else np.zeros(0)

    def types(self, candidates: Candidates, rendered: Rendered) -> list[np.ndarray] | None:
        """[n] 0 for tokens of the prompt and 1 for those of the response, where the prompt weighs the blocks."""
        if not isinstance(self.readout, LastTokens):
            return rendered.types
        assert self.renderer is not None
        starts = self.renderer.response_starts(candidates, rendered)
        lengths = [0 if t is None else len(t) for t in rendered.tokens]
        return [(np.arange(n) >= start).astype(np.int64) for n, start in zip(lengths, starts, strict=True)]

    def likelihood(self, feedback: Feedback) -> Likelihood:
        """The skew-symmetric likelihood of the comparisons."""
        pairs = feedback.pairs(max_per_person=self.settings["max_pairs"], seed=self.settings["seed"])
        if not len(pairs):
            raise FeedbackError("this feedback implies no comparisons, which general preference is about")
        return SkewSymmetric(pairs, len(feedback.responses), 0.0, self.settings["label_smoothing"])

    def probe(self, states: np.ndarray, data: Likelihood, held: Likelihood | None, fitting: np.ndarray) -> None:
        """Fit the head on frozen ``states``, of which the rows ``fitting`` belong to ``data``."""
        fit_preference_head(self.head, states, data, held, fitting, self.settings["seed"])

    # ------------------------------------------------------------------ comparing

    def embed(self, candidates: Candidates) -> Embedded:
        """Embeddings and scales of candidates, each encoded once; NaN with a reason where one cannot be read."""
        head = self.head
        assert self.readout is not None
        assert self.renderer is not None
        k = self.settings["dim"] // 2
        rendered = self.renderer(candidates)
        v, scales = np.full((len(candidates), 2 * k), np.nan), np.full((len(candidates), k), np.nan)
        rows = rendered.readable
        if not len(rows):
            return Embedded(v, scales, rendered.status, rendered.reason)
        types = self.types(candidates, rendered)
        states = read(self.readout, rendered.tokens, types, prompt_keys(candidates), self.budget, "hidden")[0]
        device = head.embedding.weight.device
        with torch.inference_mode():
            parts = head.parts(torch.as_tensor(states[rows], dtype=torch.float32, device=device))
        v[rows], scales[rows] = (part.double().cpu().numpy() for part in parts)
        status, reason = list(rendered.status), list(rendered.reason)
        embedded = Embedded(v, scales / self.tau, status, reason)
        for row in rows[~embedded.readable[rows]]:
            status[row], reason[row] = "failed", "the model's output is not a number"
        return embedded

    def examined(self, candidates: Candidates) -> np.ndarray:
        """float64 [n] log-odds of each candidate over the next (over the first for the last), for the self-test."""
        embedded = self.embed(candidates)
        return embedded.against(embedded.take(np.roll(np.arange(len(candidates)), -1)))

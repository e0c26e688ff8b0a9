"""What can be fitted: one line a model. ``guerdon models`` prints it, ``guerdon fit --model`` and saved files use it.

A name stands for a class whose keyword-only constructor arguments are its hyper-parameters, documented in a numpydoc
``Parameters`` section. Saved models store the name, so only classes listed here are ever opened from a file.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from guerdon.errors import ConfigError

if TYPE_CHECKING:
    from guerdon.reward.learned.fitted import FittedReward


@dataclass(frozen=True)
class Model:
    """One fittable model: where it lives, preset arguments, what it does in a line, where it comes from."""

    name: str
    target: str
    mechanism: str
    paper: str
    preset: dict[str, Any]
    personal: bool = False

    @property
    def cls(self) -> type[FittedReward]:
        """The class behind the name (imported on first use)."""
        module, _, attribute = self.target.partition(":")
        return getattr(import_module(module), attribute)

    def parameters(self) -> list[tuple[str, Any, str]]:
        """(name, default under this preset, one line of documentation) of each hyper-parameter."""
        return [(name, self.preset.get(name, default), doc) for name, default, doc in self.cls.parameters()]

    def make(self, **settings: Any) -> FittedReward:
        """A fresh, unfitted model with ``settings`` over the preset."""
        known = [name for name, _, _ in self.parameters()]
        for key in settings:
            if key not in known:
                raise ConfigError(f"model {self.name!r} has no parameter {key!r}; it has: {', '.join(known)}")
        model = self.cls(**{**self.preset, **settings})
        model.name = self.name
        return model


def documented_parameters(target: Callable[..., Any]) -> list[tuple[str, Any, str]]:
    """(name, default, one line of documentation) of each keyword-only argument of a callable."""
    docs = parameter_docs(target)
    signature = inspect.signature(target.__init__ if isinstance(target, type) else target)
    return [
        (p.name, p.default, docs.get(p.name, "")) for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY
    ]


def parameter_docs(target: Callable[..., Any]) -> dict[str, str]:
    """One-line documentation of each parameter from a ``Parameters`` section (``name : what it is``)."""
    match = re.search(r"Parameters\n-+\n(.*?)(?:\n\n\S|\Z)", inspect.getdoc(target) or "", re.S)
    docs: dict[str, str] = {}
    name = ""
    for line in (match.group(1) if match else "").split("\n"):
        head = re.match(r"(\w+) : (.*)", line)
        if head:
            name = head.group(1)
            docs[name] = head.group(2).strip()
        elif line.startswith(" ") and name:
            docs[name] += " " + line.strip()
    return docs


LEARNED = "guerdon.reward.learned.model:RewardModel"
PERSONAL = "guerdon.reward.personal.low_rank:LowRankReward"

MODELS: dict[str, Model] = {
    m.name: m
    for m in [
        Model("bradley-terry", LEARNED, "linear utility of features, logistic comparisons", "047, 109", {}),
        Model("bradley-terry-mlp", LEARNED, "two-layer utility, logistic comparisons", "056, 109", {"head": "mlp"}),
        Model(
            "plackett-luce", LEARNED, "linear utility, rankings by choice-of-n", "047", {"likelihood": "plackett-luce"}
        ),
        Model(
            "regression",
            LEARNED,
            "linear utility, absolute ratings by least squares",
            "109",
            {"likelihood": "regression"},
        ),
        Model(
            "low-rank", PERSONAL, "basis utilities x person weights, trust in votes learned", "020, 023, 035", {}, True
        ),
        Model(
            "lore",
            PERSONAL,
            "basis utilities x simplex weights, no prior (LoRe)",
            "020",
            {"weights": "simplex", "prior": "none"},
            True,
        ),
        Model(
            "reward-features",
            "guerdon.reward.personal.reward_features:RewardFeatures",
            "learned features (linear or a network) x free person weights, fixed prior",
            "023",
            {},
            True,
        ),
        Model(
            "components",
            "guerdon.reward.personal.components:ComponentsReward",
            "principal components of preference differences x softmax person weights, trust learned",
            "061",
            {},
            True,
        ),
        Model(
            "drm",
            "guerdon.reward.personal.components:ComponentsReward",
            "the same with the paper's settings (DRM)",
            "061",
            {"head": "expert", "normalize": "person", "temperature": 1.0, "gain": 1.0},
            True,
        ),
        Model(
            "attributes",
            "guerdon.reward.personal.attributes:AttributeReward",
            "named attributes (prompted likelihood differences) x person weights, readable",
            "073",
            {},
            True,
        ),
        Model(
            "factorization",
            "guerdon.reward.personal.factorization:FactorizationReward",
            "people x candidates by identity, reads no text: a yardstick where candidates recur",
            "020",
            {},
            True,
        ),
        Model(
            "peer-reviewed",
            "guerdon.reward.learned.peer_review:PeerReviewed",
            "two MLPs under label noise, each learning from the pairs the other believes",
            "086",
            {},
        ),
        Model(
            "peer-adapters",
            "guerdon.reward.learned.peer_adapters:PeerAdapters",
            "two adapters on one transformer under label noise, each learning from the pairs the other believes",
            "086",
            {},
        ),
        Model(
            "peer-policies",
            "guerdon.reward.learned.peer_adapters:PeerAdapters",
            "the same for implicit rewards: DPO on two adapters of one language model, each filtered by the other",
            "086",
            {"reads": "policy"},
        ),
        Model(
            "robust",
            "guerdon.reward.learned.robust:RobustReward",
            "an MLP with noise-robust loss, cartography, contrastive and meta-learning terms",
            "086, 105",
            {},
        ),
        Model(
            "basereward",
            LEARNED,
            "two layers with SiLU, logistic comparisons (BaseReward's head)",
            "056",
            {"head": "mlp", "activation": "silu", "dropout": 0.0},
        ),
        Model(
            "tool-calls",
            "guerdon.reward.learned.tool_reward:ToolCallReward",
            "tool calls read relative to their catalogue, whatever the names; scores with a common zero (ToolRM)",
            "096",
            {"encoder": "tools", "center": 0.01},
        ),
        Model(
            "ensemble",
            "guerdon.reward.learned.ensemble:EnsembleReward",
            "many heads trained at once on bootstrap samples; spread, pessimism",
            "109, 112",
            {},
        ),
        Model(
            "sparse-autoencoder",
            "guerdon.reward.learned.sparse_reward:SparseReward",
            "linear utility of a TopK autoencoder's latents: scores as sums of features, which can be edited",
            "113",
            {},
        ),
        Model(
            "sarm",
            "guerdon.reward.learned.sparse_backbone:SparseBackbone",
            "a causal language model cut in the middle, a sparse autoencoder and a linear head, end to end (SARM)",
            "113",
            {},
        ),
        Model(
            "experts",
            "guerdon.reward.learned.experts:ExpertsReward",
            "a router over categories of prompts, a head a capability, an aggregator fitted to people",
            "118",
            {},
        ),
        Model(
            "auto",
            "guerdon.reward.auto:AutoReward",
            "fits several of these and keeps the one that people held out agree with; says why",
            "020, 023, 061",
            {},
        ),
        Model(
            "ideal-point",
            "guerdon.reward.personal.ideal_point:IdealPointReward",
            "distance to a mixture of shared ideal points, or ideal directions by prompt",
            "021",
            {},
            True,
        ),
        Model(
            "pal",
            "guerdon.reward.personal.ideal_point:IdealPointReward",
            "the same with the paper's settings (PAL)",
            "021",
            {"k": 2, "projector": "mlp", "loss": "hinge", "prior": "none"},
            True,
        ),
        Model(
            "variational",
            "guerdon.reward.personal.variational:VariationalReward",
            "a latent person read from a few comparisons by a set encoder; uncertainty, active questions",
            "071",
            {},
            True,
        ),
        Model(
            "vpl",
            "guerdon.reward.personal.variational:VariationalReward",
            "the same with the paper's settings (VPL)",
            "071",
            {"latent": 512, "hidden": 512, "learning_rate": 1e-4, "kl_weight": 3e-6, "prior": "none"},
            True,
        ),
        Model(
            "general-preference",
            "guerdon.reward.learned.general_preference:GeneralPreference",
            "skew-symmetric preference of embeddings: cycles too, no score of a candidate alone",
            "052",
            {},
        ),
        Model(
            "mixture",
            "guerdon.reward.learned.mixture:MixtureReward",
            "several rewards and a router by prompt or person, re-weighted for people by Hedge",
            "016, 014",
            {},
            True,
        ),
        Model(
            "micro",
            "guerdon.reward.learned.mixture:MixtureReward",
            "the same with the paper's number of rewards (MiCRo)",
            "016",
            {"heads": 10, "balance": 0.1},
            True,
        ),
        Model(
            "backbone",
            "guerdon.reward.learned.backbone:BackboneReward",
            "a transformers backbone with a score head, end to end (full or LoRA)",
            "047",
            {},
        ),
        Model(
            "autoregressive",
            "guerdon.reward.implicit.autoregressive:AutoregressiveReward",
            "a language model whose log-likelihood of the response is the reward, token by token (GenARM)",
            "058",
            {},
        ),
        Model(
            "zero-shot",
            "guerdon.reward.implicit.shown_examples:ShownExamples",
            "a language model's likelihood of the response, nothing trained",
            "062",
            {"shots": 0},
        ),
        Model(
            "few-shot",
            "guerdon.reward.implicit.shown_examples:ShownExamples",
            "the same behind good answers to other prompts, drawn for each prompt",
            "062",
            {},
        ),
        Model(
            "prompt-tuning",
            "guerdon.reward.learned.prompt_tuning:PromptTuned",
            "a frozen language model, learned tokens before every text and a linear head",
            "062",
            {},
        ),
        Model(
            "grm",
            "guerdon.reward.learned.backbone:BackboneReward",
            "the same, its hidden states kept by a text loss on the responses, two-layer head (GRM)",
            "067",
            {"regularizer": "sft", "value_head": "mlp", "gradient_clip": 5.0},
        ),
        Model(
            "gpm",
            "guerdon.reward.learned.backbone_preference:BackbonePreference",
            "a transformers backbone with preference embeddings, end to end (GPM): cycles too",
            "052",
            {},
        ),
        Model(
            "context",
            "guerdon.reward.learned.context:ContextReward",
            "a reward given a written context (the column criterion); without one, the plain linear utility",
            "068",
            {},
        ),
        Model(
            "mean-difference",
            "guerdon.reward.learned.directions:DirectionReward",
            "cosines of differences with mean differences, block by block (mass mean shift)",
            "062",
            {},
        ),
        Model(
            "principal-difference",
            "guerdon.reward.learned.directions:DirectionReward",
            "the same with first principal axes of the differences (linear tomography, LAT)",
            "062",
            {"direction": "component"},
        ),
        Model(
            "contrast-difference",
            "guerdon.reward.learned.directions:DirectionReward",
            "the same with mean differences of states with yes and with no behind the response (CRA)",
            "062",
            {"contrast": 1.0},
        ),
        Model(
            "consistent-search",
            "guerdon.reward.learned.consistent_search:ConsistentSearch",
            "a probe that has to be consistent on yes and no, without labels but for its sign (CCS)",
            "062",
            {},
        ),
        Model(
            "probed",
            "guerdon.reward.learned.probed:ProbedReward",
            "linear utility that falls back to the reference where no preference dimension is in play",
            "033",
            {},
        ),
    ]
}


def model(name: str) -> Model:
    """The registered model called ``name``."""
    if name not in MODELS:
        raise ConfigError(f"no model {name!r}; choose one of: {', '.join(MODELS)} (guerdon models says what each does)")
    return MODELS[name]

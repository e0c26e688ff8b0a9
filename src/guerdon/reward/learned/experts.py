"""Routed experts: a prompt goes to its category's reward, where a head a capability judges and a small map joins them.

Outer layer: a router (softmax regression, one cross-entropy) sends a prompt to a category; feedback names categories in
its column ``subset``. Inner layer, for each category, a :class:`CapabilityStack`:

1. a *base* head fitted to a share of the human comparisons (those without a criterion);
2. a head a capability, fitted to the comparisons whose ``criterion`` names it (cheap labels, by a judge asked in both
   orders: :func:`keep_consistent`), on disjoint human data from
3. the aggregator, fitted to the rest of the human comparisons with everything below frozen: ``scores`` (linear in the
   experts' scores), ``scores-mlp``, or ``hidden`` (an MLP on the experts' last hidden layers, which needs thousands of
   comparisons). ``auto`` keeps the linear one unless held-out human comparisons speak for another by two standard
   errors.

A candidate whose category no expert was fitted for is scored by a shared reward over everything, and flagged.

Reference: Quan (2024), DMoERM: Recipes of Mixture-of-Experts for Effective Reward Modeling,
https://arxiv.org/abs/2403.01197.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import pack
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Scores
from guerdon.reward.learned.features import FeatureScaling, inner_split
from guerdon.reward.learned.fitted import FeatureReward, Prepared
from guerdon.reward.learned.heads import Head, LinearHead, MLPHead
from guerdon.reward.learned.likelihood import BradleyTerry

AGGREGATORS = ("scores", "scores-mlp", "hidden")
ROUTES = ("auto", "prompt", "column", "none")
BASE_SHARE = 0.6
"""Share of the human comparisons that the base head learns from; the aggregator takes the rest."""
SURE = 2.0
"""Standard errors by which a larger aggregator must beat a smaller one on held-out comparisons to be kept."""


class Router:
    """Categories of prompts from features x [n, d]: p = softmax(x W + b), ridge l2 / 2 |W|^2 beside the mean loss."""

    def __init__(self, l2: float = 1e-3) -> None:
        self.l2 = l2
        self.weight, self.bias = np.zeros((0, 0)), np.zeros(0)

    def fit(self, x: np.ndarray, category: np.ndarray, count: int) -> None:
        """Learn ``category`` int [n] in 0..count-1."""
        n, d = x.shape
        hot = np.eye(count)[category]

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            w, b = flat[: d * count].reshape(d, count), flat[d * count :]
            logits = x @ w + b
            loss = float(np.mean(logsumexp(logits, 1) - logits[np.arange(n), category]) + self.l2 / 2 * np.sum(w**2))
            off = (softmax(logits, 1) - hot) / n
            return loss, np.concatenate([(x.T @ off + self.l2 * w).ravel(), off.sum(0)])

        found = minimize(objective, np.zeros((d + 1) * count), jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
        self.weight, self.bias = found[: d * count].reshape(d, count), found[d * count :]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """int64 [n] the likeliest category."""
        return np.argmax(x @ self.weight + self.bias, 1)


@dataclass
class CapabilityStack:
    """One head a capability and an aggregator over them; ``settings`` are those of the heads."""

    head: str
    settings: dict[str, Any]
    names: list[str] = field(default_factory=list)
    experts: list[Head] = field(default_factory=list)
    base: Head | None = None
    joint: Head | None = None
    kind: str = ""
    scale: FeatureScaling = field(default_factory=FeatureScaling)

    def fresh(self, kind: str) -> Head:
        """An unfitted head: linear or mlp."""
        return LinearHead(l2=self.settings["l2"]) if kind == "linear" else MLPHead(**self.settings["mlp"])

    def fit(
        self,
        x: np.ndarray,
        capabilities: dict[str, tuple[BradleyTerry, BradleyTerry | None]],
        base: tuple[BradleyTerry, BradleyTerry | None],
        rest: tuple[BradleyTerry, BradleyTerry | None],
        wanted: str,
    ) -> dict[str, Any]:
        """Fit base, experts and aggregator on features x [C, d]; (learn from, hold out) each."""
        self.base = self.fresh(self.head)
        self.base.fit(x, *base, progress=False)
        self.names, self.experts = list(capabilities), []
        for data, held in capabilities.values():
            expert = self.fresh(self.head)
            expert.fit(x, data, held, progress=False)
            self.experts.append(expert)
        if not self.experts:
            self.kind = "base"
            return {"aggregator": "base alone: no capability has enough labels"}
        data, held = rest
        kinds = (
            list(AGGREGATORS) if wanted == "auto" and held is not None else ["scores" if wanted == "auto" else wanted]
        )
        each: dict[str, np.ndarray] = {}
        tried: dict[str, tuple[Head, FeatureScaling]] = {}
        seen = np.unique(np.concatenate([data.pairs.a, data.pairs.b]))
        for kind in kinds:
            scale = FeatureScaling()
            inputs = self.inputs(x, kind)
            scale.fit(inputs[seen])
            head = self.fresh("linear" if kind == "scores" else "mlp")
            head.fit(scale(inputs), data, held, progress=False)
            tried[kind] = head, scale
            each[kind] = np.zeros(1) if held is None else _losses(held, head(scale(inputs)))
        losses = {kind: float(loss.mean()) for kind, loss in each.items()}
        self.kind = kinds[0]
        for kind in kinds[1:]:  # few human comparisons are held out: a larger aggregator has to be better for sure
            better = each[self.kind] - each[kind]
            if better.mean() > SURE * better.std() / np.sqrt(len(better)):
                self.kind = kind
        self.joint, self.scale = tried[self.kind]
        return {"aggregator": self.kind, "held_out_loss": losses if held is not None and len(kinds) > 1 else {}}

    def scores(self, x: np.ndarray) -> np.ndarray:
        """float64 [n, K] each capability's score."""
        return np.stack([expert(x) for expert in self.experts], 1) if self.experts else np.zeros((len(x), 0))

    def inputs(self, x: np.ndarray, kind: str) -> np.ndarray:
        """What an aggregator of this kind reads: scores [n, K], or the experts' hidden layers side by side."""
        if kind != "hidden":
            return self.scores(x)
        return np.concatenate([e.last_hidden(x) if isinstance(e, MLPHead) else x for e in self.experts], 1)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """float64 [n] the aggregate."""
        if self.joint is None:
            assert self.base is not None
            return self.base(x)
        return self.joint(self.scale(self.inputs(x, self.kind)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Learned arrays by name."""
        parts = {"base": self.base, "joint": self.joint, **{f"expert{i}": e for i, e in enumerate(self.experts)}}
        found = {f"{k}.{name}": a for k, part in parts.items() if part is not None for name, a in part.arrays().items()}
        text = "\x1f".join([self.kind, *self.names])
        found |= {f"scale.{k}": v for k, v in self.scale.arrays().items()} if self.joint is not None else {}
        return {**found, "names": np.frombuffer(text.encode(), np.uint8)}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take learned arrays back."""

        def own(mark: str) -> dict[str, np.ndarray]:
            return {k.removeprefix(f"{mark}."): v for k, v in arrays.items() if k.startswith(f"{mark}.")}

        self.kind, *self.names = arrays["names"].tobytes().decode().split("\x1f")
        self.base, self.experts = self.fresh(self.head), []
        self.base.restore(own("base"))
        for i in range(len(self.names)):
            self.experts.append(self.fresh(self.head))
            self.experts[-1].restore(own(f"expert{i}"))
        if self.names:
            self.joint = self.fresh("linear" if self.kind == "scores" else "mlp")
            self.joint.restore(own("joint"))
            self.scale.restore(own("scale"))


class ExpertsReward(FeatureReward):
    """A router over categories of prompts, capability heads within each, and an aggregator fitted to people.

    Human comparisons have no criterion; those with one teach the head of that capability. Categories are the subsets of
    the feedback (``route="none"`` puts everything in one). A candidate may name its category in ``extra["category"]``.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    route : prompt (a router on the prompt's own features), column (extra["category"]), none, or auto
    head : mlp or linear, of base and capabilities
    aggregator : scores, scores-mlp, hidden, or auto (chosen on held-out human comparisons)
    min_labels : a capability with fewer comparisons in a category is left out there
    l2 : ridge penalty of linear parts, or auto (chosen on held-out prompts)
    ties : half (a tie is p = 1/2) or drop
    max_pairs : at most so many pairs a person made from separate ratings; null keeps all
    hidden : width, or list of widths, of mlp parts
    activation : gelu, silu, tanh, relu or none, between the layers of mlp parts
    dropout : dropout of mlp parts
    learning_rate : AdamW step of mlp parts
    weight_decay : AdamW weight decay of mlp parts
    epochs : most passes over the data of mlp parts
    batch : comparisons a step of mlp parts
    choose_by : automatic choices are made on held-out prompts, users or judgements; auto takes prompts if it can
    seed : seeds the splits, the pair draw and mlp parts
    """

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        route: str = "auto",
        head: str = "mlp",
        aggregator: str = "auto",
        min_labels: int = 30,
        l2: float | str = "auto",
        ties: str = "half",
        max_pairs: int | None = 500,
        hidden: int | list[int] = 64,
        activation: str = "gelu",
        dropout: float = 0.0,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        epochs: int = 30,
        batch: int = 64,
        choose_by: str = "auto",
        seed: int = 0,
    ) -> None:
        self.name = "experts"
        settings = {k: v for k, v in locals().items() if k not in ("self", "encoder", "__class__")}
        for name, known in (
            ("route", ROUTES),
            ("head", ("mlp", "linear")),
            ("aggregator", ("auto", *AGGREGATORS)),
            ("ties", ("half", "drop")),
        ):
            if settings[name] not in known:
                raise ConfigError(f"{name} {settings[name]!r} is unknown; use one of {', '.join(known)}")
        super().__init__(encoder, settings)
        self.categories: list[str] = []
        self.stacks: list[CapabilityStack] = []
        self.shared = self._stack()
        self.router: Router | None = None
        self.router_scaling = FeatureScaling()

    def _stack(self) -> CapabilityStack:
        s = self.settings
        names = ("hidden", "activation", "dropout", "learning_rate", "weight_decay", "epochs", "batch", "seed")
        return CapabilityStack(s["head"], {"l2": s["l2"], "mlp": {k: s[k] for k in names}})

    # ------------------------------------------------------------------ fitting

    def compile(self, feedback: Feedback) -> BradleyTerry:
        """Bradley-Terry on the comparisons of ``feedback``."""
        s = self.settings
        pairs = feedback.pairs(ties=s["ties"] != "drop", max_per_person=s["max_pairs"], seed=s["seed"])
        return BradleyTerry(pairs, len(feedback.responses))

    def _parted(self, feedback: Feedback, seed: int) -> tuple[BradleyTerry, BradleyTerry | None]:
        """(learn from, hold out) of a part of the feedback."""
        train, held = inner_split(feedback, seed, self.settings["choose_by"])
        return self.compile(train), None if held is None or not len(held.pairs()) else self.compile(held)

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        """Fit the shared reward, a stack for each category, and the router."""
        s, everything = self.settings, data.feedback
        human = everything.take(everything.criterion < 0)
        if not len(human.pairs()):
            raise FeedbackError("experts need comparisons without a criterion, by which the aggregator is fitted")
        told: dict[str, Any] = {"shared": self._fit(self.shared, data.x, everything, s["seed"])}
        route = s["route"]
        if route == "auto":
            route = "prompt" if len(everything.subsets) > 1 else "none"
        self.categories = [] if route == "none" else list(everything.subsets)
        self.stacks = []
        kept = []
        for code, category in enumerate(self.categories):
            part = everything.take(everything.subset == code)
            if len(part.take(part.criterion < 0)) < s["min_labels"]:
                told[category] = {"left out": f"fewer than {s['min_labels']} human comparisons"}
                continue
            stack = self._stack()
            told[category] = self._fit(stack, data.x, part, s["seed"])
            self.stacks.append(stack)
            kept.append(code)
        self.categories = [self.categories[i] for i in kept]
        self.router = None
        if route == "prompt" and len(self.categories) > 1:
            told["router_accuracy"] = self._route(everything, kept)
        return {"data": len(everything.pairs()), "categories": told}

    def _fit(self, stack: CapabilityStack, x: np.ndarray, feedback: Feedback, seed: int) -> dict[str, Any]:
        s = self.settings
        human = feedback.take(feedback.criterion < 0)
        capabilities, dropped = {}, []
        for code, name in enumerate(feedback.criteria):
            part = feedback.take(feedback.criterion == code)
            if len(part.pairs()) >= s["min_labels"]:
                capabilities[name] = self._parted(part, seed)
            elif len(part):
                dropped.append(name)
        if dropped:
            warnings.warn(
                f"capabilities with fewer than {s['min_labels']} comparisons are left out: {', '.join(dropped)}",
                stacklevel=4,
            )
        if capabilities:  # the base head and the aggregator learn from different human comparisons
            rest, base = human.split(_unit(human), BASE_SHARE, seed)
        else:
            rest = base = human
        told = stack.fit(x, capabilities, self._parted(base, seed), self._parted(rest, seed + 1), s["aggregator"])
        return {**told, "capabilities": list(capabilities), "left_out": dropped}

    def _route(self, feedback: Feedback, kept: list[int]) -> float:
        """Fit the router on prompts; its accuracy on a fifth of them that were held out, before all are learned."""
        chosen = np.isin(feedback.subset, kept)
        prompts, first = np.unique(feedback.judgement_prompt[chosen], return_index=True)
        category = np.searchsorted(kept, feedback.subset[chosen][first])
        raw = self._prompts([feedback.candidates.prompts[i] for i in _some_candidate(feedback, prompts)])
        self.router_scaling = FeatureScaling()
        self.router_scaling.fit(raw)
        x, router = self.router_scaling(raw), Router()
        order = np.random.default_rng(self.settings["seed"]).permutation(len(x))
        held, train = order[: len(x) // 5], order[len(x) // 5 :]
        router.fit(x[train], category[train], len(kept))
        accuracy = float(np.mean(router(x[held]) == category[held])) if len(held) else float("nan")
        router.fit(x, category, len(kept))
        self.router = router
        return accuracy

    def _prompts(self, prompts: Sequence[Any]) -> np.ndarray:
        """Features [n, d] of prompts alone."""
        return self.open_encoder().encode(Candidates(list(prompts), [""] * len(prompts)))

    # ------------------------------------------------------------------ scoring

    def routes(self, candidates: Candidates) -> tuple[np.ndarray, list[str | None]]:
        """int64 [n] the category of each candidate (-1 = the shared reward), and a flag where none was fitted."""
        n = len(candidates)
        flags: list[str | None] = [None] * n
        if not self.categories:
            return np.full(n, -1), flags
        out, known = np.full(n, -1), {name: i for i, name in enumerate(self.categories)}
        told = candidates.extra.get("category", [None] * n)
        open_rows = []
        for i, name in enumerate(told):
            if name is None:
                open_rows.append(i)
            elif name in known:
                out[i] = known[name]
            else:
                flags[i] = f"no expert for category {name!r}; scored by the shared reward"
        if self.router is not None and open_rows:
            texts: dict[str, int] = {}
            at = [texts.setdefault(pack(candidates.prompts[i]), len(texts)) for i in open_rows]
            first = [open_rows[at.index(j)] for j in range(len(texts))]
            found = self.router(self.router_scaling(self._prompts([candidates.prompts[i] for i in first])))
            out[open_rows] = found[at]
        elif len(self.categories) == 1 and self.settings["route"] == "prompt":
            out[open_rows] = 0
        else:
            for i in open_rows:
                flags[i] = "no category given; scored by the shared reward"
        return out, flags

    def score(self, candidates: Candidates) -> Scores:
        """The score by each candidate's category; ``detail`` holds the category and the capabilities' own scores."""
        if not len(candidates):
            return Scores(np.zeros(0))
        x = self.x(candidates)
        routes, flags = self.routes(candidates)
        value = np.full(len(x), np.nan)
        names = list(dict.fromkeys(n for stack in (self.shared, *self.stacks) for n in stack.names))
        parts = {name: np.full(len(x), np.nan) for name in names}
        for code, stack in ((-1, self.shared), *enumerate(self.stacks)):
            rows = np.flatnonzero(routes == code)
            if len(rows):
                value[rows] = stack(x[rows])
                for name, column in zip(stack.names, stack.scores(x[rows]).T, strict=True):
                    parts[name][rows] = column
        category = [self.categories[i] if i >= 0 else None for i in routes]
        detail: dict[str, Sequence[Any]] = {"category": category, **{k: v.tolist() for k, v in parts.items()}}
        return Scores(value, reason=flags, detail=detail)

    def explain(self, candidates: Candidates) -> dict[str, Sequence[Any]]:
        """Category and capability scores of each candidate; NaN where its category has no such capability."""
        return dict(self.score(candidates).detail)

    # ------------------------------------------------------------------ saving

    def arrays(self) -> dict[str, np.ndarray]:
        stacks = {"shared": self.shared, **{f"stack{i}": s for i, s in enumerate(self.stacks)}}
        found = {f"{k}.{name}": a for k, stack in stacks.items() for name, a in stack.arrays().items()}
        found["categories"] = np.frombuffer("\x1f".join(self.categories).encode(), np.uint8)
        if self.router is not None:
            found |= {"router.weight": self.router.weight, "router.bias": self.router.bias}
            found |= {f"router.{k}": v for k, v in self.router_scaling.arrays().items()}
        return {**self.features.arrays(), **found}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.features.restore(arrays)

        def own(mark: str) -> dict[str, np.ndarray]:
            return {k.removeprefix(f"{mark}."): v for k, v in arrays.items() if k.startswith(f"{mark}.")}

        names = arrays["categories"].tobytes().decode()
        self.categories = names.split("\x1f") if names else []
        self.shared = self._stack()
        self.shared.restore(own("shared"))
        self.stacks = [self._stack() for _ in self.categories]
        for i, stack in enumerate(self.stacks):
            stack.restore(own(f"stack{i}"))
        if "router.weight" in arrays:
            self.router = Router()
            self.router.weight, self.router.bias = arrays["router.weight"], arrays["router.bias"]
            self.router_scaling.restore(own("router"))


def _losses(data: BradleyTerry, u: np.ndarray) -> np.ndarray:
    """float64 [n] loss of each comparison at utilities u [C]."""
    q = data.pairs
    gap = u[q.a] - u[q.b]
    return np.logaddexp(0.0, -gap) + (1 - q.p) * gap


def _unit(feedback: Feedback) -> Any:
    """By what the human comparisons are split in two: prompts, if there are enough of them."""
    return "prompt" if len(np.unique(feedback.judgement_prompt)) >= 10 else "judgement"


def _some_candidate(feedback: Feedback, prompts: np.ndarray) -> np.ndarray:
    """int64 a candidate of each prompt."""
    unique, first = np.unique(feedback.prompt_of, return_index=True)
    return first[np.searchsorted(unique, prompts)]


@dataclass(frozen=True)
class Consistency:
    """What asking twice found: questions asked in both orders, those answered alike, and those asked once only."""

    asked: int
    kept: int
    once: int

    @property
    def discarded(self) -> float:
        """Share of the questions asked in both orders whose two answers differ, in [0, 1]."""
        return 1 - self.kept / self.asked if self.asked else float("nan")


def keep_consistent(feedback: Feedback) -> tuple[Feedback, Consistency]:
    """Of comparisons asked twice with the order swapped, those with the same winner both times, once each.

    Order is that of the responses in the judgement. Questions are told apart by prompt, responses, criterion and user;
    one asked in a single order only is dropped, a tie agrees with a tie alone.
    """
    if (feedback.sizes != 2).any():
        row = int(np.flatnonzero(feedback.sizes != 2)[0])
        raise FeedbackError(f"judgement {row} has {feedback.sizes[row]} responses; consistency is asked of comparisons")
    start = feedback.offsets[:-1]
    a, b = feedback.items[start], feedback.items[start + 1]
    gap = np.sign(feedback.grades[start] - feedback.grades[start + 1]) * np.where(a < b, 1, -1)
    key = np.stack([np.minimum(a, b), np.maximum(a, b), feedback.criterion, feedback.user], 1)
    _, of = np.unique(key, axis=0, return_inverse=True)
    of = of.ravel()
    count = of.max(initial=-1) + 1
    answers = np.full((2, count), np.nan)
    answers[(a > b).astype(int), of] = gap
    both = ~np.isnan(answers).any(0)
    alike = both & (answers[0] == answers[1])
    first = np.full(count, len(feedback))
    np.minimum.at(first, of, np.arange(len(feedback)))
    kept = replace(feedback.take(np.sort(first[alike])))
    return kept, Consistency(int(both.sum()), int(alike.sum()), int((~both).sum()))

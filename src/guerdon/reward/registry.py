"""What can be fitted: one line a model. ``guerdon models`` prints it, ``guerdon fit --model`` and saved files use it.

A name stands for a class whose keyword-only constructor arguments are its hyper-parameters, documented in a numpydoc
``Parameters`` section. Saved models store the name, so only classes listed here are ever opened from a file.
"""

from __future__ import annotations

import inspect
import re
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
        docs = _parameter_docs(inspect.getdoc(self.cls) or "")
        signature = inspect.signature(self.cls.__init__)
        rows = []
        for p in signature.parameters.values():
            if p.kind is p.KEYWORD_ONLY:
                rows.append((p.name, self.preset.get(p.name, p.default), docs.get(p.name, "")))
        return rows

    def make(self, **settings: Any) -> FittedReward:
        """A fresh, unfitted model with ``settings`` over the preset."""
        known = [name for name, _, _ in self.parameters()]
        for key in settings:
            if key not in known:
                raise ConfigError(f"model {self.name!r} has no parameter {key!r}; it has: {', '.join(known)}")
        model = self.cls(**{**self.preset, **settings})
        model.name = self.name
        return model


def _parameter_docs(doc: str) -> dict[str, str]:
    """One-line documentation of each parameter from a ``Parameters`` section (``name : what it is``)."""
    match = re.search(r"Parameters\n-+\n(.*?)(?:\n\n\S|\Z)", doc, re.S)
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
            "backbone",
            "guerdon.reward.learned.backbone:BackboneReward",
            "a transformers backbone with a score head, end to end (full or LoRA)",
            "047",
            {},
        ),
    ]
}


def model(name: str) -> Model:
    """The registered model called ``name``."""
    if name not in MODELS:
        raise ConfigError(f"no model {name!r}; choose one of: {', '.join(MODELS)} (guerdon models says what each does)")
    return MODELS[name]

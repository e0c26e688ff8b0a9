"""The interventions of GENIES on a language model, as recipes: what is done to it so that it tells good responses.

====================  ===============================================================================================
``lora-fine-tuning``  adapters of rank 64 and a head by Bradley-Terry, 150 steps of 16 pairs; the capability is its
``mms``               mass mean shift: mean differences in the 16 attention heads whose probes are best on 30 % held out
``lat-stim-1``        linear tomography: the same in the 16 best layers
``lat-stim-2``        the same, each response between two sentences about how far it follows the instruction
``cra``               contrastive arithmetic: heads, the response with "Yes" behind it less that with "No"
``ccs``               contrast-consistent search on the last state, which no labels but for its sign enter
``few-shot``          the likelihood of a response behind 4 good examples of the source, drawn for each prompt
``prompt-tuning``     10 learned tokens before every text and a head, 150 steps
``zero-shot``         the likelihood of a response, sum over its tokens and the end of text; also the base
====================  ===============================================================================================

Sizes and rates are those of the authors' code (github.com/Joshuaclymer/GENIES, commit 70bd2ea). What differs: weights
are not quantised to 4 bits; adapters are on every linear layer, without dropout, and their head starts at the optimum
of the frozen states; learning rates fall to zero instead of staying; texts begin as the tokenizer begins them, and
prompt and response have an empty line between them where states are read or trained on.

Reference: Clymer et al. 2023, Generalization Analogies, https://arxiv.org/abs/2311.07723
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import quote

from guerdon.bench.suites.recipe import Recipe
from guerdon.errors import ConfigError
from guerdon.reward.registry import MODELS

SCHEME = "hf:"


@dataclass(frozen=True)
class BaseModel:
    """The language model that everything is done to, ``hf:PATH?option=value&...``.

    dtype          of what is only read: float32, bfloat16 or float16 (what is trained is trained in float32)
    max_length     most tokens of a text; None is what the model reads, at most 2,048 where it is trained
    batch_tokens   most tokens of one forward pass; None is 4,096 on a CPU and 32,768 on a GPU
    device         cpu, cuda, ...; None takes an accelerator where there is one
    steps          training steps of LoRA and prompt tuning
    lora_rate, prompt_rate   their learning rates
    """

    path: str
    dtype: str = "float32"
    max_length: int | None = None
    batch_tokens: int | None = None
    device: str | None = None
    steps: int = 150
    lora_rate: float = 2e-5
    prompt_rate: float = 0.0052

    @classmethod
    def of(cls, text: str) -> BaseModel:
        """The model of ``hf:PATH?option=value&...``.

        Raises
        ------
        ConfigError
            if there is no path, or an option is unknown
        """
        path, _, tail = text.removeprefix(SCHEME).partition("?")
        known = [f.name for f in fields(cls) if f.name != "path"]
        options: dict[str, Any] = {}
        for pair in filter(None, tail.split("&")):
            key, sep, value = pair.partition("=")
            if key not in known or not sep:
                raise ConfigError(f"{text}: {pair!r} is no option of a language model here; use {', '.join(known)}")
            try:
                options[key] = json.loads(value)
            except json.JSONDecodeError:
                options[key] = value
        if not path:
            raise ConfigError(f"{text}: name the language model, {SCHEME}PATH")
        return cls(path, **options)

    def asked(self, **settings: Any) -> dict[str, Any]:
        """Settings of what asks for likelihoods."""
        given = {"dtype": self.dtype, "max_length": self.max_length, "batch_tokens": self.batch_tokens}
        return {"model": SCHEME + self.path, **given, "device": self.device or "auto", **settings}

    def trained(self, **settings: Any) -> dict[str, Any]:
        """Settings of what is trained."""
        given = {"max_length": self.max_length, "batch_tokens": self.batch_tokens, "device": self.device}
        return {
            "backbone": self.path,
            "steps": self.steps,
            "batch": 16,
            "warmup": 0.03,
            "weight_decay": 0.0,
            "gradient_clip": 0.3,
            "keep": "last",
            **given,
            **settings,
        }

    def read(self, states: str) -> str:
        """The specification of an encoder of its states; those of all heads or layers are too many to be kept."""
        options = {"template": "none", "dtype": self.dtype, "states": states}
        options |= {k: v for k in ("max_length", "batch_tokens", "device") if (v := getattr(self, k)) is not None}
        options |= {"cache": "off"} if states != "hidden" else {}
        return f"{SCHEME}{self.path}?" + "&".join(f"{k}={quote(str(v), safe='+/:,')}" for k, v in options.items())


def _heads(m: BaseModel, **settings: Any) -> dict[str, Any]:
    return {"encoder": m.read("heads"), "top": 16, "held": 0.3, "probes": "responses", **settings}


INTERVENTIONS: dict[str, tuple[str, Callable[[BaseModel], dict[str, Any]]]] = {
    "lora-fine-tuning": (
        "backbone",
        lambda m: m.trained(
            tuning="lora", lora_rank=64, lora_alpha=16, learning_rate=m.lora_rate, head_learning_rate=m.lora_rate
        ),
    ),
    "mms": ("mean-difference", _heads),
    "lat-stim-1": ("mean-difference", lambda m: _heads(m, encoder=m.read("layers"))),
    "lat-stim-2": ("mean-difference", lambda m: _heads(m, encoder=m.read("layers"), stimulus="asked")),
    "cra": ("contrast-difference", _heads),
    "ccs": (
        "consistent-search",
        lambda m: {"encoder": m.read("hidden"), "starts": 10, "epochs": 1000, "learning_rate": 1e-3},
    ),
    "few-shot": ("few-shot", lambda m: m.asked(shots=4)),
    "prompt-tuning": (
        "prompt-tuning",
        lambda m: m.trained(tokens=10, learning_rate=m.prompt_rate, head_learning_rate=m.prompt_rate),
    ),
    "zero-shot": ("zero-shot", lambda m: m.asked(shots=0)),
}
"""name: (model of the registry, its settings for a language model); the first is the one the others stand beside."""
TUNED, UNTUNED = "lora-fine-tuning", "zero-shot"


def recipes_on(model: BaseModel, wanted: str = "all") -> dict[str, Recipe]:
    """The recipes called ``wanted`` (names separated by commas, or ``all``) on a language model, in that order.

    Raises
    ------
    ConfigError
        if there is no such intervention
    """
    names = list(INTERVENTIONS) if wanted == "all" else [n.strip() for n in wanted.split(",") if n.strip()]
    for name in names or [wanted]:
        if name not in INTERVENTIONS:
            raise ConfigError(f"interventions={wanted}: no {name!r}; there are {', '.join(INTERVENTIONS)}, or all")
    return {name: Recipe(MODELS[INTERVENTIONS[name][0]], INTERVENTIONS[name][1](model)) for name in names}

"""What a study trains: a model of ``guerdon fit`` with its settings, ``low-rank`` or ``low-rank?rank=4``."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from guerdon.errors import ConfigError
from guerdon.reward.learned.fitted import FeatureReward, FittedReward
from guerdon.reward.registry import MODELS, Model


@dataclass(frozen=True)
class Recipe:
    """A model of the registry with settings over its defaults; ``make`` gives a fresh, unfitted one."""

    entry: Model
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> Recipe:
        """The recipe ``NAME`` or ``NAME?key=value&key=value``; values are JSON where they parse.

        Raises
        ------
        ConfigError
            if the model is unknown or a setting is not ``key=value``
        """
        name, _, tail = text.partition("?")
        if name not in MODELS:
            raise ConfigError(f"{name!r} is no model to train; use one of {', '.join(MODELS)} (guerdon models)")
        settings: dict[str, Any] = {}
        for pair in filter(None, tail.split("&")):
            key, sep, value = pair.partition("=")
            if not sep:
                raise ConfigError(f"{text}: write {name}?key=value, not {pair!r}")
            try:
                settings[key] = json.loads(value)
            except json.JSONDecodeError:
                settings[key] = value
        return cls(MODELS[name], settings)

    def make(self, **given: Any) -> FittedReward:
        """A fresh model; of ``given`` (seed, encoder ...) it takes what it knows and the recipe does not say."""
        takes = {parameter for parameter, _, _ in self.entry.parameters()}
        over = {k: v for k, v in given.items() if k in takes and v is not None}
        return self.entry.make(**{**over, **self.settings})

    def opened(self, encoder: Any = None) -> Recipe:
        """The recipe with its frozen model (``encoder`` where it says none of its own) open, for many fits to share."""
        made = self.make(encoder=encoder)
        if isinstance(made, FeatureReward):
            from guerdon.encode import load_encoder

            return Recipe(self.entry, {**self.settings, "encoder": load_encoder(made.encoder)})
        model = getattr(made, "language_model", None)
        return self if model is None else Recipe(self.entry, {**self.settings, "model": model})

    def identity(self, encoder: Any = None, *, leave_out: Collection[str] = ()) -> str:
        """Names what is fitted: the model, its settings but those of ``leave_out``, the files that it begins with."""
        said = {k: v for k, v in self.make(encoder=encoder).params.items() if k not in leave_out}
        files = {k: _identity(k, said[k]) for k in ("encoder", "backbone", "model") if said.get(k)}
        return json.dumps([self.entry.name, {**said, **files}], sort_keys=True, default=str)


def _identity(kind: str, name: str) -> str:
    """What the files of an encoder, a backbone or a language model are."""
    from guerdon.encode import load_encoder
    from guerdon.encode.source import locate

    if kind == "encoder":
        return load_encoder(name).fingerprint
    if name == "minilm" or name.startswith(("http://", "https://")):
        return name
    return locate(name.removeprefix("hf:")).identity

"""What a study trains: a model of ``guerdon fit`` with its settings, ``low-rank`` or ``low-rank?rank=4``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from guerdon.errors import ConfigError
from guerdon.reward.learned.fitted import FittedReward
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

"""Which settings of a fine-tuned backbone make sense."""

from __future__ import annotations

from typing import Any

from guerdon.errors import ConfigError
from guerdon.reward.learned.regularizers import KINDS

TUNINGS = ("auto", "full", "lora", "head")
STARTS = ("probe", "zero")
LIKELIHOODS = ("bradley-terry", "plackett-luce")
CHOICES = {
    "tuning": TUNINGS,
    "start": STARTS,
    "likelihood": LIKELIHOODS,
    "regularizer": KINDS,
    "value_head": ("linear", "mlp"),
    "keep": ("best", "last"),
}


def check_settings(s: dict[str, Any]) -> None:
    """Refuse settings that make no sense.

    Raises
    ------
    ConfigError
        naming the setting and what it may be
    """
    for name, choices in CHOICES.items():
        if s[name] not in choices:
            raise ConfigError(f"{name}={s[name]!r} is unknown; use one of {', '.join(choices)}")
    if s["regularizer"] != "none" and s["tuning"] == "head":
        raise ConfigError("tuning=head: a text loss has nothing to change in a frozen backbone; use full or lora")
    if not 0 <= s["regularizer_weight"] < 1:
        raise ConfigError(f"regularizer_weight={s['regularizer_weight']}: use a share in [0, 1)")
    for name in ("regularizer_beta", "value_width", "gradient_clip"):
        if not s[name] > 0:
            raise ConfigError(f"{name}={s[name]}: use a number above 0")
    for name in ("lora_rank", "lora_alpha", "batch", "batch_tokens", "patience", "epochs", "steps", "max_length"):
        if s[name] is not None and not s[name] > 0:
            raise ConfigError(f"{name}={s[name]}: use a number above 0")
    for name in ("learning_rate", "head_learning_rate"):
        if s[name] is not None and not 0 < s[name] < 1:
            raise ConfigError(f"{name}={s[name]}: use a number between 0 and 1, e.g. 2e-5")
    for name in ("label_smoothing", "warmup", "value_dropout"):
        if not 0 <= s[name] < 1:
            raise ConfigError(f"{name}={s[name]}: use a share in [0, 1)")
    for name in ("margin", "center", "pull", "weight_decay"):
        if not s[name] >= 0:
            raise ConfigError(f"{name}={s[name]}: use a number of at least 0")

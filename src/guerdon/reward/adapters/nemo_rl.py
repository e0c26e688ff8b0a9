"""A NeMo-RL environment.

Contract: ``step(message_log_batch, metadata) -> EnvironmentReturn`` and
``global_post_process_and_metrics(batch) -> (batch, metrics)``, as a Ray actor built from one configuration mapping.
Reference: https://github.com/NVIDIA-NeMo/RL/blob/main/nemo_rl/environments/interfaces.py
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from guerdon.errors import ConfigError
from guerdon.reward.adapters.rater import Rater


class StepReturn(NamedTuple):
    """The fields of NeMo-RL's ``EnvironmentReturn``, used where nemo_rl is not installed."""

    observations: list[dict[str, str]]
    metadata: list[Any]
    next_stop_strings: list[Any]
    rewards: Any
    terminateds: Any
    answers: list[str | None] | None


class NemoEnvironment:
    """A single-turn NeMo-RL environment that pays what the reward says.

    NeMo-RL starts environments as Ray actors, from a module of your own::

        import ray
        from guerdon.reward.adapters import NemoEnvironment
        GuerdonEnvironment = ray.remote(NemoEnvironment)

    registered with ``register_env("guerdon", "my_module.GuerdonEnvironment")`` and, in
    ``ACTOR_ENVIRONMENT_REGISTRY["my_module.GuerdonEnvironment"]``, ``PY_EXECUTABLES.SYSTEM``.

    Parameters
    ----------
    cfg : mapping with ``reward`` (what :func:`guerdon.load` opens), optionally ``user``, ``criterion``, ``unscored``
    """

    def __init__(self, cfg: Mapping[str, Any]) -> None:
        from guerdon.reward.load import load

        if "reward" not in cfg:
            raise ConfigError("env config: no 'reward'; give the path of a saved reward, or what guerdon.load opens")
        options = {k: cfg.get(k) for k in ("user", "criterion")}
        self.rater = Rater(load(cfg["reward"]), **options, unscored=cfg.get("unscored", 0.0))
        self.seen = self.missing = 0

    def step(self, message_log_batch: list[list[dict[str, Any]]], metadata: list[Any]) -> Any:
        """Score the last assistant message of each of B logs; every episode ends.

        ``metadata`` rows may hold ``user``, ``criterion``, ``prompt`` (plain text in place of the templated messages)
        and ``ground_truth``. Returns NeMo-RL's ``EnvironmentReturn`` with ``rewards`` float32 [B].
        """
        import torch

        prompts, responses, rows = [], [], []
        for messages, info in zip(message_log_batch, metadata, strict=True):
            plain = [{"role": m["role"], "content": m["content"]} for m in messages]
            if not plain or plain[-1]["role"] != "assistant":
                raise ConfigError("message log: the last message must be the assistant's")
            row = dict(info or {})
            row.setdefault("reference", row.pop("ground_truth", None))
            prompts.append(row.pop("prompt", None) or plain[:-1])
            responses.append(plain[-1]["content"])
            rows.append(row)
        scores = self.rater.scores(prompts, responses, rows)
        self.seen += len(scores)
        self.missing += int((~np.isfinite(scores.value)).sum())
        n = len(scores)
        return _step_return()(
            observations=[{"role": "environment", "content": ""}] * n,
            metadata=list(metadata),
            next_stop_strings=[None] * n,
            rewards=torch.tensor(self.rater.filled(scores), dtype=torch.float32),
            terminateds=torch.ones(n, dtype=torch.bool),
            answers=[str(r) for r in responses],
        )

    def global_post_process_and_metrics(self, batch: Any) -> tuple[Any, dict[str, float]]:
        """The batch as it is, with the reward's mean, spread, and share of unscored completions since the last call."""
        rewards = np.asarray(batch["rewards"], dtype=np.float64)
        metrics = {
            "guerdon/mean_reward": float(rewards.mean()),
            "guerdon/std_reward": float(rewards.std()),
            "guerdon/unscored": self.missing / max(self.seen, 1),
        }
        self.seen = self.missing = 0
        return batch, metrics

    def shutdown(self) -> None:
        """Nothing to stop."""


def _step_return() -> Any:
    try:
        from nemo_rl.environments.interfaces import EnvironmentReturn  # type: ignore[import-not-found]
    except ModuleNotFoundError:
        return StepReturn
    return EnvironmentReturn

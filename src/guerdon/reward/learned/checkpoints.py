"""The state of a training run on disk, so that a run that was killed goes on where it was.

One directory: ``state.safetensors`` (trained tensors, AdamW's moments, the best state so far) and ``state.json`` (step,
held-out losses, and a fingerprint of data, texts and recipe). A state of another run is not used. Each save is written
beside its place and renamed, tensors first; the JSON names the tensors' checksum, so a half-replaced pair is noticed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)


class Checkpoint:
    """The place of one run's state; ``fingerprint`` names the run."""

    def __init__(self, directory: str | Path, fingerprint: str) -> None:
        self.directory = Path(directory)
        self.fingerprint = fingerprint

    def save(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        """Replace the state."""
        from safetensors.torch import save_file

        self.directory.mkdir(parents=True, exist_ok=True)
        temp = self.directory / f"state.{os.getpid()}.part"
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, str(temp))
        digest = _digest(temp)
        os.replace(temp, self.directory / "state.safetensors")
        temp.write_text(json.dumps({"run": self.fingerprint, "tensors": digest, **about}), encoding="utf-8")
        os.replace(temp, self.directory / "state.json")

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The state of this very run, or None."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        tensors = self.directory / "state.safetensors"
        try:
            about = json.loads((self.directory / "state.json").read_text(encoding="utf-8"))
            if about["run"] != self.fingerprint:
                log.warning("%s holds another run's state; training starts anew", self.directory)
                return None
            if about["tensors"] != _digest(tensors):
                log.warning("%s is damaged; training starts anew", self.directory)
                return None
            return load_file(str(tensors)), about
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            log.warning("%s is damaged (%s); training starts anew", self.directory, error)
            return None

    def remove(self) -> None:
        """Forget the state (training has ended)."""
        for name in ("state.safetensors", "state.json"):
            (self.directory / name).unlink(missing_ok=True)
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            shutil.rmtree(self.directory)


def moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as flat named tensors."""
    state = optimizer.state_dict()["state"]
    return {f"moment.{i}.{k}": torch.as_tensor(v) for i, part in state.items() for k, v in part.items()}


def restore_moments(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Take :func:`moments` back."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("moment."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

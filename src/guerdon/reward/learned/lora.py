"""Low-rank adapters on every linear layer of a transformer, and merging them back so that a plain model remains.

W x + (alpha / r) B A x with A [r, in] random and B [out, r] zero at the start; only A and B are trained.

Reference: LoRA, Hu et al. 2021, https://arxiv.org/abs/2106.09685
"""

from __future__ import annotations

from typing import Any

import torch

from guerdon.errors import ConfigError, need


def add_lora(base: Any, rank: int, alpha: int, seed: int) -> None:
    """Put adapters into ``base`` in place and freeze everything else."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise need("peft", "tune") from error
    from transformers.pytorch_utils import Conv1D

    names = [n for n, m in base.named_modules() if type(m) in (torch.nn.Linear, Conv1D)]
    if not names:
        raise ConfigError("tuning=lora: this backbone has no linear layers to adapt; use tuning=full")
    transposed = all(isinstance(base.get_submodule(n), Conv1D) for n in names)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=names, fan_in_fan_out=transposed)
    base.requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, base)
    for name, parameter in base.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_" in name:
            parameter.data = parameter.data.float()  # small steps are lost in half precision


def merge_lora(base: Any) -> None:
    """Add the adapters to the weights they adapt and take them out."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in list(base.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            parent, _, last = name.rpartition(".")
            setattr(base.get_submodule(parent), last, layer.get_base_layer())
    if hasattr(base, "peft_config"):
        del base.peft_config

"""The parts of a transformer's inner states that are read block by block: every attention head, or every layer.

=========  ==========================================================================================================
``heads``  what each attention head of each layer hands to the layer's output projection, [layers x heads x head width]
``layers`` the hidden states before, between and behind the layers, [(layers + 1) x d]
=========  ==========================================================================================================

All blocks have one width, in the order of layers, heads within. Each layer is pooled over tokens as soon as it is
computed, so that only one layer's states of all tokens are ever held.

Reference: Li et al. 2023, Inference-Time Intervention, https://arxiv.org/abs/2306.03341 (heads); Zou et al. 2023,
Representation Engineering, https://arxiv.org/abs/2310.01405 (layers)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from guerdon.errors import BackendError

if TYPE_CHECKING:
    import torch

    Pool = Callable[[torch.Tensor], torch.Tensor]

STATES = ("hidden", "heads", "layers")
"""What an encoder gives: one hidden state, or the blocks of all."""
OUTPUTS = ("o_proj", "out_proj", "c_proj", "dense", "out_lin", "wo")
"""What models call the projection that takes the outputs of a layer's heads, side by side."""


def blocks_of(config: Any, states: str) -> tuple[int, int]:
    """(blocks, width of each) of a model with this configuration."""
    layers = int(config.num_hidden_layers)
    if states == "layers":
        return layers + 1, int(config.hidden_size)
    heads = int(config.num_attention_heads)
    return layers * heads, int(getattr(config, "head_dim", None) or config.hidden_size // heads)


def head_projections(model: Any, config: Any) -> list[torch.nn.Module]:
    """The modules, a layer each, whose input is the outputs of the layer's heads.

    Raises
    ------
    BackendError
        if the model has no such module in every layer, or of another width
    """
    layers = int(config.num_hidden_layers)
    blocks, width = blocks_of(config, "heads")
    found = [
        module
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in OUTPUTS and re.search("attn|attention", name)
    ]
    if len(found) != layers or any(_inputs(m) != blocks // layers * width for m in found):
        raise BackendError(
            f"{type(model).__name__}: the outputs of its attention heads are not found in each of {layers} layers; "
            "use states=layers"
        )
    return found


@contextmanager
def pooled_heads(projections: list[torch.nn.Module], pool: Pool) -> Iterator[list[torch.Tensor]]:
    """Within it, a forward pass fills the list with ``pool`` of each layer's heads, [b, heads x head width]."""
    out: list[torch.Tensor] = []
    with ExitStack() as hooks:
        for module in projections:
            handle = module.register_forward_pre_hook(lambda _, given: out.append(pool(given[0])))
            hooks.callback(handle.remove)
        yield out


def _inputs(module: Any) -> int:
    """Width of what a linear layer (or GPT-2's transposed one) takes."""
    return int(getattr(module, "in_features", 0) or getattr(module, "nx", 0) or module.weight.shape[0])

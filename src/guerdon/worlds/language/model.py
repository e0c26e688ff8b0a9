"""A small Llama over a closed vocabulary of words, trained from scratch on dialogues, with a chat template.

A turn is ``<role> word word ... <end>``; ``<end>`` is the end-of-text token. Words stand between spaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Dialogue = Sequence[tuple[str, str]]
"""(role, what is said) of each turn; roles are ``ROLES``."""

ROLES = ("system", "user", "assistant")
SPECIAL = ("<pad>", "<end>", "<unk>", *(f"<{role}>" for role in ROLES))
TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'] + '> ' + (message['content'] or '') + ' <end> ' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<assistant> ' }}{% endif %}"
)


def word_tokenizer(words: Sequence[str], *, length: int = 128) -> Any:
    """A transformers tokenizer of one token a word; a word not among ``words`` is ``<unk>``."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*SPECIAL, *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<end>",
        unk_token="<unk>",
        additional_special_tokens=[f"<{role}>" for role in ROLES],
        model_max_length=length,
    )
    fast.chat_template = TEMPLATE
    return fast


def language_model(
    path: str | Path,
    dialogues: Sequence[Dialogue],
    words: Sequence[str] = (),
    *,
    seed: int,
    width: int = 96,
    layers: int = 2,
    epochs: int = 3,
    batch: int = 64,
    learning_rate: float = 3e-3,
    length: int = 128,
    roles: Sequence[str] = ROLES,
) -> Path:
    """A Llama of ``layers`` x ``width`` trained on ``dialogues``, saved in ``path`` (returned).

    words   the vocabulary beside the words of the dialogues
    length  most tokens that it reads
    roles   whose turns it learns to say; all of them by default
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from guerdon.encode.hidden import quiet

    said = sorted({word for dialogue in dialogues for _, text in dialogue for word in text.split()})
    tokenizer = word_tokenizer([*words, *said], length=length)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=length,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    learn_dialogues(
        model, tokenizer, dialogues, roles=roles, seed=seed, epochs=epochs, batch=batch, learning_rate=learning_rate
    )  # fmt: skip
    with quiet():
        model.eval().save_pretrained(path)
        tokenizer.save_pretrained(path)
    return Path(path)


def learn_dialogues(
    model: Any,
    tokenizer: Any,
    dialogues: Sequence[Dialogue],
    *,
    roles: Sequence[str] = ROLES,
    seed: int = 0,
    epochs: int = 3,
    batch: int = 64,
    learning_rate: float = 3e-3,
) -> list[float]:
    """Train ``model`` in place to say what ``roles`` say in ``dialogues``; gives the loss of each epoch.

    A role's mark is learned with its turn, so that the model also knows whose turn it is. The tokenizer is one of
    :func:`word_tokenizer`.
    """
    import torch

    from guerdon.reward.learned.networks import Schedule, train

    ids, mask = encode(tokenizer, dialogues, roles)
    lengths = np.array([len(x) for x in ids])
    filled = np.full((len(ids), int(lengths.max())), tokenizer.pad_token_id, dtype=np.int64)
    wanted = np.full_like(filled, -100)
    for row, (x, m) in enumerate(zip(ids, mask, strict=True)):
        filled[row, : len(x)] = x
        wanted[row, : len(x)] = np.where(m, x, -100)
    inputs, targets = torch.from_numpy(filled), torch.from_numpy(wanted)

    def loss(rows: np.ndarray) -> torch.Tensor:
        longest = int(lengths[rows].max())
        index = torch.from_numpy(rows)
        logits = model(input_ids=inputs[index, :longest], use_cache=False).logits[:, :-1]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets[index, 1:longest].flatten())

    model.train().requires_grad_(True)
    course = train(
        list(model.parameters()),
        loss,
        len(ids),
        Schedule(learning_rate, 0.01, epochs, batch, patience=None, seed=seed),
    )
    model.eval().requires_grad_(False)
    return course.losses


def encode(
    tokenizer: Any, dialogues: Sequence[Dialogue], roles: Sequence[str] = ROLES
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """([n] int64 tokens as the chat template gives them, [n] bool: which belong to turns of ``roles``)."""
    at = tokenizer.get_vocab()
    unknown, end = at["<unk>"], at["<end>"]
    ids, mask = [], []
    for dialogue in dialogues:
        tokens: list[int] = []
        chosen: list[bool] = []
        for role, text in dialogue:
            turn = [at[f"<{role}>"], *(at.get(word, unknown) for word in text.split()), end]
            tokens += turn
            chosen += [role in roles] * len(turn)
        ids.append(np.array(tokens, dtype=np.int64))
        mask.append(np.array(chosen, dtype=bool))
    return ids, mask

"""Tuning the model that reads follow-ups: it learns what people said after responses, in their own words.

    loss = - mean over dialogues of log p(what the user said next | prompt, response)

Only tokens of the user's turn count, so the model learns to tell what a response leads to, not to write prompts or
responses. Critiques of responses serve as well as real dialogues. The tuned model is then given to
:class:`~guerdon.reward.implicit.follow_up.FollowUpLikelihood`.

Reference: Zhang et al. 2024, section on natural-language feedback, https://arxiv.org/abs/2409.13948
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from guerdon.encode.prefix import common_prefix, pad
from guerdon.encode.rendering import clean
from guerdon.errors import FeedbackError
from guerdon.feedback.messages import as_messages
from guerdon.feedback.schema import Candidates
from guerdon.generate.local import LocalModel
from guerdon.reward.implicit.autoregressive import open_causal
from guerdon.reward.learned.classifier import quietly
from guerdon.reward.learned.networks import Schedule, train

log = logging.getLogger(__name__)


def learn_follow_ups(
    model: str,
    candidates: Candidates,
    said: Sequence[str],
    out: str | Path,
    *,
    learning_rate: float = 2e-5,
    epochs: int = 1,
    batch: int = 16,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = False,
) -> Path:
    """Tune ``model`` (a folder or Hub name) on ``said[i]``, the user's turn after ``candidates[i]``; saved in ``out``.

    Dialogues that the chat template refuses or that are too long are left out, with a line in the log.

    Raises
    ------
    FeedbackError
        if the numbers differ, or no dialogue is left
    """
    if len(said) != len(candidates):
        raise FeedbackError(f"{len(candidates)} candidates and {len(said)} turns of a user: give one for each")
    reader = LocalModel(model, device=device)
    dialogues = [[*as_messages(c.prompt, "user"), *as_messages(c.response, "assistant")] for c in candidates]
    before, _ = reader.render(dialogues, "user")
    rows = [i for i, text in enumerate(before) if text is not None and said[i].strip()]
    stems = reader.tokens([str(before[i]) for i in rows])
    whole = reader.tokens([f"{before[i]}{clean(said[i])}" for i in rows])
    kept = [(ids, common_prefix([stem, ids])) for stem, ids in zip(stems, whole, strict=True)]
    kept = [(ids, start) for ids, start in kept if 0 < start < len(ids) <= reader.max_length]
    if not kept:
        raise FeedbackError("no dialogue is left: all are empty, too long, or refused by the chat template")
    if len(kept) < len(said):
        log.warning("%d of %d dialogues are left out: empty, too long or refused", len(said) - len(kept), len(said))
    causal, tokenizer = open_causal(model, device)

    def loss(index: np.ndarray) -> Tensor:
        part = [kept[i] for i in index]
        ids, lengths = pad([x for x, _ in part])
        places = np.arange(ids.shape[1])
        starts = np.array([start for _, start in part])
        counts = (places >= starts[:, None]) & (places < lengths[:, None])
        targets = torch.from_numpy(np.where(counts, ids, -100)[:, 1:]).to(causal.device)
        logits = causal(input_ids=torch.from_numpy(ids).to(causal.device), use_cache=False).logits[:, :-1].float()
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    causal.requires_grad_(True)
    schedule = Schedule(learning_rate, 0.01, epochs, batch, patience=None, seed=seed)
    train(list(causal.parameters()), loss, len(kept), schedule, progress=progress)
    causal.requires_grad_(False)
    with quietly():
        causal.save_pretrained(out)
        tokenizer.save_pretrained(out)
    return Path(out)

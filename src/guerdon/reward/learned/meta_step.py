"""The meta-learning step of a reward that follows a policy: fit comparisons after a push that tells samples apart.

While a policy is trained its responses leave the distribution of the comparisons, and to the reward they all look
alike. With J = mean over prompts and pairs i < j of sigmoid(|r(x, s_i) - r(x, s_j)|), the spread of the reward among
samples s of the current policy:

    theta'  = theta + eta * grad J(theta)            an ascent: differences among the samples grow
    theta  <- theta - alpha * grad L(theta')         the comparisons' loss, its gradient taken at theta' (first order)

so the comparisons must keep being fitted where the samples are told apart. ``eta = 0`` is plain training.

Reference: Wang et al. (2024), Secrets of RLHF in Large Language Models Part II, https://arxiv.org/abs/2401.06080;
Dou et al. (2024), MetaRM, https://arxiv.org/abs/2405.00438.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import pack
from guerdon.feedback.schema import Candidates


@dataclass(frozen=True)
class Samples:
    """Samples of a policy: features [n, d], and the index pairs i < j [m, 2] of samples of one prompt."""

    x: Tensor
    pairs: np.ndarray

    @classmethod
    def of(cls, x: Tensor, candidates: Candidates) -> Samples:
        """Samples with features x [n, d]; every prompt needs at least two."""
        groups: dict[str, list[int]] = {}
        for i, prompt in enumerate(candidates.prompts):
            groups.setdefault(pack(prompt), []).append(i)
        lonely = [rows[0] for rows in groups.values() if len(rows) < 2]
        if lonely or not groups:
            where = f"the prompt of sample {lonely[0]} has one" if lonely else "there are none"
            raise FeedbackError(f"policy samples are compared with each other, at least 2 a prompt: {where}")
        return cls(x, np.array([pair for rows in groups.values() for pair in combinations(rows, 2)]))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """int64 [count, 2] index pairs drawn at random (all of them, if there are fewer)."""
        if count >= len(self.pairs):
            return torch.as_tensor(self.pairs)
        return torch.as_tensor(self.pairs)[torch.randperm(len(self.pairs), generator=generator)[:count]]


def difference_objective(scores: Tensor, pairs: Tensor) -> Tensor:
    """J: mean of sigmoid(|r_i - r_j|) over index pairs [m, 2] of scores [n]; in [0.5, 1)."""
    return torch.sigmoid((scores[pairs[:, 0]] - scores[pairs[:, 1]]).abs()).mean()


def pushed(scorer: nn.Module, samples: Samples, pairs: Tensor, eta: float) -> dict[str, Tensor]:
    """theta' = theta + eta grad J by name; the gradient of a loss at theta' by theta is the one taken at theta'."""
    named = dict(scorer.named_parameters())
    used, local = torch.unique(pairs, return_inverse=True)
    value = difference_objective(scorer(samples.x[used]), local)
    slopes = torch.autograd.grad(value, list(named.values()))
    return {name: p + eta * g.detach() for (name, p), g in zip(named.items(), slopes, strict=True)}


def at(scorer: nn.Module, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The scores of x [n, d] with ``parameters`` in the place of the scorer's own."""
    return functional_call(scorer, dict(parameters), (x,))


def read_samples(source: Any) -> Candidates:
    """Policy samples: Candidates as they are, or a file with rows of ``prompt`` and ``response`` (or ``responses``)."""
    if isinstance(source, Candidates):
        return source
    from guerdon.feedback.readers.containers import containers_of, records

    prompts, responses = [], []
    for container in containers_of(source):
        for record in records(container):
            row, where = record.row or {}, container.where(record.number)
            found = row.get("responses", [row["response"]] if "response" in row else None)
            if "prompt" not in row or not isinstance(found, list):
                raise FeedbackError(f"{where}: a policy sample needs prompt and response (or a list of responses)")
            prompts += [row["prompt"]] * len(found)
            responses += found
    if not prompts:
        raise ConfigError(f"{source}: no policy samples in it")
    return Candidates(prompts, responses)

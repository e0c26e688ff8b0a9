"""What a population chooses and how well somebody else chose for it: diversity, agreement, utility and regret.

References: Zollo et al. (2024), PersonalLLM, https://arxiv.org/abs/2409.20296 (choice entropy, disagreement between
scorers); utilities are normalised within the prompt, as choices are made there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from guerdon.errors import ConfigError

if TYPE_CHECKING:
    from guerdon.worlds.people import Population
    from guerdon.worlds.pool import Pool


def choice_entropy(choices: np.ndarray, pool: Pool) -> float:
    """Mean over prompts of the entropy of people's choices, divided by log(number of responses): 0 one choice for all,
    1 spread evenly. ``choices`` int [u, p] candidates (one column a prompt); prompts of one response do not count."""
    share, size = _shares(choices, pool)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.sum(np.where(share > 0, share * np.log(share), 0.0), axis=1)
        return float(np.nanmean(np.where(size > 1, entropy / np.log(size), np.nan)))


def agreement(choices: np.ndarray, pool: Pool) -> float:
    """Chance that two different people choose the same response, mean over prompts; ``choices`` as above."""
    u = len(choices)
    if u < 2:
        raise ConfigError("agreement needs at least two people")
    share, _ = _shares(choices, pool)
    counts = share * u
    return float(np.mean(np.sum(counts * (counts - 1), axis=1) / (u * (u - 1))))


def _shares(choices: np.ndarray, pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """(share of people [p, R] choosing each response, number of responses [p]) of each column of ``choices``."""
    u, p = choices.shape
    prompts = pool.prompt_of[choices[0]]
    members = pool.members[prompts]
    slot = np.full(len(pool), -1, dtype=np.int64)
    column, place = np.nonzero(members >= 0)
    slot[members[column, place]] = place
    flat = slot[choices] + np.arange(p) * members.shape[1]
    counts = np.bincount(flat.ravel(), minlength=p * members.shape[1]).reshape(p, -1)
    return counts / u, pool.count[prompts]


def disagreement(z: np.ndarray, pool: Pool) -> np.ndarray:
    """float64 [P] how much scorers (columns of ``z`` [c, K]) disagree about the responses to each prompt: one minus the
    mean correlation of two scorers over them (0 = all the same order; NaN for fewer than two responses or scorers)."""
    out = np.full(len(pool.prompts), np.nan)
    k = z.shape[1]
    if k < 2:
        return out
    for prompt in np.flatnonzero(pool.count > 1):
        rows = pool.members[prompt]
        x = z[rows[rows >= 0]]
        x = x - x.mean(0)
        norm = np.linalg.norm(x, axis=0)
        x = x / np.where(norm > 0, norm, 1.0)
        out[prompt] = 1.0 - (np.sum(x.sum(1) ** 2) - np.sum(x**2)) / (k * (k - 1))
    return out


@dataclass(frozen=True)
class Outcome:
    """What people get out of the responses somebody picked for them; everything float64 [u], mean over prompts.

    Utilities are in units of the person's within-prompt standard deviation, from the mean response to the prompt: a
    response picked at random is worth 0, the best of 8 about 1.4.

    picked      of the responses picked
    best        of the person's own favourites (the oracle)
    popular     of the responses with the highest mean utility over the population: one choice for all
    """

    picked: np.ndarray
    best: np.ndarray
    popular: np.ndarray

    @property
    def regret(self) -> np.ndarray:
        """What the picks fall short of the favourites [u]."""
        return self.best - self.picked

    @property
    def share(self) -> float:
        """The picks' part of what the oracle gains over a random response: 1 is perfect, 0 is random."""
        return float(self.picked.mean() / self.best.mean())


def outcome(population: Population, picks: np.ndarray, prompts: np.ndarray | None = None) -> Outcome:
    """What the people of ``population`` get out of ``picks`` [u, p] (candidates; column j answers prompt
    ``prompts[j]``, all prompts by default)."""
    members = population.pool.members[slice(None) if prompts is None else prompts]
    if picks.shape != (len(population), len(members)):
        wanted = [len(population), len(members)]
        raise ConfigError(f"picks of shape {list(picks.shape)}; one a person and prompt is {wanted}")
    if not (members[None] == picks[:, :, None]).any(2).all():
        raise ConfigError("some picks are not responses to the prompt of their column")
    mask = members >= 0
    parts: list[np.ndarray] = []
    total = np.zeros(members.shape)
    scaled = []
    for rows, utility in population.blocks(np.maximum(members, 0).ravel()):
        utility = utility.reshape(len(rows), *members.shape)
        mean = np.sum(utility * mask, axis=2, keepdims=True) / mask.sum(1)[:, None]
        centred = np.where(mask, utility - mean, 0.0)
        sd = np.sqrt(np.sum(centred**2, axis=(1, 2)) / max(mask.sum() - len(members), 1))
        centred = centred / np.where(sd > 0, sd, 1.0)[:, None, None]
        place = np.argmax(members[None] == picks[rows][:, :, None], axis=2)
        picked = np.take_along_axis(centred, place[:, :, None], 2)[:, :, 0].mean(1)
        best = np.where(mask, centred, -np.inf).max(2).mean(1)
        total += centred.sum(0)
        parts.append(np.stack([picked, best]))
        scaled.append((rows, centred))
    favourite = np.where(mask, total, -np.inf).argmax(1)
    popular = np.concatenate([c[:, np.arange(len(members)), favourite].mean(1) for _, c in scaled])
    picked, best = np.concatenate(parts, axis=1)
    return Outcome(picked, best, popular)

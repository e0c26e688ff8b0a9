r"""A reward that counts only as far as a response fits its own prompt better than near misses of the prompt (TextNorm).

    share(x, y) = exp(r(x, y) / T) / sum over y' in {y} and P(y) of exp(r(x, y') / T)

with x the response (an image, a text), y its prompt and P(y) contrastive prompts: what else somebody might have asked
for. Whatever r says of the response alone, its length, its brightness, its style, is in every term and cancels; so a
generator that is optimised against the share cannot win by it [1]_. Several rewards make an ensemble: the mean of their
shares, less ``penalty`` times their variance.

What is often got wrong: y itself belongs to the denominator; rewards of different scale need temperatures of their own
(:func:`spread` is a fair one); contrastive prompts that are true of the response punish good ones; shares of prompts
with different numbers of contrasts are not comparable, their log-odds (``scale="log-odds"``, chance is 0) are.

References
----------
.. [1] Kim et al. 2024. Confidence-aware Reward Optimization for Fine-tuning Text-to-Image Models.
   https://arxiv.org/abs/2404.01863
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import Text, as_text, pack
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores

log = logging.getLogger(__name__)

SCALES = ("share", "log-odds")
CHUNK = 4096
"""Candidates and contrasts that are put to a reward at once."""


def confidence(score: np.ndarray, contrast: np.ndarray, temperature: float) -> np.ndarray:
    """TextNorm: float64 [n] softmax share of ``score`` [n] among itself and ``contrast`` [n, k] at ``temperature``.

    What depends on the image alone cancels. Shares of prompts with different k are not comparable.

    Raises
    ------
    ConfigError
        if the temperature is not positive or there is no contrastive prompt
    """
    if not temperature > 0:
        raise ConfigError(f"temperature={temperature}: it is positive")
    contrast = np.asarray(contrast, dtype=np.float64)
    if contrast.ndim != 2 or not contrast.shape[1]:
        raise ConfigError("confidence: no contrastive prompts; without one every share would be 1")
    with np.errstate(over="ignore"):  # a prompt far below a contrastive one has share 0
        gap = (contrast - np.asarray(score, dtype=np.float64)[:, None]) / temperature
        return 1 / (1 + np.exp(gap).sum(1))


def contrasts(prompt: str, given: Sequence[str]) -> list[str]:
    """The contrastive prompts without repeats and without the prompt itself."""
    own = prompt.strip().lower()
    return list(dict.fromkeys(text for text in given if text.strip().lower() != own))


def ensemble(shares: np.ndarray, penalty: float = 0.0) -> np.ndarray:
    """float64 [n] mean over models of ``shares`` [models, n], less ``penalty`` times their variance."""
    return shares.mean(0) - penalty * shares.var(0)


class Contrastive(Reward):
    """The share of each candidate's reward among the rewards of its response under contrastive prompts.

    Parameters
    ----------
    base : the reward, or several of them
    contrast : function of a prompt that gives near misses of it; the prompt itself and repeats are left out
    temperature : positive, one for all rewards or one each
    scale : share, in (0, 1), or log-odds, comparable between prompts with different numbers of contrasts
    penalty : of the variance over several rewards
    """

    def __init__(
        self,
        base: Reward | Sequence[Reward],
        contrast: Callable[[Text], Sequence[Text]],
        *,
        temperature: float | Sequence[float] = 1.0,
        scale: str = "share",
        penalty: float = 0.0,
    ) -> None:
        self.base = [base] if isinstance(base, Reward) else list(base)
        if not self.base:
            raise ConfigError("a contrastive reward needs a reward to normalise")
        given = [temperature] * len(self.base) if isinstance(temperature, int | float) else list(temperature)
        if len(given) != len(self.base):
            raise ConfigError(f"temperature: {len(given)} for {len(self.base)} rewards; give one, or one each")
        if not all(t > 0 for t in given):
            raise ConfigError(f"temperature={temperature}: it is positive")
        if scale not in SCALES:
            raise ConfigError(f"scale={scale!r}: use one of {', '.join(SCALES)}")
        if not penalty >= 0:
            raise ConfigError(f"penalty={penalty}: at least 0")
        self.contrast, self.temperature, self.scale, self.penalty = contrast, given, scale, penalty
        self.name = f"contrastive {'+'.join(r.name for r in self.base)}"
        self.reads = tuple(dict.fromkeys(column for r in self.base for column in r.reads))
        self.sees = tuple(dict.fromkeys(kind for r in self.base for kind in r.sees))
        self._known: dict[str, list[Text]] = {}

    def near_misses(self, prompt: Text) -> list[Text]:
        """The contrastive prompts of a prompt: never itself, none twice.

        Raises
        ------
        FeedbackError
            if there is none: every share would be 1
        """
        key = pack(prompt)
        if key not in self._known:
            found = list(self.contrast(prompt))
            own, kept = as_text(prompt).strip().lower(), {pack(t): t for t in found}
            kept = {k: t for k, t in kept.items() if as_text(t).strip().lower() != own}
            if len(kept) < len(found):
                log.warning("%d contrasts of %.40r are the prompt itself or repeats: left out",
                            len(found) - len(kept), as_text(prompt))  # fmt: skip
            if not kept:
                raise FeedbackError(f"no contrastive prompt for {as_text(prompt)[:60]!r}: every share would be 1")
            self._known[key] = list(kept.values())
        return self._known[key]

    def score(self, candidates: Candidates) -> Scores:
        """One share (or log-odds) a candidate; unscored where a reward leaves it or a contrast of it unscored."""
        n = len(candidates)
        if not n:
            return Scores(np.zeros(0))
        misses = [self.near_misses(prompt) for prompt in candidates.prompts]
        row = np.concatenate([np.arange(n), np.repeat(np.arange(n), [len(m) for m in misses])])
        asked = [*candidates.prompts, *(text for found in misses for text in found)]
        values = [self._values(reward, candidates, asked, row) for reward in self.base]
        shares = np.stack([self._share(v, row, n, t) for v, t in zip(values, self.temperature, strict=True)])
        value = ensemble(shares, self.penalty)
        if self.scale == "log-odds":
            several = np.array([len(found) for found in misses])
            with np.errstate(divide="ignore"):
                value = np.log(several * value) - np.log1p(-np.clip(value, None, 1 - 1e-15))
        unscored = np.isnan(value)
        return Scores(
            value,
            ["failed" if u else "scored" for u in unscored],
            ["the reward gives it, or a contrast of it, no score" if u else None for u in unscored],
            detail={"contrasts": [len(found) for found in misses], **_raw(self.base, values, n)},
        )

    def _values(self, reward: Reward, candidates: Candidates, asked: list[Text], row: np.ndarray) -> np.ndarray:
        """float64 [m] rewards of the responses ``row`` [m] to the prompts ``asked`` [m]."""
        found = []
        for lo in range(0, len(row), CHUNK):
            part = candidates.take(row[lo : lo + CHUNK])
            given = Candidates(
                asked[lo : lo + CHUNK], part.responses, part.user, part.criterion, part.reference, part.extra
            )
            found.append(reward.score(given).value)
        return np.concatenate(found)

    @staticmethod
    def _share(value: np.ndarray, row: np.ndarray, n: int, temperature: float) -> np.ndarray:
        """float64 [n] share of the first n of ``value`` [m] among those of the same row."""
        scaled = value / temperature
        most = np.full(n, -np.inf)
        np.maximum.at(most, row, np.where(np.isnan(scaled), -np.inf, scaled))
        with np.errstate(invalid="ignore"):
            mass = np.exp(scaled - most[row])
        return mass[:n] / np.bincount(row, mass, n)


def _raw(base: Sequence[Reward], values: Sequence[np.ndarray], n: int) -> dict[str, Sequence[float]]:
    names = [r.name if [x.name for x in base].count(r.name) == 1 else f"{r.name}:{i}" for i, r in enumerate(base)]
    return {name: value[:n].tolist() for name, value in zip(names, values, strict=True)}


def spread(reward: Reward, contrast: Callable[[Text], Sequence[Text]], reference: Candidates) -> float:
    """A temperature for ``reward``: how much its scores of a response differ between prompts, on ``reference``.

    The root mean square over responses of the standard deviation over their prompt and its contrasts.

    Raises
    ------
    ConfigError
        if scores do not depend on the prompt at all
    """
    asked = Contrastive(reward, contrast)
    misses = [[prompt, *asked.near_misses(prompt)] for prompt in reference.prompts]
    row = np.repeat(np.arange(len(reference)), [len(m) for m in misses])
    value = asked._values(reward, reference, [text for found in misses for text in found], row)
    known = ~np.isnan(value)
    count = np.bincount(row[known], minlength=len(reference))
    mean = np.bincount(row[known], value[known], len(reference)) / np.maximum(count, 1)
    found = float(np.sqrt(np.mean((value[known] - mean[row[known]]) ** 2))) if known.any() else 0.0
    if not found > 0:
        raise ConfigError(f"{reward.name} scores a response alike whatever the prompt: there is nothing to normalise")
    return found

"""Which pairs of a batch two models under review learn from: by each other's margins, on a schedule.

For each batch model A computes margins m_A = (2p - 1)(u_A(a) - u_A(b)), keeps the top 1 - lambda(t) of them, and model
B learns from what A kept, and the other way round. ``lambda(t) = noise * min(1, t / warmup)``, t in passes over the
data. ``curriculum="easy-first"`` also admits, after the warm-up, only the pairs of the largest mean margin at first,
growing from half of the data to all of it at the last pass. The margins may be of any utilities: a network's, a
language model's under an adapter, or implicit ones (beta x the log-ratio to a reference).

A part of fewer than 16 pairs (a batch that was cut to fit the memory) is ranked together with the margins before it.

Reference: Zhang et al. (2025), Two Minds Better Than One: Collaborative Reward Modeling for LLM Alignment,
https://arxiv.org/abs/2505.10597; the peer step is co-teaching, Han et al. (2018), https://arxiv.org/abs/1804.06872.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.reward.learned.pair_networks import SMALLEST_BATCH

EASY = 0.5
"""Share of the data that an easy-first curriculum admits right after the warm-up."""
REMEMBERED = 4 * SMALLEST_BATCH
"""Margins of each model that small parts are ranked with."""
CHOICES = {"select": ("peer", "self"), "curriculum": ("share", "easy-first"), "ties": ("half", "drop")}


def check_review(settings: dict[str, Any], choices: dict[str, tuple[str, ...]] = CHOICES) -> None:
    """Refuse settings under which a review makes no sense."""
    for name, known in choices.items():
        if settings[name] not in known:
            raise ConfigError(f"{name}={settings[name]!r} is unknown; use {' or '.join(known)}")
    noise = settings["noise"]
    if not 0 <= noise < 0.5:
        why = "from a half on the labels say nothing about what most people prefer"
        raise ConfigError(f"noise={noise}: use a share in [0, 0.5); {why}")
    if settings["batch"] < SMALLEST_BATCH:
        given = settings["batch"]
        raise ConfigError(f"batch={given}: pairs are ranked within a batch, which takes at least {SMALLEST_BATCH}")
    if settings["warmup"] < 0:
        raise ConfigError(f"warmup={settings['warmup']}: use a number of passes >= 0")
    if settings["peer_seed"] == settings["seed"]:
        seed = settings["seed"]
        raise ConfigError(f"peer_seed={seed} equals seed: the two networks would be one; give another seed")


def dropped_share(passes: float, noise: float, warmup: float) -> float:
    """lambda(t): the share of a batch left out after ``passes`` over the data; 0 at the start, ``noise`` at the end."""
    return noise * min(1.0, passes / warmup) if warmup > 0 else noise


def kept(margin: np.ndarray, share: float) -> np.ndarray:
    """int indices, ascending, of the batch without its ``share`` of smallest (most negative) margins."""
    n = len(margin) - math.floor(share * len(margin) + 1e-9)
    return np.sort(np.argsort(-margin, kind="stable")[:n])


class Review:
    """The state of one fit on ``size`` pairs: how far it is, what each of the two chose, what is easy."""

    def __init__(self, size: int, *, noise: float, warmup: float, select: str, curriculum: str, epochs: float) -> None:
        self.size, self.noise, self.warmup, self.epochs = size, noise, warmup, epochs
        self.select, self.curriculum = select, curriculum
        self.seen = 0
        self.chosen, self.offered = np.zeros(size), np.zeros(size)
        self.easiest = np.arange(size)
        self.ease, self.ranked = np.zeros(size), False
        self.before: list[deque[float]] = [deque(maxlen=REMEMBERED), deque(maxlen=REMEMBERED)]

    def choose(self, rows: np.ndarray, margin: list[np.ndarray]) -> list[np.ndarray]:
        """[2] indices into ``rows`` that the first and the second model learn from, given both models' margins."""
        share = dropped_share(self.seen / self.size, self.noise, self.warmup)
        self.seen += len(rows)
        self.ease[rows] = np.mean(margin, axis=0)
        chosen = [self._kept(m, share, before) for m, before in zip(margin, self.before, strict=True)]
        if self.seen > self.warmup * self.size:
            self.offered[rows] += 2
            for selection in chosen:
                self.chosen[rows[selection]] += 1
        return chosen[::-1] if self.select == "peer" else chosen

    @staticmethod
    def _kept(margin: np.ndarray, share: float, before: deque[float]) -> np.ndarray:
        if len(margin) >= SMALLEST_BATCH:
            return kept(margin, share)
        known = np.r_[margin, np.array(before, dtype=np.float64)]
        before.extend(margin.tolist())
        index = kept(known, share)
        return index[index < len(margin)]

    def rank(self, ease: np.ndarray) -> None:
        """Put the pairs in order from easy to hard by mean margins [size]."""
        self.easiest, self.ranked = np.argsort(-ease, kind="stable"), True

    def admitted(self, epoch: int) -> np.ndarray:
        """The pairs of an epoch: all in the warm-up, then the easiest half, growing to all at the last epoch."""
        start, last = math.ceil(self.warmup), math.ceil(self.epochs) - 1
        if self.curriculum != "easy-first" or epoch < start or last <= start:
            return np.arange(self.size)
        share = EASY + (1 - EASY) * (epoch - start) / (last - start)
        return self.easiest[: max(SMALLEST_BATCH, round(share * self.size))]

    def among(self, rows: np.ndarray) -> np.ndarray:
        """int indices of ``rows`` that the curriculum admits now; the rest is passed over and counts as seen.

        For loops that run over all data: the order from easy to hard is that of the margins last seen.
        """
        if self.curriculum != "easy-first":
            return np.arange(len(rows))
        start = math.ceil(self.warmup)
        if not self.ranked and self.seen >= start * self.size:
            self.rank(self.ease)
        mask = np.zeros(self.size, dtype=bool)
        mask[self.admitted(self.seen // self.size)] = True
        some = np.flatnonzero(mask[rows])
        self.seen += len(rows) - len(some)
        return some

    def rate(self) -> np.ndarray:
        """Share of the reviews after the warm-up that chose each pair; 1 where there were none."""
        return np.where(self.offered > 0, self.chosen / np.maximum(self.offered, 1), 1.0)

"""The candidates of a simulated world: prompts with several responses each, and features of every candidate.

A pool comes from real candidates and scorers (:meth:`Pool.of`), or is planted (:meth:`Pool.planted`): random feature
vectors behind texts that are mere ids, with an encoder that looks the features up, so that every reward model can be
fitted on planted features without reading a text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from guerdon.errors import FeedbackError
from guerdon.feedback.messages import Text, as_messages, as_text, pack
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward

CROSS_PROMPT = "Which of these conversations went better?"
"""The prompt of a comparison of responses to different prompts; its responses are the whole conversations."""

Scorer = Reward | Callable[[Text, Text], float | None] | np.ndarray


@dataclass(frozen=True, eq=False)
class Pool:
    """c candidates of P prompts, with features [c, d].

    candidates  the c candidates; every (prompt, response) once
    features    float64 [c, d]
    names       d names of the features
    """

    candidates: Candidates
    features: np.ndarray
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        x = np.asarray(self.features, dtype=np.float64)
        n = len(self.candidates)
        if x.ndim != 2 or len(x) != n:
            raise FeedbackError(f"pool: {n} candidates need features [{n}, d], got shape {list(x.shape)}")
        if not np.isfinite(x).all():
            row = int(np.flatnonzero(~np.isfinite(x).all(1))[0])
            raise FeedbackError(f"pool: features of candidate {row} are not finite; leave the candidate out or mend it")
        object.__setattr__(self, "features", x)
        object.__setattr__(self, "names", tuple(self.names) or tuple(f"feature {i}" for i in range(x.shape[1])))
        for row, (prompt, response) in enumerate(zip(self.candidates.prompts, self.candidates.responses, strict=True)):
            if response is None or not len(response):
                raise FeedbackError(f"pool: candidate {row} (prompt {str(prompt)[:40]!r}) has no response")
        _ = self._row  # finds candidates given twice

    @classmethod
    def of(cls, candidates: Candidates, scorers: Mapping[str, Scorer] | Sequence[Scorer] | np.ndarray) -> Pool:
        """Real candidates with the scores of ``scorers`` as features; see :func:`evaluate` for what a scorer may be."""
        scores, names = evaluate(scorers, candidates)
        return cls(candidates, scores, names)

    @classmethod
    def planted(
        cls, prompts: int = 200, responses: int = 8, dim: int = 32, *, centre: float = 0.0, seed: int = 0
    ) -> Pool:
        """``prompts`` x ``responses`` candidates with features ~ N(0, I) in ``dim`` dimensions.

        ``centre`` > 0 adds a common N(0, centre^2 I) to the responses of a prompt: responses to one prompt are alike.
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
        x = rng.normal(size=(prompts, responses, dim))
        if centre:
            x += centre * rng.normal(size=(prompts, 1, dim))
        names = [f"planted prompt {p}" for p in range(prompts)]
        texts = [f"planted response {p}.{r}" for p in range(prompts) for r in range(responses)]
        return cls(Candidates([p for p in names for _ in range(responses)], texts), x.reshape(-1, dim))

    def __len__(self) -> int:
        return len(self.candidates)

    @property
    def dim(self) -> int:
        """d, the number of features."""
        return self.features.shape[1]

    # ------------------------------------------------------------------ prompts and their responses

    @cached_property
    def _prompts(self) -> tuple[list[str], np.ndarray]:
        table: dict[str, int] = {}
        code = [table.setdefault(pack(p), len(table)) for p in self.candidates.prompts]
        return list(table), np.array(code, dtype=np.int64)

    @property
    def prompts(self) -> list[str]:
        """The P distinct prompts, packed (``messages.pack``), in order of first appearance."""
        return self._prompts[0]

    @property
    def prompt_of(self) -> np.ndarray:
        """int64 [c] which prompt each candidate answers."""
        return self._prompts[1]

    @cached_property
    def count(self) -> np.ndarray:
        """int64 [P] how many responses each prompt has."""
        return np.bincount(self.prompt_of, minlength=len(self.prompts))

    @cached_property
    def members(self) -> np.ndarray:
        """int64 [P, R] the candidates of each prompt; R is the largest count, -1 fills the rest."""
        order = np.argsort(self.prompt_of, kind="stable")
        slot = np.arange(len(order)) - np.repeat(np.cumsum(self.count) - self.count, self.count)
        table = np.full((len(self.prompts), int(self.count.max(initial=0))), -1, dtype=np.int64)
        table[self.prompt_of[order], slot] = order
        return table

    def split(self, held_out: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """(train, test) prompts: sorted disjoint indices; the share ``held_out`` of the prompts is test."""
        if not 0 <= held_out < 1:
            raise FeedbackError(f"held_out={held_out}: use a share of the prompts in [0, 1)")
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
        shuffled = rng.permutation(len(self.prompts))
        cut = round(held_out * len(shuffled))
        return np.sort(shuffled[cut:]), np.sort(shuffled[:cut])

    # ------------------------------------------------------------------ candidates as texts

    @cached_property
    def responses(self) -> list[str]:
        """The c responses, packed."""
        return [pack(r) for r in self.candidates.responses]

    @cached_property
    def conversations(self) -> list[str]:
        """Prompt and response of each candidate as one packed chat: the responses of cross-prompt comparisons."""
        both = zip(self.candidates.prompts, self.candidates.responses, strict=True)
        return [pack([*as_messages(p), *as_messages(r, "assistant")]) for p, r in both]

    @cached_property
    def _row(self) -> dict[tuple[str, str], int]:
        table: dict[tuple[str, str], int] = {}
        for row, response in enumerate(self.responses):
            key = (self.prompts[self.prompt_of[row]], response)
            if table.setdefault(key, row) != row:
                message = f"pool: candidates {table[key]} and {row} are the same; give each candidate once"
                raise FeedbackError(message)
        return table

    @cached_property
    def _text_row(self) -> dict[tuple[str, str], int]:
        both = zip(self.candidates.prompts, self.candidates.responses, strict=True)
        return {(as_text(p), as_text(r)): row for row, (p, r) in enumerate(both)}

    @cached_property
    def _conversation_row(self) -> dict[str, int]:
        return {text: row for row, text in enumerate(self.conversations)}

    def find(self, candidates: Candidates) -> np.ndarray:
        """int64 [n] where ``candidates`` are in this pool, -1 where they are not; a chat of one message is its text."""
        out = np.full(len(candidates), -1, dtype=np.int64)
        for i, (prompt, response) in enumerate(zip(candidates.prompts, candidates.responses, strict=True)):
            row = self._row.get((pack(prompt), pack(response)), -1)
            if row < 0:
                row = self._text_row.get((as_text(prompt), as_text(response)), -1)
            if row < 0 and prompt == CROSS_PROMPT:
                row = self._conversation_row.get(pack(response), -1)
            out[i] = row
        return out

    def rows(self, candidates: Candidates) -> np.ndarray:
        """int64 [n] where ``candidates`` are in this pool; :class:`FeedbackError` for one that is not."""
        out = self.find(candidates)
        absent = np.flatnonzero(out < 0)
        if len(absent):
            prompt = str(candidates.prompts[absent[0]])[:40]
            raise FeedbackError(f"candidate {absent[0]} (prompt {prompt!r}) is not in this pool")
        return out

    def encoder(self) -> PlantedEncoder:
        """An encoder that looks the features of this pool up."""
        return PlantedEncoder(self)


class PlantedEncoder:
    """Features of a pool as an encoder (``guerdon.encode.base.Encoder``): candidates of the pool to their features.

    It has nothing a file could reopen: a model saved with it is loaded and then given it again
    (``model.encoder = pool.encoder()``).
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        digest = hashlib.sha256(np.ascontiguousarray(pool.features).tobytes())
        for prompt, response in zip(pool.prompt_of, pool.responses, strict=True):
            digest.update(f"{prompt}\x1f{response}\x1e".encode())
        self._fingerprint = f"planted:{digest.hexdigest()[:16]}"

    @property
    def spec(self) -> str:
        """``planted:`` and a digest of features and texts."""
        return self._fingerprint

    @property
    def fingerprint(self) -> str:
        """The same as :attr:`spec`."""
        return self._fingerprint

    @property
    def dim(self) -> int:
        """d, the number of features."""
        return self.pool.dim

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        """float32 [n, d] features of the n candidates, which must be in the pool."""
        return self.pool.features[self.pool.rows(candidates)].astype(np.float32)


def evaluate(
    scorers: Mapping[str, Scorer] | Sequence[Scorer] | np.ndarray, candidates: Candidates
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Scores [c, K] of K scorers and their names.

    A scorer is a :class:`~guerdon.reward.base.Reward`, a function ``f(prompt, response)`` or an array [c]; together
    they are a mapping by name, a sequence, or one array [c, K]. A candidate that a scorer leaves unscored is an error:
    people made of scorers have an opinion on everything.
    """
    n = len(candidates)
    if isinstance(scorers, np.ndarray) and scorers.ndim == 2:
        named: dict[str, Scorer] = {f"scorer {k}": column for k, column in enumerate(scorers.T)}
    elif isinstance(scorers, Mapping):
        named = dict(scorers)
    else:
        names = [str(getattr(s, "__name__", f"scorer {k}")) for k, s in enumerate(scorers)]
        if len(set(names)) < len(names):
            names = [f"{name} {k}" for k, name in enumerate(names)]
        named = dict(zip(names, scorers, strict=True))
    if not named:
        raise FeedbackError("no scorers given; at least one is needed")
    columns = []
    for name, scorer in named.items():
        column = _score(scorer, candidates)
        if column.shape != (n,):
            raise FeedbackError(f"scorer {name!r} gives shape {list(column.shape)} for {n} candidates")
        missing = np.flatnonzero(~np.isfinite(column))
        if len(missing):
            message = f"scorer {name!r} leaves {len(missing)} of {n} candidates unscored, the first is {missing[0]}; "
            raise FeedbackError(message + "leave those candidates or the scorer out")
        columns.append(column)
    return np.stack(columns, axis=1), tuple(named)


def _score(scorer: Any, candidates: Candidates) -> np.ndarray:
    if isinstance(scorer, Reward):
        return scorer.score(candidates).value
    if callable(scorer):
        values = [scorer(c.prompt, c.response) for c in candidates]
        return np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    return np.asarray(scorer, dtype=np.float64)

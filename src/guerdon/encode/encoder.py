"""Candidates to features: a text encoder, a feature map and the cache put together.

Every distinct text is encoded once, whether it appears as prompts, as responses, or in many candidates; what is in the
cache is not encoded at all. Feature maps are composed from the cached texts, so changing the map costs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from guerdon.encode.base import Encoder
from guerdon.encode.cache import FeatureCache, key_of, open_cache
from guerdon.encode.features import VERSION, FeatureMap, surface_features
from guerdon.encode.template import PlainTemplate, Unit
from guerdon.errors import BackendError
from guerdon.feedback.messages import Text, as_text, pack, unpack
from guerdon.feedback.schema import Candidates

if TYPE_CHECKING:
    from guerdon.feedback.star import Feedback

_ALL_OR_NOTHING: ContextVar[bool] = ContextVar("all_or_nothing", default=False)


@contextmanager
def all_or_nothing() -> Iterator[None]:
    """Within it, a call of ``encode`` caches all its texts or, if it is interrupted, none of them.

    Which texts go through a model together decides the last bits of their features. Work that is to give the same bytes
    when it is repeated after a kill must not find half of a batch in the cache.
    """
    token = _ALL_OR_NOTHING.set(True)
    try:
        yield
    finally:
        _ALL_OR_NOTHING.reset(token)


FORMAT = 1
"""Part of every fingerprint; raised when the meaning of cached rows changes."""


class TextEncoder(Protocol):
    """Texts to vectors: what a new encoder implements; cache, feature maps and progress come from around it.

    kind      the name before the colon of a specification
    cached    whether reading its vectors from disk beats computing them
    identity  JSON-ready: everything that decides the vector of a text
    dim       d
    template  how prompts and responses become units
    """

    kind: str
    cached: bool

    @property
    def identity(self) -> dict[str, Any]: ...

    @property
    def dim(self) -> int: ...

    @property
    def template(self) -> PlainTemplate: ...

    def batches(self, units: Sequence[Unit]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(int [b] positions in ``units``, float32 [b, d] vectors) as they are done; every position once."""
        ...


class FeatureEncoder:
    """An :class:`guerdon.encode.Encoder` of a text encoder and a feature map. Made by ``load_encoder``.

    ``computed`` counts the texts that went through the model; texts read from the cache are not among them.
    """

    def __init__(self, texts: TextEncoder, features: str, spec: str, *, cache: bool = True) -> None:
        self.texts = texts
        self.map = FeatureMap.of(features)
        self.spec = spec
        self.use_cache = cache and texts.cached
        self.computed = 0

    def __repr__(self) -> str:
        return f"<encoder {self.spec}>"

    @cached_property
    def text_fingerprint(self) -> str:
        """Names what computes the vector of a text: the cache's folder."""
        return f"{self.texts.kind}-{_digest({'format': FORMAT, **self.texts.identity})}"

    @property
    def fingerprint(self) -> str:
        """Names what computes the features: text encoder and feature map."""
        blocks = "+".join(self.map.blocks)
        return f"{self.texts.kind}-{self.map.name}-{_digest([self.text_fingerprint, VERSION, blocks])}"

    @property
    def dim(self) -> int:
        """The number of features."""
        return self.map.dim(self.texts.dim)

    @property
    def blocks(self) -> int | None:
        """Blocks of equal width that the features consist of (attention heads, layers); None where they are one."""
        found = getattr(self.texts, "blocks", None)
        return None if found is None or "surface" in self.map.blocks else found * len(self.map.blocks)

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        """float32 [n, dim] features of n candidates, in order."""
        responses = candidates.responses
        if getattr(self.texts, "by_id", False) and "id" in candidates.extra:
            responses = [str(i) for i in candidates.extra["id"]]
        prompts, prompt_of = _distinct(candidates.prompts)
        texts, response_of = _distinct(responses)
        return self.encode_star(prompts, prompt_of, texts, response_of, progress=progress)

    def encode_star(
        self,
        prompts: Sequence[Text],
        prompt_of: np.ndarray,
        responses: Sequence[Text],
        response_of: np.ndarray,
        *,
        progress: bool = False,
    ) -> np.ndarray:
        """float32 [n, dim] features of the candidates (prompts[prompt_of[i]], responses[response_of[i]])."""
        needs, template = self.map.needs, self.texts.template
        units: dict[Unit, int] = {}

        def register(made: Iterator[Unit]) -> np.ndarray:
            return np.array([units.setdefault(unit, len(units)) for unit in made], dtype=np.int64)

        where: dict[str, np.ndarray] = {}
        if "prompt" in needs:
            where["prompt"] = register(template.single(p, "user") for p in prompts)[prompt_of]
        if "response" in needs:
            where["response"] = register(template.single(r, "assistant") for r in responses)[response_of]
        if "joined" in needs:
            pairs = zip(prompt_of, response_of, strict=True)
            where["joined"] = register(template.joined(prompts[i], responses[j]) for i, j in pairs)
        vectors = self.encode_units(list(units), progress=progress)
        sources: dict[str, Any] = {name: (vectors, index) for name, index in where.items()}
        if "surface" in self.map.blocks:
            sources["surface"] = (surface_features([as_text(r) for r in responses]), response_of)
        return self.map.compose(self.texts.dim, len(prompt_of), **sources)

    def encode_units(self, units: list[Unit], *, progress: bool = False) -> np.ndarray:
        """float32 [n, d] vectors of n distinct units: from the cache where it has them, else computed and kept."""
        cache, keys = self._cache(), np.zeros((len(units), 16), np.uint8)
        if cache is None:
            out, missing = np.zeros((len(units), self.texts.dim), np.float32), np.arange(len(units))
        else:
            # a unit's form (plain, rendered, pair) is part of its key: the same characters may be read differently
            names = [key_of(u) if isinstance(u, str) else key_of(str(len(u)), *u) for u in units]
            keys = np.frombuffer(b"".join(names), np.uint8).reshape(len(units), 16)
            out, found = cache.lookup(keys)
            missing = np.flatnonzero(~found)
        if not len(missing):
            return out
        todo = [units[i] for i in missing]
        with _progress(len(todo), progress) as tick:
            if cache is not None:
                cache.begin()
            try:
                for at, rows in self.texts.batches(todo):
                    self._check(todo, at, rows)
                    out[missing[at]] = rows
                    self.computed += len(at)
                    if cache is not None and not _ALL_OR_NOTHING.get():
                        cache.add(keys[missing[at]], rows)
                    tick(len(at))
                if cache is not None and _ALL_OR_NOTHING.get():
                    cache.add(keys[missing], out[missing])
            finally:  # also when interrupted: what is done is done
                if cache is not None:
                    cache.flush()
        return out

    def _cache(self) -> FeatureCache | None:
        if not self.use_cache:
            return None
        return open_cache(self.text_fingerprint, self.texts.dim, {"spec": self.spec, "identity": self.texts.identity})

    def _check(self, units: list[Unit], at: np.ndarray, rows: np.ndarray) -> None:
        bad = ~np.isfinite(rows).all(1)
        if bad.any():
            unit = units[at[np.flatnonzero(bad)[0]]]
            text = unit if isinstance(unit, str) else unit[-1]
            raise BackendError(
                f"encoder {self.spec}: {int(bad.sum())} of {len(rows)} texts of a batch have features that are not "
                f"finite, first {text[:40]!r}; try dtype=float32"
            )


def encode_feedback(
    encoder: Encoder, feedback: Feedback, *, used_only: bool = True, progress: bool = False
) -> np.ndarray:
    """float32 [C, d] features of the star's candidates, in index order.

    Each distinct text becomes a Python value once and is encoded once. ``used_only`` encodes the candidates that some
    judgement points to (after ``take`` or a split most may not be); the rows of the others are zero.
    """
    used = feedback.used if used_only else np.arange(len(feedback.prompt_of))
    whole = len(used) == len(feedback.prompt_of)
    if not isinstance(encoder, FeatureEncoder):
        rows = encoder.encode(feedback.candidates if whole else feedback.candidates.take(used), progress=progress)
    else:
        import pyarrow as pa

        prompt_rows, prompt_of = np.unique(feedback.prompt_of[used], return_inverse=True)
        needs_prompts = bool(encoder.map.needs & {"prompt", "joined"})
        packed = feedback.prompts.take(pa.array(prompt_rows)).to_pylist() if needs_prompts else [""] * len(prompt_rows)
        responses = feedback.responses if whole else feedback.responses.take(pa.array(used))
        # the same response to several prompts is one text
        table = responses.dictionary_encode()
        response_of = np.asarray(table.indices, dtype=np.int64)
        texts = [unpack(s) for s in table.dictionary.to_pylist()]
        rows = encoder.encode_star([unpack(s) for s in packed], prompt_of, texts, response_of, progress=progress)
    if whole:
        return rows
    out = np.zeros((len(feedback.prompt_of), rows.shape[1]), dtype=np.float32)
    out[used] = rows
    return out


def _distinct(values: Sequence[Text]) -> tuple[list[Text], np.ndarray]:
    """(distinct values, int64 [n] index into them) in order of first appearance."""
    seen: dict[str, int] = {}
    table: list[Text] = []
    index = np.empty(len(values), dtype=np.int64)
    for i, value in enumerate(values):
        key = pack(value)
        at = seen.setdefault(key, len(table))
        if at == len(table):
            table.append(value)
        index[i] = at
    return table, index


def _digest(value: Any) -> str:
    return blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=12).hexdigest()


@contextmanager
def _progress(total: int, show: bool) -> Iterator[Any]:
    """A function that advances a progress bar on stderr, or does nothing."""
    if not show:
        yield lambda n: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("encoding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda n: bar.advance(task, n)

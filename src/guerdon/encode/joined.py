r"""Candidates of any modality to features: a text encoder and one encoder for each kind of medium, side by side.

    [ text(prompt, response), is there one | for each kind: mean over the prompt's media, is there one,
                                             mean over the response's media, is there one ]

A block without text or medium is zero, and says so: a reward scales what is there (:attr:`JoinedEncoder.flags`). What
the blocks have to do with each other (does the answer say what the picture shows?) is for a head to find: ``mlp`` sees
all of them together, a reward given a criterion (``context``) scales all of them by it, so that "the higher one"
learned from pictures says something about tones.

``media?text=minilm&image=filters&audio=spectrum`` opens one. An encoder for another kind, or a better one for these,
is a class with ``kind, name, spec, identity, dim, cached`` and ``batches``, and a line in :data:`MEDIA`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np

from guerdon.encode.base import Encoder
from guerdon.encode.cache import open_cache
from guerdon.encode.encoder import _progress as advancing
from guerdon.encode.media import Collected, Medium, collect, content_key, media_in, read, words_of
from guerdon.errors import BackendError, ConfigError, FeedbackError
from guerdon.feedback.messages import Text, as_text
from guerdon.feedback.schema import Candidates

FORMAT = 1
CHUNK = 64
"""Media read into memory at once."""


class MediumEncoder(Protocol):
    """Media of one kind to vectors.

    kind      image, audio or video
    name      as in a specification, ``spec`` with its settings
    identity  JSON-ready: everything that decides the vector of a medium
    cached    whether reading its vectors from disk beats computing them
    """

    kind: str
    name: str
    spec: str
    cached: bool

    @property
    def identity(self) -> dict[str, Any]: ...

    @property
    def dim(self) -> int: ...

    def batches(self, media: Sequence[tuple[Medium, bytes]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(int [b] positions in ``media``, float32 [b, dim] vectors) as they are done; every position once."""
        ...


def _filters(rest: str, options: Mapping[str, Any]) -> MediumEncoder:
    from guerdon.encode.image import ImageFilters

    return ImageFilters(_number(f"image=filters:{rest}", rest, 2, 8))


def _spectrum(rest: str, options: Mapping[str, Any]) -> MediumEncoder:
    from guerdon.encode.audio import Spectrum

    return Spectrum(_number(f"audio=spectrum:{rest}", rest, 40, 256))


def _tower(kind: str) -> Callable[[str, Mapping[str, Any]], MediumEncoder]:
    def make(rest: str, options: Mapping[str, Any]) -> MediumEncoder:
        from guerdon.encode.two_tower import Tower

        return Tower.of(kind, rest, **options)

    return make


MEDIA: dict[str, dict[str, Callable[[str, Mapping[str, Any]], MediumEncoder]]] = {
    "image": {"filters": _filters, "hf": _tower("image")},
    "audio": {"spectrum": _spectrum, "hf": _tower("audio")},
}
"""Kind of medium -> name of an encoder -> how it is made of what follows the colon and of the options."""


def installed() -> str:
    """What there is an encoder for, as an error says it."""
    return ", ".join(f"{kind} ({', '.join(names)})" for kind, names in MEDIA.items())


def medium_encoder(kind: str, spec: str, **options: Any) -> MediumEncoder:
    """The encoder ``spec`` (``filters``, ``filters:4``, ``hf:NAME_OR_FOLDER``) of media of a ``kind``.

    Raises
    ------
    ConfigError
        if there is none of that name, with those there are
    """
    name, _, rest = spec.partition(":")
    made = MEDIA.get(kind, {}).get(name)
    if made is None:
        raise ConfigError(f"{kind}={spec}: no such encoder; installed are {installed()}")
    return made(rest, options)


def _number(what: str, text: str, default: int, most: int) -> int:
    if not text:
        return default
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise ConfigError(f"{what}: use a whole number from 1 to {most} after the colon")
    return int(text)


class JoinedEncoder:
    """An :class:`~guerdon.encode.Encoder` of texts and media together.

    ``computed`` counts the media that went through an encoder; those read from the cache are not among them.
    """

    def __init__(self, text: Encoder | None, media: Sequence[MediumEncoder], spec: str, *, cache: bool = True) -> None:
        if text is None and not media:
            raise ConfigError(f"encoder {spec!r} reads nothing; give text= or one of: {installed()}")
        self.text, self.media, self.spec, self.use_cache = text, {m.kind: m for m in media}, spec, cache
        self.computed = 0

    def __repr__(self) -> str:
        return f"<encoder {self.spec}>"

    @property
    def sees(self) -> tuple[str, ...]:
        """The kinds of media it reads."""
        return tuple(self.media)

    @property
    def fingerprint(self) -> str:
        """Names what computes the features: the text encoder and that of each kind."""
        parts = {kind: vectors_name(encoder) for kind, encoder in self.media.items()}
        text = None if self.text is None else self.text.fingerprint
        return f"media-{digest({'format': FORMAT, 'text': text, **parts})}"

    @property
    def dim(self) -> int:
        """The number of features."""
        return max(block.stop for block in self.blocks().values())

    def blocks(self) -> dict[str, slice]:
        """Where the features of the text, and of each kind of medium in prompts and responses, stand.

        The last column of each says whether there is any.
        """
        out, at = {}, 0
        sizes = {} if self.text is None else {"text": self.text.dim + 1}
        sizes |= {f"{kind}, {side}": m.dim + 1 for kind, m in self.media.items() for side in ("prompt", "response")}
        for name, size in sizes.items():
            out[name] = slice(at, at + size)
            at += size
        return out

    @property
    def flags(self) -> np.ndarray:
        """int64 [dim] the column that says whether the block of a column is there."""
        return np.concatenate([np.full(block.stop - block.start, block.stop - 1) for block in self.blocks().values()])

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        """float32 [n, dim] features of n candidates, in order."""
        sides = {"prompt": candidates.prompts, "response": candidates.responses}
        found = {side: media_of_column(texts, side) for side, texts in sides.items()}
        self._check([medium for column in found.values() for media in column for medium in media])
        out = np.zeros((len(candidates), self.dim), dtype=np.float32)
        blocks = self.blocks()
        if self.text is not None:
            words = {side: [words_of(t) for t in texts] for side, texts in sides.items()}
            plain = replace(candidates, prompts=words["prompt"], responses=words["response"])
            needs = getattr(getattr(self.text, "map", None), "needs", ()) or {"response"}
            read = [side for side in sides if side in needs or needs - {"prompt", "response"}]
            spoken = np.array(
                [any(as_text(words[side][i]).strip() for side in read) for i in range(len(out))], dtype=bool
            )
            rows = self.text.encode(plain.take(np.flatnonzero(spoken)), progress=progress)
            out[spoken, blocks["text"]] = np.concatenate([rows, np.ones((len(rows), 1), np.float32)], 1)
        for kind, encoder in self.media.items():
            columns = [[m for m in media if m.kind == kind] for side in sides for media in found[side]]
            collected = collect(iter(columns))
            if not collected.media:
                continue
            vectors, done = vectors_of(encoder, collected, self.spec, cache=self.use_cache, progress=progress)
            self.computed += done
            for i, places in enumerate(collected.places):
                side, row = ("prompt", "response")[i // len(candidates)], i % len(candidates)
                if places:
                    out[row, blocks[f"{kind}, {side}"]] = [*vectors[places].mean(0), 1.0]
        return out

    def _check(self, media: list[Medium]) -> None:
        """Whether there is an encoder for each medium: what is not looked at must not pass for seen."""
        unread = next((m for m in media if m.kind not in self.media), None)
        if unread is None:
            return
        reads = ", ".join([*(["text"] if self.text is not None else []), *self.media])
        if unread.kind in MEDIA:
            mend = f"add {unread.kind}={'|'.join(MEDIA[unread.kind])} to its specification"
        else:
            mend = f"installed encoders of media: {installed()}"
        raise FeedbackError(f"{unread}: no encoder for {unread.kind}; {self.spec!r} reads {reads}; {mend}")


def media_of_column(texts: Sequence[Text], side: str) -> list[list[Medium]]:
    """The media of each text, each knowing its row."""
    return [media_in(text, f"{side} of candidate {i}") for i, text in enumerate(texts)]


def vectors_name(encoder: MediumEncoder) -> str:
    """Names what computes the vector of a medium: the cache's folder."""
    return f"{encoder.kind}-{encoder.name}-{digest({'format': FORMAT, **encoder.identity})}"


def vectors_of(
    encoder: MediumEncoder, collected: Collected, spec: str, *, cache: bool = True, progress: bool = False
) -> tuple[np.ndarray, int]:
    """(float32 [m, dim] vectors of m distinct media, how many were computed): from the cache where it has them."""
    media = collected.media
    about = {"spec": spec, "identity": encoder.identity}
    kept = open_cache(vectors_name(encoder), encoder.dim, about) if cache and encoder.cached else None
    keys = np.frombuffer(bytes.fromhex("".join(collected.keys)), np.uint8).reshape(len(media), 16)
    if kept is None:
        out, missing = np.zeros((len(media), encoder.dim), np.float32), np.arange(len(media))
    else:
        out, found = kept.lookup(keys)
        missing = np.flatnonzero(~found)
        kept.begin()
    try:
        with advancing(len(missing), progress) as tick:
            for lo in range(0, len(missing), CHUNK):
                chunk = missing[lo : lo + CHUNK]
                given = [(media[i], _unchanged(media[i], collected.keys[i])) for i in chunk]
                for at, rows in encoder.batches(given):
                    bad = np.flatnonzero(~np.isfinite(rows).all(1))
                    if len(bad):
                        raise BackendError(f"{given[at[bad[0]]][0]}: {spec!r} gives it features that are not finite")
                    out[chunk[at]] = rows
                    if kept is not None:
                        kept.add(keys[chunk[at]], rows)
                    tick(len(at))
    finally:  # also when interrupted: what is done is done
        if kept is not None:
            kept.flush()
    return out, len(missing)


def _unchanged(medium: Medium, key: str) -> bytes:
    data = read(medium)
    if content_key(data) != key:
        raise FeedbackError(f"{medium}: it changed while it was read; run again when nothing writes it")
    return data


def digest(value: Any) -> str:
    """A short name of a JSON-ready value."""
    return blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=12).hexdigest()

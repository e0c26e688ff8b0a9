r"""Pretrained models that look or listen: CLIP, SigLIP, CLAP and plain vision models, through transformers.

A two-tower model puts texts and media into one space, where what belongs together is near [1]_. Its encoder,
``image:hf:NAME_OR_FOLDER`` (``audio:hf:...``), gives a prompt and a response each the mean of the unit vectors of its
words and its media, and joins them by a feature map as for texts (:mod:`guerdon.encode.features`): with ``product``,
the sum of the features p * r is CLIP's cosine of prompt and response. One tower alone, of these models or of a vision
model without texts, is the encoder of a kind of medium in ``media?image=hf:NAME_OR_FOLDER``: the projected embedding
where there is one, the mean of the last states otherwise.

Images are prepared as the model's own processor says, by its Pillow code, so that installing torchvision changes
nothing. Texts are cut at what the tower reads (77 tokens for CLIP).

References
----------
.. [1] Radford et al. 2021. Learning Transferable Visual Models From Natural Language Supervision.
   https://arxiv.org/abs/2103.00020
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.encode.audio import open_audio
from guerdon.encode.cache import key_of, open_cache
from guerdon.encode.features import VERSION as MAP_VERSION
from guerdon.encode.features import FeatureMap, surface_features
from guerdon.encode.hidden import choose_device, opening, quiet
from guerdon.encode.image import open_image
from guerdon.encode.joined import CHUNK, digest, media_of_column, vectors_name, vectors_of
from guerdon.encode.media import Medium, collect, words_of
from guerdon.encode.source import Source, locate
from guerdon.encode.template import clean
from guerdon.errors import BackendError, ConfigError, FeedbackError, need
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates

VERSION = 1
BATCH = 16


class Tower:
    """A pretrained model as the encoder of one kind of medium, and of texts where it has a tower for them.

    kind    image or audio
    source  the model (:func:`guerdon.encode.source.locate`)
    device  auto, cpu, cuda ...
    """

    name, cached = "hf", True

    def __init__(self, kind: str, source: Source, *, device: str = "auto") -> None:
        self.kind, self.source, self.device = kind, source, device
        self.spec = f"hf:{source.name}" + (f"@{source.revision}" if source.revision else "")
        self._lock = threading.RLock()

    @classmethod
    def of(cls, kind: str, name: str, *, revision: str | None = None, device: str = "auto") -> Tower:
        """The model ``name``: a folder, a hub name, or a hub name ``@`` a commit."""
        if revision is None and "@" in name and not Path(name).expanduser().is_dir():
            name, _, revision = name.rpartition("@")
        return cls(kind, locate(name, revision), device=device)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the vector of a medium."""
        return {"encoder": "tower", "version": VERSION, "kind": self.kind, "model": self.source.identity}

    # ------------------------------------------------------------------ the model

    @cached_property
    def config(self) -> Any:
        """The model's configuration."""
        transformers = _transformers()
        with opening(self.source.name), quiet():
            return transformers.AutoConfig.from_pretrained(self.source.name, revision=self.source.revision)

    @cached_property
    def model(self) -> Any:
        """The model, ready to run; :class:`BackendError` where weights are missing."""
        transformers = _transformers()
        with self._lock, opening(self.source.name), quiet():
            model, info = transformers.AutoModel.from_pretrained(
                self.source.name, revision=self.source.revision, output_loading_info=True
            )
        missing = sorted(k for k in info["missing_keys"] if "pooler" not in k)
        if missing:
            raise BackendError(
                f"{self.source.name} lacks {len(missing)} weights of a {type(model).__name__} ({missing[0]}, ...): its "
                "features would be random"
            )
        return model.to(choose_device(self.device)).eval()

    @cached_property
    def processor(self) -> Any:
        """What prepares media for the model."""
        transformers = _transformers()
        with opening(self.source.name), quiet():
            if self.kind == "image":
                return transformers.AutoImageProcessor.from_pretrained(
                    self.source.name, revision=self.source.revision, backend="pil"
                )
            return transformers.AutoFeatureExtractor.from_pretrained(self.source.name, revision=self.source.revision)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the tower of texts."""
        transformers = _transformers()
        with opening(self.source.name), quiet():
            return transformers.AutoTokenizer.from_pretrained(self.source.name, revision=self.source.revision)

    @property
    def dim(self) -> int:
        """d, of the shared space where there is one, else of the model's states."""
        for name in ("projection_dim", "hidden_size"):
            found = getattr(self.config, name, None)
            if isinstance(found, int) and found > 0:
                return found
        inner = getattr(self.config, "vision_config" if self.kind == "image" else "audio_config", None)
        found = getattr(inner, "hidden_size", None)
        if not isinstance(found, int):
            raise BackendError(f"{self.source.name} does not say how many features it gives")
        return found

    @property
    def two_towers(self) -> bool:
        """Whether the model reads texts into the same space."""
        config = self.config
        return hasattr(config, "text_config") and hasattr(
            config, f"{'vision' if self.kind == 'image' else 'audio'}_config"
        )

    # ------------------------------------------------------------------ computing

    def batches(self, media: Sequence[tuple[Medium, bytes]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(positions, unit vectors) of media."""
        for lo in range(0, len(media), BATCH):
            part = media[lo : lo + BATCH]
            yield np.arange(lo, lo + len(part)), self._look([self._opened(medium, data) for medium, data in part])

    def _opened(self, medium: Medium, data: bytes) -> Any:
        if self.kind == "image":
            return open_image(data, medium)
        wave, rate = open_audio(data, medium)
        return resampled(wave.mean(1), rate, int(self.processor.sampling_rate)).astype(np.float32)

    def _look(self, opened: list[Any]) -> np.ndarray:
        import torch

        told: dict[str, Any] = {"return_tensors": "pt"}
        if self.kind == "audio":
            told["sampling_rate"] = self.processor.sampling_rate
        with self._lock, quiet():
            inputs = self.processor(opened, **told).to(self.model.device)
        shared = getattr(self.model, f"get_{self.kind}_features", None)
        with torch.inference_mode():
            if shared is None:
                out = self.model(**inputs).last_hidden_state.flatten(2)
                # convolutional models give [b, d, places], transformers [b, places, d]
                rows = out.mean(1) if out.shape[2] == self.dim else out.mean(2)
            else:
                found = shared(**inputs)
                rows = getattr(found, "pooler_output", found)
            return torch.nn.functional.normalize(rows.float(), dim=1).cpu().numpy()

    def read(self, texts: list[str]) -> np.ndarray:
        """float32 [n, d] unit vectors of texts in the shared space, each cut at what the tower reads."""
        import torch

        most = getattr(self.config.text_config, "max_position_embeddings", 77)
        # SigLIP was trained on texts filled up to its length, and reads them so
        filled = "max_length" if "siglip" in str(self.config.model_type) else True
        with self._lock, quiet():
            tokens = self.tokenizer(texts, truncation=True, max_length=most, padding=filled, return_tensors="pt").to(
                self.model.device
            )
        with torch.inference_mode():
            found = self.model.get_text_features(
                **{k: tokens[k] for k in ("input_ids", "attention_mask") if k in tokens}
            )
            rows = getattr(found, "pooler_output", found)
            return torch.nn.functional.normalize(rows.float(), dim=1).cpu().numpy()


def resampled(mono: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Samples [t] at another rate, by a polyphase filter."""
    if rate == wanted:
        return mono
    from scipy.signal import resample_poly

    whole = np.gcd(rate, wanted)
    return resample_poly(mono, wanted // whole, rate // whole)


class TwoTowerEncoder:
    """An :class:`~guerdon.encode.Encoder` of candidates in the space that a two-tower model has for texts and media."""

    def __init__(self, tower: Tower, features: str, spec: str, *, cache: bool = True) -> None:
        self.tower, self.map, self.spec, self.use_cache = tower, FeatureMap.of(features), spec, cache
        if "joined" in self.map.needs:
            raise ConfigError(f"features={features}: two towers read prompt and response apart; use product or both")
        if not tower.two_towers:
            raise ConfigError(
                f"{tower.source.name} reads no texts; join it with a text encoder: media?text=minilm&{tower.kind}="
                f"{tower.spec}"
            )
        self.computed = 0

    def __repr__(self) -> str:
        return f"<encoder {self.spec}>"

    @property
    def sees(self) -> tuple[str, ...]:
        """The kind of medium it reads."""
        return (self.tower.kind,)

    @property
    def fingerprint(self) -> str:
        """Names what computes the features: the model and the feature map."""
        name = vectors_name(self.tower)
        return f"{self.tower.kind}-{self.map.name}-{digest([name, MAP_VERSION, '+'.join(self.map.blocks)])}"

    @property
    def dim(self) -> int:
        """The number of features."""
        return self.map.dim(self.tower.dim)

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        """float32 [n, dim] features of n candidates, in order."""
        n = len(candidates)
        columns = (("prompt", candidates.prompts), ("response", candidates.responses))
        media = [held for side, texts in columns for held in media_of_column(texts, side)]
        unread = next((m for held in media for m in held if m.kind != self.tower.kind), None)
        if unread is not None:
            raise FeedbackError(f"{unread}: {self.spec!r} reads texts and {self.tower.kind}s, no {unread.kind}")
        collected = collect(iter(media))
        vectors = np.zeros((0, self.tower.dim), np.float32)
        if collected.media:
            vectors, done = vectors_of(self.tower, collected, self.spec, cache=self.use_cache, progress=progress)
            self.computed += done
        words = [clean(as_text(words_of(text))) for _, texts in columns for text in texts]
        # words beside a medium count as one more; without a medium they are all there is
        spoken = [i for i, text in enumerate(words) if text.strip() or not collected.places[i]]
        table = {text: i for i, text in enumerate(dict.fromkeys(words[i] for i in spoken))}
        said = self._said(list(table))
        rows = np.zeros((2 * n, self.tower.dim), np.float32)
        for i, places in enumerate(collected.places):
            parts = [vectors[places]] if places else []
            if words[i].strip() or not places:
                parts.append(said[[table[words[i]]]])
            rows[i] = np.concatenate(parts).mean(0)
        sources: dict[str, Any] = {"prompt": (rows, np.arange(n)), "response": (rows, np.arange(n, 2 * n))}
        if "surface" in self.map.blocks:
            sources["surface"] = (surface_features(words[n:]), np.arange(n))
        return self.map.compose(self.tower.dim, n, **sources)

    def _said(self, texts: list[str]) -> np.ndarray:
        """float32 [k, d] unit vectors of distinct texts: from the cache where it has them."""
        about = {"spec": self.spec, "identity": self.tower.identity}
        kept = open_cache(vectors_name(self.tower), self.tower.dim, about) if self.use_cache else None
        out, missing = np.zeros((len(texts), self.tower.dim), np.float32), np.arange(len(texts))
        keys = np.frombuffer(b"".join(key_of("words", text) for text in texts), np.uint8).reshape(len(texts), 16)
        if kept is not None and len(texts):
            out, found = kept.lookup(keys)
            missing = np.flatnonzero(~found)
        for lo in range(0, len(missing), CHUNK):
            part = missing[lo : lo + CHUNK]
            out[part] = self.tower.read([texts[i] for i in part])
            if kept is not None:
                kept.add(keys[part], out[part])
        if kept is not None:
            kept.flush()
        return out


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise need("transformers", "text") from None
    return transformers

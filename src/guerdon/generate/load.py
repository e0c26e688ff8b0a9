"""Specification to language model: ``http://HOST:PORT/v1#MODEL`` or ``hf:PATH``."""

from __future__ import annotations

from typing import Any

from guerdon.errors import ConfigError
from guerdon.generate.base import LanguageModel


def load_language_model(spec: str | LanguageModel, **options: Any) -> LanguageModel:
    """Open a language model by its specification (a model is returned as it is).

    ``http://HOST:PORT/v1#MODEL``, ``https://...``
        A model of an OpenAI-compatible server; without ``#MODEL`` the only one it offers. ``options`` are those of
        :class:`~guerdon.generate.server.ServerModel`.
    ``hf:NAME_OR_FOLDER``
        A causal language model of transformers, or a vision-language model, which looks at the images of prompts.
        ``options`` are those of :class:`~guerdon.generate.local.LocalModel`, and ``sees="none"`` for one that is to
        read text only.

    Raises :class:`~guerdon.errors.ConfigError` for a specification or option that is wrong and
    :class:`~guerdon.errors.BackendError` for a package, model or folder that is missing. A server is not spoken to yet.
    """
    if not isinstance(spec, str):
        return spec
    if spec.startswith(("http://", "https://")):
        from guerdon.generate.server import ServerModel

        url, _, model = spec.partition("#")
        return _made(ServerModel, (url, model or None), options)
    kind, _, name = spec.partition(":")
    if kind == "hf" and name:
        return _local(name, options)
    raise ConfigError(f"language model {spec!r}: write http://HOST:PORT/v1#MODEL or hf:PATH")


def _local(name: str, options: dict[str, Any]) -> LanguageModel:
    from pathlib import Path

    from guerdon.encode.source import locate
    from guerdon.generate.checkpoint import base_of_adapter
    from guerdon.generate.local import LocalModel

    sees = options.pop("sees", None)
    if sees not in (None, "image", "none"):
        raise ConfigError(f"sees={sees!r}: use image or none")
    about = Path(name).expanduser() / "adapter_config.json"
    opened = base_of_adapter(about) if about.is_file() else name
    looks = sees != "none" and "vision_config" in locate(opened, options.get("revision")).config()
    if sees == "image" and not looks:
        raise ConfigError(f"sees=image: {name} is no vision-language model (its config.json has no vision_config)")
    if not looks:
        return _made(LocalModel, (name,), options)
    from guerdon.generate.vision import VisionModel

    return _made(VisionModel, (name,), options)


def _made(kind: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> LanguageModel:
    import inspect

    chain = [p for cls in kind.__mro__ for p in inspect.signature(cls.__init__).parameters.values()]
    known = [p.name for p in chain if p.kind == p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise ConfigError(f"{kind.__name__} has no option {option!r}; it has: {', '.join(known)}")
    return kind(*arguments, **options)

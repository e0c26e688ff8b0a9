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
        A causal language model of transformers. ``options`` are those of
        :class:`~guerdon.generate.local.LocalModel`.

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
        from guerdon.generate.local import LocalModel

        return _made(LocalModel, (name,), options)
    raise ConfigError(f"language model {spec!r}: write http://HOST:PORT/v1#MODEL or hf:PATH")


def _made(kind: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> LanguageModel:
    import inspect

    known = [p.name for p in inspect.signature(kind).parameters.values() if p.kind == p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise ConfigError(f"{kind.__name__} has no option {option!r}; it has: {', '.join(known)}")
    return kind(*arguments, **options)

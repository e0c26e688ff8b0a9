"""The bundled transforms by name, and transforms of a user's own (``package.module:object``)."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from guerdon.errors import ConfigError
from guerdon.generate.rewordings import answers, code, controlled, natural, safety, written
from guerdon.generate.rewordings.transform import FAMILIES, Transform

TRANSFORMS: Mapping[str, Transform] = {
    t.name: t for part in (controlled, natural, written, code, answers, safety) for t in part.TRANSFORMS
}


def chosen(names: Sequence[str]) -> list[Transform]:
    """The transforms called ``names``: transforms, families, ``all``, or ``package.module:object``.

    Raises
    ------
    ConfigError
        if a name stands for no transform
    """
    found: dict[str, Transform] = {}
    for name in names:
        found |= _named(name.strip())
    return list(found.values())


def _named(name: str) -> dict[str, Transform]:
    if name == "all":
        return dict(TRANSFORMS)
    plain = {n.replace(" ", "-"): t for n, t in TRANSFORMS.items()}
    for known in (TRANSFORMS, plain):
        if name in known:
            return {known[name].name: known[name]}
    if name in FAMILIES or name in ("code", "math", "safety"):
        return {n: t for n, t in TRANSFORMS.items() if name in (t.family, t.domain)}
    if ":" in name and " " not in name:
        own = _own(name)
        return {own.name: own}
    raise ConfigError(
        f"no transform {name!r}; there is all, {', '.join(TRANSFORMS)}; families: {', '.join(FAMILIES)}; "
        "or package.module:object"
    )


def _own(text: str) -> Transform:
    if os.getcwd() not in sys.path:  # as python -m does; the guerdon script does not
        sys.path.insert(0, os.getcwd())
    module, _, attribute = text.partition(":")
    try:
        found = getattr(import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise  # the module was found; one that it imports was not
        raise ConfigError(f"transform {text!r}: no module {module!r}, importable from here") from None
    if not isinstance(found, Transform):
        raise ConfigError(f"transform {text!r}: {attribute} is no Transform; put @text(...) above the function")
    return found

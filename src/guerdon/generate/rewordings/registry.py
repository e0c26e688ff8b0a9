"""The bundled transforms by name, and transforms of a user's own (``package.module:object``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guerdon.errors import ConfigError
from guerdon.generate.rewordings import answers, code, controlled, natural, safety, written
from guerdon.generate.rewordings.transform import FAMILIES, Transform
from guerdon.own_code import own_object

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
    found = own_object(text, f"transform {text!r}")
    if not isinstance(found, Transform):
        raise ConfigError(
            f"transform {text!r}: {text.partition(':')[2]} is no Transform; put @text(...) above the function"
        )
    return found

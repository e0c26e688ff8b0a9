"""The bundled attacks by name, and attacks of a user's own (``package.module:object``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guerdon.bench.attacks import contentless, forgery, style
from guerdon.bench.attacks.attack import Attack
from guerdon.errors import ConfigError
from guerdon.own_code import own_object

ATTACKS: Mapping[str, Attack] = {a.name: a for a in (*contentless.ATTACKS, *forgery.ATTACKS, *style.ATTACKS)}


def chosen(names: Sequence[str] = (), without: Sequence[str] = ()) -> list[Attack]:
    """The attacks called ``names`` (attacks, families, or ``package.module:object``), all bundled ones without any.

    Raises
    ------
    ConfigError
        if a name stands for no attack
    """
    found: dict[str, Attack] = {} if names else dict(ATTACKS)
    for name in names:
        found |= _named(name)
    for name in without:
        for gone in _named(name):
            found.pop(gone, None)
    if not found:
        raise ConfigError("no attack is left; choose fewer with --without")
    return list(found.values())


def _named(name: str) -> dict[str, Attack]:
    if name in ATTACKS:
        return {name: ATTACKS[name]}
    family = {n: a for n, a in ATTACKS.items() if a.family == name}
    if family:
        return family
    if ":" in name:
        own = _own(name)
        return {own.name: own}
    families = dict.fromkeys(a.family for a in ATTACKS.values())
    raise ConfigError(
        f"no attack {name!r}; there is {', '.join(ATTACKS)}; families: {', '.join(families)}; or package.module:object"
    )


def _own(text: str) -> Attack:
    found = own_object(text, f"attack {text!r}")
    if not isinstance(found, Attack):
        name = text.partition(":")[2]
        raise ConfigError(f"attack {text!r}: {name} is no Attack; put @attack(...) above the function")
    return found

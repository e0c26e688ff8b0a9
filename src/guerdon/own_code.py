"""Objects of a user's own code, named ``package.module:object`` wherever guerdon takes a name of its own."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from guerdon.errors import ConfigError


def own_module(name: str, asked_for: str) -> ModuleType:
    """The module called ``name``, importable from the working folder too.

    asked_for   what the error begins with: what the module was wanted for

    Raises
    ------
    ConfigError
        if there is no such module; what goes wrong inside one that is there is not caught
    """
    if os.getcwd() not in sys.path:  # as python -m does; the guerdon script does not
        sys.path.insert(0, os.getcwd())
    missing = ConfigError(f"{asked_for}: no module {name!r}, importable from here")
    if not all(part.isidentifier() for part in name.split(".")):
        raise missing
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module was found; one that it imports was not
        raise missing from None


def own_object(place: str, asked_for: str) -> Any:
    """The object at ``package.module:object``, None where the module has nothing of that name.

    Raises
    ------
    ConfigError
        if there is no such module
    """
    module, _, attribute = place.partition(":")
    return getattr(own_module(module, asked_for), attribute, None)

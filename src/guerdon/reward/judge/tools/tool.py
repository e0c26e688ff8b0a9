"""One tool of a judge: a function, what it is for, and a JSON schema of its arguments; a call gives an observation.

A call never raises. Arguments that do not fit the schema, an error inside the tool, a clock that runs out and a tool
that is not there are observations that say so (``error`` set), for the judge to read and go on. An observation is at
most ``keep`` characters. It is text that strangers may have written (a corpus, a program's output), so whoever shows
it to a judge fences it (:mod:`guerdon.reward.judge.tool_loop`).

How to add a tool (10-20 lines, any module of yours)::

    from guerdon.reward.judge.tools import tool

    @tool
    def word_count(text: str, unique: bool = False) -> str:
        \"\"\"Counts the words of a text, or its different words.\"\"\"
        words = text.lower().split()
        return str(len(set(words)) if unique else len(words))

The docstring's first paragraph tells the judge what the tool is for, the annotations (str, int, float, bool, and lists
of these) are the schema; ``tool(arguments={...})`` gives a schema of your own. A parameter that is named ``seen`` is
not an argument: it receives the :class:`Seen` request and response. ``ToolJudge(model, tools=["calculator",
word_count])`` uses it; so does ``tools=calculator,my_package.my_module:word_count`` in a specification. A package that
declares it in the entry-point group ``guerdon.tools`` makes it known by name.
"""

from __future__ import annotations

import inspect
import json
import threading
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, overload

from guerdon.errors import ConfigError

TYPES: Mapping[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
PYTHON: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
SECONDS = 10.0
KEEP = 2000


@dataclass(frozen=True)
class Seen:
    """What is being judged, for tools that look at it. References stay out: a tool must not tell the judge the answer.

    row   further columns of the candidate, e.g. the tests of a program
    """

    request: str = ""
    response: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """What a call gave. ``error``: it is no result, but says why there is none; ``short``: its end was cut off."""

    text: str
    error: bool = False
    short: bool = False


@dataclass(frozen=True)
class Tool:
    """A named function of JSON arguments.

    name       what the judge calls it
    says       what it is for, one or two sentences
    arguments  JSON schema of an object
    function   called with the arguments by name, and with ``seen`` where it has such a parameter; gives a text
    identity   JSON-ready; changes with whatever its observations depend on (a table's digest)
    seconds    wall time of a call; a thread that runs on is left behind, so tools that may hang bound themselves
    keep       most characters of an observation
    """

    name: str
    says: str
    arguments: Mapping[str, Any]
    function: Callable[..., str]
    identity: Any = None
    seconds: float = SECONDS
    keep: int = KEEP

    def __post_init__(self) -> None:
        if not (self.name and self.name.replace("_", "").replace("-", "").isalnum()):
            raise ConfigError(f"tool {self.name!r}: a name is letters, digits, _ and -")
        if not self.says.strip():
            raise ConfigError(f"tool {self.name}: say what it is for; the first paragraph of its docstring does")
        if self.arguments.get("type") != "object" or not isinstance(self.arguments.get("properties"), Mapping):
            raise ConfigError(f"tool {self.name}: its arguments are a JSON schema of an object with properties")
        unknown = [kind for kind in kinds_of(self.arguments) if kind not in PYTHON]
        if unknown:
            raise ConfigError(f"tool {self.name}: there is no JSON type {unknown[0]!r}; use {', '.join(PYTHON)}")
        if not self.seconds > 0 or self.keep < 1:
            raise ConfigError(f"tool {self.name}: seconds={self.seconds}, keep={self.keep}: use numbers above 0")

    @property
    def shown(self) -> str:
        """The tool as a judge reads of it: name, purpose, schema."""
        return f"{self.name}: {self.says} Arguments: {json.dumps(self.arguments, ensure_ascii=False)}"

    def __call__(self, arguments: Any, seen: Seen | None = None) -> Observation:
        """The observation of a call; whatever goes wrong is one, too."""
        trouble = misfit(arguments, self.arguments)
        if trouble:
            return Observation(f"error: {self.name}: {trouble}", error=True)
        given = dict(arguments)
        if "seen" in inspect.signature(self.function).parameters:
            given["seen"] = seen or Seen()
        found: list[Observation] = []

        def call() -> None:
            try:
                text = str(self.function(**given))
                found.append(Observation(cut(text, self.keep), short=len(text) > self.keep))
            except Exception as error:  # noqa: BLE001 - anybody's plugin; the judge is told instead of the caller
                said = f"error: {self.name}: {type(error).__name__}: {error}"
                found.append(Observation(cut(said, min(self.keep, 500)), error=True))

        worker = threading.Thread(target=call, daemon=True, name=f"tool-{self.name}")
        worker.start()
        worker.join(self.seconds)
        late = f"error: {self.name}: no result within {self.seconds:g} s"
        return found[0] if found else Observation(late, error=True)


def cut(text: str, keep: int) -> str:
    """At most ``keep`` characters of a text (and a note of how many there were)."""
    return text if len(text) <= keep else f"{text[:keep]} ... (the first {keep} of {len(text)} characters)"


def types_of(schema: Mapping[str, Any]) -> list[Any]:
    """The JSON types that a schema names for the value itself."""
    kind = schema.get("type", [])
    return list(kind) if isinstance(kind, list | tuple) else [kind]


def kinds_of(schema: Mapping[str, Any]) -> list[Any]:
    """The JSON types that a schema names, its properties' and items' included."""
    parts = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return types_of(schema) + [kind for part in parts for kind in kinds_of(part)]


def misfit(value: Any, schema: Mapping[str, Any], where: str = "arguments") -> str | None:
    """Why a value does not fit a schema: types, enum, required and unknown properties, items; None where it does."""
    kinds = types_of(schema)
    if kinds and not any(isinstance(value, PYTHON[k]) and isinstance(value, bool) <= (k == "boolean") for k in kinds):
        return f"{where}: give a JSON {' or '.join(kinds)}, not {json.dumps(value, default=str)[:80]}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{where}: use one of {', '.join(map(str, schema['enum']))}, not {str(value)[:80]!r}"
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                return f"{where}: {name} is missing"
        for name, part in value.items():
            if name not in properties:
                return f"{where}: there is no {str(name)[:40]!r}; it takes {', '.join(properties) or 'nothing'}"
            found = misfit(part, properties[name], name)
            if found:
                return found
    if isinstance(value, list) and "items" in schema:
        return next((t for i, v in enumerate(value) if (t := misfit(v, schema["items"], f"{where}[{i}]"))), None)
    return None


@overload
def tool(function: Callable[..., str]) -> Tool: ...
@overload
def tool(**settings: Any) -> Callable[[Callable[..., str]], Tool]: ...
def tool(function: Callable[..., str] | None = None, **settings: Any) -> Any:
    """A function as a :class:`Tool`; ``settings`` are its other fields, taken from the function where left out."""
    if function is None:
        return lambda made: tool_of(made, **settings)
    return tool_of(function, **settings)


def tool_of(function: Callable[..., str], **settings: Any) -> Tool:
    """:func:`tool` with settings, in one call."""
    said = (inspect.getdoc(function) or "").split("\n\n")[0]
    given = {"name": function.__name__, "says": " ".join(said.split()), **settings}
    if "arguments" not in given:
        given["arguments"] = schema_of(function)
    return Tool(function=function, **given)


def schema_of(function: Callable[..., str]) -> dict[str, Any]:
    """The JSON schema that a function's annotations tell; parameters with a default may be left out."""
    hints = typing.get_type_hints(function)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "seen":
            continue
        hint = hints.get(name)
        if hint in TYPES:
            properties[name] = {"type": TYPES[hint]}
        elif typing.get_origin(hint) is list and typing.get_args(hint)[0] in TYPES:
            properties[name] = {"type": "array", "items": {"type": TYPES[typing.get_args(hint)[0]]}}
        else:
            known = "str, int, float, bool or lists of them"
            raise ConfigError(f"tool {function.__name__}: annotate {name} with {known}, or give arguments={{...}}")
        if parameter.default is parameter.empty:
            required.append(name)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

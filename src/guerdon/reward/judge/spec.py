"""``judge:MODEL?option=value&...``: a judge from one line.

::

    judge:http://localhost:8000/v1#my-model?question=Is%20this%20polite%3F
    judge:hf:path/to/model?by=rubric&rubric=rubric.yaml&scale=1-5
    judge:https://host/v1#model?protocol=pairwise&by=principles&principles=principles.txt&votes=5&confidence=0.95

``by`` is question, principles, rubric or criteria (told by the option of that name where it is left out). A question is
a text or a file, principles and rubrics are files (JSON, YAML, or a line each) or JSON lists. Criteria are written by
the model for each request (:mod:`.criteria`), and so are principles, in the same reply as the grades, where none are
given or ``principles=self`` (:mod:`.principles`). ``by=described`` takes a rubric that describes each verdict and
tells the protocol (:mod:`.described`), ``by=agent`` a preference (``base=REWARD``) with checks of facts and constraints
where a request needs them (:mod:`.agent`). ``protocol`` is pointwise, pairwise, listwise, reference (chance against the
row's reference answer) or group (against a random response of the group). ``tools=calculator,search=FILE`` are called
before the verdict (:mod:`.tools`, with ``turns``, ``seconds`` and ``longest``). ``meta=REWARD`` chooses between votes;
``budget=tokens=2e6`` (or calls, or money with price_in and price_out) ends what a server is asked. Other options belong
to the judge (``scale``, ``how``, ``votes``, ``order`` ...) or the language model (``cache``, ``concurrency``,
``device``, ``sees=image`` ...). Values are percent-encoded, JSON or plain text.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from guerdon.errors import ConfigError
from guerdon.generate.base import LanguageModel
from guerdon.generate.budget import Budget
from guerdon.generate.load import load_language_model
from guerdon.reward.base import Reward
from guerdon.reward.judge import templates
from guerdon.reward.judge.asking import Asker
from guerdon.reward.judge.listwise import ListwiseJudge
from guerdon.reward.judge.meta import MetaVote
from guerdon.reward.judge.pairwise import PairwiseJudge
from guerdon.reward.judge.pointwise import PointwiseJudge
from guerdon.reward.judge.references import AgainstReference, GroupReference
from guerdon.reward.judge.standard import KINDS, Standard

PROTOCOLS: Mapping[str, Any] = {
    "pointwise": PointwiseJudge,
    "pairwise": PairwiseJudge,
    "listwise": ListwiseJudge,
    "reference": PairwiseJudge,
    "group": PairwiseJudge,
}
TOOLED: Mapping[Any, str] = {
    PointwiseJudge: "guerdon.reward.judge.tool_judge:ToolJudge",
    PairwiseJudge: "guerdon.reward.judge.tool_judge:ToolPairs",
}
"""Judges that can call tools before they judge, ``tools=NAMES``: the kind without tools -> ``module:class``."""
AGAINST: Mapping[str, Any] = {"reference": AgainstReference, "group": GroupReference}
WRITTEN: Mapping[str, str] = {"criteria": "guerdon.reward.judge.criteria:WrittenCriteria"}
"""Standards written for each question, ``by=NAME``: name -> ``module:class`` of a WrittenStandard. It is made with the
judge's language model and those options of the specification that are keyword-only parameters of the class."""
OPENERS: Mapping[str, str] = {
    "agent": "guerdon.reward.judge.agent_spec:open_agent",
    "described": "guerdon.reward.judge.described:open_described",
    "persona": "guerdon.reward.personal.in_context_spec:open_persona",
}
"""Judges with a protocol of their own, ``by=NAME``: name -> ``module:function`` of (model, options) that opens it."""
BUDGET = ("calls", "tokens", "money", "price_in", "price_out")
WHOLE = ("votes", "seed", "max_tokens", "orders", "window", "redraw", "least", "most", "tries", "samples")
WHOLE += ("turns", "longest", "workers")
WHOLE += ("results", "repairs")
NUMBERS = ("confidence", "temperature", "min_mass", "clip", "extreme", "keep", "seconds")


def open_judge(spec: str) -> Reward:
    """``MODEL?option=value&...`` as a Reward. The language model is not spoken to yet.

    Raises
    ------
    ConfigError
        if the model, an option or a file is wrong
    """
    model, options = split_spec(spec)
    if options.get("by") in OPENERS:
        return _opened(OPENERS[options.pop("by")])(model, options)
    protocol = options.pop("protocol", "pointwise")
    if protocol not in PROTOCOLS:
        raise ConfigError(f"judge: protocol={protocol!r}: use one of {', '.join(PROTOCOLS)}")
    if _own_principles(options):
        return _principled(model, protocol, options)
    writer = _writer(options)
    standard = _standard(options) if writer is None else None
    kind = PROTOCOLS[protocol]
    kinds = [kind, *([_tooled(kind, protocol)] if "tools" in options else [])]
    written = taken(options, keywords(writer)) if writer is not None else {}
    against = AGAINST.get(protocol)
    outer = taken(options, keywords(against)) if against is not None else {}
    meta = _meta(options)
    settings = taken(options, [name for cls in (*kinds, Asker) for name in keywords(cls)])
    if meta is not None:
        if settings.get("votes", 1) < 2 and settings.get("orders", 4 if protocol == "listwise" else 1) < 2:
            raise ConfigError("judge: meta chooses between votes; give votes=8 or so")
        settings["combine"] = MetaVote(then=settings.get("combine", "mean"), **meta)
    language_model = model_of(model, options)
    if writer is not None:
        standard = writer(language_model, **written)
    judge = kinds[-1](language_model, standard, **settings)
    return against(judge, **outer) if against is not None else judge


def model_of(model: str, options: dict[str, str]) -> LanguageModel:
    """The language model, with a budget where there is one; all ``options`` that are left belong to it."""
    budget = {"budget": budget_of(options.pop("budget"))} if "budget" in options else {}
    return load_language_model(model, **{k: _value(v) for k, v in options.items()}, **budget)


def budget_of(text: str) -> Budget:
    """``calls=1000,tokens=2e6,money=5,price_in=0.15,price_out=0.6`` as a budget; prices are of a million tokens."""
    given: dict[str, float] = {}
    for item in filter(None, text.replace(" ", "").split(",")):
        name, equals, number = item.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not equals or name not in BUDGET or not (math.isfinite(value) and value >= 0) or name in given:
            raise ConfigError(f"budget {item!r}: write NAME=NUMBER once for each of {', '.join(BUDGET)}")
        given[name] = value
    if not given:
        raise ConfigError("budget: say how much of calls, tokens or money may be spent, e.g. tokens=2000000")
    whole = {name: int(given[name]) for name in ("calls", "tokens") if name in given}
    return Budget(**{**given, **whole})  # type: ignore[arg-type]


def _meta(options: dict[str, str]) -> dict[str, Any] | None:
    """The settings of a MetaVote: ``meta=REWARD``, ``keep=SHARE``, ``weigh=true``."""
    if "meta" not in options:
        return None
    from guerdon.reward.load import load

    given: dict[str, Any] = {"reward": load(options.pop("meta"))}
    return given | taken(options, ("keep", "weigh"))


def judge_digest(spec: str) -> str:
    """What a specification computes beside its text: the templates and the files that it names."""
    digest = blake2b(templates.fingerprint().encode(), digest_size=8)
    for name, text in split_spec(spec)[1].items():
        if name != "cache" and _is_file(text):  # replies that are kept change nothing, and fill as judging goes on
            digest.update(Path(text).read_bytes())
        if name == "tools":
            from guerdon.reward.judge.tools import files_of

            for place in files_of(text):
                digest.update(place.read_bytes())
        if name in ("meta", "base", "search") and not _is_file(text):
            from guerdon.reward.load import fingerprint

            digest.update(fingerprint(text).encode())
    return digest.hexdigest()


def split_spec(spec: str, scheme: str = "judge") -> tuple[str, dict[str, str]]:
    """(specification of the language model, options as texts)."""
    model, _, tail = spec.partition("?")
    if not model:
        given = f"{scheme}:http://HOST:PORT/v1#MODEL?... or {scheme}:hf:PATH?..."
        raise ConfigError(f"{scheme}: needs a language model: {given}")
    options: dict[str, str] = {}
    for item in filter(None, tail.split("&")):
        key, equals, text = item.partition("=")
        if not equals:
            raise ConfigError(f"{scheme}:{spec}: {item!r} is not option=value")
        if key in options:
            raise ConfigError(f"{scheme}:{spec}: {key} is given twice")
        options[key] = unquote(text)
    return model, options


def _writer(options: dict[str, str]) -> Any:
    """The class of ``by=NAME`` where what to judge by is written for each question and not given; else None."""
    by = options.get("by", "")
    if by not in WRITTEN or by in options:
        return None
    del options["by"]
    given = [kind for kind in KINDS if kind in options]
    if given:
        raise ConfigError(f"judge: by={by} and {', '.join(given)}: a judge judges by one of them")
    return _opened(WRITTEN[by])


def _tooled(kind: Any, protocol: str) -> Any:
    if kind not in TOOLED:
        raise ConfigError(f"judge: protocol={protocol} calls no tools; use pointwise or pairwise, or leave tools out")
    return _opened(TOOLED[kind])


def _opened(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _own_principles(options: dict[str, str]) -> bool:
    """Whether the judge is to write its principles itself: ``by=principles`` alone, or ``principles=self``."""
    given = options.get("principles", "self" if options.get("by") == "principles" else "")
    if given != "self" or options.get("by", "principles") != "principles":
        return False
    options.pop("by", None)
    options.pop("principles", None)
    other = [kind for kind in KINDS if kind in options]
    if other:
        raise ConfigError(f"judge: by=principles and {', '.join(other)}: a judge judges by one of them")
    return True


def _principled(model: str, protocol: str, options: dict[str, str]) -> Reward:
    """A judge by its own principles; it grades a response, a pair or a list alike."""
    from guerdon.reward.judge.principles import PrincipledJudge

    if protocol in AGAINST:
        raise ConfigError(f"judge: protocol={protocol} needs principles=FILE; own ones grade responses and lists")
    meta = _meta(options)
    settings = taken(options, keywords(PrincipledJudge))
    if meta is not None:
        if settings.get("samples", 8) < 2:
            raise ConfigError("judge: meta chooses between samples; give samples=8 or so")
        combine = settings.get("combine", "sum")
        settings["combine"] = MetaVote(then="mean" if combine == "sum" else combine, **meta)
    return PrincipledJudge(model_of(model, options), **settings)


def taken(options: dict[str, str], names: Sequence[str]) -> dict[str, Any]:
    """The ``options`` of these names as values; they are taken out."""
    return {name: _typed(name, options.pop(name)) for name in list(options) if name in names}


def _standard(options: dict[str, str]) -> Standard:
    given = {kind: options.pop(kind) for kind in KINDS if kind in options}
    by = options.pop("by", next(iter(given), "question"))
    if by not in KINDS:
        raise ConfigError(f"judge: by={by!r}: use one of {', '.join(dict.fromkeys((*KINDS, *WRITTEN, *OPENERS)))}")
    if set(given) - {by}:
        raise ConfigError(f"judge: by={by} and {', '.join(sorted(set(given) - {by}))}: a judge judges by one of them")
    if by not in given:
        if by == "question":
            return Standard.question()
        raise ConfigError(f"judge: by={by} needs {by}=FILE")
    text = given[by]
    if _is_file(text):
        return Standard.read(by, text)
    value = text if by == "question" else _value(text)
    if by != "question" and not isinstance(value, list):
        raise ConfigError(f"judge: {by}={text!r} is neither a file nor a JSON list")
    return Standard.of(by, value, f"judge: {by}")


def _typed(name: str, text: str) -> Any:
    value = _value(text)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in WHOLE and (isinstance(value, bool) or not isinstance(value, int)):
        raise ConfigError(f"judge: {name}={text!r}: use a whole number")
    if name in NUMBERS and not number:
        raise ConfigError(f"judge: {name}={text!r}: use a number")
    if name in ("unsure", "ties", "weigh", "route") and not isinstance(value, bool):
        raise ConfigError(f"judge: {name}={text!r}: use true or false")
    return value


def keywords(cls: Any) -> list[str]:
    """The keyword-only parameters of a class."""
    return [p.name for p in inspect.signature(cls.__init__).parameters.values() if p.kind is p.KEYWORD_ONLY]


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # a long question is no file name
        return False


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text

"""``judge:MODEL?option=value&...``: a judge from one line.

::

    judge:http://localhost:8000/v1#my-model?question=Is%20this%20polite%3F
    judge:hf:path/to/model?by=rubric&rubric=rubric.yaml&scale=1-5
    judge:https://host/v1#model?protocol=pairwise&by=principles&principles=principles.txt&votes=5&confidence=0.95

``by`` is question, principles or rubric (told by the option of that name where it is left out). A question is a text or
a file, principles and rubrics are files (JSON, YAML, or a line each) or JSON lists. ``protocol`` is pointwise, pairwise
or reference. Other options belong to the judge (``scale``, ``how``, ``votes``, ``order`` ...) or the language model
(``cache``, ``concurrency``, ``device`` ...). Values are percent-encoded, JSON or plain text.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from guerdon.errors import ConfigError
from guerdon.generate.load import load_language_model
from guerdon.reward.base import Reward
from guerdon.reward.judge import templates
from guerdon.reward.judge.asking import Asker
from guerdon.reward.judge.pairwise import AgainstReference, PairwiseJudge
from guerdon.reward.judge.pointwise import PointwiseJudge
from guerdon.reward.judge.standard import KINDS, Standard

PROTOCOLS: Mapping[str, Any] = {"pointwise": PointwiseJudge, "pairwise": PairwiseJudge, "reference": PairwiseJudge}
WHOLE = ("votes", "seed", "max_tokens")
NUMBERS = ("confidence", "temperature", "min_mass")


def open_judge(spec: str) -> Reward:
    """``MODEL?option=value&...`` as a Reward. The language model is not spoken to yet.

    Raises
    ------
    ConfigError
        if the model, an option or a file is wrong
    """
    model, options = split_spec(spec)
    protocol = options.pop("protocol", "pointwise")
    if protocol not in PROTOCOLS:
        raise ConfigError(f"judge: protocol={protocol!r}: use one of {', '.join(PROTOCOLS)}")
    standard = _standard(options)
    kind = PROTOCOLS[protocol]
    mine = [name for cls in (kind, Asker) for name in _keywords(cls)]
    settings = {name: _typed(name, options.pop(name)) for name in list(options) if name in mine}
    language_model = load_language_model(model, **{k: _value(v) for k, v in options.items()})
    judge = kind(language_model, standard, **settings)
    return AgainstReference(judge) if protocol == "reference" else judge


def judge_digest(spec: str) -> str:
    """What a specification computes beside its text: the templates and the files that it names."""
    digest = blake2b(templates.fingerprint().encode(), digest_size=8)
    for text in split_spec(spec)[1].values():
        if _is_file(text):
            digest.update(Path(text).read_bytes())
    return digest.hexdigest()


def split_spec(spec: str) -> tuple[str, dict[str, str]]:
    """(specification of the language model, options as texts)."""
    model, _, tail = spec.partition("?")
    if not model:
        raise ConfigError("judge: needs a language model: judge:http://HOST:PORT/v1#MODEL?... or judge:hf:PATH?...")
    options: dict[str, str] = {}
    for item in filter(None, tail.split("&")):
        key, equals, text = item.partition("=")
        if not equals:
            raise ConfigError(f"judge:{spec}: {item!r} is not option=value")
        if key in options:
            raise ConfigError(f"judge:{spec}: {key} is given twice")
        options[key] = unquote(text)
    return model, options


def _standard(options: dict[str, str]) -> Standard:
    given = {kind: options.pop(kind) for kind in KINDS if kind in options}
    by = options.pop("by", next(iter(given), "question"))
    if by not in KINDS:
        raise ConfigError(f"judge: by={by!r}: use one of {', '.join(KINDS)}")
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
    if name in ("unsure", "ties") and not isinstance(value, bool):
        raise ConfigError(f"judge: {name}={text!r}: use true or false")
    return value


def _keywords(cls: Any) -> list[str]:
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

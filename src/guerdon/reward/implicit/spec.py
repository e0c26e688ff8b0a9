"""``implicit:MODEL?option=value&...``: a reward read off a language model's likelihoods, from one line.

::

    implicit:hf:path/to/model?question=Is%20this%20polite%3F
    implicit:http://localhost:8000/v1#my-model?by=yes-no&about=response&floor=1e-4
    implicit:hf:path/to/model?by=follow-up&follow_ups=bank.yaml
    implicit:hf:path/to/aligned?by=log-ratio&weak=hf:path/to/base&system=criteria.txt
    implicit:hf:path/to/tuned?by=dpo&weak=hf:path/to/reference&beta=0.1
    implicit:hf:path/to/tuned?by=reference-free&length=mean

=================== ===================================================================================================
``by``              what is read
=================== ===================================================================================================
``yes-no``          the answer to ``question`` (a text, or a JSON file of questions with wanted answers and weights)
``self``            the answer to the question of the prompt's domain (``route=model``, or ``criterion``: that column)
``follow-up``       satisfied against dissatisfied user turns (``follow_ups=FILE``, ``polarity``, ``length``, ``pmi``)
``log-ratio``       the model against ``weak=MODEL`` (``length``, ``scale``; both under ``system``)
``domains``         the same under criteria of the prompt's domain (``route``, ``customize``)
``contrast``        the model under ``system`` against itself under ``base``
``dpo``             ``beta`` (log p - log p of ``weak=MODEL``)
``reference-free``  log p alone (``length``: sum, mean or norm)
=================== ===================================================================================================

Where ``by`` is left out it is told by the options (``question``, ``follow_ups``, ``weak``, ``system``). A text that
names a file is read from it. Other options belong to the language models (``device``, ``dtype``, ``cache`` ...).
"""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

from guerdon.errors import ConfigError
from guerdon.generate.load import load_language_model
from guerdon.reward.base import Reward
from guerdon.reward.implicit.domains import LanguageRouter, by_criterion, density_ratio, self_preference
from guerdon.reward.implicit.follow_up import FollowUpLikelihood, read_follow_ups
from guerdon.reward.implicit.log_ratio import LogRatio, dpo_implicit, prompt_contrast
from guerdon.reward.implicit.reference_free import ReferenceFree
from guerdon.reward.implicit.yes_no import Question, YesNo
from guerdon.reward.judge.spec import split_spec

OPTIONS: dict[str, tuple[str, ...]] = {
    "yes-no": ("question", "wanted", "scale", "about", "floor", "labels"),
    "self": ("scale", "about", "labels", "route"),
    "follow-up": ("follow_ups", "polarity", "length", "pmi"),
    "log-ratio": ("weak", "system", "length", "scale"),
    "domains": ("weak", "length", "customize", "route"),
    "contrast": ("system", "base", "length"),
    "dpo": ("weak", "beta"),
    "reference-free": ("length",),
}
TOLD_BY = {"question": "yes-no", "follow_ups": "follow-up", "weak": "log-ratio", "system": "contrast"}
TEXTS = ("question", "system", "base", "wanted", "about")


def open_implicit(spec: str) -> Reward:
    """``MODEL?option=value&...`` as a Reward. Models are not loaded or spoken to yet.

    Raises
    ------
    ConfigError
        if the model, an option or a file is wrong
    """
    name, options = split_spec(spec, "implicit")
    by = options.pop("by", None) or next((kind for key, kind in TOLD_BY.items() if key in options), "yes-no")
    if by not in OPTIONS:
        raise ConfigError(f"implicit: by={by!r}: use one of {', '.join(OPTIONS)}")
    mine = {key: options.pop(key) for key in list(options) if key in OPTIONS[by]}
    settings: dict[str, Any] = {k: _text(v) if k in TEXTS else _value(v) for k, v in mine.items()}
    others = {k: _value(v) for k, v in options.items()}
    model = load_language_model(name, **others)
    if by in ("log-ratio", "domains", "dpo"):
        if "weak" not in settings:
            raise ConfigError(f"implicit: by={by} needs weak=MODEL, the model it is compared with")
        weak = load_language_model(str(mine["weak"]), **others)
        del settings["weak"]
    else:
        weak = model
    if "labels" in settings:
        settings["labels"] = tuple(str(settings["labels"]).split(","))
    if by == "yes-no":
        question = settings.pop("question", "Is this a good response?")
        return YesNo(model, _questions(question), **settings)
    if by == "follow-up":
        if "follow_ups" in settings:
            settings["follow_ups"] = read_follow_ups(str(mine["follow_ups"]))
        return FollowUpLikelihood(model, **settings)
    if by == "contrast":
        if "system" not in settings:
            raise ConfigError("implicit: by=contrast needs system=TEXT, what the model reads before the prompt")
        return prompt_contrast(model, settings.pop("system"), settings.pop("base", None), **settings)
    if by == "dpo":
        return dpo_implicit(model, weak, **settings)
    if by == "reference-free":
        return ReferenceFree(model, **settings)
    if by == "log-ratio":
        system = settings.pop("system", None)
        if model.identity == weak.identity:
            raise ConfigError(f"implicit: {name} is compared with itself; the ratio is 0 everywhere")
        return LogRatio(model, weak, system=system, weak_system=system, **settings)
    route = settings.pop("route", "model")
    if route not in ("model", "criterion"):
        raise ConfigError(f"implicit: route={route!r}: use model or criterion")
    settings["router"] = LanguageRouter(model) if route == "model" else by_criterion
    return self_preference(model, **settings) if by == "self" else density_ratio(model, weak, **settings)


def implicit_digest(spec: str) -> str:
    """What a specification computes beside its text: the files that it names."""
    digest = blake2b(digest_size=8)
    for text in split_spec(spec, "implicit")[1].values():
        if _is_file(text):
            digest.update(Path(text).read_bytes())
    return digest.hexdigest()


def _questions(value: str) -> str | list[Question]:
    """One question, or those of a JSON list of texts or of {text, wanted, weight}."""
    try:
        found = json.loads(value)
    except ValueError:
        return value.strip()
    if not isinstance(found, list):
        return value.strip()
    try:
        return [Question(q) if isinstance(q, str) else Question(**q) for q in found]
    except TypeError as error:
        raise ConfigError(f"implicit: question: give a list of {{text, wanted, weight}} ({error})") from None


def _text(value: str) -> str:
    return Path(value).read_text(encoding="utf-8").strip() if _is_file(value) else value


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # a long text is no file name
        return False


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text

"""One way to open any reward: ``guerdon.load(spec)``.

=========================== =====================================================================================
``path/to/directory``       a reward that ``guerdon fit`` or ``save`` wrote, or a saved
                            ``AutoModelForSequenceClassification``
``hf:org/name``             a Hugging Face ``AutoModelForSequenceClassification`` (``hf:org/name@revision``), or
                            ``hf:path``
``rule:NAME?option=value``  a rule: ``rule:length`` (longer is better: what every reward must beat), ``rule:answer``,
                            ``rule:code``, ``rule:constraints`` ... (:data:`guerdon.reward.verify.rule.RULES`)
``judge:MODEL?option=...``  scores that a language model writes, ``judge:http://HOST:PORT/v1#MODEL?question=...`` or
                            ``judge:hf:PATH?by=rubric&rubric=FILE`` (:mod:`guerdon.reward.judge.spec`)
``implicit:MODEL?opt=...``  a reward read off a language model's likelihoods, ``implicit:hf:PATH?question=...``,
                            ``implicit:hf:PATH?by=follow-up``, ``implicit:hf:STRONG?weak=hf:WEAK``
                            (:mod:`guerdon.reward.implicit.spec`)
``scores:FILE``             scores or verdicts made elsewhere, from a file (:mod:`guerdon.reward.recorded`)
``package.module:object``   a Reward, a class or function that makes one, a function ``(prompt, response) -> float``,
                            or a TRL reward function ``(completions, ...) -> list``
=========================== =====================================================================================
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
from pathlib import Path
from typing import Any, cast

from guerdon.errors import ConfigError, ModelError
from guerdon.own_code import own_module
from guerdon.reward.base import Function, Reward

MODULE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
SCHEMES = ("hf:", "rule:", "judge:", "implicit:", "scores:")
KINDS = "a directory, hf:org/name, rule:NAME, judge:MODEL, implicit:MODEL, scores:FILE, or package.module:object"


def load(spec: str | os.PathLike[str] | Reward, *, verify: bool = True) -> Reward:
    """Open a reward; the table above says what ``spec`` may be. A Reward is given back as it is.

    verify   check a saved reward's self-test while opening it

    Raises
    ------
    ConfigError
        if nothing of that name exists or it is no reward
    ModelError
        if a saved reward is damaged or does not fit this installation
    """
    if isinstance(spec, Reward):
        return spec
    text = os.fspath(spec)
    path = Path(text)
    if path.is_dir():
        return _directory(path, verify)
    scheme, sep, rest = text.partition(":")
    if sep and scheme == "hf":
        return _classifier(rest, verify)
    if sep and scheme == "rule":
        from guerdon.reward.verify.rule import open_rule

        return open_rule(rest)
    if sep and scheme == "judge":
        from guerdon.reward.judge.spec import open_judge

        return open_judge(rest)
    if sep and scheme == "implicit":
        from guerdon.reward.implicit.spec import open_implicit

        return open_implicit(rest)
    if sep and scheme == "scores":
        from guerdon.reward.recorded import open_recorded

        return open_recorded(rest)
    if MODULE.fullmatch(text):
        return _object(text)
    if path.is_file():
        raise ConfigError(f"{text} is a file; a reward is {KINDS}")
    from guerdon.reward.verify.rule import RULES

    meant = f" (did you mean rule:{text}?)" if text.partition("?")[0] in RULES else ""
    raise ConfigError(f"no reward at {text!r}{meant}; give {KINDS}")


def fingerprint(spec: str | os.PathLike[str]) -> str:
    """A short name for what ``spec`` computes: changes when the saved model or the module's file does.

    Large weight files are recognised by size and time, everything else by content.
    """
    text = os.fspath(spec)
    digest = hashlib.sha256(text.encode())
    if text.startswith("judge:"):
        from guerdon.reward.judge.spec import judge_digest

        digest.update(judge_digest(text.removeprefix("judge:")).encode())
    if text.startswith("implicit:"):
        from guerdon.reward.implicit.spec import implicit_digest

        digest.update(implicit_digest(text.removeprefix("implicit:")).encode())
    path = Path(text.removeprefix("hf:").removeprefix("scores:"))
    files: list[Path] = []
    if path.is_dir():
        digest = hashlib.sha256()  # a moved model is the same model
        files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != "README.md")
    elif text.startswith("scores:") and path.is_file():
        files = [path]
    elif MODULE.fullmatch(text) and not text.startswith(SCHEMES):
        file = getattr(own_module(text.partition(":")[0], f"reward {text!r}"), "__file__", None)
        files = [Path(file)] if file else []
    for file in files:
        stat = file.stat()
        digest.update(f"{file.name} {stat.st_size}".encode())
        digest.update(str(stat.st_mtime_ns).encode() if stat.st_size > 2**26 else file.read_bytes())
    return digest.hexdigest()[:16]


def _directory(path: Path, verify: bool) -> Reward:
    from guerdon.reward.storage import CONFIG, load_directory

    if not (path / CONFIG).is_file():
        raise ModelError(f"{path} holds no reward (no {CONFIG}); give the directory that guerdon fit --out wrote")
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except ValueError:
        config = {}  # load_directory says what is wrong with it
    config = config if isinstance(config, dict) else {}
    architectures = config.get("architectures") or []
    if "guerdon" not in config and any(str(name).endswith("ForSequenceClassification") for name in architectures):
        return _classifier(str(path), verify)
    return load_directory(path, verify=verify)


def _classifier(name: str, verify: bool) -> Reward:
    if not name:
        raise ConfigError("hf: needs a name, e.g. hf:org/name or hf:path/to/directory")
    from guerdon.reward.learned.classifier import SequenceClassifierReward

    return SequenceClassifierReward(name, verify=verify)


def _object(text: str) -> Reward:
    module, _, attribute = text.partition(":")
    found: Any = own_module(module, f"reward {text!r}")
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"{module} has no {attribute!r}")
        found = getattr(found, part)
    return as_reward(found, text)


def as_reward(found: Any, name: str) -> Reward:
    """``found`` as a Reward: itself, what it makes when called without arguments, or a wrapped function."""
    if isinstance(found, Reward):
        return found
    if not callable(found):
        raise ConfigError(f"{name} is a {type(found).__name__}, not a reward or a function of (prompt, response)")
    try:
        parameters = inspect.signature(found).parameters
    except ValueError:
        parameters = {}  # some builtins do not tell
    if "completions" in parameters:
        from guerdon.reward.adapters import FromTRL

        return FromTRL(cast(Any, found))
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters.values() if p.default is p.empty and p.kind in positional]
    if len(needed) == 2:
        return Function(found)
    if needed:
        names = ", ".join(p.name for p in needed)
        raise ConfigError(f"{name} takes ({names}); a reward function takes (prompt, response)")
    try:
        made = found()
    except TypeError as error:
        raise ConfigError(f"{name}() does not make a reward: {error}") from error
    if isinstance(made, Reward):
        return made
    raise ConfigError(f"{name}() gives a {type(made).__name__}, not a Reward")


__all__ = ["as_reward", "fingerprint", "load"]
